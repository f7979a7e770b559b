//! Sketches against exact answers, in one go and merged from parts; states that come back damaged.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array, Int32Array};
use arrow::array::{Int64Array, IntervalMonthDayNanoArray, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, IntervalMonthDayNano};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::series::rollup::Mergeable;
use super::super::two_step::Summary;
use super::digest::Digest;
use super::distinct::Distinct;
use super::frequency::Frequent;
use super::hash::{canonical, xxh64};

const SEED: u64 = 20_260_611;

/// Values spread in different ways.
fn samples(random: &mut StdRng) -> Vec<(&'static str, Vec<f64>)> {
    let mut of = |f: fn(f64) -> f64| (0..50_000).map(|_| f(random.random::<f64>())).collect::<Vec<_>>();
    let mut sorted = of(|x| x * 1e6);
    sorted.sort_by(f64::total_cmp);
    vec![
        ("uniform", of(|x| x * 1000.0 - 500.0)),
        ("exponential", of(|x| -(1.0 - x).ln())),
        ("heavy tail", of(|x| (1.0 - x).powf(-2.0))),
        ("repeated", of(|x| (x * 20.0).floor())),
        ("sorted", sorted),
    ]
}

/// How far a value's ranks among sorted values are from a fraction.
fn rank_error(sorted: &[f64], value: f64, fraction: f64) -> f64 {
    let total = sorted.len() as f64;
    let below = sorted.partition_point(|other| *other < value) as f64 / total;
    let up_to = sorted.partition_point(|other| *other <= value) as f64 / total;
    (below - fraction).max(fraction - up_to).max(0.0)
}

fn check_digest(name: &str, digest: &mut Digest, sorted: &[f64]) {
    for fraction in [0.0, 0.0005, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9995, 1.0] {
        let value = digest.percentile(fraction);
        let error = rank_error(sorted, value, fraction);
        // One percent in the middle, less towards the ends, and within some values at them.
        let bound = 0.02 * (fraction * (1.0 - fraction)).sqrt() + 3.0 / sorted.len() as f64;
        assert!(error <= bound, "{name}: {value} at {fraction} is off by {error}, more than {bound}");
        let rank = digest.rank(value);
        let error = rank_error(sorted, value, rank);
        assert!(error <= bound, "{name}: rank {rank} of {value} is off by {error}, more than {bound}");
    }
    assert_eq!(digest.count(), sorted.len() as u64, "{name}");
    assert_eq!((digest.min(), digest.max()), (sorted[0], sorted[sorted.len() - 1]), "{name}");
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    assert!((digest.mean() - mean).abs() <= mean.abs() * 1e-9 + 1e-9, "{name}: mean {} not {mean}", digest.mean());
}

#[test]
fn percentiles_are_near() {
    let random = &mut StdRng::seed_from_u64(SEED);
    for (name, values) in samples(random) {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let mut whole = Digest::new(200);
        values.iter().for_each(|value| whole.insert(*value));
        check_digest(name, &mut whole, &sorted);
        assert!(whole.write().len() < 4000, "{name}: {} bytes", whole.write().len());

        let mut parts = vec![Digest::new(200); 17];
        values.iter().for_each(|value| parts[random.random_range(0..17)].insert(*value));
        let mut merged = Digest::new(200);
        for mut part in parts {
            let part = Digest::read(&part.write()).unwrap();
            Summary::merge(&mut merged, part).unwrap();
        }
        check_digest(name, &mut Digest::read(&merged.write()).unwrap(), &sorted);
    }
}

