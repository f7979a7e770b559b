//! Rows that are durable in the log but not yet in files.
//!
//! A chunk holds the rows of one insert, or of several small ones merged, under *physical* column names, so that a
//! rename needs no rewriting. [`to_physical`] makes such a batch on the writing side; `table::adapt::chunk` brings it to
//! the table's schema on the reading side.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray, ListArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{ByteViewType, DataType, Field, Schema, SchemaRef};

use crate::record::{ColumnDef, NewChunk, TableDef};
use crate::{Error, Lsn, Result};

#[cfg(test)]
mod tests;

/// Schema metadata key that marks a batch whose columns have physical names.
const PHYSICAL_KEY: &str = "tidemill.physical";

/// So many neighbours of about the same size become one: fewer merges than by twos, and still only some tens of chunks.
const MERGE_COUNT: usize = 8;
/// Chunks of this many rows are never merged: `MERGE_COUNT` to the fourth.
const MERGE_ROWS_MAX: usize = 4096;
/// Nor are chunks of this many bytes.
const MERGE_BYTES_MAX: usize = 1 << 20;

/// Rows of one or more committed inserts, in commit order.
#[derive(Debug)]
pub struct HotChunk {
    /// The inserts it holds: each was logged under its own id.
    pub ids: Vec<u64>,
    /// The first insert's LSN.
    pub lsn_min: Lsn,
    /// The last insert's LSN.
    pub lsn_max: Lsn,
    /// The rows, with the columns the table had when they came, under their physical names.
    pub batch: RecordBatch,
    /// Memory they take, bytes.
    pub bytes: usize,
    /// When the first came, microseconds since the epoch.
    pub created_us: i64,
    /// For each id its LSN and the row after its last one.
    parts: Vec<(Lsn, usize)>,
}

impl HotChunk {
    /// The rows of one insert. `batch` must be as [`to_physical`] makes it.
    pub(crate) fn new(id: u64, batch: RecordBatch, lsn: Lsn, created_us: i64) -> Self {
        let bytes = batch.get_array_memory_size();
        let parts = vec![(lsn, batch.num_rows())];
        Self { ids: vec![id], lsn_min: lsn, lsn_max: lsn, batch, bytes, created_us, parts }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// The inserts it holds: id, LSN, and which rows.
    pub fn inserts(&self) -> impl Iterator<Item = (u64, Lsn, Range<usize>)> {
        let starts = std::iter::once(0).chain(self.parts.iter().map(|part| part.1));
        self.ids.iter().zip(&self.parts).zip(starts).map(|((id, (lsn, end)), start)| (*id, *lsn, start..*end))
    }

    /// What is left without the inserts in `gone`, one chunk per gap. Nothing is copied.
    pub(crate) fn without(&self, gone: &HashSet<u64>) -> Vec<Arc<Self>> {
        let mut left: Vec<Arc<Self>> = Vec::new();
        let mut start = 0;
        while start < self.ids.len() {
            if gone.contains(&self.ids[start]) {
                start += 1;
                continue;
            }
            let length = self.ids[start..].iter().take_while(|id| !gone.contains(id)).count();
            left.push(Arc::new(self.slice(start, start + length)));
            start += length;
        }
        left
    }

    /// The rows in the types that the columns have now: `Some(None)` if they have them, `None` if a type does not hold all values
    /// of the one before.
    pub(crate) fn retyped(&self, def: &TableDef) -> Result<Option<Option<Self>>> {
        let schema = self.batch.schema_ref();
        let now = |field: &Field| def.columns.iter().find(|column| column.physical_name == *field.name());
        let other = |field: &&Arc<Field>| now(field).is_some_and(|column| column.data_type != *field.data_type());
        if !schema.fields().iter().any(|field| other(&field)) {
            return Ok(Some(None));
        }
        let mut columns = vec![];
        for (field, array) in schema.fields().iter().zip(self.batch.columns()) {
            columns.push(match now(field).map(|column| &column.data_type) {
                Some(to) if to != field.data_type() => {
                    if !widens(field.data_type(), to) {
                        return Ok(None);
                    }
                    cast(array, to)?
                }
                _ => Arc::clone(array),
            });
        }
        let types =
            schema.fields().iter().zip(&columns).map(|(field, array)| (field.name().as_str(), array.data_type()));
        let batch = RecordBatch::try_new(schema_of(types), columns.clone())?;
        let (ids, parts, bytes) = (self.ids.clone(), self.parts.clone(), batch.get_array_memory_size());
        Ok(Some(Some(Self { ids, parts, batch, bytes, ..*self })))
    }

    fn slice(&self, first: usize, end: usize) -> Self {
        let row = if first == 0 { 0 } else { self.parts[first - 1].1 };
        let rows = self.parts[end - 1].1 - row;
        let parts: Vec<_> = self.parts[first..end].iter().map(|(lsn, until)| (*lsn, until - row)).collect();
        Self {
            ids: self.ids[first..end].to_vec(),
            lsn_min: self.parts[first].0,
            lsn_max: self.parts[end - 1].0,
            batch: self.batch.slice(row, rows),
            bytes: self.bytes * rows / self.rows().max(1),
            created_us: self.created_us,
            parts,
        }
    }

    fn merge(chunks: &[Arc<Self>]) -> Result<Self> {
        let batch = concat_batches(chunks[0].batch.schema_ref(), chunks.iter().map(|chunk| &chunk.batch))?;
        let batch = compact(&batch)?;
        let mut parts = Vec::with_capacity(chunks.iter().map(|chunk| chunk.parts.len()).sum());
        let mut row = 0;
        for chunk in chunks {
            parts.extend(chunk.parts.iter().map(|(lsn, until)| (*lsn, until + row)));
            row += chunk.rows();
        }
        Ok(Self {
            ids: chunks.iter().flat_map(|chunk| &chunk.ids).copied().collect(),
            lsn_min: chunks[0].lsn_min,
            lsn_max: chunks[chunks.len() - 1].lsn_max,
            bytes: batch.get_array_memory_size(),
            batch,
            created_us: chunks.iter().map(|chunk| chunk.created_us).min().unwrap_or_default(),
            parts,
        })
    }

    /// 0 for 1 to 7 rows, 1 for 8 to 63, …; `None` if it is never merged.
    fn tier(&self) -> Option<u32> {
        (self.rows() < MERGE_ROWS_MAX && self.bytes < MERGE_BYTES_MAX).then(|| self.rows().max(1).ilog2() / 3)
    }
}

/// Merges small neighbours at the end of the list, like a counter in base eight: a list of n one-row inserts keeps some
/// `8 log n` chunks, and each row is copied `log n` times.
pub(crate) fn coalesce(chunks: &mut Vec<Arc<HotChunk>>) -> Result<()> {
    let mut merge_from = None;
    let mut start = chunks.len();
    for tier in 0..=MERGE_ROWS_MAX.ilog2() / 3 {
        while start > 0
            && chunks[start - 1].tier().is_some_and(|own| own <= tier)
            && (start == chunks.len() || chunks[start - 1].batch.schema_ref() == chunks[start].batch.schema_ref())
        {
            start -= 1;
        }
        if chunks.len() - start >= MERGE_COUNT {
            merge_from = Some(start);
        }
    }
    if let Some(start) = merge_from {
        let merged = HotChunk::merge(&chunks[start..])?;
        chunks.truncate(start);
        chunks.push(Arc::new(merged));
    }
    Ok(())
}

/// True for types of which the second holds every value of the first.
pub fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, Decimal128, Float32, Float64, Int16, Int32, Int64, Timestamp};
    match (from, to) {
        (Int16, Int32 | Int64) | (Int32, Int64) | (Float32, Float64) | (Date32, Timestamp(_, _)) => true,
        (Int16 | Int32 | Int64, Decimal128(precision, scale)) => {
            let digits = match from {
                Int16 => 5,
                Int32 => 10,
                _ => 19,
            };
            i16::from(*precision) - i16::from(*scale) >= digits
        }
        _ => false,
    }
}

