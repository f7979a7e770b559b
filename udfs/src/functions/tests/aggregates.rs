//! Aggregates against results learnt from PostgreSQL 15, in one go and merged from parts.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{Accumulator, AggregateUDF};

use super::settings;
use crate::types::{SqlType, array_to_text, parse_scalar};

fn find(name: &str) -> Arc<AggregateUDF> {
    super::super::all_aggregate().into_iter().find(|function| function.name() == name).expect("the function exists")
}

/// A column of values given as text.
fn column(sql_type: &SqlType, texts: &[Option<&str>]) -> ArrayRef {
    let null = ScalarValue::try_from(&sql_type.data_type()).expect("a null of every type");
    if texts.is_empty() {
        return arrow::array::new_empty_array(&sql_type.data_type());
    }
    let scalars = texts.iter().map(|text| match text {
        Some(text) => parse_scalar(sql_type, text, &settings()).expect("a value"),
        None => null.clone(),
    });
    ScalarValue::iter_to_array(scalars).expect("one type")
}

fn accumulator(function: &AggregateUDF, fields: &[FieldRef], distinct: bool) -> Box<dyn Accumulator> {
    let schema = Schema::new(fields.to_vec());
    let args = AccumulatorArgs {
        return_field: function.return_field(fields).expect("a field"),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "a",
        is_distinct: distinct,
        exprs: &[],
        expr_fields: fields,
    };
    function.accumulator(args).expect("an accumulator")
}

/// Feeds all rows to one accumulator, and the halves to two whose states a third merges; both must agree.
fn run(name: &str, types: &[&str], rows: &[&[Option<&str>]], distinct: bool) -> Result<Option<String>> {
    let function = find(name);
    let types: Vec<SqlType> = types.iter().map(|t| SqlType::parse(t).expect("a type")).collect();
    let fields: Vec<FieldRef> = types.iter().map(|t| Arc::new(t.field("x", true))).collect();
    let columns: Vec<ArrayRef> = types
        .iter()
        .enumerate()
        .map(|(index, sql_type)| column(sql_type, &rows.iter().map(|row| row[index]).collect::<Vec<_>>()))
        .collect();
    let data_types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
    let targets = function.coerce_types(&data_types).unwrap_or(data_types);
    let columns: Vec<ArrayRef> =
        columns.iter().zip(&targets).map(|(c, t)| arrow::compute::cast(c, t)).collect::<Result<_, _>>()?;

    let mut whole = accumulator(&function, &fields, distinct);
    whole.update_batch(&columns)?;
    let result = whole.evaluate()?;

    let mut merged = accumulator(&function, &fields, distinct);
    let half = rows.len() / 2;
    for (from, length) in [(0, half), (half, rows.len() - half)] {
        let mut part = accumulator(&function, &fields, distinct);
        part.update_batch(&columns.iter().map(|c| c.slice(from, length)).collect::<Vec<_>>())?;
        let state = part.state()?;
        merged.merge_batch(&state.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>>>()?)?;
    }
    assert_eq!(merged.evaluate()?, result, "{name} merged from parts");

    let field = function.return_field(&fields)?;
    let array = result.to_array()?;
    assert_eq!(array.data_type(), field.data_type(), "{name}: the promised type");
    let text = array_to_text(&array, &Field::clone(&field), &settings())?;
    Ok(text.iter().next().flatten().map(str::to_owned))
}

#[test]
fn results_are_postgresqls() {
    type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a [Option<&'a str>]], Option<&'a str>);
    let cases: &[Case<'_>] = &[
        (
            "string_agg",
            &["text", "text"],
            &[&[Some("a"), Some(",")], &[None, Some("-")], &[Some("b"), Some("+")]],
            Some("a+b"),
        ),
        ("string_agg", &["text", "text"], &[&[Some("a"), None], &[Some("b"), None]], Some("ab")),
        ("string_agg", &["text", "text"], &[&[None, Some(",")]], None),
        ("json_agg", &["int4"], &[&[Some("1")], &[None], &[Some("3")]], Some("[1, null, 3]")),
        ("json_agg", &["int4[]"], &[&[Some("{1}")], &[Some("{2,3}")]], Some("[[1], \n [2,3]]")),
        ("json_agg", &["int4"], &[], None),
        ("jsonb_agg", &["text"], &[&[Some("b\"")], &[Some("a")]], Some("[\"b\\\"\", \"a\"]")),
        (
            "json_object_agg",
            &["text", "int4"],
            &[&[Some("b"), Some("1")], &[Some("a"), None]],
            Some("{ \"b\" : 1, \"a\" : null }"),
        ),
        (
            "jsonb_object_agg",
            &["text", "int4"],
            &[&[Some("b"), Some("1")], &[Some("a"), None], &[Some("b"), Some("2")]],
            Some("{\"a\": null, \"b\": 2}"),
        ),
        (
            "percentile_disc",
            &["int4", "float8"],
            &[&[Some("3"), Some("0.5")], &[Some("1"), Some("0.5")], &[None, Some("0.5")], &[Some("2"), Some("0.5")]],
            Some("2"),
        ),
        (
            "percentile_disc",
            &["text", "float8"],
            &[&[Some("b"), Some("1")], &[Some("c"), Some("1")], &[Some("a"), Some("1")]],
            Some("c"),
        ),
        (
            "percentile_disc",
            &["int4", "float8[]"],
            &[&[Some("3"), Some("{0,0.9}")], &[Some("1"), Some("{0,0.9}")]],
            Some("{1,3}"),
        ),
        ("percentile_disc", &["int4", "float8"], &[], None),
        ("mode", &["text"], &[&[Some("b")], &[Some("a")], &[Some("b")], &[None], &[Some("c")]], Some("b")),
        ("mode", &["int4"], &[&[Some("2")], &[Some("1")]], Some("1")),
        ("every", &["bool"], &[&[Some("t")], &[None], &[Some("t")]], Some("true")),
        ("every", &["bool"], &[&[Some("f")], &[Some("t")]], Some("false")),
        ("every", &["bool"], &[&[None]], None),
    ];
    for (name, types, rows, expected) in cases {
        let got = run(name, types, rows, false).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(got.as_deref(), *expected, "{name} of {rows:?}");
    }
}

#[test]
fn distinct_counts_values_once() {
    let rows: &[&[Option<&str>]] = &[&[Some("a"), Some(",")], &[Some("b"), Some(",")], &[Some("a"), Some(",")]];
    assert_eq!(run("string_agg", &["text", "text"], rows, true).expect("a result").as_deref(), Some("a,b"));
}

#[test]
fn errors_are_postgresqls() {
    for (name, types, rows, message) in [
        ("json_object_agg", ["text", "int4"], [[None, Some("1")]], "field name must not be null"),
        ("percentile_disc", ["int4", "float8"], [[Some("1"), Some("2")]], "percentile value 2 is not between 0 and 1"),
    ] {
        let rows: Vec<&[Option<&str>]> = rows.iter().map(|row| row.as_slice()).collect();
        let error = run(name, &types, &rows, false).expect_err("an error").to_string();
        assert!(error.contains(message), "{name}: {error}");
    }
}
