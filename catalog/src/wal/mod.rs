//! The write-ahead log: segments of records, one LSN order, group fdatasync.
