//! Rows of one table, from values of fields: finds or makes the column of each field, converts values, and keeps a row
//! apart until it is whole. A row that cannot be is a dead letter and leaves no trace in the columns.
//!
//! ```text
//! begin → set(field, value) … → commit | abandon → … → take: a batch
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::Schema;
use tidemill_udfs::types::{SqlType, TextSettings, ValueError, input};

use crate::outcome::{Counts, DeadLetter, Decoded, Defaults, Position, SchemaChange, reason};
use crate::shape::{Evolve, Nested, REST, TableShape};
use crate::value::Value;

pub(crate) mod builder;
mod column;
pub(crate) mod convert;
mod evolve;
mod fields;
mod infer;
mod rest;
pub(crate) mod slot;

use column::Column;
use convert::Conversion;
use fields::{Fields, Target};
pub(crate) use fields::{KeyEnd, NONE, ROOT};
use rest::Rest;
use slot::{Scratch, Slot};

/// Why a document is no row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RowFault {
    pub(crate) error: ValueError,
    /// The column, or the field that has none.
    pub(crate) column: Option<String>,
}

impl RowFault {
    pub(crate) fn new(error: ValueError) -> Box<Self> {
        Box::new(Self { error, column: None })
    }
}

/// Where a document is in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) line: u64,
    /// Its length; more than is kept of it if it is too long.
    pub(crate) bytes: u64,
}

/// What a column gets in the row at hand.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Whose value it is; `NONE`: the row does not mention the column.
    field: usize,
    slot: Slot,
}

/// Stands for the field of `_rest`, which has many.
const MANY: usize = NONE - 1;

const UNSET: Cell = Cell { field: NONE, slot: Slot::Null };

/// See the module.
pub(crate) struct Rows {
    /// All but the columns, which are in `columns`.
    shape: TableShape,
    settings: TextSettings,
    json_strings: bool,
    pub(crate) fields: Fields,
    columns: Vec<Column>,
    by_name: HashMap<String, usize>,
    by_field: HashMap<String, usize>,
    /// Types of columns that may be added, by the field's path.
    announced: Arc<HashMap<String, SqlType>>,
    /// Columns that every row must mention.
    required: Vec<usize>,
    rest_column: Option<usize>,

    // The row at hand.
    pub(crate) scratch: Scratch,
    cells: Vec<Cell>,
    /// What the cells were made from, where that may be asked for: if another field may claim the column, or its type is not
    /// fixed yet.
    values: Vec<Value>,
    touched: Vec<usize>,
    rest: Rest,
    /// Columns and changes before the row.
    columns_before: usize,
    changes_before: usize,
    /// Fields that got a column of this row.
    resolved: Vec<usize>,
    /// The type of the value that its column would not give back.
    misfit: Option<SqlType>,

    // The batch.
    rows: usize,
    places: Vec<(u64, u64)>,
    bytes: usize,
    counts: Counts,
    changes: Vec<SchemaChange>,
    dead_letters: Vec<DeadLetter>,
}

impl Rows {
    /// `json_strings`: strings are JSON's, which has no other notation for dates and the like; for a json column they are JSON
    /// strings. Otherwise they are text, and for a json column the text of a JSON value.
    pub(crate) fn new(shape: TableShape, settings: TextSettings, json_strings: bool, key_end: KeyEnd) -> Self {
        let fields = Fields::new(shape.limits.columns_max.saturating_mul(2).saturating_add(1_000), key_end);
        let mut rows = Self {
            columns: vec![],
            shape,
            settings,
            json_strings,
            fields,
            by_name: HashMap::new(),
            by_field: HashMap::new(),
            announced: Arc::default(),
            required: vec![],
            rest_column: None,
            scratch: Scratch::default(),
            cells: vec![],
            values: vec![],
            touched: vec![],
            rest: Rest::default(),
            columns_before: 0,
            changes_before: 0,
            resolved: vec![],
            misfit: None,
            rows: 0,
            places: vec![],
            bytes: 0,
            counts: Counts::default(),
            changes: vec![],
            dead_letters: vec![],
        };
        rows.take_columns();
        rows
    }

