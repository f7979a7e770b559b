//! Which rows of an upsert table count: the latest version of each key.
//!
//! ```text
//! a file      k1 v1 · k2 v1 · k3 v1        replaced: 0 1 0      what was found once stays: a replaced row never comes back
//! a chunk     k2 v2 · k4 v1                replaced: 0 0
//! new rows    k4 v0 · k5 v1                replaced: 1 0        only these are compared with the rest, when somebody reads
//! ```
//! A write asks for nothing. The first reader of new rows finds out which rows they replace, or which replace them, and the scan
//! passes over replaced rows as it does over rows that a filter excludes; so filters, orders and statistics hold as
//! for any table. Compaction leaves replaced rows out. Of equal versions the later arrival counts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::BooleanBuffer;
use parking_lot::Mutex;

use crate::hot::HotChunk;
use crate::record::TableDef;
use crate::snapshot::{Snapshot, TableState};
use crate::table::file::FileEntry;
use crate::table::scan::Unit;
use crate::table::scan::source::FileAccess;
use crate::{Lsn, Oid, Result};

mod find;
#[cfg(test)]
mod tests;

use find::Finder;
pub(crate) use find::replaced_within;

/// A file of which one row in so many was replaced is worth writing again.
const REPLACED_SHARE: u64 = 4;

/// Replaced rows, a bit for each row; none if no row is.
type Mask = Option<Arc<BooleanBuffer>>;

/// The rows of an upsert table that were replaced, as far as somebody has looked.
#[derive(Debug, Default, Clone)]
pub struct Replaced {
    /// Rows up to here were compared.
    as_of: Lsn,
    files: HashMap<String, Mask>,
    /// By the id of the insert that brought them.
    inserts: HashMap<u64, Mask>,
}

impl Replaced {
    /// The replaced rows of a file.
    pub fn of_file(&self, file: &FileEntry) -> Option<&BooleanBuffer> {
        self.files.get(&file.path)?.as_deref()
    }

    /// The replaced rows of a hot chunk.
    pub fn of_chunk(&self, chunk: &HotChunk) -> Option<BooleanBuffer> {
        let of = |id| self.inserts.get(&id).and_then(Option::as_deref);
        if !chunk.inserts().any(|(id, _, _)| of(id).is_some()) {
            return None;
        }
        let mut rows = BooleanBufferBuilder::new(chunk.rows());
        for (id, _, range) in chunk.inserts() {
            match of(id) {
                Some(mask) => rows.append_buffer(mask),
                None => rows.append_n(range.len(), false),
            }
        }
        Some(rows.finish())
    }

    /// The replaced rows of a unit.
    pub fn of_unit(&self, unit: &Unit) -> Option<BooleanBuffer> {
        match unit {
            Unit::File(file) => self.of_file(file).cloned(),
            Unit::Chunk(chunk) => self.of_chunk(chunk),
        }
    }

    /// True if it tells all of a state.
    pub(crate) fn is_of(&self, state: &TableState) -> bool {
        self.as_of == last_lsn(state)
            && state.files.files.iter().all(|file| self.files.contains_key(&file.path))
            && state.chunks.iter().flat_map(|chunk| &chunk.ids).all(|id| self.inserts.contains_key(id))
    }

    /// True if it tells of nothing but rows of a state, or of what `known` does.
    pub(crate) fn is_within(&self, state: &TableState, known: &Self) -> bool {
        let files: HashSet<&str> = state.files.files.iter().map(|file| file.path.as_str()).collect();
        let inserts: HashSet<u64> = state.chunks.iter().flat_map(|chunk| chunk.ids.iter().copied()).collect();
        self.files.keys().all(|path| files.contains(path.as_str()) || known.files.contains_key(path))
            && self.inserts.keys().all(|id| inserts.contains(id) || known.inserts.contains_key(id))
    }

    /// Rows up to here were compared.
    pub fn as_of(&self) -> Lsn {
        self.as_of
    }

    /// True if so many rows of a file were replaced that it is worth writing again.
    pub(crate) fn is_worth_rewriting(&self, file: &FileEntry) -> bool {
        self.of_file(file).is_some() && self.count(file) * REPLACED_SHARE >= file.rows
    }

