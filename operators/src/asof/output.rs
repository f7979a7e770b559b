//! Joined rows put together to batches of the session's size.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{BatchCoalescer, take_arrays};
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;

use super::rows::{KeptRows, Place};

/// Where a column of the output comes from: a place among the shown columns of one side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    Left(usize),
    Right(usize),
}

/// The output in the making.
pub(crate) struct Output {
    schema: SchemaRef,
    sources: Vec<Source>,
    /// Left rows without a match are not shown.
    pub(crate) inner: bool,
    /// Batches of at least this many rows are given out as they are.
    large_rows: usize,
    /// Joins the smaller ones.
    batches: BatchCoalescer,
}

impl Output {
    pub(crate) fn new(schema: SchemaRef, sources: Vec<Source>, inner: bool, batch_rows: usize) -> Self {
        let large_rows = batch_rows.max(1).div_ceil(2);
        let batches = BatchCoalescer::new(Arc::clone(&schema), batch_rows.max(1))
            .with_biggest_coalesce_batch_size(Some(large_rows - 1));
        Self { schema, sources, inner, large_rows, batches }
    }

    /// A batch that is ready.
    pub(crate) fn next(&mut self) -> Option<RecordBatch> {
        self.batches.next_completed_batch()
    }

    /// Makes the last rows ready.
    pub(crate) fn finish(&mut self) -> Result<()> {
        Ok(self.batches.finish_buffered_batch()?)
    }

    /// Adds neighbouring left rows and, for each of them, the place of its right row.
    pub(crate) fn push_run(&mut self, left: &RecordBatch, places: &[Place], right: &mut KeptRows) -> Result<()> {
        let is_match = |place: &&Place| !place.is_none();
        if !self.inner || places.iter().all(|place| is_match(&place)) {
            return self.push(left.columns(), &right.gather(places)?, places.len());
        }
        let (rows, places): (Vec<u32>, Vec<Place>) =
            (0..).zip(places).filter(|(_, place)| is_match(place)).map(|(row, place)| (row, *place)).unzip();
        let left = take_arrays(left.columns(), &UInt32Array::from(rows), None)?;
        self.push(&left, &right.gather(&places)?, places.len())
    }

    /// Adds joined rows.
    pub(crate) fn push(&mut self, left: &[ArrayRef], right: &[ArrayRef], rows: usize) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        let column = |source: &Source| match *source {
            Source::Left(at) => Arc::clone(&left[at]),
            Source::Right(at) => Arc::clone(&right[at]),
        };
        let columns = self.sources.iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        // Behind a few rows that wait, it would be cut, and so would all that follow.
        if rows >= self.large_rows {
            self.batches.finish_buffered_batch()?;
        }
        Ok(self.batches.push_batch(batch)?)
    }
}
