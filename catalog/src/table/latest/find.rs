//! Finds replaced rows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_plan::ExecutionPlan;
use futures::TryStreamExt;

use super::{Mask, Replaced, compared_at, last_lsn};
use crate::record::TableDef;
use crate::snapshot::TableState;
use crate::table::file::{FileEntry, FileIndex};
use crate::table::keys::{Digest, DigestTable, Digester, versions};
use crate::table::scan::source::FileAccess;
use crate::table::scan::{Scan, Unit};
use crate::table::unique::{nulls, within};
use crate::table::writer::ColumnSummary;
use crate::{Error, Lsn, Result};

/// Rows whose keys are in memory at once: about 100 MB. More are compared in several rounds.
const ROUND_ROWS: u64 = if cfg!(test) { 700 } else { 2_000_000 };

/// Rows that came together: a file, or one insert among the hot rows.
#[derive(Debug)]
struct Piece {
    id: Id,
    rows: usize,
    /// Of two pieces with the same version of a key, the one with the greater counts.
    arrival: (Lsn, bool, bool, usize),
    compared_at: Option<Lsn>,
}

#[derive(Debug)]
enum Id {
    File(Arc<FileEntry>),
    Insert(u64),
}

impl Piece {
    fn as_of(&self) -> Lsn {
        self.arrival.0
    }
}

/// Finds the replaced rows of one state of a table.
pub(super) struct Finder<'a> {
    access: Option<&'a FileAccess>,
    state: &'a Arc<TableState>,
    digester: Digester,
    /// Key columns, then the version.
    columns: Vec<usize>,
    /// In the order of arrival.
    pieces: Vec<Piece>,
    masks: Vec<Bits>,
    /// The first row with the key of another, where keys are to be unique: piece and row.
    duplicate: Option<(usize, usize)>,
}

/// The replaced rows of a piece.
#[derive(Default)]
struct Bits {
    known: Mask,
    changed: Option<BooleanBufferBuilder>,
}

impl Bits {
    fn set(&mut self, row: usize, rows: usize) {
        let known = &self.known;
        let bits = self.changed.get_or_insert_with(|| {
            let mut bits = BooleanBufferBuilder::new(rows);
            match known {
                Some(mask) => bits.append_buffer(mask),
                None => bits.append_n(rows, false),
            }
            bits
        });
        bits.set_bit(row, true);
    }

    /// What is known now, to be read.
    fn settle(&mut self) -> &Mask {
        if let Some(mut bits) = self.changed.take() {
            self.known = Some(Arc::new(bits.finish()));
        }
        &self.known
    }
}

impl<'a> Finder<'a> {
    /// The replaced rows of a state, given what was found on an earlier one.
    ///
    /// # Errors
    /// Those of reading files.
    pub(crate) async fn find(
        access: Option<&'a FileAccess>,
        state: &'a Arc<TableState>,
        known: &Replaced,
    ) -> Result<Replaced> {
        let def = &state.def;
        let keys = def.key_columns();
        let version = def.version_column().ok_or_else(|| Error::Invalid("the table keeps all rows".to_owned()))?;
        let types: Vec<DataType> = keys.iter().map(|&key| def.columns[key].data_type.clone()).collect();
        let mut finder = Self {
            access,
            state,
            digester: Digester::new(&types)?,
            columns: keys.into_iter().chain([version]).collect(),
            pieces: pieces(state),
            masks: vec![],
            duplicate: None,
        };
        let as_of = last_lsn(state);
        // A reader of an older state must not miss rows that later ones replaced.
        let nothing = Replaced::default();
        let known = if known.as_of <= as_of { known } else { &nothing };
        let of = |piece: &Piece| match &piece.id {
            Id::File(file) => known.files.get(&file.path).cloned(),
            Id::Insert(id) => known.inserts.get(id).cloned(),
        };
        let mut done = vec![];
        let mut new = vec![];
        for (at, piece) in finder.pieces.iter().enumerate() {
            let mask = of(piece);
            if mask.is_some() {
                done.push(at)
            } else {
                new.push(at)
            }
            finder.masks.push(Bits { known: mask.flatten(), changed: None });
        }
        finder.compare_all(done, new, known.as_of).await?;
        let mut found = Replaced { as_of, ..Replaced::default() };
        for (piece, mut bits) in finder.pieces.iter().zip(finder.masks) {
            let mask = bits.settle().clone();
            match &piece.id {
                Id::File(file) => drop(found.files.insert(file.path.clone(), mask)),
                Id::Insert(id) => drop(found.inserts.insert(*id, mask)),
            }
        }
        Ok(found)
    }