    /// See [`crate::JsonDecoder::announce`].
    pub(crate) fn announce(&mut self, types: Arc<HashMap<String, SqlType>>) {
        self.announced = types;
    }

    /// The table as it is with all changes so far.
    pub(crate) fn shape(&self) -> TableShape {
        TableShape { columns: self.columns.iter().map(Column::shape).collect(), ..self.shape.clone() }
    }

    /// Another shape, because somebody else changed the table. Only between batches.
    pub(crate) fn set_shape(&mut self, shape: TableShape) {
        assert!(self.rows == 0 && self.changes.is_empty(), "rows were decoded for the shape so far");
        self.shape = shape;
        self.take_columns();
    }

    fn take_columns(&mut self) {
        // Offsets of lists and views are 32 bits: see `builder`.
        const BYTES_MAX: usize = 1024 * 1024 * 1024;
        let limits = &mut self.shape.limits;
        limits.row_bytes_max = limits.row_bytes_max.min(BYTES_MAX);
        limits.batch_bytes = limits.batch_bytes.min(BYTES_MAX);
        self.columns = std::mem::take(&mut self.shape.columns).iter().map(Column::new).collect();
        let enumerated = || self.columns.iter().enumerate();
        self.by_name = enumerated().map(|(at, column)| (column.name.clone(), at)).collect();
        self.by_field = enumerated().filter_map(|(at, column)| Some((column.field.clone()?, at))).collect();
        self.required =
            enumerated().filter(|(_, column)| !column.nullable && !column.has_default).map(|(at, _)| at).collect();
        let rest = self.by_name.get(REST).copied();
        self.rest_column = rest.filter(|at| self.columns[*at].target.sql_type == SqlType::Jsonb);
        self.cells.clear();
        self.cells.resize(self.columns.len(), UNSET);
        self.values.clear();
        self.values.resize(self.columns.len(), Value::Null);
        self.fields.reset();
    }

    pub(crate) fn depth_max(&self) -> usize {
        self.shape.limits.depth_max
    }

    pub(crate) fn row_bytes_max(&self) -> usize {
        self.shape.limits.row_bytes_max
    }

