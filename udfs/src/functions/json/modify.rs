//! Changing JSON: `|| - #-`, jsonb_set, jsonb_insert, strip_nulls, pretty.

use std::borrow::Cow;

use datafusion_common::Result;

use super::super::call::{Call, Texts, Value, fail};
use super::super::define::{Function, def};
use super::scan;
use super::value::Json;
use crate::types::ValueError;

/// What happens at the end of a path.
enum Change<'a> {
    Delete,
    Set { value: Json<'a>, create: bool },
    Insert { value: Json<'a>, after: bool },
}

fn parse(text: &str) -> Value<Json<'_>> {
    Ok(Json::parse(text)?.normalise())
}

fn concat(a: &str, b: &str) -> Value<String> {
    let joined = match (parse(a)?, parse(b)?) {
        (Json::Object(mut mine), Json::Object(theirs)) => {
            mine.extend(theirs);
            Json::object(mine)
        }
        (a, b) => {
            let list = |json| match json {
                Json::Array(elements) => elements,
                other => vec![other],
            };
            let mut elements = list(a);
            elements.extend(list(b));
            Json::Array(elements)
        }
    };
    Ok(joined.to_jsonb_text())
}

fn delete_keys(json: &str, is_key: impl Fn(&str) -> bool) -> Value<String> {
    Ok(match parse(json)? {
        Json::Object(mut members) => {
            members.retain(|(key, _)| !is_key(key));
            Json::Object(members)
        }
        Json::Array(mut elements) => {
            elements.retain(|element| !matches!(element, Json::String(text) if is_key(text)));
            Json::Array(elements)
        }
        _ => return fail("22023", "cannot delete from scalar"),
    }
    .to_jsonb_text())
}

fn delete_index(json: &str, index: i32) -> Value<String> {
    Ok(match parse(json)? {
        Json::Array(mut elements) => {
            if let Some(at) = position(elements.len(), index.into()) {
                elements.remove(at);
            }
            Json::Array(elements)
        }
        Json::Object(_) => return fail("22023", "cannot delete from object using integer index"),
        _ => return fail("22023", "cannot delete from scalar"),
    }
    .to_jsonb_text())
}

/// Where an element number points; negative ones count from the end.
fn position(length: usize, index: i64) -> Option<usize> {
    let at = match usize::try_from(index) {
        Ok(at) => at,
        Err(_) => length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
    };
    (at < length).then_some(at)
}

fn change_at<'a>(json: &'a str, path: &Texts, change: Change<'a>) -> Value<String> {
    let mut json = parse(json)?;
    let steps: Vec<Option<&str>> = path.iter().collect();
    if json.is_scalar() {
        let verb = if matches!(change, Change::Delete) { "delete" } else { "set" };
        return fail("22023", format!("cannot {verb} path in scalar"));
    }
    if !steps.is_empty() {
        apply(&mut json, &steps, 0, change)?;
    }
    Ok(json.to_jsonb_text())
}

fn apply<'a>(json: &mut Json<'a>, steps: &[Option<&str>], depth: usize, change: Change<'a>) -> Value<()> {
    let Some(step) = steps[depth] else {
        return fail("22004", format!("path element at position {} is null", depth + 1));
    };
    let last = depth + 1 == steps.len();
    match json {
        Json::Object(members) => match members.iter().position(|(key, _)| key == step) {
            Some(at) if last => match change {
                Change::Delete => drop(members.remove(at)),
                Change::Set { value, .. } => members[at].1 = value,
                Change::Insert { .. } => {
                    let mut error = ValueError::new("22023", "cannot replace existing key");
                    error.hint = Some("Try using the function jsonb_set to replace key value.".into());
                    return Err(error);
                }
            },
            Some(at) => apply(&mut members[at].1, steps, depth + 1, change)?,
            None => {
                if let (true, Change::Set { value, create: true } | Change::Insert { value, .. }) = (last, change) {
                    members.push((Cow::Owned(step.to_owned()), value));
                    *json = Json::object(std::mem::take(members));
                }
            }
        },
        Json::Array(elements) => {
            let Some(index) = scan::index(step) else {
                let message = format!("path element at position {} is not an integer: \"{step}\"", depth + 1);
                return fail("22P02", message);
            };
            match (position(elements.len(), index), last, change) {
                (Some(at), false, change) => apply(&mut elements[at], steps, depth + 1, change)?,
                (Some(at), true, Change::Delete) => drop(elements.remove(at)),
                (Some(at), true, Change::Set { value, .. }) => elements[at] = value,
                (Some(at), true, Change::Insert { value, after }) => elements.insert(at + usize::from(after), value),
                (None, true, Change::Set { value, create: true } | Change::Insert { value, .. }) => {
                    elements.insert(if index < 0 { 0 } else { elements.len() }, value);
                }
                (None, ..) => {}
            }
        }
        _ => {}
    }
    Ok(())
}

