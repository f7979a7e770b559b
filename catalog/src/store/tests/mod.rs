//! The data directory as a whole: what was acknowledged is there, once, whatever failed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::executor::block_on;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::Error;
use crate::fault::{FaultyFiles, OsFiles};
use crate::record::Write;
use crate::snapshot::NameClass;
use crate::table::writer::{TableWriter, WriteOptions};
use crate::testing::{PUBLIC, ids_of, insert, object, put_table, remove_chunks, rows, two_columns};

mod crash;
mod faults;
mod lifecycle;
mod work;

const SECOND: i64 = 1_000_000;

/// A data directory that can be opened, crashed and looked into.
struct Bed {
    dir: tempfile::TempDir,
    files: Arc<FaultyFiles>,
    options: StoreOptions,
    store: Option<Arc<Store>>,
    now_us: i64,
}

impl Bed {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut StoreOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions {
            dir: dir.path().to_owned(),
            durability: Durability::Fsync,
            wal_segment_bytes: 2000,
            wal_bytes_max: 20_000,
            cache_bytes: 1 << 20,
            file_retention: Duration::from_secs(5),
            repair_wal: false,
        };
        change(&mut options);
        let files = Arc::new(FaultyFiles::new(Arc::new(OsFiles)));
        let mut bed = Self { dir, files, options, store: None, now_us: 1_700_000_000 * SECOND };
        bed.reopen();
        bed
    }

    fn store(&self) -> &Arc<Store> {
        self.store.as_ref().expect("the store is open")
    }

    fn try_open(&mut self) -> Result<Arc<Store>> {
        drop(self.store.take());
        Store::open(self.options.clone(), Arc::clone(&self.files) as _, self.now_us)
    }

    /// Closes the store, if it is open, and opens it anew.
    fn reopen(&mut self) {
        self.store = Some(self.try_open().unwrap());
    }

    /// A power failure now, and a new start.
    fn crash_and_reopen(&mut self, seed: u64) {
        drop(self.store.take());
        self.files.crash(seed);
        self.files = Arc::new(FaultyFiles::new(Arc::new(OsFiles)));
        self.reopen();
    }

    fn commit(&self, changes: Vec<Change>) -> Result<Lsn> {
        block_on(self.store().commit(changes))
    }

    /// Inserts rows with these ids in a transaction of their own.
    fn insert(&self, table: Oid, ids: &[i64]) {
        self.commit(vec![insert(table, self.store().next_chunk_id(), ids)]).unwrap();
    }

    fn flush(&self, table: Oid) {
        self.store().flush(table, self.now_us).unwrap();
    }

    fn checkpoint(&self) {
        self.store().checkpoint(self.now_us).unwrap();
    }

    /// The ids in the table, sorted, hot and in files.
    fn ids(&self, table: Oid) -> Vec<i64> {
        ids_in(&self.store().snapshot(), &self.options.dir, table)
    }

    fn segments(&self) -> usize {
        std::fs::read_dir(self.options.dir.join("wal")).unwrap().count()
    }

    fn parquet_files(&self, table: Oid) -> BTreeSet<String> {
        let Ok(dir) = std::fs::read_dir(self.store().table_dir(table)) else { return BTreeSet::new() };
        dir.map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".parquet"))
            .collect()
    }
}

fn ids_in(snapshot: &Snapshot, dir: &Path, table: Oid) -> Vec<i64> {
    let state = snapshot.table(table).expect("the table is there");
    let mut ids: Vec<i64> = state.chunks.iter().flat_map(|chunk| ids_of(&chunk.batch)).collect();
    for file in &state.files.files {
        ids.extend(ids_in_file(&dir.join("tables").join(table.to_string()).join(&file.path)));
    }
    ids.sort_unstable();
    ids
}

fn ids_in_file(path: &Path) -> Vec<i64> {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.flat_map(|batch| ids_of(&batch.unwrap())).collect()
}
