//! Compaction keeps the rows and sorts them; the plan is bounded.

use arrow::datatypes::{DataType, TimeUnit};
use rand::Rng;

use super::*;
use crate::table::testing::{Folder, def_of, random_batch, rng, sorted_rows};
use crate::table::writer::{SortKey, is_sorted, not_after};

fn table(sort_key: &[&str]) -> Arc<TableDef> {
    let mut def = def_of(&[
        ("ts", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("host", DataType::Utf8View),
        ("f", DataType::Float64),
        ("a", DataType::List(Arc::new(arrow::datatypes::Field::new_list_field(DataType::Int32, true)))),
    ]);
    def.options.time_column = Some("ts".into());
    def.options.sort_key = sort_key.iter().map(|name| (*name).to_owned()).collect();
    Arc::new(def)
}

fn assert_sorted(batches: &[RecordBatch], key: &[usize]) {
    let mut before: Option<SortKey> = None;
    for batch in batches {
        let columns: SortKey = key.iter().map(|&index| Arc::clone(batch.column(index))).collect();
        assert!(is_sorted(&columns).unwrap());
        assert!(before.is_none_or(|before| not_after(&before, &columns).unwrap()));
        before = Some(columns);
    }
}

#[test]
fn merging_keeps_the_rows_and_sorts_them() {
    let mut rng = rng();
    for (sort_key, key) in [(vec!["ts"], vec![0]), (vec!["host", "ts"], vec![1, 0]), (vec![], vec![0])] {
        for total in [2_000, 200_000] {
            let folder = Folder::new();
            let def = table(&sort_key);
            let files = rng.random_range(2..6);
            let batches: Vec<_> = (0..files).map(|_| random_batch(&mut rng, &def, total / files)).collect();
            let write = |(lsn, batch): (u64, &RecordBatch)| {
                let options = WriteOptions { lsn_min: lsn, lsn_max: lsn + 1, ..WriteOptions::default() };
                folder.write(&def, std::slice::from_ref(batch), options)
            };
            let inputs: Vec<_> = (5..).zip(&batches).flat_map(write).collect();
            let merged = merge(&folder.files, &folder.dir, &def, None, &inputs, 77).unwrap();
            let read = folder.read(&def, &merged);
            assert_eq!(sorted_rows(&read), sorted_rows(&batches));
            assert_sorted(&read, &key);
            let names: Vec<_> = if sort_key.is_empty() { vec!["ts"] } else { sort_key.clone() };
            for file in &merged {
                assert_eq!((file.lsn_min, file.lsn_max, file.level, file.created_ms), (5, 5 + files as u64, 1, 77));
                assert_eq!(file.sorted_by, names);
            }
            // No runs are left behind.
            assert_eq!(folder.files.list(&folder.dir).unwrap().len(), inputs.len() + merged.len());
        }
    }
}

#[test]
fn the_plan_merges_many_small_files_and_leaves_large_ones() {
    let def = table(&[]);
    let file = |path: usize, bytes: u64, level: u32| {
        let file = crate::testing::file(&format!("{path:04}"), path as u64);
        Arc::new(FileEntry { bytes, level, sorted_by: vec!["ts".into()], ..file.as_ref().clone() })
    };
    let sizes = |files: Vec<(u64, u32)>, full: bool| {
        let files = files.into_iter().enumerate().map(|(path, (bytes, level))| file(path, bytes, level)).collect();
        plan(&FileIndex::new(files), &def, None, full).iter().map(Vec::len).collect::<Vec<_>>()
    };
    let mb = 1 << 20;
    assert_eq!(sizes(vec![(mb, 0); 7], false), [0; 0]);
    assert_eq!(sizes(vec![(mb, 0); 8], false), [8]);
    assert_eq!(sizes(vec![(mb, 0); 130], false), [64, 64]);
    assert_eq!(sizes(vec![(100 * mb, 0)], false), [1]);
    assert_eq!(sizes(vec![(100 * mb, 1); 9], false), [0; 0]);
    assert_eq!(sizes([vec![(mb, 0); 5], vec![(mb, 1); 5]].concat(), false), [0; 0]);
    assert_eq!(sizes([vec![(mb, 0); 5], vec![(mb, 1); 9]].concat(), false), [9]);
    assert_eq!(sizes(vec![(mb, 1)], true), [0; 0]);
    assert_eq!(sizes(vec![(mb, 0)], true), [1]);
    assert_eq!(sizes([vec![(mb, 0); 5], vec![(200 * mb, 1); 6]].concat(), true), [10, 1]);
}
