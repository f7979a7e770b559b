//! Aggregates: rows in, one value out.

use std::sync::Arc;

use datafusion_expr::AggregateUDF;

use super::FunctionInfo;
use super::define::Function;

pub(crate) mod average;
mod collect;
mod every;
mod first_row;
pub(crate) mod intervals;
mod ordered;
pub(crate) mod real;
mod records;
pub(crate) mod series;
pub(crate) mod sketches;
mod timeline;
mod two_step;
pub(crate) mod variance;

pub use first_row::FirstRow;

/// Of an aggregate whose value only depends on the rows that come last (`true`) or first in the order of an argument: that
/// argument. Rows that come before (or after) another one can be left out.
pub fn decided_by(function: &AggregateUDF) -> Option<(usize, bool)> {
    let inner = function.inner().as_ref() as &dyn std::any::Any;
    if let Some(row) = inner.downcast_ref::<FirstRow>() {
        return row.first_key().map(|(argument, options)| (argument, options.descending));
    }
    if let Some(last) = inner.downcast_ref::<series::FirstLast>() {
        return Some((1, last.is_last()));
    }
    match function.name() {
        "max" => Some((0, true)),
        "min" => Some((0, false)),
        _ => None,
    }
}

/// Every aggregate.
pub(crate) fn all() -> Vec<Arc<AggregateUDF>> {
    let collected = collect::all().into_iter().map(AggregateUDF::new_from_impl);
    let ordered = ordered::all().into_iter().map(AggregateUDF::new_from_impl);
    let others = [AggregateUDF::new_from_impl(every::Every::new())];
    collected
        .chain(ordered)
        .chain(others)
        .chain(series::all())
        .chain(sketches_and_timelines().map(|(aggregate, _)| aggregate))
        .map(Arc::new)
        .collect()
}

/// What there is to say about them.
pub(crate) fn all_info() -> Vec<FunctionInfo> {
    let mut all: Vec<FunctionInfo> = collect::all().iter().map(collect::Collect::info).collect();
    all.extend(ordered::all().iter().map(ordered::Ordered::info));
    all.push(every::Every::info());
    all.extend(series::all_info());
    all.extend(sketches_and_timelines().map(|(_, info)| info));
    all
}

fn sketches_and_timelines() -> impl Iterator<Item = (AggregateUDF, FunctionInfo)> {
    sketches::aggregates().into_iter().chain(timeline::aggregates())
}

/// What the states of sketches and time lines are asked for.
pub(crate) fn accessors() -> Vec<Function> {
    [sketches::accessors(), timeline::accessors()].into_iter().flatten().collect()
}
