//! Window functions over a partition at once and row by row, which must agree.

use arrow::compute::cast;
use datafusion_common::DataFusionError;

use super::*;
use crate::types::{TextSettings, array_to_text, parse_scalar};

type Rows<'a> = &'a [&'a [Option<&'a str>]];

fn column(sql_type: &SqlType, rows: Rows<'_>, index: usize) -> ArrayRef {
    let values = rows.iter().map(|row| match row[index] {
        Some(text) => parse_scalar(sql_type, text, &TextSettings::default()).unwrap(),
        None => ScalarValue::try_from(&sql_type.data_type()).unwrap(),
    });
    ScalarValue::iter_to_array(values).unwrap()
}

/// The result's type, and each row's result.
fn run(name: &str, types: &[&str], rows: Rows<'_>) -> Result<(SqlType, Vec<String>)> {
    let function = functions().into_iter().find(|function| function.name == name).unwrap();
    let columns: Vec<ArrayRef> =
        types.iter().enumerate().map(|(index, text)| column(&SqlType::parse(text).unwrap(), rows, index)).collect();
    let given: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
    let targets = function.coerce_types(&given)?;
    let fields: Vec<FieldRef> = targets.iter().map(|t| Arc::new(Field::new("x", t.clone(), true))).collect();
    let columns: Vec<ArrayRef> =
        columns.iter().zip(&targets).map(|(column, target)| cast(column, target)).collect::<Result<_, _>>()?;
    let field = function.field(WindowUDFFieldArgs::new(&fields, name))?;
    let start = || function.partition_evaluator(PartitionEvaluatorArgs::new(&[], &fields, false, false));

    let whole = start()?.evaluate_all(&columns, rows.len())?;
    assert_eq!(whole.data_type(), field.data_type(), "the promised type");
    let mut evaluator = start()?;
    assert!(evaluator.supports_bounded_execution() && evaluator.is_causal() && !evaluator.uses_window_frame());
    let single = (0..rows.len()).map(|row| {
        let range = evaluator.get_range(row, rows.len()).unwrap();
        evaluator.evaluate(&columns, &range).unwrap()
    });
    assert_eq!(&ScalarValue::iter_to_array(single)?, &whole, "{name} row by row");

    let texts = array_to_text(&whole, &field, &TextSettings::default())?;
    let texts = texts.iter().map(|text| text.unwrap_or("∅").to_owned()).collect();
    Ok((SqlType::of_field(&field), texts))
}

fn check(name: &str, types: &[&str], rows: Rows<'_>, expected: &[&str]) -> SqlType {
    let (sql_type, texts) = run(name, types, rows).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(texts, expected, "{name} of {rows:?}");
    sql_type
}

fn error(name: &str, types: &[&str], rows: Rows<'_>) -> (&'static str, String) {
    match run(name, types, rows) {
        Err(DataFusionError::External(e)) => {
            let error = e.downcast_ref::<ValueError>().unwrap();
            (error.code, error.message.clone())
        }
        other => panic!("{name} of {rows:?}: {other:?}"),
    }
}

#[test]
fn deltas_are_of_the_values_type() {
    let rows: Rows<'_> = &[&[None], &[Some("3")], &[Some("10")], &[None], &[Some("4")]];
    let expected = ["∅", "∅", "7", "∅", "-6"];
    assert_eq!(check("delta", &["int2"], rows, &expected), SqlType::Int8);
    assert_eq!(check("delta", &["int4"], rows, &expected), SqlType::Int8);
    assert_eq!(check("delta", &["int8"], rows, &expected), SqlType::Int8);
    assert_eq!(check("delta", &["float4"], rows, &expected), SqlType::Float8);
    assert_eq!(check("delta", &["float8"], rows, &expected), SqlType::Float8);
    check("delta", &["numeric(6,2)"], &[&[Some("9999.99")], &[Some("-9999.99")]], &["∅", "-19999.98"]);
}

