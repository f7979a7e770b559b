//! Making JSON of SQL values: to_json, row_to_json, json_build_object, json_build_array, json_object and the jsonb forms.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field};
use datafusion_common::Result;

use super::super::call::{Call, Texts, Value, fail};
use super::super::define::{Function, def};
use super::super::values::Printer;
use super::value::{Json, quote};
use crate::types::{SqlType, TextSettings, ValueError};

/// Writes the values of one array as JSON.
pub(crate) struct Writer {
    array: ArrayRef,
    form: Form,
}

enum Form {
    /// Printed as it is: 12
    Bare(Printer),
    Bool,
    /// A float: bare unless NaN or infinite.
    Float(Printer),
    /// In quotes.
    Quoted(Printer),
    Text,
    /// JSON text as stored.
    Json,
    /// Timestamps have a T in the middle.
    Timestamp(Printer),
    Array(Box<Writer>),
    Object(Vec<(String, Writer)>),
}

impl Writer {
    /// A writer of the array's values.
    pub(crate) fn new(array: &ArrayRef, field: &Field, settings: &TextSettings) -> Result<Self> {
        let sql_type = SqlType::of_field(field);
        let printer = || Printer::new(array, &sql_type, settings);
        let form = match &sql_type {
            SqlType::Bool => Form::Bool,
            SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Numeric(_) => Form::Bare(printer()?),
            SqlType::Float4 | SqlType::Float8 => Form::Float(printer()?),
            SqlType::Json | SqlType::Jsonb => Form::Json,
            SqlType::Timestamp | SqlType::TimestampTz => Form::Timestamp(printer()?),
            SqlType::Array(_) | SqlType::Record => match array.data_type() {
                DataType::List(item) => {
                    Form::Array(Box::new(Self::new(array.as_list::<i32>().values(), item, settings)?))
                }
                DataType::Struct(fields) => Form::Object(
                    fields
                        .iter()
                        .zip(array.as_struct().columns())
                        .map(|(field, column)| Ok((field.name().clone(), Self::new(column, field, settings)?)))
                        .collect::<Result<_>>()?,
                ),
                _ => Form::Quoted(printer()?),
            },
            _ if *array.data_type() == DataType::Utf8View => Form::Text,
            _ => Form::Quoted(printer()?),
        };
        Ok(Self { array: ArrayRef::clone(array), form })
    }

    /// Writes a value; `comma` separates members of composites.
    pub(crate) fn write(&self, out: &mut String, index: usize, comma: &str) -> Value<()> {
        if self.array.is_null(index) || *self.array.data_type() == DataType::Null {
            out.push_str("null");
            return Ok(());
        }
        match &self.form {
            Form::Bool => out.push_str(self.bool(index)),
            Form::Bare(printer) => printer.print(out, index)?,
            Form::Float(printer) => {
                let from = out.len();
                printer.print(out, index)?;
                if !out.ends_with(|last: char| last.is_ascii_digit()) {
                    out.insert(from, '"');
                    out.push('"');
                }
            }
            Form::Quoted(printer) => {
                let mut text = String::new();
                printer.print(&mut text, index)?;
                quote(out, &text);
            }
            Form::Timestamp(printer) => {
                let mut text = String::new();
                printer.print(&mut text, index)?;
                quote(out, &iso_timestamp(&text));
            }
            Form::Text => quote(out, self.array.as_string_view().value(index)),
            Form::Json => out.push_str(self.array.as_string_view().value(index)),
            Form::Array(elements) => {
                let offsets = self.array.as_list::<i32>().value_offsets();
                let (from, to) = (offset(offsets[index]), offset(offsets[index + 1]));
                out.push('[');
                for element in from..to {
                    if element > from {
                        out.push_str(comma);
                    }
                    elements.write(out, element, ",")?;
                }
                out.push(']');
            }
            Form::Object(members) => {
                out.push('{');
                for (number, (name, member)) in members.iter().enumerate() {
                    if number > 0 {
                        out.push_str(comma);
                    }
                    quote(out, name);
                    out.push(':');
                    member.write(out, index, ",")?;
                }
                out.push('}');
            }
        }
        Ok(())
    }

