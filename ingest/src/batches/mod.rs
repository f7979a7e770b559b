//! Arrow batches: columns are matched with the table's by name, converted as a whole where their types allow it, and value
//! by value where not. A row with a value that has no place in its column is a dead letter, as a JSON document.
//!
//! ```text
//! bytes → [stream] → batches → BatchDecoder ([leaves] → [normal] → match → [convert]) → Decoded
//! ```
//! Files and streams say types themselves: nothing is inferred, and a new column has the type of its values even where all
//! of them are NULL.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter;
use arrow::datatypes::Schema;
use tidemill_udfs::types::json::canonical;
use tidemill_udfs::types::{ColumnEncoder, SqlType, TextSettings, ValueError};

use crate::name::{candidates, folded};
use crate::outcome::{Counts, DeadLetter, Decoded, Defaults, Position, SchemaChange, reason, sample};
use crate::shape::{Evolve, REST, ShapeColumn, TableShape};

mod convert;
mod leaves;
mod normal;
mod stream;

pub use stream::ArrowReader;

use leaves::{Documents, Leaf, leaves};
use normal::Normal;

/// Decodes batches of one schema or several for a table.
///
/// Memory: one part of a batch, [`crate::Limits::batch_rows`] rows, at a time.
pub struct BatchDecoder {
    shape: TableShape,
    settings: TextSettings,
    /// Rows before.
    rows: u64,
}

/// What becomes of a column of the input.
enum Place {
    /// It is a column of the table.
    Column(usize),
    /// It is a member of `_rest`.
    Rest,
    /// It has no values at all.
    Nowhere,
}

/// Values of the table's column, and which rows have none that fit.
struct Converted {
    array: ArrayRef,
    faults: Vec<(usize, ValueError)>,
}

impl BatchDecoder {
    /// A decoder for the table.
    pub fn new(shape: TableShape, settings: TextSettings) -> Self {
        Self { shape, settings, rows: 0 }
    }

    /// The table as it is with all changes so far.
    pub fn shape(&self) -> TableShape {
        self.shape.clone()
    }

    /// Decodes a batch, part by part. Nothing of a part is kept here.
    ///
    /// # Errors
    /// 42703 for a column that the table does not have and cannot get, 42701 for two columns that would be one, 0A000 for an
    /// Arrow type that no column holds, 22P04 for values that are not what their type says.
    pub fn decode(&mut self, batch: &RecordBatch) -> impl Iterator<Item = Result<Decoded, ValueError>> {
        let rows = self.shape.limits.batch_rows.max(1);
        let starts = (0..batch.num_rows()).step_by(rows);
        let parts: Vec<_> = starts.map(|at| batch.slice(at, rows.min(batch.num_rows() - at))).collect();
        parts.into_iter().map(move |part| self.part(&part))
    }

    fn part(&mut self, batch: &RecordBatch) -> Result<Decoded, ValueError> {
        let existing = |field: &str, name: &str| self.existing(field, name).map(|at| &self.shape.columns[at]);
        let fields = leaves(batch, self.shape.nested, &existing)?;
        let mut changes = vec![];
        let places = self.places(&fields, &mut changes)?;
        let rows = batch.num_rows();
        let mut converted: Vec<Option<ArrayRef>> = vec![None; self.shape.columns.len()];
        let mut faults: Vec<Option<(String, ValueError)>> = vec![None; rows];
        for (place, leaf) in places.iter().zip(&fields) {
            for (row, error) in &leaf.column.faults {
                faults[*row].get_or_insert_with(|| (leaf.field(), error.clone()));
            }
            let Place::Column(at) = place else { continue };
            let target = &self.shape.columns[*at];
            let Converted { array, faults: found } = convert::convert(&leaf.column, &target.sql_type, &self.settings)?;
            for (row, error) in found {
                faults[row].get_or_insert_with(|| (target.name.clone(), error));
            }
            converted[*at] = Some(array);
        }
        self.add_rest(&places, &fields, rows, &mut converted)?;
        let dead_letters = self.dead_letters(&fields, &faults)?;
        let keep = BooleanArray::from(faults.iter().map(Option::is_none).collect::<Vec<_>>());
        let decoded = self.decoded(converted, &keep, changes, dead_letters)?;
        let kept = (0..rows).filter(|row| keep.value(*row)).map(|row| self.rows + to_u64(row));
        let places = kept.map(|offset| (offset, offset + 1)).collect();
        self.rows += to_u64(rows);
        Ok(Decoded { places, end: self.position(), ..decoded })
    }

