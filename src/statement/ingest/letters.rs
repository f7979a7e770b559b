//! tidemill.dead_letters and tidemill.schema_changes: ordinary tables of the database, made when there is something to put
//! into them.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryViewBuilder, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use datafusion::error::DataFusionError;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, ColumnDef, NewChunk, Object, TableDef, Write};
use tidemill_catalog::snapshot::NameClass;
use tidemill_ingest::DeadLetter;
use tidemill_udfs::types::{SqlType, TextSettings, array_to_text};
use uuid::Uuid;

use super::super::{names, options};
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::session::Session;
use crate::{Error, Result};

/// Where the tables are. Users cannot make a schema of this name.
pub(super) const SCHEMA: &str = "tidemill";

/// Memory for the dead letters of one request: they are written at its end.
const LETTER_BYTES_MAX: usize = 256 << 20;

const DEAD_LETTERS: Table<'_> = (
    "dead_letters",
    &[
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
    ],
);

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

/// A document that is not a row.
pub(super) struct Letter {
    raw: Vec<u8>,
    reason: String,
    sqlstate: String,
    column: Option<String>,
    offset: Option<i64>,
    line: Option<i64>,
    /// Which of [`Letters::sent`] it is, where no offset tells.
    sent: Option<usize>,
}

impl Letter {
    pub(super) fn of(letter: &DeadLetter) -> Self {
        let number = |number: u64| i64::try_from(number).ok();
        Self {
            raw: letter.raw.clone(),
            reason: letter.error.message.clone(),
            sqlstate: letter.error.code.to_owned(),
            column: letter.column.clone(),
            offset: number(letter.offset),
            line: number(letter.line),
            sent: None,
        }
    }

    /// A message that no decoder saw.
    pub(super) fn of_message(raw: &[u8], error: &Error, sent: usize) -> Self {
        Self {
            raw: raw.to_vec(),
            reason: error.report().message.clone(),
            sqlstate: error.code().code().to_owned(),
            column: None,
            offset: None,
            line: None,
            sent: Some(sent),
        }
    }

    /// A row that a constraint refuses, as a JSON document again.
    pub(super) fn of_row(row: &RecordBatch, def: &TableDef, error: &Error) -> Result<Self> {
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
            reason: report.message.clone(),
            sqlstate: error.code().code().to_owned(),
            column: report.column.clone(),
            offset: None,
            line: None,
            sent: None,
        })
    }
}

/// A document that came by itself, and where it begins in what the decoder gets: a letter that is tried again, a message.
pub(super) struct Sent {
    pub(super) offset: u64,
    /// Its bytes, where the decoder got others.
    pub(super) raw: Option<Vec<u8>>,
    /// Of a letter.
    pub(super) id: Option<String>,
    pub(super) received_at: Option<Timestamp>,
    pub(super) source: Arc<str>,
    /// The message's offset.
    pub(super) place: Option<i64>,
    /// This one included.
    pub(super) attempts: i32,
}

/// What is to be written about one ingestion.
pub(super) struct Letters {
    table: (String, Oid),
    /// Where the letters from that one on come from, in order; the first from the beginning.
    sources: Vec<(usize, String)>,
    format: &'static str,
    /// In the order of offsets.
    sent: Vec<Sent>,
    now: Timestamp,
    letters: Vec<Letter>,
    bytes: usize,
    /// What, column, type, field, sample.
    changes: Vec<[String; 5]>,
}

impl Letters {
    pub(super) fn new(table: &Object, source: &str, format: &'static str, now: Timestamp) -> Self {
        Self {
            table: (table.name.clone(), table.oid),
            sources: vec![(0, source.to_owned())],
            format,
            sent: vec![],
            now,
            letters: vec![],
            bytes: 0,
            changes: vec![],
        }
    }

    /// Another input follows.
    pub(super) fn begin_source(&mut self, source: &str) {
        self.sources.push((self.letters.len(), source.to_owned()));
    }

    /// Where a letter comes from.
    fn source_of(&self, letter: usize) -> &str {
        let after = self.sources.partition_point(|(first, _)| *first <= letter);
        self.sources.get(after.saturating_sub(1)).map_or("", |(_, source)| source)
    }

