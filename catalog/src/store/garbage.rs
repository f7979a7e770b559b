//! Files nobody needs any more: which, since when, and who may still be reading them.
//!
//! Files that leave a table stay for the retention time (other programs read older Delta versions), and as long as a
//! snapshot still held names them. Their Delta log remembers them over a restart. What no log ever named (an aborted
//! COPY of an earlier run, a folder of a table that was never committed) is found when the directory is opened, while
//! nobody writes.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::fault::FileLayer;
use crate::record::Change;
use crate::snapshot::{Snapshot, TableState};
use crate::table::delta::RemovedFile;
use crate::table::file::FileEntry;
use crate::{Lsn, Oid, Result};

/// See the module doc.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    /// Files that left a table in this run.
    removed: Vec<Removed>,
    /// Tables dropped in this run.
    dropped: Vec<Dropped>,
    /// Files and folders of an earlier run that nothing names.
    orphans: Vec<PathBuf>,
    /// Tables whose Delta log names removed files, and since when each, microseconds since the epoch.
    tombstones: HashMap<Oid, Vec<i64>>,
}

#[derive(Debug)]
struct Removed {
    table: Oid,
    path: String,
    entry: Weak<FileEntry>,
    since_us: i64,
    /// The Delta log never had it, so will not tell of it either.
    is_unknown: bool,
}

#[derive(Debug)]
struct Dropped {
    table: Oid,
    lsn: Lsn,
    state: Weak<TableState>,
    since_us: i64,
}

/// What a checkpoint deletes.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Files by table and path.
    pub(super) files: Vec<(Oid, String)>,
    /// Folders of dropped tables.
    pub(super) tables: Vec<Oid>,
    /// Orphaned files and folders.
    pub(super) orphans: Vec<PathBuf>,
    /// Tables whose Delta log knows removed files, and the time before which they may go, microseconds since the epoch.
    pub(super) tombstones: Vec<(Oid, i64)>,
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Garbage {
    /// What an earlier run left behind.
    pub(super) fn find(
        files: &dyn FileLayer,
        dir: &Path,
        snapshot: &Snapshot,
        tombstones: &HashMap<Oid, Vec<RemovedFile>>,
        now_us: i64,
    ) -> Result<Self> {
        let mut garbage = Self::default();
        for folder in files.list_dirs(&dir.join("tables"))? {
            let oid = folder.file_name().and_then(|name| name.to_str()?.parse::<Oid>().ok());
            let Some(oid) = oid else { continue };
            let removed = tombstones.get(&oid).map_or(&[][..], Vec::as_slice);
            match snapshot.table(oid) {
                Some(state) => garbage.orphans.extend(orphans(files, &folder, state, removed)?),
                None => garbage.dropped.push(Dropped { table: oid, lsn: 0, state: Weak::new(), since_us: now_us }),
            }
            if !removed.is_empty() {
                let since = removed.iter().map(|file| file.removed_ms.saturating_mul(1000));
                garbage.tombstones.insert(oid, since.collect());
            }
        }
        Ok(garbage)
    }

    /// Notes the tables that transactions drop; `before` is the state they were in.
    pub(super) fn note_drops(&mut self, transactions: &[(Lsn, &[Change])], before: &Snapshot, now_us: i64) {
        for (lsn, changes) in transactions {
            for change in *changes {
                let Change::Remove(oid) = change else { continue };
                if let Some(state) = before.table(*oid) {
                    self.dropped.push(Dropped {
                        table: *oid,
                        lsn: *lsn,
                        state: Arc::downgrade(state),
                        since_us: now_us,
                    });
                }
            }
        }
    }

    /// Notes files whose removal the Delta log has now; `is_unknown`: it never had them.
    pub(super) fn note_removed(&mut self, table: Oid, files: &[Arc<FileEntry>], is_unknown: bool, now_us: i64) {
        for file in files {
            let (path, entry) = (file.path.clone(), Arc::downgrade(file));
            self.removed.push(Removed { table, path, entry, since_us: now_us, is_unknown });
        }
        if !files.is_empty() && !is_unknown {
            self.tombstones.entry(table).or_default().push(now_us);
        }
    }

    /// True if [`Garbage::sweep`] may find something.
    pub(super) fn is_due(&self, now_us: i64, retention: Duration) -> bool {
        let until = now_us.saturating_sub(micros(retention));
        !self.orphans.is_empty()
            || self.tombstones.values().flatten().any(|since| *since <= until)
            || self.dropped.iter().any(|dropped| dropped.since_us <= until)
            || self.removed.iter().any(|removed| removed.is_unknown && removed.since_us <= until)
    }

    /// Removed files of the table may be deleted, and forgotten, if that was before this time, microseconds since the epoch.
    pub(super) fn removal_bound(&self, table: Oid, now_us: i64, retention: Duration) -> i64 {
        removal_bound(&self.removed, table, now_us.saturating_sub(micros(retention)))
    }

    /// Takes what may be deleted now. `catalog_lsn`: the catalog file's, so that recovery will not look for a dropped table.
    pub(super) fn sweep(&mut self, catalog_lsn: Lsn, now_us: i64, retention: Duration) -> Sweep {
        let until = now_us.saturating_sub(micros(retention));
        let mut sweep = Sweep { orphans: std::mem::take(&mut self.orphans), ..Sweep::default() };
        self.dropped.retain(|dropped| {
            let is_kept = dropped.since_us > until || dropped.lsn > catalog_lsn || dropped.state.strong_count() > 0;
            if !is_kept {
                sweep.tables.push(dropped.table);
            }
            is_kept
        });
        self.removed.retain(|removed| {
            let is_kept = removed.entry.strong_count() > 0 || (removed.is_unknown && removed.since_us > until);
            if !is_kept && removed.is_unknown {
                sweep.files.push((removed.table, removed.path.clone()));
            }
            is_kept
        });
        for (table, since) in &mut self.tombstones {
            let until = removal_bound(&self.removed, *table, until);
            if since.iter().any(|since| *since <= until) {
                sweep.tombstones.push((*table, until));
                since.retain(|since| *since > until);
            }
        }
        self.tombstones.retain(|_, since| !since.is_empty());
        sweep
    }
}

