//! first, last and histogram.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_expr::EmitTo;
use rand::Rng;

use super::{empty_like, every_way, find, many, one, random, value_error, whole};

/// Types that a time can have, of which there are at least a few values for numbers from 0 to 19.
fn time_column(numbers: &[Option<i64>], which: u32) -> ArrayRef {
    let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
    let to = |data_type: &DataType| cast(&numbers, data_type).expect("small numbers");
    match which {
        0 => to(&DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        1 => to(&DataType::Int32),
        2 => cast(&to(&DataType::Int32), &DataType::Date32).expect("days"),
        3 => to(&DataType::Float64),
        4 => to(&DataType::Decimal128(10, 2)),
        _ => {
            let texts = numbers.as_primitive::<arrow::datatypes::Int64Type>().iter();
            Arc::new(texts.map(|number| number.map(|number| format!("{number:03}"))).collect::<StringViewArray>())
        }
    }
}

#[test]
fn first_and_last_are_found() {
    for round in 0..600 {
        let mut random = random(round);
        let count = random.random_range(0..60);
        let numbers: Vec<Option<i64>> =
            (0..count).map(|_| (!random.random_bool(0.2)).then(|| random.random_range(0..20))).collect();
        let texts: Vec<Option<String>> = (0..count)
            .map(|row| (!random.random_bool(0.2)).then(|| format!("a value of more than 12 bytes {row}")))
            .collect();
        let value: ArrayRef = Arc::new(texts.iter().map(Option::as_deref).collect::<StringViewArray>());
        let arguments = [value, time_column(&numbers, random.random_range(0..6))];
        for (name, better) in [("first", Ordering::Less), ("last", Ordering::Greater)] {
            let mut best: Option<(i64, &Option<String>)> = None;
            for (number, text) in numbers.iter().zip(&texts) {
                if let Some(number) = *number
                    && best.is_none_or(|(known, _)| number.cmp(&known) == better)
                {
                    best = Some((number, text));
                }
            }
            let wanted = ScalarValue::Utf8View(best.and_then(|(_, text)| text.clone()));
            for (way, got) in every_way(name, &arguments, &mut random) {
                assert_eq!(got, wanted, "{name} {way}, round {round}");
            }
        }
    }
}

#[test]
fn a_window_asks_after_every_row() {
    // One batch for each row: what was beaten must not be kept.
    let rows = 5_000;
    let arguments: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from_iter_values(0..rows)), Arc::new(Int64Array::from_iter_values(0..rows))];
    let mut last = one("last", &arguments);
    for row in 0..rows {
        let at = usize::try_from(row).expect("positive");
        last.update_batch(&[arguments[0].slice(at, 1), arguments[1].slice(at, 1)]).expect("rows");
        assert_eq!(last.evaluate().expect("a result"), ScalarValue::Int64(Some(row)));
    }
    assert!(last.size() < 10_000, "{} bytes for one row", last.size());
}

#[test]
fn many_groups_of_every_aggregate() {
    let (rows, groups) = (100_000_i64, 10_000_usize);
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row * 7_919 % rows)));
    let time = cast(&numbers, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))).expect("times");
    let value = cast(&numbers, &DataType::Float64).expect("floats");
    let text: ArrayRef = Arc::new(StringViewArray::from(vec!["linear"; numbers.len()]));
    let ones: ArrayRef = Arc::new(Int32Array::from(vec![3; numbers.len()]));
    let (low, high): (ArrayRef, ArrayRef) = (
        Arc::new(Float64Array::from(vec![0.0; numbers.len()])),
        Arc::new(Float64Array::from(vec![1e6; numbers.len()])),
    );
    let group: Vec<usize> = (0..numbers.len()).map(|row| row % groups).collect();
    let cases: [(&str, Vec<&ArrayRef>); 9] = [
        ("first", vec![&value, &time]),
        ("last", vec![&value, &time]),
        ("histogram", vec![&value, &low, &high, &ones]),
        ("time_weight", vec![&text, &time, &value]),
        ("counter_agg", vec![&time, &value]),
        ("gauge_agg", vec![&time, &value]),
        ("stats_agg", vec![&value]),
        ("stats_agg", vec![&value, &value]),
        ("candlestick_agg", vec![&time, &value, &value]),
    ];
    for (name, arguments) in cases {
        let arguments: Vec<ArrayRef> = arguments.into_iter().cloned().collect();
        let mut all = many(name, &arguments);
        let mut from = 0;
        while from < group.len() {
            let length = 8_192.min(group.len() - from);
            let batch: Vec<ArrayRef> = arguments.iter().map(|array| array.slice(from, length)).collect();
            all.update_batch(&batch, &group[from..from + length], None, groups).expect("rows");
            assert!(all.size() > 0, "{name} takes memory");
            from += length;
        }
        let state = all.state(EmitTo::All).expect("a state");
        assert!(all.size() < 1 << 20, "{name} still holds {} bytes", all.size());
        let mut last = many(name, &arguments);
        last.merge_batch(&state, &(0..groups).collect::<Vec<_>>(), groups).expect("a state");
        let head = last.evaluate(EmitTo::First(10)).expect("a result");
        let tail = last.evaluate(EmitTo::All).expect("a result");
        assert_eq!((head.len(), tail.len()), (10, groups - 10), "{name}");
        assert_eq!(head.null_count() + tail.null_count(), 0, "{name}");
    }
}

