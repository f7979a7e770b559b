//! Columns whose made rows repeat a value of another row: those of the series, and what is carried forward.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::Lookup;
use super::assemble::{Pieces, one_row};
use super::window::{Held, Place};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Of the window.
    Batch(usize),
    /// An array of one row: carried over from a batch that is gone, looked up, or NULL.
    Extra(usize),
}

/// What is repeated.
#[derive(Debug)]
enum Rule {
    Series,
    Locf { treat_null_as_missing: bool },
}

#[derive(Debug)]
pub(super) struct Repeat {
    rule: Rule,
    prev: Option<Arc<dyn Lookup>>,
    /// The last row whose value is to be repeated, if the series has one.
    last: Option<(Source, usize)>,
    /// Whether that value is not NULL.
    carries: bool,
    extras: Vec<ArrayRef>,
    /// The made rows: what, and how often.
    made: Vec<(Source, usize, usize)>,
}

impl Repeat {
    pub(super) fn series() -> Self {
        Self::new(Rule::Series, None)
    }

    pub(super) fn locf(treat_null_as_missing: bool, prev: Option<Arc<dyn Lookup>>) -> Self {
        Self::new(Rule::Locf { treat_null_as_missing }, prev)
    }

    fn new(rule: Rule, prev: Option<Arc<dyn Lookup>>) -> Self {
        Self { rule, prev, last: None, carries: false, extras: vec![], made: vec![] }
    }

    pub(super) fn begin_series(&mut self) {
        self.last = None;
        self.carries = false;
    }

    /// What to ask for the first bucket, given whether that is a row with NULL.
    pub(super) fn wanted(&self, null_row: bool) -> Option<Arc<dyn Lookup>> {
        let fills = !null_row || matches!(self.rule, Rule::Locf { treat_null_as_missing: true });
        if fills && !self.carries { self.prev.clone() } else { None }
    }

    /// Carries a value of one row that was looked up.
    pub(super) fn carry(&mut self, value: ArrayRef) {
        self.last = Some((Source::Extra(self.extras.len()), 0));
        self.carries = true;
        self.extras.push(value);
    }

    /// Takes over present rows, `inside` the range or not.
    pub(super) fn rows(
        &mut self,
        pieces: &mut Pieces,
        held: &Held,
        column: usize,
        at: Place,
        len: usize,
        inside: bool,
    ) {
        let (batch, start) = at;
        let Rule::Locf { treat_null_as_missing } = self.rule else {
            self.last = Some((Source::Batch(batch), start + len - 1));
            return pieces.rows(batch, start, len);
        };
        let Some(nulls) = held.nulls[column].as_ref().filter(|_| treat_null_as_missing) else {
            self.last = Some((Source::Batch(batch), start + len - 1));
            self.carries = held.is_valid(column, start + len - 1);
            return pieces.rows(batch, start, len);
        };
        let mut done = 0;
        for (from, to) in nulls.slice(start, len).valid_slices() {
            self.missing(pieces, (batch, start + done), from - done, inside);
            pieces.rows(batch, start + from, to - from);
            self.last = Some((Source::Batch(batch), start + to - 1));
            self.carries = true;
            done = to;
        }
        self.missing(pieces, (batch, start + done), len - done, inside);
    }

    /// Rows with NULL, which is to be filled.
    fn missing(&mut self, pieces: &mut Pieces, (batch, start): Place, len: usize, inside: bool) {
        match self.last {
            _ if len == 0 => {}
            Some((source, row)) if inside && self.carries => {
                self.made.push((source, row, len));
                pieces.made(len);
            }
            _ => pieces.rows(batch, start, len),
        }
    }

    /// Makes rows, before the row `next` of the same series if there is one.
    pub(super) fn gap(&mut self, pieces: &mut Pieces, len: usize, next: Option<Place>, data_type: &DataType) {
        let next = next.filter(|_| matches!(self.rule, Rule::Series)).map(|(batch, row)| (Source::Batch(batch), row));
        let (source, row) = next.or(self.last).unwrap_or_else(|| {
            self.extras.push(new_null_array(data_type, 1));
            let null = (Source::Extra(self.extras.len() - 1), 0);
            self.last = Some(null);
            null
        });
        self.made.push((source, row, len));
        pieces.made(len);
    }

    /// The value repeated last: an array and its row.
    pub(super) fn last<'a>(&'a self, batches: impl Fn(usize) -> Option<&'a ArrayRef>) -> Option<(&'a ArrayRef, usize)> {
        match self.last? {
            (Source::Batch(batch), row) => Some((batches(batch)?, row)),
            (Source::Extra(extra), row) => Some((&self.extras[extra], row)),
        }
    }

    /// The made rows.
    pub(super) fn finish(&mut self, batches: &[ArrayRef]) -> Result<ArrayRef> {
        let sources: Vec<&dyn Array> = batches.iter().chain(&self.extras).map(AsRef::as_ref).collect();
        let mut indices = Vec::with_capacity(self.made.iter().map(|(_, _, len)| len).sum());
        for (source, row, len) in self.made.drain(..) {
            let source = match source {
                Source::Batch(batch) => batch,
                Source::Extra(extra) => batches.len() + extra,
            };
            indices.extend(std::iter::repeat_n((source, row), len));
        }
        Ok(interleave(&sources, &indices)?)
    }

    /// The first `released` batches are about to go; what is still needed of them is copied.
    pub(super) fn release(&mut self, batches: &[ArrayRef], released: usize) -> Result<()> {
        self.last = match self.last {
            Some((Source::Batch(batch), row)) if batch < released => {
                self.extras = vec![one_row(&batches[batch], row)?];
                Some((Source::Extra(0), 0))
            }
            Some((Source::Batch(batch), row)) => {
                self.extras.clear();
                Some((Source::Batch(batch - released), row))
            }
            Some((Source::Extra(extra), row)) => {
                self.extras = vec![self.extras.swap_remove(extra)];
                Some((Source::Extra(0), row))
            }
            None => {
                self.extras.clear();
                None
            }
        };
        Ok(())
    }
}
