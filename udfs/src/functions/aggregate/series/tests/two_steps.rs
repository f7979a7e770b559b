//! Aggregates in two steps: results against a recomputation by hand, and states of parts rolled up.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryViewArray, StringViewArray};
use datafusion_common::ScalarValue;
use rand::rngs::StdRng;

use super::{
    Row, ask, bytes, columns, cuts, float, int, near, points, random, rows, shuffled, state, states, time, times,
    value_error, values, whole,
};

/// Checks of a state against the points it is of.
type Check = fn(&[u8], &[(i64, f64)]) -> Result<(), String>;

fn same(name: &str, got: Option<f64>, wanted: Option<f64>) -> Result<(), String> {
    if near(got, wanted) { Ok(()) } else { Err(format!("{name} is {got:?} instead of {wanted:?}")) }
}

fn equal<T: PartialEq + std::fmt::Debug>(name: &str, got: T, wanted: T) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("{name} is {got:?} instead of {wanted:?}")) }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn seconds(from: i64, to: i64) -> f64 {
    (to - from) as f64 / 1e6
}

fn check_ends(state: &[u8], points: &[(i64, f64)]) -> Result<(), String> {
    let (first, last) = (points[0], points[points.len() - 1]);
    equal("first_time", time("first_time", state), Some(first.0))?;
    equal("last_time", time("last_time", state), Some(last.0))?;
    same("first_val", float("first_val", state), Some(first.1))?;
    same("last_val", float("last_val", state), Some(last.1))
}

fn check_weight(state: &[u8], points: &[(i64, f64)], area: fn(f64, f64) -> f64) -> Result<(), String> {
    let sum: f64 = points.windows(2).map(|pair| area(pair[0].1, pair[1].1) * seconds(pair[0].0, pair[1].0)).sum();
    same("integral", float("integral", state), Some(sum))?;
    let duration = seconds(points[0].0, points[points.len() - 1].0);
    same("average", float("average", state), (points.len() > 1).then(|| sum / duration))?;
    let hours = ask("integral", &[super::state(state), ScalarValue::from("hours")]);
    match hours {
        Ok(ScalarValue::Float64(hours)) => same("integral in hours", hours, Some(sum / 3600.0))?,
        other => return Err(format!("integral in hours: {other:?}")),
    }
    check_ends(state, points)
}

fn check_locf(state: &[u8], points: &[(i64, f64)]) -> Result<(), String> {
    check_weight(state, points, |left, _| left)
}

fn check_linear(state: &[u8], points: &[(i64, f64)]) -> Result<(), String> {
    check_weight(state, points, |left, right| (left + right) / 2.0)
}

/// The line through points by least squares, in two passes: slope, intercept, correlation.
#[expect(clippy::cast_precision_loss, reason = "few points")]
fn line(points: &[(f64, f64)]) -> (Option<f64>, Option<f64>, Option<f64>) {
    let n = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |f: &dyn Fn(f64, f64) -> f64| points.iter().map(|point| f(point.0 - x, point.1 - y)).sum::<f64>();
    let (xx, yy, xy) = (sum(&|x, _| x * x), sum(&|_, y| y * y), sum(&|x, y| x * y));
    let slope = (points.len() > 1 && xx != 0.0).then(|| xy / xx);
    let corr = slope.filter(|_| yy != 0.0).map(|_| xy / (xx * yy).sqrt());
    (slope, slope.map(|slope| y - slope * x), corr)
}

