//! The rules of change: which transaction may follow which state, and what comes out.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Catalog, FileSwap, Snapshot, TableState};
use crate::hot::{self, HotChunk};
use crate::record::{Body, Change, Object, Write};
use crate::sequence::Mark;
use crate::table::file::FileEntry;
use crate::{Error, Lsn, Oid, Result};

/// The next [`Catalog::version`] of the process.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

/// Objects from this oid on belong to one session (temporary tables); [`crate::store::Store`] never gives such an oid.
const SESSION_OIDS: Oid = 0x8000_0000;

fn conflict<T>(oid: Oid, detail: impl Into<String>) -> Result<T> {
    Err(Error::Conflict { oid, detail: detail.into() })
}

impl Snapshot {
    /// [`Snapshot::apply`] without the copy: on error the state is undefined and must be dropped.
    pub(crate) fn apply_in_place(&mut self, changes: &[Change], lsn: Lsn) -> Result<()> {
        let written = self.apply_uncoalesced(changes, lsn)?;
        written.into_iter().try_for_each(|oid| self.coalesce(oid))
    }

    /// As [`Self::apply_in_place`], but leaves small chunks as they are. The tables written to.
    pub(crate) fn apply_uncoalesced(&mut self, changes: &[Change], lsn: Lsn) -> Result<Vec<Oid>> {
        let mut written = Vec::new();
        let mut retyped = Vec::new();
        for change in changes {
            retyped.extend(self.apply_one(change, lsn)?);
            if let Change::Write(write) = change {
                written.push(write.table);
            }
        }
        self.settle(&retyped, lsn)?;
        self.lsn = lsn;
        // Coalesced at the end: a transaction that removes a chunk it made itself finds it alone.
        Ok(written)
    }

    /// Applies one change of several; the table whose columns became other types, to be settled when all are applied.
    pub(crate) fn apply_one(&mut self, change: &Change, lsn: Lsn) -> Result<Option<Oid>> {
        match change {
            Change::Put(object) => return Ok(self.put(object, lsn)?.then_some(object.oid)),
            Change::Remove(oid) => self.remove(*oid)?,
            Change::Expect(oid, version) => self.expect(*oid, *version)?,
            Change::ExpectUsers(oid, users) if self.catalog.users_of_type(*oid) == *users => {}
            Change::ExpectUsers(oid, _) => conflict(*oid, "what uses it changed")?,
            Change::Sequence(oid, mark) => self.mark(*oid, mark),
            Change::Write(write) => self.write(write, lsn)?,
        }
        Ok(None)
    }

    /// Rows of tables whose columns became other types.
    pub(crate) fn settle(&mut self, retyped: &[Oid], lsn: Lsn) -> Result<()> {
        for oid in retyped {
            if let Some(state) = self.tables.get_mut(*oid) {
                settle_types(state, lsn)?;
            }
        }
        Ok(())
    }

    /// Merges small chunks of a table.
    pub(crate) fn coalesce(&mut self, table: Oid) -> Result<()> {
        match self.tables.get_mut(table) {
            Some(state) => hot::coalesce(&mut state.chunks),
            None => Ok(()),
        }
    }

    /// This state with one more relation, for reading only: `object`, a table by its body, has the rows that changes add to
    /// `table` and no others.
    ///
    /// # Errors
    /// `Invalid` for rows that the object's definition does not fit.
    pub fn with_rows(&self, object: Arc<Object>, table: Oid, changes: &[Change]) -> Result<Self> {
        let Body::Table(def) = &object.body else {
            return Err(Error::Invalid(format!("\"{}\" is not a table", object.name)));
        };
        let mut rows = Self { now_us: self.now_us, ..Self::default() };
        rows.tables.insert(Arc::new(TableState::new(table, Arc::clone(def), self.lsn)));
        for change in changes {
            if let Change::Write(write) = change
                && write.table == table
            {
                let (add_chunks, add_files) = (write.add_chunks.clone(), write.add_files.clone());
                rows.write(&Write { table, add_chunks, add_files, data_change: true, ..Write::default() }, self.lsn)?;
            }
        }
        let mut next = self.clone();
        if let Some(state) = rows.tables.get(&table) {
            next.tables.insert_as(object.oid, Arc::clone(state));
        }
        Arc::make_mut(&mut next.catalog).insert(&object);
        Ok(next)
    }

