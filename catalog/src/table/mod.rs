//! Delta Lake and Parquet: files, their index and statistics, scans, rewriting. The only place that knows Delta.

/// A Parquet file of a table, and the index of all of them.
pub mod file;

/// Rows to Parquet files.
pub mod writer;

/// The Delta log: commits, replay, checkpoints.
pub mod delta;

/// Decoded columns kept in memory for repeated reads.
pub mod cache;

/// A table at a snapshot as DataFusion reads it.
pub mod scan;
