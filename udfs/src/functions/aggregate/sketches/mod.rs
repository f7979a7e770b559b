//! Sketches: aggregates that answer about many values from a few kilobytes, not quite exactly. Their states are `bytea`, can
//! be stored and rolled up, and are read by accessors.

use datafusion_expr::AggregateUDF;

use super::super::FunctionInfo;
use super::super::define::Function;
use super::two_step::two_step;

pub(crate) mod digest;
pub(crate) mod distinct;
pub(crate) mod frequency;
mod hash;
#[cfg(test)]
mod tests;

/// The aggregates.
pub(super) fn aggregates() -> Vec<(AggregateUDF, FunctionInfo)> {
    let digests = digest::aggregates().into_iter().map(two_step::<digest::Digest>);
    let distinct = distinct::aggregates().into_iter().map(two_step::<distinct::Distinct>);
    let frequent = frequency::aggregates().into_iter().map(two_step::<frequency::Frequent>);
    digests.chain(distinct).chain(frequent).collect()
}

/// The accessors.
pub(super) fn accessors() -> Vec<Function> {
    [digest::accessors(), distinct::accessors(), frequency::accessors()].into_iter().flatten().collect()
}