fn check_change(state: &[u8], points: &[(i64, f64)], counter: bool) -> Result<(), String> {
    let mut whole: Vec<f64> = vec![];
    let (mut offset, mut resets, mut changes) = (0.0, 0, 0);
    for (at, point) in points.iter().enumerate() {
        if at > 0 {
            let before = points[at - 1].1;
            if counter && point.1 < before {
                offset += before;
                resets += 1;
            }
            changes += i64::from(point.1 != before);
        }
        whole.push(point.1 + offset);
    }
    let step = |at: usize| (whole[at] - whole[at - 1], seconds(points[at - 1].0, points[at].0));
    let (n, several) = (points.len(), points.len() > 1);
    let (left, right) = if several { (step(1), step(n - 1)) } else { ((0.0, 0.0), (0.0, 0.0)) };
    let (delta, duration) = (whole[n - 1] - whole[0], seconds(points[0].0, points[n - 1].0));
    let nan = points.iter().any(|point| point.1.is_nan());
    same("delta", float("delta", state), Some(delta))?;
    same("time_delta", float("time_delta", state), Some(duration))?;
    same("rate", float("rate", state), several.then(|| delta / duration))?;
    if !nan {
        same("idelta_left", float("idelta_left", state), Some(left.0))?;
        same("idelta_right", float("idelta_right", state), Some(right.0))?;
        same("irate_left", float("irate_left", state), several.then(|| left.0 / left.1))?;
        same("irate_right", float("irate_right", state), several.then(|| right.0 / right.1))?;
        let since = |point: &(i64, f64)| seconds(points[0].0, point.0);
        let fit: Vec<(f64, f64)> = points.iter().zip(&whole).map(|(point, value)| (since(point), *value)).collect();
        let (slope, intercept, corr) = line(&fit);
        same("slope", float("slope", state), slope)?;
        let epoch = seconds(946_684_800_000_000, points[0].0);
        let intercept = intercept.zip(slope).map(|(intercept, slope)| intercept - slope * epoch);
        same("intercept", float("intercept", state), intercept)?;
        same("stats_corr", float("stats_corr", state), corr)?;
    }
    equal("num_resets", int("num_resets", state), Some(resets))?;
    equal("num_changes", int("num_changes", state), Some(changes))?;
    equal("num_elements", int("num_elements", state), i64::try_from(n).ok())?;
    check_ends(state, points)
}

fn check_counter(state: &[u8], points: &[(i64, f64)]) -> Result<(), String> {
    check_change(state, points, true)
}

fn check_gauge(state: &[u8], points: &[(i64, f64)]) -> Result<(), String> {
    check_change(state, points, false)
}

#[expect(clippy::cast_precision_loss, reason = "few values")]
fn check_moments(state: &[u8], values: &[f64], names: [&str; 6]) -> Result<(), String> {
    let [average, sum, stddev, variance, skewness, kurtosis] = names;
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let power = |exponent: i32| values.iter().map(|value| (value - mean).powi(exponent)).sum::<f64>();
    let (m2, m3, m4) = (power(2), power(3), power(4));
    same(average, float(average, state), Some(mean))?;
    same(sum, float(sum, state), Some(values.iter().sum()))?;
    for (method, n) in [("sample", n - 1.0), ("POP", n)] {
        let of = |name| match ask(name, &[super::state(state), ScalarValue::from(method)]) {
            Ok(ScalarValue::Float64(value)) => value,
            other => panic!("{name}: {other:?}"),
        };
        let (some, spread) = (n > 0.0, n > 0.0 && m2 != 0.0);
        same(variance, of(variance), some.then(|| m2 / n))?;
        same(stddev, of(stddev), some.then(|| (m2 / n).sqrt()))?;
        same(skewness, of(skewness), spread.then(|| m3 / n / (m2 / n).powf(1.5)))?;
        same(kurtosis, of(kurtosis), spread.then(|| m4 / n / (m2 / n).powi(2)))?;
        if method == "sample" {
            same(variance, float(variance, state), of(variance))?;
        }
    }
    equal("num_vals", int("num_vals", state), i64::try_from(values.len()).ok())
}

fn check_stats(state: &[u8], points: &[(i64, f64)]) -> Result<(), String> {
    let values: Vec<f64> = points.iter().map(|point| point.1).collect();
    let names = ["average", "stats_sum", "stats_stddev", "stats_variance", "skewness", "kurtosis"];
    check_moments(state, &values, names)
}

/// Of y over whole seconds.
#[expect(clippy::cast_precision_loss, reason = "few values")]
fn check_pairs(state: &[u8], points: &[(i64, f64)]) -> Result<(), String> {
    let pairs: Vec<(f64, f64)> = points.iter().map(|point| (seconds(0, point.0), point.1)).collect();
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    check_moments(state, &y, ["average_y", "sum_y", "stddev_y", "variance_y", "skewness_y", "kurtosis_y"])?;
    check_moments(state, &x, ["average_x", "sum_x", "stddev_x", "variance_x", "skewness_x", "kurtosis_x"])?;
    let (slope, intercept, corr) = line(&pairs);
    same("slope", float("slope", state), slope)?;
    // Far from zero a little slope is much height.
    let scale = 1.0 + slope.unwrap_or_default().abs() * x.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let scaled = |value: Option<f64>| value.map(|value| value / scale);
    same("intercept", scaled(float("intercept", state)), scaled(intercept))?;
    same("stats_corr", float("stats_corr", state), corr)?;
    let root = slope.zip(intercept).filter(|(slope, _)| *slope != 0.0).map(|(slope, intercept)| -intercept / slope);
    let relative = |value: Option<f64>| value.map(|value| value / root.unwrap_or(1.0).abs().max(1.0));
    same("x_intercept", relative(float("x_intercept", state)), relative(root))?;
    let level = slope.map(|_| 1.0);
    same("determination_coeff", float("determination_coeff", state), corr.map(|corr| corr * corr).or(level))?;
    let n = pairs.len() as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let xy: f64 = pairs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    same("covariance", float("covariance", state), (n > 1.0).then(|| xy / (n - 1.0)))
}

