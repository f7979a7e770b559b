//! Of every key the latest row: decoded batches in memory as long as that lasts, then sorted runs on disk.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt64Array, new_null_array};
use datafusion::arrow::compute::{filter_record_batch, interleave};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;

use super::columns::Columns;
use super::on_threads;
use super::runs::{Run, Runs};
use crate::{Error, Result};

/// The column of runs that tells rows of equal keys and times apart: later files and lines have greater numbers.
pub(super) const RANK: &str = "\u{1}rank";
/// Rows of one file: 2⁴⁰. The number of the file is above.
const RANK_BITS: u32 = 40;
/// Memory that finding the latest row takes for each row, bytes: a place in a table of hashes and one in the order.
const ROW_BYTES: usize = 88;

/// What makes rows the same, and which of them is the latest. Both as bytes that compare as the values do.
pub(super) struct Ranks {
    key: Vec<(String, DataType)>,
    order: Option<(String, DataType)>,
    key_rows: RowConverter,
    order_rows: Option<RowConverter>,
    hasher: RandomState,
}

impl Ranks {
    pub(super) fn new(columns: &Columns, key: &[String], latest_by: Option<&str>) -> Result<Self> {
        let typed = |name: &str| {
            let sql_type = columns.sql_type(name).ok_or_else(|| Error::internal("a column that is not known"))?;
            Ok((name.to_owned(), sql_type.data_type()))
        };
        let key = key.iter().map(|name| typed(name)).collect::<Result<Vec<_>>>()?;
        let order = latest_by.map(typed).transpose()?;
        let converter = |types: &[(String, DataType)]| {
            RowConverter::new(types.iter().map(|(_, data_type)| SortField::new(data_type.clone())).collect())
        };
        let key_rows = converter(&key).map_err(DataFusionError::from)?;
        let order_rows = order.as_ref().map(|order| converter(std::slice::from_ref(order)));
        let order_rows = order_rows.transpose().map_err(DataFusionError::from)?;
        Ok(Self { key, order, key_rows, order_rows, hasher: RandomState::new() })
    }

    /// Columns as a batch without the rows that have no key; how many those are.
    pub(super) fn with_key(&self, columns: Vec<(String, ArrayRef)>, rows: usize) -> Result<(RecordBatch, u64)> {
        let fields: Vec<_> =
            columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(DataFusionError::from)?;
        let mut keeps = vec![true; rows];
        for (name, _) in &self.key {
            match batch.column_by_name(name) {
                Some(array) => keeps.iter_mut().enumerate().for_each(|(row, keep)| *keep &= array.is_valid(row)),
                None => keeps.fill(false),
            }
        }
        let without = keeps.iter().filter(|keep| !**keep).count() as u64;
        if without == 0 {
            return Ok((batch, 0));
        }
        let batch = filter_record_batch(&batch, &BooleanArray::from(keeps)).map_err(DataFusionError::from)?;
        Ok((batch, without))
    }

    pub(super) fn key_of(&self, batch: &RecordBatch) -> Result<Rows> {
        let arrays = self.key.iter().map(|column| of_batch(batch, column)).collect::<Vec<_>>();
        Ok(self.key_rows.convert_columns(&arrays).map_err(DataFusionError::from)?)
    }

    pub(super) fn order_of(&self, batch: &RecordBatch) -> Result<Option<Rows>> {
        let (Some(converter), Some(order)) = (&self.order_rows, &self.order) else { return Ok(None) };
        Ok(Some(converter.convert_columns(&[of_batch(batch, order)]).map_err(DataFusionError::from)?))
    }
}

fn of_batch(batch: &RecordBatch, (name, data_type): &(String, DataType)) -> ArrayRef {
    batch.column_by_name(name).map_or_else(|| new_null_array(data_type, batch.num_rows()), Arc::clone)
}

/// A decoded batch.
pub(super) struct Piece {
    batch: RecordBatch,
    keys: Rows,
    orders: Option<Rows>,
    hashes: Vec<u64>,
    /// Bytes that all keys begin with.
    common: usize,
    /// The number of its first row.
    rank: u64,
}

