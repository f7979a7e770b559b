//! tidemill.dead_letters and tidemill.schema_changes: what one ingestion writes there.
//!
//! ```text
//! Letters, one for each table → [book], one for each request → sink of tidemill.dead_letters
//! ```
//! Letters are written as rows are, while more come, and appear with the rows: memory does not depend on how many there are.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use serde_json::json;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Change, Object, TableDef};
use tidemill_ingest::DeadLetter;
use tidemill_udfs::types::json::canonical;
use tidemill_udfs::types::{SqlType, TextSettings, array_to_text};

use super::book::{Book, Held};
use super::replay::ATTEMPTS_MAX;
use super::tables::{self, Table};
use crate::clock::Timestamp;
use crate::session::Session;
use crate::{Error, Result};

const SCHEMA_CHANGES: Table<'_> = (
    "schema_changes",
    &[
        ("changed_at", SqlType::TimestampTz),
        ("table_name", SqlType::Text),
        ("table_oid", SqlType::Int8),
        ("change", SqlType::Text),
        ("column_name", SqlType::Text),
        ("data_type", SqlType::Text),
        ("field", SqlType::Text),
        ("sample", SqlType::Text),
        ("source", SqlType::Text),
    ],
);

/// How bytes are to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// `json`, `csv`, `line`; `avro`, `raw`: bytes that are not read again.
    pub(super) format: Arc<str>,
    /// JSON.
    pub(super) options: Option<Arc<str>>,
}

impl Written {
    pub(super) fn json() -> Self {
        Self { format: "json".into(), options: None }
    }

    /// Lines of CSV with that header, which may not have come yet.
    pub(super) fn csv(header: Option<&str>) -> Result<Self> {
        Ok(Self { format: "csv".into(), options: header.map(|header| options("header", header)).transpose()? })
    }

    /// Lines whose timestamps have that precision.
    pub(super) fn lines(precision: &str) -> Result<Self> {
        Ok(Self { format: "line".into(), options: Some(options("precision", precision)?) })
    }
}

fn options(name: &str, value: &str) -> Result<Arc<str>> {
    Ok(canonical(&json!({ name: value }).to_string())?.into())
}

/// A document that is not a row.
pub(super) struct Letter {
    pub(super) raw: Vec<u8>,
    /// Of `raw`, if it is not as the other documents of the input.
    pub(super) written: Option<Arc<Written>>,
    pub(super) reason: String,
    pub(super) sqlstate: String,
    pub(super) column: Option<String>,
    pub(super) offset: Option<i64>,
    pub(super) line: Option<i64>,
}

impl Letter {
    pub(super) fn of(letter: DeadLetter) -> Self {
        Self {
            raw: letter.raw,
            written: None,
            reason: letter.error.message,
            sqlstate: letter.error.code.to_owned(),
            column: letter.column,
            offset: i64::try_from(letter.offset).ok(),
            line: i64::try_from(letter.line).ok(),
        }
    }

    /// A message that no decoder saw.
    pub(super) fn of_message(raw: &[u8], error: &Error) -> Self {
        Self {
            raw: raw.to_vec(),
            written: None,
            reason: error.report().message.clone(),
            sqlstate: error.code().code().to_owned(),
            column: None,
            offset: None,
            line: None,
        }
    }

    /// A row that a constraint refuses, as a JSON document again. `place`: offset and line of the document it was.
    pub(super) fn of_row(row: &RecordBatch, def: &TableDef, error: &Error, place: Option<&(u64, u64)>) -> Result<Self> {
        let settings = TextSettings::default();
        let mut document = serde_json::Map::new();
        for (array, column) in row.columns().iter().zip(&def.columns) {
            if array.is_valid(0) {
                let text = array_to_text(array, &column.field(), &settings)?;
                document.insert(column.name.clone(), text.value(0).into());
            }
        }
        let report = error.report();
        Ok(Self {
            raw: serde_json::Value::Object(document).to_string().into_bytes(),
            written: Some(Arc::new(Written::json())),
            reason: report.message.clone(),
            sqlstate: error.code().code().to_owned(),
            column: report.column.clone(),
            offset: place.and_then(|(offset, _)| i64::try_from(*offset).ok()),
            line: place.and_then(|(_, line)| i64::try_from(*line).ok()),
        })
    }
}

/// A document that came by itself, and where it begins in what the decoder gets: a letter that is tried again, a message.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) offset: u64,
    /// Its bytes, where they are not those that the decoder got.
    pub(super) raw: Option<(Vec<u8>, Arc<Written>)>,
    /// Of a letter.
    pub(super) id: Option<String>,
    pub(super) received_at: Option<Timestamp>,
    pub(super) source: Arc<str>,
    /// The message's offset.
    pub(super) place: Option<i64>,
    /// This one included.
    pub(super) attempts: i32,
}

