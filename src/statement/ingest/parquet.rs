//! Parquet files into tables: read batch by batch on a thread of its own, for pages are unpacked there.

use std::fs::File;
use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Ingest;
use crate::error::SqlState;
use crate::{Error, Result};

/// Rows of a batch: as the engine's.
const BATCH_ROWS: usize = 8192;
/// Batches read ahead.
const BATCHES_AHEAD: usize = 2;

impl Ingest {
    /// Takes all rows of a Parquet file.
    ///
    /// # Errors
    /// 22P04 for another file, and those of [`Ingest::push`]. The message does not name the file: it has no name that the
    /// client knows.
    pub(crate) async fn take_file(&mut self, path: &Path, cancel: &CancellationToken) -> Result<()> {
        let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
        let path = path.to_owned();
        let reader = tokio::task::spawn_blocking(move || read(&path, &sender));
        while let Some(batch) = batches.recv().await {
            if cancel.is_cancelled() {
                let message = "terminating connection due to administrator command";
                return Err(Error::new(SqlState::ADMIN_SHUTDOWN, message));
            }
            self.take(&batch).await?;
        }
        // The reader panics on some files that are none; the panic is in the log.
        reader.await.map_err(|_| invalid("it cannot be read"))?
    }
}

/// Reads until nobody wants more.
fn read(path: &Path, sender: &mpsc::Sender<RecordBatch>) -> Result<()> {
    let wrong = |error: &dyn std::fmt::Display| invalid(&error.to_string());
    let file = File::open(path).map_err(|error| Error::new(SqlState::IO_ERROR, error.to_string()))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| wrong(&error))?;
    for batch in builder.with_batch_size(BATCH_ROWS).build().map_err(|error| wrong(&error))? {
        if sender.blocking_send(batch.map_err(|error| wrong(&error))?).is_err() {
            break;
        }
    }
    Ok(())
}

fn invalid(detail: &str) -> Error {
    Error::new(SqlState::BAD_COPY_FILE_FORMAT, "the data is not a Parquet file").detail(detail)
}
