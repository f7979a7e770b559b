//! Documents into tables: their rows, the columns these need and the documents that could not be rows, in one transaction.
//!
//! ```text
//! bytes → decoder (crate ingest) → rows          → sink of the table
//!                                → new columns   → the table's definition, tidemill.schema_changes
//!                                → dead letters  → tidemill.dead_letters
//! ```
//! Nothing is applied before the end: a definition that was changed meanwhile fails the transaction (40001), and whoever has
//! the bytes tries again on the new one.

use std::sync::Arc;

use tidemill_catalog::record::ColumnDef;
use tidemill_ingest::{CsvDecoder, CsvOptions, Decoded, JsonDecoder, JsonFormat};
use tokio_util::sync::CancellationToken;

use super::control::Name;
use crate::error::SqlState;
use crate::session::Session;
use crate::{Error, Result};

mod letters;
mod lines;
pub(crate) mod receipts;
mod replay;
mod target;

pub(crate) use lines::Lines;
pub(crate) use replay::{discard, replay};

use letters::{Letter, Letters, Sent};
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
}

enum Decoder {
    Json(Box<JsonDecoder>),
    Csv(Box<CsvDecoder>),
}

impl Decoder {
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Json(decoder) => decoder.push(bytes),
            Self::Csv(decoder) => decoder.push(bytes),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Json(decoder) => decoder.finish(),
            Self::Csv(decoder) => decoder.finish(),
        }
    }

    fn take_batch(&mut self) -> Option<Decoded> {
        match self {
            Self::Json(decoder) => decoder.take_batch(),
            Self::Csv(decoder) => decoder.take_batch(),
        }
    }
}

/// Documents on their way into a table.
pub(crate) struct Ingest {
    decoder: Decoder,
    target: Target,
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
        let settings = session.text_settings().as_ref().clone();
        let json = |format| Decoder::Json(Box::new(JsonDecoder::new(format, shape.clone(), settings.clone())));
        let decoder = match format {
            Format::Json => json(JsonFormat::Auto),
            Format::Lines => json(JsonFormat::Lines),
            Format::Csv => {
                Decoder::Csv(Box::new(CsvDecoder::new(CsvOptions::default(), shape.clone(), settings.clone())))
            }
        };
        Ok(Self { decoder, target, pushed: 0 })
    }

    /// Takes bytes, cut anywhere. Waits while the writer of files is behind.
    ///
    /// # Errors
    /// Those of writing; what is wrong with a document is none.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.pushed += bytes.len() as u64;
        self.decoder.push(bytes);
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
        self.target.refuse(Letter::of_message(bytes, error, number))
    }

    async fn drain(&mut self) -> Result<()> {
        while let Some(decoded) = self.decoder.take_batch() {
            self.target.take(decoded).await?;
        }
        Ok(())
    }

    /// The input is over: puts all of it into the session's transaction.
    ///
    /// # Errors
    /// 40001 if the table was changed meanwhile.
    pub(crate) async fn finish(mut self, session: &mut Session) -> Result<Report> {
        self.decoder.finish();
        self.drain().await?;
        let mut changes = vec![];
        let report = self.target.finish(session, &mut changes).await?;
        session.apply(changes)?;
        Ok(report)
    }
}
