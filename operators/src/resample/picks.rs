//! A column of the output that is made of values of the input's.
//!
//! ```text
//!  picks    (batch 3, row 5) (batch 3, row 5) NULL (batch 4, row 0)   → values, before their batches are let go
//!  parts    [ values ] [ values ]                                     → one array, when the output batch is full
//! ```

use arrow::array::{Array, ArrayRef, new_empty_array, new_null_array};
use arrow::compute::{concat, interleave};
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::input::Input;
use crate::gapfill::assemble::{detached, one_row};
use crate::gapfill::window::Place;

/// What is picked from: these two, and then the batches of the window.
const NULL: usize = 0;
const CARRIED: usize = 1;
const WINDOW: usize = 2;

#[derive(Debug)]
pub(super) struct Picks {
    /// The input's column.
    index: usize,
    data_type: DataType,
    /// The last value that was needed of a batch that is gone.
    carried: Option<ArrayRef>,
    picks: Vec<(usize, usize)>,
    has_nulls: bool,
    parts: Vec<ArrayRef>,
}

impl Picks {
    pub(super) fn new(index: usize, data_type: DataType) -> Self {
        Self { index, data_type, carried: None, picks: vec![], has_nulls: false, parts: vec![] }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Appends a value so many times. Its batch is in the window, or it is the carried one.
    pub(super) fn pick(&mut self, input: &Input, (batch, row): Place, len: usize) {
        let pick = input.index(batch).map_or((CARRIED, 0), |index| (WINDOW + index, row));
        self.picks.extend(std::iter::repeat_n(pick, len));
    }

    pub(super) fn nulls(&mut self, len: usize) {
        self.has_nulls |= len > 0;
        self.picks.extend(std::iter::repeat_n((NULL, 0), len));
    }

    /// An array and its row, of a value that is in the window or carried.
    pub(super) fn cell<'a>(&'a self, input: &'a Input, place: Place) -> Option<(&'a ArrayRef, usize)> {
        input.cell(self.index, place).or_else(|| self.carried.as_ref().map(|carried| (carried, 0)))
    }

    /// Keeps a value, unless it is in a batch from number `to` on. Nothing may be picked that is not settled.
    pub(super) fn carry(&mut self, input: &Input, place: Place, to: usize) -> Result<()> {
        if place.0 < to
            && let Some((array, row)) = input.cell(self.index, place)
        {
            self.carried = Some(one_row(array, row)?);
        }
        Ok(())
    }

    /// Takes the values from the batches, which are not needed for them any more.
    pub(super) fn settle(&mut self, input: &Input) -> Result<()> {
        if self.picks.is_empty() {
            return Ok(());
        }
        let part = detached(self.values(input)?);
        self.parts.push(part);
        Ok(())
    }

    /// The column.
    pub(super) fn finish(&mut self, input: &Input) -> Result<ArrayRef> {
        if self.parts.is_empty() {
            return self.values(input);
        }
        if !self.picks.is_empty() {
            let rest = self.values(input)?;
            self.parts.push(rest);
        }
        let parts: Vec<&dyn Array> = self.parts.iter().map(AsRef::as_ref).collect();
        let column = concat(&parts)?;
        self.parts.clear();
        Ok(column)
    }

    fn values(&mut self, input: &Input) -> Result<ArrayRef> {
        let batches = self.picks.iter().map(|(source, _)| source + 1).max().unwrap_or(WINDOW).saturating_sub(WINDOW);
        // NULL among the sources costs time, even if it is not picked.
        let null = if self.has_nulls { new_null_array(&self.data_type, 1) } else { new_empty_array(&self.data_type) };
        let carried = self.carried.clone().unwrap_or_else(|| new_empty_array(&self.data_type));
        let window = input.arrays(self.index, batches);
        let sources: Vec<&dyn Array> = [&null, &carried].into_iter().chain(&window).map(AsRef::as_ref).collect();
        let values = interleave(&sources, &self.picks)?;
        self.picks.clear();
        self.has_nulls = false;
        Ok(values)
    }
}
