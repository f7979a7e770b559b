//! The Delta log: commits, replay, checkpoints.
//!
//! ```text
//! _delta_log/00000000000000000000.json              commitInfo, protocol, metaData, add…, remove…, txn: one action a line
//! _delta_log/00000000000000000010.checkpoint.parquet   all that is true at version 10
//! _delta_log/_last_checkpoint
//! ```
//! One writer per table: whoever owns the data directory. A commit is one file that must not exist yet, so a second
//! writer fails instead of forking the table. What [`FileEntry`] knows beyond Delta travels in the `add` action's tags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::fault::FileLayer;
use crate::record::TableDef;
use crate::table::file::FileEntry;
use crate::{Error, Lsn, Result};

mod action;
mod checkpoint;
mod replay;
mod schema;

pub use checkpoint::checkpoint;
pub use replay::{open, open_since};

/// The folder of the log in the table's folder.
const LOG_DIR: &str = "_delta_log";
/// Applications whose `txn` versions are positions in our log.
const APP_PREFIX: &str = "tidemill/";

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
    /// The newest `protocol` action.
    pub protocol: Value,
    /// The newest `metaData` action.
    pub metadata: Value,
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
    /// The definition now.
    pub def: &'a TableDef,
    /// True in the first commit and whenever the definition changed since the last one.
    pub def_changed: bool,
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

/// Commits `version` durably, if it is not there yet. The files named must be durable.
///
/// # Errors
/// `AlreadyExists` if another writer took the version; `DiskFull`, `Io`.
pub fn commit(files: &dyn FileLayer, dir: &Path, version: u64, commit: &DeltaCommit<'_>) -> Result<()> {
    let log = dir.join(LOG_DIR);
    if version == 0 {
        files.create_dir(&log)?;
        files.sync_dir(dir)?;
    }
    let mut lines = String::new();
    for action in actions(dir, commit) {
        lines.push_str(&action.to_string());
        lines.push('\n');
    }
    files.put(&commit_path(&log, version), lines.as_bytes(), true)
}

/// The actions of a commit, in the order in which readers expect them.
fn actions(dir: &Path, commit: &DeltaCommit<'_>) -> Vec<Value> {
    let mut actions = vec![json!({"commitInfo": {
        "timestamp": commit.now_ms,
        "operation": commit.operation,
        "operationParameters": {},
        "isBlindAppend": commit.data_change && commit.removes.is_empty() && !commit.adds.is_empty(),
        "engineInfo": concat!("tidemill/", env!("CARGO_PKG_VERSION")),
    }})];
    if commit.def_changed {
        actions.push(json!({"protocol": schema::protocol(commit.def)}));
        actions.push(json!({"metaData": schema::metadata(commit.def, &table_id(dir), commit.now_ms)}));
    }
    actions.push(json!({"txn": {"appId": commit.app_id, "version": commit.lsn, "lastUpdated": commit.now_ms}}));
    actions.extend(commit.removes.iter().map(|file| action::remove(file, commit.now_ms, commit.data_change)));
    actions.extend(commit.adds.iter().map(|file| action::add(file, commit.def, commit.data_change)));
    actions
}

/// Delta's table id: the same in every commit, made from the folder's name (FNV-1a, 128 bits).
fn table_id(dir: &Path) -> String {
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let hash = name.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    uuid::Builder::from_random_bytes(hash.to_be_bytes()).into_uuid().to_string()
}

/// Deletes data files removed before `before_ms`, and commits and checkpoints that the newest checkpoint replaces and
/// that are older than it. Call [`checkpoint`] with the same time afterwards, which forgets the deleted files. Returns
/// the number of data files deleted.
///
/// # Errors
/// `Corrupt`, `Io`.
pub fn clean_up(files: &dyn FileLayer, dir: &Path, before_ms: i64) -> Result<usize> {
    let Some(state) = open(files, dir)? else { return Ok(0) };
    let mut deleted = 0;
    for file in state.removed.iter().filter(|file| file.removed_ms < before_ms) {
        files.remove(&dir.join(&file.path))?;
        deleted += 1;
    }
    let Some(newest) = state.checkpoint else { return Ok(deleted) };
    let log = dir.join(LOG_DIR);
    let listing = replay::Listing::read(files, dir)?;
    let mut oldest_kept = newest;
    for &version in listing.commits.iter().filter(|&&version| version < newest) {
        if replay::commit_time(files, &commit_path(&log, version))?.is_none_or(|time_ms| time_ms >= before_ms) {
            oldest_kept = version;
            break;
        }
        files.remove(&commit_path(&log, version))?;
    }
    for &version in listing.checkpoints.iter().filter(|&&version| version < oldest_kept) {
        files.remove(&checkpoint_path(&log, version))?;
    }
    Ok(deleted)
}

fn commit_path(log: &Path, version: u64) -> PathBuf {
    log.join(format!("{version:020}.json"))
}

fn checkpoint_path(log: &Path, version: u64) -> PathBuf {
    log.join(format!("{version:020}.checkpoint.parquet"))
}

fn corrupt(path: &Path, detail: impl std::fmt::Display) -> Error {
    Error::Corrupt { path: path.display().to_string(), detail: detail.to_string() }
}

#[cfg(test)]
mod tests;
