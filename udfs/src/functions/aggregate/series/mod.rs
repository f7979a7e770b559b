//! Aggregates over time series: the first and the last value, histograms, and aggregates in two steps whose states can
//! be stored, rolled up and asked for several results. The accessors are in `functions/series`.

use datafusion_expr::AggregateUDF;

use super::super::FunctionInfo;

pub(crate) mod candlestick;
pub(crate) mod counter;
mod first_last;
mod groups;
mod histogram;
pub(crate) mod points;
pub(crate) mod rollup;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod time_weight;

pub(crate) use first_last::FirstLast;

#[cfg(test)]
mod tests;

fn series() -> Vec<groups::Series> {
    let [counter, gauge] = counter::functions();
    let (candlestick, stats) = (candlestick::function(), stats::function());
    vec![histogram::function(), time_weight::function(), counter, gauge, stats, candlestick, rollup::function()]
}

/// Every function of this family.
pub(crate) fn all() -> Vec<AggregateUDF> {
    let edges = first_last::all().into_iter().map(AggregateUDF::new_from_impl);
    edges.chain(series().into_iter().map(AggregateUDF::new_from_impl)).collect()
}

/// What there is to say about them.
pub(crate) fn all_info() -> Vec<FunctionInfo> {
    let edges = first_last::all().into_iter().map(|function| function.about().info());
    edges.chain(series().into_iter().map(|function| function.about.info())).collect()
}
