//! Aggregates in two steps through their front door: coercion, partial results, thousands of groups, accessors, rollup.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array};
use arrow::array::{StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{AggregateUDF, EmitTo};

use super::{Arg, run, settings};
use crate::types::{SqlType, ValueError, array_to_text, parse_scalar};

fn find(name: &str) -> Arc<AggregateUDF> {
    super::super::all_aggregate().into_iter().find(|function| function.name() == name).expect("the function exists")
}

/// What the planner gives to make accumulators from.
fn with_args<T>(function: &AggregateUDF, fields: &[FieldRef], f: impl FnOnce(AccumulatorArgs<'_>) -> Result<T>) -> T {
    let schema = Schema::new(fields.to_vec());
    let args = AccumulatorArgs {
        return_field: function.return_field(fields).unwrap(),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "a",
        is_distinct: false,
        exprs: &[],
        expr_fields: fields,
    };
    f(args).unwrap()
}

/// A call of an aggregate as SQL writes it: a type for each argument, a line for each row, `∅` for NULL. Halves are merged.
fn aggregate(name: &str, types: &[&str], rows: &str) -> Result<Arg> {
    let function = find(name);
    let types: Vec<SqlType> = types.iter().map(|name| SqlType::parse(name).unwrap()).collect();
    let lines: Vec<Vec<&str>> = rows
        .lines()
        .map(|line| line.split(',').map(str::trim).collect())
        .filter(|line: &Vec<_>| line.len() > 1 || !line[0].is_empty())
        .collect();
    let declared: Vec<DataType> = types.iter().map(SqlType::data_type).collect();
    let targets = function.coerce_types(&declared)?;
    let mut columns: Vec<ArrayRef> = vec![];
    for (at, sql_type) in types.iter().enumerate() {
        let null = ScalarValue::try_from(&sql_type.data_type())?;
        let value = |line: &Vec<&str>| match line[at] {
            "∅" => null.clone(),
            text => parse_scalar(sql_type, text, &settings()).unwrap(),
        };
        let column = match lines.is_empty() {
            true => arrow::array::new_empty_array(&sql_type.data_type()),
            false => ScalarValue::iter_to_array(lines.iter().map(value))?,
        };
        columns.push(arrow::compute::cast(&column, &targets[at])?);
    }
    let fields: Vec<FieldRef> = types
        .iter()
        .zip(&targets)
        .map(|(sql_type, target)| Arc::new(sql_type.field("x", true).with_data_type(target.clone())))
        .collect();
    let half = lines.len() / 2;
    let mut merged = with_args(&function, &fields, |args| function.accumulator(args));
    for (from, length) in [(half, lines.len() - half), (0, half)] {
        let mut part = with_args(&function, &fields, |args| function.accumulator(args));
        part.update_batch(&columns.iter().map(|column| column.slice(from, length)).collect::<Vec<_>>())?;
        let state = part.state()?.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>>>()?;
        merged.merge_batch(&state)?;
    }
    let value = merged.evaluate()?;
    assert_eq!(merged.evaluate()?, value, "{name}: a second look is the same");
    let field = function.return_field(&fields)?;
    assert_eq!(value.data_type(), *field.data_type(), "{name}: the promised type");
    Ok(Arg { field, value })
}

fn argument(text: &str) -> Arg {
    super::parse_arg(text)
}

/// An accessor's result as text, of constants and of columns.
fn access(name: &str, args: &[Arg]) -> String {
    let functions = super::super::scalars();
    let function = functions.iter().find(|function| function.info().name == name).expect("the accessor exists");
    let [a, b] = [false, true].map(|columns| run(function, args, columns));
    let text = |result: Result<Option<String>>| match result {
        Ok(text) => text.unwrap_or_else(|| "∅".into()),
        Err(DataFusionError::External(e)) => {
            let error = e.downcast_ref::<ValueError>().expect("an error with SQLSTATE");
            format!("!{} {}", error.code, error.message)
        }
        Err(e) => format!("!XX000 {e}"),
    };
    let (a, b) = (text(a), text(b));
    assert_eq!(a, b, "{name} of constants and of columns");
    a
}

fn again(arg: &Arg) -> Arg {
    Arg { field: Arc::clone(&arg.field), value: arg.value.clone() }
}

const STATUS: &str = "2026-01-01 00:00+00, ok
    2026-01-01 06:00+00, error
    2026-01-01 05:00+00, ok
    ∅, ok
    2026-01-01 07:00+00, ∅
    2026-01-01 08:30+00, ok
    2026-01-02 09:00+00, idle";

#[test]
fn state_accessors() {
    let state = aggregate("state_agg", &["timestamptz", "text"], STATUS).unwrap();
    let compact = aggregate("compact_state_agg", &["timestamptz", "text"], STATUS).unwrap();
    let day = || argument("'2026-01-01 00:00+00'::timestamptz");
    for (expected, name, args) in [
        ("1 day 06:30:00", "duration_in", vec![again(&state), argument("'ok'")]),
        ("1 day 06:30:00", "duration_in", vec![again(&compact), argument("'ok'")]),
        ("00:00:00", "duration_in", vec![again(&state), argument("'idle'")]),
        ("00:00:00", "duration_in", vec![again(&state), argument("7::int4")]),
        ("∅", "duration_in", vec![again(&state), argument("null")]),
        ("21:30:00", "duration_in", vec![again(&state), argument("'ok'"), day(), argument("'1 day'::interval")]),
        (
            "!22023 compact_state_agg does not know when states were, use state_agg",
            "duration_in",
            vec![again(&compact), argument("'ok'"), day(), argument("'1 day'")],
        ),
        (
            "15:00:00",
            "interpolated_duration_in",
            vec![again(&state), argument("'idle'"), day(), argument("'2 days'"), argument("null::bytea")],
        ),
        ("error", "state_at", vec![again(&state), argument("'2026-01-01 08:29:59+00'::timestamptz")]),
        ("∅", "state_at", vec![again(&state), argument("'2025-12-31'::timestamptz")]),
        (
            "{\"(error,\\\"2026-01-01 01:00:00-05\\\",\\\"2026-01-01 03:30:00-05\\\")\"}",
            "state_timeline",
            vec![
                aggregate(
                    "state_agg",
                    &["timestamptz", "text"],
                    "2026-01-01 06:00+00, error\n2026-01-01 08:30+00, error",
                )
                .unwrap(),
            ],
        ),
        (
            "{\"(\\\"2026-01-01 01:00:00-05\\\",\\\"2026-01-01 03:30:00-05\\\")\"}",
            "state_periods",
            vec![again(&state), argument("'error'")],
        ),
        (
            "{\"(error,02:30:00)\",\"(idle,00:00:00)\",\"(ok,\\\"1 day 06:30:00\\\")\"}",
            "state_durations",
            vec![again(&compact)],
        ),
    ] {
        assert_eq!(access(name, &args), expected, "{name}");
    }
    let numbers = aggregate("state_agg", &["timestamptz", "int4"], "2026-01-01, 7\n2026-01-02, 8").unwrap();
    assert_eq!(access("duration_in", &[again(&numbers), argument("7::int4")]), "1 day");
    assert_eq!(access("state_at", &[numbers, argument("'2026-02-01'")]), "8");
}

#[test]
fn heartbeat_accessors() {
    let rows = "2026-01-01 00:10+00, 2026-01-01 00:00+00, 1 hour, 10 minutes
        2026-01-01 00:55+00, 2026-01-01 00:00+00, 1 hour, 10 minutes
        ∅, 2026-01-01 00:00+00, 1 hour, 10 minutes
        2026-01-01 00:15+00, 2026-01-01 00:00+00, 1 hour, 10 minutes";
    let types = ["timestamptz", "timestamptz", "interval", "interval"];
    let state = aggregate("heartbeat_agg", &types, rows).unwrap();
    let next = "2026-01-01 01:30+00, 2026-01-01 01:00+00, 1 hour, 10 minutes";
    let next = aggregate("heartbeat_agg", &types, next).unwrap();
    for (expected, name, args) in [
        ("00:20:00", "uptime", vec![again(&state)]),
        ("00:40:00", "downtime", vec![again(&state)]),
        ("2", "num_live_ranges", vec![again(&state)]),
        ("2", "num_gaps", vec![again(&state)]),
        ("true", "live_at", vec![again(&state), argument("'2026-01-01 00:24:59+00'::timestamptz")]),
        ("false", "live_at", vec![again(&state), argument("'2026-01-01 00:25+00'::timestamptz")]),
        ("00:10:00", "uptime", vec![again(&next)]),
        ("00:15:00", "interpolated_uptime", vec![again(&next), again(&state)]),
        ("00:50:00", "interpolated_downtime", vec![again(&next), argument("null::bytea")]),
        (
            "{\"(\\\"2025-12-31 20:00:00-05\\\",\\\"2025-12-31 20:30:00-05\\\")\",\"(\\\"2025-12-31 20:40:00-05\\\",\\\"2025-12-31 21:00:00-05\\\")\"}",
            "dead_ranges",
            vec![again(&next)],
        ),
        ("{\"(\\\"2025-12-31 20:30:00-05\\\",\\\"2025-12-31 20:40:00-05\\\")\"}", "live_ranges", vec![again(&next)]),
        (
            "!22023 invalid state: expected state_agg, got heartbeat_agg",
            "state_at",
            vec![again(&next), argument("'2026-01-01'")],
        ),
    ] {
        assert_eq!(access(name, &args), expected, "{name}");
    }
}

#[test]
fn sketch_accessors() {
    let digest = aggregate("percentile_agg", &["int4"], "1\n2\n∅\n3\n4").unwrap();
    let wide = aggregate("tdigest", &["int4", "numeric"], "50, 1.5\n50, 2.5").unwrap();
    let distinct = aggregate("approx_count_distinct", &["text"], "a\nb\n∅\na").unwrap();
    let numbers = aggregate("hyperloglog", &["int4", "int8"], "1000, 1\n1000, 2\n1000, 3\n1000, 3").unwrap();
    let common = aggregate("freq_agg", &["float8", "text"], "0.3, a\n0.3, b\n0.3, a\n0.3, a").unwrap();
    let most = aggregate("mcv_agg", &["int4", "numeric(5,1)"], "2, 1.5\n2, 1.5\n2, 2.5\n2, ∅\n2, 3.0").unwrap();
    for (expected, name, args) in [
        ("2.5", "approx_percentile", vec![argument("0.5"), again(&digest)]),
        ("!22003 percentile value 2 is not between 0 and 1", "approx_percentile", vec![argument("2"), again(&digest)]),
        ("0.5", "approx_percentile_rank", vec![argument("2.5"), again(&digest)]),
        ("2.5", "mean", vec![again(&digest)]),
        ("2.5", "average", vec![again(&digest)]),
        ("4", "num_vals", vec![again(&digest)]),
        ("1", "min_val", vec![again(&digest)]),
        ("2.5", "max_val", vec![again(&wide)]),
        ("2", "distinct_count", vec![again(&distinct)]),
        ("3", "distinct_count", vec![again(&numbers)]),
        ("0.0325", "stderror", vec![again(&numbers)]),
        ("{a}", "topn", vec![again(&common)]),
        ("{a,b}", "topn", vec![again(&common), argument("5")]),
        ("{1.5,2.5}", "topn", vec![again(&most)]),
        ("0.75", "min_frequency", vec![again(&common), argument("'a'")]),
        ("0.5", "max_frequency", vec![again(&most), argument("1.5")]),
        ("0", "max_frequency", vec![again(&most), argument("'9'")]),
        ("{\"(a,0.75,0.75)\"}", "into_values", vec![again(&common)]),
        (
            "!22P02 invalid state: too short to be the state of an aggregate",
            "distinct_count",
            vec![argument("''::bytea")],
        ),
    ] {
        assert_eq!(access(name, &args), expected, "{name}");
    }
}

#[test]
fn thinned_series() {
    let rows =
        "2026-01-01 03:00, 1, 3\n2026-01-01 01:00, 9, 3\n2026-01-01 02:00, 0, 3\n2026-01-01 00:00, 1, 3\n∅, 1, 3";
    let list = aggregate("lttb", &["timestamp", "int4", "int4"], rows).unwrap();
    let text = array_to_text(&list.value.to_array().unwrap(), &list.field, &settings()).unwrap();
    assert_eq!(
        text.value(0),
        "{\"(\\\"2026-01-01 00:00:00\\\",1)\",\"(\\\"2026-01-01 01:00:00\\\",9)\",\"(\\\"2026-01-01 03:00:00\\\",1)\"}"
    );
}

/// A state of each kind, small enough to be read.
fn samples() -> Vec<(&'static str, Arg)> {
    let beats = "2026-01-01 00:10, 2026-01-01, 1 hour, 10 minutes\n2026-01-01 00:55, 2026-01-01, 1 hour, 10 minutes";
    // More than the few values that 16 buckets keep one by one.
    let many: Vec<String> = (0..20).map(|value| format!("16, {value}")).collect();
    [
        ("state_agg", vec!["timestamptz", "text"], STATUS),
        ("compact_state_agg", vec!["timestamptz", "text"], STATUS),
        ("heartbeat_agg", vec!["timestamptz", "timestamptz", "interval", "interval"], beats),
        ("tdigest", vec!["int4", "float8"], "10, 1.5\n10, 2.5\n10, -Infinity"),
        ("hyperloglog", vec!["int4", "text"], "4096, a\n4096, b"),
        ("hyperloglog", vec!["int4", "int4"], &many.join("\n")),
        ("freq_agg", vec!["float8", "text"], "0.3, a\n0.3, b\n0.3, a\n0.3, c\n0.3, d\n0.3, e"),
        ("mcv_agg", vec!["int4", "text"], "2, a\n2, b\n2, a"),
    ]
    .into_iter()
    .map(|(name, types, rows)| (name, aggregate(name, &types, rows).unwrap()))
    .collect()
}

/// States of version 1, which people have stored: each aggregate's name and its state of [`samples`].
#[test]
fn the_stored_form_stays() {
    let got: Vec<String> = samples()
        .into_iter()
        .map(|(name, state)| {
            let ScalarValue::BinaryView(Some(bytes)) = state.value else { panic!("{name} gives a state") };
            format!("{name} {}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        })
        .collect();
    assert_eq!(got, include_str!("oracle/states1.txt").lines().collect::<Vec<_>>());
}

#[test]
fn states_roll_up_with_those_of_their_kind() {
    for (name, state) in samples() {
        let rollup = find("rollup");
        let mut all = with_args(&rollup, &[Arc::clone(&state.field)], |args| rollup.accumulator(args));
        let column = state.value.to_array().unwrap();
        all.update_batch(&[Arc::clone(&column)]).unwrap();
        assert_eq!(all.evaluate().unwrap(), state.value, "{name} alone");
        let other = aggregate("percentile_agg", &["float8"], "1").unwrap().value.to_array().unwrap();
        if name != "tdigest" {
            assert!(all.update_batch(&[other]).unwrap_err().to_string().contains("different kinds"), "{name}");
        }
    }
}

#[test]
fn states_of_nothing_are_null() {
    for (name, types) in [
        ("state_agg", vec!["timestamptz", "text"]),
        ("compact_state_agg", vec!["timestamptz", "int8"]),
        ("heartbeat_agg", vec!["timestamptz", "timestamptz", "interval", "interval"]),
        ("tdigest", vec!["int4", "float8"]),
        ("percentile_agg", vec!["float8"]),
        ("hyperloglog", vec!["int4", "text"]),
        ("approx_count_distinct", vec!["bool"]),
        ("freq_agg", vec!["float8", "text"]),
        ("mcv_agg", vec!["int4", "int8"]),
        ("lttb", vec!["timestamptz", "float8", "int4"]),
    ] {
        assert!(aggregate(name, &types, "").unwrap().value.is_null(), "{name} of no rows");
        let nulls = vec!["∅"; types.len()].join(",");
        assert!(aggregate(name, &types, &format!("{nulls}\n{nulls}")).unwrap().value.is_null(), "{name} of NULL");
    }
}

#[test]
fn wrong_sizes_are_errors() {
    for (name, types, rows) in [
        ("tdigest", vec!["int4", "float8"], "0, 1"),
        ("hyperloglog", vec!["int4", "text"], "15, a"),
        ("hyperloglog", vec!["int4", "text"], "262145, a"),
        ("hyperloglog", vec!["int4", "text"], "∅, a"),
        ("freq_agg", vec!["float8", "text"], "0, a"),
        ("freq_agg", vec!["float8", "text"], "NaN, a"),
        ("mcv_agg", vec!["int4", "text"], "0, a"),
        ("lttb", vec!["timestamptz", "float8", "int4"], "2026-01-01, 1, 2"),
        (
            "heartbeat_agg",
            vec!["timestamptz", "timestamptz", "interval", "interval"],
            "2026-01-01, 2026-01-01, 0, 1 min",
        ),
        (
            "heartbeat_agg",
            vec!["timestamptz", "timestamptz", "interval", "interval"],
            "2026-01-01, 2026-01-01, 1 h, -1 min",
        ),
    ] {
        let Err(DataFusionError::External(e)) = aggregate(name, &types, rows) else { panic!("{name} of {rows}") };
        assert_eq!(e.downcast_ref::<ValueError>().unwrap().code, "22023", "{name} of {rows}");
    }
}

/// Thousands of groups, partial results and filters give what each group alone does, and states roll up to the whole.
#[test]
fn many_groups() {
    const GROUPS: usize = 3000;
    let rows = 30_000;
    let group_of: Vec<usize> = (0..rows).map(|row| row * 7919 % GROUPS).collect();
    let number = |row: usize| i64::try_from(row * 31 % 997).unwrap();
    let times: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_iter_values((0..rows).map(number)).with_timezone("UTC"));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..rows).map(|row| number(row) as f64)));
    let ints: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(number)));
    let texts: ArrayRef =
        Arc::new(StringViewArray::from_iter_values((0..rows).map(|row| format!("s{}", number(row) % 3))));
    let few: ArrayRef = Arc::new(Int32Array::from(vec![16; rows]));
    let filter: BooleanArray = (0..rows).map(|row| (row % 5 != 0).then_some(row % 3 != 0)).collect();
    for (name, columns) in [
        ("percentile_agg", vec![&values]),
        ("hyperloglog", vec![&few, &ints]),
        ("state_agg", vec![&times, &texts]),
        ("mcv_agg", vec![&few, &texts]),
        ("lttb", vec![&times, &values, &few]),
    ] {
        let columns: Vec<ArrayRef> = columns.into_iter().cloned().collect();
        let function = find(name);
        let fields: Vec<FieldRef> = columns
            .iter()
            .map(|column| Arc::new(arrow::datatypes::Field::new("x", column.data_type().clone(), true)))
            .collect();
        let make = || with_args(&function, &fields, |args| function.create_groups_accumulator(args));
        let (mut first, mut second) = (make(), make());
        for from in (0..rows).step_by(1000) {
            let side = if from % 2000 == 0 { &mut first } else { &mut second };
            let slices: Vec<ArrayRef> = columns.iter().map(|column| column.slice(from, 1000)).collect();
            side.update_batch(&slices, &group_of[from..from + 1000], Some(&filter.slice(from, 1000)), GROUPS).unwrap();
        }
        assert!(first.size() > GROUPS * 8, "{name}: {} bytes", first.size());
        let states = second.state(EmitTo::All).unwrap();
        first.merge_batch(&states, &(0..GROUPS).collect::<Vec<_>>(), GROUPS).unwrap();
        let parts = [EmitTo::First(GROUPS / 3), EmitTo::All].map(|emit_to| first.evaluate(emit_to).unwrap());
        let results = arrow::compute::concat(&[&parts[0], &parts[1]]).unwrap();
        assert_eq!(results.len(), GROUPS);
        for group in (0..GROUPS).step_by(499) {
            let picked: BooleanArray = (0..rows)
                .map(|row| Some(group_of[row] == group && filter.is_valid(row) && filter.value(row)))
                .collect();
            let mut alone = with_args(&function, &fields, |args| function.accumulator(args));
            let slices: Vec<ArrayRef> =
                columns.iter().map(|column| arrow::compute::filter(column, &picked).unwrap()).collect();
            alone.update_batch(&slices).unwrap();
            let (got, wanted) = (ScalarValue::try_from_array(&results, group).unwrap(), alone.evaluate().unwrap());
            // The order in which names were seen is in the states; what they say is the same.
            let shown = |value: ScalarValue| match name {
                "state_agg" => {
                    access("state_timeline", &[Arg { field: function.return_field(&fields).unwrap(), value }])
                }
                _ => format!("{value:?}"),
            };
            assert_eq!(shown(got), shown(wanted), "{name}, group {group}");
        }
        if name == "hyperloglog" {
            let rollup = find("rollup");
            let field: FieldRef = Arc::new(SqlType::Bytea.field("x", true));
            let mut all = with_args(&rollup, &[Arc::clone(&field)], |args| rollup.accumulator(args));
            all.update_batch(&[results]).unwrap();
            let value = all.evaluate().unwrap();
            let state = value.to_array().unwrap();
            assert!(state.as_binary_view().value(0).len() < 100);
            let count: i64 = access("distinct_count", &[Arg { field, value }]).parse().unwrap();
            assert!((400..1900).contains(&count), "{count} of 997 in 16 buckets");
        }
    }
}