impl Piece {
    /// `place`: the number of the file, and of the first row in it.
    pub(super) fn new(batch: RecordBatch, (file, row): (usize, u64), ranks: &Ranks) -> Result<Self> {
        let (keys, orders) = (ranks.key_of(&batch)?, ranks.order_of(&batch)?);
        let hashes = keys.iter().map(|key| ranks.hasher.hash_one(key.data())).collect();
        let first = if keys.num_rows() > 0 { keys.row(0).data() } else { &[] };
        let common = keys.iter().fold(first.len(), |common, key| common_bytes(&first[..common], key.data()));
        let rank = ((file as u64) << RANK_BITS) | row;
        Ok(Self { batch, keys, orders, hashes, common, rank })
    }

    fn bytes(&self) -> usize {
        let orders = self.orders.as_ref().map_or(0, Rows::size);
        self.batch.get_array_memory_size() + self.keys.size() + orders + ROW_BYTES * self.batch.num_rows()
    }

    fn key(&self, row: u32) -> &[u8] {
        self.keys.row(row as usize).data()
    }

    /// Which of two rows with the same key is the later one.
    fn compare(&self, row: u32, other: &Self, other_row: u32) -> Ordering {
        let by_order = match (&self.orders, &other.orders) {
            (Some(a), Some(b)) => a.row(row as usize).cmp(&b.row(other_row as usize)),
            _ => Ordering::Equal,
        };
        by_order.then_with(|| (self.rank + u64::from(row)).cmp(&(other.rank + u64::from(other_row))))
    }
}

/// A row: the piece, and its place there.
pub(super) type Place = (u32, u32);

/// The rows so far.
pub(super) struct Kept {
    pieces: Vec<Piece>,
    reservation: MemoryReservation,
    runs: Runs,
    threads: usize,
}

impl Kept {
    pub(super) fn new(runtime: &Arc<RuntimeEnv>, ranks: &Arc<Ranks>, threads: usize) -> Self {
        let consumer = MemoryConsumer::new("compact_files").with_can_spill(true);
        let reservation = consumer.register(&runtime.memory_pool);
        Self { pieces: vec![], reservation, runs: Runs::new(runtime, ranks), threads }
    }

    /// Takes a batch. `schema`: all columns there are so far.
    pub(super) fn take(&mut self, piece: Piece, schema: impl Fn() -> SchemaRef) -> Result<()> {
        let bytes = piece.bytes();
        if self.reservation.try_grow(bytes).is_ok() {
            self.pieces.push(piece);
            return Ok(());
        }
        if !self.pieces.is_empty() {
            self.spill(&schema())?;
        }
        let fits = self.reservation.try_grow(bytes).is_ok();
        self.pieces.push(piece);
        if fits { Ok(()) } else { self.spill(&schema()) }
    }

    fn spill(&mut self, schema: &SchemaRef) -> Result<()> {
        let pieces = Pieces(std::mem::take(&mut self.pieces));
        let winners = pieces.latest(self.threads)?;
        let mut run = self.runs.begin(schema)?;
        for rows in winners.chunks(run.batch_rows()) {
            let mut columns = pieces.columns(rows, schema)?;
            let rank = |(piece, row): &Place| pieces.0[*piece as usize].rank + u64::from(*row);
            columns.push(Arc::new(rows.iter().map(rank).collect::<UInt64Array>()));
            run.write(columns)?;
        }
        let run: Run = run.finish()?;
        self.reservation.free();
        self.runs.add(run)
    }

    /// The latest rows: in memory, or in runs to be merged.
    pub(super) fn finish(mut self, schema: &SchemaRef) -> Result<Latest> {
        if self.runs.is_empty() {
            let pieces = Pieces(self.pieces);
            let winners = pieces.latest(self.threads)?;
            return Ok(Latest::Memory { pieces, winners, reservation: self.reservation });
        }
        if !self.pieces.is_empty() {
            self.spill(schema)?;
        }
        Ok(Latest::Runs(self.runs))
    }
}

/// What is left, in the order of keys.
pub(super) enum Latest {
    /// All of it.
    Memory { pieces: Pieces, winners: Vec<Place>, reservation: MemoryReservation },
    /// To be merged.
    Runs(Runs),
}

/// Decoded batches.
pub(super) struct Pieces(Vec<Piece>);

/// A key and its hash, which was computed before.
struct Hashed<'a>(u64, &'a [u8]);

