//! Arrow batches: columns are matched with the table's by name, converted as a whole where their types allow it, and value
//! by value where not. A row with a value that has no place in its column is a dead letter, as a JSON document.
//!
//! ```text
//! bytes → [stream] → batches → BatchDecoder (match → [normal] → [convert]) → Decoded
//! ```
//! Files and streams say types themselves: nothing is inferred, and a new column has the type of its values even where all
//! of them are NULL.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter;
use arrow::datatypes::{Field, Schema};
use tidemill_udfs::types::json::{canonical, write_string};
use tidemill_udfs::types::{ColumnEncoder, JsonEncoder, SqlType, TextSettings, ValueError};

use crate::name::{candidates, folded};
use crate::outcome::{Counts, DeadLetter, Decoded, Defaults, Position, SchemaChange, reason, sample};
use crate::shape::{Evolve, REST, ShapeColumn, TableShape};

mod convert;
mod normal;
mod stream;

pub use stream::ArrowReader;

use normal::{Normal, normal};

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
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, array)| normal(field, array)).collect::<Result<Vec<_>, _>>()?;
        let mut changes = vec![];
        let places = self.places(&schema, &columns, &mut changes)?;
        let rows = batch.num_rows();
        let mut converted: Vec<Option<ArrayRef>> = vec![None; self.shape.columns.len()];
        let mut faults: Vec<Option<(String, ValueError)>> = vec![None; rows];
        for ((place, column), field) in places.iter().zip(&columns).zip(schema.fields()) {
            for (row, error) in &column.faults {
                faults[*row].get_or_insert_with(|| (field.name().clone(), error.clone()));
            }
            let Place::Column(at) = place else { continue };
            let target = &self.shape.columns[*at];
            let Converted { array, faults: found } = convert::convert(column, &target.sql_type, &self.settings)?;
            for (row, error) in found {
                faults[row].get_or_insert_with(|| (target.name.clone(), error));
            }
            converted[*at] = Some(array);
        }
        self.add_rest(&places, &schema, &columns, rows, &mut converted)?;
        let dead_letters = self.dead_letters(&schema, &columns, &faults)?;
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

    /// Finds or makes a place for every column of the input.
    fn places(
        &mut self,
        schema: &Schema,
        columns: &[Normal],
        changes: &mut Vec<SchemaChange>,
    ) -> Result<Vec<Place>, ValueError> {
        let mut taken: HashMap<usize, &str> = HashMap::new();
        let mut places = vec![];
        for (field, column) in schema.fields().iter().zip(columns) {
            let place = match self.existing(field.name()) {
                Some(at) => Place::Column(at),
                None if column.is_nothing() => Place::Nowhere,
                None => self.new_place(field, column, changes)?,
            };
            if let Place::Column(at) = place
                && let Some(other) = taken.insert(at, field.name())
            {
                let (one, name) = (field.name(), &self.shape.columns[at].name);
                let message = format!("columns \"{other}\" and \"{one}\" are both column \"{name}\" of the table");
                return Err(ValueError::new("42701", message));
            }
            places.push(place);
        }
        Ok(places)
    }

    /// The column of the table that has the name: as it was added, as it is spelled, as PostgreSQL folds it.
    fn existing(&self, name: &str) -> Option<usize> {
        let columns = &self.shape.columns;
        let usable = |column: &ShapeColumn| column.name != REST;
        let at = |is: &dyn Fn(&ShapeColumn) -> bool| columns.iter().position(|column| usable(column) && is(column));
        let folded = folded(name);
        at(&|column| column.field.as_deref() == Some(name))
            .or_else(|| at(&|column| column.name == name))
            .or_else(|| at(&|column| column.name == folded && column.field.is_none()))
    }

    fn new_place(
        &mut self,
        field: &Field,
        column: &Normal,
        changes: &mut Vec<SchemaChange>,
    ) -> Result<Place, ValueError> {
        let evolves = self.shape.evolve != Evolve::Off;
        let known = |name: &str| self.shape.columns.iter().any(|column| column.name == name);
        let limits = &self.shape.limits;
        let room = self.shape.columns.len() < limits.columns_max;
        let name = candidates(&folded(field.name()), None)
            .find(|name| name.len() <= limits.name_bytes_max && !known(name) && name != REST && !name.contains('\0'));
        if let (true, true, Some(name)) = (evolves, room, name) {
            changes.push(SchemaChange::AddColumn {
                name: name.clone(),
                sql_type: column.wanted.clone(),
                field: field.name().clone(),
                sample: self.sample_of(column)?,
                collides_with: None,
            });
            let added = ShapeColumn::new(name, column.wanted.clone());
            self.shape.columns.push(ShapeColumn { field: Some(field.name().clone()), ..added });
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
                field: field.name().clone(),
                sample: self.sample_of(column)?,
                collides_with: None,
            });
            self.shape.columns.push(ShapeColumn::new(REST, SqlType::Jsonb));
            return Ok(Place::Rest);
        }
        let message = format!("column \"{}\" of relation \"{}\" does not exist", field.name(), self.shape.name);
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

    /// The values of columns without a place, as the objects of `_rest`.
    fn add_rest(
        &self,
        places: &[Place],
        schema: &Schema,
        columns: &[Normal],
        rows: usize,
        converted: &mut Vec<Option<ArrayRef>>,
    ) -> Result<(), ValueError> {
        converted.resize(self.shape.columns.len(), None);
        let members = places.iter().zip(schema.fields()).zip(columns);
        let members = members.filter(|((place, _), _)| matches!(place, Place::Rest));
        let encoders = members.map(|((_, field), column)| {
            Ok((field.name(), &column.array, JsonEncoder::new(&column.array, &column.sql_type, &self.settings)?))
        });
        let encoders = encoders.collect::<Result<Vec<_>, ValueError>>()?;
        let Some(at) =
            self.shape.columns.iter().position(|column| column.name == REST).filter(|_| !encoders.is_empty())
        else {
            return Ok(());
        };
        let mut builder = arrow::array::StringViewBuilder::with_capacity(rows);
        for row in 0..rows {
            let object = object(encoders.iter().map(|(name, array, encoder)| (name.as_str(), *array, encoder)), row);
            if object == "{}" { builder.append_null() } else { builder.append_value(canonical(&object)?) }
        }
        converted[at] = Some(Arc::new(builder.finish()));
        Ok(())
    }

    fn dead_letters(
        &self,
        schema: &Schema,
        columns: &[Normal],
        faults: &[Option<(String, ValueError)>],
    ) -> Result<Vec<DeadLetter>, ValueError> {
        if faults.iter().all(Option::is_none) {
            return Ok(vec![]);
        }
        let encoders = columns.iter().map(|column| JsonEncoder::new(&column.array, &column.sql_type, &self.settings));
        let encoders = encoders.collect::<Result<Vec<_>, _>>()?;
        let members =
            || schema.fields().iter().zip(columns).zip(&encoders).map(|((f, c), e)| (f.name().as_str(), &c.array, e));
        let letters = faults.iter().enumerate().filter_map(|(row, fault)| {
            let (column, error) = fault.clone()?;
            let raw = object(members(), row).into_bytes();
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

/// A row of columns as a JSON object, without what is NULL.
fn object<'a>(members: impl Iterator<Item = (&'a str, &'a ArrayRef, &'a JsonEncoder)>, row: usize) -> String {
    let mut out = b"{".to_vec();
    for (name, _, encoder) in members.filter(|(_, array, _)| array.is_valid(row)) {
        if out.len() > 1 {
            out.push(b',');
        }
        write_string(name, &mut out);
        out.push(b':');
        encoder.write(row, &mut out);
    }
    out.push(b'}');
    String::from_utf8(out).expect("made of UTF-8")
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).expect("counts fit 64 bits")
}

#[cfg(test)]
mod tests;
