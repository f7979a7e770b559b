//! Tidemill: an analytical database server. Postgres on the wire, DataFusion inside, Delta Lake on disk.
//!
//! The modules in the order in which a request meets them; arrows point one way, down this list.

/// IN/OUT: bytes to requests and back, over pgwire and HTTP. Knows no tables.
pub mod server;

/// WHO: one client, its settings, transaction, prepared statements and cursors. `Session::execute` is the pipeline.
pub mod session;

/// WHAT: parsing, then one file per statement that is not a plain query.
pub mod statement;

/// HOW: the only place where DataFusion is configured; names, types, rules, system tables.
pub mod plan;

/// IN, by itself: sources of files and messages.
mod source;

/// LATER: flush, compact, checkpoint.
pub mod background;

/// What all of them share: the open store, memory, sessions now connected, metrics.
pub mod instance;

/// Every limit and option, from flags, environment and file.
pub mod config;

/// The only reader of the time.
pub mod clock;

/// The only file that knows SQLSTATEs.
pub mod error;

/// Logs and metrics.
pub mod telemetry;

/// `tidemill demo`: example data through the front door.
pub mod demo;

pub use error::{Error, Result};