/// Prices, each of which stands for its volume too.
fn check_candle(state: &[u8], points: &[(i64, f64)]) -> Result<(), String> {
    let (first, last) = (points[0], points[points.len() - 1]);
    let order = |a: f64, b: f64| a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
    let high = points.iter().rev().max_by(|a, b| order(a.1, b.1)).expect("a point");
    let low = points.iter().min_by(|a, b| order(a.1, b.1)).expect("a point");
    for (name, at, point) in [
        ("open", "open_time", &first),
        ("close", "close_time", &last),
        ("high", "high_time", high),
        ("low", "low_time", low),
    ] {
        same(name, float(name, state), Some(point.1))?;
        equal(at, time(at, state), Some(point.0))?;
    }
    let volume: f64 = points.iter().map(|point| point.1).sum();
    let value: f64 = points.iter().map(|point| point.1 * point.1).sum();
    same("volume", float("volume", state), Some(volume))?;
    same("vwap", float("vwap", state), (volume != 0.0).then(|| value / volume))
}

/// The aggregate, its arguments made of rows, and the check.
struct Case {
    name: &'static str,
    arguments: fn(&[Row]) -> Vec<ArrayRef>,
    check: Check,
}

fn weight(method: &'static str, rows: &[Row]) -> Vec<ArrayRef> {
    let methods: ArrayRef = Arc::new(StringViewArray::from(vec![method; rows.len()]));
    [vec![methods], columns(rows)].concat()
}

fn pairs(rows: &[Row]) -> Vec<ArrayRef> {
    let x = values(rows.iter().map(|row| row.0.map(|time| seconds(0, time))));
    vec![values(rows.iter().map(|row| row.1)), x]
}

fn cases() -> Vec<Case> {
    vec![
        Case { name: "time_weight", arguments: |rows| weight("LOCF", rows), check: check_locf },
        Case { name: "time_weight", arguments: |rows| weight("Linear", rows), check: check_linear },
        Case { name: "counter_agg", arguments: columns, check: check_counter },
        Case { name: "gauge_agg", arguments: columns, check: check_gauge },
        Case {
            name: "stats_agg",
            arguments: |rows| vec![values(rows.iter().map(|row| row.0.and(row.1)))],
            check: check_stats,
        },
        Case { name: "stats_agg", arguments: pairs, check: check_pairs },
        Case {
            name: "candlestick_agg",
            arguments: |rows| {
                let columns = columns(rows);
                vec![Arc::clone(&columns[0]), Arc::clone(&columns[1]), Arc::clone(&columns[1])]
            },
            check: check_candle,
        },
    ]
}

