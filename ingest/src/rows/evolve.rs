//! Columns for fields that have none, wider types for values that do not fit, and `_rest` for what can have neither.

use tidemill_udfs::types::{SqlType, ValueError};

use super::column::Column;
use super::convert::Conversion;
use super::fields::{ROOT, Target};
use super::infer::{gives_back, infer, wider_in_batch, wider_in_table};
use super::slot::Slot;
use super::{RowFault, Rows, UNSET};
use crate::name::candidates;
use crate::outcome::{SchemaChange, sample};
use crate::shape::{Evolve, REST};
use crate::value::Value;

impl Rows {
    /// A value of a field that is not known to have a column.
    #[cold]
    #[inline(never)]
    pub(super) fn set_unknown(&mut self, doc: &str, field: usize, value: Value) -> Result<(), Box<RowFault>> {
        let target = self.fields.get(field).target;
        if target == Target::New && value == Value::Null {
            return Ok(());
        }
        if target != Target::Rest
            && let Some((column, exact)) = self.existing(field)
        {
            // Too many fields to remember them all: what cannot be told apart later must not share a column.
            let Some(field) = self.fields.keep(field) else { return self.without_column(doc, field, value, None) };
            let known = self.fields.get_mut(field);
            (known.target, known.exact) = (Target::Column(column), exact);
            return self.set_column(doc, field, column, value);
        }
        if value == Value::Null {
            // The last of equal keys wins, NULL too.
            if self.fields.may_repeat(field) && !self.rest.is_empty() {
                return self.add_rest(doc, field, value);
            }
            if target == Target::Unknown {
                self.fields.get_mut(field).target = Target::New;
            }
            return Ok(());
        }
        if target == Target::Rest {
            return self.without_column(doc, field, value, None);
        }
        self.add_column(doc, field, value, None)
    }

    /// The column that a field has by its name, and whether it is the field's own.
    pub(super) fn existing(&self, field: usize) -> Option<(usize, bool)> {
        let usable = |column: &usize| Some(*column) != self.rest_column;
        if let Some(column) = self.by_field.get(&self.fields.path(field, ".")).filter(|column| usable(column)) {
            return Some((*column, true));
        }
        let exact = self.fields.path(field, "_");
        // A column that is known to be another field's is not this one's.
        let others = |column: &usize| {
            let owner = self.columns[*column].field.as_deref();
            owner.is_some_and(|owner| self.by_field.get(owner) == Some(column))
                && owner != Some(&*self.fields.path(field, "."))
        };
        if let Some(column) = self.by_name.get(&exact).filter(|column| usable(column)) {
            return Some((*column, self.fields.get(field).node == ROOT && !others(column)));
        }
        let folded = self.fields.folded_name(field);
        self.by_name.get(&folded).filter(|column| usable(column)).map(|column| (*column, false))
    }

    /// Makes a column for a field. `taken`: the column it would have had if another field had not been there.
    fn add_column(&mut self, doc: &str, field: usize, value: Value, taken: Option<usize>) -> Result<(), Box<RowFault>> {
        if self.shape.evolve == Evolve::Off {
            let table = &self.shape.name;
            let message =
                format!("column \"{}\" of relation \"{table}\" does not exist", self.fields.folded_name(field));
            return self.without_column(doc, field, value, Some(ValueError::new("42703", message)));
        }
        let columns_max = self.shape.limits.columns_max;
        if self.columns.len() >= columns_max {
            let message = format!("tables can have at most {columns_max} columns");
            return self.without_column(doc, field, value, Some(ValueError::new("54011", message)));
        }
        let exact = self.fields.path(field, "_");
        let folded = self.fields.folded_name(field);
        let bytes_max = self.shape.limits.name_bytes_max;
        let mut names = candidates(&folded, taken.map(|_| exact.as_str()));
        let name = names.find(|name| name.len() <= bytes_max && !self.by_name.contains_key(name) && name != REST);
        let Some((name, field)) = name.zip(self.fields.keep(field)) else {
            let message = format!("the name of field \"{}\" cannot be one of a column", sample(&exact));
            return self.without_column(doc, field, value, Some(ValueError::new("42622", message)));
        };
        let path = self.fields.path(field, ".");
        let (sql_type, slot) = self.typed(doc, &name, &path, value)?;
        let column = self.columns.len();
        self.columns.push(Column::added(name.clone(), &sql_type, path.clone(), self.changes.len()));
        self.cells.push(UNSET);
        self.values.push(Value::Null);
        self.by_name.insert(name.clone(), column);
        self.by_field.insert(path.clone(), column);
        self.changes.push(SchemaChange::AddColumn {
            name,
            sql_type,
            field: path,
            sample: self.sample(doc, value),
            collides_with: taken.map(|taken| self.columns[taken].name.clone()),
        });
        let known = self.fields.get_mut(field);
        (known.target, known.exact) = (Target::Column(column), true);
        self.resolved.push(field);
        self.values[column] = value;
        self.fill(column, field, slot);
        Ok(())
    }

