//! tidemill.dead_letters and tidemill.schema_changes: what one ingestion writes there.
//!
//! ```text
//! Letters, one for each table → Book, one for each request → sink of tidemill.dead_letters
//! ```
//! Letters are written as rows are, while more come, and appear with the rows: memory does not depend on how many there are.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryViewBuilder, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray, new_null_array,
};
use datafusion::error::DataFusionError;
use serde_json::json;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, Object, TableDef};
use tidemill_ingest::DeadLetter;
use tidemill_udfs::types::json::canonical;
use tidemill_udfs::types::{SqlType, TextSettings, array_to_text};
use uuid::Uuid;

use super::super::names;
use super::super::sink::{Ground, RowSink};
use super::super::table::push_column;
use super::replay::ATTEMPTS_MAX;
use super::tables::{self, Table};
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::instance::Instance;
use crate::session::Session;
use crate::{Error, Result};

/// The name of the table of letters.
pub(super) const NAME: &str = "dead_letters";

/// What replay needs beside the bytes: a CSV header, the precision of lines. Tables of earlier versions do not have it.
pub(super) const OPTIONS: &str = "options";

/// Bytes of letters that are held before they are written as a batch.
const HELD_BYTES_MAX: usize = 4 << 20;

const COLUMNS: &[(&str, SqlType)] = &[
    ("id", SqlType::Uuid),
    ("received_at", SqlType::TimestampTz),
    ("table_name", SqlType::Text),
    ("table_oid", SqlType::Int8),
    ("source", SqlType::Text),
    ("reason", SqlType::Text),
    ("sqlstate", SqlType::Text),
    ("column_name", SqlType::Text),
    ("byte_offset", SqlType::Int8),
    ("line", SqlType::Int8),
    ("attempts", SqlType::Int4),
    ("format", SqlType::Text),
    ("raw", SqlType::Bytea),
    (OPTIONS, SqlType::Jsonb),
];

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
    /// `json`, `csv`, `line`.
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
    raw: Vec<u8>,
    /// Of `raw`, if it is not as the other documents of the input.
    written: Option<Arc<Written>>,
    reason: String,
    sqlstate: String,
    column: Option<String>,
    offset: Option<i64>,
    line: Option<i64>,
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
struct About {
    table: Arc<str>,
    /// 0: it was not there yet.
    oid: Oid,
    source: Arc<str>,
    written: Arc<Written>,
    now: Timestamp,
}

/// A letter that is to be written.
struct Held {
    letter: Letter,
    about: Arc<About>,
    sent: Option<Arc<Sent>>,
}

/// The letters of one request, for all its tables.
pub(super) struct Book {
    instance: Arc<Instance>,
    ground: Ground,
    /// The table, if the database has it.
    known: Option<Arc<Object>>,
    /// Bytes that the database's letters take already.
    taken: u64,
    held: Vec<Held>,
    held_bytes: usize,
    /// Bytes of all letters.
    bytes: u64,
    count: u64,
    /// What is written so far.
    sink: Option<Output>,
}

/// The sink, and the definition that its rows are made for.
struct Output {
    sink: RowSink,
    table: Oid,
    def: Arc<TableDef>,
    /// The table that is there does not have that definition yet.
    is_changed: bool,
}

impl Book {
    /// Begins in the session's transaction.
    pub(super) fn new(session: &mut Session) -> Self {
        let known = tables::find(session, NAME);
        Self {
            instance: Arc::clone(&session.instance),
            ground: Ground::of(session),
            taken: taken(session, known.as_deref()),
            known,
            held: vec![],
            held_bytes: 0,
            bytes: 0,
            count: 0,
            sink: None,
        }
    }

    /// # Errors
    /// 53400 where the dead letters of the database would take more than they may: nothing is taken in then rather than lost.
    async fn add(&mut self, held: Held) -> Result<()> {
        let options = held.about.written.options.as_ref().map_or(0, |options| options.len());
        let bytes = size_of::<Held>() + held.letter.raw.len() + held.letter.reason.len() + options;
        self.held_bytes += bytes;
        self.bytes += bytes as u64;
        self.count += 1;
        self.require_room(self.taken)?;
        self.held.push(held);
        if self.held_bytes > HELD_BYTES_MAX { self.write().await } else { Ok(()) }
    }

