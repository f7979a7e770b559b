//! tidemill.dead_letters: the letters of one request, for all its tables, on their way into the sink of that table.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryViewBuilder, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
    new_null_array,
};
use datafusion::arrow::datatypes::Schema;
use datafusion::error::DataFusionError;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, Object, TableDef};
use tidemill_udfs::types::SqlType;
use uuid::Uuid;

use super::super::names;
use super::super::sink::{Ground, RowSink};
use super::super::table::push_column;
use super::letters::{About, Letter, Sent, Written};
use super::tables;
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

/// A letter that is to be written.
pub(super) struct Held {
    pub(super) letter: Letter,
    pub(super) about: Arc<About>,
    pub(super) sent: Option<Arc<Sent>>,
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
    pub(super) async fn add(&mut self, held: Held) -> Result<()> {
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
        let schema = Arc::new(Schema::new(fields));
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
    /// 53400 as [`Self::add`]; those of writing.
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