fn check_states(case: &Case, states: Vec<(&'static str, Option<Vec<u8>>)>, points: &[(i64, f64)], round: u64) {
    for (way, state) in states {
        match state {
            Some(state) => {
                (case.check)(&state, points).unwrap_or_else(|e| panic!("{} {way}, round {round}: {e}", case.name));
            }
            None => assert!(points.is_empty(), "{} {way}, round {round}: no state", case.name),
        }
    }
}

#[test]
fn results_are_those_by_hand() {
    for case in cases() {
        for round in 0..200 {
            let mut random = random(round);
            let rows = rows(&mut random);
            check_states(&case, states(case.name, &(case.arguments)(&rows), &mut random), &points(&rows), round);
        }
    }
}

/// Cuts rows by time and makes a state of each part.
fn parts(case: &Case, rows: &[Row], random: &mut StdRng) -> ArrayRef {
    let sorted: Vec<Row> = points(rows).into_iter().map(|(time, value)| (Some(time), Some(value))).collect();
    let states: Vec<Option<Vec<u8>>> = cuts(sorted.len(), random)
        .into_iter()
        .map(|(from, length)| {
            bytes(whole(case.name, &(case.arguments)(&sorted[from..from + length])).expect("a state"))
        })
        .collect();
    shuffled(&(Arc::new(states.iter().map(Option::as_deref).collect::<BinaryViewArray>()) as ArrayRef), random)
}

#[test]
fn states_of_parts_roll_up_to_the_whole() {
    for case in cases() {
        for round in 0..200 {
            let mut random = random(round);
            let rows = rows(&mut random);
            let parts = parts(&case, &rows, &mut random);
            check_states(&case, states("rollup", &[parts], &mut random), &points(&rows), round);
        }
    }
}

#[test]
fn many_states_of_any_order_roll_up() {
    let states: Vec<Vec<u8>> = (0..1000)
        .map(|x| {
            bytes(whole("stats_agg", &[values(std::iter::once(Some(f64::from(x))))]).expect("a state")).expect("rows")
        })
        .collect();
    let column: ArrayRef = Arc::new(BinaryViewArray::from_iter_values(states));
    for (way, state) in super::states("rollup", &[column], &mut random(1)) {
        let state = state.expect("a state");
        assert_eq!(float("average", &state), Some(499.5), "{way}");
        assert!(near(float("stats_variance", &state), Some(1000.0 * 1001.0 / 12.0)), "{way}");
    }
}

#[test]
fn large_values_near_to_each_other_keep_their_variance() {
    let rows: Vec<Option<f64>> = (0..10_000).map(|row| Some(1e9 + f64::from(row % 2))).collect();
    for (way, state) in states("stats_agg", &[values(rows.into_iter())], &mut random(2)) {
        let state = state.expect("a state");
        let variance = ask("stats_variance", &[super::state(&state), ScalarValue::from("population")]);
        let Ok(ScalarValue::Float64(Some(variance))) = variance else { panic!("{variance:?}") };
        assert!((variance - 0.25).abs() < 1e-6, "{way}: {variance}");
    }
    // The published example.
    let numbers = values((0..=100).map(|x| Some(f64::from(x))));
    let state = bytes(whole("stats_agg", &[numbers]).expect("a state")).expect("rows");
    assert!((float("kurtosis", &state).expect("a value") - 1.78195).abs() < 1e-5);
    assert!(float("skewness", &state).expect("a value").abs() < 1e-12);
}

#[test]
fn of_one_time_the_first_counts() {
    let rows = [(Some(5), Some(3.0)), (Some(1), Some(1.0)), (Some(1), Some(9.0)), (Some(5), Some(8.0))];
    for name in ["counter_agg", "gauge_agg"] {
        let state = bytes(whole(name, &columns(&rows)).expect("a state")).expect("rows");
        assert_eq!((float("first_val", &state), float("last_val", &state)), (Some(1.0), Some(3.0)), "{name}");
        assert_eq!(int("num_elements", &state), Some(2), "{name}");
    }
}

#[test]
fn what_cannot_be_rolled_up_is_an_error() {
    let of = |name: &str, method: Option<&'static str>, rows: &[Row]| {
        let arguments = match method {
            Some(method) => weight(method, rows),
            None => columns(rows),
        };
        bytes(whole(name, &arguments).expect("a state")).expect("rows")
    };
    let early = [(Some(0), Some(1.0)), (Some(10), Some(2.0))];
    let touching = [(Some(10), Some(1.0)), (Some(20), Some(2.0))];
    let late = [(Some(11), Some(1.0)), (Some(20), Some(2.0))];
    let cases = [
        (
            of("time_weight", Some("locf"), &early),
            of("time_weight", Some("locf"), &touching),
            "states of time_weight that overlap in time cannot be rolled up",
        ),
        (
            of("time_weight", Some("locf"), &early),
            of("time_weight", Some("linear"), &late),
            "states of time_weight of different methods cannot be rolled up",
        ),
        (
            of("counter_agg", None, &early),
            of("counter_agg", None, &touching),
            "states of counter_agg that overlap in time cannot be rolled up",
        ),
        (
            of("gauge_agg", None, &early),
            of("counter_agg", None, &late),
            "states of different kinds cannot be rolled up: gauge_agg and counter_agg",
        ),
    ];
    for (a, b, message) in cases {
        let column: ArrayRef = Arc::new(BinaryViewArray::from_iter_values([a, b]));
        let error = value_error(whole("rollup", &[column]).expect_err("an error"));
        assert_eq!((error.code, error.message.as_str()), ("22023", message));
    }
}

#[test]
fn the_method_of_a_weight_is_one() {
    for (methods, message) in [
        (vec![Some("cubic")], "time_weight has no method \"cubic\", only 'LOCF' and 'linear'"),
        (vec![None], "the method of time_weight must not be null"),
        (vec![Some("locf"), Some("linear")], "the method of time_weight must be the same in every row"),
    ] {
        let rows: Vec<Row> = (0..).zip(&methods).map(|(time, _)| (Some(time), Some(1.0))).collect();
        let method: ArrayRef = Arc::new(methods.into_iter().collect::<StringViewArray>());
        let error = value_error(whole("time_weight", &[vec![method], columns(&rows)].concat()).expect_err("an error"));
        assert_eq!((error.code, error.message.as_str()), ("22023", message));
    }
}