    /// How many rows of a file were replaced.
    pub fn count(&self, file: &FileEntry) -> u64 {
        self.of_file(file).map_or(0, |mask| mask.count_set_bits() as u64)
    }
}

/// What was found of each table, for the next reader.
#[derive(Debug, Default)]
pub struct LatestCache {
    tables: Mutex<HashMap<Oid, Arc<tokio::sync::Mutex<Arc<Replaced>>>>>,
}

impl LatestCache {
    pub(crate) fn of(&self, table: Oid) -> Arc<tokio::sync::Mutex<Arc<Replaced>>> {
        Arc::clone(self.tables.lock().entry(table).or_default())
    }

    /// Tables with files of which many rows are known to be replaced.
    pub(crate) fn tables_worth_compacting(&self, now: &Snapshot) -> Vec<Oid> {
        let tables = self.tables.lock();
        let is_worth = |(table, known): &(&Oid, &Arc<tokio::sync::Mutex<Arc<Replaced>>>)| {
            // Who looks for replaced rows right now is followed by another look at what is due.
            let (Ok(known), Some(state)) = (known.try_lock(), now.table(**table)) else { return false };
            state.files.files.iter().any(|file| known.is_worth_rewriting(file))
        };
        tables.iter().filter(is_worth).map(|(table, _)| *table).collect()
    }

    /// Forgets tables that are gone.
    pub(crate) fn retain(&self, is_there: impl Fn(Oid) -> bool) {
        self.tables.lock().retain(|table, _| is_there(*table));
    }
}

/// The replaced rows of a state of a table, from the cache where somebody has looked.
///
/// # Errors
/// Those of reading keys.
pub(crate) async fn replaced(
    access: &FileAccess,
    state: &Arc<TableState>,
    now: impl Fn() -> Arc<Snapshot>,
) -> Result<Arc<Replaced>> {
    let cache = access.cache.latest.of(state.oid);
    let mut known = cache.lock().await;
    if known.is_of(state) {
        return Ok(Arc::clone(&known));
    }
    let found = Arc::new(Finder::find(Some(access), state, &known).await?);
    // What a transaction found that may yet be rolled back is its own.
    let is_committed = now().table(state.oid).is_some_and(|now| found.is_within(now, &known));
    if is_committed && found.as_of >= known.as_of {
        *known = Arc::clone(&found);
    }
    Ok(found)
}

/// Whether files that a table is to have, `new` by their paths, repeat a key: a row that does. `state` has them already.
///
/// # Errors
/// Those of reading keys.
pub(crate) async fn duplicate_in_files(
    access: &FileAccess,
    state: &Arc<TableState>,
    new: &HashSet<&str>,
) -> Result<Option<(Unit, usize)>> {
    Finder::duplicate(access, state, new).await
}

/// As [`replaced`], of a table without files.
///
/// # Errors
/// `Arrow` for keys that cannot be compared.
pub(crate) async fn replaced_hot(state: &Arc<TableState>) -> Result<Arc<Replaced>> {
    Finder::find(None, state, &Replaced::default()).await.map(Arc::new)
}

impl TableDef {
    /// The columns of the primary key: indices.
    pub fn key_columns(&self) -> Vec<usize> {
        let place = |name: &String| self.columns.iter().position(|column| column.name == *name);
        self.primary_key.iter().filter_map(place).collect()
    }

    /// The column whose greatest value makes a row the one that counts, if the table keeps only the latest row of each key.
    pub fn version_column(&self) -> Option<usize> {
        let version = self.options.upsert.as_ref()?;
        self.columns.iter().position(|column| column.name == *version)
    }
}

/// The LSN up to which a file's rows were compared with all others of their time, if compaction wrote it.
fn compared_at(file: &FileEntry) -> Option<Lsn> {
    (file.level > 0).then_some(file.lsn_max)
}

/// The last LSN of a table's rows.
fn last_lsn(state: &TableState) -> Lsn {
    let files = state.files.files.iter().map(|file| file.lsn_max);
    files.chain(state.chunks.iter().map(|chunk| chunk.lsn_max)).max().unwrap_or(0).max(state.written_lsn)
}
