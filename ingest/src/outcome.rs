//! What a decoder gives: rows, the schema changes they need, and what could not become a row.

use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use tidemill_udfs::types::{SqlType, ValueError};

use crate::shape::TableShape;

/// Rows of one table and all that must be committed with them. `counts.documents` = `counts.rows` + dead letters.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The rows, with all columns of the table as it is after `changes`. Every field may be NULL in the schema: what must
    /// not be was checked, except where `defaults` has to be filled in.
    pub batch: RecordBatch,
    /// Where each row's document begins in the input: the bytes before it, and its line, from 1.
    pub places: Vec<(u64, u64)>,
    /// For each column of the batch whether a row mentions it; values of the others are NULL, or their default.
    pub mentioned: Vec<bool>,
    /// Which rows did not mention a column that has a default. NULL stands in their place.
    pub defaults: Vec<Defaults>,
    /// To be applied in this order, before the rows.
    pub changes: Vec<SchemaChange>,
    /// Documents that did not become rows.
    pub dead_letters: Vec<DeadLetter>,
    /// Counts.
    pub counts: Counts,
    /// Where the input goes on behind the documents of this batch and those before it.
    pub end: Position,
}

/// A place between documents of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Bytes before it.
    pub offset: u64,
    /// The line it is in, from 1.
    pub line: u64,
    /// It is in an array around documents.
    pub(crate) in_array: bool,
}

impl Position {
    /// The beginning of the input.
    pub const START: Self = Self { offset: 0, line: 1, in_array: false };
}

/// The rows that get a column's default.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// The column's place in the batch.
    pub column: usize,
    /// One bit for each row.
    pub rows: BooleanBuffer,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Documents, lines or rows of the input.
    pub documents: u64,
    /// Rows in the batch.
    pub rows: u64,
    /// Times that a document gave a field twice; its last value won.
    pub duplicate_fields: u64,
    /// Values that went to `_rest`.
    pub rest_values: u64,
}

/// A change that rows need.
#[derive(Debug, Clone, PartialEq)]
pub enum SchemaChange {
    /// `ALTER TABLE … ADD COLUMN`
    AddColumn {
        /// The column's name; to be quoted where SQL needs it.
        name: String,
        /// Its type.
        sql_type: SqlType,
        /// The field it is for, as the document spells it; members of flattened objects as `a.b`.
        field: String,
        /// A value of it, cut off where it is long.
        sample: String,
        /// The column that would have had the field if another field of the same document had not been there.
        collides_with: Option<String>,
    },
    /// `ALTER TABLE … ALTER COLUMN … TYPE`. Values of the batch fit both types' ranges; those in the table must be converted.
    WidenColumn {
        /// The column's name.
        name: String,
        /// Its type so far.
        from: SqlType,
        /// Its type from now on.
        to: SqlType,
        /// The value that needs it, cut off where it is long.
        sample: String,
    },
}

/// A document that did not become a row.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Its bytes, as they came; the first `row_bytes_max` of those that are too many.
    pub raw: Vec<u8>,
    /// How many bytes it had.
    pub bytes: u64,
    /// Why, as PostgreSQL words it, cut off where it is long; `error.code` is the SQLSTATE.
    pub error: ValueError,
    /// The column whose value it was.
    pub column: Option<String>,
    /// The type of that value, where the column would not give it back as it was ([`crate::Evolve::Lossless`]).
    pub value_type: Option<SqlType>,
    /// Where it begins in the input.
    pub offset: u64,
    /// The line it begins at, from 1.
    pub line: u64,
}

impl Decoded {
    /// The changes that the rows need on the table as it is now, if somebody else changed it meanwhile. `None` if the rows
    /// do not fit it any more: the documents have to be decoded again, for that shape.
    pub fn changes_on(&self, now: &TableShape) -> Option<Vec<SchemaChange>> {
        let type_now =
            |name: &str| now.columns.iter().find(|column| column.name == name).map(|column| &column.sql_type);
        let mut changes = vec![];
        for change in &self.changes {
            match (change, type_now(change.column())) {
                (SchemaChange::AddColumn { .. }, None) => changes.push(change.clone()),
                (SchemaChange::AddColumn { sql_type, .. }, Some(now)) if now == sql_type => {}
                (SchemaChange::WidenColumn { from, .. }, Some(now)) if now == from => changes.push(change.clone()),
                (SchemaChange::WidenColumn { to, .. }, Some(now)) if now == to => {}
                _ => return None,
            }
        }
        let is_changed = |name: &str| self.changes.iter().any(|change| change.column() == name);
        let fits = self.batch.schema().fields().iter().zip(&self.mentioned).all(|(field, mentioned)| {
            !mentioned || is_changed(field.name()) || type_now(field.name()) == Some(&SqlType::of_field(field))
        });
        // A column that the rows do not know must not need a value of them.
        let known = |name: &str| self.batch.schema().fields().iter().any(|field| field.name() == name);
        let needed = now.columns.iter().any(|column| !known(&column.name) && !column.nullable && !column.has_default);
        (fits && !needed).then_some(changes)
    }
}

impl SchemaChange {
    /// The name of the column.
    pub fn column(&self) -> &str {
        match self {
            Self::AddColumn { name, .. } | Self::WidenColumn { name, .. } => name,
        }
    }
}

/// Bytes of a message or detail that a dead letter keeps: a message shows the value, which may be megabytes.
const REASON_BYTES: usize = 1_000;

/// Bytes of a value that a schema change shows.
const SAMPLE_BYTES: usize = 100;

/// The text, cut off at a character's end with an ellipsis if it is longer than `bytes`.
fn shortened(text: &str, bytes: usize) -> String {
    if text.len() <= bytes { text.to_owned() } else { format!("{}…", &text[..text.floor_char_boundary(bytes)]) }
}

/// What a schema change shows of a value.
pub(crate) fn sample(text: &str) -> String {
    shortened(text, SAMPLE_BYTES)
}

/// What a dead letter keeps of an error.
pub(crate) fn reason(error: ValueError) -> ValueError {
    let detail = error.detail.map(|detail| shortened(&detail, REASON_BYTES));
    ValueError { message: shortened(&error.message, REASON_BYTES), detail, ..error }
}
