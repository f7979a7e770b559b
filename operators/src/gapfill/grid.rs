//! Counts the buckets of a series: `start`, `start + 1 step`, … up to `finish`, always from `start`, so that months do not
//! drift (31 January, 28 February, 31 March).

use std::sync::Arc;

use datafusion_common::{Result, internal_err};

use super::{Range, Steps};

/// Buckets of equal width, in the unit of the column of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedSteps(pub i64);

impl Steps for FixedSteps {
    fn nth(&self, start: i64, k: u64) -> Result<Option<i64>> {
        // |i64| * u64 stays below 2^127, and the sum too.
        Ok(i64::try_from(i128::from(start) + i128::from(self.0) * i128::from(k)).ok())
    }

    fn fixed(&self) -> Option<i64> {
        Some(self.0)
    }
}

/// The next bucket of a series that no row was given for.
#[derive(Debug)]
pub(super) struct Grid {
    steps: Arc<dyn Steps>,
    fixed: Option<i64>,
    range: Range,
    /// Buckets before `at`.
    k: u64,
    /// `range.finish` if there is none left.
    at: i64,
}

impl Grid {
    pub(super) fn new(steps: Arc<dyn Steps>, range: Range) -> Self {
        let fixed = steps.fixed();
        Self { steps, fixed, range, k: 0, at: range.start.min(range.finish) }
    }

    pub(super) fn reset(&mut self) {
        self.k = 0;
        self.at = self.range.start.min(self.range.finish);
    }

    pub(super) fn range(&self) -> Range {
        self.range
    }

    /// The start of the next bucket; `finish` or later means none.
    pub(super) fn at(&self) -> i64 {
        self.at
    }

    /// Whether no bucket was given yet.
    pub(super) fn is_first(&self) -> bool {
        self.k == 0
    }

    pub(super) fn advance(&mut self) -> Result<()> {
        self.k += 1;
        let next = match self.fixed {
            Some(width) => self.at.saturating_add(width),
            None => match self.steps.nth(self.range.start, self.k)? {
                Some(next) if next <= self.at => return internal_err!("bucket {} does not follow {}", next, self.at),
                Some(next) => next,
                None => self.range.finish,
            },
        };
        self.at = next.min(self.range.finish);
        Ok(())
    }

    /// Appends the buckets before `limit`, at most `max`; returns how many.
    pub(super) fn take(&mut self, limit: i64, max: usize, out: &mut Vec<i64>) -> Result<usize> {
        let before = out.len();
        while self.at < limit && out.len() - before < max {
            out.push(self.at);
            self.advance()?;
        }
        Ok(out.len() - before)
    }

    /// The number of the rows with these times that need no gap before them; all are before `finish`, the first is not after
    /// the next bucket.
    pub(super) fn pass(&mut self, times: &[i64]) -> Result<usize> {
        for (row, &time) in times.iter().enumerate() {
            // Times between two buckets are passed on: whoever made them has other buckets in mind.
            if time > self.at || time >= self.range.finish {
                return Ok(row);
            }
            if time == self.at {
                self.advance()?;
            }
        }
        Ok(times.len())
    }
}
