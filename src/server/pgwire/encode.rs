//! Rows to DataRow messages.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::BytesMut;
use tidemill_udfs::types::TextSettings;

use crate::Result;
use crate::session::Column;

/// Encodes rows.
pub struct RowEncoder {}

impl RowEncoder {
    /// An encoder.
    pub fn new(columns: &[Column], formats: &[i16], settings: Arc<TextSettings>) -> Self {
        let _ = (columns, formats, settings);
        Self {}
    }

    /// Appends DataRow messages.
    pub fn encode_batch(&mut self, batch: &RecordBatch, row: usize, rows: usize, out: &mut BytesMut) -> Result<()> {
        let _ = (batch, row, rows, out);
        todo!()
    }
}
