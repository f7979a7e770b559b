//! Accessors: what the states of aggregates in two steps are asked for, as `rate(counter_agg(ts, value))`.
//!
//! A name may be good for several kinds of states; which one it is given is told by the state itself. The states are
//! made in `functions/aggregate/series`. NULL gives NULL.

use super::define::Function;

mod candlestick;
mod change;
mod points;
mod stats;

/// Every function of this family.
pub(crate) fn all() -> Vec<Function> {
    let families = [points::functions(), change::functions(), stats::functions(), candlestick::functions()];
    families.into_iter().flatten().collect()
}