#[test]
fn counters_begin_again() {
    let minute = |n: i64| 946_684_800_000_000 + n * 60_000_000;
    let rows = [10.0, 20.0, 5.0, 8.0, 8.0, 2.0];
    let rows: Vec<Row> = (0..).zip(rows).map(|(n, value)| (Some(minute(n)), Some(value))).collect();
    let state = bytes(whole("counter_agg", &columns(&rows)).expect("a state")).expect("rows");
    // 10 + 5 + 3 + 0 + 2
    assert_eq!(float("delta", &state), Some(20.0));
    assert_eq!(float("rate", &state), Some(20.0 / 300.0));
    assert_eq!((int("num_resets", &state), int("num_changes", &state)), (Some(2), Some(4)));
    assert_eq!((float("idelta_left", &state), float("idelta_right", &state)), (Some(10.0), Some(2.0)));
    // A line through (0 s, 10) and (60 s, 20).
    let state = bytes(whole("counter_agg", &columns(&rows[..2])).expect("a state")).expect("rows");
    assert_eq!(time("counter_zero_time", &state), Some(minute(-1)));
    assert_eq!(float("intercept", &state), Some(10.0));
    let level = [(Some(minute(0)), Some(1.0)), (Some(minute(1)), Some(1.0))];
    let state = bytes(whole("gauge_agg", &columns(&level)).expect("a state")).expect("rows");
    assert_eq!(time("counter_zero_time", &state), None);
}

#[test]
fn candlesticks_of_periods() {
    let at = |us| ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into()));
    let candle = |us, prices: [f64; 4], volume: Option<f64>| {
        let mut args = vec![at(us)];
        args.extend(prices.map(ScalarValue::from));
        args.push(ScalarValue::Float64(volume));
        bytes(ask("candlestick", &args).expect("a state")).expect("no nulls")
    };
    let states = [candle(20, [11.0, 15.0, 9.0, 12.0], Some(2.0)), candle(10, [8.0, 12.0, 6.0, 9.0], Some(1.0))];
    let column: ArrayRef = Arc::new(BinaryViewArray::from_iter_values(&states));
    let all = bytes(whole("rollup", &[column]).expect("a state")).expect("rows");
    assert_eq!(
        ["open", "high", "low", "close", "volume", "vwap"].map(|name| float(name, &all)),
        [8.0, 15.0, 6.0, 12.0, 3.0, (12.0 * 2.0 + 9.0) / 3.0].map(Some)
    );
    assert_eq!((time("open_time", &all), time("close_time", &all)), (Some(10), Some(20)));
    // An unknown volume makes the sum unknown.
    let column: ArrayRef =
        Arc::new(BinaryViewArray::from_iter_values([&states[0], &candle(30, [1.0, 1.0, 1.0, 1.0], None)]));
    let all = bytes(whole("rollup", &[column]).expect("a state")).expect("rows");
    assert_eq!((float("volume", &all), float("vwap", &all)), (None, None));
    let trades = [times([Some(1), Some(2)].into_iter()), values([Some(1.0), Some(2.0)].into_iter())];
    let state = bytes(
        whole("candlestick_agg", &[trades.to_vec(), vec![values([Some(1.0), None].into_iter())]].concat())
            .expect("a state"),
    );
    assert_eq!(float("volume", &state.expect("rows")), None);
}

#[test]
fn accessors_say_what_they_were_given() {
    let counter = bytes(whole("counter_agg", &columns(&[(Some(1), Some(1.0))])).expect("a state")).expect("rows");
    let stats = bytes(whole("stats_agg", &[values(std::iter::once(Some(1.0)))]).expect("a state")).expect("rows");
    for (name, bytes, message) in [
        ("integral", &counter, "invalid state: expected time_weight, got counter_agg"),
        ("average", &counter, "invalid state: expected time_weight, stats_agg(x) or tdigest, got counter_agg"),
        ("average_y", &stats, "invalid state: expected stats_agg(y, x), got stats_agg(x)"),
        ("delta", &stats, "invalid state: expected counter_agg or gauge_agg, got stats_agg(x)"),
        ("open", &stats, "invalid state: expected candlestick_agg, got stats_agg(x)"),
    ] {
        let error = ask(name, &[state(bytes)]).expect_err("an error");
        assert_eq!((error.code, error.message.as_str()), ("22023", message), "{name}");
    }
    let error = ask("skewness", &[state(&stats), ScalarValue::from("some")]).expect_err("an error");
    assert_eq!(error.code, "22023");
}
