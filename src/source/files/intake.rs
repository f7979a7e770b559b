//! A file on its way into the table: one commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::{Intake, Totals, Work};
use super::Found;
use super::folder::modified;
use crate::error::SqlState;
use crate::statement::files::{FileFormat, chunks};
use crate::statement::ingest::receipts::Receipt;
use crate::statement::ingest::{Format, Ingest, Report};
use crate::{Error, Result};

/// See the module.
pub(super) struct File<'w> {
    work: &'w Work,
    file: &'w Found,
    format: Format,
    totals: Totals,
}

impl<'w> File<'w> {
    pub(super) fn new(work: &'w Work, file: &'w Found, totals: Totals) -> Self {
        let named = work.def.format.as_deref().and_then(FileFormat::named);
        let format = match named.or_else(|| FileFormat::of(Path::new(&file.path))) {
            Some(FileFormat::Csv) => Format::Csv,
            Some(FileFormat::Lines) => Format::Lines,
            Some(FileFormat::Parquet) => Format::Parquet,
            Some(FileFormat::Json) | None => Format::Json,
        };
        Self { work, file, format, totals }
    }

    /// Nothing changed it while it was read.
    async fn require_unchanged(&self) -> Result<()> {
        let meta = tokio::fs::metadata(&self.file.path).await.map_err(|error| self.failed(&error))?;
        if meta.len() != self.file.bytes || modified(&meta) != self.file.modified {
            return Err(Error::new(SqlState::IO_ERROR, "the file changed while it was read"));
        }
        Ok(())
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => SqlState::UNDEFINED_FILE,
            std::io::ErrorKind::PermissionDenied => SqlState::INSUFFICIENT_PRIVILEGE,
            _ => SqlState::IO_ERROR,
        };
        Error::new(code, format!("could not read the file: {error}"))
    }
}

#[async_trait::async_trait]
impl Intake for File<'_> {
    fn format(&self) -> Format {
        self.format
    }

    fn origin(&self) -> String {
        format!("{} {}", self.work.source.name, self.file.path)
    }

    async fn feed(&self, ingest: &mut Ingest) -> Result<()> {
        let path = Path::new(&self.file.path);
        let bytes = Arc::default();
        let mut chunks = match &self.file.object {
            Some(object) if self.format == Format::Parquet => {
                let download = tokio::select! {
                    download = object.download(&self.work.instance.config, &bytes) => download?,
                    () = self.work.stop.cancelled() => return Err(stopped()),
                };
                return ingest.take_file(&download.path, &self.work.stop).await;
            }
            Some(object) => object.chunks(&bytes),
            None if self.format == Format::Parquet => {
                ingest.take_file(path, &self.work.stop).await?;
                return self.require_unchanged().await;
            }
            None => chunks(path, &bytes),
        };
        loop {
            let chunk = tokio::select! {
                chunk = chunks.recv() => chunk,
                () = self.work.stop.cancelled() => return Err(stopped()),
            };
            let Some(chunk) = chunk else { break };
            ingest.push(&chunk?).await?;
        }
        // All ranges of an object are of what was listed.
        if self.file.object.is_some() {
            return Ok(());
        }
        if bytes.load(Ordering::Relaxed) != self.file.bytes {
            return Err(Error::new(SqlState::IO_ERROR, "the file changed while it was read"));
        }
        self.require_unchanged().await
    }

    fn receipts(&self, report: &Report) -> Vec<Receipt> {
        let totals = self.totals.with(report, 1);
        let bytes = i64::try_from(self.file.bytes).unwrap_or(i64::MAX);
        vec![self.work.receipt(self.file.path.clone(), bytes, self.file.digest(), totals.report(report))]
    }
}

fn stopped() -> Error {
    Error::new(SqlState::ADMIN_SHUTDOWN, "the source was stopped")
}