#[test]
fn digests_of_few_and_of_extreme_values() {
    let digest = |values: &[f64]| {
        let mut digest = Digest::new(100);
        values.iter().for_each(|value| digest.insert(*value));
        Digest::read(&digest.write()).unwrap()
    };
    let mut one = digest(&[7.0]);
    assert_eq!([0.0, 0.5, 1.0].map(|p| one.percentile(p)), [7.0; 3]);
    assert_eq!([6.0, 7.0, 8.0].map(|v| one.rank(v)), [0.0, 0.5, 1.0]);
    let mut same = digest(&[3.0; 1000]);
    assert_eq!([same.percentile(0.3), same.rank(3.0), same.mean()], [3.0, 0.5, 3.0]);
    let mut few = digest(&[4.0, 1.0, 3.0, 2.0]);
    assert_eq!([few.percentile(0.5), few.rank(2.5), few.rank(1.0)], [2.5, 0.5, 0.0625]);
    let (infinite, huge) = (f64::INFINITY, f64::MAX);
    let mut wide = digest(&[-infinite, -huge, 0.0, huge, infinite, infinite]);
    assert_eq!([0.1, 0.5, 0.9].map(|p| wide.percentile(p)), [-infinite, huge / 2.0, infinite]);
    assert_eq!((wide.min(), wide.max(), wide.count()), (-infinite, infinite, 6));
    assert!(wide.rank(huge / 2.0).is_finite() && wide.mean().is_nan());
    let mut only = digest(&[infinite]);
    assert_eq!((only.percentile(0.5), only.rank(infinite), only.rank(1.0)), (infinite, 0.5, 0.0));
    assert_eq!((only.min(), only.max()), (infinite, infinite));
}

#[test]
fn distinct_values_are_counted_within_three_sigma() {
    for bits in [11, 15, 18] {
        let mut whole = Distinct::new(bits);
        let mut count = 0_u64;
        for target in [0, 1, 2, 10, 100, 1000, 6000, 8192, 8193, 40_000, 200_000, 1_000_000] {
            while count < target {
                whole.insert(xxh64(&count.to_le_bytes()));
                whole.insert(xxh64(&(count / 2).to_le_bytes()));
                count += 1;
            }
            let (estimate, exact) = (whole.estimate(), count as f64);
            let bound = 3.0 * whole.standard_error() * exact + 0.01;
            assert!((estimate - exact).abs() <= bound, "2^{bits} buckets: {estimate} of {exact}, bound {bound}");
        }
    }
}

/// Over many sets of values: few buckets are far off now and then, but not on average.
#[test]
fn distinct_counts_have_no_bias() {
    const TRIALS: u32 = 100;
    for bits in [4, 6, 10] {
        for count in [20_u64, 300, 2000, 10_000] {
            let (mut sum, mut squares) = (0.0, 0.0);
            for trial in 0..TRIALS {
                let mut distinct = Distinct::new(bits);
                for value in 0..count {
                    distinct.insert(xxh64(&[u64::from(trial).to_le_bytes(), value.to_le_bytes()].concat()));
                }
                let error = distinct.estimate() / count as f64 - 1.0;
                sum += error;
                squares += error * error;
            }
            let trials = f64::from(TRIALS);
            let (bias, deviation) = (sum / trials, (squares / trials).sqrt());
            let expected = Distinct::new(bits).standard_error();
            // The estimator's constant is that of very many buckets, of few it says up to 1.08/buckets too much.
            let known = 1.08 / f64::from(1_u32 << bits);
            let bound = 3.0 * expected / trials.sqrt() + known;
            assert!(bias.abs() < bound, "2^{bits} buckets, {count} values: bias {bias}");
            assert!(deviation < 1.25 * expected + known, "2^{bits} buckets, {count} values: deviation {deviation}");
        }
    }
}

#[test]
fn merged_distinct_values_are_those_of_the_whole() {
    let random = &mut StdRng::seed_from_u64(SEED);
    for bits in [4_u32, 10, 15, 18] {
        for count in [0, 3, 500, 20_000, 100_000] {
            let mut whole = Distinct::new(bits);
            let mut parts = vec![Distinct::new(bits); 5];
            let mut narrow = Distinct::new(bits.max(5) - 1);
            for value in 0_u64..count {
                let hash = xxh64(&value.to_le_bytes());
                whole.insert(hash);
                narrow.insert(hash);
                // Most in one part, so that it is dense while others are not.
                let part = if random.random_bool(0.8) { 0 } else { random.random_range(1..5) };
                parts[part].insert(hash);
            }
            let mut merged = parts.pop().unwrap();
            for mut part in parts {
                Summary::merge(&mut merged, Distinct::read(&part.write()).unwrap()).unwrap();
            }
            assert_eq!(merged, whole, "2^{bits} buckets, {count} values");
            let bytes = whole.write();
            assert_eq!(Distinct::read(&bytes).unwrap(), whole);
            assert!(bytes.len() <= (1 << bits) / 4 * 3 + 16);
            // With fewer buckets it is as if it had always had those.
            Summary::merge(&mut whole, Distinct::new(bits.max(5) - 1)).unwrap();
            assert!((whole.estimate() - narrow.estimate()).abs() < 1e-6, "2^{bits} buckets, {count} values");
        }
    }
}

