//! Parquet files into a table, and rows into one.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use futures::TryStreamExt;
use tokio::sync::mpsc;

use super::super::files::{file_error, shown};
use super::target::Target;
use crate::error::SqlState;
use crate::instance::CopyProgress;
use crate::session::Column;
use crate::{Error, Result};

/// Rows read at once.
const READ_ROWS: usize = 64 * 1024;
/// Batches that may wait for the thread that reads or writes.
const BATCHES_WAITING: usize = 2;
/// Rows of a row group that is written: as in the tables' own files.
const GROUP_ROWS: usize = 128 * 1024;

/// A file's rows into the table. Columns are matched by name; each must cast to the table's type.
/// `name` is what messages call it.
pub(super) async fn read(target: &mut Target, path: &Path, name: &str) -> Result<()> {
    let (sender, mut batches) = mpsc::channel::<Result<RecordBatch>>(BATCHES_WAITING);
    let (file_path, file_name) = (path.to_owned(), name.to_owned());
    let reader = tokio::task::spawn_blocking(move || -> Result<()> {
        let failed = |error: std::io::Error| file_error(&file_name, "reading", &error);
        let invalid = |error: String| {
            let message = format!("\"{file_name}\" is not a Parquet file");
            Error::new(SqlState::BAD_COPY_FILE_FORMAT, message).detail(error)
        };
        if file_path.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let file = File::open(&file_path).map_err(failed)?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.with_batch_size(READ_ROWS).build())
            .map_err(|error| invalid(error.to_string()))?;
        for batch in reader {
            if sender.blocking_send(batch.map_err(|error| invalid(error.to_string()))).is_err() {
                break;
            }
        }
        Ok(())
    });
    while let Some(batch) = batches.recv().await {
        let batch = batch?;
        let arrays = target
            .given
            .iter()
            .map(|(at, column_name, _)| {
                let column = batch.column_by_name(column_name).ok_or_else(|| {
                    Error::new(
                        SqlState::BAD_COPY_FILE_FORMAT,
                        format!("file \"{name}\" has no column \"{column_name}\""),
                    )
                    .hint("Name the columns to copy: COPY table (column, …) FROM …")
                })?;
                let options = datafusion::arrow::compute::CastOptions { safe: false, ..Default::default() };
                datafusion::arrow::compute::cast_with_options(column, &target.def.columns[*at].data_type, &options)
                    .map_err(|error| {
                        Error::new(
                            SqlState::DATATYPE_MISMATCH,
                            format!(
                                "column \"{column_name}\" of the file does not fit type {}",
                                target.def.columns[*at].sql_type
                            ),
                        )
                        .detail(error.to_string())
                    })
            })
            .collect::<Result<Vec<_>>>()?;
        target.write(&arrays, batch.num_rows()).await?;
    }
    reader.await.map_err(|error| Error::internal(format!("a reader thread panicked: {error}")))?
}

/// Rows into a new file; how many. It is complete under its name, or not there.
pub(super) async fn write(
    mut rows: SendableRecordBatchStream,
    columns: &[Column],
    path: &Path,
    progress: &Arc<CopyProgress>,
) -> Result<u64> {
    let fields: Vec<_> = columns.iter().map(|column| column.sql_type.field(&column.name, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let (sender, mut batches) = mpsc::channel::<RecordBatch>(BATCHES_WAITING);
    let (path, written) = (path.to_owned(), Arc::clone(&schema));
    let temporary = path.with_file_name(format!(".{}.tmp", path.file_name().unwrap_or_default().display()));
    let counter = Arc::clone(progress);
    let writer = tokio::task::spawn_blocking(move || -> Result<()> {
        let failed = |error: std::io::Error| file_error(&shown(&path), "writing", &error);
        if path.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let result = (|| {
            let file = File::create(&temporary)?;
            let properties = WriterProperties::builder()
                .set_created_by(concat!("tidemill version ", env!("CARGO_PKG_VERSION")).to_owned())
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_max_row_group_row_count(Some(GROUP_ROWS))
                .build();
            let mut writer = ArrowWriter::try_new(file, written, Some(properties))?;
            let mut is_complete = false;
            while let Some(batch) = batches.blocking_recv() {
                // An empty one says that there are no more: else the rows end because of an error.
                is_complete = batch.num_rows() == 0;
                writer.write(&batch)?;
                counter.bytes.store(writer.bytes_written() as u64, Relaxed);
            }
            let file = writer.into_inner()?;
            if is_complete {
                file.sync_all()?;
                std::fs::rename(&temporary, &path)?;
            }
            std::io::Result::Ok(is_complete)
        })();
        if !matches!(result, Ok(true)) {
            let _ = std::fs::remove_file(&temporary);
        }
        result.map(|_| ()).map_err(failed)
    });
    let mut count = 0;
    while let Some(batch) = rows.try_next().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        count += batch.num_rows() as u64;
        progress.rows.store(count, Relaxed);
        let batch = RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec());
        // The writer ended early: it failed, and says why.
        if sender.send(batch.map_err(|error| Error::internal(error.to_string()))?).await.is_err() {
            break;
        }
    }
    let _ = sender.send(RecordBatch::new_empty(schema)).await;
    drop(sender);
    writer.await.map_err(|error| Error::internal(format!("a writer thread panicked: {error}")))??;
    Ok(count)
}
