//! Rows that are durable in the log but not yet in files.

use arrow::array::RecordBatch;

use crate::Lsn;

/// Rows of one or more committed inserts, in commit order.
#[derive(Debug)]
pub struct HotChunk {
    /// The inserts it holds: each was logged under its own id.
    pub ids: Vec<u64>,
    /// The first insert's LSN.
    pub lsn_min: Lsn,
    /// The last insert's LSN.
    pub lsn_max: Lsn,
    /// The rows, with the columns the table had when they came.
    pub batch: RecordBatch,
    /// Memory they take, bytes.
    pub bytes: usize,
    /// When the first came, microseconds since the epoch.
    pub created_us: i64,
}
