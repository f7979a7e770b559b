//! Dates, times and intervals, with the calendar and zones of the types.

use super::define::Function;

mod arithmetic;
pub use arithmetic::round_time;
pub(crate) mod bucket;
mod fields;
mod format;
mod make;
mod parse;
pub(crate) mod pattern;
mod trunc;
pub(crate) mod zone;

pub(crate) use arithmetic::{add, add_zoned, divide_interval, interval, interval_order};
pub(crate) use format::ordinal_suffix;

/// True for the timestamps before and after all others.
pub(crate) fn is_infinite(micros: i64) -> bool {
    micros == i64::MIN || micros == i64::MAX
}

/// Every function of this family.
pub(crate) fn all() -> Vec<Function> {
    [
        fields::functions(),
        trunc::functions(),
        bucket::functions(),
        arithmetic::functions(),
        make::functions(),
        format::functions(),
        parse::functions(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