    /// Whether files that want to come into a table, `new` by their paths, repeat keys of their own or of others: a file
    /// and row that does. `state` has them already.
    ///
    /// # Errors
    /// Those of reading files.
    pub(super) async fn duplicate(
        access: &'a FileAccess,
        state: &'a Arc<TableState>,
        new: &HashSet<&str>,
    ) -> Result<Option<(Unit, usize)>> {
        let keys = state.def.key_columns();
        let types: Vec<DataType> = keys.iter().map(|&key| state.def.columns[key].data_type.clone()).collect();
        let pieces = pieces(state);
        let masks = pieces.iter().map(|_| Bits::default()).collect();
        let digester = Digester::new(&types)?;
        let mut finder = Self { access: Some(access), state, digester, columns: keys, pieces, masks, duplicate: None };
        let is_new = |piece: &Piece| matches!(&piece.id, Id::File(file) if new.contains(file.path.as_str()));
        let (wanted, mut done): (Vec<usize>, Vec<usize>) =
            (0..finder.pieces.len()).partition(|at| is_new(&finder.pieces[*at]));
        for round in rounds(&finder.pieces, wanted) {
            finder.compare(&round, &done).await?;
            if let Some((piece, row)) = finder.duplicate {
                // Files that are not committed yet are before all others.
                return match &finder.pieces[piece].id {
                    Id::File(file) => Ok(Some((Unit::File(Arc::clone(file)), row))),
                    Id::Insert(_) => Err(Error::Invalid("a hot row is older than a file to come".to_owned())),
                };
            }
            done.extend(round);
        }
        Ok(None)
    }

    /// Compares `new` pieces with each other and with those that are `done`, which were compared up to `known_at`.
    async fn compare_all(&mut self, mut done: Vec<usize>, mut new: Vec<usize>, known_at: Lsn) -> Result<()> {
        // What compaction wrote of pieces that were known replaces and is replaced by later arrivals only.
        let is_moved = |piece: &Piece| piece.compared_at.is_some_and(|at| at <= known_at);
        let moved: Vec<usize> = new.extract_if(.., |at| is_moved(&self.pieces[*at])).collect();
        for at in &moved {
            let compared_at = self.pieces[*at].as_of();
            let later: Vec<usize> =
                done.iter().copied().filter(|other| self.pieces[*other].as_of() > compared_at).collect();
            for round in rounds(&self.pieces, later) {
                self.compare(&round, &[*at]).await?;
            }
        }
        done.extend(moved);
        // Files that were compacted together have no key in common.
        if done.is_empty() {
            let mut runs: BTreeMap<Lsn, (usize, Vec<usize>)> = BTreeMap::new();
            for &at in &new {
                if let Some(compared_at) = self.pieces[at].compared_at {
                    let run = runs.entry(compared_at).or_default();
                    run.0 += self.pieces[at].rows;
                    run.1.push(at);
                }
            }
            if let Some((_, run)) = runs.into_values().max_by_key(|run| run.0) {
                new.retain(|at| !run.contains(at));
                done = run;
            }
        }
        for round in rounds(&self.pieces, new) {
            self.compare(&round, &done).await?;
            done.extend(round);
        }
        Ok(())
    }

    /// Compares the rows of `some` with each other and with those of `others`, of which no two have the same key.
    async fn compare(&mut self, some: &[usize], others: &[usize]) -> Result<()> {
        if some.is_empty() {
            return Ok(());
        }
        let mut keys = DigestTable::default();
        // By the key's number: version, piece and row of the one that counts.
        let mut best: Vec<(i128, usize, usize)> = vec![];
        let mut bounds = vec![ColumnSummary::default(); self.keys()];
        let mut scan = self.scan(some, &[])?;
        while let Some(rows) = scan.next(&self.digester).await? {
            for (bounds, key) in bounds.iter_mut().zip(&rows.keys) {
                bounds.add(key)?;
            }
            for (digest, row) in rows.digests.iter().zip(rows.rows) {
                let (number, is_new) = keys.insert(*digest)?;
                if is_new {
                    best.push(row);
                } else {
                    let replaced = if row > best[number] { std::mem::replace(&mut best[number], row) } else { row };
                    self.replace(replaced);
                }
            }
        }
        if others.is_empty() || keys.is_empty() {
            return Ok(());
        }
        let filters = within(&self.state.def, &self.columns[..bounds.len()], &bounds);
        let mut scan = self.scan(others, &filters)?;
        while let Some(rows) = scan.next(&self.digester).await? {
            for (digest, row) in rows.digests.iter().zip(rows.rows) {
                if let Some(number) = keys.get(*digest) {
                    self.replace(row.min(best[number]));
                }
            }
        }
        Ok(())
    }

