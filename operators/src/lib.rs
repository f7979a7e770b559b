//! Physical operators that DataFusion does not have: record batches in, record batches out. Knows nothing of the server, of
//! SQL's types or of tables.

/// Joins each row with the nearest one in time.
pub mod asof;

/// Rows for the buckets that have none.
pub mod gapfill;

/// The last row of each key without reading the others.
pub mod newest;

/// Rows at regular times, from samples that are at any.
pub mod resample;

/// Rows in the order of a time, without comparisons.
pub mod time_sort;

/// Aggregates of the rows around each row in time.
pub mod window_join;

mod keys;
