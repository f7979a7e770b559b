//! Dates, times and intervals.

use super::define::Function;

pub(crate) mod zone;

/// True for the timestamps before and after all others.
pub(crate) fn is_infinite(micros: i64) -> bool {
    micros == i64::MIN || micros == i64::MAX
}

/// Every function of this family.
pub(crate) fn all() -> Vec<Function> {
    vec![]
}
