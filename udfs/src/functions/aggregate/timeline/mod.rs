//! Aggregates over a time line: which state something was in and for how long, whether it was alive, and a series of values
//! with fewer points that still looks the same.

use datafusion_expr::AggregateUDF;

use super::super::FunctionInfo;
use super::super::define::Function;
use super::two_step::two_step;

pub(crate) mod heartbeat;
mod lttb;
pub(crate) mod states;
mod states_access;
#[cfg(test)]
mod tests;

/// The aggregates.
pub(super) fn aggregates() -> Vec<(AggregateUDF, FunctionInfo)> {
    vec![
        two_step::<states::Collected<false>>(states::state_agg()),
        two_step::<states::Collected<true>>(states::compact_state_agg()),
        two_step::<heartbeat::Heartbeat>(heartbeat::aggregate()),
        two_step::<lttb::Points>(lttb::aggregate()),
    ]
}

/// The accessors.
pub(super) fn accessors() -> Vec<Function> {
    [states_access::accessors(), heartbeat::accessors()].into_iter().flatten().collect()
}