    /// # Errors
    /// 53400 where they are more than memory is kept for: the whole request is refused then, and nothing is lost.
    pub(super) fn add(&mut self, letter: Letter) -> Result<()> {
        self.bytes += size_of::<Letter>() + letter.raw.len() + letter.reason.len();
        if self.bytes > LETTER_BYTES_MAX {
            let message = format!("the dead letters of one request take more than {} MB", LETTER_BYTES_MAX >> 20);
            return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
                .detail(format!("The last one says: {}", letter.reason))
                .hint("Send the documents in smaller requests."));
        }
        self.letters.push(letter);
        Ok(())
    }

    /// The next document comes by itself. Its number.
    pub(super) fn next(&mut self, sent: Sent) -> usize {
        self.sent.push(sent);
        self.sent.len() - 1
    }

    /// The letter's earlier self, if it has one.
    fn before(&self, letter: &Letter) -> Option<&Sent> {
        if let Some(sent) = letter.sent {
            return self.sent.get(sent);
        }
        let offset = u64::try_from(letter.offset?).ok()?;
        self.sent[..self.sent.partition_point(|sent| sent.offset <= offset)].last()
    }

    pub(super) fn changed(&mut self, what: &str, column: &str, sql_type: &SqlType, field: &str, sample: &str) {
        self.changes.push([what.to_owned(), column.to_owned(), sql_type.name(), field.to_owned(), sample.to_owned()]);
    }

    /// How many failed more often than `attempts`.
    pub(super) fn quarantined(&self, attempts: i32) -> u64 {
        let failed = |letter: &&Letter| self.before(letter).is_some_and(|sent| sent.attempts > attempts);
        self.letters.iter().filter(failed).count() as u64
    }

    pub(super) fn count(&self) -> u64 {
        self.letters.len() as u64
    }

    /// Adds the changes that add the rows, and the tables if there are none yet.
    pub(super) fn changes(&self, session: &mut Session, changes: &mut Vec<Change>) -> Result<()> {
        if !self.letters.is_empty() {
            require_room(session, self.bytes)?;
            append(session, DEAD_LETTERS, self.letter_columns(), changes)?;
        }
        if !self.changes.is_empty() {
            append(session, SCHEMA_CHANGES, self.change_columns(), changes)?;
        }
        Ok(())
    }

    /// Why the first document is no row.
    pub(super) fn first_reason(&self) -> Option<&str> {
        self.letters.first().map(|letter| letter.reason.as_str())
    }

    fn letter_columns(&self) -> Vec<ArrayRef> {
        let texts = |text: &dyn Fn(&Letter) -> Option<&str>| -> ArrayRef {
            Arc::new(self.letters.iter().map(text).collect::<StringViewArray>())
        };
        let mut raw = BinaryViewBuilder::with_capacity(self.letters.len());
        let sent: Vec<Option<&Sent>> = self.letters.iter().map(|letter| self.before(letter)).collect();
        for (letter, sent) in self.letters.iter().zip(&sent) {
            raw.append_value(sent.and_then(|sent| sent.raw.as_ref()).unwrap_or(&letter.raw));
        }
        let ids = sent.iter().map(|sent| {
            let known = sent.and_then(|sent| sent.id.clone());
            known.unwrap_or_else(|| Uuid::now_v7().to_string())
        });
        let times = sent.iter().map(|sent| sent.and_then(|sent| sent.received_at).unwrap_or(self.now));
        let source = |(at, sent): (usize, &Option<&'_ Sent>)| {
            sent.map_or_else(|| self.source_of(at).to_owned(), |sent| sent.source.to_string())
        };
        let sources = sent.iter().enumerate().map(source).map(Some);
        // Where a letter was in the input it first came in is not known any more.
        type Place = fn(&Letter) -> Option<i64>;
        let place = |of: Place, of_sent: fn(&Sent) -> Option<i64>| -> ArrayRef {
            let first = |(letter, sent): (&Letter, &Option<&Sent>)| sent.map_or_else(|| of(letter), of_sent);
            Arc::new(self.letters.iter().zip(&sent).map(first).collect::<Int64Array>())
        };
        let rows = self.letters.len();
        vec![
            Arc::new(ids.map(Some).collect::<StringViewArray>()),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
            self.same(&self.table.0, rows),
            Arc::new(Int64Array::from_value(self.table.1.into(), rows)),
            Arc::new(sources.collect::<StringViewArray>()),
            texts(&|letter| Some(&letter.reason)),
            texts(&|letter| Some(&letter.sqlstate)),
            texts(&|letter| letter.column.as_deref()),
            place(|letter| letter.offset, |sent| sent.place),
            place(|letter| letter.line, |_| None),
            Arc::new(Int32Array::from_iter_values(sent.iter().map(|sent| sent.map_or(0, |sent| sent.attempts)))),
            self.same(self.format, rows),
            Arc::new(raw.finish()),
        ]
    }

    fn change_columns(&self) -> Vec<ArrayRef> {
        let rows = self.changes.len();
        let texts = |at: usize| -> ArrayRef {
            Arc::new(self.changes.iter().map(|change| Some(change[at].as_str())).collect::<StringViewArray>())
        };
        vec![
            self.times(rows),
            self.same(&self.table.0, rows),
            Arc::new(Int64Array::from_value(self.table.1.into(), rows)),
            texts(0),
            texts(1),
            texts(2),
            texts(3),
            texts(4),
            // Columns of all inputs are one change.
            self.same(self.source_of(0), rows),
        ]
    }

    fn times(&self, rows: usize) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_value(self.now, rows).with_timezone("UTC"))
    }

    fn same(&self, text: &str, rows: usize) -> ArrayRef {
        Arc::new(std::iter::repeat_n(Some(text), rows).collect::<StringViewArray>())
    }
}

