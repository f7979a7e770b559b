//! Rows for the buckets that have none.
//!
//! ```text
//!  select time_bucket_gapfill('1 h', t), device, locf(avg(v)), interpolate(avg(v)) … group by 1, 2
//!
//!  in:   a  01:00   4    4          out:   a  00:00   .    .      no point before: NULL, or what `prev` finds
//!        a  04:00   7    7                 a  01:00   4    4
//!                                          a  02:00   4    5      a gap, carried forward or on the line
//!        b  02:00   1    1                 a  03:00   4    6
//!                                          a  04:00   7    7
//!                                          b  00:00   .    .      …
//! ```
//!
//! Input are the rows of an aggregation in the order (series…, time), a series wholly in one partition; output are the same
//! rows and, between them, those of the missing buckets in `[start, finish)`. Rows outside of it pass through. The operator
//! does not know what a bucket is: [`Steps`] tells it where they begin, and [`Lookup`] what was before and after. Rows in
//! the order of time alone have an operator of their own: [`InterleavedGapFillExec`].

pub(crate) mod assemble;
pub(crate) mod column;
mod exec;
mod grid;
mod interleaved;
mod interpolate;
pub(crate) mod line;
pub(crate) mod properties;
mod repeat;
mod stream;
pub(crate) mod window;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion_common::{Result, ScalarValue};
use datafusion_physical_expr::PhysicalExpr;

pub use exec::GapFillExec;
pub use grid::FixedSteps;
pub use interleaved::InterleavedGapFillExec;
pub use properties::filled_schema;

/// The buckets to be filled, in the unit of the column of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first bucket's start: the caller has aligned it.
    pub start: i64,
    /// Buckets that start before it are filled; not aligned.
    pub finish: i64,
}

/// Where buckets start.
pub trait Steps: fmt::Debug + Send + Sync {
    /// The start of the `k`-th bucket after the one at `start` (`k = 0` is `start` itself); grows with `k`. None past the end
    /// of the type's range: there is no bucket from there on.
    ///
    /// # Errors
    /// Whatever calendar arithmetic fails with; the query ends with it.
    fn nth(&self, start: i64, k: u64) -> Result<Option<i64>>;

    /// The width, if all buckets have the same: the operator then counts by itself.
    fn fixed(&self) -> Option<i64> {
        None
    }
}

/// A value that is not among the rows: the last before the range, or the first after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When it was, in the unit of the column of time. Locf does not look at it.
    pub time: i64,
    /// Of the type of the column to be filled; NULL is as good as no sample.
    pub value: ScalarValue,
}

/// Finds values that are not among the rows, usually with a query of its own.
#[async_trait]
pub trait Lookup: fmt::Debug + Send + Sync {
    /// The sample of a series, given by the values of its columns. Called when a row needs it, at most once for each series.
    ///
    /// # Errors
    /// The query ends with them.
    async fn row(&self, series: &[ScalarValue]) -> Result<Option<Sample>>;
}

/// What the rows of missing buckets have in a column. Present rows keep what they have, unless a `treat_null_as_missing` says
/// otherwise.
#[derive(Debug, Clone)]
pub enum Fill {
    /// The bucket's start.
    Time,
    /// What the other rows of the series have: the columns of the series, and those that depend on them.
    Series,
    /// NULL.
    Null,
    /// A constant: an expression without columns, evaluated once.
    Value(Arc<dyn PhysicalExpr>),
    /// An expression over the filled row. Other columns of this kind are NULL in it.
    Row(Arc<dyn PhysicalExpr>),
    /// The value of the last row before.
    Locf {
        /// NULL in a bucket within the range is filled too; otherwise it is a value to be carried forward.
        treat_null_as_missing: bool,
        /// What to carry into the first bucket, if no row does.
        prev: Option<Arc<dyn Lookup>>,
    },
    /// On the line between the values before and after. Integers and decimals are exact and rounded half away from zero.
    Interpolate {
        /// NULL in a bucket within the range is filled too; otherwise there is no line to it, and none from it.
        treat_null_as_missing: bool,
        /// The line's begin at the first bucket, if no row is.
        prev: Option<Arc<dyn Lookup>>,
        /// The line's end after the last row of the series.
        next: Option<Arc<dyn Lookup>>,
        /// The column that has the time of the value, of the type of the bucket's; without it, or where it is NULL, the value
        /// is at the bucket's start. Rows to be filled always are at their bucket's start.
        at: Option<usize>,
    },
}