    /// The type for a new column's first value, and the value in it.
    fn typed(&mut self, doc: &str, name: &str, path: &str, value: Value) -> Result<(SqlType, Slot), Box<RowFault>> {
        let announced = self.announced.get(path).cloned();
        let mut conversion = self.conversion(doc);
        if let Some(sql_type) = announced {
            let slot = conversion.convert(&Column::target(&sql_type), &value);
            return slot
                .map(|slot| (sql_type, slot))
                .map_err(|error| Box::new(RowFault { error, column: Some(name.to_owned()) }));
        }
        let inferred = infer(value, &mut conversion).unwrap_or(SqlType::Text);
        let target = Column::target(&inferred);
        let slot = conversion.convert(&target, &value).map(|slot| (inferred, slot));
        // What one type cannot hold, jsonb can.
        slot.or_else(|_| {
            let target = Column::target(&SqlType::Jsonb);
            conversion.convert(&target, &value).map(|slot| (SqlType::Jsonb, slot))
        })
        .map_err(|error| Box::new(RowFault { error, column: Some(name.to_owned()) }))
    }

    /// The row gave a field twice whose column is made for this row: only the last value counts.
    #[cold]
    pub(super) fn type_again(
        &mut self,
        doc: &str,
        field: usize,
        column: usize,
        value: Value,
    ) -> Result<(), Box<RowFault>> {
        if value == Value::Null {
            self.values[column] = value;
            self.fill(column, field, Slot::Null);
            return Ok(());
        }
        let name = self.columns[column].name.clone();
        let path = self.fields.path(field, ".");
        let (found, slot) = self.typed(doc, &name, &path, value)?;
        self.columns[column].set_type(&found);
        let new_sample = self.sample(doc, value);
        let change = self.columns[column].added.and_then(|change| self.changes.get_mut(change));
        if let Some(SchemaChange::AddColumn { sql_type, sample, .. }) = change {
            (*sql_type, *sample) = (found, new_sample);
        }
        self.values[column] = value;
        self.fill(column, field, slot);
        Ok(())
    }

    /// Two fields of one document have the same column. The one that is spelled as the column keeps it, else the first.
    #[cold]
    #[inline(never)]
    pub(super) fn collide(
        &mut self,
        doc: &str,
        field: usize,
        column: usize,
        value: Value,
    ) -> Result<(), Box<RowFault>> {
        let holder = self.cells[column].field;
        let newcomer_owns = self.fields.get(field).exact && !self.fields.get(holder).exact;
        if newcomer_owns {
            let slot = self.convert(doc, column, &value)?;
            let displaced = std::mem::replace(&mut self.values[column], value);
            self.fill(column, field, slot);
            self.displace(doc, holder, column, displaced)
        } else {
            self.displace(doc, field, column, value)
        }
    }

    fn displace(&mut self, doc: &str, field: usize, taken: usize, value: Value) -> Result<(), Box<RowFault>> {
        if value == Value::Null {
            return Ok(());
        }
        self.add_column(doc, field, value, Some(taken))
    }

    /// The value goes to `_rest`; without it the row is refused, with that error.
    fn without_column(
        &mut self,
        doc: &str,
        field: usize,
        value: Value,
        error: Option<ValueError>,
    ) -> Result<(), Box<RowFault>> {
        if self.has_rest() {
            self.fields.get_mut(field).target = Target::Rest;
            self.resolved.push(field);
            return self.add_rest(doc, field, value);
        }
        let column = self.fields.path(field, ".");
        let error = error.unwrap_or_else(|| {
            ValueError::new("54011", format!("tables can have at most {} columns", self.shape.limits.columns_max))
        });
        Err(Box::new(RowFault { error, column: Some(column) }))
    }

    /// There is a catch-all column, or there may be.
    pub(super) fn has_rest(&self) -> bool {
        self.rest_column.is_some()
            || (self.shape.rest && self.shape.evolve != Evolve::Off && !self.by_name.contains_key(REST))
    }

