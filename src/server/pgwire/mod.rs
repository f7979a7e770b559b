//! The Postgres wire protocol, version 3.

/// Parameters to values.
pub mod decode;

/// Batches to DataRow messages.
pub mod encode;