    fn bool(&self, index: usize) -> &'static str {
        if self.array.as_boolean().value(index) { "true" } else { "false" }
    }

    /// True if a value may take several members, so that json_agg puts it on a line of its own.
    pub(crate) fn is_composite(&self) -> bool {
        matches!(self.form, Form::Array(_) | Form::Object(_))
    }

    /// Writes a value as an object's key.
    pub(crate) fn write_key(&self, out: &mut String, index: usize) -> Value<()> {
        let text = match &self.form {
            Form::Bool => self.bool(index).to_owned(),
            Form::Text => self.array.as_string_view().value(index).to_owned(),
            Form::Bare(printer) | Form::Float(printer) | Form::Quoted(printer) | Form::Timestamp(printer) => {
                let mut text = String::new();
                printer.print(&mut text, index)?;
                text
            }
            Form::Json | Form::Array(_) | Form::Object(_) => {
                return fail("22023", "key value must be scalar, not array, composite, or json");
            }
        };
        quote(out, &text);
        Ok(())
    }
}

/// List offsets are never negative.
fn offset(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or(0)
}

/// `2024-01-02 03:04:05+00` as `2024-01-02T03:04:05+00:00`.
fn iso_timestamp(text: &str) -> String {
    let Some((date, time)) = text.split_once(' ') else { return text.to_owned() };
    let zone = time.find(['+', '-']);
    let minutes = zone.is_some_and(|at| !time[at..].contains(':'));
    format!("{date}T{time}{}", if minutes { ":00" } else { "" })
}

fn writers(call: &Call<'_>) -> Result<Vec<Writer>> {
    let settings = super::super::values::settings(call)?;
    call.args.iter().zip(call.fields).map(|(arg, field)| Writer::new(&arg.array, field, &settings)).collect()
}

/// JSON text as jsonb has it.
pub(crate) fn to_jsonb(text: &str) -> Value<String> {
    Ok(Json::parse(text)?.normalise().to_jsonb_text())
}

fn finish(text: String, binary: bool) -> Value<String> {
    if binary { to_jsonb(&text) } else { Ok(text) }
}

fn to_json(call: &Call<'_>, binary: bool, pretty: bool) -> Result<ArrayRef> {
    let writers = writers(call)?;
    let lines = if pretty && call.args.len() > 1 { Some(call.column::<bool>(1)?) } else { None };
    call.collect(|row| {
        let index = call.args[0].at(row);
        if writers[0].array.is_null(index) || *writers[0].array.data_type() == DataType::Null {
            return Ok(None);
        }
        let comma = match &lines {
            None => ",",
            Some(lines) => match lines.get(row) {
                None => return Ok(None),
                Some(true) => ",\n ",
                Some(false) => ",",
            },
        };
        let mut out = String::new();
        writers[0].write(&mut out, index, comma)?;
        finish(out, binary).map(Some)
    })
}

fn build_array(call: &Call<'_>, binary: bool) -> Result<ArrayRef> {
    let writers = writers(call)?;
    call.collect(|row| {
        let mut out = String::from("[");
        for (number, writer) in writers.iter().enumerate() {
            if number > 0 {
                out.push_str(", ");
            }
            writer.write(&mut out, call.args[number].at(row), ",")?;
        }
        out.push(']');
        finish(out, binary)
    })
}

fn build_object(call: &Call<'_>, binary: bool) -> Result<ArrayRef> {
    let name = if binary { "jsonb_build_object" } else { "json_build_object" };
    if !call.args.len().is_multiple_of(2) {
        let mut error = ValueError::new("22023", "argument list must have even number of elements");
        error.hint = Some(format!("The arguments of {name}() must consist of alternating keys and values."));
        return Err(error.into());
    }
    let writers = writers(call)?;
    call.collect(|row| {
        let mut out = String::from("{");
        for (number, pair) in writers.chunks_exact(2).enumerate() {
            if number > 0 {
                out.push_str(", ");
            }
            let (key, value) = (call.args[number * 2].at(row), call.args[number * 2 + 1].at(row));
            if pair[0].array.is_null(key) || *pair[0].array.data_type() == DataType::Null {
                return Err(null_key(number * 2 + 1, binary));
            }
            pair[0].write_key(&mut out, key)?;
            out.push_str(" : ");
            pair[1].write(&mut out, value, ",")?;
        }
        out.push('}');
        finish(out, binary)
    })
}

