//! Columns whose made rows are on the line between the values before and after. Which value is after, and what to look up, is
//! found out by the stream, which can read on; see `next` there.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::Lookup;
use super::assemble::Pieces;
use super::line::{Lane, Point, number};
use super::window::{Held, Place, Window, time};

/// What follows rows to be filled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Next {
    Point(Point),
    /// A row with NULL: there is no line to it.
    Broken,
    /// Nothing: the series ends.
    End,
    /// What the input's next batch says.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Interpolate {
    pub(super) treat_null_as_missing: bool,
    pub(super) prev: Option<Arc<dyn Lookup>>,
    pub(super) next: Option<Arc<dyn Lookup>>,
    at: Option<usize>,
    /// Where the line begins.
    pub(super) from: Option<Point>,
    /// Where the line ends, for the rows made next.
    pub(super) to: Option<Point>,
    /// What was looked up for the end of the series.
    pub(super) after: Option<Option<Point>>,
    /// No row of the series from the stream's position up to here has a value.
    ahead: Place,
    lane: Lane,
}

impl Interpolate {
    pub(super) fn new(
        data_type: DataType,
        treat_null_as_missing: bool,
        prev: Option<Arc<dyn Lookup>>,
        next: Option<Arc<dyn Lookup>>,
        at: Option<usize>,
    ) -> Self {
        let lane = Lane::new(data_type);
        Self { treat_null_as_missing, prev, next, at, from: None, to: None, after: None, ahead: (0, 0), lane }
    }

    pub(super) fn begin_series(&mut self) {
        self.from = None;
        self.after = None;
    }

    fn point(&self, held: &Held, column: usize, row: usize) -> Result<Point> {
        let x = match self.at.map(|at| held.batch.column(at)) {
            Some(at) if at.is_valid(row) => time(at, row)?,
            _ => held.times[row],
        };
        Ok(Point { x, y: number(held.batch.column(column), row)? })
    }

    /// What follows rows that are made before the row `from`. `from` is in the stream's batch, whose rows of the series end at
    /// `end`; it may be `end` itself.
    pub(super) fn look(&mut self, window: &Window, column: usize, from: Place, end: usize) -> Result<Next> {
        let current = from.0;
        let (mut batch, mut row) = from.max(self.ahead);
        loop {
            self.ahead = (batch, row);
            let Some(held) = window.get(batch) else { return Ok(Next::Unknown) };
            if batch > current && row == 0 && !held.continues {
                return Ok(Next::End);
            }
            let end = if batch == current { end } else { held.ends[0] };
            if row < end && !self.treat_null_as_missing {
                let valid = held.is_valid(column, row);
                return Ok(if valid { Next::Point(self.point(held, column, row)?) } else { Next::Broken });
            }
            while row < end && !held.is_valid(column, row) {
                row += 1;
            }
            self.ahead = (batch, row);
            if row < end {
                return Ok(Next::Point(self.point(held, column, row)?));
            }
            if end < held.rows() {
                return Ok(Next::End);
            }
            (batch, row) = (batch + 1, 0);
        }
    }

    /// Takes over present rows, `inside` the range or not; for NULLs at their end, `to` is what follows.
    pub(super) fn rows(
        &mut self,
        pieces: &mut Pieces,
        held: &Held,
        column: usize,
        (batch, start): Place,
        len: usize,
        inside: bool,
    ) -> Result<()> {
        let last = start + len - 1;
        let Some(nulls) = held.nulls[column].as_ref().filter(|_| self.treat_null_as_missing) else {
            pieces.rows(batch, start, len);
            let valid = held.is_valid(column, last);
            self.from = if valid { Some(self.point(held, column, last)?) } else { None };
            return Ok(());
        };
        let nulls = nulls.slice(start, len);
        let mut done = 0;
        for (from, to) in nulls.valid_slices() {
            if from > done && inside {
                let point = self.point(held, column, start + from)?;
                self.make(pieces, &held.times[start + done..start + from], Some(point))?;
            } else if from > done {
                pieces.rows(batch, start + done, from - done);
            }
            pieces.rows(batch, start + from, to - from);
            self.from = Some(self.point(held, column, start + to - 1)?);
            done = to;
        }
        if done < len && inside {
            self.make(pieces, &held.times[start + done..start + len], self.to)?;
        } else if done < len {
            pieces.rows(batch, start + done, len - done);
        }
        Ok(())
    }

    /// Makes rows of buckets with these starts; `to` is what follows.
    pub(super) fn gap(&mut self, pieces: &mut Pieces, times: &[i64]) -> Result<()> {
        self.make(pieces, times, self.to)
    }

    fn make(&mut self, pieces: &mut Pieces, times: &[i64], to: Option<Point>) -> Result<()> {
        pieces.made(times.len());
        self.lane.fill(times, self.from.zip(to))
    }

    /// The made rows.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        self.lane.finish()
    }

    pub(super) fn release(&mut self, released: usize) {
        self.ahead = match self.ahead {
            (batch, row) if batch >= released => (batch - released, row),
            _ => (0, 0),
        };
    }
}
