//! Documents into tables: their rows, the columns these need and the documents that could not be rows, in one transaction.
//!
//! ```text
//! bytes, batches → decoder (crate ingest) → rows          → sink of the table
//!                                → new columns   → the table's definition, tidemill.schema_changes
//!                                → dead letters  → tidemill.dead_letters
//! ```
//! Nothing is applied before the end: a definition that was changed meanwhile fails the transaction (40001), and whoever has
//! the bytes tries again on the new one.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Change, ColumnDef};
use tidemill_ingest::{
    ArrowReader, BatchDecoder, CsvDecoder, CsvOptions, Decoded, JsonDecoder, JsonFormat, TableShape,
};
use tidemill_udfs::types::{SqlType, TextSettings};
use tokio_util::sync::CancellationToken;

use super::call::counted;
use super::control::Name;
use crate::error::SqlState;
use crate::session::{Column, Outcome, Session};
use crate::{Error, Result};

mod letters;
mod lines;
mod parquet;
pub(crate) mod receipts;
mod replay;
mod target;

pub(crate) use lines::Lines;
pub(crate) use replay::{discard, replay};

use letters::{Letter, Letters, Sent};
use target::Target;

/// Bytes of a text that are decoded at once.
const TEXT_BYTES: usize = 1 << 20;

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

/// Bytes to rows.
pub(crate) enum Decoder {
    Json(Box<JsonDecoder>),
    Csv(Box<CsvDecoder>),
    /// Bytes of Arrow, or batches as they are.
    Batches(Box<(Option<ArrowReader>, BatchDecoder)>),
}

impl Decoder {
    pub(crate) fn new(format: Format, shape: TableShape, settings: &TextSettings) -> Self {
        let settings = settings.clone();
        let json = |format, shape, settings| Self::Json(Box::new(JsonDecoder::new(format, shape, settings)));
        match format {
            Format::Json => json(JsonFormat::Auto, shape, settings),
            Format::Lines => json(JsonFormat::Lines, shape, settings),
            Format::Csv => Self::Csv(Box::new(CsvDecoder::new(CsvOptions::default(), shape, settings))),
            Format::Arrow | Format::Parquet => {
                let reader = (format == Format::Arrow).then(ArrowReader::default);
                Self::Batches(Box::new((reader, BatchDecoder::new(shape, settings))))
            }
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Json(decoder) => decoder.push(bytes),
            Self::Csv(decoder) => decoder.push(bytes),
            Self::Batches(decoder) => match &mut decoder.0 {
                Some(reader) => reader.push(bytes)?,
                None => return Err(Error::internal("a Parquet file is read from its end")),
            },
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> Result<()> {
        match self {
            Self::Json(decoder) => decoder.finish(),
            Self::Csv(decoder) => decoder.finish(),
            Self::Batches(decoder) => decoder.0.as_mut().map_or(Ok(()), ArrowReader::finish)?,
        }
        Ok(())
    }

    /// Ends the batch under construction.
    pub(crate) fn flush(&mut self) {
        match self {
            Self::Json(decoder) => decoder.flush(),
            Self::Csv(decoder) => decoder.flush(),
            // Each batch is one already.
            Self::Batches(_) => {}
        }
    }

    /// Goes on for another shape, if it can. Between batches, all of which were taken.
    pub(crate) fn set_shape(&mut self, shape: TableShape) {
        match self {
            Self::Json(decoder) => decoder.set_shape(shape),
            // The fields of the header are bound to the columns there were.
            Self::Csv(_) | Self::Batches(_) => {}
        }
    }

    pub(crate) fn take_batch(&mut self) -> Option<Decoded> {
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
    target: Target,
    settings: Arc<TextSettings>,
    /// Bytes the decoder got.
    pushed: u64,
}

/// Where a message comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// For the dead letters.
    pub(crate) source: Arc<str>,
    /// Its offset there.
    pub(crate) offset: i64,
}

/// True for errors of those who came second: on the newest state the same documents may succeed.
pub(crate) fn is_lost_race(error: &Error) -> bool {
    // Two made the same table, or the schema of our own ones.
    let codes = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_SCHEMA];
    codes.contains(error.code())
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
        let settings = session.text_settings();
        let decoder = Decoder::new(format, shape, &settings);
        Ok(Self { decoder, target, settings, pushed: 0 })
    }

    /// New columns have these types, by the path of the field: see [`JsonDecoder::announce`]. Of documents in JSON only.
    pub(crate) fn announce(&mut self, types: &Arc<HashMap<String, SqlType>>) {
        if let Decoder::Json(decoder) = &mut self.decoder {
            decoder.announce(Arc::clone(types));
        }
    }

