//! Results: batches to DataRow messages, as fast as the client takes them and no faster.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tidemill_udfs::types::TextSettings;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::connection::{Failure, WRITE_BYTES};
use super::encode::RowEncoder;
use crate::session::{Column, RowsTag};
use crate::{Error, Result};

/// Rows encoded at first, before their size is known.
const ROWS_FIRST: usize = 32;
/// Rows encoded at once at most.
const ROWS_MAX: usize = 8192;

/// A result that is being sent; it may be suspended between rows.
pub(super) struct Running {
    stream: SendableRecordBatchStream,
    encoder: RowEncoder,
    batch: Option<RecordBatch>,
    /// The next row of `batch`.
    row: usize,
    /// How many rows to encode before the output is looked at.
    step: usize,
    tag: RowsTag,
    /// Cancels the statement.
    cancel: CancellationToken,
}

/// What was sent.
pub(super) struct Sent {
    pub(super) rows: u64,
    /// There are no more.
    pub(super) exhausted: bool,
}

impl Running {
    pub(super) fn new(
        stream: SendableRecordBatchStream,
        columns: &[Column],
        formats: &[i16],
        settings: Arc<TextSettings>,
        tag: RowsTag,
        cancel: CancellationToken,
    ) -> Result<Self> {
        let encoder = RowEncoder::new(columns, formats, settings)?;
        Ok(Self { stream, encoder, batch: None, row: 0, step: ROWS_FIRST, tag, cancel })
    }

    /// The command tag after `rows` rows.
    pub(super) fn tag(&self, rows: u64) -> String {
        match &self.tag {
            RowsTag::Counted(word) => format!("{word} {rows}"),
            RowsTag::Fixed(tag) => tag.clone(),
        }
    }

    /// Cancels the statement.
    pub(super) fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Sends rows in other formats from here on; the encoder so far.
    pub(super) fn encode_with(&mut self, encoder: RowEncoder) -> RowEncoder {
        std::mem::replace(&mut self.encoder, encoder)
    }

    pub(super) fn rows_tag(&self) -> RowsTag {
        self.tag.clone()
    }
}

impl Client<'_> {
    /// Passes over rows, `rows_max` at most.
    pub(super) async fn skip_rows(&mut self, running: &mut Running, rows_max: Option<usize>) -> Result<Sent, Failure> {
        let rows_max = rows_max.unwrap_or(usize::MAX);
        let mut rows = 0;
        while rows < rows_max {
            if let Some(batch) = &running.batch {
                let count = (batch.num_rows() - running.row).min(rows_max - rows);
                running.row += count;
                rows += count;
                if running.row < batch.num_rows() {
                    continue;
                }
            }
            let next = async { running.stream.next().await.transpose().map_err(Error::from) };
            running.batch = self.connection.guard(&self.handle.terminate, next).await?;
            running.row = 0;
            if running.batch.is_none() {
                return Ok(Sent { rows: rows as u64, exhausted: true });
            }
        }
        Ok(Sent { rows: rows as u64, exhausted: false })
    }

    /// Sends rows, `rows_max` at most.
    pub(super) async fn send_rows(&mut self, running: &mut Running, rows_max: Option<usize>) -> Result<Sent, Failure> {
        let rows_max = rows_max.unwrap_or(usize::MAX);
        let mut rows = 0;
        let exhausted = loop {
            if rows == rows_max {
                break false;
            }
            let Some(batch) = &running.batch else {
                let next = async { running.stream.next().await.transpose().map_err(Error::from) };
                match self.connection.guard(&self.handle.terminate, next).await? {
                    Some(batch) => (running.batch, running.row) = (Some(batch), 0),
                    None => break true,
                }
                continue;
            };
            if running.row == batch.num_rows() {
                running.batch = None;
                continue;
            }
            let count = running.step.min(batch.num_rows() - running.row).min(rows_max - rows);
            let before = self.connection.output.len();
            let (encoder, row) = (&mut running.encoder, running.row);
            let count = self.connection.encode(|out| encoder.encode_batch(batch, row, count, out))?;
            let bytes = (self.connection.output.len() - before).max(1);
            running.step = (WRITE_BYTES * count / bytes).clamp(1, ROWS_MAX);
            running.row += count;
            rows += count;
            self.connection.relieve(&running.cancel, &self.handle.terminate).await?;
        };
        self.instance.metrics.rows_sent.fetch_add(rows as u64, Relaxed);
        Ok(Sent { rows: rows as u64, exhausted })
    }
}
