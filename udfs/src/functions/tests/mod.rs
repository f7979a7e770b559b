//! Functions against results learnt from PostgreSQL 15: `oracle/*.txt` has a call and its result on each line.
//!
//! A call is `name(arg, …)`; an argument is `'text'::type`, `null::type`, a number, true, false, or text in quotes. A result is
//! the text form, `∅` for NULL, or `!SQLSTATE message`. Every call is made with constants and with columns.

mod aggregates;
mod robust;
mod states;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::datatypes::FieldRef;
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl};

use super::define::Function;
use crate::types::{SqlType, TextSettings, ValueError, array_to_text, parse_scalar};

/// Session time zone of all cases, also when they were learnt.
const TIME_ZONE: &str = "America/New_York";

/// One argument.
struct Arg {
    field: FieldRef,
    value: ScalarValue,
}

fn settings() -> TextSettings {
    TextSettings { time_zone: chrono_tz::America::New_York, ..TextSettings::default() }
}

/// Splits `name(arg, arg)`; commas within quotes do not count.
fn parse_call(call: &str) -> (&str, Vec<Arg>) {
    let (name, rest) = call.split_once('(').expect("a call has parentheses");
    let inner = rest.strip_suffix(')').expect("a call ends with a parenthesis");
    let (mut parts, mut from, mut quoted, mut depth) = (vec![], 0, false, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(&inner[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    if !inner.is_empty() {
        parts.push(&inner[from..]);
    }
    (name, parts.into_iter().map(|part| parse_arg(part.trim())).collect())
}

fn parse_arg(text: &str) -> Arg {
    let (literal, type_name) = match text.rsplit_once("::") {
        Some((literal, type_name)) => (literal, Some(type_name)),
        None => (text, None),
    };
    let quoted = literal.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
    let inferred = match literal {
        _ if quoted.is_some() => "text",
        "null" => "text",
        "true" | "false" => "bool",
        number if number.contains('.') => "numeric",
        _ => "int4",
    };
    let mut sql_type = SqlType::parse(type_name.unwrap_or(inferred)).expect("a known type");
    let content = quoted.map_or(literal.to_owned(), |q| q.replace("''", "'"));
    // A numeric literal has the scale it is written with.
    if let SqlType::Numeric(None) = sql_type {
        let scale = content.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        sql_type = SqlType::Numeric(Some((38, i8::try_from(scale).expect("a small scale"))));
    }
    let field = Arc::new(sql_type.field("arg", true));
    let value = match literal {
        "null" => ScalarValue::try_from(&sql_type.data_type()).expect("a null of every type"),
        _ => parse_scalar(&sql_type, &content, &settings()).unwrap_or_else(|e| panic!("{text}: {e}")),
    };
    Arg { field, value }
}

/// Calls a function with constants or columns of three rows, and prints the first row's result.
fn run(function: &Function, args: &[Arg], columns: bool) -> Result<Option<String>> {
    let types: Vec<_> = args.iter().map(|arg| arg.field.data_type().clone()).collect();
    let targets = function.coerce_types(&types)?;
    let fields: Vec<FieldRef> = args
        .iter()
        .zip(&targets)
        .map(|(arg, target)| Arc::new(arg.field.as_ref().clone().with_data_type(target.clone())))
        .collect();
    let values: Vec<ScalarValue> =
        args.iter().zip(&targets).map(|(arg, target)| arg.value.cast_to(target)).collect::<Result<_>>()?;
    // What the decimals of a result depend on is mostly constant.
    let fixed = match function.name() {
        "extract" => Some(0),
        "round" | "trunc" => Some(1),
        _ => None,
    };
    let is_constant = |index: usize| !columns || fixed == Some(index);
    let constants: Vec<Option<&ScalarValue>> =
        values.iter().enumerate().map(|(index, value)| is_constant(index).then_some(value)).collect();
    let return_field =
        function.return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &constants })?;
    let rows = if columns { 3 } else { 1 };
    let column = |(index, value): (usize, &ScalarValue)| -> Result<ColumnarValue> {
        if is_constant(index) {
            return Ok(ColumnarValue::Scalar(value.clone()));
        }
        let one = value.to_array()?;
        let parts: Vec<&dyn Array> = vec![&one, &one, &one];
        Ok(ColumnarValue::Array(concat(&parts)?))
    };
    let mut config = ConfigOptions::default();
    config.execution.time_zone = Some(TIME_ZONE.into());
    let result = function.invoke_with_args(ScalarFunctionArgs {
        args: values.iter().enumerate().map(column).collect::<Result<_>>()?,
        arg_fields: fields,
        number_rows: rows,
        return_field: Arc::clone(&return_field),
        config_options: Arc::new(config),
    })?;
    let array: ArrayRef = result.to_array(rows)?;
    assert_eq!(array.len(), rows, "as many results as rows");
    assert_eq!(array.data_type(), return_field.data_type(), "the promised type");
    let text = array_to_text(&array, &return_field, &settings())?;
    let last = rows - 1;
    Ok(text.is_valid(last).then(|| text.value(last).to_owned()))
}

fn show(result: Result<Option<String>>) -> String {
    match result {
        Ok(Some(text)) => text.replace('\\', "\\\\").replace('\n', "\\n"),
        Ok(None) => "∅".into(),
        Err(DataFusionError::External(e)) => match e.downcast_ref::<ValueError>() {
            Some(error) => format!("!{} {}", error.code, error.message),
            None => format!("!XX000 {e}"),
        },
        Err(e) => format!("!XX000 {e}"),
    }
}

fn check(cases: &str) {
    let functions = super::scalars();
    let mut wrong = vec![];
    for line in cases.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (call, expected) = line.split_once('\t').expect("a case has a result");
        let (name, args) = parse_call(call);
        let found = functions.iter().find(|f| f.name() == name || f.aliases().iter().any(|alias| alias == name));
        let Some(function) = found else {
            wrong.push(format!("{call}: no such function"));
            continue;
        };
        for columns in [false, true] {
            let got = show(run(function, &args, columns));
            if got != expected {
                wrong.push(format!(
                    "{call}{}\n  expected {expected}\n  got      {got}",
                    if columns { " [columns]" } else { "" }
                ));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn json() {
    check(include_str!("oracle/json.txt"));
}

#[test]
fn text() {
    check(include_str!("oracle/text.txt"));
}

#[test]
fn time() {
    check(include_str!("oracle/time.txt"));
}

#[test]
fn bucket() {
    check(include_str!("oracle/bucket.txt"));
}

#[test]
fn math() {
    check(include_str!("oracle/math.txt"));
}

#[test]
fn array() {
    check(include_str!("oracle/array.txt"));
}

#[test]
fn system() {
    check(include_str!("oracle/system.txt"));
}

#[test]
fn every_function_is_documented_once() {
    let all = super::all_info();
    let mut names = std::collections::HashSet::new();
    for info in &all {
        assert!(
            !info.description.is_empty() && !info.example.is_empty() && !info.signatures.is_empty(),
            "{}",
            info.name
        );
        for name in std::iter::once(info.name).chain(info.aliases.iter().map(String::as_str)) {
            // `delta(state)` and `delta(v) OVER (…)` are told apart by how they are called.
            assert!(names.insert((info.kind, name.to_owned())), "{name} is there twice");
        }
    }
}
