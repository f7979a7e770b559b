//! The Delta log: commits, replay, checkpoints.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::fault::FileLayer;
use crate::record::TableDef;
use crate::table::file::FileEntry;
use crate::{Lsn, Result};

/// What a table's Delta log says at one version.
#[derive(Debug, Clone, Default)]
pub struct DeltaState {
    /// The version.
    pub version: u64,
    /// The log position it stands for: the greatest `txn` version of an application `tidemill/…`.
    pub lsn: Lsn,
    /// The `txn` version of every application.
    pub txns: BTreeMap<String, u64>,
    /// The files, in [`crate::table::file::FileIndex`] order.
    pub files: Vec<Arc<FileEntry>>,
    /// Files removed, whose bytes may still be there.
    pub removed: Vec<RemovedFile>,
    /// The version of the newest checkpoint that was used.
    pub checkpoint: Option<u64>,
}

/// A file that left the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedFile {
    /// Relative to the table's folder.
    pub path: String,
    /// When, milliseconds since the epoch.
    pub removed_ms: i64,
    /// Its size, bytes.
    pub bytes: u64,
}

/// One commit.
#[derive(Debug, Clone)]
pub struct DeltaCommit<'a> {
    /// The definition, in the first commit and whenever it changed since the last one.
    pub def: Option<&'a TableDef>,
    /// New files.
    pub adds: &'a [Arc<FileEntry>],
    /// Files that go.
    pub removes: &'a [Arc<FileEntry>],
    /// `tidemill/<wal epoch>`.
    pub app_id: &'a str,
    /// The log position the table has after this commit; also in a commit without files.
    pub lsn: Lsn,
    /// Now, milliseconds since the epoch.
    pub now_ms: i64,
    /// False if the set of rows stays the same (compaction).
    pub data_change: bool,
    /// For `commitInfo`: `WRITE`, `DELETE`, `UPDATE`, `OPTIMIZE`, `CREATE TABLE`, `ADD COLUMNS`, …
    pub operation: &'a str,
}

/// Replays the log of the table in `dir`. `None` if it has none.
///
/// # Errors
/// `Corrupt`, `Io`.
pub fn open(files: &dyn FileLayer, dir: &Path) -> Result<Option<DeltaState>> {
    let _ = (files, dir);
    todo!()
}

/// Replays what came after `since`.
///
/// # Errors
/// `Corrupt`, `Io`.
pub fn open_since(files: &dyn FileLayer, dir: &Path, since: DeltaState) -> Result<DeltaState> {
    let _ = (files, dir, since);
    todo!()
}

/// Commits `version` durably, if it is not there yet. The files named must be durable.
///
/// # Errors
/// `AlreadyExists` (kind `version`) if another writer took the version; `DiskFull`, `Io`.
pub fn commit(files: &dyn FileLayer, dir: &Path, version: u64, commit: &DeltaCommit<'_>) -> Result<()> {
    let _ = (files, dir, version, commit);
    todo!()
}

/// Writes a checkpoint of the newest version, so that opening need not read the commits before it. Files removed before
/// `keep_removed_after_ms` are forgotten by it: their bytes must be gone. Returns its version; `None` without a log.
///
/// # Errors
/// `Corrupt`, `DiskFull`, `Io`.
pub fn checkpoint(files: &dyn FileLayer, dir: &Path, keep_removed_after_ms: i64) -> Result<Option<u64>> {
    let _ = (files, dir, keep_removed_after_ms);
    todo!()
}

/// Deletes data files removed before `before_ms`, and commits and checkpoints that the newest checkpoint replaces and
/// that are older than it. Returns the number of data files deleted.
///
/// # Errors
/// `Io`.
pub fn clean_up(files: &dyn FileLayer, dir: &Path, before_ms: i64) -> Result<usize> {
    let _ = (files, dir, before_ms);
    todo!()
}
