//! The join in time: each left row meets at most one right row, the one of its key that is nearest in time.
//!
//! ```sql
//! SELECT * FROM trades ASOF JOIN quotes ON trades.symbol = quotes.symbol AND trades.ts >= quotes.ts
//! ```
//! ```text
//! quotes, in time order     A 10:00   B 10:01   A 10:02             C 10:04
//! trades, in time order                              A 10:03 ->  A 10:02
//! ```
//! Both inputs come sorted by time alone, not by key: one walk through both remembers where the latest right row of each key
//! is, and a left row takes what its key has. So the state is one right row per key, whatever the length of the inputs.
//! Conditions that look forward are the same walk with time reversed.
//!
//! Among right rows of one key with equal match values, the last one in the order of the input wins. NULL, as a key or as a
//! match value, matches nothing.

mod exec;
mod nearest;
pub(crate) mod output;
pub(crate) mod rows;
pub(crate) mod scale;
pub(crate) mod side;
mod stream;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;

pub use exec::AsofJoinExec;

/// How the match value of a left row relates to that of its right row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AsofOp {
    /// `left >= right`: the greatest right value up to the left one.
    GtEq,
    /// `left > right`: the greatest right value below the left one.
    Gt,
    /// `left <= right`: the least right value from the left one on.
    LtEq,
    /// `left < right`: the least right value above the left one.
    Lt,
    /// The right value with the smallest distance; of two that are equally far the lesser.
    Nearest,
}

impl AsofOp {
    /// Both inputs are read from the greatest match value to the least.
    pub fn is_descending(self) -> bool {
        matches!(self, Self::LtEq | Self::Lt)
    }

    /// Equal values do not match.
    pub(crate) fn is_strict(self) -> bool {
        matches!(self, Self::Gt | Self::Lt)
    }
}

impl fmt::Display for AsofOp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::GtEq => ">=",
            Self::Gt => ">",
            Self::LtEq => "<=",
            Self::Lt => "<",
            Self::Nearest => "nearest",
        })
    }
}
