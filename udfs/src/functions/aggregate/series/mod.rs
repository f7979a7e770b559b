//! Aggregates over time series: the first and the last value, histograms, and aggregates in two steps whose states can be
//! stored, rolled up and asked for several results.

pub(crate) mod rollup;
pub(crate) mod state;