#[test]
fn hashes_are_those_of_xxh64() {
    // From the reference implementation.
    assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
    assert_eq!(xxh64(b"a"), 0xd24e_c4f1_a98c_6e5b);
    assert_eq!(xxh64(b"abc"), 0x44bc_2cf5_ad77_0999);
    assert_eq!(xxh64(b"Nobody inspects the spammish repetition"), 0xfbce_a83c_8a37_8bf1);
}

fn bytes_of(array: ArrayRef) -> Vec<u8> {
    let mut bytes = vec![];
    canonical(&array, 0, &mut bytes).unwrap();
    bytes
}

#[test]
fn equal_values_have_equal_bytes() {
    let numeric = |value: i128, scale: i8| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap())
    };
    let float = |value: f64| -> ArrayRef { Arc::new(Float64Array::from(vec![value])) };
    let span = |months, days, nanos| -> ArrayRef {
        Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(months, days, nanos)]))
    };
    let equal: Vec<Vec<ArrayRef>> = vec![
        vec![
            Arc::new(Int16Array::from(vec![100])),
            Arc::new(Int32Array::from(vec![100])),
            Arc::new(Int64Array::from(vec![100])),
            Arc::new(Float32Array::from(vec![100.0])),
            float(100.0),
            numeric(100, 0),
            numeric(10_000, 2),
            numeric(1, -2),
        ],
        vec![float(0.1), numeric(1, 1), numeric(1_000_000_000_000_000, 16)],
        vec![float(-0.0), float(0.0), numeric(0, 16)],
        vec![float(f64::NAN), float(-f64::NAN)],
        vec![float(1e20), numeric(100_000_000_000_000_000_000, 0)],
        vec![numeric(12_345_678_901_234_567_890, 19), numeric(1_234_567_890_123_456_789, 18)],
        vec![numeric(1_234_567_890_123_456_788, 18)],
        vec![
            Arc::new(Date32Array::from(vec![1])),
            Arc::new(TimestampMicrosecondArray::from(vec![86_400_000_000])),
            Arc::new(TimestampMicrosecondArray::from(vec![86_400_000_000]).with_timezone("UTC")),
        ],
        vec![span(1, 0, 0), span(0, 30, 0), span(0, 29, 86_400_000_000_000)],
        vec![Arc::new(StringViewArray::from(vec!["100"]))],
    ];
    let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
    for (number, arrays) in equal.into_iter().enumerate() {
        for array in arrays {
            assert_eq!(*known.entry(bytes_of(ArrayRef::clone(&array))).or_insert(number), number, "{array:?}");
        }
    }
    assert_eq!(known.len(), 10, "values that differ have bytes that differ");
    let lists = |values| -> ArrayRef {
        Arc::new(arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>([Some(values)]))
    };
    assert_ne!(bytes_of(lists(vec![Some(1), None])), bytes_of(lists(vec![Some(1)])));
    let span = arrow::array::DurationSecondArray::from(vec![1]);
    assert_eq!(canonical(&span, 0, &mut vec![]).unwrap_err().code, "42883");
}

/// Adds values to a summary as an aggregate does.
fn frequent(common: &ArrayRef, values: &[String]) -> Frequent {
    let mut group = None;
    let texts = StringViewArray::from_iter_values(values);
    for row in 0..values.len() {
        Frequent::add(&mut group, &(common, texts.clone()), row).unwrap();
    }
    group.unwrap()
}

fn check_frequent(summary: &Frequent, exact: &HashMap<&str, u64>, total: u64, least: f64) {
    for (value, count) in exact {
        let (min, max) = summary.frequency(value);
        let true_frequency = *count as f64 / total as f64;
        let within = min <= true_frequency + 1e-12 && true_frequency <= max + 1e-12;
        assert!(within, "{value}: {true_frequency} is not from {min} to {max}");
        if true_frequency >= least {
            let known = summary.common_values().iter().any(|counter| &*counter.value == *value);
            assert!(known, "{value} with {true_frequency} is missing");
        }
    }
}

