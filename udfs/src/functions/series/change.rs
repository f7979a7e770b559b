//! How a counter or a gauge changes: accessors of `counter_agg` and `gauge_agg`.

use super::super::aggregate::series::counter::Counter;
use super::super::aggregate::series::rollup::Mergeable;
use super::super::aggregate::series::state::{Kind, Reader, mismatch};
use super::super::call::{Timestamp, Value, fail};
use super::super::define::{Function, def};

/// What both kinds have; the calls are the same, so the code is written once.
macro_rules! of {
    ($state:ident, $counter:ident => $result:expr) => {
        match Reader::kind_of($state)? {
            Kind::Counter => {
                let $counter = Counter::<false>::decode($state)?;
                $result
            }
            Kind::Gauge => {
                let $counter = Counter::<true>::decode($state)?;
                $result
            }
            other => mismatch("counter_agg or gauge_agg", other),
        }
    };
}

fn count(count: u64) -> Value<i64> {
    i64::try_from(count).or_else(|_| fail("22003", "bigint out of range"))
}

pub(super) fn functions() -> Vec<Function> {
    vec![
        def(
            "delta",
            "By how much a counter_agg grew, resets made good; or the last value minus the first of a gauge_agg.",
            "delta(counter_agg(ts, bytes_sent))",
        )
        .alias(&["increase"])
        .on("bytea -> float8", |c| c.map1(|state| of!(state, counter => Ok(counter.delta())))),
        def(
            "rate",
            "The change per second of a counter_agg or gauge_agg; NULL for a single value.",
            "rate(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> float8", |c| c.map1(|state| of!(state, counter => Ok(counter.rate())))),
        def(
            "time_delta",
            "The seconds from the first to the last value of a counter_agg or gauge_agg.",
            "time_delta(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> float8", |c| c.map1(|state| of!(state, counter => Ok(counter.time_delta())))),
        def(
            "idelta_left",
            "The change from the first to the second value of a counter_agg or gauge_agg.",
            "idelta_left(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> float8", |c| c.map1(|state| of!(state, counter => Ok(counter.idelta_left())))),
        def(
            "idelta_right",
            "The change from the last but one to the last value of a counter_agg or gauge_agg.",
            "idelta_right(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> float8", |c| c.map1(|state| of!(state, counter => Ok(counter.idelta_right())))),
        def(
            "irate_left",
            "The change per second from the first to the second value of a counter_agg or gauge_agg.",
            "irate_left(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> float8", |c| c.map1(|state| of!(state, counter => Ok(counter.irate_left())))),
        def(
            "irate_right",
            "The change per second from the last but one to the last value of a counter_agg or gauge_agg.",
            "irate_right(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> float8", |c| c.map1(|state| of!(state, counter => Ok(counter.irate_right())))),
        def(
            "num_resets",
            "How often a counter_agg fell and began again; 0 for a gauge_agg.",
            "num_resets(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> int8", |c| c.map1(|state| of!(state, counter => count(counter.resets)))),
        def(
            "num_changes",
            "How often the value of a counter_agg or gauge_agg was another than the one before.",
            "num_changes(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> int8", |c| c.map1(|state| of!(state, counter => count(counter.changes)))),
        def(
            "num_elements",
            "Of how many times a counter_agg or gauge_agg knows the value.",
            "num_elements(counter_agg(ts, bytes_sent))",
        )
        .on("bytea -> int8", |c| c.map1(|state| of!(state, counter => count(counter.line.count())))),
        def(
            "counter_zero_time",
            "When a line through the values of a counter_agg or gauge_agg is zero; NULL if it is level or never is.",
            "counter_zero_time(counter_agg(ts, bytes_sent))",
        )
        .alias(&["gauge_zero_time"])
        .on("bytea -> timestamptz", |c| c.map1(|state| of!(state, counter => Ok(counter.zero_time().map(Timestamp))))),
    ]
}