    pub(super) fn add_rest(&mut self, doc: &str, field: usize, value: Value) -> Result<(), Box<RowFault>> {
        if self.rest_column.is_none() {
            let column = self.columns.len();
            self.columns.push(Column::added(REST.to_owned(), &SqlType::Jsonb, REST.to_owned(), self.changes.len()));
            self.columns[column].field = None;
            self.cells.push(UNSET);
            self.values.push(Value::Null);
            self.by_name.insert(REST.to_owned(), column);
            self.rest_column = Some(column);
            self.changes.push(SchemaChange::AddColumn {
                name: REST.to_owned(),
                sql_type: SqlType::Jsonb,
                field: self.fields.path(field, "."),
                sample: self.sample(doc, value),
                collides_with: None,
            });
        }
        self.counts.rest_values += 1;
        self.rest.add(&self.fields, field, value, doc, &self.scratch);
        Ok(())
    }

    /// [`Evolve::Lossless`]: the value in the column, if that gives it back as it was.
    pub(super) fn convert_lossless(&mut self, doc: &str, column: usize, value: Value) -> Result<Slot, Box<RowFault>> {
        let target = &self.columns[column].target;
        let Self { scratch, settings, json_strings, .. } = self;
        let mut conversion = Conversion { doc, scratch, settings, json_strings: *json_strings };
        if gives_back(target, value, &mut conversion)
            && let Ok(slot) = conversion.convert(target, &value)
        {
            return Ok(slot);
        }
        let found = infer(value, &mut conversion);
        if self.columns[column].added.is_some()
            && let Some(slot) = self.widen_for(doc, column, value)
        {
            return Ok(slot);
        }
        let Column { name, target, .. } = &self.columns[column];
        let found = found.unwrap_or(SqlType::Text);
        let message = format!(
            "column \"{name}\" is of type {} but the value is of type {}",
            target.sql_type.name(),
            found.name()
        );
        self.misfit = Some(found);
        Err(Box::new(RowFault { error: ValueError::new("42804", message), column: Some(name.clone()) }))
    }

    /// A wider type for the column, so that it takes the value: the value in it. `None` if there is none.
    #[cold]
    #[inline(never)]
    pub(super) fn widen_for(&mut self, doc: &str, column: usize, value: Value) -> Option<Slot> {
        let from = self.columns[column].target.sql_type.clone();
        let found = infer(value, &mut self.conversion(doc))?;
        let added = self.columns[column].added;
        let mut types = if added.is_some() { wider_in_batch(&from, &found) } else { wider_in_table(&from, &found) };
        if added.is_some() && matches!(value, Value::Untyped(_)) {
            types.push(SqlType::Text);
        }
        for to in types.iter().filter(|to| **to != from) {
            let target = Column::target(to);
            let Ok(slot) = self.conversion(doc).convert(&target, &value) else { continue };
            // A double keeps more than a real in any case.
            if from != SqlType::Float4 && !super::infer::keeps(to, value, doc, &self.scratch) {
                continue;
            }
            if self.columns[column].widen(to, &self.settings) {
                self.record_widening(column, from, to, self.sample(doc, value));
                return Some(slot);
            }
        }
        None
    }

    fn record_widening(&mut self, column: usize, from: SqlType, to: &SqlType, new_sample: String) {
        let column = &mut self.columns[column];
        match column.added.or(column.widened).and_then(|change| self.changes.get_mut(change)) {
            Some(SchemaChange::AddColumn { sql_type, .. }) => *sql_type = to.clone(),
            Some(SchemaChange::WidenColumn { to: wider, sample, .. }) => {
                (*wider, *sample) = (to.clone(), new_sample);
            }
            None => {
                column.widened = Some(self.changes.len());
                let name = column.name.clone();
                self.changes.push(SchemaChange::WidenColumn { name, from, to: to.clone(), sample: new_sample });
            }
        }
    }

    fn conversion<'a>(&'a mut self, doc: &'a str) -> Conversion<'a> {
        Conversion { doc, scratch: &mut self.scratch, settings: &self.settings, json_strings: self.json_strings }
    }

    fn sample(&self, doc: &str, value: Value) -> String {
        match value {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => sample(self.scratch.text(doc, number.span)),
            Value::Text(span) | Value::Untyped(span) | Value::Array(span) | Value::Object(span) => {
                sample(self.scratch.text(doc, span))
            }
            Value::Instant(us) => us.to_string(),
        }
    }
}
