//! Publishing: hot rows and file swaps of a table to its Delta log.
//!
//! ```text
//! state at L → Parquet files, synced → seal the rows → one Delta commit {files, swaps, definition, txn L} → swap the state
//! ```
//! Rows may be deleted while their file is being written: then the attempt is given up and made again with the rows
//! sealed from the start. Once they are sealed nobody may remove them until the swap: between the Delta commit and the
//! swap they are in both places, and only the swap makes that one.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Durability;
use super::shared::Shared;
use tokio::sync::OwnedRwLockWriteGuard;

use crate::hot::HotChunk;
use crate::snapshot::{Published, Snapshot, TableState, take_chunks};
use crate::table::adapt;
use crate::table::delta::{self, DeltaCommit};
use crate::table::file::FileEntry;
use crate::table::scan::source::FileAccess;
use crate::table::warm::warm;
use crate::table::writer::{TableWriter, WriteOptions};
use crate::{Error, Lsn, Oid, Result};

/// One attempt's view of the table.
struct Attempt<'a> {
    shared: &'a Arc<Shared>,
    dir: PathBuf,
    state: Arc<TableState>,
    /// The commit stands for everything up to here.
    lsn: Lsn,
    ids: Arc<HashSet<u64>>,
    now_us: i64,
}

/// The net effect of the table's unpublished file swaps.
#[derive(Default)]
struct NetSwap {
    adds: Vec<Arc<FileEntry>>,
    removes: Vec<Arc<FileEntry>>,
    /// Added and removed again before anyone else saw them.
    vanished: Vec<Arc<FileEntry>>,
    is_data_change: bool,
}

/// So often rows are not moved because a statement holds them; then the next one waits for that statement.
const PUT_OFF_MAX: u32 = 5;

/// The newest files before a flush, by which it is known what readers read of new ones.
const FILES_FOLLOWED: usize = 8;

/// Publishes what the table has that its Delta log does not. Nothing to publish, or no such table: nothing is done. `access`: to
/// its files, if there are rows.
pub(super) fn flush(shared: &Arc<Shared>, access: Option<&FileAccess>, table: Oid, now_us: i64) -> Result<()> {
    let lock = shared.publishing.of(table);
    let _publishing = lock.lock();
    // A first look: rows that a statement holds now are not worth a file.
    if claim(shared, table).is_none() {
        return Ok(());
    }
    let is_done = attempt(shared, access, table, now_us, false)?;
    if !is_done {
        attempt(shared, access, table, now_us, true)?;
    }
    Ok(())
}

/// The right to move the table's rows. `None` while statements hold them, but not for ever.
pub(super) fn claim(shared: &Shared, table: Oid) -> Option<OwnedRwLockWriteGuard<()>> {
    let movement = shared.moving.of(table);
    let lock = Arc::clone(&movement.lock);
    if let Ok(claim) = Arc::clone(&lock).try_write_owned() {
        movement.put_off.store(0, Ordering::Relaxed);
        return Some(claim);
    }
    if movement.put_off.fetch_add(1, Ordering::Relaxed) < PUT_OFF_MAX {
        return None;
    }
    let claim = futures::executor::block_on(lock.write_owned());
    movement.put_off.store(0, Ordering::Relaxed);
    Some(claim)
}

/// False if rows were deleted meanwhile; nothing was changed then.
fn attempt(
    shared: &Arc<Shared>,
    access: Option<&FileAccess>,
    table: Oid,
    now_us: i64,
    seal_first: bool,
) -> Result<bool> {
    let snapshot = shared.snapshot();
    let Some(state) = snapshot.table(table).filter(|state| state.is_dirty()) else { return Ok(true) };
    if shared.options.durability == Durability::Os {
        // The Delta log must not know rows that the log may forget.
        shared.queue.sync()?;
    }
    let ids: HashSet<u64> = state.chunks.iter().flat_map(|chunk| &chunk.ids).copied().collect();
    let attempt = Attempt {
        shared,
        dir: shared.table_dir(table),
        state: Arc::clone(state),
        lsn: snapshot.lsn,
        ids: Arc::new(ids),
        now_us,
    };
    // A long flush must not keep the rows of every table alive.
    drop(snapshot);
    let mut claimed = if seal_first { claim(shared, table) } else { None };
    if seal_first && (claimed.is_none() || !attempt.seal()?) {
        return Ok(false);
    }
    let written = match attempt.write_rows() {
        Ok(written) => written,
        Err(error) => {
            attempt.give_up(&[]);
            return Err(error);
        }
    };
    if let Some(access) = access.filter(|_| !seal_first) {
        let files = &attempt.state.files.files;
        warm(access, &attempt.state.def, &files[files.len().saturating_sub(FILES_FOLLOWED)..], &written);
    }
    if !seal_first {
        claimed = claim(shared, table);
        if claimed.is_none() || !attempt.seal().inspect_err(|_| attempt.give_up(&written))? {
            attempt.remove_files(&written);
            // Held by a statement: another time.
            return Ok(claimed.is_none());
        }
    }
    let net = net_swap(&attempt.state, attempt.lsn);
    let version = attempt.commit(&written, &net)?;
    attempt.swap(version, &written)?;
    drop(claimed);
    let mut garbage = shared.garbage.lock();
    garbage.note_removed(table, &net.removes, false, now_us);
    garbage.note_removed(table, &net.vanished, true, now_us);
    Ok(true)
}

