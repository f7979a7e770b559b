//! Strings to parts and back: split_part, string_to_array, array_to_string.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::super::call::{Call, Many, Value, fail};
use super::super::define::{Function, def};
use super::super::values::{self, Printer};
use crate::types::SqlType;

fn split_part<'a>(text: &'a str, delimiter: &str, field: i32) -> Value<&'a str> {
    if field == 0 {
        return fail("22023", "field position must not be zero");
    }
    let number = field.unsigned_abs() as usize - 1;
    if text.is_empty() {
        return Ok("");
    }
    if delimiter.is_empty() {
        return Ok(if number == 0 { text } else { "" });
    }
    let part = if field > 0 { text.split(delimiter).nth(number) } else { text.rsplit(delimiter).nth(number) };
    Ok(part.unwrap_or(""))
}

/// Without a delimiter each character is a part.
fn parts<'a>(text: &'a str, delimiter: Option<&str>, null: Option<&str>) -> Many<&'a str> {
    let keep = |part: &'a str| (Some(part) != null).then_some(part);
    Many(match delimiter {
        _ if text.is_empty() => vec![],
        None => text.char_indices().map(|(at, c)| keep(&text[at..at + c.len_utf8()])).collect(),
        Some("") => vec![keep(text)],
        Some(delimiter) => text.split(delimiter).map(keep).collect(),
    })
}

fn string_to_array(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, delimiters) = (call.column::<&str>(0)?, call.column::<&str>(1)?);
    let nulls = if call.args.len() > 2 { Some(call.column::<&str>(2)?) } else { None };
    call.collect(|row| {
        let null = nulls.as_ref().and_then(|nulls| nulls.get(row));
        Ok(texts.get(row).map(|text| parts(text, delimiters.get(row), null)))
    })
}

/// The values at the bottom of nested lists, and their type.
fn leaves(array: &ArrayRef, sql_type: SqlType) -> (ArrayRef, SqlType) {
    match (array.data_type(), sql_type) {
        (DataType::List(_), SqlType::Array(item)) => leaves(array.as_list::<i32>().values(), item.as_ref().clone()),
        (_, sql_type) => (ArrayRef::clone(array), sql_type),
    }
}

/// The leaves that belong to one value of a nested list.
fn leaf_range(array: &ArrayRef, from: usize, to: usize) -> (usize, usize) {
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let at = |index: usize| usize::try_from(list.value_offsets()[index]).unwrap_or(0);
            leaf_range(list.values(), at(from), at(to))
        }
        _ => (from, to),
    }
}

fn array_to_string(call: &Call<'_>) -> Result<ArrayRef> {
    let array = &call.args[0].array;
    let (values, sql_type) = leaves(array, call.sql_type(0));
    let printer = Printer::new(&values, &sql_type, &values::settings(call)?)?;
    let delimiters = call.column::<&str>(1)?;
    let nulls = if call.args.len() > 2 { Some(call.column::<&str>(2)?) } else { None };
    call.collect(|row| {
        let index = call.args[0].at(row);
        let Some(delimiter) = delimiters.get(row).filter(|_| array.is_valid(index)) else { return Ok(None) };
        let null = nulls.as_ref().and_then(|nulls| nulls.get(row));
        let (from, to) = leaf_range(array, index, index + 1);
        let mut out = String::new();
        let mut first = true;
        for leaf in from..to {
            if values.is_null(leaf) && null.is_none() {
                continue;
            }
            if !first {
                out.push_str(delimiter);
            }
            first = false;
            match null {
                Some(null) if values.is_null(leaf) => out.push_str(null),
                _ => printer.print(&mut out, leaf)?,
            }
        }
        Ok(Some(out))
    })
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("split_part", "The n-th part between delimiters; negative: from the end.", "split_part('a,b,c', ',', 2)")
            .on("text, text, int4 -> text", |c| c.map3(split_part)),
        def(
            "string_to_array",
            "The parts between delimiters; parts equal to the third argument become null.",
            "string_to_array('a,b', ',')",
        )
        .alias(&["string_to_list"])
        .on("text, text [, text] -> text[]", string_to_array),
        def(
            "array_to_string",
            "The elements' text with a delimiter between; nulls are left out or printed as the third argument.",
            "array_to_string(array[1, 2], '-')",
        )
        .alias(&["list_to_string", "array_join", "list_join"])
        .stable()
        .on("anyarray, text [, text] -> text", array_to_string),
    ]
}
