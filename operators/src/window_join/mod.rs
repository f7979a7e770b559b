//! The window join: each left row with aggregates of the right rows of its key around it in time.
//!
//! ```sql
//! SELECT t.ts, avg(q.bid) FROM trades t WINDOW JOIN quotes q ON t.symbol = q.symbol
//!     RANGE BETWEEN '2 s' PRECEDING AND CURRENT ROW EXCLUDE PREVAILING
//! ```
//! ```text
//! quotes, in time order     A 10:00  B 10:01  A 10:02  A 10:03           A 10:05
//! trades, in time order                                        A 10:04             the window of A: 10:02, 10:03
//! ```
//! Both inputs come sorted by time alone, not by key. Right rows wait in a queue of their key; a window is two places in it,
//! which only move forward. An aggregate that can take values back follows them, any other one is computed anew for each
//! window. Rows before all windows to come are dropped, so the state is the right rows in open windows, and those read
//! ahead of the left side.
//!
//! NULL, as a key or as a time, is in no window and has an empty one.

mod aggregates;
mod exec;
mod series;
mod stream;
#[cfg(test)]
mod tests;

pub use aggregates::WindowAggregate;
pub use exec::WindowJoinExec;

use datafusion_physical_expr_common::physical_expr::PhysicalExprRef;

/// What is joined with what.
#[derive(Debug, Clone)]
pub struct WindowJoin {
    /// Pairs of a left and a right expression that must be equal.
    pub on: Vec<(PhysicalExprRef, PhysicalExprRef)>,
    /// The left and the right time.
    pub times: (PhysicalExprRef, PhysicalExprRef),
    /// In the unit of the times.
    pub window: Window,
    /// Over right columns.
    pub aggregates: Vec<WindowAggregate>,
}

/// Which right rows a left row's window has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// The least distance from the left time, inclusive: negative before it.
    pub low: i64,
    /// The greatest, inclusive.
    pub high: i64,
    /// Also the latest row up to the window's begin.
    pub prevailing: bool,
}

impl Window {
    /// The first time in the window around a time.
    pub(crate) fn begin(self, time: i64) -> i64 {
        shifted(time, self.low)
    }

    /// The last one.
    pub(crate) fn end(self, time: i64) -> i64 {
        shifted(time, self.high)
    }
}

/// The ends of the scale are infinite times, which stay where they are.
fn shifted(time: i64, by: i64) -> i64 {
    if time == i64::MIN || time == i64::MAX { time } else { time.saturating_add(by) }
}
