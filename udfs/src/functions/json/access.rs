//! Reading JSON: `-> ->> #> #>> @> <@ ? ?| ?&`, lengths, kinds, keys, elements. All but containment works on the text.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion_common::Result;
use datafusion_expr::ReturnFieldArgs;

use super::super::call::{Call, Many, Texts, Value, fail};
use super::super::define::{Function, def};
use super::scan::{self, Kind};
use super::value::Json;
use crate::types::SqlType;

/// A field of the first argument's JSON type; text that is not said to be json or jsonb counts as json.
fn same_json(args: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    let sql_type = match SqlType::of_field(&args.arg_fields[0]) {
        SqlType::Jsonb => SqlType::Jsonb,
        _ => SqlType::Json,
    };
    Ok(Arc::new(sql_type.field("json", true)))
}

fn unique(call: &Call<'_>) -> bool {
    call.sql_type(0) == SqlType::Jsonb
}

fn text_of(value: Option<&str>) -> Option<Cow<'_, str>> {
    value.and_then(scan::as_text)
}

/// The steps of `f(json, ...text)`, or nothing if one is null.
fn variadic_path<'a>(call: &'a Call<'_>, row: usize) -> Result<Option<Vec<Option<&'a str>>>> {
    let mut steps = Vec::with_capacity(call.args.len());
    for index in 1..call.args.len() {
        match call.column::<&str>(index)?.get(row) {
            Some(step) => steps.push(Some(step)),
            None => return Ok(None),
        }
    }
    Ok(Some(steps))
}

fn extract_path(call: &Call<'_>) -> Result<arrow::array::ArrayRef> {
    let unique = unique(call);
    let json = call.column::<&str>(0)?;
    let paths = (0..call.rows).map(|row| variadic_path(call, row)).collect::<Result<Vec<_>>>()?;
    call.collect(|row| {
        let steps = paths[row].as_ref();
        Ok(json.get(row).zip(steps).and_then(|(json, steps)| scan::path(json, steps.iter().copied(), unique)))
    })
}

fn extract_path_text(call: &Call<'_>) -> Result<arrow::array::ArrayRef> {
    let unique = unique(call);
    let json = call.column::<&str>(0)?;
    let paths = (0..call.rows).map(|row| variadic_path(call, row)).collect::<Result<Vec<_>>>()?;
    call.collect(|row| {
        let steps = paths[row].as_ref();
        Ok(text_of(json.get(row).zip(steps).and_then(|(json, steps)| scan::path(json, steps.iter().copied(), unique))))
    })
}

fn type_name(json: &str) -> Value<&'static str> {
    Ok(match scan::kind(json) {
        Kind::Object => "object",
        Kind::Array => "array",
        Kind::String => "string",
        Kind::Number => "number",
        Kind::Bool => "boolean",
        Kind::Null => "null",
    })
}

fn array_length(json: &str) -> Value<i32> {
    match scan::kind(json) {
        Kind::Array => Ok(i32::try_from(scan::elements(json).count()).unwrap_or(i32::MAX)),
        Kind::Object => fail("22023", "cannot get array length of a non-array"),
        _ => fail("22023", "cannot get array length of a scalar"),
    }
}

/// Keys as written come once each; later duplicates do not move them.
fn object_keys<'a>(json: &'a str, name: &str) -> Value<Many<Cow<'a, str>>> {
    match scan::kind(json) {
        Kind::Object => Ok(Many(scan::members(json).map(|(key, _)| Some(scan::unescape(key))).collect())),
        Kind::Array => fail("22023", format!("cannot call {name} on an array")),
        _ => fail("22023", format!("cannot call {name} on a scalar")),
    }
}

fn array_elements<'a>(json: &'a str, name: &str, binary: bool) -> Value<scan::Elements<'a>> {
    match (scan::kind(json), binary) {
        (Kind::Array, _) => Ok(scan::elements(json)),
        (Kind::Object, false) => fail("22023", format!("cannot call {name} on a non-array")),
        (_, false) => fail("22023", format!("cannot call {name} on a scalar")),
        (Kind::Object, true) => fail("22023", "cannot extract elements from an object"),
        (_, true) => fail("22023", "cannot extract elements from a scalar"),
    }
}

fn contains(container: &str, contained: &str) -> Value<bool> {
    Ok(Json::parse(container)?.normalise().contains(&Json::parse(contained)?.normalise()))
}

/// `json ? key`, on the text.
fn exists(json: &str, key: &str) -> bool {
    match scan::kind(json) {
        Kind::Object => scan::members(json).any(|(raw, _)| scan::key_is(raw, key)),
        Kind::Array => scan::elements(json).any(|e| scan::kind(e) == Kind::String && scan::string(e) == key),
        Kind::String => scan::string(json) == key,
        _ => false,
    }
}

