//! The columns of all files together: which there are, and the type of each that gives back every value as it was.
//!
//! ```text
//! bigint ─┬─▶ double precision ─▶ numeric ─┬─▶ text ─▶ jsonb
//! date ───┴─▶ timestamp, timestamptz ──────┤            ▲
//! boolean, uuid ───────────────────────────┘   arrays ──┘
//! ```

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use tidemill_ingest::{Evolve, Limits, Nested, REST, ShapeColumn, TableShape};
use tidemill_udfs::types::SqlType;

use crate::error::SqlState;
use crate::{Error, Result};

/// Rows of a batch, and bytes of documents after which one ends: a few batches per core must fit a small server's memory.
const BATCH_ROWS: usize = 16 * 1024;
/// See [`BATCH_ROWS`].
const BATCH_BYTES: usize = 4 << 20;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns {
    list: Vec<Known>,
    /// Columns that are part of the key.
    key: Vec<String>,
    /// Rows without a key are refused: all columns of the key are known.
    is_strict: bool,
}

#[derive(Debug, Clone)]
struct Known {
    column: ShapeColumn,
    /// Where it was first: file, place among the columns of that file.
    place: (usize, usize),
}

impl Columns {
    pub(super) fn new(key: &[String]) -> Self {
        Self { list: vec![], key: key.to_vec(), is_strict: false }
    }

    /// The table as decoders see it.
    pub(super) fn shape(&self) -> TableShape {
        let column = |known: &Known| {
            let is_key = self.is_strict && self.key.contains(&known.column.name);
            ShapeColumn { nullable: !is_key, ..known.column.clone() }
        };
        TableShape {
            name: "files".into(),
            columns: self.list.iter().map(column).collect(),
            evolve: Evolve::Lossless,
            nested: Nested::Jsonb,
            rest: true,
            limits: Limits { batch_rows: BATCH_ROWS, batch_bytes: BATCH_BYTES, ..Limits::default() },
        }
    }

    /// From now on rows need a key.
    ///
    /// # Errors
    /// 42703 if no file has a column of it.
    pub(super) fn require(&mut self, latest_by: Option<&str>) -> Result<()> {
        self.is_strict = true;
        for name in self.key.iter().map(String::as_str).chain(latest_by) {
            let Some(sql_type) = self.sql_type(name) else {
                let known = self.list.iter().map(|known| format!("\"{}\"", known.column.name)).collect::<Vec<_>>();
                let message = format!("no file has a column \"{name}\"");
                let error = Error::new(SqlState::UNDEFINED_COLUMN, message);
                return Err(if known.is_empty() { error } else { error.hint(known_columns(&known)) });
            };
            if matches!(sql_type, SqlType::Array(_)) || latest_by == Some(name) && *sql_type == SqlType::Jsonb {
                let message = format!("values of column \"{name}\", of type {}, have no order", sql_type.name());
                return Err(Error::new(SqlState::DATATYPE_MISMATCH, message));
            }
        }
        Ok(())
    }

    pub(super) fn sql_type(&self, name: &str) -> Option<&SqlType> {
        self.list.iter().find(|known| known.column.name == name).map(|known| &known.column.sql_type)
    }

    /// A file has a column. False: of another type than was known, which now is wider.
    pub(super) fn add(
        &mut self,
        name: &str,
        sql_type: &SqlType,
        field: Option<&str>,
        place: (usize, usize),
    ) -> Result<bool> {
        let Some(known) = self.list.iter_mut().find(|known| known.column.name == name) else {
            let field = field.filter(|_| name != REST).map(str::to_owned);
            let column = ShapeColumn { field, ..ShapeColumn::new(name, sql_type.clone()) };
            self.list.push(Known { column, place });
            return Ok(true);
        };
        known.place = known.place.min(place);
        if known.column.sql_type == *sql_type {
            return Ok(true);
        }
        self.widen(name, sql_type).map(|()| false)
    }