fn strip_nulls(json: &str) -> Value<String> {
    let mut out = String::new();
    Json::parse(json)?.strip_nulls().write(&mut out, ":", ",");
    Ok(out)
}

fn pretty(json: &str) -> Value<String> {
    let mut out = String::new();
    parse(json)?.write_pretty(&mut out, 0);
    Ok(out)
}

/// jsonb_set and jsonb_insert, whose fourth argument may be missing.
fn edit(call: &Call<'_>, change: for<'a> fn(Json<'a>, Option<bool>) -> Change<'a>) -> Result<arrow::array::ArrayRef> {
    let (json, path, value) = (call.column::<&str>(0)?, call.column::<Texts>(1)?, call.column::<&str>(2)?);
    let flag = if call.args.len() > 3 { Some(call.column::<bool>(3)?) } else { None };
    call.collect(|row| {
        let flag = match &flag {
            Some(flags) => match flags.get(row) {
                Some(flag) => Some(flag),
                None => return Ok(None),
            },
            None => None,
        };
        match (json.get(row), path.get(row), value.get(row)) {
            (Some(json), Some(path), Some(value)) => change_at(json, &path, change(parse(value)?, flag)).map(Some),
            _ => Ok(None),
        }
    })
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def(
            "jsonb_concat",
            "Members of both, or elements of both: the operator ||.",
            "'{\"a\": 1}'::jsonb || '{\"b\": 2}'",
        )
        .on("jsonb, jsonb -> jsonb", |c| c.map2(concat)),
        def(
            "jsonb_delete",
            "Without a key, keys, or an element: the operator -.",
            "'{\"a\": 1, \"b\": 2}'::jsonb - 'a'",
        )
        .on("jsonb, text -> jsonb", |c| c.map2(|json: &str, key: &str| delete_keys(json, |k| k == key)))
        .on("jsonb, int4 -> jsonb", |c| c.map2(delete_index))
        .on("jsonb, text[] -> jsonb", |c| {
            c.map2(|json: &str, keys: Texts| delete_keys(json, |key| keys.iter().flatten().any(|k| k == key)))
        }),
        def(
            "jsonb_delete_path",
            "Without the value at a path: the operator #-.",
            "'{\"a\": [1, 2]}'::jsonb #- '{a,0}'",
        )
        .on("jsonb, text[] -> jsonb", |c| c.map2(|json: &str, path: Texts| change_at(json, &path, Change::Delete))),
        def(
            "jsonb_set",
            "With another value at a path, which is created unless said otherwise.",
            "jsonb_set('{\"a\": 1}', '{b}', '2')",
        )
        .on("jsonb, text[], jsonb [, bool] -> jsonb", |c| {
            edit(c, |value, create| Change::Set { value, create: create.unwrap_or(true) })
        }),
        def(
            "jsonb_insert",
            "With a value inserted before (or after) the one at a path.",
            "jsonb_insert('[1, 2]', '{1}', '9')",
        )
        .on("jsonb, text[], jsonb [, bool] -> jsonb", |c| {
            edit(c, |value, after| Change::Insert { value, after: after.unwrap_or(false) })
        }),
        def("jsonb_cmp", "The order of two values: -1, 0 or 1.", "jsonb_cmp('1', '1.0')")
            .on("jsonb, jsonb -> int4", |c| {
                c.map2(|a: &str, b: &str| if a == b { Ok(0) } else { Ok(parse(a)?.compare(&parse(b)?) as i32) })
            }),
        def("json_strip_nulls", "Without members whose value is null.", "json_strip_nulls('{\"a\": null, \"b\": 1}')")
            .on("json -> json", |c| c.map1(strip_nulls)),
        def(
            "jsonb_strip_nulls",
            "Without members whose value is null.",
            "jsonb_strip_nulls('{\"a\": null, \"b\": 1}')",
        )
        .on("jsonb -> jsonb", |c| c.map1(|json: &str| Ok(parse(json)?.strip_nulls().to_jsonb_text()))),
        def("jsonb_pretty", "Indented, one member per line.", "jsonb_pretty('{\"a\": [1, 2]}')")
            .on("jsonb -> text", |c| c.map1(pretty)),
    ]
}