fn null_key(argument: usize, binary: bool) -> ValueError {
    if binary {
        return ValueError::new("22023", format!("argument {argument}: key must not be null"));
    }
    let mut error = ValueError::new("22023", format!("argument {argument} cannot be null"));
    error.hint = Some("Object keys should be text.".into());
    error
}

fn object_of_pairs<'a>(pairs: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>, binary: bool) -> Value<String> {
    let mut out = String::from("{");
    for (number, (key, value)) in pairs.enumerate() {
        if number > 0 {
            out.push_str(", ");
        }
        let Some(key) = key else { return fail("22004", "null value not allowed for object key") };
        quote(&mut out, key);
        out.push_str(" : ");
        match value {
            Some(value) => quote(&mut out, value),
            None => out.push_str("null"),
        }
    }
    out.push('}');
    finish(out, binary)
}

fn object(all: Texts, binary: bool) -> Value<String> {
    let all: Vec<Option<&str>> = all.iter().collect();
    if !all.len().is_multiple_of(2) {
        return fail("2202E", "array must have even number of elements");
    }
    object_of_pairs(all.chunks_exact(2).map(|pair| (pair[0], pair[1])), binary)
}

fn object2(keys: Texts, values: Texts, binary: bool) -> Value<String> {
    if keys.iter().count() != values.iter().count() {
        return fail("2202E", "mismatched array dimensions");
    }
    object_of_pairs(keys.iter().zip(values.iter()), binary)
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("to_json", "Any value as json.", "to_json(array[1, 2])")
            .stable()
            .on("any -> json", |c| to_json(c, false, false)),
        def("to_jsonb", "Any value as jsonb.", "to_jsonb(array[1, 2])")
            .stable()
            .on("any -> jsonb", |c| to_json(c, true, false)),
        def("array_to_json", "An array as json; with true, a line for each element.", "array_to_json(array[1, 2])")
            .stable()
            .on("anyarray [, bool] -> json", |c| to_json(c, false, true)),
        def("row_to_json", "A row as a json object; with true, a line for each column.", "row_to_json(t)")
            .stable()
            .on("any [, bool] -> json", |c| to_json(c, false, true)),
        def("json_build_array", "An array of the arguments.", "json_build_array(1, 'a', true)")
            .stable()
            .on("...any -> json", |c| build_array(c, false)),
        def("jsonb_build_array", "An array of the arguments.", "jsonb_build_array(1, 'a', true)")
            .stable()
            .on("...any -> jsonb", |c| build_array(c, true)),
        def("json_build_object", "An object of alternating keys and values.", "json_build_object('a', 1, 'b', 2)")
            .stable()
            .on("...any -> json", |c| build_object(c, false)),
        def("jsonb_build_object", "An object of alternating keys and values.", "jsonb_build_object('a', 1, 'b', 2)")
            .stable()
            .on("...any -> jsonb", |c| build_object(c, true)),
        def("json_object", "An object of text keys and values.", "json_object('{a,1,b,2}')")
            .on("text[] -> json", |c| c.map1(|all| object(all, false)))
            .on("text[], text[] -> json", |c| c.map2(|keys, values| object2(keys, values, false))),
        def("jsonb_object", "An object of text keys and values.", "jsonb_object('{a,1,b,2}')")
            .on("text[] -> jsonb", |c| c.map1(|all| object(all, true)))
            .on("text[], text[] -> jsonb", |c| c.map2(|keys, values| object2(keys, values, true))),
    ]
}
