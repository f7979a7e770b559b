//! What is read goes on being in memory when files are replaced; what is not read, or not any more, does not come there.

use arrow::array::{Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::DataType;

use super::*;
use crate::table::cache::{ColumnCache, Lookup};
use crate::table::testing::{Folder, def_of};
use crate::table::writer::WriteOptions;

const ROWS: i64 = 40_000;

struct Bed {
    folder: Folder,
    def: Arc<TableDef>,
    access: FileAccess,
}

impl Bed {
    fn new() -> Self {
        let folder = Folder::new();
        let def = Arc::new(def_of(&[("n", DataType::Int64), ("t", DataType::Utf8View)]));
        let cache = Arc::new(ColumnCache::new(64 << 20));
        let access = FileAccess { files: Arc::clone(&folder.files), dir: folder.dir.clone(), cache };
        Self { folder, def, access }
    }

    fn file(&self) -> Arc<FileEntry> {
        let numbers = Arc::new(Int64Array::from_iter_values(0..ROWS));
        let texts = Arc::new(StringViewArray::from_iter_values((0..ROWS).map(|n| format!("t{n}"))));
        let batch = RecordBatch::try_new(self.def.schema(), vec![numbers, texts]).unwrap();
        self.folder.write(&self.def, &[batch], WriteOptions::default()).remove(0)
    }

    /// Reads a column as queries do: the numbers of its chunks that were in the cache, and that there are.
    fn read(&self, file: &Arc<FileEntry>, column: usize) -> (usize, usize) {
        let meta = self.access.footer(file).unwrap();
        let mut hits = 0;
        for row_group in 0..meta.row_groups.len() {
            match self.access.cache.get(&key(&meta, row_group, column).unwrap()) {
                Lookup::Hit(_) => hits += 1,
                Lookup::Miss { admit: false } => {}
                Lookup::Miss { admit: true } => {
                    let bytes = meta.fetch(self.access.files.as_ref(), row_group, column).unwrap();
                    let data_type = &self.def.columns[column].data_type;
                    let blocks = meta.decode(row_group, column, bytes, data_type, None).unwrap();
                    let cached = CachedColumn::new(blocks.collect::<Result<_>>().unwrap());
                    cached.know_texts();
                    self.access.cache.insert(key(&meta, row_group, column).unwrap(), Arc::new(cached));
                }
            }
        }
        (hits, meta.row_groups.len())
    }
}

#[test]
fn columns_that_are_read_are_there_at_once_in_new_files() {
    let bed = Bed::new();
    let old = bed.file();
    assert_eq!([bed.read(&old, 1), bed.read(&old, 1), bed.read(&old, 1)], [(0, 3), (0, 3), (3, 3)]);
    let new = bed.file();
    warm(&bed.access, &bed.def, &[Arc::clone(&old)], &[Arc::clone(&new)]);
    assert_eq!(bed.read(&new, 1), (3, 3), "the column that was read");
    assert_eq!(bed.read(&new, 0), (0, 3), "the one that was not");
    // What is looked for in the one is looked for in the other.
    let meta = bed.access.footer(&new).unwrap();
    let cached = bed.access.cache.read(&key(&meta, 0, 1).unwrap()).unwrap();
    let hash = |text: &str| crate::table::cache::blocks::hash(&datafusion_common::ScalarValue::from(text)).unwrap();
    assert!(!cached.lacks(0, &[hash("t17")]));
    assert!(cached.lacks(0, &[hash("t39999")]));
}

#[test]
fn what_nobody_reads_any_more_is_not_followed() {
    let bed = Bed::new();
    let mut last = bed.file();
    (0..3).for_each(|_| _ = bed.read(&last, 0));
    let bytes = bed.access.cache.status().bytes;
    for turn in 0..4 {
        let next = bed.file();
        warm(&bed.access, &bed.def, &[Arc::clone(&last)], &[Arc::clone(&next)]);
        bed.access.cache.forget(&[bed.folder.dir.join(&last.path)].into_iter().collect());
        let kept = bed.access.cache.status().bytes;
        assert_eq!(kept, if turn == 0 { bytes } else { 0 }, "after replacement {turn}");
        last = next;
    }
}
