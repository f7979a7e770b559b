//! Tables for tests, and what came of documents as text.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::Field;
use tidemill_udfs::types::{ColumnEncoder, SqlType, TextSettings};

use crate::{Decoded, Evolve, Limits, Nested, SchemaChange, ShapeColumn, TableShape};

/// A table of these columns: `name type`, with `not null` and `default` behind.
pub(crate) fn table(columns: &[&str]) -> TableShape {
    let column = |text: &&str| {
        let (name, rest) = text.split_once(' ').unwrap();
        let (rest, has_default) = rest.strip_suffix(" default").map_or((rest, false), |rest| (rest, true));
        let (rest, nullable) = rest.strip_suffix(" not null").map_or((rest, true), |rest| (rest, false));
        ShapeColumn { nullable, has_default, ..ShapeColumn::new(name, SqlType::parse(rest).unwrap()) }
    };
    TableShape {
        name: "t".into(),
        columns: columns.iter().map(column).collect(),
        evolve: Evolve::Off,
        nested: Nested::Jsonb,
        rest: true,
        limits: Limits::default(),
    }
}

pub(crate) fn adding(columns: &[&str]) -> TableShape {
    TableShape { evolve: Evolve::AddColumns, ..table(columns) }
}

pub(crate) fn flattening(depth: usize, columns: &[&str]) -> TableShape {
    TableShape { nested: Nested::Flatten { depth }, ..adding(columns) }
}

/// Exactly-once accounting.
pub(crate) fn check_counts(decoded: &Decoded) {
    let dead = u64::try_from(decoded.dead_letters.len()).unwrap();
    assert_eq!(decoded.counts.documents, decoded.counts.rows + dead, "each document is a row or a dead letter");
    assert_eq!(decoded.counts.rows, u64::try_from(decoded.batch.num_rows()).unwrap());
}

/// The text of a value; `∅` for NULL.
pub(crate) fn text_of(array: &ArrayRef, field: &Field, row: usize) -> String {
    if array.is_null(row) {
        return "∅".into();
    }
    let encoder = ColumnEncoder::new(array, &SqlType::of_field(field), &TextSettings::default()).unwrap();
    let mut text = vec![];
    encoder.write_text(row, &mut text);
    String::from_utf8(text).unwrap()
}

/// What came of documents, for people: changes, rows as `name=value` of what they mention, dead letters.
pub(crate) fn shown(all: &[Decoded]) -> String {
    let mut out = String::new();
    for decoded in all {
        for change in &decoded.changes {
            match change {
                SchemaChange::AddColumn { name, sql_type, field, collides_with, .. } => {
                    write!(out, "+ {name} {}", sql_type.name()).unwrap();
                    if field != name {
                        write!(out, " for {}", if field.is_empty() { "\"\"" } else { field }).unwrap();
                    }
                    if let Some(other) = collides_with {
                        write!(out, " beside {other}").unwrap();
                    }
                    out.push('\n');
                }
                SchemaChange::WidenColumn { name, from, to, .. } => {
                    writeln!(out, "~ {name} {} → {}", from.name(), to.name()).unwrap();
                }
            }
        }
        for row in 0..decoded.batch.num_rows() {
            let schema = decoded.batch.schema();
            let columns = schema.fields().iter().zip(decoded.batch.columns());
            let values = columns.enumerate().filter(|(at, _)| decoded.mentioned[*at]).map(|(at, (field, array))| {
                let is_default = decoded.defaults.iter().any(|d| d.column == at && d.rows.value(row));
                let text = if is_default { "default".to_owned() } else { text_of(array, field, row) };
                format!("{}={text}", field.name())
            });
            writeln!(out, "{}", values.collect::<Vec<_>>().join(" ")).unwrap();
        }
        for letter in &decoded.dead_letters {
            let column = letter.column.as_ref().map_or(String::new(), |column| format!(" {column}"));
            let detail = letter.error.detail.as_ref().map_or(String::new(), |detail| format!(" ({detail})"));
            writeln!(out, "! {}{column}: {}{detail}", letter.error.code, letter.error.message).unwrap();
        }
    }
    out
}
