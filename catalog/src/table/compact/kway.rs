//! Merges sorted streams of batches into one.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};

use crate::Result;
use crate::table::reader::BLOCK_ROWS;

/// A stretch of rows of one input at least this long goes out as it is, without being copied together with others.
const STRETCH_ROWS: usize = 1024;

type Input = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// One input: its current batch and where in it the merge is.
struct Cursor {
    input: Input,
    batch: Arc<RecordBatch>,
    keys: Rows,
    at: usize,
}

/// The merge: ascending, NULLs last; rows that compare equal come in the order of the inputs.
pub(super) struct KWayMerge {
    schema: SchemaRef,
    converter: RowConverter,
    key: Vec<usize>,
    cursors: Vec<Option<Cursor>>,
    /// Inputs that have rows, by their next row, least first.
    order: Vec<usize>,
    /// Rows chosen but not copied yet.
    pending: Vec<Arc<RecordBatch>>,
    pending_rows: Vec<(usize, usize)>,
    ready: Vec<RecordBatch>,
    failed: bool,
}

impl KWayMerge {
    /// Merges `inputs`, each sorted by the columns `key`.
    pub(super) fn new(schema: SchemaRef, inputs: Vec<Input>, key: &[usize]) -> Result<Self> {
        let options = SortOptions { descending: false, nulls_first: false };
        let fields =
            key.iter().map(|&index| SortField::new_with_options(schema.field(index).data_type().clone(), options));
        let mut merge = Self {
            converter: RowConverter::new(fields.collect())?,
            schema,
            key: key.to_vec(),
            cursors: vec![],
            order: vec![],
            pending: vec![],
            pending_rows: vec![],
            ready: vec![],
            failed: false,
        };
        for (index, input) in inputs.into_iter().enumerate() {
            let cursor = merge.advance(input)?;
            merge.cursors.push(cursor);
            merge.place(index);
        }
        Ok(merge)
    }

    /// The cursor at an input's next batch that has rows.
    fn advance(&self, mut input: Input) -> Result<Option<Cursor>> {
        loop {
            let Some(batch) = input.next().transpose()? else { return Ok(None) };
            if batch.num_rows() > 0 {
                let columns: Vec<ArrayRef> = self.key.iter().map(|&index| Arc::clone(batch.column(index))).collect();
                let keys = self.converter.convert_columns(&columns)?;
                return Ok(Some(Cursor { input, batch: Arc::new(batch), keys, at: 0 }));
            }
        }
    }

    /// Puts an input in its place in the order.
    fn place(&mut self, index: usize) {
        let Some(cursor) = &self.cursors[index] else { return };
        let row = cursor.keys.row(cursor.at);
        let at = self.order.partition_point(|&other| match &self.cursors[other] {
            Some(head) => (head.keys.row(head.at), other) < (row, index),
            None => false,
        });
        self.order.insert(at, index);
    }

    /// Takes the longest stretch of the first input that comes before all others.
    fn step(&mut self) -> Result<bool> {
        if self.order.is_empty() {
            return Ok(false);
        }
        let first = self.order.remove(0);
        let Some(mut cursor) = self.cursors[first].take() else { return Ok(true) };
        let rows = cursor.batch.num_rows();
        let end = match self.order.first().and_then(|&next| Some((next, self.cursors[next].as_ref()?))) {
            None => rows,
            Some((next, other)) => {
                let bound = other.keys.row(other.at);
                let before = |row: usize| (cursor.keys.row(row), first) < (bound, next);
                gallop(cursor.at, rows, before)
            }
        };
        self.take(&cursor.batch, cursor.at, end)?;
        cursor.at = end;
        self.cursors[first] = if end < rows { Some(cursor) } else { self.advance(cursor.input)? };
        self.place(first);
        Ok(true)
    }

    fn take(&mut self, batch: &Arc<RecordBatch>, start: usize, end: usize) -> Result<()> {
        if end - start >= STRETCH_ROWS {
            self.copy_pending()?;
            self.ready.push(batch.slice(start, end - start));
            return Ok(());
        }
        let known = self.pending.iter().rposition(|other| Arc::ptr_eq(other, batch));
        let index = known.unwrap_or_else(|| {
            self.pending.push(Arc::clone(batch));
            self.pending.len() - 1
        });
        self.pending_rows.extend((start..end).map(|row| (index, row)));
        if self.pending_rows.len() >= BLOCK_ROWS { self.copy_pending() } else { Ok(()) }
    }

    fn copy_pending(&mut self) -> Result<()> {
        if !self.pending_rows.is_empty() {
            let batches: Vec<&RecordBatch> = self.pending.iter().map(AsRef::as_ref).collect();
            self.ready.push(interleave_record_batch(&batches, &self.pending_rows)?);
            self.pending_rows.clear();
        }
        self.pending.clear();
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if !self.ready.is_empty() {
                let batch = self.ready.remove(0);
                return Ok(Some(batch.with_schema(Arc::clone(&self.schema))?));
            }
            if !self.step()? {
                self.copy_pending()?;
                if self.ready.is_empty() {
                    return Ok(None);
                }
            }
        }
    }
}

/// The first row in `start..end` for which `before` is false, given that it is true for `start` and then false from some
/// row on: doubling steps, then halving, so that short stretches cost little.
fn gallop(start: usize, end: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut step) = (start, 1);
    while low + step < end && before(low + step) {
        low += step;
        step *= 2;
    }
    let mut high = (low + step).min(end);
    low += 1;
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

impl Iterator for KWayMerge {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = self.next_batch().transpose();
        self.failed = matches!(batch, Some(Err(_)));
        batch
    }
}
