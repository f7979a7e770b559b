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
    ArrowReader, BatchDecoder, CsvDecoder, CsvOptions, Decoded, JsonDecoder, JsonFormat, LineDecoder, TableShape,
};
use tidemill_udfs::types::{SqlType, TextSettings};
use tokio_util::sync::CancellationToken;

use super::call::counted;
use super::control::Name;
use crate::error::SqlState;
use crate::session::{Column, Outcome, Session};
use crate::{Error, Result};

mod book;
pub(crate) mod insert;
mod letters;
mod lines;
mod parquet;
pub(crate) mod receipts;
mod replay;
mod tables;
mod target;

pub(crate) use lines::Lines;
pub(crate) use replay::{discard, expire, replay};

use book::Book;
use letters::{Letter, Letters, Sent, Written};
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
    /// Line protocol, all of it for one table.
    Lines(Box<LineDecoder>),
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
            Self::Lines(decoder) => decoder.push(bytes),
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
            Self::Lines(decoder) => decoder.finish(),
            Self::Batches(decoder) => decoder.0.as_mut().map_or(Ok(()), ArrowReader::finish)?,
        }
        Ok(())
    }

    /// Ends the batch under construction.
    pub(crate) fn flush(&mut self) {
        match self {
            Self::Json(decoder) => decoder.flush(),
            Self::Csv(decoder) => decoder.flush(),
            Self::Lines(decoder) => decoder.flush(),
            // Each batch is one already.
            Self::Batches(_) => {}
        }
    }

    /// What was pushed so far is whole documents, whatever they look like.
    pub(super) fn end_document(&mut self) {
        match self {
            Self::Csv(decoder) => decoder.end_document(),
            Self::Lines(decoder) => decoder.end_document(),
            // A document is a line, or ends with its own sign.
            Self::Json(_) | Self::Batches(_) => {}
        }
    }

    /// Why bytes that came by themselves cannot be one document, if that is known: what they begin could go on in the next.
    pub(super) fn refusal(&self, bytes: &[u8]) -> Option<Error> {
        if matches!(self, Self::Csv(_)) && memchr::memchr_iter(b'"', bytes).count() % 2 == 1 {
            return Some(Error::new(SqlState::BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field"));
        }
        let is_empty = bytes.iter().all(u8::is_ascii_whitespace);
        is_empty.then(|| Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "the message is empty"))
    }

    /// How letters of the bytes so far are to be read.
    fn written(&self) -> Result<Option<Written>> {
        match self {
            Self::Csv(decoder) => decoder.header().map(|header| Written::csv(Some(header))).transpose(),
            Self::Json(_) | Self::Lines(_) | Self::Batches(_) => Ok(None),
        }
    }

    /// Goes on for another shape, if it can. Between batches, all of which were taken.
    pub(crate) fn set_shape(&mut self, shape: TableShape) {
        match self {
            Self::Json(decoder) => decoder.set_shape(shape),
            // The fields of the header are bound to the columns there were.
            Self::Csv(_) | Self::Lines(_) | Self::Batches(_) => {}
        }
    }

    pub(crate) fn take_batch(&mut self) -> Option<Decoded> {
        match self {
            Self::Json(decoder) => decoder.take_batch(),
            Self::Csv(decoder) => decoder.take_batch(),
            Self::Lines(decoder) => decoder.take_batch().map(|(_, decoded)| decoded),
            // Taken apart one by one.
            Self::Batches(_) => None,
        }
    }
}

/// Documents on their way into a table.
pub(crate) struct Ingest {
    decoder: Decoder,
    target: Target,
    book: Book,
    /// Letters can be read again: the header came, if there is one.
    is_written: bool,
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
        let written = if format == Format::Csv { Written::csv(None)? } else { Written::json() };
        let now = session.instance.clock.now();
        let target = Target::of(session, name, |table| Letters::new(table, true, source, written, now), cancel)?;
        let book = Book::new(session);
        let shape = target.shape()?;
        let settings = session.text_settings();
        let decoder = Decoder::new(format, shape, &settings);
        Ok(Self { decoder, target, book, is_written: false, settings, pushed: 0 })
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
        self.push(format!("{}\n", header.join(",")).as_bytes()).await?;
        self.note_written()
    }

    /// Takes one message: an object, or lines of CSV. What is malformed in it does not reach the next.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(crate) async fn message(&mut self, bytes: &[u8], origin: Origin) -> Result<()> {
        let is_json = matches!(self.decoder, Decoder::Json(_));
        if let Some(error) = self.decoder.refusal(bytes) {
            return self.refuse(bytes, &error, origin).await;
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
            raw: line.is_some().then(|| (bytes.to_vec(), Arc::new(Written::json()))),
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
    pub(crate) async fn refuse(&mut self, bytes: &[u8], error: &Error, origin: Origin) -> Result<()> {
        self.refuse_letter(Letter::of_message(bytes, error), origin).await
    }

    /// As [`Self::refuse`], of bytes in a format that the other documents do not have and that replay does not read.
    pub(crate) async fn refuse_as(
        &mut self,
        format: &'static str,
        bytes: &[u8],
        error: &Error,
        origin: Origin,
    ) -> Result<()> {
        let written = Arc::new(Written { format: format.into(), options: None });
        let letter = Letter { written: Some(written), ..Letter::of_message(bytes, error) };
        self.refuse_letter(letter, origin).await
    }

    async fn refuse_letter(&mut self, letter: Letter, origin: Origin) -> Result<()> {
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
        self.target.refuse(&mut self.book, letter, sent).await
    }

    /// Takes a batch, as [`Self::push`].
    async fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let Decoder::Batches(decoder) = &mut self.decoder else {
            return Err(Error::internal("a batch among documents"));
        };
        for decoded in decoder.1.decode(batch) {
            self.target.take(&mut self.book, decoded?).await?;
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
            self.note_written()?;
            self.target.take(&mut self.book, decoded).await?;
        }
        Ok(())
    }

    /// Once the header came, letters say how they are to be read.
    fn note_written(&mut self) -> Result<()> {
        if !self.is_written
            && let Some(written) = self.decoder.written()?
        {
            self.target.letters.set_written(written);
            self.is_written = true;
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
        (self.pushed, self.is_written) = (0, false);
        self.target.letters.begin_source(source);
        let written = if format == Format::Csv { Written::csv(None)? } else { Written::json() };
        self.target.letters.begin_format(written);
        Ok(())
    }

    /// The same, of an input that is read otherwise.
    async fn next_decoder(&mut self, decoder: Decoder, written: Written) -> Result<()> {
        self.drain_all().await?;
        self.decoder = decoder;
        (self.pushed, self.is_written) = (0, true);
        self.target.letters.begin_format(written);
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
        self.book.finish(session, &mut changes).await?;
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
    /// Says to the client which columns are new, or of another type.
    fn notice_columns(&self, session: &mut Session, table: &str) {
        for (columns, what) in [(&self.new_columns, "new columns"), (&self.widened_columns, "wider columns")] {
            if !columns.is_empty() {
                let columns: Vec<_> = columns.iter().map(|(name, sql_type)| format!("\"{name}\" {sql_type}")).collect();
                let message = format!("{what} of table \"{table}\": {}", columns.join(", "));
                session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
            }
        }
    }

    /// Says to the client that there are dead letters.
    pub(crate) fn notice(&self, session: &mut Session) {
        if self.dead_letters > 0 {
            let message = format!("{} documents are in tidemill.dead_letters", self.dead_letters);
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
        }
    }
}