/// The schema of a chunk that has all the table's columns.
pub(crate) fn physical_schema(def: &TableDef) -> SchemaRef {
    schema_of(def.columns.iter().map(|column| (column.physical_name.as_str(), &column.data_type)))
}

/// A chunk's schema: everything nullable, no metadata but the mark.
pub(crate) fn schema_of<'a>(columns: impl Iterator<Item = (&'a str, &'a DataType)>) -> SchemaRef {
    let fields: Vec<_> = columns.map(|(name, data_type)| Field::new(name, data_type.clone(), true)).collect();
    Arc::new(Schema::new_with_metadata(fields, [(PHYSICAL_KEY.to_owned(), String::new())].into()))
}

/// True if the batch is as [`to_physical`] makes it.
pub(crate) fn is_physical(batch: &RecordBatch) -> bool {
    batch.schema_ref().metadata().contains_key(PHYSICAL_KEY)
}

/// Brings rows given under the table's column names to the form chunks have: physical names, the declared types, and
/// no memory held that is not theirs. `schema`: [`physical_schema`] of `def`. A batch in that form is returned as it is.
///
/// # Errors
/// `Invalid` for a column the table does not have; a cast error for a value that its type cannot hold.
pub(crate) fn to_physical(chunk: &Arc<NewChunk>, def: &TableDef, schema: &SchemaRef) -> Result<Arc<NewChunk>> {
    let batch = &chunk.batch;
    if is_physical(batch) {
        return Ok(Arc::clone(chunk));
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    let mut defs: Vec<&ColumnDef> = Vec::with_capacity(batch.num_columns());
    for (field, values) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let column = def
            .column(field.name())
            .ok_or_else(|| Error::Invalid(format!("column \"{}\" does not exist", field.name())))?;
        let values =
            if *values.data_type() == column.data_type { Arc::clone(values) } else { cast(values, &column.data_type)? };
        columns.push(compact_array(&values)?);
        defs.push(column);
    }
    let whole = defs.iter().map(|column| column.id).eq(def.columns.iter().map(|column| column.id));
    let schema = if whole {
        Arc::clone(schema)
    } else {
        schema_of(defs.iter().map(|column| (column.physical_name.as_str(), &column.data_type)))
    };
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(Arc::new(NewChunk { id: chunk.id, batch: RecordBatch::try_new_with_options(schema, columns, &options)? }))
}

fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(compact_array).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

/// Lets go of text that a view array holds but does not show, and of many small buffers.
fn compact_array(array: &ArrayRef) -> Result<ArrayRef> {
    fn is_sparse<T: ByteViewType>(array: &GenericByteViewArray<T>) -> bool {
        let held: usize = array.data_buffers().iter().map(arrow::buffer::Buffer::capacity).sum();
        array.data_buffers().len() > MERGE_COUNT || held > 2 * array.total_buffer_bytes_used() + 4096
    }
    Ok(match array.data_type() {
        DataType::Utf8View if is_sparse(array.as_string_view()) => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView if is_sparse(array.as_binary_view()) => Arc::new(array.as_binary_view().gc()),
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let values = compact_array(list.values())?;
            if Arc::ptr_eq(&values, list.values()) {
                return Ok(Arc::clone(array));
            }
            Arc::new(ListArray::try_new(Arc::clone(item), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        _ => Arc::clone(array),
    })
}