#[test]
fn deltas_overflow() {
    let rows: Rows<'_> = &[&[Some("-9223372036854775808")], &[Some("1")]];
    assert_eq!(error("delta", &["int8"], rows), ("22003", "bigint out of range".to_owned()));
    let most = "99999999999999999999999999999999999999";
    let least = format!("-{most}");
    assert_eq!(error("delta", &["numeric(38,0)"], &[&[Some(&least)], &[Some(most)]]).0, "22003");
    assert_eq!(error("delta", &["bool"], &[&[Some("t")]]).0, "42883");
    assert_eq!(error("delta", &["int4", "int4"], &[&[Some("1"), Some("1")]]).0, "42883");
}

#[test]
fn rates_know_resets() {
    let rows: Rows<'_> = &[
        &[Some("10"), Some("2024-01-01 00:00:00")],
        &[Some("40"), Some("2024-01-01 00:00:10")],
        &[None, Some("2024-01-01 00:00:15")],
        &[Some("50"), None],
        &[Some("5"), Some("2024-01-01 00:00:20.5")],
        &[Some("6"), Some("2024-01-01 00:00:20.5")],
        &[Some("7"), Some("infinity")],
        &[Some("8"), Some("2024-01-01 00:00:24.5")],
    ];
    let expected = ["∅", "3", "∅", "∅", "0.47619047619047616", "∅", "∅", "0.5"];
    for types in [["int4", "timestamp"], ["float8", "timestamptz"], ["numeric", "timestamp"]] {
        assert_eq!(check("rate", &types, rows, &expected), SqlType::Float8);
    }
    let dates: Rows<'_> = &[&[Some("0"), Some("2024-01-01")], &[Some("86400"), Some("2024-01-02")]];
    check("rate", &["int8", "date"], dates, &["∅", "1"]);
    assert_eq!(error("rate", &["int4", "int4"], &[&[Some("1"), Some("1")]]).0, "42883");
}

#[test]
fn averages_forget_slowly() {
    let rows: Rows<'_> = &[
        &[None, Some("0.5")],
        &[Some("4"), Some("0.5")],
        &[Some("8"), Some("0.5")],
        &[None, Some("0.5")],
        &[Some("2"), None],
        &[Some("0"), Some("0.25")],
        &[Some("1"), Some("1")],
    ];
    check("ema", &["int4", "numeric"], rows, &["∅", "4", "6", "6", "∅", "4.5", "1"]);
    for alpha in ["0", "-0.5", "1.01", "NaN"] {
        let message = "alpha must be greater than 0 and at most 1".to_owned();
        assert_eq!(error("ema", &["float8", "float8"], &[&[Some("1"), Some(alpha)]]), ("22023", message));
    }
}

#[test]
fn sessions_end_after_a_pause() {
    let gap = Some("30 minutes");
    let rows: Rows<'_> = &[
        &[Some("2024-01-01 00:00"), gap],
        &[Some("2024-01-01 00:30"), gap],
        &[None, gap],
        &[Some("2024-01-01 00:59"), gap],
        &[Some("2024-01-01 01:29:00.000001"), gap],
        &[Some("2024-01-01 01:30"), None],
        &[Some("infinity"), gap],
        &[Some("infinity"), gap],
    ];
    let expected = [
        "2024-01-01 00:00:00",
        "2024-01-01 00:00:00",
        "∅",
        "2024-01-01 00:00:00",
        "2024-01-01 01:29:00.000001",
        "∅",
        "infinity",
        "infinity",
    ];
    assert_eq!(check("session_window", &["timestamp", "interval"], rows, &expected), SqlType::Timestamp);
    let rows: Rows<'_> = &[
        &[Some("2024-03-01 00:00Z"), Some("1 month")],
        &[Some("2024-02-01 00:00Z"), Some("1 month")],
        &[Some("2023-12-31 00:00Z"), Some("1 month")],
    ];
    let expected = ["2024-03-01 00:00:00+00", "2024-03-01 00:00:00+00", "2023-12-31 00:00:00+00"];
    assert_eq!(check("session_window", &["timestamptz", "interval"], rows, &expected), SqlType::TimestampTz);
    for gap in ["0", "-1 day"] {
        let message = "session gap must be greater than 0".to_owned();
        let rows: Rows<'_> = &[&[Some("2024-01-01"), Some(gap)]];
        assert_eq!(error("session_window", &["date", "interval"], rows), ("22023", message));
    }
}
