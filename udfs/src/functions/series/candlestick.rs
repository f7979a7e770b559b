//! `candlestick`, which makes a state of prices of a period, and the accessors of such states.

use arrow::array::ArrayRef;
use datafusion_common::Result;

use super::super::aggregate::series::candlestick::Candlestick;
use super::super::aggregate::series::points::Point;
use super::super::aggregate::series::rollup::Mergeable;
use super::super::call::{Call, Timestamp};
use super::super::define::{Function, def};

/// NULL without a time or a price; the volume may be unknown.
fn candlestick(c: &Call<'_>) -> Result<ArrayRef> {
    let (time, volume) = (c.column::<Timestamp>(0)?, c.column::<f64>(5)?);
    let (open, high) = (c.column::<f64>(1)?, c.column::<f64>(2)?);
    let (low, close) = (c.column::<f64>(3)?, c.column::<f64>(4)?);
    c.collect(|row| {
        let Some(time) = time.get(row) else { return Ok(None) };
        let (Some(open), Some(high), Some(low), Some(close)) =
            (open.get(row), high.get(row), low.get(row), close.get(row))
        else {
            return Ok(None);
        };
        Ok(Some(Candlestick::of(time.0, [open, high, low, close], volume.get(row)).encode()))
    })
}

fn price(c: &Call<'_>, point: fn(&Candlestick) -> Point) -> Result<ArrayRef> {
    c.map1(|state| Ok(point(&Candlestick::decode(state)?).value))
}

fn time(c: &Call<'_>, point: fn(&Candlestick) -> Point) -> Result<ArrayRef> {
    c.map1(|state| Ok(Timestamp(point(&Candlestick::decode(state)?).time)))
}

pub(super) fn functions() -> Vec<Function> {
    vec![
        def(
            "candlestick",
            "The state that candlestick_agg makes of trades, from the prices and the volume of a period.",
            "candlestick('2024-01-02', 10, 12, 9, 11, 500)",
        )
        .on("timestamptz, float8, float8, float8, float8, float8 -> bytea", candlestick),
        def("open", "The first price of a candlestick_agg.", "open(candlestick_agg(ts, price, volume))")
            .on("bytea -> float8", |c| price(c, |state| state.open)),
        def("high", "The highest price of a candlestick_agg.", "high(candlestick_agg(ts, price, volume))")
            .on("bytea -> float8", |c| price(c, |state| state.high)),
        def("low", "The lowest price of a candlestick_agg.", "low(candlestick_agg(ts, price, volume))")
            .on("bytea -> float8", |c| price(c, |state| state.low)),
        def("close", "The last price of a candlestick_agg.", "close(candlestick_agg(ts, price, volume))")
            .on("bytea -> float8", |c| price(c, |state| state.close)),
        def("open_time", "When a candlestick_agg opened.", "open_time(candlestick_agg(ts, price, volume))")
            .on("bytea -> timestamptz", |c| time(c, |state| state.open)),
        def(
            "high_time",
            "When a candlestick_agg had its highest price first.",
            "high_time(candlestick_agg(ts, price, volume))",
        )
        .on("bytea -> timestamptz", |c| time(c, |state| state.high)),
        def(
            "low_time",
            "When a candlestick_agg had its lowest price first.",
            "low_time(candlestick_agg(ts, price, volume))",
        )
        .on("bytea -> timestamptz", |c| time(c, |state| state.low)),
        def("close_time", "When a candlestick_agg closed.", "close_time(candlestick_agg(ts, price, volume))")
            .on("bytea -> timestamptz", |c| time(c, |state| state.close)),
        def(
            "volume",
            "The volume of all trades of a candlestick_agg; NULL if that of one is.",
            "volume(candlestick_agg(ts, price, volume))",
        )
        .on("bytea -> float8", |c| c.map1(|state| Ok(Candlestick::decode(state)?.volume()))),
        def(
            "vwap",
            "The price of a candlestick_agg weighted by volume; of candlestick(…) the mean of high, low, close.",
            "vwap(candlestick_agg(ts, price, volume))",
        )
        .on("bytea -> float8", |c| c.map1(|state| Ok(Candlestick::decode(state)?.vwap()))),
    ]
}