    fn require_room(&self, taken: u64) -> Result<()> {
        let limit = self.instance.config.dead_letter_bytes;
        if taken.saturating_add(self.bytes) <= limit {
            return Ok(());
        }
        let message = format!("dead letters of the database take {} MB of at most {} MB", taken >> 20, limit >> 20);
        Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message).hint(
            "Replay or discard some of tidemill.dead_letters, or start the server with a greater --dead-letters.",
        ))
    }

    /// Writes what is held.
    async fn write(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        if held.is_empty() {
            return Ok(());
        }
        if self.sink.is_none() {
            self.sink = Some(self.begin()?);
        }
        let Some(Output { sink, def, .. }) = &mut self.sink else {
            return Err(Error::internal("there is no sink of dead letters"));
        };
        let arrays = columns(&held);
        let array =
            |name: &str| COLUMNS.iter().position(|(column, _)| *column == name).map(|at| Arc::clone(&arrays[at]));
        // Users may have added columns of their own.
        let arrays = def
            .columns
            .iter()
            .map(|column| array(&column.name).unwrap_or_else(|| new_null_array(&column.data_type, held.len())));
        let fields: Vec<_> = def.schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let schema = Arc::new(datafusion::arrow::datatypes::Schema::new(fields));
        let batch = RecordBatch::try_new(schema, arrays.collect()).map_err(DataFusionError::from)?;
        sink.write(batch).await
    }

    fn begin(&self) -> Result<Output> {
        let (table, def, is_changed) = match self.known.as_deref() {
            Some(Object { oid, body: Body::Table(def), .. }) => {
                let is_old = !def.columns.iter().any(|column| column.name == OPTIONS);
                let mut def = Arc::clone(def);
                if is_old {
                    push_column(Arc::make_mut(&mut def), OPTIONS, &SqlType::Jsonb, OPTIONS)?;
                }
                (*oid, def, is_old)
            }
            _ => (self.instance.store.next_oid(), Arc::new(tables::definition(COLUMNS)?), false),
        };
        let sink = RowSink::on(self.ground.clone(), table, NAME, &def);
        Ok(Output { sink, table, def, is_changed })
    }

    /// Adds the changes that add all letters, and the table if there is none yet.
    ///
    /// # Errors
    /// 53400 as [`Letters::add`]; those of writing.
    pub(super) async fn finish(mut self, session: &mut Session, changes: &mut Vec<Change>) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        self.write().await?;
        let known = tables::find(session, NAME);
        self.require_room(taken(session, known.as_deref()))?;
        let Some(Output { sink, table, def, is_changed }) = self.sink else { return Ok(()) };
        match self.known {
            Some(object) if is_changed => {
                changes.push(Change::Put(names::changed(&object, |object| object.body = Body::Table(def))));
            }
            Some(_) => {}
            None if tables::require(session, NAME, &def, Some(table), changes) == table => {}
            None => {
                // Somebody made it in this transaction meanwhile.
                let message = "could not serialize access due to concurrent update";
                return Err(Error::new(SqlState::T_R_SERIALIZATION_FAILURE, message));
            }
        }
        changes.push(Change::Write(sink.finish().await?));
        Ok(())
    }
}

/// Bytes that the letters of the database take.
fn taken(session: &mut Session, table: Option<&Object>) -> u64 {
    let view = Arc::clone(session.open().view());
    let state = table.and_then(|table| view.table(table.oid));
    state.map_or(0, |state| state.files.bytes() + state.hot_bytes() as u64)
}

/// The columns of the table of letters, as in [`COLUMNS`].
fn columns(held: &[Held]) -> Vec<ArrayRef> {
    let texts = |text: &dyn Fn(&Held) -> Option<&str>| -> ArrayRef {
        Arc::new(held.iter().map(text).collect::<StringViewArray>())
    };
    let numbers = |number: &dyn Fn(&Held) -> Option<i64>| -> ArrayRef {
        Arc::new(held.iter().map(number).collect::<Int64Array>())
    };
    let ids = held.iter().map(|held| {
        let known = held.sent.as_ref().and_then(|sent| sent.id.clone());
        Some(known.unwrap_or_else(|| Uuid::now_v7().to_string()))
    });
    let times = held.iter().map(|held| {
        let known = held.sent.as_ref().and_then(|sent| sent.received_at);
        known.unwrap_or(held.about.now)
    });
    let attempts = held.iter().map(|held| held.sent.as_ref().map_or(0, |sent| sent.attempts));
    let mut raws = BinaryViewBuilder::with_capacity(held.len());
    for held in held {
        raws.append_value(held.original().map_or(&held.letter.raw, |(raw, _)| raw));
    }
    vec![
        Arc::new(ids.collect::<StringViewArray>()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        texts(&|held| Some(&held.about.table)),
        numbers(&|held| Some(held.about.oid.into())),
        texts(&|held| Some(held.sent.as_ref().map_or(&held.about.source, |sent| &sent.source))),
        texts(&|held| Some(&held.letter.reason)),
        texts(&|held| Some(&held.letter.sqlstate)),
        texts(&|held| held.letter.column.as_deref()),
        // Where a letter was in the input it first came in is not known any more.
        numbers(&|held| held.sent.as_ref().map_or(held.letter.offset, |sent| sent.place)),
        numbers(&|held| if held.sent.is_some() { None } else { held.letter.line }),
        Arc::new(Int32Array::from_iter_values(attempts)),
        texts(&|held| Some(&held.written().format)),
        Arc::new(raws.finish()),
        texts(&|held| held.written().options.as_deref()),
    ]
}

impl Held {
    /// The bytes as they came, where the decoder got others.
    fn original(&self) -> Option<&(Vec<u8>, Arc<Written>)> {
        self.sent.as_ref().and_then(|sent| sent.raw.as_ref())
    }

    /// How the bytes are to be read.
    fn written(&self) -> &Written {
        match self.original() {
            Some((_, written)) => written,
            None => self.letter.written.as_ref().unwrap_or(&self.about.written),
        }
    }
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