/// 53400 where the dead letters of the database would take more than they may: then nothing is taken in rather than lost.
fn require_room(session: &mut Session, bytes: usize) -> Result<()> {
    let limit = session.instance.config.dead_letter_bytes;
    let (main, _) = names::catalogs(session);
    let schema = main.find(session.database, NameClass::Schema, SCHEMA).map(|schema| schema.oid);
    let table = schema.and_then(|schema| main.find(schema, NameClass::Relation, DEAD_LETTERS.0)).map(|table| table.oid);
    let view = Arc::clone(session.open().view());
    let state = table.and_then(|table| view.table(table));
    let taken = state.map_or(0, |state| state.files.bytes() + state.hot_bytes() as u64);
    if taken + bytes as u64 <= limit {
        return Ok(());
    }
    let message = format!("dead letters of the database take {} MB of at most {} MB", taken >> 20, limit >> 20);
    Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
        .hint("Replay or discard some of tidemill.dead_letters, or start the server with a greater --dead-letters."))
}
/// A table of the schema: its name and columns.
pub(super) type Table<'t> = (&'t str, &'t [(&'t str, SqlType)]);

/// Adds rows to one of the tables; makes it, and the schema, where they are missing.
pub(super) fn append(
    session: &mut Session,
    (name, columns): Table<'_>,
    arrays: Vec<ArrayRef>,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let (main, _) = names::catalogs(session);
    let owner = main.get(session.database).map_or(session.login_role, |database| database.owner);
    let object = |oid, parent, name: &str, body| {
        let name = name.to_owned();
        let (comment, acl, depends_on) = (None, vec![], vec![]);
        Change::Put(Arc::new(Object { oid, parent, name, owner, version: 1, comment, acl, depends_on, body }))
    };
    let made = |changes: &[Change], parent: Oid, name: &str| {
        changes.iter().find_map(|change| match change {
            Change::Put(object) if object.name == name && object.parent == parent => Some(object.oid),
            _ => None,
        })
    };
    let known = main.find(session.database, NameClass::Schema, SCHEMA).map(|schema| schema.oid);
    let schema = match known.or_else(|| made(changes, session.database, SCHEMA)) {
        Some(oid) => oid,
        None => {
            let oid = session.fresh_oid(false);
            changes.push(object(oid, session.database, SCHEMA, Body::Schema {}));
            oid
        }
    };
    let def = definition(columns)?;
    let known = main.find(schema, NameClass::Relation, name).map(|table| table.oid);
    let table = match known.or_else(|| made(changes, schema, name)) {
        Some(oid) => oid,
        None => {
            let oid = session.fresh_oid(false);
            changes.push(object(oid, schema, name, Body::Table(Arc::new(def.clone()))));
            oid
        }
    };
    let batch = RecordBatch::try_new(def.schema(), arrays).map_err(DataFusionError::from)?;
    let chunk = NewChunk { id: session.instance.store.next_chunk_id(), batch };
    changes.push(Change::Write(Write {
        table,
        add_chunks: vec![Arc::new(chunk)],
        data_change: true,
        ..Write::default()
    }));
    Ok(())
}

fn definition(columns: &[(&str, SqlType)]) -> Result<TableDef> {
    let column = |(id, (name, sql_type)): (i32, &(&str, SqlType))| ColumnDef {
        id,
        name: (*name).to_owned(),
        physical_name: (*name).to_owned(),
        sql_type: sql_type.name(),
        data_type: sql_type.data_type(),
        nullable: true,
        default: None,
        missing_value: None,
        user_type: None,
        sequence: None,
        source_field: None,
        comment: None,
    };
    let columns: Vec<ColumnDef> = (1..).zip(columns).map(column).collect();
    let given = std::collections::BTreeMap::new();
    Ok(TableDef {
        options: options::resolve(&given, &columns, &[])?,
        next_column_id: i32::try_from(columns.len()).map_or(i32::MAX, |count| count + 1),
        columns,
        checks: vec![],
        indexes: vec![],
        foreign_keys: vec![],
        primary_key: vec![],
        given_options: given,
        column_mapping: false,
    })
}
