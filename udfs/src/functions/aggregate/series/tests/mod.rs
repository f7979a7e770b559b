//! Aggregates against a recomputation by hand, over random rows, in every way in which the engine may run them.

mod edges;
mod states;
mod two_steps;

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, TimestampMicrosecondArray, UInt32Array, new_empty_array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{FieldRef, Schema};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{
    Accumulator, AggregateUDF, ColumnarValue, EmitTo, GroupsAccumulator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDFImpl,
};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::super::super::define::Function;
use crate::types::{SqlType, ValueError};

/// A random source, and its seed to print.
fn random(round: u64) -> StdRng {
    StdRng::seed_from_u64(20_260_801 + round)
}

/// Made once: some tests make very many calls.
static AGGREGATES: LazyLock<Vec<AggregateUDF>> = LazyLock::new(super::all);
static ACCESSORS: LazyLock<Vec<Function>> = LazyLock::new(super::super::super::series::all);

fn find(name: &str) -> &'static AggregateUDF {
    AGGREGATES.iter().find(|function| function.name() == name).expect("the function exists")
}

fn fields(columns: &[ArrayRef]) -> Vec<FieldRef> {
    columns.iter().map(|column| Arc::new(SqlType::of_data_type(column.data_type()).field("x", true))).collect()
}

fn with_args<T>(name: &str, columns: &[ArrayRef], make: impl FnOnce(&AggregateUDF, AccumulatorArgs<'_>) -> T) -> T {
    let (function, fields) = (find(name), fields(columns));
    let schema = Schema::new(fields.clone());
    let args = AccumulatorArgs {
        return_field: function.return_field(&fields).expect("a field"),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "a",
        is_distinct: false,
        exprs: &[],
        expr_fields: &fields,
    };
    make(function, args)
}

fn one(name: &str, columns: &[ArrayRef]) -> Box<dyn Accumulator> {
    with_args(name, columns, |function, args| function.accumulator(args).expect("an accumulator"))
}

fn many(name: &str, columns: &[ArrayRef]) -> Box<dyn GroupsAccumulator> {
    with_args(name, columns, |function, args| function.create_groups_accumulator(args).expect("an accumulator"))
}

fn slices(columns: &[ArrayRef], from: usize, length: usize) -> Vec<ArrayRef> {
    columns.iter().map(|column| column.slice(from, length)).collect()
}

/// Cuts rows into up to four parts, some of them empty.
fn cuts(rows: usize, random: &mut StdRng) -> Vec<(usize, usize)> {
    let mut ends: Vec<usize> = (0..random.random_range(0..4)).map(|_| random.random_range(0..=rows)).collect();
    ends.push(rows);
    ends.sort_unstable();
    let mut from = 0;
    ends.into_iter().map(|end| (std::mem::replace(&mut from, end), end)).map(|(from, end)| (from, end - from)).collect()
}

/// The result over all rows in one batch.
fn whole(name: &str, columns: &[ArrayRef]) -> Result<ScalarValue> {
    let mut accumulator = one(name, columns);
    accumulator.update_batch(columns)?;
    accumulator.evaluate()
}

/// Batch by batch, asked after each of them as a window does.
fn asked_often(name: &str, columns: &[ArrayRef], random: &mut StdRng) -> Result<ScalarValue> {
    let mut accumulator = one(name, columns);
    for (from, length) in cuts(columns[0].len(), random) {
        accumulator.update_batch(&slices(columns, from, length))?;
        accumulator.evaluate()?;
    }
    accumulator.evaluate()
}

/// The partial results of parts, merged.
fn merged(name: &str, columns: &[ArrayRef], random: &mut StdRng) -> Result<ScalarValue> {
    let mut all = one(name, columns);
    for (from, length) in cuts(columns[0].len(), random) {
        let mut part = one(name, columns);
        part.update_batch(&slices(columns, from, length))?;
        all.merge_batch(&part.state()?.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>>>()?)?;
    }
    all.evaluate()
}

/// As the second of three groups. The first has the same rows, filtered out; the third has them all.
fn grouped(name: &str, columns: &[ArrayRef], random: &mut StdRng) -> Result<ScalarValue> {
    let rows = columns[0].len();
    let (mut parts, mut all) = (vec![], many(name, columns));
    for (from, length) in cuts(rows, random) {
        let columns = slices(columns, from, length);
        let thrice: Vec<ArrayRef> = columns
            .iter()
            .map(|column| concat(&[column.as_ref(), column.as_ref(), column.as_ref()]))
            .collect::<std::result::Result<_, _>>()?;
        let groups: Vec<usize> = [0, 1, 2].into_iter().flat_map(|group| std::iter::repeat_n(group, length)).collect();
        let filter: BooleanArray = groups.iter().map(|group| (*group != 0).then_some(true)).collect();
        // In one go, each row by itself, or aggregated before.
        match random.random_range(0..3) {
            0 => all.update_batch(&thrice, &groups, Some(&filter), 3)?,
            1 => {
                let state = all.convert_to_state(&thrice, Some(&filter))?;
                all.merge_batch(&state, &groups, 3)?;
            }
            _ => {
                let mut part = many(name, &columns);
                part.update_batch(&thrice, &groups, Some(&filter), 3)?;
                parts.push(part.state(EmitTo::All)?);
                all.merge_batch(&parts.remove(0), &[0, 1, 2], 3)?;
            }
        }
    }
    let first = all.evaluate(EmitTo::First(1))?;
    assert!(rows == 0 || first.is_null(0), "{name}: all of the first group is filtered out");
    let _ = all.size();
    let others = all.evaluate(EmitTo::All)?;
    assert_eq!(others.len(), 2, "{name}: two groups are left");
    let result = ScalarValue::try_from_array(&others, 0)?;
    assert_eq!(result, ScalarValue::try_from_array(&others, 1)?, "{name}: groups of the same rows");
    Ok(result)
}

/// The result in all these ways.
fn every_way(name: &str, columns: &[ArrayRef], random: &mut StdRng) -> Vec<(&'static str, ScalarValue)> {
    let result =
        |way: &'static str, result: Result<ScalarValue>| (way, result.unwrap_or_else(|e| panic!("{name} {way}: {e}")));
    vec![
        result("whole", whole(name, columns)),
        result("asked often", asked_often(name, columns, random)),
        result("merged", merged(name, columns, random)),
        result("grouped", grouped(name, columns, random)),
    ]
}

/// As [`every_way`], of an aggregate whose result is a state.
fn states(name: &str, columns: &[ArrayRef], random: &mut StdRng) -> Vec<(&'static str, Option<Vec<u8>>)> {
    every_way(name, columns, random).into_iter().map(|(way, result)| (way, bytes(result))).collect()
}

fn bytes(value: ScalarValue) -> Option<Vec<u8>> {
    match value {
        ScalarValue::BinaryView(state) => state,
        other => panic!("{other:?} is no state"),
    }
}

/// What an accessor says of a state.
fn ask(name: &str, args: &[ScalarValue]) -> std::result::Result<ScalarValue, ValueError> {
    let function =
        ACCESSORS.iter().find(|function| function.name() == name).unwrap_or_else(|| panic!("there is no {name}"));
    let fields: Vec<FieldRef> =
        args.iter().map(|arg| Arc::new(SqlType::of_data_type(&arg.data_type()).field("x", true)) as FieldRef).collect();
    let constants: Vec<Option<&ScalarValue>> = args.iter().map(Some).collect();
    let return_field = function
        .return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &constants })
        .expect("a field");
    let call = ScalarFunctionArgs {
        args: args.iter().cloned().map(ColumnarValue::Scalar).collect(),
        arg_fields: fields,
        number_rows: 1,
        return_field,
        config_options: Arc::new(ConfigOptions::default()),
    };
    match function.invoke_with_args(call) {
        Ok(ColumnarValue::Scalar(result)) => Ok(result),
        Ok(ColumnarValue::Array(_)) => panic!("a constant was expected"),
        Err(error) => Err(value_error(error)),
    }
}

