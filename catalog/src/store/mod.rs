//! The open data directory: commits, recovery, and the pieces of background work.
//!
//! ```text
//! <dir>/LOCK           held by the server that has the directory open
//! <dir>/catalog.json   the objects at some LSN (checkpoint); what came later is in the log
//! <dir>/wal/           the log, see `wal`
//! <dir>/tables/<oid>/  a Delta Lake table: Parquet files and `_delta_log`
//! ```
//! One thread writes: it takes what is queued, applies it to the newest state (which finds conflicts), logs it with one
//! fsync, publishes the new state with one pointer, and answers. Everything else reads states, which never change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::fault::FileLayer;
use crate::record::{Body, Change, TableDef};
use crate::snapshot::Snapshot;
use crate::table::cache::ColumnCache;
use crate::table::scan::source::FileAccess;
use crate::wal;
use crate::{Lsn, Oid, Result, hot};

mod catalog_file;
mod due;
mod flush;
mod garbage;
mod maintain;
mod open;
mod recent_keys;
mod room;
mod sequences;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

pub use sequences::Wait;
use shared::Shared;

/// When a commit is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After fdatasync: survives power loss.
    #[default]
    Fsync,
    /// After write(): survives kill -9, not power loss.
    Os,
}

/// How to open a data directory. Limits are set by `src/config.rs`.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data directory; made if missing.
    pub dir: PathBuf,
    /// When a commit is acknowledged.
    pub durability: Durability,
    /// Size at which a new WAL segment begins, bytes.
    pub wal_segment_bytes: u64,
    /// WAL bytes above which the tables that hold it back are flushed.
    pub wal_bytes_max: u64,
    /// Bytes of decoded columns kept for repeated reads.
    pub cache_bytes: u64,
    /// Removed files are deleted from disk after this long.
    pub file_retention: Duration,
    /// Repair a damaged log by cutting it at the damage: loses what follows.
    pub repair_wal: bool,
}

/// An open data directory.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    cache: Arc<ColumnCache>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// A statement's claim on a table's rows, see [`Store::hold`]. Dropping it ends the claim.
#[derive(Debug)]
#[must_use]
pub struct TableHold {
    _guard: tokio::sync::OwnedRwLockReadGuard<()>,
}

/// One table's part of background work, chosen by a pure function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Hot rows to files, one Delta commit.
    Flush(Oid),
    /// Small files to large ones.
    Compact(Oid),
    /// [`Store::checkpoint`], which is about all tables; the oid is 0.
    Checkpoint(Oid),
}

/// Numbers about the log, for `tidemill.wal` and metrics.
#[derive(Debug, Clone, Default)]
pub struct WalStatus {
    /// Newest durable LSN.
    pub durable_lsn: Lsn,
    /// Oldest LSN that must be kept.
    pub oldest_lsn: Lsn,
    /// Segments on disk.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// fsyncs done since start.
    pub syncs: u64,
    /// Transactions committed since start.
    pub commits: u64,
}

impl Store {
    /// Opens a data directory: takes its lock, reads the catalog file, replays each table's Delta log and the WAL above it.
    /// `now_us`: microseconds since the epoch.
    ///
    /// # Errors
    /// `Locked`, `Corrupt` (with the path and the repair flag to use), `Io`.
    pub fn open(options: StoreOptions, files: Arc<dyn FileLayer>, now_us: i64) -> Result<Arc<Self>> {
        let cache = Arc::new(ColumnCache::new(options.cache_bytes));
        let (shared, log) = open::open(options, files, now_us)?;
        let shared = Arc::new(shared);
        let writer = writer::spawn(Arc::clone(&shared), log)?;
        Ok(Arc::new(Self { shared, cache, writer: Mutex::new(Some(writer)) }))
    }