#[test]
fn histograms_count() {
    for round in 0..300 {
        let mut random = random(round);
        let rows = random.random_range(0..80);
        // Widths of buckets are powers of two, so that no value is on the wrong side by rounding.
        let buckets = 1 << random.random_range(0..5);
        let (min, max) = (-16.0, 16.0);
        let values: Vec<Option<f64>> = (0..rows)
            .map(|_| match random.random_range(0..12) {
                0 => None,
                1 => Some(f64::INFINITY),
                2 => Some(f64::NEG_INFINITY),
                _ => Some(f64::from(random.random_range(-80..80)) / 4.0),
            })
            .collect();
        let width = (max - min) / f64::from(buckets);
        let low = |bucket: i32| if bucket == 0 { f64::NEG_INFINITY } else { min + f64::from(bucket - 1) * width };
        let wanted: Vec<i32> = (0..buckets + 2)
            .map(|bucket| {
                let within = |value: &f64| low(bucket) <= *value && (bucket == buckets + 1 || *value < low(bucket + 1));
                i32::try_from(values.iter().flatten().filter(|value| within(value)).count()).expect("few")
            })
            .collect();
        let arguments: Vec<ArrayRef> = vec![
            Arc::new(Float64Array::from(values.clone())),
            Arc::new(Float64Array::from(vec![min; rows])),
            Arc::new(Float64Array::from(vec![max; rows])),
            Arc::new(Int32Array::from(vec![buckets; rows])),
        ];
        for (way, got) in every_way("histogram", &arguments, &mut random) {
            let ScalarValue::List(list) = got else { panic!("{got:?}") };
            let got = list.is_valid(0).then(|| list.value(0).as_primitive::<Int32Type>().values().to_vec());
            let any = values.iter().any(Option::is_some);
            assert_eq!(got, any.then(|| wanted.clone()), "{way}, round {round}");
        }
    }
}

#[test]
fn a_histogram_needs_bounds() {
    let nan = f64::NAN;
    type Case = (Option<f64>, Option<f64>, Option<f64>, Option<i32>, &'static str, &'static str);
    let cases: [Case; 9] = [
        (Some(1.0), Some(2.0), Some(1.0), Some(3), "22023", "lower bound cannot exceed upper bound"),
        (Some(1.0), Some(2.0), Some(2.0), Some(3), "2201G", "lower bound cannot equal upper bound"),
        (Some(1.0), Some(0.0), Some(2.0), Some(0), "2201G", "count must be greater than zero"),
        (Some(1.0), Some(0.0), Some(2.0), Some(i32::MIN), "2201G", "count must be greater than zero"),
        (Some(1.0), Some(0.0), Some(2.0), Some(i32::MAX), "22023", "number of buckets must not exceed 1048576"),
        (Some(nan), Some(0.0), Some(2.0), Some(2), "2201G", "operand, lower bound, and upper bound cannot be NaN"),
        (Some(1.0), None, Some(2.0), Some(2), "22023", "bounds and number of buckets of a histogram must not be null"),
        (Some(1.0), Some(1.0), None, Some(2), "22023", "bounds and number of buckets of a histogram must not be null"),
        (
            Some(1.0),
            Some(1.0),
            Some(2.0),
            None,
            "22023",
            "bounds and number of buckets of a histogram must not be null",
        ),
    ];
    for (value, min, max, count, code, message) in cases {
        let float = |value: Option<f64>| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
        let arguments = [float(value), float(min), float(max), Arc::new(Int32Array::from(vec![count]))];
        let error = value_error(whole("histogram", &arguments).expect_err("an error"));
        assert_eq!((error.code, error.message.as_str()), (code, message));
    }
    let changing: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from(vec![1.0, 1.0])),
        Arc::new(Float64Array::from(vec![0.0, 0.0])),
        Arc::new(Float64Array::from(vec![5.0, 5.0])),
        Arc::new(Int32Array::from(vec![3, 4])),
    ];
    let error = value_error(whole("histogram", &changing).expect_err("an error"));
    assert_eq!(error.message, "number of buckets must not change between calls");
}