    fn position(&self) -> Position {
        Position { offset: self.rows, line: self.rows + 1, in_array: false }
    }

    /// Finds or makes a place for every field of the input.
    fn places(&mut self, fields: &[Leaf], changes: &mut Vec<SchemaChange>) -> Result<Vec<Place>, ValueError> {
        let mut taken: HashMap<usize, String> = HashMap::new();
        let mut places = vec![];
        for leaf in fields {
            let field = leaf.field();
            let place = match self.existing(&field, &leaf.name()) {
                Some(at) => Place::Column(at),
                None if leaf.column.is_nothing() => Place::Nowhere,
                None => self.new_place(&field, leaf, changes)?,
            };
            if let Place::Column(at) = place
                && let Some(other) = taken.insert(at, field.clone())
            {
                let name = &self.shape.columns[at].name;
                let message = format!("columns \"{other}\" and \"{field}\" are both column \"{name}\" of the table");
                return Err(ValueError::new("42701", message));
            }
            places.push(place);
        }
        Ok(places)
    }

    /// The column of the table that the field has: as it was added, as its name is spelled, as PostgreSQL folds it.
    fn existing(&self, field: &str, name: &str) -> Option<usize> {
        let columns = &self.shape.columns;
        let usable = |column: &ShapeColumn| column.name != REST;
        let at = |is: &dyn Fn(&ShapeColumn) -> bool| columns.iter().position(|column| usable(column) && is(column));
        let folded = folded(name);
        at(&|column| column.field.as_deref() == Some(field))
            .or_else(|| at(&|column| column.name == name))
            .or_else(|| at(&|column| column.name == folded && column.field.is_none()))
    }

    fn new_place(&mut self, field: &str, leaf: &Leaf, changes: &mut Vec<SchemaChange>) -> Result<Place, ValueError> {
        let column = &leaf.column;
        let evolves = self.shape.evolve != Evolve::Off;
        let known = |name: &str| self.shape.columns.iter().any(|column| column.name == name);
        let limits = &self.shape.limits;
        let room = self.shape.columns.len() < limits.columns_max;
        let name = candidates(&folded(&leaf.name()), None)
            .find(|name| name.len() <= limits.name_bytes_max && !known(name) && name != REST && !name.contains('\0'));
        if let (true, true, Some(name)) = (evolves, room, name) {
            changes.push(SchemaChange::AddColumn {
                name: name.clone(),
                sql_type: column.wanted.clone(),
                field: field.to_owned(),
                sample: self.sample_of(column)?,
                collides_with: None,
            });
            let added = ShapeColumn::new(name, column.wanted.clone());
            self.shape.columns.push(ShapeColumn { field: Some(field.to_owned()), ..added });
            return Ok(Place::Column(self.shape.columns.len() - 1));
        }
        let rest = self.shape.columns.iter().find(|column| column.name == REST);
        if rest.is_some_and(|rest| rest.sql_type == SqlType::Jsonb) {
            return Ok(Place::Rest);
        }
        if rest.is_none() && evolves && self.shape.rest {
            changes.push(SchemaChange::AddColumn {
                name: REST.to_owned(),
                sql_type: SqlType::Jsonb,
                field: field.to_owned(),
                sample: self.sample_of(column)?,
                collides_with: None,
            });
            self.shape.columns.push(ShapeColumn::new(REST, SqlType::Jsonb));
            return Ok(Place::Rest);
        }
        let message = format!("column \"{field}\" of relation \"{}\" does not exist", self.shape.name);
        let mut error = ValueError::new("42703", message);
        let hint = "Add the column, or a column _rest of type jsonb that takes what has none, or let the table evolve: \
                    ALTER TABLE … SET (tidemill.evolve = 'add_columns').";
        error.hint = Some(hint.to_owned());
        Err(error)
    }