/// What letters of one input have in common.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) table: Arc<str>,
    /// 0: it was not there yet.
    pub(super) oid: Oid,
    pub(super) source: Arc<str>,
    pub(super) written: Arc<Written>,
    pub(super) now: Timestamp,
}

/// What is to be written about one table.
pub(super) struct Letters {
    about: Arc<About>,
    /// The first input: columns of all inputs are one change.
    source: Arc<str>,
    table: Oid,
    /// Those that the decoder may be at, in the order of offsets.
    sent: VecDeque<Arc<Sent>>,
    count: u64,
    quarantined: u64,
    first_reason: Option<String>,
    /// What, column, type, field, sample.
    changes: Vec<[String; 5]>,
}

impl Letters {
    /// `is_known`: the table is there, or made in any case.
    pub(super) fn new(table: &Object, is_known: bool, source: &str, written: Written, now: Timestamp) -> Self {
        let source: Arc<str> = source.into();
        let about = About {
            table: table.name.as_str().into(),
            oid: if is_known { table.oid } else { 0 },
            source: Arc::clone(&source),
            written: Arc::new(written),
            now,
        };
        Self {
            about: Arc::new(about),
            source,
            table: table.oid,
            sent: VecDeque::new(),
            count: 0,
            quarantined: 0,
            first_reason: None,
            changes: vec![],
        }
    }

    /// Another input follows.
    pub(super) fn begin_source(&mut self, source: &str) {
        self.about = Arc::new(About { source: source.into(), ..About::clone(&self.about) });
    }

    /// Documents are read so from now on, and none that came by itself is under way.
    pub(super) fn begin_format(&mut self, written: Written) {
        self.set_written(written);
        self.sent.clear();
    }

    /// As what letters are to be read.
    pub(super) fn set_written(&mut self, written: Written) {
        if *self.about.written != written {
            self.about = Arc::new(About { written: Arc::new(written), ..About::clone(&self.about) });
        }
    }

    /// The next document comes by itself.
    pub(super) fn next(&mut self, sent: Sent) {
        self.sent.push_back(Arc::new(sent));
    }

    /// All that begins before that offset was taken: forgets the documents that ended.
    pub(super) fn taken(&mut self, offset: u64) {
        while self.sent.get(1).is_some_and(|next| next.offset <= offset) {
            self.sent.pop_front();
        }
    }

    /// The document that came by itself and is at that offset.
    fn at(&self, offset: i64) -> Option<Arc<Sent>> {
        let offset = u64::try_from(offset).ok()?;
        let after = self.sent.partition_point(|sent| sent.offset <= offset);
        self.sent.get(after.checked_sub(1)?).cloned()
    }

    /// # Errors
    /// 53400 where the dead letters of the database would take more than they may: nothing is taken in then rather than lost.
    pub(super) async fn add(&mut self, book: &mut Book, letter: Letter) -> Result<()> {
        let sent = letter.offset.and_then(|offset| self.at(offset));
        self.put(book, letter, sent).await
    }

    /// A message that is no document.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(super) async fn refuse(&mut self, book: &mut Book, letter: Letter, sent: Sent) -> Result<()> {
        self.put(book, letter, Some(Arc::new(sent))).await
    }

    async fn put(&mut self, book: &mut Book, letter: Letter, sent: Option<Arc<Sent>>) -> Result<()> {
        self.count += 1;
        let is_last = sent.as_ref().is_some_and(|sent| sent.id.is_some() && sent.attempts > ATTEMPTS_MAX);
        self.quarantined += u64::from(is_last);
        self.first_reason.get_or_insert_with(|| letter.reason.clone());
        book.add(Held { letter, about: Arc::clone(&self.about), sent }).await
    }

    pub(super) fn changed(&mut self, what: &str, column: &str, sql_type: &SqlType, field: &str, sample: &str) {
        self.changes.push([what.to_owned(), column.to_owned(), sql_type.name(), field.to_owned(), sample.to_owned()]);
    }

    /// How many failed once too often.
    pub(super) fn quarantined(&self) -> u64 {
        self.quarantined
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Why the first document is no row.
    pub(super) fn first_reason(&self) -> Option<&str> {
        self.first_reason.as_deref()
    }

    /// Adds the changes that record the table's changes.
    pub(super) fn finish(&self, session: &mut Session, changes: &mut Vec<Change>) -> Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let rows = self.changes.len();
        let texts = |at: usize| -> ArrayRef {
            Arc::new(self.changes.iter().map(|change| Some(change[at].as_str())).collect::<StringViewArray>())
        };
        let same =
            |text: &str| -> ArrayRef { Arc::new(std::iter::repeat_n(Some(text), rows).collect::<StringViewArray>()) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from_value(self.about.now, rows).with_timezone("UTC")),
            same(&self.about.table),
            Arc::new(Int64Array::from_value(self.table.into(), rows)),
            texts(0),
            texts(1),
            texts(2),
            texts(3),
            texts(4),
            same(&self.source),
        ];
        tables::append(session, SCHEMA_CHANGES, columns, changes)
    }
}