#[test]
fn arguments_are_cast_or_refused() {
    let utc = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let local = || DataType::Timestamp(TimeUnit::Microsecond, None);
    let decimal = || DataType::Decimal128(10, 2);
    let (text, float, int) = (DataType::Utf8View, DataType::Float64, DataType::Int32);
    let cases = [
        ("first", vec![DataType::Utf8, utc()], Some(vec![text.clone(), utc()])),
        ("last", vec![DataType::Null, int.clone()], Some(vec![text.clone(), int.clone()])),
        ("first", vec![int.clone()], None),
        ("first", vec![int.clone(), DataType::new_list(int.clone(), true)], None),
        ("histogram", vec![int.clone(); 4], Some(vec![float.clone(), float.clone(), float.clone(), int.clone()])),
        ("histogram", vec![int.clone(); 3], None),
        ("time_weight", vec![text.clone(), local(), decimal()], Some(vec![text.clone(), local(), float.clone()])),
        ("time_weight", vec![text.clone(), int.clone(), float.clone()], None),
        ("counter_agg", vec![utc(), int.clone()], Some(vec![utc(), float.clone()])),
        ("gauge_agg", vec![text.clone(), decimal()], Some(vec![utc(), float.clone()])),
        ("gauge_agg", vec![utc(), DataType::Boolean], None),
        ("stats_agg", vec![decimal()], Some(vec![float.clone()])),
        ("stats_agg", vec![int.clone(), decimal()], Some(vec![float.clone(); 2])),
        ("stats_agg", vec![], None),
        ("candlestick_agg", vec![utc(), int.clone(), DataType::Null], Some(vec![utc(), float.clone(), float])),
        ("rollup", vec![DataType::Binary], Some(vec![DataType::BinaryView])),
        ("rollup", vec![int], None),
    ];
    for (name, types, wanted) in cases {
        match (find(name).coerce_types(&types), wanted) {
            (Ok(got), Some(wanted)) => assert_eq!(got, wanted, "{name} of {types:?}"),
            (Err(error), None) => assert_eq!(value_error(error).code, "42883", "{name} of {types:?}"),
            (got, wanted) => panic!("{name} of {types:?}: {got:?} instead of {wanted:?}"),
        }
    }
}

#[test]
fn no_rows_give_null() {
    let (float, time) = (Arc::new(Float64Array::from(vec![0.0])) as ArrayRef, time_column(&[Some(1)], 0));
    let text: ArrayRef = Arc::new(StringViewArray::from(vec!["locf"]));
    let int: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    for (name, arguments) in [
        ("first", vec![&float, &time]),
        ("histogram", vec![&float, &float, &float, &int]),
        ("time_weight", vec![&text, &time, &float]),
        ("counter_agg", vec![&time, &float]),
        ("gauge_agg", vec![&time, &float]),
        ("stats_agg", vec![&float]),
        ("stats_agg", vec![&float, &float]),
        ("candlestick_agg", vec![&time, &float, &float]),
    ] {
        let none: Vec<ArrayRef> = arguments.into_iter().map(empty_like).collect();
        for (way, result) in every_way(name, &none, &mut random(0)) {
            assert!(result.is_null(), "{name} {way}: {result:?}");
        }
    }
}