    fn sample_of(&self, column: &Normal) -> Result<String, ValueError> {
        let Some(row) = (0..column.array.len()).find(|row| column.array.is_valid(*row)) else {
            return Ok("null".to_owned());
        };
        let mut text = vec![];
        ColumnEncoder::new(&column.array.slice(row, 1), &column.sql_type, &self.settings)?.write_text(0, &mut text);
        Ok(sample(&String::from_utf8_lossy(&text)))
    }

    /// The values of fields without a place, as the objects of `_rest`.
    fn add_rest(
        &self,
        places: &[Place],
        fields: &[Leaf],
        rows: usize,
        converted: &mut Vec<Option<ArrayRef>>,
    ) -> Result<(), ValueError> {
        converted.resize(self.shape.columns.len(), None);
        let members = places.iter().zip(fields).filter(|(place, _)| matches!(place, Place::Rest));
        let documents = Documents::new(members.map(|(_, leaf)| leaf), &self.settings)?;
        let rest = self.shape.columns.iter().position(|column| column.name == REST);
        let Some(at) = rest.filter(|_| !documents.is_empty()) else { return Ok(()) };
        let mut builder = arrow::array::StringViewBuilder::with_capacity(rows);
        for row in 0..rows {
            let object = documents.write(row);
            if object == "{}" { builder.append_null() } else { builder.append_value(canonical(&object)?) }
        }
        converted[at] = Some(Arc::new(builder.finish()));
        Ok(())
    }

    fn dead_letters(
        &self,
        fields: &[Leaf],
        faults: &[Option<(String, ValueError)>],
    ) -> Result<Vec<DeadLetter>, ValueError> {
        if faults.iter().all(Option::is_none) {
            return Ok(vec![]);
        }
        let documents = Documents::new(fields.iter(), &self.settings)?;
        let letters = faults.iter().enumerate().filter_map(|(row, fault)| {
            let (column, error) = fault.clone()?;
            let raw = documents.write(row).into_bytes();
            let offset = self.rows + to_u64(row);
            let (bytes, error) = (to_u64(raw.len()), reason(error));
            let (column, line) = (Some(column), offset + 1);
            Some(DeadLetter { raw, bytes, error, column, value_type: None, offset, line })
        });
        Ok(letters.collect())
    }

    fn decoded(
        &self,
        converted: Vec<Option<ArrayRef>>,
        keep: &BooleanArray,
        changes: Vec<SchemaChange>,
        dead_letters: Vec<DeadLetter>,
    ) -> Result<Decoded, ValueError> {
        let rows = keep.true_count();
        let (mut arrays, mut fields, mut mentioned, mut defaults) = (vec![], vec![], vec![], vec![]);
        for (at, (column, array)) in self.shape.columns.iter().zip(converted).enumerate() {
            let field = column.sql_type.field(&column.name, true);
            mentioned.push(array.is_some());
            if array.is_none() && column.has_default {
                defaults.push(Defaults { column: at, rows: BooleanBuffer::new_set(rows) });
            }
            arrays.push(match array {
                Some(array) if rows == keep.len() => array,
                Some(array) => filter(&array, keep).map_err(|error| ValueError::new("XX000", error.to_string()))?,
                None => new_null_array(field.data_type(), rows),
            });
            fields.push(field);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|error| ValueError::new("XX000", error.to_string()))?;
        let counts = Counts { documents: to_u64(keep.len()), rows: to_u64(rows), ..Counts::default() };
        let places = vec![];
        Ok(Decoded { batch, places, mentioned, defaults, changes, dead_letters, counts, end: Position::START })
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).expect("counts fit 64 bits")
}

#[cfg(test)]
mod tests;