    /// Takes bytes, cut anywhere. Waits while the writer of files is behind.
    ///
    /// # Errors
    /// Those of writing; what is wrong with a document is none. Of Arrow also what is wrong with the stream, and columns that
    /// the table cannot have.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.pushed += bytes.len() as u64;
        self.decoder.push(bytes)?;
        self.drain().await
    }

    /// The first message comes: those of CSV have no header, their fields are the table's columns.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(crate) async fn begin_messages(&mut self) -> Result<()> {
        if matches!(self.decoder, Decoder::Json(_)) {
            return Ok(());
        }
        let quoted = |column: &ColumnDef| format!("\"{}\"", column.name.replace('"', "\"\""));
        let header: Vec<String> = self.target.def().columns.iter().map(quoted).collect();
        self.push(format!("{}\n", header.join(",")).as_bytes()).await
    }

    /// Takes one message: an object, or lines of CSV. What is malformed in it does not reach the next.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(crate) async fn message(&mut self, bytes: &[u8], origin: Origin) -> Result<()> {
        let is_json = matches!(self.decoder, Decoder::Json(_));
        if !is_json && memchr::memchr_iter(b'"', bytes).count() % 2 == 1 {
            let error = Error::new(SqlState::BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field");
            return self.refuse(bytes, &error, origin);
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            let error = Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "the message is empty");
            return self.refuse(bytes, &error, origin);
        }
        // Between tokens of JSON a space is as good as a line's end, and within strings neither is allowed.
        let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let line = if is_json && bytes.iter().any(is_line_end) {
            Some(bytes.iter().map(|byte| if is_line_end(byte) { b' ' } else { *byte }).collect::<Vec<u8>>())
        } else {
            None
        };
        let Origin { source, offset } = origin;
        self.target.letters.next(Sent {
            offset: self.pushed,
            raw: line.is_some().then(|| bytes.to_vec()),
            id: None,
            received_at: None,
            source,
            place: Some(offset),
            attempts: 0,
        });
        self.push(line.as_deref().unwrap_or(bytes)).await?;
        self.push(b"\n").await
    }

    /// A message that cannot be a document is a dead letter.
    ///
    /// # Errors
    /// 53400 if there are too many.
    pub(crate) fn refuse(&mut self, bytes: &[u8], error: &Error, origin: Origin) -> Result<()> {
        let letter = |number| Letter::of_message(bytes, error, number);
        self.refuse_letter(letter, origin)
    }

    /// As [`Self::refuse`], of bytes in a format that the other documents do not have.
    pub(crate) fn refuse_as(
        &mut self,
        format: &'static str,
        bytes: &[u8],
        error: &Error,
        origin: Origin,
    ) -> Result<()> {
        let letter = |number| Letter::of_message(bytes, error, number).written(format);
        self.refuse_letter(letter, origin)
    }

    fn refuse_letter(&mut self, letter: impl FnOnce(usize) -> Letter, origin: Origin) -> Result<()> {
        let Origin { source, offset } = origin;
        let sent = Sent {
            offset: self.pushed,
            raw: None,
            id: None,
            received_at: None,
            source,
            place: Some(offset),
            attempts: 0,
        };
        let number = self.target.letters.next(sent);
        self.target.refuse(letter(number))
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
            && let Some(batch) = decoder.0.as_mut().and_then(ArrowReader::take_batch)
        {
            self.take(&batch).await?;
        }
        while let Some(decoded) = self.decoder.take_batch() {
            self.target.take(decoded).await?;
        }
        Ok(())
    }

    /// The table.
    pub(crate) fn relation(&self) -> Oid {
        self.target.table()
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.target.rows()
    }

    /// The input is over, and another one follows: what is incomplete in the one does not reach into the other.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(crate) async fn next_input(&mut self, format: Format, source: &str) -> Result<()> {
        self.drain_all().await?;
        self.decoder = Decoder::new(format, self.target.shape()?, &self.settings);
        self.target.letters.begin_source(source);
        Ok(())
    }

    /// The input is over: decodes the rest of it.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(crate) async fn drain_all(&mut self) -> Result<()> {
        self.decoder.finish()?;
        self.drain().await
    }

    /// The input is over: puts all of it into the session's transaction.
    ///
    /// # Errors
    /// 40001 if the table was changed meanwhile.
    pub(crate) async fn finish(self, session: &mut Session) -> Result<Report> {
        let (report, changes) = self.changes(session).await?;
        session.apply(changes)?;
        Ok(report)
    }

    /// The input is over: what is to be applied to the session's transaction.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(crate) async fn changes(mut self, session: &mut Session) -> Result<(Report, Vec<Change>)> {
        self.drain_all().await?;
        let mut changes = vec![];
        let report = self.target.finish(session, &mut changes).await?;
        Ok((report, changes))
    }
}

/// The columns of the row that `CALL tidemill.ingest(…)` returns.
pub(crate) fn result_columns() -> Vec<Column> {
    ["documents", "rows", "dead_letters"].map(|name| Column::new(name, SqlType::Int8)).to_vec()
}

/// `CALL tidemill.ingest('events', '{"id": 1}')`: documents in a text into a table, in the session's transaction.
///
/// # Errors
/// As [`Ingest`].
pub(crate) async fn documents(
    session: &mut Session,
    table: &Name,
    documents: &str,
    format: Format,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    let mut ingest = Ingest::begin(session, table, format, "call", cancel)?;
    for chunk in documents.as_bytes().chunks(TEXT_BYTES) {
        ingest.push(chunk).await?;
    }
    let report = ingest.finish(session).await?;
    report.notice(session);
    counted(result_columns(), &[report.documents, report.rows, report.dead_letters])
}

impl Report {
    /// Says to the client that there are dead letters.
    pub(crate) fn notice(&self, session: &mut Session) {
        if self.dead_letters > 0 {
            let message = format!("{} documents are in tidemill.dead_letters", self.dead_letters);
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
        }
    }
}
