//! The write-ahead log: segments of records, one LSN order, group fdatasync.
//!
//! ```text
//! wal/<first lsn, 20 digits>.wal   header | record | record | …
//! header  magic 8 | format u32 | wal epoch 16 | number u64 | first lsn u64 | last lsn before it u64 | crc32c u32
//! record  payload length u32 | crc32c u32 | lsn u64 | unsynced u32 | crc32c u32 | payload       (little-endian)
//! payload one committed transaction, see `record.rs`; rows as `codec.rs` spells them
//! ```
//! The first checksum covers epoch, lsn, `unsynced` and payload, so bytes of another log never look like this one's; the
//! second covers epoch and the header before it.
//! `unsynced` says how many records before and with this one were not yet durable when it was written. That tells a torn
//! tail from damage: after a power failure the pages of the last group may be on disk in any order, but a record whose
//! `unsynced` does not reach back to the first unreadable one proves that this one had been acknowledged.

/// Columns to bytes and back.
pub(crate) mod codec;

/// A transaction's changes to bytes and back.
pub(crate) mod record;

/// Segment files: their header, and reading them back after a crash.
pub(crate) mod segment;

/// Appending: groups, rotation, what to do when the disk is full.
pub(crate) mod log;

#[cfg(test)]
mod tests;

pub(crate) use log::{AppendError, Log};
pub(crate) use record::Payload;