/// A file that a snapshot still names holds back those removed after it, too.
fn removal_bound(removed: &[Removed], table: Oid, until: i64) -> i64 {
    let held = removed.iter().filter(|removed| removed.table == table && removed.entry.strong_count() > 0);
    held.map(|removed| removed.since_us.saturating_sub(1000)).min().unwrap_or(i64::MAX).min(until)
}

/// Parquet files in the folder of a table that it does not name.
fn orphans(files: &dyn FileLayer, folder: &Path, state: &TableState, removed: &[RemovedFile]) -> Result<Vec<PathBuf>> {
    let unpublished = state.unpublished.iter().flat_map(|swap| swap.adds.iter().chain(&swap.removes));
    let live: HashSet<PathBuf> =
        state.files.files.iter().chain(unpublished).map(|file| folder.join(&file.path)).collect();
    let named: HashSet<PathBuf> = removed.iter().map(|file| folder.join(&file.path)).collect();
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(dir) = folders.pop() {
        found.extend(files.list(&dir)?.into_iter().map(|(path, _)| path));
        let inner = files.list_dirs(&dir)?.into_iter();
        folders.extend(inner.filter(|path| path.file_name().is_none_or(|name| name != "_delta_log")));
    }
    // Were a file of the table not found under the name we expect, no other judgement could be trusted either.
    let seen: HashSet<&PathBuf> = found.iter().collect();
    let is_sound = state.files.files.iter().all(|file| seen.contains(&folder.join(&file.path)));
    if !is_sound {
        tracing::warn!(folder = %folder.display(), "a table's files are not all there; leaving its folder alone");
        return Ok(Vec::new());
    }
    found.retain(|path| {
        let is_ours = path.extension().is_some_and(|extension| extension == "parquet" || extension == "tmp");
        is_ours && !live.contains(path) && !named.contains(path)
    });
    Ok(found)
}