    /// True if columns of a table became other types.
    fn put(&mut self, object: &Arc<Object>, lsn: Lsn) -> Result<bool> {
        let stored = self.catalog.objects.get(&object.oid);
        check_put(&self.catalog, stored, object)?;
        let mut is_retyped = false;
        if let Body::Table(def) = &object.body {
            match self.tables.get_mut(object.oid) {
                Some(state) if state.def == *def => {}
                Some(state) => {
                    if !state.is_dirty() {
                        state.replay_from = lsn.saturating_sub(1);
                    }
                    is_retyped =
                        state.def.columns.iter().any(|old| {
                            def.columns.iter().any(|new| new.id == old.id && new.data_type != old.data_type)
                        });
                    if is_retyped || state.def.unique_keys() != def.unique_keys() {
                        state.shaped_lsn = lsn;
                    }
                    let empty = TableState::new(object.oid, Arc::clone(def), lsn);
                    state.def = empty.def;
                    state.schema = empty.schema;
                    state.physical_schema = empty.physical_schema;
                    state.def_lsn = lsn;
                }
                None => {
                    let mut state = TableState::new(object.oid, Arc::clone(def), lsn);
                    state.replay_from = lsn.saturating_sub(1);
                    self.tables.insert(Arc::new(state));
                }
            }
        }
        if let Body::Sequence(def) = &object.body
            && self.sequences.get(&object.oid).is_some_and(|mark| mark.generation != def.generation)
        {
            Arc::make_mut(&mut self.sequences).remove(&object.oid);
        }
        Arc::make_mut(&mut self.catalog).insert(object);
        Ok(is_retyped)
    }

    fn mark(&mut self, oid: Oid, mark: &Mark) {
        let known = self.catalog.objects.get(&oid);
        if known.is_some_and(|object| matches!(&object.body, Body::Sequence(def) if def.generation == mark.generation))
        {
            Arc::make_mut(&mut self.sequences).insert(oid, *mark);
        }
    }

    fn expect(&self, oid: Oid, version: u64) -> Result<()> {
        match self.catalog.objects.get(&oid) {
            Some(object) if object.version == version => Ok(()),
            Some(object) => conflict(oid, format!("{} \"{}\" was altered", object.body.kind(), object.name)),
            None => conflict(oid, "it was dropped"),
        }
    }

    fn remove(&mut self, oid: Oid) -> Result<()> {
        if !self.catalog.objects.contains_key(&oid) {
            return conflict(oid, "it was dropped");
        }
        if self.catalog.children(oid).next().is_some() {
            return conflict(oid, "other objects are in it");
        }
        let needed = |object: &Object| object.owner == oid || object.depends_on.contains(&oid);
        if let Some(dependent) = self.catalog.objects.values().find(|object| object.oid != oid && needed(object)) {
            return conflict(oid, format!("{} \"{}\" depends on it", dependent.body.kind(), dependent.name));
        }
        Arc::make_mut(&mut self.catalog).remove(oid);
        self.tables.remove(oid);
        if self.sequences.contains_key(&oid) {
            Arc::make_mut(&mut self.sequences).remove(&oid);
        }
        Ok(())
    }

