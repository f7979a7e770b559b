//! Documents into tables: their rows, the columns these need and the documents that could not be rows, in one transaction.
//!
//! ```text
//! bytes, batches → decoder (crate ingest) → rows          → sink of the table
//!                                → new columns   → the table's definition, tidemill.schema_changes
//!                                → dead letters  → tidemill.dead_letters
//! ```
//! Nothing is applied before the end: a definition that was changed meanwhile fails the transaction (40001), and whoever has
//! the bytes tries again on the new one.

use datafusion::arrow::array::RecordBatch;
use tidemill_ingest::{ArrowReader, BatchDecoder, CsvDecoder, CsvOptions, Decoded, JsonDecoder, JsonFormat};
use tokio_util::sync::CancellationToken;

use super::control::Name;
use crate::session::Session;
use crate::{Error, Result};

mod letters;
mod lines;
mod parquet;
mod replay;
mod target;

pub(crate) use lines::Lines;
pub(crate) use replay::{discard, replay};

use letters::Letters;
use target::Target;

/// How documents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Objects: one on each line, or in arrays.
    Json,
    /// Objects, one on each line.
    Lines,
    /// Comma-separated, with a header.
    Csv,
    /// Arrow's IPC format, stream or file.
    Arrow,
    /// A Parquet file: [`Ingest::take_file`] reads it.
    Parquet,
}

/// What became of the documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// All.
    pub(crate) documents: u64,
    /// Those that are rows.
    pub(crate) rows: u64,
    /// Those that are in tidemill.dead_letters.
    pub(crate) dead_letters: u64,
    /// Columns that were added, with their types.
    pub(crate) new_columns: Vec<(String, String)>,
    /// Columns that became other types, and which.
    pub(crate) widened_columns: Vec<(String, String)>,
}

enum Decoder {
    Json(Box<JsonDecoder>),
    Csv(Box<CsvDecoder>),
    Batches(Box<(ArrowReader, BatchDecoder)>),
}

impl Decoder {
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Json(decoder) => decoder.push(bytes),
            Self::Csv(decoder) => decoder.push(bytes),
            Self::Batches(decoder) => decoder.0.push(bytes)?,
        }
        Ok(())
    }

    fn finish(&mut self, format: Format) -> Result<()> {
        match self {
            Self::Json(decoder) => decoder.finish(),
            Self::Csv(decoder) => decoder.finish(),
            Self::Batches(decoder) if format == Format::Arrow => decoder.0.finish()?,
            Self::Batches(_) => {}
        }
        Ok(())
    }

    fn take_batch(&mut self) -> Option<Decoded> {
        match self {
            Self::Json(decoder) => decoder.take_batch(),
            Self::Csv(decoder) => decoder.take_batch(),
            // Taken apart one by one.
            Self::Batches(_) => None,
        }
    }
}

/// Documents on their way into a table.
pub(crate) struct Ingest {
    decoder: Decoder,
    format: Format,
    target: Target,
}

impl Ingest {
    /// Begins in the session's transaction. `source` is where the documents come from, for the dead letters.
    ///
    /// # Errors
    /// 42P01, 42809, 25006.
    pub(crate) fn begin(
        session: &mut Session,
        name: &Name,
        format: Format,
        source: &str,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        session.require_writable("INSERT")?;
        let written = if format == Format::Csv { "csv" } else { "json" };
        let now = session.instance.clock.now();
        let target = Target::of(session, name, |table| Letters::new(table, source, written, now), cancel)?;
        let shape = target.shape()?;
        let settings = session.text_settings().as_ref().clone();
        let json = |format| Decoder::Json(Box::new(JsonDecoder::new(format, shape.clone(), settings.clone())));
        let decoder = match format {
            Format::Json => json(JsonFormat::Auto),
            Format::Lines => json(JsonFormat::Lines),
            Format::Csv => {
                Decoder::Csv(Box::new(CsvDecoder::new(CsvOptions::default(), shape.clone(), settings.clone())))
            }
            Format::Arrow | Format::Parquet => {
                let decoder = BatchDecoder::new(shape.clone(), settings.clone());
                Decoder::Batches(Box::new((ArrowReader::default(), decoder)))
            }
        };
        Ok(Self { decoder, format, target })
    }

    /// Takes bytes, cut anywhere. Waits while the writer of files is behind.
    ///
    /// # Errors
    /// Those of writing; what is wrong with a document is none. Of Arrow also what is wrong with the stream, and columns that
    /// the table cannot have.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.decoder.push(bytes)?;
        self.drain().await
    }

    /// Takes a batch, as [`Self::push`].
    async fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let Decoder::Batches(decoder) = &mut self.decoder else {
            return Err(Error::internal("a batch among documents"));
        };
        for decoded in decoder.1.decode(batch) {
            self.target.take(decoded?).await?;
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        while let Decoder::Batches(decoder) = &mut self.decoder
            && let Some(batch) = decoder.0.take_batch()
        {
            self.take(&batch).await?;
        }
        while let Some(decoded) = self.decoder.take_batch() {
            self.target.take(decoded).await?;
        }
        Ok(())
    }

    /// The input is over: decodes the rest of it.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(crate) async fn drain_all(&mut self) -> Result<()> {
        self.decoder.finish(self.format)?;
        self.drain().await
    }

    /// The input is over: puts all of it into the session's transaction.
    ///
    /// # Errors
    /// 40001 if the table was changed meanwhile.
    pub(crate) async fn finish(mut self, session: &mut Session) -> Result<Report> {
        self.drain_all().await?;
        let mut changes = vec![];
        let report = self.target.finish(session, &mut changes).await?;
        session.apply(changes)?;
        Ok(report)
    }
}