    /// A column meets a value of that type which it does not give back.
    ///
    /// # Errors
    /// 42804 if there is no type for all.
    pub(super) fn widen(&mut self, name: &str, found: &SqlType) -> Result<()> {
        let Some(known) = self.list.iter_mut().find(|known| known.column.name == name) else { return Ok(()) };
        let from = known.column.sql_type.clone();
        let to = match common(&from, found) {
            // It is of the type, or of a narrower one, and yet does not fit.
            same if same == from => beyond(&from),
            wider => Some(wider),
        };
        let to = to.ok_or_else(|| {
            let message = format!(
                "column \"{name}\" has values of type {} that no type keeps beside those of type {}",
                found.name(),
                from.name()
            );
            Error::new(SqlState::DATATYPE_MISMATCH, message)
        })?;
        known.column.sql_type = to;
        Ok(())
    }

    /// The columns in the order in which the files have them.
    pub(super) fn schema(&self) -> SchemaRef {
        let mut list: Vec<&Known> = self.list.iter().collect();
        list.sort_by_key(|known| known.place);
        let field = |known: &&Known| known.column.sql_type.field(&known.column.name, true);
        Arc::new(Schema::new(list.iter().map(field).collect::<Vec<Field>>()))
    }
}

fn known_columns(known: &[String]) -> String {
    // More would not be read.
    const SHOWN: usize = 20;
    let more = if known.len() > SHOWN { ", …" } else { "" };
    format!("They have {}{more}.", known[..known.len().min(SHOWN)].join(", "))
}

/// The narrowest type of our own that gives back values of both.
fn common(a: &SqlType, b: &SqlType) -> SqlType {
    use SqlType::{Array, Date, Float4, Float8, Int2, Int4, Int8, Jsonb, Numeric, Text, Timestamp, TimestampTz};
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (Jsonb | Array(_), _) | (_, Jsonb | Array(_)) => Jsonb,
        (Int2 | Int4 | Int8, Int2 | Int4 | Int8) => Int8,
        (Int2 | Int4 | Int8 | Float4 | Float8, Int2 | Int4 | Int8 | Float4 | Float8) => Float8,
        (Numeric(_) | Int2 | Int4 | Int8 | Float4 | Float8, Numeric(_) | Int2 | Int4 | Int8 | Float4 | Float8) => {
            Numeric(None)
        }
        (Date, Timestamp | TimestampTz) => b.clone(),
        (Timestamp | TimestampTz, Date) => a.clone(),
        _ => Text,
    }
}

/// The next type for values that one does not give back.
fn beyond(sql_type: &SqlType) -> Option<SqlType> {
    use SqlType::{Array, Float4, Float8, Int2, Int4, Int8, Jsonb, Numeric, Text};
    Some(match sql_type {
        Int2 | Int4 => Int8,
        Float4 => Float8,
        Int8 | Float8 | Numeric(Some(_)) => Numeric(None),
        Text | Array(_) => Jsonb,
        Jsonb => return None,
        _ => Text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_ends() {
        let all = ["bigint", "double precision", "numeric", "text", "jsonb", "date", "timestamptz", "uuid", "bigint[]"];
        let types: Vec<SqlType> = all.iter().map(|name| SqlType::parse(name).expect("a type")).collect();
        for from in &types {
            for found in &types {
                let mut columns = Columns::new(&[]);
                columns.add("c", from, None, (0, 0)).expect("added");
                let mut steps = 0;
                while columns.widen("c", found).is_ok() {
                    steps += 1;
                    assert!(steps < 8, "{from:?} {found:?}");
                }
                assert_eq!(columns.sql_type("c"), Some(&SqlType::Jsonb), "jsonb takes all");
            }
        }
    }

    #[test]
    fn what_two_types_have_in_common() {
        let cases = [
            ("bigint", "double precision", "double precision"),
            ("double precision", "numeric", "numeric"),
            ("bigint", "text", "text"),
            ("date", "timestamptz", "timestamptz"),
            ("timestamp", "timestamptz", "text"),
            ("boolean", "bigint", "text"),
            ("text", "jsonb", "jsonb"),
            ("text[]", "text", "jsonb"),
            ("integer", "smallint", "bigint"),
        ];
        for (a, b, expected) in cases {
            let [a, b, expected] = [a, b, expected].map(|name| SqlType::parse(name).expect("a type"));
            assert_eq!(common(&a, &b), expected);
            assert_eq!(common(&b, &a), expected);
        }
    }
}