    fn write(&mut self, write: &Write, lsn: Lsn) -> Result<()> {
        let now_us = self.now_us;
        let Some(state) = self.tables.get_mut(write.table) else {
            return conflict(write.table, "the table was dropped");
        };
        if let Some(made_on) = write.made_on {
            // What this transaction did itself it knew.
            let is_later = |other: Lsn| other > made_on && other != lsn;
            if is_later(state.shaped_lsn) {
                return conflict(write.table, "columns of the table were altered");
            }
            if write.alone && is_later(state.written_lsn) {
                return conflict(write.table, "rows were written meanwhile");
            }
        }
        if !state.is_dirty() {
            state.replay_from = lsn.saturating_sub(1);
        }
        if write.data_change {
            state.written_lsn = lsn;
        }
        remove_chunks(state, &write.remove_chunks)?;
        swap_files(state, write, lsn, now_us)?;
        for chunk in &write.add_chunks {
            if chunk.batch.num_rows() == 0 {
                continue;
            }
            let chunk = hot::to_physical(chunk, &state.def, &state.physical_schema)?;
            state.chunks.push(Arc::new(HotChunk::new(chunk.id, chunk.batch.clone(), lsn, now_us)));
        }
        Ok(())
    }
}

fn check_put(catalog: &Catalog, stored: Option<&Arc<Object>>, object: &Object) -> Result<()> {
    let class = object.body.name_class();
    match stored {
        Some(stored) if std::mem::discriminant(&stored.body) != std::mem::discriminant(&object.body) => {
            return conflict(object.oid, format!("\"{}\" is another kind of object now", stored.name));
        }
        Some(stored) if object.version != stored.version + 1 => {
            return conflict(object.oid, format!("{} \"{}\" was altered", stored.body.kind(), stored.name));
        }
        None if object.version != 1 => {
            return conflict(object.oid, format!("{} \"{}\" was dropped", object.body.kind(), object.name));
        }
        _ => {}
    }
    if let Some(other) = catalog.find(object.parent, class, &object.name)
        && other.oid != object.oid
    {
        return Err(Error::AlreadyExists { kind: other.body.kind(), name: object.name.clone() });
    }
    let parent = catalog.get(object.parent).map(|parent| &parent.body);
    let is_parent_right = match object.body {
        Body::Database {} | Body::Role(_) => object.parent == 0,
        Body::Schema {} => matches!(parent, Some(Body::Database {})),
        Body::Table(_) | Body::View(_) | Body::Source(_) | Body::Sequence(_) | Body::Type(_) => {
            matches!(parent, Some(Body::Schema {}))
        }
    };
    if !is_parent_right {
        return conflict(
            object.parent,
            format!("what contains {} \"{}\" was dropped", object.body.kind(), object.name),
        );
    }
    // A session's temporary objects are in a snapshot of their own; what they refer to beyond it is not there.
    if object.oid >= SESSION_OIDS {
        return Ok(());
    }
    let is_own_owner = object.owner == object.oid;
    if !is_own_owner && !matches!(catalog.get(object.owner).map(|owner| &owner.body), Some(Body::Role(_))) {
        return conflict(object.owner, format!("the owner of {} \"{}\" was dropped", object.body.kind(), object.name));
    }
    if let Some(missing) = object.depends_on.iter().find(|oid| catalog.get(**oid).is_none()) {
        return conflict(*missing, format!("what {} \"{}\" depends on was dropped", object.body.kind(), object.name));
    }
    Ok(())
}

/// Rows that came after those which a transaction wrote again with other types: hot ones are cast where that loses nothing.
fn settle_types(state: &mut TableState, lsn: Lsn) -> Result<()> {
    // Recovery of what the Delta log has already: its files are of the types now.
    if state.published.lsn >= lsn {
        return Ok(());
    }
    if state.sealed.is_some() {
        return conflict(state.oid, "the rows are being moved to files");
    }
    if state.files.files.iter().any(|file| file.lsn_max != lsn) {
        return conflict(state.oid, "files were written meanwhile");
    }
    for chunk in &mut state.chunks {
        match chunk.retyped(&state.def)? {
            Some(Some(cast)) => *chunk = Arc::new(cast),
            Some(None) => {}
            None => return conflict(state.oid, "rows were written meanwhile"),
        }
    }
    Ok(())
}