#[test]
fn common_values_are_found() {
    let random = &mut StdRng::seed_from_u64(SEED);
    let values: Vec<String> =
        (0..60_000).map(|_| format!("v{}", (random.random::<f64>().powi(4) * 3000.0).floor())).collect();
    let mut exact: HashMap<&str, u64> = HashMap::new();
    values.iter().for_each(|value| *exact.entry(value).or_default() += 1);
    let total = values.len() as u64;
    for least in [0.2, 0.01, 0.002] {
        // Every row has it; one stands for all.
        let common: ArrayRef = Arc::new(Float64Array::from(vec![least; values.len()]));
        let mut whole = frequent(&common, &values);
        check_frequent(&whole, &exact, total, least);
        check_frequent(&Frequent::read(&whole.write()).unwrap(), &exact, total, least);
        let mut parts = values.chunks(7001).map(|part| frequent(&common, part));
        let mut merged = parts.next().unwrap();
        parts.for_each(|mut part| Summary::merge(&mut merged, Frequent::read(&part.write()).unwrap()).unwrap());
        check_frequent(&merged, &exact, total, least);
    }
    let common: ArrayRef = Arc::new(Int32Array::from(vec![5; values.len()]));
    let whole = frequent(&common, &values);
    let mut wanted: Vec<(&&str, &u64)> = exact.iter().collect();
    wanted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let top: Vec<String> = whole.common_values().iter().map(|counter| counter.value.to_string()).collect();
    let wanted: Vec<&str> = wanted.iter().take(5).map(|(value, _)| **value).collect();
    assert_eq!(top, wanted);
    // Put together with one of fewer counters, values that those have lost still count.
    let few: ArrayRef = Arc::new(Float64Array::from(vec![0.2; values.len()]));
    let mut mixed = frequent(&few, &values[..30_000]);
    Summary::merge(&mut mixed, frequent(&common, &values[30_000..])).unwrap();
    check_frequent(&mixed, &exact, total, 1.0);
}

/// Reads what may be damaged, and asks for everything.
fn use_states(bytes: &[u8]) {
    if let Ok(mut digest) = Digest::decode(bytes) {
        for p in [0.0, 0.3, 1.0] {
            digest.percentile(p);
        }
        let (min, max) = (digest.min(), digest.max());
        for value in [min, max, min / 2.0 + max / 2.0, 0.0, f64::INFINITY, f64::NEG_INFINITY] {
            digest.rank(value);
        }
        digest.mean();
        let again = digest.clone();
        Summary::merge(&mut digest, again).unwrap();
        digest.write();
    }
    if let Ok(mut distinct) = Distinct::decode(bytes) {
        assert!(!distinct.estimate().is_nan());
        Summary::merge(&mut distinct, Distinct::new(4)).unwrap();
        distinct.insert(1);
        distinct.write();
    }
    if let Ok(mut frequent) = Frequent::decode(bytes) {
        frequent.frequency("v1");
        frequent.common_values();
        let again = frequent.clone();
        Summary::merge(&mut frequent, again).unwrap();
        frequent.write();
    }
}

#[test]
fn damaged_states_are_errors() {
    let random = &mut StdRng::seed_from_u64(SEED);
    let mut states = vec![];
    for count in [1_u64, 20, 3000] {
        let (mut digest, mut distinct) = (Digest::new(50), Distinct::new(6));
        for value in 0..count {
            digest.insert(value as f64);
            distinct.insert(xxh64(&value.to_le_bytes()));
        }
        let common: ArrayRef = Arc::new(Float64Array::from(vec![0.1; 3000]));
        let values: Vec<String> = (0..count).map(|value| format!("v{}", value % 40)).collect();
        states.extend([digest.write(), distinct.write(), frequent(&common, &values).write()]);
    }
    for state in &states {
        for length in 0..state.len() {
            let cut = &state[..length];
            assert!(Digest::decode(cut).is_err() && Distinct::decode(cut).is_err() && Frequent::decode(cut).is_err());
        }
        for _ in 0..3000 {
            let mut other = state.clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(3..other.len());
                other[at] =
                    if random.random_bool(0.5) { random.random() } else { [0, 0xff][random.random_range(0..2)] };
            }
            use_states(&other);
        }
    }
    for kind in 0..12 {
        for _ in 0..3000 {
            let mut bytes = vec![0xd7, 1, kind];
            bytes.extend((0..random.random_range(0..90)).map(|_| random.random_range(0..5_u8) * 63));
            use_states(&bytes);
        }
    }
}