impl PartialEq for Hashed<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl Eq for Hashed<'_> {}

impl Hash for Hashed<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Hands on the hash.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Pieces {
    /// The latest row of each key, in the order of keys. Each thread has a part of the hashes.
    fn latest(&self, threads: usize) -> Result<Vec<Place>> {
        let first = |piece: &Piece| piece.keys.row(0).data()[..piece.common].to_vec();
        let common = self.0.iter().map(first).reduce(|mut common, other| {
            common.truncate(common_bytes(&common, &other));
            common
        });
        let common = common.map_or(0, |common| common.len());
        let parts = on_threads(threads, |part| Ok(self.latest_of_part(part as u64, threads as u64, common)))?;
        let total = parts.iter().map(Vec::len).sum();
        let mut merged = Vec::with_capacity(total);
        let mut at = vec![0; parts.len()];
        while merged.len() < total {
            let heads = parts.iter().enumerate().filter_map(|(part, rows)| Some((part, rows.get(at[part])?)));
            let least = heads.min_by(|(_, a), (_, b)| self.by_key(a, b)).map(|(part, row)| (part, row.1));
            let Some((part, place)) = least else { break };
            at[part] += 1;
            merged.push(place);
        }
        Ok(merged)
    }

    fn latest_of_part(&self, part: u64, parts: u64, common: usize) -> Vec<(u128, Place)> {
        let mut latest: HashMap<Hashed<'_>, Place, BuildHasherDefault<AsIs>> = HashMap::default();
        for (number, piece) in (0_u32..).zip(&self.0) {
            for (row, hash) in (0_u32..).zip(&piece.hashes) {
                // The high half: the table uses the low bits, and the highest seven.
                if (hash >> 32) % parts != part {
                    continue;
                }
                match latest.entry(Hashed(*hash, piece.key(row))) {
                    Entry::Vacant(entry) => {
                        entry.insert((number, row));
                    }
                    Entry::Occupied(mut entry) => {
                        let (other, other_row) = *entry.get();
                        if piece.compare(row, &self.0[other as usize], other_row) == Ordering::Greater {
                            entry.insert((number, row));
                        }
                    }
                }
            }
        }
        let mut rows: Vec<_> = latest.into_iter().map(|(key, place)| (prefix(key.1, common), place)).collect();
        rows.sort_unstable_by(|a, b| self.by_key(a, b));
        rows
    }

    fn by_key(&self, (a_prefix, a): &(u128, Place), (b_prefix, b): &(u128, Place)) -> Ordering {
        let key = |(piece, row): &Place| self.0[*piece as usize].key(*row);
        a_prefix.cmp(b_prefix).then_with(|| key(a).cmp(key(b)))
    }

    /// All columns of some rows.
    fn columns(&self, rows: &[Place], schema: &SchemaRef) -> Result<Vec<ArrayRef>> {
        schema.fields().iter().map(|field| self.column(rows, field)).collect()
    }

    /// A column of some rows.
    pub(super) fn column(&self, rows: &[Place], field: &Field) -> Result<ArrayRef> {
        const NONE: usize = usize::MAX;
        // Only the pieces that have one of the rows.
        let mut numbers = vec![NONE; self.0.len()];
        let mut arrays: Vec<ArrayRef> = vec![];
        let mut places = Vec::with_capacity(rows.len());
        for (piece, row) in rows {
            let number = &mut numbers[*piece as usize];
            if *number == NONE {
                *number = arrays.len();
                let batch = &self.0[*piece as usize].batch;
                let missing = || new_null_array(field.data_type(), batch.num_rows());
                arrays.push(batch.column_by_name(field.name()).map_or_else(missing, Arc::clone));
            }
            places.push((*number, *row as usize));
        }
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        Ok(interleave(&arrays, &places).map_err(DataFusionError::from)?)
    }
}

/// The bytes of a key behind those that all keys have in common, which tell most keys apart without looking for the rest.
fn prefix(key: &[u8], common: usize) -> u128 {
    let mut bytes = [0; 16];
    let from = key.get(common..).unwrap_or_default();
    let length = from.len().min(bytes.len());
    bytes[..length].copy_from_slice(&from[..length]);
    u128::from_be_bytes(bytes)
}

/// How many bytes at the beginning are the same.
fn common_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
