//! A regular grid for each series, from samples at any times. Nothing is aggregated: each row of the output is what the series
//! was, or may have been, at that very time.
//!
//! ```text
//!  SELECT * FROM resample('readings', every => '5 seconds', by => 'device', method => 'linear', max_gap => '30 seconds')
//!
//!  in:   a  00:01  1         out:   a  00:00  .  filled      before the first sample: unknown
//!        a  00:05  5                a  00:05  5              measured
//!        a  00:15  7                a  00:10  6  filled      on the line
//!                                   a  00:15  7
//!        b  00:10  3                b  00:10  3              each series from the step of its first row to that of its last
//! ```
//!
//! Input are rows in the order (series…, time), a series wholly in one partition. Rows without a time are ignored. Of several
//! rows of a series at the same time the last one counts, and NULL is no sample: each column has its own neighbours.
//!
//! The operator does not know the calendar: [`Aligned`] tells it where the steps are.

mod column;
mod exec;
mod grid;
mod input;
mod picks;
mod properties;
mod samples;
mod stream;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use datafusion_common::Result;

use crate::gapfill::Steps;

pub use exec::ResampleExec;
pub use grid::FixedGrid;
pub use properties::resampled_schema;

/// Steps that cover all of time, of which none is the first.
pub trait Aligned: Steps {
    /// The last step at `time` or before it.
    ///
    /// # Errors
    /// Whatever calendar arithmetic fails with, and if that step is out of the range of `i64`.
    fn floor(&self, time: i64) -> Result<i64>;

    /// The step after the one at `at`; None past the end of the type's range. Not called if [`Steps::fixed`] has the width.
    ///
    /// # Errors
    /// Whatever calendar arithmetic fails with; the query ends with it.
    fn next(&self, at: i64) -> Result<Option<i64>>;
}

/// What a column has at a step where it was not measured. Where it was, every method takes that value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// On the line between the samples before and after; integers and decimals are rounded half away from zero.
    Linear,
    /// The last sample before.
    Locf,
    /// The sample that is nearest in time; of two equally near ones the earlier.
    Nearest,
    /// The first sample after.
    Next,
    /// NULL.
    None,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear",
            Self::Locf => "locf",
            Self::Nearest => "nearest",
            Self::Next => "next",
            Self::None => "none",
        })
    }
}

/// From where to where a series is resampled, in the unit of the column of time. Rows outside are samples all the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// The first step, which the caller has aligned; without it, the step that the first row of the series is in.
    pub start: Option<i64>,
    /// Steps before it are made, whether it is one or not; without it, up to the step that the last row of the series is in.
    pub finish: Option<i64>,
}

/// What is resampled, and how. Columns are those of the input.
#[derive(Debug, Clone)]
pub struct Resample {
    /// The column of time: an integer, a date, or a timestamp in microseconds.
    pub time: usize,
    /// The columns of the series; without any, all rows are one.
    pub series: Vec<usize>,
    /// The columns of values; at least one.
    pub values: Vec<(usize, Method)>,
    /// Where the steps are.
    pub steps: Arc<dyn Aligned>,
    /// From where to where.
    pub extent: Extent,
    /// In the unit of time: no line between samples further apart, and no sample used for a step further away.
    pub max_gap: Option<i64>,
    /// The name of the last column, which says of each row whether a value of it was not measured.
    pub filled: String,
}