    /// Begins a row.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.columns_before = self.columns.len();
        self.changes_before = self.changes.len();
    }

    /// A field of the row has that value. `doc`: what spans refer to, the same for the whole row.
    #[inline]
    pub(crate) fn set(&mut self, doc: &str, field: usize, value: Value) -> Result<(), Box<RowFault>> {
        match self.fields.get(field).target {
            Target::Column(column) => self.set_column(doc, field, column, value),
            _ => self.set_unknown(doc, field, value),
        }
    }

    #[inline]
    fn set_column(&mut self, doc: &str, field: usize, column: usize, value: Value) -> Result<(), Box<RowFault>> {
        let holder = self.cells[column].field;
        if holder != NONE {
            if holder != field {
                return self.collide(doc, field, column, value);
            }
            self.counts.duplicate_fields += 1;
            if self.columns[column].added.is_some_and(|change| change >= self.changes_before) {
                return self.type_again(doc, field, column, value);
            }
        }
        let slot = self.convert(doc, column, &value)?;
        if !self.fields.get(field).exact || self.columns[column].added.is_some() {
            self.values[column] = value;
        }
        self.fill(column, field, slot);
        Ok(())
    }

    #[inline]
    fn fill(&mut self, column: usize, field: usize, slot: Slot) {
        let cell = &mut self.cells[column];
        if cell.field == NONE {
            self.touched.push(column);
        }
        cell.field = field;
        cell.slot = slot;
    }

    /// The value as one of the column's type, which may be made wider for it.
    #[inline]
    fn convert(&mut self, doc: &str, column: usize, value: &Value) -> Result<Slot, Box<RowFault>> {
        if self.shape.evolve == Evolve::Lossless {
            return self.convert_lossless(doc, column, *value);
        }
        let target = &self.columns[column];
        let Self { scratch, settings, json_strings, .. } = self;
        let converted =
            Conversion { doc, scratch, settings, json_strings: *json_strings }.convert(&target.target, value);
        let may_widen = target.added.is_some() || self.shape.evolve == Evolve::Widen;
        match converted {
            Ok(slot) if !may_widen => Ok(slot),
            Ok(slot) if infer::keeps(&target.target.sql_type, *value, doc, &self.scratch) => Ok(slot),
            Ok(slot) => Ok(self.widen_for(doc, column, *value).unwrap_or(slot)),
            Err(error) => match may_widen.then(|| self.widen_for(doc, column, *value)).flatten() {
                Some(slot) => Ok(slot),
                None => Err(Box::new(RowFault { error, column: Some(self.columns[column].name.clone()) })),
            },
        }
    }

    /// The node of an object's members if they are columns of their own; `None` if the object is one value.
    pub(crate) fn flattened(&mut self, field: usize) -> Option<usize> {
        let Nested::Flatten { depth } = self.shape.nested else { return None };
        if self.fields.node(self.fields.get(field).node).depth >= depth {
            return None;
        }
        let column = match self.fields.get(field).target {
            Target::Column(column) => Some(column),
            Target::Unknown | Target::New => self.existing(field).map(|(column, _)| column),
            Target::Rest => None,
        };
        if column.is_some_and(|column| self.columns[column].target.is_json()) {
            return None;
        }
        self.fields.child(field)
    }

    /// An empty object has no members that could be columns: `_rest` says that it was there.
    pub(crate) fn keep_empty(&mut self, doc: &str, field: usize, value: Value) -> Result<(), Box<RowFault>> {
        if self.has_rest() { self.add_rest(doc, field, value) } else { Ok(()) }
    }

    /// Ends the row: it is in the batch.
    pub(crate) fn commit(&mut self, doc: &str) -> Result<(), Box<RowFault>> {
        if !self.rest.is_empty() {
            self.set_rest()?;
        }
        for column in &self.required {
            if self.cells[*column].field == NONE {
                return Err(self.is_null(*column));
            }
        }
        for column in &self.touched {
            if self.cells[*column].slot == Slot::Null && !self.columns[*column].nullable {
                return Err(self.is_null(*column));
            }
        }
        for column in self.touched.drain(..) {
            let cell = &mut self.cells[column];
            cell.field = NONE;
            let slot = cell.slot;
            let target = &mut self.columns[column];
            let original = if target.added.is_some() { target.original(&self.values[column]) } else { None };
            target.append(self.rows, slot, original, doc, &self.scratch);
        }
        self.scratch.clear();
        self.resolved.clear();
        self.rows += 1;
        Ok(())
    }

    /// Says where the document of the row that was ended last is.
    #[inline]
    pub(crate) fn locate(&mut self, place: Place) {
        self.places.push((place.offset, place.line));
    }

    fn is_null(&self, column: usize) -> Box<RowFault> {
        let (name, table) = (&self.columns[column].name, &self.shape.name);
        let message = format!("null value in column \"{name}\" of relation \"{table}\" violates not-null constraint");
        Box::new(RowFault { error: ValueError::new("23502", message), column: Some(name.clone()) })
    }

    /// Ends the row: nothing of it stays but its dead letter.
    pub(crate) fn abandon(&mut self, raw: &[u8], place: Place, fault: RowFault) {
        self.undo();
        let kept = &raw[..raw.len().min(self.shape.limits.row_bytes_max)];
        self.bytes += kept.len();
        self.dead_letters.push(DeadLetter {
            raw: kept.to_vec(),
            bytes: place.bytes,
            error: reason(fault.error),
            column: fault.column,
            value_type: self.misfit.take(),
            offset: place.offset,
            line: place.line,
        });
    }

    /// Ends the row as if it had not begun.
    pub(crate) fn undo(&mut self) {
        for column in self.touched.drain(..) {
            self.cells[column] = UNSET;
        }
        self.rest.clear();
        self.scratch.clear();
        for field in self.resolved.drain(..) {
            let field = self.fields.get_mut(field);
            (field.target, field.exact) = (Target::Unknown, false);
        }
        for column in self.columns.drain(self.columns_before..) {
            self.by_name.remove(&column.name);
            if let Some(field) = &column.field {
                self.by_field.remove(field);
            }
        }
        self.cells.truncate(self.columns_before);
        self.values.truncate(self.columns_before);
        self.rest_column = self.rest_column.filter(|column| *column < self.columns_before);
        // A column that was widened for the row stays wide: its other values have been converted.
        let before = self.changes_before;
        let mut at = 0;
        self.changes.retain(|change| {
            at += 1;
            at <= before || matches!(change, SchemaChange::WidenColumn { .. })
        });
        for (at, change) in self.changes.iter().enumerate().skip(before) {
            if let SchemaChange::WidenColumn { name, .. } = change
                && let Some(column) = self.by_name.get(name)
            {
                self.columns[*column].widened = Some(at);
            }
        }
    }

    /// Counts a document, which was committed or abandoned. True: the batch is to be taken.
    #[inline]
    pub(crate) fn count(&mut self, bytes: usize) -> bool {
        self.counts.documents += 1;
        self.bytes += bytes;
        let limits = &self.shape.limits;
        self.rows + self.dead_letters.len() >= limits.batch_rows || self.bytes >= limits.batch_bytes
    }

    /// The batch, unless nothing happened since the last one.
    pub(crate) fn take(&mut self, end: Position) -> Option<Decoded> {
        if self.counts.documents == 0 {
            return None;
        }
        let rows = self.rows;
        let (mut arrays, mut fields, mut mentioned, mut defaults) = (vec![], vec![], vec![], vec![]);
        // Columns that no row mentions share one array per type: tables may have thousands.
        let mut nulls = HashMap::new();
        for (at, column) in self.columns.iter_mut().enumerate() {
            let (array, missing) = column.finish(rows);
            let field = column.target.sql_type.field(&column.name, true);
            mentioned.push(array.is_some());
            arrays.push(array.unwrap_or_else(|| {
                let null = || new_null_array(field.data_type(), rows);
                Arc::clone(nulls.entry(field.data_type().clone()).or_insert_with(null))
            }));
            fields.push(field);
            defaults.extend(missing.map(|rows| Defaults { column: at, rows }));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .expect("every column has the rows, and its field's type");
        let counts = Counts { rows: u64::try_from(rows).expect("rows are counted in 64 bits"), ..self.counts };
        (self.rows, self.bytes, self.counts) = (0, 0, Counts::default());
        debug_assert_eq!(self.places.len(), rows, "every row has a place");
        Some(Decoded {
            batch,
            places: std::mem::take(&mut self.places),
            mentioned,
            defaults,
            changes: std::mem::take(&mut self.changes),
            dead_letters: std::mem::take(&mut self.dead_letters),
            counts,
            end,
        })
    }

    /// `_rest` as a value of the row.
    fn set_rest(&mut self) -> Result<(), Box<RowFault>> {
        let column = self.rest_column.expect("found or made when the first value went there");
        let text = self.rest.take();
        let canonical = input::checked_text(&SqlType::Jsonb, &text)
            .map_err(|error| Box::new(RowFault { error, column: Some(REST.to_owned()) }))?;
        let span = self.scratch.keep(&canonical);
        self.fill(column, MANY, Slot::Text(span));
        Ok(())
    }
}
