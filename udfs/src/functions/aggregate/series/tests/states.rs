//! States are bytes that anybody can send: whatever they are, they are read or refused.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryViewArray, StringViewArray};
use datafusion_common::ScalarValue;
use rand::Rng;

use super::super::candlestick::Candlestick;
use super::super::counter::Counter;
use super::super::rollup::Mergeable;
use super::super::stats::{Joint, Moments};
use super::super::time_weight::TimeWeight;
use super::{ask, bytes, columns, random, state, value_error, values, whole};

/// A state of each kind, with all its fields used.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let rows = [(Some(3_000_000), Some(1.5)), (Some(1_000_000), Some(2.5)), (Some(9_000_000), Some(-4.0))];
    let columns = columns(&rows);
    let (time, value) = (&columns[0], &columns[1]);
    let method: ArrayRef = Arc::new(StringViewArray::from(vec!["linear"; 3]));
    let more = values([Some(1.0), Some(2.0), Some(4.0)].into_iter());
    [
        ("time_weight", vec![&method, time, value]),
        ("counter_agg", vec![time, value]),
        ("gauge_agg", vec![time, value]),
        ("stats_agg", vec![value]),
        ("stats_agg", vec![value, &more]),
        ("candlestick_agg", vec![time, value, &more]),
    ]
    .into_iter()
    .map(|(name, arguments)| {
        let arguments: Vec<ArrayRef> = arguments.into_iter().cloned().collect();
        (name, bytes(whole(name, &arguments).expect("a state")).expect("rows"))
    })
    .collect()
}

/// The accessors of one argument that is a state.
fn accessors() -> Vec<&'static str> {
    super::ACCESSORS.iter().map(|function| function.info().name).filter(|name| *name != "candlestick").collect()
}

#[test]
fn states_are_read_as_written() {
    fn again<M: Mergeable>(bytes: &[u8]) -> Vec<u8> {
        M::decode(bytes).expect("a state").encode()
    }
    for (name, bytes) in samples() {
        let read = match bytes[2] {
            1 => again::<TimeWeight>(&bytes),
            2 => again::<Counter<false>>(&bytes),
            3 => again::<Counter<true>>(&bytes),
            4 => again::<Moments>(&bytes),
            5 => again::<Joint>(&bytes),
            _ => again::<Candlestick>(&bytes),
        };
        assert_eq!(read, bytes, "{name}");
        let column: ArrayRef = Arc::new(BinaryViewArray::from_iter_values([&bytes]));
        assert_eq!(super::bytes(whole("rollup", &[column]).expect("a state")), Some(bytes), "{name} rolled up alone");
    }
}

#[test]
fn truncated_states_are_errors() {
    for (name, bytes) in samples() {
        for length in 0..bytes.len() {
            let short = &bytes[..length];
            for accessor in accessors() {
                let error = ask(accessor, &[state(short)]).expect_err("truncated");
                assert!(["22P02", "22023"].contains(&error.code), "{accessor} of {length} bytes of {name}: {error}");
            }
            let column: ArrayRef = Arc::new(BinaryViewArray::from_iter_values([short]));
            let error = value_error(whole("rollup", &[column]).expect_err("truncated"));
            assert_eq!(error.code, "22P02", "{length} bytes of {name}: {error}");
        }
    }
}

#[test]
fn damaged_states_never_panic() {
    let (mut random, samples, accessors) = (random(0), samples(), accessors());
    for _ in 0..3_000 {
        let (_, mut bytes) = samples[random.random_range(0..samples.len())].clone();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = match random.random_range(0..3) {
                0 => 0xFF,
                1 => 0,
                _ => random.random(),
            };
        }
        let accessor = accessors[random.random_range(0..accessors.len())];
        let _ = ask(accessor, &[state(&bytes)]);
        let other = &samples[random.random_range(0..samples.len())].1;
        let column: ArrayRef = Arc::new(BinaryViewArray::from_iter_values([&bytes, &bytes, other]));
        let _ = whole("rollup", &[column]);
    }
}

#[test]
fn null_states_are_null() {
    for accessor in accessors() {
        assert!(ask(accessor, &[ScalarValue::BinaryView(None)]).expect("a result").is_null(), "{accessor}");
    }
    let nulls: ArrayRef = Arc::new(BinaryViewArray::from(vec![None, None]));
    assert!(whole("rollup", &[nulls]).expect("a result").is_null());
}

/// States of version 1, which people have stored: each aggregate's name and its state of [`samples`].
#[test]
fn the_stored_form_stays() {
    let wanted = include_str!("version1.txt").lines();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let got: Vec<String> = samples().iter().map(|(name, bytes)| format!("{name} {}", hex(bytes))).collect();
    assert_eq!(got, wanted.collect::<Vec<_>>());
}