fn remove_chunks(state: &mut TableState, ids: &[u64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let gone: HashSet<u64> = ids.iter().copied().collect();
    if state.sealed.as_ref().is_some_and(|sealed| !sealed.is_disjoint(&gone)) {
        return conflict(state.oid, "the rows are being moved to files");
    }
    let found = take_chunks(state, &gone);
    if found != gone.len() {
        return conflict(state.oid, "rows were changed or moved to files");
    }
    Ok(())
}

/// Takes inserts out of the chunks; how many of them were there.
pub(crate) fn take_chunks(state: &mut TableState, gone: &HashSet<u64>) -> usize {
    let mut found = 0;
    let mut left = Vec::with_capacity(state.chunks.len());
    for chunk in state.chunks.drain(..) {
        match chunk.ids.iter().filter(|id| gone.contains(id)).count() {
            0 => left.push(chunk),
            all if all == chunk.ids.len() => found += all,
            some => {
                found += some;
                left.extend(chunk.without(gone));
            }
        }
    }
    state.chunks = left;
    found
}

fn swap_files(state: &mut TableState, write: &Write, lsn: Lsn, now_us: i64) -> Result<()> {
    if write.add_files.is_empty() && write.remove_files.is_empty() {
        return Ok(());
    }
    let gone: HashSet<&str> = write.remove_files.iter().map(String::as_str).collect();
    let removes: Vec<_> =
        state.files.files.iter().filter(|file| gone.contains(file.path.as_str())).map(Arc::clone).collect();
    if removes.len() != gone.len() {
        return conflict(state.oid, "rows were changed or their files merged");
    }
    let adds: Vec<_> = write.add_files.iter().map(|file| stamped(file, lsn)).collect();
    let files = state.files.with(&adds, &write.remove_files);
    state.files = Arc::new(files.or_else(|path| conflict(state.oid, format!("file \"{path}\" was replaced")))?);
    state.unpublished.push(Arc::new(FileSwap {
        lsn,
        adds,
        removes,
        data_change: write.data_change,
        created_us: now_us,
    }));
    Ok(())
}

/// A file written before its transaction had an LSN gets it now.
fn stamped(file: &Arc<FileEntry>, lsn: Lsn) -> Arc<FileEntry> {
    if file.lsn_max > 0 {
        return Arc::clone(file);
    }
    Arc::new(FileEntry { lsn_min: lsn, lsn_max: lsn, ..FileEntry::clone(file) })
}

impl Catalog {
    /// Adds or replaces an object and its index entries.
    pub(crate) fn insert(&mut self, object: &Arc<Object>) {
        if let Some(old) = self.objects.insert(object.oid, Arc::clone(object)) {
            self.unlink(&old);
        }
        self.names.insert((object.parent, object.body.name_class(), object.name.clone()), object.oid);
        if let Body::Table(def) = &object.body {
            self.parts.extend(def.part_oids().map(|part| (part, object.oid)));
            let names = def.index_names().map(|name| (object.parent, name.clone()));
            self.index_names.extend(names.map(|name| (name, object.oid)));
        }
        if let Body::Type(def) = &object.body {
            self.parts.extend(def.part_oids().map(|part| (part, object.oid)));
        }
        let siblings = self.children.entry(object.parent).or_default();
        if let Err(place) = siblings.binary_search(&object.oid) {
            siblings.insert(place, object.oid);
        }
        self.version = NEXT_VERSION.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&mut self, oid: Oid) {
        if let Some(old) = self.objects.remove(&oid) {
            self.unlink(&old);
        }
        self.version = NEXT_VERSION.fetch_add(1, Ordering::Relaxed);
    }

    fn unlink(&mut self, old: &Object) {
        self.names.remove(&(old.parent, old.body.name_class(), old.name.clone()));
        if let Body::Table(def) = &old.body {
            for part in def.part_oids() {
                self.parts.remove(&part);
            }
            for name in def.index_names() {
                self.index_names.remove(&(old.parent, name.clone()));
            }
        }
        if let Body::Type(def) = &old.body {
            for part in def.part_oids() {
                self.parts.remove(&part);
            }
        }
        if let Some(siblings) = self.children.get_mut(&old.parent) {
            siblings.retain(|oid| *oid != old.oid);
            if siblings.is_empty() {
                self.children.remove(&old.parent);
            }
        }
    }
}