    /// How many of `columns` are the key's.
    fn keys(&self) -> usize {
        self.state.def.key_columns().len()
    }

    fn replace(&mut self, (_, piece, row): (i128, usize, usize)) {
        self.duplicate.get_or_insert((piece, row));
        self.masks[piece].set(row, self.pieces[piece].rows);
    }

    /// Reads the rows of some pieces that were not replaced.
    fn scan(&mut self, pieces: &[usize], filters: &[Arc<dyn PhysicalExpr>]) -> Result<PieceScan> {
        let mut wanted = HashMap::new();
        let mut files = vec![];
        let mut inserts = HashMap::new();
        for &at in pieces {
            match &self.pieces[at].id {
                Id::File(file) => {
                    files.push(Arc::clone(file));
                    wanted.insert(file.path.clone(), at);
                }
                Id::Insert(id) => drop(inserts.insert(*id, at)),
            }
        }
        let mut chunks = vec![];
        for chunk in &self.state.chunks {
            let others: HashSet<u64> = chunk.ids.iter().filter(|id| !inserts.contains_key(id)).copied().collect();
            match others.len() {
                0 => chunks.push(Arc::clone(chunk)),
                all if all == chunk.ids.len() => {}
                _ => chunks.extend(chunk.without(&others)),
            }
        }
        let files = Arc::new(FileIndex::new(files));
        let state = Arc::new(TableState { files, chunks, ..TableState::clone(self.state) });
        let mut scan = Scan::new(self.access.cloned(), &state);
        let mut places = vec![];
        for unit in &scan.units {
            places.push(match unit {
                Unit::File(file) => vec![(file.rows as usize, wanted[&file.path])],
                Unit::Chunk(chunk) => chunk.inserts().map(|(id, _, rows)| (rows.end, inserts[&id])).collect::<Vec<_>>(),
            });
        }
        scan.replaced = places.iter().map(|places| self.mask_of(places)).collect();
        let columns = self.state.def.columns.len();
        let projection: Vec<usize> = self.columns.iter().copied().chain([columns, columns + 1]).collect();
        let stream =
            Arc::new(scan).plan(&projection, filters, None, 1)?.execute(0, Arc::new(TaskContext::default()))?;
        Ok(PieceScan { stream, places, keys: self.keys() })
    }

    /// The replaced rows of a unit: its pieces, with the row after the last of each.
    fn mask_of(&mut self, places: &[(usize, usize)]) -> Option<BooleanBuffer> {
        if let [(_, piece)] = places {
            return self.masks[*piece].settle().as_deref().cloned();
        }
        if !places.iter().any(|(_, piece)| self.masks[*piece].settle().is_some()) {
            return None;
        }
        let mut rows = BooleanBufferBuilder::new(places.last().map_or(0, |place| place.0));
        for (end, piece) in places {
            match self.masks[*piece].settle() {
                Some(mask) => rows.append_buffer(mask),
                None => rows.append_n(end - rows.len(), false),
            }
        }
        Some(rows.finish())
    }
}

/// Rows of some pieces, batch by batch.
struct PieceScan {
    stream: SendableRecordBatchStream,
    /// For each unit its pieces, with the row after the last of each.
    places: Vec<Vec<(usize, usize)>>,
    /// How many columns are the key's; the next, if there is one more, is the version.
    keys: usize,
}

/// Some rows: their keys, and (version, piece, row) of each.
struct KeyRows {
    keys: Vec<ArrayRef>,
    digests: Vec<Digest>,
    rows: Vec<(i128, usize, usize)>,
}

