//! What the store's callers, its writer thread and its background work share.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::garbage::Garbage;
use super::room::HotRoom;
use super::writer::Queue;
use super::{StoreOptions, WalStatus, due};
use crate::fault::FileLayer;
use crate::snapshot::Snapshot;
use crate::wal::segment::Segment;
use crate::{Lsn, Oid};

/// See the module doc.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: StoreOptions,
    pub(super) files: Arc<dyn FileLayer>,
    /// `tidemill/<wal epoch>`: whose `txn` in a Delta log counts.
    pub(super) app_id: String,
    pub(super) epoch: uuid::Uuid,
    pub(super) snapshot: RwLock<Arc<Snapshot>>,
    pub(super) queue: Queue,
    pub(super) segments: Arc<Mutex<Vec<Segment>>>,
    pub(super) next_oid: AtomicU32,
    pub(super) next_chunk_id: AtomicU64,
    /// The latest time anyone told, microseconds since the epoch: a clock that goes back changes nothing.
    pub(super) now_us: AtomicI64,
    pub(super) durable_lsn: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) commits: AtomicU64,
    /// One publisher at a time per table (flush, Delta checkpoint) …
    pub(super) publishing: TableLocks,
    /// … and one compaction.
    pub(super) compacting: TableLocks,
    /// Statements that rewrite rows, and those who move them elsewhere.
    pub(super) moving: TableLocks<Movement>,
    pub(super) hot_room: HotRoom,
    /// One checkpoint at a time; what the last one did.
    pub(super) checkpointed: Mutex<Checkpointed>,
    pub(super) garbage: Mutex<Garbage>,
    /// Held until the store is dropped.
    pub(super) _lock: File,
}

/// What the last checkpoint did.
#[derive(Debug, Default, Clone)]
pub(super) struct Checkpointed {
    /// The catalog file's LSN.
    pub(super) lsn: Lsn,
    /// The counters in it.
    pub(super) next_oid: Oid,
    /// When, microseconds since the epoch.
    pub(super) at_us: i64,
    /// The Delta version each table's last Delta checkpoint has.
    pub(super) delta: HashMap<Oid, u64>,
}

/// A lock per table, made when it is first asked for.
#[derive(Debug, Default)]
pub(super) struct TableLocks<T = Mutex<()>> {
    locks: Mutex<HashMap<Oid, Arc<T>>>,
}

/// Held by statements that rewrite rows of a table (shared), and while those rows move (exclusive).
#[derive(Debug, Default)]
pub(super) struct Movement {
    pub(super) lock: Arc<tokio::sync::RwLock<()>>,
    /// How often in a row rows were not moved because a statement held them.
    pub(super) put_off: AtomicU32,
}

impl<T: Default> TableLocks<T> {
    /// The lock of a table; to be locked by the caller.
    pub(super) fn of(&self, table: Oid) -> Arc<T> {
        Arc::clone(self.locks.lock().entry(table).or_default())
    }

    /// Forgets the locks of tables that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(Oid) -> bool) {
        self.locks.lock().retain(|table, lock| is_there(*table) || Arc::strong_count(lock) > 1);
    }
}

impl Shared {
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read())
    }

    pub(super) fn table_dir(&self, table: Oid) -> PathBuf {
        self.tables_dir().join(table.to_string())
    }

    pub(super) fn tables_dir(&self) -> PathBuf {
        self.options.dir.join("tables")
    }

    /// The latest time told, this one included.
    pub(super) fn tell_time(&self, now_us: i64) -> i64 {
        self.now_us.fetch_max(now_us, Ordering::AcqRel).max(now_us)
    }

    /// The log records above this are needed by some table. `checkpoint`: the LSN of the catalog file.
    pub(super) fn needed_after(snapshot: &Snapshot, checkpoint: Lsn) -> Lsn {
        let dirty = snapshot.tables.values().filter(|table| table.is_dirty());
        dirty.map(|table| table.replay_from).min().unwrap_or(Lsn::MAX).min(checkpoint)
    }

    pub(super) fn wal_status(&self) -> WalStatus {
        let snapshot = self.snapshot();
        let (segments, bytes) = {
            let segments = self.segments.lock();
            (segments.len() as u64, segments.iter().map(|segment| segment.bytes).sum())
        };
        WalStatus {
            durable_lsn: self.durable_lsn.load(Ordering::Acquire),
            oldest_lsn: Self::needed_after(&snapshot, snapshot.lsn) + 1,
            segments,
            bytes,
            syncs: self.syncs.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
        }
    }

    /// What decides which work is due.
    pub(super) fn due_input(&self, now_us: i64) -> due::Input {
        let checkpointed = self.checkpointed.lock().clone();
        let segments: Vec<(Lsn, u64)> =
            self.segments.lock().iter().map(|segment| (segment.first_lsn, segment.bytes)).collect();
        due::Input {
            snapshot: self.snapshot(),
            segments,
            wal_bytes_max: self.options.wal_bytes_max,
            checkpoint_lsn: checkpointed.lsn,
            checkpoint_us: checkpointed.at_us,
            has_garbage: self.garbage.lock().is_due(now_us, self.options.file_retention),
            now_us,
        }
    }
}
