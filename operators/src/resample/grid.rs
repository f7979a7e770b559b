//! The steps of one series, made as they are needed.
//!
//! ```text
//!  without a start        rows    x    x  x          with one     | start
//!                         steps |    |    |                       |    |    |    |
//! ```

use std::sync::Arc;

use datafusion_common::{Result, exec_datafusion_err, internal_err};

use super::{Aligned, Extent};
use crate::gapfill::{FixedSteps, Steps};

/// Steps of equal width, in the unit of the column of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedGrid {
    /// Any of the steps.
    pub origin: i64,
    /// Positive.
    pub width: i64,
}

impl Steps for FixedGrid {
    fn nth(&self, start: i64, k: u64) -> Result<Option<i64>> {
        FixedSteps(self.width).nth(start, k)
    }

    fn fixed(&self) -> Option<i64> {
        Some(self.width)
    }
}

impl Aligned for FixedGrid {
    fn floor(&self, time: i64) -> Result<i64> {
        let (time, origin, width) = (i128::from(time), i128::from(self.origin), i128::from(self.width));
        let step = time - (time - origin).rem_euclid(width);
        i64::try_from(step).map_err(|_| exec_datafusion_err!("the step that {time} is in is out of range"))
    }

    fn next(&self, at: i64) -> Result<Option<i64>> {
        Ok(at.checked_add(self.width))
    }
}

/// The steps of a series that no row was made for.
#[derive(Debug)]
pub(super) struct Grid {
    steps: Arc<dyn Aligned>,
    fixed: Option<i64>,
    extent: Extent,
    /// The least time of the type.
    min: i64,
    at: Option<i64>,
}

impl Grid {
    pub(super) fn new(steps: Arc<dyn Aligned>, extent: Extent, min: i64) -> Self {
        let fixed = steps.fixed();
        Self { steps, fixed, extent, min, at: None }
    }

    /// Begins a series whose first row is at `first`.
    pub(super) fn begin(&mut self, first: i64) -> Result<()> {
        if let Some(start) = self.extent.start {
            self.set(Some(start));
            return Ok(());
        }
        let floor = self.steps.floor(first)?;
        if floor > first {
            return internal_err!("step {floor} is not before {first}");
        }
        self.set(Some(floor));
        // The type of time may begin within a step.
        while self.at.is_some_and(|at| at < self.min) {
            self.advance()?;
        }
        Ok(())
    }

    fn set(&mut self, at: Option<i64>) {
        self.at = at.filter(|at| self.extent.finish.is_none_or(|finish| *at < finish));
    }

    /// The next step; none after the finish.
    pub(super) fn at(&self) -> Option<i64> {
        self.at
    }

    pub(super) fn has_finish(&self) -> bool {
        self.extent.finish.is_some()
    }

    fn advance(&mut self) -> Result<()> {
        let Some(at) = self.at else { return Ok(()) };
        let next = match self.fixed {
            Some(width) => at.checked_add(width),
            None => self.steps.next(at)?,
        };
        if let Some(next) = next
            && next <= at
        {
            return internal_err!("step {next} does not follow {at}");
        }
        self.set(next);
        Ok(())
    }

    /// Appends the steps up to `last`, at most `max`.
    pub(super) fn take(&mut self, last: i64, max: usize, out: &mut Vec<i64>) -> Result<()> {
        let end = out.len() + max;
        while let Some(at) = self.at
            && at <= last
            && out.len() < end
        {
            out.push(at);
            self.advance()?;
        }
        Ok(())
    }
}