impl PieceScan {
    async fn next(&mut self, digester: &Digester) -> Result<Option<KeyRows>> {
        let Some(batch) = self.stream.try_next().await? else { return Ok(None) };
        let mut keys = batch.columns().to_vec();
        let broken = || Error::Invalid("a scan without its columns".to_owned());
        let (Some(row), Some(unit)) = (keys.pop(), keys.pop()) else { return Err(broken()) };
        let versions = match keys.get(self.keys) {
            Some(version) => versions(version)?,
            None => vec![0; batch.num_rows()],
        };
        keys.truncate(self.keys);
        let rows = row.as_primitive::<Int64Type>().values();
        let units = unit.as_primitive::<Int32Type>().values();
        let place = |((version, &unit), &row): ((i128, &i32), &i64)| {
            let row = usize::try_from(row).ok()?;
            let pieces = self.places.get(usize::try_from(unit).ok()?)?;
            let at = pieces.partition_point(|(end, _)| *end <= row);
            let start = if at == 0 { 0 } else { pieces[at - 1].0 };
            Some((version, pieces.get(at)?.1, row - start))
        };
        let rows = versions.into_iter().zip(units).zip(rows).map(place).collect::<Option<_>>();
        let (mut digests, mut rows): (Vec<_>, Vec<_>) = (digester.digest(&keys)?, rows.ok_or_else(broken)?);
        if let Some(nulls) = nulls(&keys) {
            let (mut here, mut there) = (nulls.iter(), nulls.iter());
            digests.retain(|_| here.next().unwrap_or(true));
            rows.retain(|_| there.next().unwrap_or(true));
        }
        Ok(Some(KeyRows { digests, keys, rows }))
    }
}

/// Pieces whose keys fit in memory at once.
fn rounds(pieces: &[Piece], of: Vec<usize>) -> Vec<Vec<usize>> {
    let mut rounds: Vec<Vec<usize>> = vec![];
    let mut rows = u64::MAX;
    for at in of {
        if rows >= ROUND_ROWS {
            rounds.push(vec![]);
            rows = 0;
        }
        rows += pieces[at].rows as u64;
        rounds.last_mut().into_iter().for_each(|round| round.push(at));
    }
    rounds
}

/// What the state's rows came in, in the order of arrival.
fn pieces(state: &TableState) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = vec![];
    for (at, file) in state.files.files.iter().enumerate() {
        let compared_at = compared_at(file);
        // What compaction wrote was compared with all rows of its LSN: it counts before them.
        let arrival = (file.lsn_max, compared_at.is_some(), false, at);
        pieces.push(Piece { id: Id::File(Arc::clone(file)), rows: file.rows as usize, arrival, compared_at });
    }
    for (id, lsn, rows) in state.chunks.iter().flat_map(|chunk| chunk.inserts()) {
        let arrival = (lsn, false, true, pieces.len());
        pieces.push(Piece { id: Id::Insert(id), rows: rows.len(), arrival, compared_at: None });
    }
    pieces.sort_by_key(|piece| piece.arrival);
    pieces
}

/// The rows of a batch, in the order of arrival, that a later one of the batch replaces. `None` if none is.
///
/// # Errors
/// `Arrow` for a key that cannot be compared.
pub(crate) fn replaced_within(def: &TableDef, columns: &[ArrayRef]) -> Result<Option<BooleanBuffer>> {
    let Some(version) = def.version_column() else { return Ok(None) };
    let keys: Vec<ArrayRef> = def.key_columns().into_iter().map(|key| Arc::clone(&columns[key])).collect();
    let types: Vec<DataType> = keys.iter().map(|key| key.data_type().clone()).collect();
    let mut table = DigestTable::default();
    let mut best: Vec<(i128, usize)> = vec![];
    let mut bits = Bits::default();
    let rows = keys.first().map_or(0, |key| key.len());
    let digests = Digester::new(&types)?.digest(&keys)?;
    for (row, (digest, version)) in digests.into_iter().zip(versions(&columns[version])?).enumerate() {
        let (number, is_new) = table.insert(digest)?;
        if is_new {
            best.push((version, row));
        } else if version >= best[number].0 {
            bits.set(std::mem::replace(&mut best[number], (version, row)).1, rows);
        } else {
            bits.set(row, rows);
        }
    }
    Ok(bits.settle().as_deref().cloned())
}