impl Attempt<'_> {
    fn write_rows(&self) -> Result<Vec<Arc<FileEntry>>> {
        self.shared.files.create_dir(&self.dir)?;
        if self.state.chunks.is_empty() {
            return Ok(Vec::new());
        }
        let mut written = vec![];
        for chunks in self.runs() {
            let options = WriteOptions {
                lsn_min: chunks.iter().map(|chunk| chunk.lsn_min).min().unwrap_or(self.lsn),
                lsn_max: chunks.iter().map(|chunk| chunk.lsn_max).max().unwrap_or(self.lsn),
                now_ms: self.now_us / 1000,
                ..WriteOptions::default()
            };
            let mut writer = TableWriter::new(Arc::clone(&self.shared.files), &self.dir, &self.state.def, options);
            for chunk in chunks {
                writer.write(adapt::chunk(&chunk.batch, &self.state.def, None)?)?;
            }
            written.extend(writer.finish()?);
        }
        Ok(written)
    }

    /// The chunks that go to files together: all, but of an upsert table none that came before some file with others that
    /// came after it, since a file's rows arrived when the last of them did.
    fn runs(&self) -> Vec<Vec<Arc<HotChunk>>> {
        let chunks = &self.state.chunks;
        let (Some(first), Some(last), Some(_)) = (chunks.first(), chunks.last(), self.state.def.version_column())
        else {
            return vec![chunks.clone()];
        };
        let files = self.state.files.files.iter().map(|file| file.lsn_max);
        let between: BTreeSet<Lsn> = files.filter(|lsn| (first.lsn_min..last.lsn_max).contains(lsn)).collect();
        let mut runs: Vec<Vec<Arc<HotChunk>>> = vec![];
        for chunk in chunks {
            let mut rest = Some(Arc::clone(chunk));
            while let Some(chunk) = rest.take() {
                // Of a chunk that has inserts from before and after a file, those before.
                let edge = between.range(chunk.lsn_min..chunk.lsn_max).next();
                let (chunk, after) = match edge {
                    Some(edge) => {
                        let (before, after): (Vec<_>, Vec<_>) = chunk.inserts().partition(|insert| insert.1 <= *edge);
                        let ids = |part: Vec<(u64, Lsn, _)>| part.into_iter().map(|(id, _, _)| id).collect();
                        let (before, after): (HashSet<u64>, HashSet<u64>) = (ids(before), ids(after));
                        (chunk.without(&after).pop(), chunk.without(&before).pop())
                    }
                    None => (Some(chunk), None),
                };
                rest = after;
                let Some(chunk) = chunk else { continue };
                match runs.last_mut() {
                    Some(run)
                        if run
                            .last()
                            .is_some_and(|last| between.range(last.lsn_max..chunk.lsn_min).next().is_none()) =>
                    {
                        run.push(chunk);
                    }
                    _ => runs.push(vec![chunk]),
                }
            }
        }
        runs
    }

    /// Forbids the removal of the rows. False if some are gone already.
    fn seal(&self) -> Result<bool> {
        let (table, ids, shaped_lsn) = (self.state.oid, Arc::clone(&self.ids), self.state.shaped_lsn);
        let sealed = self.shared.queue.run(Box::new(move |snapshot: &mut Snapshot| {
            let gone = || Err(Error::Conflict { oid: table, detail: "rows were changed".to_owned() });
            let Some(state) = snapshot.tables.get_mut(table) else { return gone() };
            let there = state.chunks.iter().flat_map(|chunk| &chunk.ids).filter(|id| ids.contains(id)).count();
            // Files of rows that are of other types now would be read as if they were of these.
            if there != ids.len() || state.shaped_lsn != shaped_lsn {
                return gone();
            }
            state.sealed = Some(Arc::clone(&ids));
            Ok(())
        }));
        match sealed {
            Ok(()) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn commit(&self, written: &[Arc<FileEntry>], net: &NetSwap) -> Result<u64> {
        let version = self.state.published.version.map_or(0, |version| version + 1);
        let adds: Vec<_> = written.iter().chain(&net.adds).map(Arc::clone).collect();
        let data_change = net.is_data_change || !written.is_empty();
        let operation = match (version, data_change, adds.is_empty() && net.removes.is_empty()) {
            (0, _, _) => "CREATE TABLE",
            (_, true, _) => "WRITE",
            (_, false, true) => "ALTER TABLE",
            (_, false, false) => "OPTIMIZE",
        };
        let commit = DeltaCommit {
            def: self.state.def.as_ref(),
            def_changed: self.state.is_def_unpublished(),
            adds: &adds,
            removes: &net.removes,
            app_id: &self.shared.app_id,
            lsn: self.lsn,
            now_ms: self.now_us / 1000,
            data_change,
            operation,
        };
        let files = self.shared.files.as_ref();
        let Err(error) = delta::commit(files, &self.dir, version, &commit) else { return Ok(version) };
        // Did it happen? A failed fsync of the folder leaves the name there, but not for sure: only recovery may decide.
        let is_there = !matches!(error, Error::AlreadyExists { .. })
            && match delta::open(files, &self.dir) {
                Ok(state) => state.is_some_and(|state| state.version >= version),
                Err(_) => true,
            };
        if is_there {
            let reason = format!("cannot tell whether a Delta commit is durable: {error}");
            self.shared.queue.poison(&reason);
            return Err(Error::Poisoned(reason));
        }
        self.give_up(written);
        Err(match error {
            Error::AlreadyExists { .. } => Error::Invalid(format!(
                "another program committed version {version} of the Delta table \"{}\"",
                self.dir.display()
            )),
            error => error,
        })
    }

    /// Makes the files visible and the rows they hold gone from memory, at once.
    fn swap(&self, version: u64, written: &[Arc<FileEntry>]) -> Result<()> {
        let (table, lsn, ids) = (self.state.oid, self.lsn, Arc::clone(&self.ids));
        let written: Vec<_> = written.iter().map(Arc::clone).collect();
        self.shared.queue.run(Box::new(move |snapshot: &mut Snapshot| {
            // Dropped meanwhile: nothing to show.
            let Some(state) = snapshot.tables.get_mut(table) else { return Ok(()) };
            let taken = take_chunks(state, &ids);
            assert_eq!(taken, ids.len(), "sealed rows stay until the swap");
            let files = state.files.with(&written, &[]);
            state.files = Arc::new(files.expect("nothing is removed"));
            state.unpublished.retain(|swap| swap.lsn > lsn);
            state.published = Published { version: Some(version), lsn };
            state.replay_from = state.replay_from.max(lsn);
            state.sealed = None;
            Ok(())
        }))
    }

    /// After a failure: the rows stay hot, the files go.
    fn give_up(&self, written: &[Arc<FileEntry>]) {
        let table = self.state.oid;
        let unsealed = self.shared.queue.run(Box::new(move |snapshot: &mut Snapshot| {
            if let Some(state) = snapshot.tables.get_mut(table) {
                state.sealed = None;
            }
            Ok(())
        }));
        if let Err(error) = unsealed {
            tracing::warn!(table, %error, "cannot unseal rows after a failed flush");
        }
        self.remove_files(written);
    }

    fn remove_files(&self, written: &[Arc<FileEntry>]) {
        remove_files(self.shared, &self.dir, written);
    }
}

/// Removes files that nothing names. Best effort: what stays is found at the next start.
pub(super) fn remove_files(shared: &Shared, dir: &Path, written: &[Arc<FileEntry>]) {
    for file in written {
        if let Err(error) = shared.files.remove(&dir.join(&file.path)) {
            tracing::warn!(path = file.path, %error, "cannot remove a file that is not needed");
        }
    }
}

fn net_swap(state: &TableState, lsn: Lsn) -> NetSwap {
    let mut net = NetSwap::default();
    for swap in state.unpublished.iter().filter(|swap| swap.lsn <= lsn) {
        net.is_data_change |= swap.data_change;
        for file in &swap.removes {
            match net.adds.iter().position(|added| added.path == file.path) {
                Some(place) => net.vanished.push(net.adds.swap_remove(place)),
                None => net.removes.push(Arc::clone(file)),
            }
        }
        net.adds.extend(swap.adds.iter().map(Arc::clone));
    }
    net
}
