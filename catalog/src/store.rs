//! The open data directory: commits, recovery, and the pieces of background work.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::fault::FileLayer;
use crate::record::Change;
use crate::snapshot::Snapshot;
use crate::{Lsn, Oid, Result};

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
    _todo: (),
}

/// One table's part of background work, chosen by a pure function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Hot rows to files, one Delta commit.
    Flush(Oid),
    /// Small files to large ones.
    Compact(Oid),
    /// A Delta checkpoint.
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
        let _ = (options, files, now_us);
        todo!()
    }

    /// The newest committed state: one atomic load.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        todo!()
    }

    /// Makes changes durable and visible, atomically. Returns the LSN when they are both; a reader sees them at once.
    /// Cancel-safe: dropped after the call it may still commit. An empty list returns the current LSN.
    ///
    /// # Errors
    /// As [`Snapshot::apply`] on the newest state, `DiskFull`, `Poisoned`.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<Lsn> {
        let _ = changes;
        todo!()
    }

    /// A fresh object identifier, ≥ 16384.
    pub fn next_oid(&self) -> Oid {
        todo!()
    }

    /// A fresh chunk identifier.
    pub fn next_chunk_id(&self) -> u64 {
        todo!()
    }

    /// The folder of a table's Delta log and files: `<data dir>/tables/<oid>`.
    pub fn table_dir(&self, table: Oid) -> PathBuf {
        let _ = table;
        todo!()
    }

    /// The file layer beneath.
    pub fn files(&self) -> &Arc<dyn FileLayer> {
        todo!()
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        todo!()
    }

    /// The shared cache of decoded columns.
    pub fn cache(&self) -> &Arc<crate::table::cache::ColumnCache> {
        todo!()
    }

    /// The pieces of background work that are due, most urgent first.
    pub fn due(&self, now_us: i64) -> Vec<Work> {
        let _ = now_us;
        todo!()
    }

    /// Writes the table's hot rows and unpublished changes to Delta. Blocking: call it off the async threads.
    ///
    /// # Errors
    /// `DiskFull`, `Io`; the rows stay in the log and hot, the next flush tries again.
    pub fn flush(&self, table: Oid, now_us: i64) -> Result<()> {
        let _ = (table, now_us);
        todo!()
    }

    /// Merges small files into large sorted ones; `full` rewrites all of them. Blocking.
    ///
    /// # Errors
    /// `Conflict` if a DELETE or UPDATE took the files first: nothing was changed.
    pub fn compact(&self, table: Oid, full: bool, now_us: i64) -> Result<()> {
        let _ = (table, full, now_us);
        todo!()
    }

    /// Writes the catalog file, checkpoints Delta logs, deletes log segments no table needs, files past retention, and
    /// folders of dropped tables. Blocking.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    pub fn checkpoint(&self, now_us: i64) -> Result<()> {
        let _ = now_us;
        todo!()
    }

    /// Numbers about the log.
    pub fn wal_status(&self) -> WalStatus {
        todo!()
    }

    /// Waits until the log failed (fsync error): the server must stop.
    pub async fn poisoned(&self) -> String {
        todo!()
    }
}
