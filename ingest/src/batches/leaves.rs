//! Columns of the input as fields of documents: with `tidemill.nested = 'flatten'` the members of a struct are fields of their
//! own, as those of JSON's objects are, as deep as the table says. Lists and maps stay one value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, is_null, nullif};
use arrow::datatypes::{DataType, Field};
use tidemill_udfs::types::json::write_string;
use tidemill_udfs::types::{JsonEncoder, SqlType, TextSettings, ValueError};

use super::normal::{Normal, normal};
use crate::shape::{Nested, ShapeColumn};

/// A field and its values.
pub(super) struct Leaf {
    /// The names of the structs it is in, and its own.
    path: Vec<String>,
    pub(super) column: Normal,
}

impl Leaf {
    /// The field as a document spells it.
    pub(super) fn field(&self) -> String {
        self.path.join(".")
    }

    /// The name of its column, before it is folded.
    pub(super) fn name(&self) -> String {
        self.path.join("_")
    }
}

/// The fields of a batch, members of structs in place of these. `existing`: the column a field has already.
pub(super) fn leaves<'s>(
    batch: &RecordBatch,
    nested: Nested,
    existing: &dyn Fn(&str, &str) -> Option<&'s ShapeColumn>,
) -> Result<Vec<Leaf>, ValueError> {
    let mut leaves = vec![];
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        push(&mut vec![field.name().clone()], field, array, (nested, existing), &mut leaves)?;
    }
    Ok(leaves)
}

type Rules<'r, 's> = (Nested, &'r dyn Fn(&str, &str) -> Option<&'s ShapeColumn>);

fn push(
    path: &mut Vec<String>,
    field: &Field,
    array: &ArrayRef,
    rules: Rules<'_, '_>,
    leaves: &mut Vec<Leaf>,
) -> Result<(), ValueError> {
    let (nested, existing) = rules;
    let depth_max = match nested {
        Nested::Jsonb => 0,
        Nested::Flatten { depth } => depth,
    };
    let is_json = || {
        let column = existing(&path.join("."), &path.join("_"));
        column.is_some_and(|column| matches!(column.sql_type, SqlType::Json | SqlType::Jsonb))
    };
    match array.data_type() {
        // A struct without members is an empty object: a value.
        DataType::Struct(members) if path.len() <= depth_max && !members.is_empty() && !is_json() => {
            for (member, values) in members.iter().zip(array.as_struct().columns()) {
                path.push(member.name().clone());
                push(path, member, &within(values, array)?, rules, leaves)?;
                path.pop();
            }
        }
        _ => leaves.push(Leaf { path: path.clone(), column: normal(field, array)? }),
    }
    Ok(())
}

/// A member's values, NULL where its struct is.
fn within(values: &ArrayRef, object: &ArrayRef) -> Result<ArrayRef, ValueError> {
    let internal = |error: arrow::error::ArrowError| ValueError::new("XX000", error.to_string());
    if object.null_count() == 0 {
        return Ok(Arc::clone(values));
    }
    let values = match values.data_type() {
        // It has no bits for NULL of its own.
        DataType::RunEndEncoded(_, plain) => cast(values, plain.data_type()).map_err(internal)?,
        _ => Arc::clone(values),
    };
    nullif(&values, &is_null(object).map_err(internal)?).map_err(internal)
}

/// Writes rows of fields as JSON objects, without what is NULL; members of structs below their own objects.
pub(super) struct Documents<'l> {
    members: Vec<(&'l Leaf, JsonEncoder)>,
}

impl<'l> Documents<'l> {
    pub(super) fn new(leaves: impl Iterator<Item = &'l Leaf>, settings: &TextSettings) -> Result<Self, ValueError> {
        let member =
            |leaf: &'l Leaf| Ok((leaf, JsonEncoder::new(&leaf.column.array, &leaf.column.sql_type, settings)?));
        Ok(Self { members: leaves.map(member).collect::<Result<_, ValueError>>()? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The row's object.
    pub(super) fn write(&self, row: usize) -> String {
        let mut out = b"{".to_vec();
        let mut open: &[String] = &[];
        for (leaf, encoder) in self.members.iter().filter(|(leaf, _)| leaf.column.array.is_valid(row)) {
            let (name, objects) = leaf.path.split_last().expect("a field has a name");
            let shared = open.iter().zip(objects).take_while(|(a, b)| a == b).count();
            out.extend(std::iter::repeat_n(b'}', open.len() - shared));
            for object in &objects[shared..] {
                key(object, &mut out);
                out.push(b'{');
            }
            open = objects;
            key(name, &mut out);
            encoder.write(row, &mut out);
        }
        out.extend(std::iter::repeat_n(b'}', open.len() + 1));
        String::from_utf8(out).expect("made of UTF-8")
    }
}

fn key(name: &str, out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write_string(name, out);
    out.push(b':');
}
