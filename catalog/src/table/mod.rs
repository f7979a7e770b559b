//! Delta Lake and Parquet: files, their index and statistics, scans, rewriting. The only place that knows Delta.
//!
//! ```text
//! batches → writer → Parquet files → delta::commit → FileIndex → scan (pruned, cached) → batches
//!                                    compact, rewrite: files → files
//! ```

/// A Parquet file of a table, and the index of all of them.
pub mod file;

/// Values in and out of their stored text forms.
pub mod value;

/// How a column's type looks in files, and back.
pub mod physical;

/// Batches of other shapes brought to a table's schema now.
pub mod adapt;

/// Rows to Parquet files.
pub mod writer;

/// The Delta log: commits, replay, checkpoints.
pub mod delta;

/// Small files to large sorted ones.
pub mod compact;

/// Decoded columns kept in memory for repeated reads.
pub mod cache;

/// Parquet files to arrays, one column chunk at a time.
pub mod reader;

/// Whole units in, fewer rows out: DELETE and UPDATE.
pub mod rewrite;

/// Keys of rows as numbers.
pub mod keys;

/// Which rows of an upsert table count.
pub mod latest;

/// Primary keys: rows that have the keys of new ones.
pub mod unique;

/// A table at a snapshot as DataFusion reads it.
pub mod scan;

/// What was read of files, of those that take their place.
pub(crate) mod warm;

#[cfg(test)]
pub(crate) mod testing;
