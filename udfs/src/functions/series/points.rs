//! First and last points, averages and integrals: what several kinds of states can tell.

use super::super::aggregate::series::counter::Counter;
use super::super::aggregate::series::points::Point;
use super::super::aggregate::series::rollup::Mergeable;
use super::super::aggregate::series::state::{Kind, Reader, mismatch};
use super::super::aggregate::series::stats::Moments;
use super::super::aggregate::series::time_weight::TimeWeight;
use super::super::aggregate::sketches::digest::Digest;
use super::super::call::{Timestamp, Value, fail};
use super::super::define::{Function, def};

/// The first and the last point of a state over time.
fn ends(state: &[u8]) -> Value<(Point, Point)> {
    Ok(match Reader::kind_of(state)? {
        Kind::TimeWeight => TimeWeight::decode(state).map(|state| (state.first, state.last))?,
        Kind::Counter => Counter::<false>::decode(state).map(|state| (state.first, state.last))?,
        Kind::Gauge => Counter::<true>::decode(state).map(|state| (state.first, state.last))?,
        other => return mismatch("time_weight, counter_agg or gauge_agg", other),
    })
}

fn average(state: &[u8]) -> Value<Option<f64>> {
    Ok(match Reader::kind_of(state)? {
        Kind::TimeWeight => TimeWeight::decode(state)?.average(),
        Kind::Stats1 => Moments::decode(state)?.average(),
        Kind::TDigest => Some(Digest::decode(state)?.mean()),
        other => return mismatch("time_weight, stats_agg(x) or tdigest", other),
    })
}

/// How many seconds a unit of time has.
fn unit_seconds(unit: &str) -> Value<f64> {
    Ok(match unit.trim().to_ascii_lowercase().as_str() {
        "microsecond" | "microseconds" | "us" | "usec" | "usecs" => 1e-6,
        "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => 1e-3,
        "second" | "seconds" | "s" | "sec" | "secs" => 1.0,
        "minute" | "minutes" | "m" | "min" | "mins" => 60.0,
        "hour" | "hours" | "h" | "hr" | "hrs" => 3600.0,
        "day" | "days" | "d" => 86_400.0,
        _ => return fail("22023", format!("unit \"{unit}\" not recognized for an integral over time")),
    })
}

fn integral(state: &[u8], unit: &str) -> Value<f64> {
    Ok(TimeWeight::decode(state)?.integral / unit_seconds(unit)?)
}

pub(super) fn functions() -> Vec<Function> {
    vec![
        def(
            "average",
            "The average over time of a time_weight, NULL for a single point; or that of the values of a stats_agg(x) or tdigest.",
            "average(time_weight('LOCF', ts, temperature))",
        )
        .on("bytea -> float8", |c| c.map1(average)),
        def(
            "integral",
            "The integral over time of a time_weight, in values times seconds or another unit up to day.",
            "integral(time_weight('linear', ts, watts), 'hour')",
        )
        .on("bytea -> float8", |c| c.map1(|state| integral(state, "second")))
        .on("bytea, text -> float8", |c| c.map2(integral)),
        def(
            "first_val",
            "The first value in time of a time_weight, counter_agg or gauge_agg.",
            "first_val(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> float8", |c| c.map1(|state| Ok(ends(state)?.0.value))),
        def(
            "last_val",
            "The last value in time of a time_weight, counter_agg or gauge_agg.",
            "last_val(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> float8", |c| c.map1(|state| Ok(ends(state)?.1.value))),
        def(
            "first_time",
            "The time of the first value of a time_weight, counter_agg or gauge_agg.",
            "first_time(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> timestamptz", |c| c.map1(|state| Ok(Timestamp(ends(state)?.0.time)))),
        def(
            "last_time",
            "The time of the last value of a time_weight, counter_agg or gauge_agg.",
            "last_time(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> timestamptz", |c| c.map1(|state| Ok(Timestamp(ends(state)?.1.time)))),
    ]
}
