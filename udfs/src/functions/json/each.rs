//! json_each and its kin: an object's members as an array of rows (key, value), for the planner to unnest.

use std::sync::Arc;

use arrow::array::{ArrayBuilder, ArrayRef, ListArray, NullBufferBuilder, StringViewBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion_common::{Result, exec_err};
use datafusion_expr::ReturnFieldArgs;

use super::super::call::{Call, error};
use super::super::define::{Function, def};
use super::scan::{self, Kind};
use crate::types::SqlType;

/// An array of rows with a text key and a value of that type.
fn rows_of(value: &SqlType) -> Result<FieldRef> {
    let fields = Fields::from(vec![SqlType::Text.field("key", true), value.field("value", true)]);
    let item = Field::new(Field::LIST_FIELD_DEFAULT_NAME, DataType::Struct(fields), true);
    Ok(Arc::new(Field::new_list("members", item, true)))
}

fn of_json(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    rows_of(&SqlType::Json)
}

fn of_jsonb(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    rows_of(&SqlType::Jsonb)
}

fn of_text(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    rows_of(&SqlType::Text)
}

/// The members of every row's object; `as_text` gives strings without quotes and null for null.
fn each(call: &Call<'_>, name: &str, as_text: bool) -> Result<ArrayRef> {
    let DataType::List(item) = call.returns.data_type() else {
        return exec_err!("{name} gives an array, not {}", call.returns.data_type());
    };
    let DataType::Struct(fields) = item.data_type() else {
        return exec_err!("{name} gives rows, not {}", item.data_type());
    };
    let values = call.column::<&str>(0)?;
    let (mut keys, mut members) = (StringViewBuilder::new(), StringViewBuilder::new());
    let mut nulls = NullBufferBuilder::new(call.rows);
    let mut lengths = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let Some(json) = values.get(row) else {
            nulls.append_null();
            lengths.push(0);
            continue;
        };
        match (scan::kind(json), name.starts_with("jsonb")) {
            (Kind::Object, _) => {}
            (Kind::Array, false) => return Err(error("22023", "cannot deconstruct an array as an object")),
            (_, false) => return Err(error("22023", "cannot deconstruct a scalar")),
            (_, true) => return Err(error("22023", format!("cannot call {name} on a non-object"))),
        }
        let before = keys.len();
        for (key, value) in scan::members(json) {
            keys.append_value(scan::unescape(key));
            if as_text {
                members.append_option(scan::as_text(value));
            } else {
                members.append_value(value);
            }
        }
        nulls.append_non_null();
        lengths.push(keys.len() - before);
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(keys.finish()), Arc::new(members.finish())];
    let rows = StructArray::try_new(fields.clone(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, Arc::new(rows), nulls.finish())?))
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("json_each", "The members of an object, as an array of rows (key, value).", "json_each('{\"a\": 1}')")
            .computed("json -> record[]", of_json, |c| each(c, "json_each", false)),
        def("jsonb_each", "The members of an object, as an array of rows (key, value).", "jsonb_each('{\"a\": 1}')")
            .computed("jsonb -> record[]", of_jsonb, |c| each(c, "jsonb_each", false)),
        def(
            "json_each_text",
            "The members of an object, values as text, as an array of rows.",
            "json_each_text('{\"a\": 1}')",
        )
        .computed("json -> record[]", of_text, |c| each(c, "json_each_text", true)),
        def(
            "jsonb_each_text",
            "The members of an object, values as text, as an array of rows.",
            "jsonb_each_text('{\"a\": 1}')",
        )
        .computed("jsonb -> record[]", of_text, |c| each(c, "jsonb_each_text", true)),
    ]
}
