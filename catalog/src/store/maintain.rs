//! Checkpoints, compaction, deleting what is not needed any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::catalog_file::{self, CatalogFile, TableMark};
use super::shared::Shared;
use super::{Durability, flush};
use crate::record::{Change, Write};
use crate::snapshot::{Snapshot, TableState};
use crate::table::file::FileEntry;
use crate::table::latest::{self, Replaced};
use crate::table::scan::source::FileAccess;
use crate::table::warm::warm;
use crate::table::{compact as merging, delta};
use crate::{Lsn, Oid, Result, wal};

/// Delta commits between two Delta checkpoints: readers need read at most so many after one.
/// (In tests so few that crash tests come across them.)
const DELTA_CHECKPOINT_VERSIONS: u64 = if cfg!(test) { 4 } else { 50 };

/// Merges groups of files, each group in a transaction of its own.
pub(super) fn compact(shared: &Arc<Shared>, access: &FileAccess, table: Oid, full: bool, now_us: i64) -> Result<()> {
    let lock = shared.compacting.of(table);
    let _compacting = lock.lock();
    if flush::claim(shared, table).is_none() {
        return Ok(());
    }
    let Some(state) = shared.snapshot().table(table).map(Arc::clone) else { return Ok(()) };
    let replaced = match state.def.version_column() {
        Some(_) => Some(futures::executor::block_on(latest::replaced(access, &state, || shared.snapshot()))?),
        None => None,
    };
    for group in merging::plan(&state.files, &state.def, replaced.as_deref(), full) {
        merge(shared, access, &state, replaced.as_deref(), &group, now_us)?;
    }
    Ok(())
}

fn merge(
    shared: &Arc<Shared>,
    access: &FileAccess,
    state: &TableState,
    replaced: Option<&Replaced>,
    inputs: &[Arc<FileEntry>],
    now_us: i64,
) -> Result<()> {
    let dir = shared.table_dir(state.oid);
    let merged = merging::merge(&shared.files, &dir, &state.def, replaced, inputs, now_us / 1000)?;
    warm(access, &state.def, inputs, &merged);
    let write = Write {
        table: state.oid,
        add_files: merged.iter().map(Arc::clone).collect(),
        remove_files: inputs.iter().map(|file| file.path.clone()).collect(),
        data_change: false,
        ..Write::default()
    };
    let changes = vec![Change::Write(write)];
    // Statements that hold the files go first; if they take them, this is in conflict and in vain.
    let _claim = futures::executor::block_on(Arc::clone(&shared.moving.of(state.oid).lock).write_owned());
    let committed = wal::record::encode(&changes)
        .and_then(|payload| futures::executor::block_on(shared.queue.commit(changes, payload)));
    match committed {
        Ok(_) => {
            access.cache.forget(&inputs.iter().map(|file| dir.join(&file.path)).collect());
            Ok(())
        }
        // After a failed fsync the log may have the transaction after all, and recovery would look for its files.
        Err(error @ crate::Error::Poisoned(_)) => Err(error),
        Err(error) => {
            flush::remove_files(shared, &dir, &merged);
            Err(error)
        }
    }
}

/// See [`super::Store::checkpoint`].
pub(super) fn checkpoint(shared: &Arc<Shared>, now_us: i64) -> Result<()> {
    let lock = shared.publishing.of(0);
    let _checkpointing = lock.lock();
    let published = publish_definitions(shared, now_us);
    if shared.options.durability == Durability::Os {
        shared.queue.sync()?;
    }
    let snapshot = shared.snapshot();
    write_catalog(shared, &snapshot, now_us)?;
    delete_segments(shared, Shared::needed_after(&snapshot, snapshot.lsn))?;
    delete_garbage(shared, snapshot.lsn, now_us)?;
    checkpoint_deltas(shared, &snapshot, now_us)?;
    shared.publishing.retain(|table| table == 0 || snapshot.table(table).is_some());
    shared.compacting.retain(|table| snapshot.table(table).is_some());
    shared.moving.retain(|table| snapshot.table(table).is_some());
    published
}

/// Tables that wait for nothing but a Delta commit get it: other programs see them, and they hold back no log.
fn publish_definitions(shared: &Arc<Shared>, now_us: i64) -> Result<()> {
    let snapshot = shared.snapshot();
    let mut result = Ok(());
    for table in snapshot.tables.values().filter(|table| table.is_dirty() && table.chunks.is_empty()) {
        // One table that cannot be published must not keep the others' log.
        if let Err(error) = flush::flush(shared, None, table.oid, now_us) {
            tracing::warn!(table = table.oid, %error, "cannot publish a table");
            result = Err(error);
        }
    }
    result
}

