//! The input batches that are still needed. Unlike in the window itself, the number of a batch stays the same.
//!
//! ```text
//!  numbers   0   1   2 | 3   4       0 to 2 are gone; of the rows that are needed from them there are copies
//! ```

use arrow::array::{Array, ArrayRef};
use arrow::compute::{filter_record_batch, is_not_null};
use arrow::record_batch::RecordBatch;
use datafusion_common::Result;

use crate::gapfill::window::{Held, Place, Window};

#[derive(Debug)]
pub(super) struct Input {
    window: Window,
    time: usize,
    /// The number of the first batch of the window.
    first: usize,
}

impl Input {
    pub(super) fn new(window: Window, time: usize) -> Self {
        Self { window, time, first: 0 }
    }

    /// The index in the window, unless the batch is gone.
    pub(super) fn index(&self, batch: usize) -> Option<usize> {
        batch.checked_sub(self.first)
    }

    pub(super) fn get(&self, batch: usize) -> Option<&Held> {
        self.window.get(self.index(batch)?)
    }

    /// The array and the row in it.
    pub(super) fn cell(&self, column: usize, (batch, row): Place) -> Option<(&ArrayRef, usize)> {
        Some((self.get(batch)?.batch.column(column), row))
    }

    /// A column's arrays in the first `count` batches of the window.
    pub(super) fn arrays(&self, column: usize, count: usize) -> Vec<ArrayRef> {
        self.window.arrays(column, count)
    }

    /// Appends a batch without its rows that have no time. What is kept besides it counts against the memory limit.
    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let time = batch.column(self.time);
        let batch = if time.null_count() > 0 { filter_record_batch(&batch, &is_not_null(time)?)? } else { batch };
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.window.push(batch, self.window.len() > 0)
    }

    /// Forgets the batches before number `to`.
    pub(super) fn release(&mut self, to: usize) {
        self.window.release(to - self.first);
        self.first = to;
    }

    pub(super) fn first(&self) -> usize {
        self.first
    }
}
