//! Durable names and tables: what Tidemill stores, and how a change becomes durable and visible.
//!
//! ```text
//! Transaction (changes on a snapshot) → Store::commit → WAL, group fdatasync → new Snapshot, one atomic pointer → ack
//!                                     flush: hot chunks → time-sorted Parquet → one Delta commit fenced by `txn`
//! ```
//! The log commits, Delta publishes. No sockets here, no spawned tasks but the WAL writer thread, no clock:
//! callers pass the time. The parts, in the order in which a write meets them:

mod error;
pub use error::{Error, Result};

/// Access control lists: who granted what to whom.
pub mod acl;

/// What is stored about an object, and the changes a transaction is made of (versioned JSON).
pub mod record;

/// Sequences: numbers that are given once.
pub mod sequence;

/// One immutable state of everything; `apply` is the only way to the next one.
pub mod snapshot;

/// Changes private to one session until they commit.
pub mod transaction;
pub mod user_type;

/// The open data directory: commits, recovery, background work.
pub mod store;

/// The write-ahead log: segments, records, group commit.
pub mod wal;

/// Rows that are durable in the log but not yet in files.
pub mod hot;

/// Delta Lake and Parquet: files, their index, scans, rewriting.
pub mod table;

/// The files beneath it all, and a layer that fails, tears and forgets on demand.
pub mod fault;

#[cfg(test)]
mod testing;

/// Object identifier, PostgreSQL's `oid`: stable across restarts, never reused.
pub type Oid = u32;

/// Log sequence number: one per committed transaction, dense, in commit order.
pub type Lsn = u64;