fn write_catalog(shared: &Shared, snapshot: &Snapshot, now_us: i64) -> Result<()> {
    let next_oid = shared.next_oid.load(Ordering::Acquire);
    let (lsn, known_oid) = {
        let last = shared.checkpointed.lock();
        (last.lsn, last.next_oid)
    };
    if lsn < snapshot.lsn || known_oid < next_oid {
        let mark = |table: &Arc<TableState>| {
            let replay_from = if table.is_dirty() { table.replay_from } else { snapshot.lsn };
            (table.oid, TableMark { def_lsn: table.def_lsn, replay_from })
        };
        let file = CatalogFile {
            lsn: snapshot.lsn,
            next_oid,
            next_chunk_id: shared.next_chunk_id.load(Ordering::Acquire),
            epoch: shared.epoch.to_string(),
            objects: snapshot.catalog.objects.values().map(Arc::clone).collect(),
            tables: snapshot.tables.values().map(mark).collect(),
            sequences: snapshot.sequences.iter().map(|(oid, mark)| (*oid, *mark)).collect(),
        };
        catalog_file::write(shared.files.as_ref(), &shared.options.dir, &file)?;
    }
    let mut last = shared.checkpointed.lock();
    last.lsn = snapshot.lsn;
    last.next_oid = next_oid;
    last.at_us = now_us;
    Ok(())
}

/// Deletes the segments whose records are all ≤ `needed_after`; the one being written stays.
fn delete_segments(shared: &Shared, needed_after: Lsn) -> Result<()> {
    let unneeded: Vec<_> = {
        let segments = shared.segments.lock();
        let next = segments.iter().skip(1);
        segments
            .iter()
            .zip(next)
            .take_while(|(_, next)| next.first_lsn <= needed_after.saturating_add(1))
            .map(|(segment, _)| segment.clone())
            .collect()
    };
    if unneeded.is_empty() {
        return Ok(());
    }
    for segment in &unneeded {
        shared.files.remove(&segment.path)?;
        shared.segments.lock().retain(|other| other.first_lsn != segment.first_lsn);
    }
    shared.files.sync_dir(&shared.options.dir.join("wal"))
}

fn delete_garbage(shared: &Shared, catalog_lsn: Lsn, now_us: i64) -> Result<()> {
    let sweep = shared.garbage.lock().sweep(catalog_lsn, now_us, shared.options.file_retention);
    for path in &sweep.orphans {
        tracing::info!(path = %path.display(), "deleting a file that no table names");
        shared.files.remove(path)?;
    }
    for (table, path) in &sweep.files {
        shared.files.remove(&shared.table_dir(*table).join(path))?;
    }
    for (table, before_us) in &sweep.tombstones {
        let lock = shared.publishing.of(*table);
        let _publishing = lock.lock();
        delta::clean_up(shared.files.as_ref(), &shared.table_dir(*table), before_us / 1000)?;
    }
    for table in &sweep.tables {
        tracing::info!(table, "deleting the folder of a dropped table");
        shared.files.remove_dir(&shared.table_dir(*table))?;
    }
    Ok(())
}

fn checkpoint_deltas(shared: &Shared, snapshot: &Snapshot, now_us: i64) -> Result<()> {
    for table in snapshot.tables.values() {
        let last = shared.checkpointed.lock().delta.get(&table.oid).copied();
        let Some(version) = table.published.version else { continue };
        if version < last.map_or(0, |last| last + 1).saturating_add(DELTA_CHECKPOINT_VERSIONS - 1) {
            continue;
        }
        let lock = shared.publishing.of(table.oid);
        let _publishing = lock.lock();
        let dir = shared.table_dir(table.oid);
        // A checkpoint forgets what was removed before; so those files must go first.
        let before_us = shared.garbage.lock().removal_bound(table.oid, now_us, shared.options.file_retention);
        delta::clean_up(shared.files.as_ref(), &dir, before_us / 1000)?;
        if let Some(version) = delta::checkpoint(shared.files.as_ref(), &dir, before_us / 1000)? {
            shared.checkpointed.lock().delta.insert(table.oid, version);
        }
    }
    Ok(())
}
