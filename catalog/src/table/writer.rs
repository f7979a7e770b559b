//! Rows to Parquet files.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::fault::FileLayer;
use crate::record::TableDef;
use crate::table::file::FileEntry;
use crate::{Lsn, Result};

/// How much work goes into making a file small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Cheap to write: files that compaction will soon replace.
    #[default]
    Fast,
    /// Small: files that stay.
    Small,
}

/// What a [`TableWriter`] needs to know besides the table.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// The log range the rows came from; for files not yet committed, the commit's LSN replaces it.
    pub lsn_min: Lsn,
    /// See `lsn_min`.
    pub lsn_max: Lsn,
    /// How many times the rows were merged.
    pub level: u32,
    /// See [`Compression`].
    pub compression: Compression,
    /// Now, milliseconds since the epoch.
    pub now_ms: i64,
    /// Sort rows by these columns (names now) within what the sort buffer holds. Empty: by the time column, if there is one.
    pub sort_by: Vec<String>,
}

/// Writes a table's rows to Parquet files of bounded size, using bounded memory. Blocking. Dropped before
/// [`TableWriter::finish`], it leaves files that nothing refers to.
#[derive(Debug)]
pub struct TableWriter {
    _todo: (),
}

impl TableWriter {
    /// A writer of files in the table's folder `dir`.
    pub fn new(files: Arc<dyn FileLayer>, dir: &Path, def: &Arc<TableDef>, options: WriteOptions) -> Self {
        let _ = (files, dir, def, options);
        todo!()
    }

    /// Takes rows in the table's schema (names now; a missing column is NULL).
    ///
    /// # Errors
    /// `DiskFull`, `Io`, `Invalid` for a batch of other types.
    pub fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let _ = batch;
        todo!()
    }

    /// Completes the files; they and their folder are fsynced.
    ///
    /// # Errors
    /// As [`TableWriter::write`].
    pub fn finish(self) -> Result<Vec<Arc<FileEntry>>> {
        todo!()
    }
}