    /// The newest committed state: one pointer.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot()
    }

    /// Makes changes durable and visible, atomically. Returns the LSN when they are both; a reader sees them at once.
    /// Cancel-safe: dropped after the call it may still commit. An empty list returns the current LSN.
    ///
    /// # Errors
    /// As [`Snapshot::apply`] on the newest state, `DiskFull`, `Poisoned`.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<Lsn> {
        if changes.is_empty() {
            return Ok(self.snapshot().lsn);
        }
        // Here, not in the writer thread: clients encode in parallel.
        let changes = with_physical_rows(&self.snapshot(), changes)?;
        if is_insert(&changes) {
            self.shared.hot_room.wait().await?;
        }
        let (changes, begun) = sequences::begin_logging(changes);
        let committed = match wal::record::encode(&changes) {
            Ok(payload) => {
                let bytes = payload.bytes.len();
                let lsn = self.shared.queue.commit(changes, payload).await;
                lsn.inspect(|_| self.shared.hot_room.add(bytes))
            }
            Err(error) => Err(error),
        };
        if committed.is_err() {
            begun.iter().for_each(|def| def.end_logging());
        }
        committed
    }

    /// Keeps the table's rows where they are (flush and compaction put themselves off) until the hold is dropped. DELETE
    /// and UPDATE take it before they take their snapshot, and drop it after their commit: then only other statements can
    /// be in conflict with them. Shared; waits at most for a Delta commit. Do not ask twice while holding.
    pub async fn hold(&self, table: Oid) -> TableHold {
        let lock = Arc::clone(&self.shared.moving.of(table).lock);
        TableHold { _guard: lock.read_owned().await }
    }

    /// A fresh object identifier, ≥ 16384.
    pub fn next_oid(&self) -> Oid {
        self.shared.next_oid.fetch_add(1, Ordering::Relaxed)
    }

    /// A fresh chunk identifier.
    pub fn next_chunk_id(&self) -> u64 {
        self.shared.next_chunk_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The folder of a table's Delta log and files: `<data dir>/tables/<oid>`.
    pub fn table_dir(&self, table: Oid) -> PathBuf {
        self.shared.table_dir(table)
    }

    /// The file layer beneath.
    pub fn files(&self) -> &Arc<dyn FileLayer> {
        &self.shared.files
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.shared.options.dir
    }

    /// The shared cache of decoded columns.
    pub fn cache(&self) -> &Arc<ColumnCache> {
        &self.cache
    }

    /// How the files of a table are read.
    pub(crate) fn access(&self, table: Oid) -> FileAccess {
        FileAccess { files: Arc::clone(self.files()), dir: self.table_dir(table), cache: Arc::clone(&self.cache) }
    }

    /// The pieces of background work that are due, most urgent first.
    pub fn due(&self, now_us: i64) -> Vec<Work> {
        let now_us = self.shared.tell_time(now_us);
        let input = self.shared.due_input(now_us);
        let mut work = due::due(&input);
        for table in self.cache.latest.tables_worth_compacting(&input.snapshot) {
            if !work.contains(&Work::Compact(table)) {
                work.push(Work::Compact(table));
            }
        }
        work
    }

    /// Does one piece of background work. Blocking.
    ///
    /// # Errors
    /// As the method that does it.
    pub fn work(&self, work: &Work, now_us: i64) -> Result<()> {
        match work {
            Work::Flush(table) => self.flush(*table, now_us),
            Work::Compact(table) => self.compact(*table, false, now_us),
            Work::Checkpoint(_) => self.checkpoint(now_us),
        }
    }

    /// Writes the table's hot rows and unpublished changes to Delta. Blocking: call it off the async threads. Does nothing
    /// while a statement holds the table ([`Store::hold`]), unless that has put it off some times already: then it waits.
    ///
    /// # Errors
    /// `DiskFull`, `Io`; the rows stay in the log and hot, the next flush tries again.
    pub fn flush(&self, table: Oid, now_us: i64) -> Result<()> {
        let now_us = self.shared.tell_time(now_us);
        let result = flush::flush(&self.shared, Some(&self.access(table)), table, now_us);
        self.shared.hot_room.count(&self.snapshot());
        self.shared.hot_room.note_flush(&result);
        result
    }

    /// Merges small files into large sorted ones, without the rows of an upsert table that later versions of their keys
    /// replaced; `full` rewrites all of them. Blocking; of an upsert table only on a thread of a Tokio runtime.
    ///
    /// # Errors
    /// `Conflict` if a DELETE or UPDATE took the files first: nothing was changed.
    pub fn compact(&self, table: Oid, full: bool, now_us: i64) -> Result<()> {
        let now_us = self.shared.tell_time(now_us);
        maintain::compact(&self.shared, &self.access(table), table, full, now_us)
    }

    /// Writes the catalog file, checkpoints Delta logs, deletes log segments no table needs, files past retention, and
    /// folders of dropped tables. Blocking.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    pub fn checkpoint(&self, now_us: i64) -> Result<()> {
        let now_us = self.shared.tell_time(now_us);
        let result = maintain::checkpoint(&self.shared, now_us);
        let snapshot = self.snapshot();
        self.cache.latest.retain(|table| snapshot.table(table).is_some());
        result
    }

    /// Numbers about the log.
    pub fn wal_status(&self) -> WalStatus {
        self.shared.wal_status()
    }

    /// Hot rows take so much memory that those who write will soon wait for flushes.
    pub fn is_pressed(&self) -> bool {
        self.shared.hot_room.is_scarce()
    }

    /// Waits until the log failed (fsync error): the server must stop.
    pub async fn poisoned(&self) -> String {
        self.shared.queue.poisoned().await
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the log's writer thread panicked");
        }
    }
}

/// True if the changes only add hot rows. Others may hold tables ([`Store::hold`]) and must not wait for a flush.
fn is_insert(changes: &[Change]) -> bool {
    let is_adding = |change: &Change| matches!(change, Change::Write(write) if !write.add_chunks.is_empty());
    let is_removing = |change: &Change| matches!(change, Change::Write(write) if !write.remove_chunks.is_empty() || !write.remove_files.is_empty());
    changes.iter().any(is_adding) && !changes.iter().any(is_removing)
}

/// The changes with their rows under physical names, as the log and the chunks have them. Rows are matched with the
/// definition their table has at that point of the list, so that a rename by someone else cannot mix up columns later.
pub(crate) fn with_physical_rows(state: &Snapshot, mut changes: Vec<Change>) -> Result<Vec<Change>> {
    let mut defs: Vec<(Oid, Arc<TableDef>)> = Vec::new();
    for change in &mut changes {
        match change {
            Change::Put(object) => {
                if let Body::Table(def) = &object.body {
                    defs.push((object.oid, Arc::clone(def)));
                }
            }
            Change::Remove(_) | Change::Sequence(..) | Change::Expect(..) | Change::ExpectUsers(..) => {}
            Change::Write(write) => {
                if write.add_chunks.iter().all(|chunk| hot::is_physical(&chunk.batch)) {
                    continue;
                }
                let put = defs.iter().rev().find(|(oid, _)| *oid == write.table);
                let (def, schema) = match (put, state.table(write.table)) {
                    (Some((_, def)), _) => (Arc::clone(def), hot::physical_schema(def)),
                    (None, Some(table)) => (Arc::clone(&table.def), Arc::clone(&table.physical_schema)),
                    // The table is gone: applying the changes says so.
                    (None, None) => continue,
                };
                for chunk in &mut write.add_chunks {
                    *chunk = hot::to_physical(chunk, &def, &schema)?;
                }
            }
        }
    }
    Ok(changes)
}