fn value_error(error: datafusion_common::DataFusionError) -> ValueError {
    match error {
        datafusion_common::DataFusionError::External(error) => {
            *error.downcast::<ValueError>().expect("an error of a value")
        }
        other => panic!("{other}"),
    }
}

fn state(bytes: &[u8]) -> ScalarValue {
    ScalarValue::BinaryView(Some(bytes.to_vec()))
}

fn float(name: &str, bytes: &[u8]) -> Option<f64> {
    match ask(name, &[state(bytes)]) {
        Ok(ScalarValue::Float64(value)) => value,
        other => panic!("{name}: {other:?}"),
    }
}

fn int(name: &str, bytes: &[u8]) -> Option<i64> {
    match ask(name, &[state(bytes)]) {
        Ok(ScalarValue::Int64(value)) => value,
        other => panic!("{name}: {other:?}"),
    }
}

fn time(name: &str, bytes: &[u8]) -> Option<i64> {
    match ask(name, &[state(bytes)]) {
        Ok(ScalarValue::TimestampMicrosecond(value, Some(_))) => value,
        other => panic!("{name}: {other:?}"),
    }
}

/// Equal but for rounding; NaN equals NaN.
fn near(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
        }
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// A row of a time and a value.
type Row = (Option<i64>, Option<f64>);

/// Rows in any order, each at its own time; some without time or value. A start and steps that floats hold exactly.
fn rows(random: &mut StdRng) -> Vec<Row> {
    let count = random.random_range(0..40);
    let mut time = random.random_range(-1_000_000..1_000_000) * 1_000_000;
    let nan = random.random_bool(0.1);
    let mut rows: Vec<Row> = (0..count)
        .map(|_| {
            time += random.random_range(1..100) * 250_000;
            let value = match random.random_range(0..20) {
                0 => None,
                1 if nan => Some(f64::NAN),
                _ => Some(f64::from(random.random_range(-40..400)) / 4.0),
            };
            ((!random.random_bool(0.05)).then_some(time), value)
        })
        .collect();
    if random.random_bool(0.8) {
        rows.shuffle(random);
    }
    rows
}

/// The points of rows in the order of time.
fn points(rows: &[Row]) -> Vec<(i64, f64)> {
    let mut points: Vec<(i64, f64)> = rows.iter().filter_map(|(time, value)| time.zip(*value)).collect();
    points.sort_by_key(|point| point.0);
    points
}

fn times(times: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn values(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

fn columns(rows: &[Row]) -> Vec<ArrayRef> {
    vec![times(rows.iter().map(|row| row.0)), values(rows.iter().map(|row| row.1))]
}

fn empty_like(column: &ArrayRef) -> ArrayRef {
    new_empty_array(column.data_type())
}

fn shuffled(column: &ArrayRef, random: &mut StdRng) -> ArrayRef {
    let mut order: Vec<u32> = (0..u32::try_from(column.len()).expect("few")).collect();
    order.shuffle(random);
    take(column, &UInt32Array::from(order), None).expect("in range")
}