/// The operators, under the names the planner gives them.
pub(crate) fn operators() -> Vec<Function> {
    vec![
        def(
            "json_get",
            "The value of an object's key or an array's element: the operator ->.",
            "'{\"a\": 1}'::json -> 'a'",
        )
        .alias(&["json_object_field", "jsonb_object_field", "json_array_element", "jsonb_array_element"])
        .computed("json, text -> json", same_json, |c| {
            let unique = unique(c);
            c.map2(|json: &str, key: &str| Ok(scan::member(json, key, unique)))
        })
        .computed("json, int4 -> json", same_json, |c| {
            c.map2(|json: &str, index: i32| Ok(scan::element(json, index.into())))
        })
        .computed("json, int8 -> json", same_json, |c| c.map2(|json: &str, index: i64| Ok(scan::element(json, index)))),
        def("json_get_text", "As ->, the value as text: the operator ->>.", "'{\"a\": \"x\"}'::json ->> 'a'")
            .alias(&[
                "json_object_field_text",
                "jsonb_object_field_text",
                "json_array_element_text",
                "jsonb_array_element_text",
            ])
            .on("json, text -> text", |c| {
                let unique = unique(c);
                c.map2(|json: &str, key: &str| Ok(text_of(scan::member(json, key, unique))))
            })
            .on("json, int4 -> text", |c| {
                c.map2(|json: &str, index: i32| Ok(text_of(scan::element(json, index.into()))))
            })
            .on("json, int8 -> text", |c| c.map2(|json: &str, index: i64| Ok(text_of(scan::element(json, index))))),
        def("json_get_path", "The value at a path: the operator #>.", "'{\"a\": [1, 2]}'::json #> '{a,1}'").computed(
            "json, text[] -> json",
            same_json,
            |c| {
                let unique = unique(c);
                c.map2(|json: &str, path: Texts| Ok(scan::path(json, path.iter(), unique)))
            },
        ),
        def(
            "json_get_path_text",
            "The value at a path as text: the operator #>>.",
            "'{\"a\": [1, 2]}'::json #>> '{a,1}'",
        )
        .on("json, text[] -> text", |c| {
            let unique = unique(c);
            c.map2(|json: &str, path: Texts| Ok(text_of(scan::path(json, path.iter(), unique))))
        }),
        def(
            "jsonb_contains",
            "Does the first hold the second? The operator @>.",
            "'{\"a\": 1, \"b\": 2}'::jsonb @> '{\"a\": 1}'",
        )
        .on("jsonb, jsonb -> bool", |c| match c.constant::<&str>(1)? {
            Some(Some(contained)) => {
                let contained = Json::parse(contained)?.normalise();
                c.map1(|container: &str| Ok(Json::parse(container)?.normalise().contains(&contained)))
            }
            _ => c.map2(contains),
        }),
        def(
            "jsonb_contained",
            "Does the second hold the first? The operator <@.",
            "'{\"a\": 1}'::jsonb <@ '{\"a\": 1, \"b\": 2}'",
        )
        .on("jsonb, jsonb -> bool", |c| c.map2(|contained: &str, container: &str| contains(container, contained))),
        def(
            "jsonb_exists",
            "Is that a key of the object or a string in the array? The operator ?.",
            "'{\"a\": 1}'::jsonb ? 'a'",
        )
        .on("jsonb, text -> bool", |c| c.map2(|json: &str, key: &str| Ok(exists(json, key)))),
        def("jsonb_exists_any", "Is any of those a key? The operator ?|.", "'{\"a\": 1}'::jsonb ?| array['a', 'b']")
            .on("jsonb, text[] -> bool", |c| {
                c.map2(|json: &str, keys: Texts| Ok(keys.iter().flatten().any(|key| exists(json, key))))
            }),
        def("jsonb_exists_all", "Are all of those keys? The operator ?&.", "'{\"a\": 1}'::jsonb ?& array['a', 'b']")
            .on("jsonb, text[] -> bool", |c| {
                c.map2(|json: &str, keys: Texts| Ok(keys.iter().flatten().all(|key| exists(json, key))))
            }),
    ]
}

/// The functions that read.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("json_extract_path", "The value at a path.", "json_extract_path('{\"a\": {\"b\": 1}}', 'a', 'b')")
            .alias(&["jsonb_extract_path"])
            .computed("json, ...text -> json", same_json, extract_path),
        def(
            "json_extract_path_text",
            "The value at a path as text.",
            "json_extract_path_text('{\"a\": {\"b\": 1}}', 'a', 'b')",
        )
        .alias(&["jsonb_extract_path_text"])
        .on("json, ...text -> text", extract_path_text),
        def("json_typeof", "object, array, string, number, boolean or null.", "json_typeof('[1]')")
            .alias(&["jsonb_typeof"])
            .on("json -> text", |c| c.map1(type_name)),
        def("json_array_length", "The number of elements.", "json_array_length('[1, 2]')")
            .alias(&["jsonb_array_length"])
            .on("json -> int4", |c| c.map1(array_length)),
        def("json_object_keys", "The keys of an object, as an array.", "json_object_keys('{\"a\": 1, \"b\": 2}')")
            .on("json -> text[]", |c| c.map1(|json| object_keys(json, "json_object_keys"))),
        def("jsonb_object_keys", "The keys of an object, as an array.", "jsonb_object_keys('{\"a\": 1, \"b\": 2}')")
            .on("jsonb -> text[]", |c| c.map1(|json| object_keys(json, "jsonb_object_keys"))),
        def("json_array_elements", "The elements, as an array.", "json_array_elements('[1, {}]')")
            .on("json -> json[]", |c| {
                c.map1(|json: &str| Ok(Many(array_elements(json, "json_array_elements", false)?.map(Some).collect())))
            }),
        def("jsonb_array_elements", "The elements, as an array.", "jsonb_array_elements('[1, {}]')")
            .on("jsonb -> jsonb[]", |c| {
                c.map1(|json: &str| Ok(Many(array_elements(json, "jsonb_array_elements", true)?.map(Some).collect())))
            }),
        def("json_array_elements_text", "The elements as text, as an array.", "json_array_elements_text('[1, \"a\"]')")
            .on("json -> text[]", |c| {
                c.map1(|json: &str| {
                    Ok(Many(array_elements(json, "json_array_elements_text", false)?.map(scan::as_text).collect()))
                })
            }),
        def(
            "jsonb_array_elements_text",
            "The elements as text, as an array.",
            "jsonb_array_elements_text('[1, \"a\"]')",
        )
        .on("jsonb -> text[]", |c| {
            c.map1(|json: &str| {
                Ok(Many(array_elements(json, "jsonb_array_elements_text", true)?.map(scan::as_text).collect()))
            })
        }),
    ]
}
