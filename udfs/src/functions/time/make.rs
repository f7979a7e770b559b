//! Dates, times and intervals of numbers.

use arrow::array::ArrayRef;
use datafusion_common::Result;

use super::super::call::{Call, Date, Time, Timestamp, Value, fail};
use super::super::define::{Function, def};
use super::arithmetic::{checked, interval};
use super::trunc::{in_range, zone_reader};
use super::zone::Zone;
use crate::types::calendar::{DAY, HOUR, MINUTE, days_from_civil, days_in_month};

/// Days of a date whose year -1 is 1 BC.
fn day(year: i32, month: i32, day: i32) -> Value<i64> {
    let wrong = || fail("22008", format!("date field value out of range: {year}-{month:02}-{day:02}"));
    let astronomical = i64::from(year) + i64::from(year < 0);
    match (u32::try_from(month), u32::try_from(day)) {
        (Ok(m @ 1..=12), Ok(d)) if year != 0 && d >= 1 && d <= days_in_month(astronomical, m) => {
            let days = days_from_civil(astronomical, m, d);
            if in_range(days) { Ok(days) } else { wrong() }
        }
        _ => wrong(),
    }
}

/// Seconds as microseconds, rounded.
#[expect(clippy::cast_possible_truncation, reason = "the callers check the range")]
fn seconds(value: f64) -> i64 {
    (value * 1e6).round_ties_even() as i64
}

fn time(hour: i32, minute: i32, second: f64) -> Value<i64> {
    let valid = (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60.0).contains(&second);
    let micros = i64::from(hour) * HOUR + i64::from(minute) * MINUTE + seconds(if valid { second } else { 0.0 });
    if valid && micros <= DAY {
        return Ok(micros);
    }
    let second = if second == second.trunc() { format!("{second:02}") } else { format!("{second:05}") };
    fail("22008", format!("time field value out of range: {hour}:{minute:02}:{second}"))
}

/// The local clock's reading of six numbers in the first six arguments.
fn reading(call: &Call<'_>) -> Result<impl Fn(usize) -> Value<Option<i64>>> {
    let numbers = (0..5).map(|index| call.column::<i32>(index)).collect::<Result<Vec<_>>>()?;
    let seconds = call.column::<f64>(5)?;
    Ok(move |row| {
        let mut fields = [0; 5];
        for (field, column) in fields.iter_mut().zip(&numbers) {
            match column.get(row) {
                Some(number) => *field = number,
                None => return Ok(None),
            }
        }
        let Some(second) = seconds.get(row) else { return Ok(None) };
        let [year, month, day_of_month, hour, minute] = fields;
        let days = day(year, month, day_of_month)?;
        let time = time(hour, minute, second)?;
        checked(days.checked_mul(DAY).and_then(|d| d.checked_add(time))).map(Some)
    })
}

fn make_timestamptz(call: &Call<'_>) -> Result<ArrayRef> {
    let session = Zone::Named(call.time_zone()?);
    let readings = reading(call)?;
    let zones = if call.args.len() > 6 { Some(zone_reader(call, 6)?) } else { None };
    call.collect(|row| {
        let zone = match &zones {
            Some(zones) => zones(row)?,
            None => Some(session),
        };
        Ok(readings(row)?.zip(zone).map(|(local, zone)| Timestamp(zone.to_utc(local))))
    })
}

fn make_interval(call: &Call<'_>) -> Result<ArrayRef> {
    let whole = call.args.len().min(6);
    let numbers = (0..whole).map(|index| call.column::<i32>(index)).collect::<Result<Vec<_>>>()?;
    let seconds_column = if call.args.len() > 6 { Some(call.column::<f64>(6)?) } else { None };
    call.collect(|row| {
        let mut fields = [0i64; 6];
        for (field, column) in fields.iter_mut().zip(&numbers) {
            match column.get(row) {
                Some(number) => *field = number.into(),
                None => return Ok(None),
            }
        }
        let second = match &seconds_column {
            Some(column) => match column.get(row) {
                Some(second) => second,
                None => return Ok(None),
            },
            None => 0.0,
        };
        if !second.is_finite() || second.abs() > 9e12 {
            return fail("22008", "interval out of range");
        }
        let [years, months, weeks, days, hours, minutes] = fields;
        let micros = hours * HOUR + minutes * MINUTE + seconds(second);
        interval(years * 12 + months, weeks * 7 + days, micros).map(Some)
    })
}

/// to_timestamp(seconds since the epoch)
pub(crate) fn from_epoch(epoch: f64) -> Value<Timestamp> {
    if epoch.is_nan() {
        return fail("22008", "timestamp cannot be NaN");
    }
    if epoch.is_infinite() {
        return Ok(Timestamp(if epoch > 0.0 { i64::MAX } else { i64::MIN }));
    }
    let in_range = (-210_866_803_200.0..9_224_318_016_000.0).contains(&epoch);
    match checked(in_range.then(|| seconds(epoch))) {
        Ok(micros) => Ok(Timestamp(micros)),
        Err(_) => {
            let shown = if epoch.abs() >= 1e15 { format!("{epoch:e}").replace('e', "e+") } else { epoch.to_string() };
            fail("22008", format!("timestamp out of range: \"{shown}\""))
        }
    }
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("make_date", "A date of year, month and day.", "make_date(2024, 2, 29)").on(
            "int4, int4, int4 -> date",
            |c| {
                c.map3(|year: i32, month: i32, d: i32| {
                    Ok(Date(i32::try_from(day(year, month, d)?).unwrap_or(i32::MAX)))
                })
            },
        ),
        def("make_time", "A time of hour, minute and seconds.", "make_time(8, 15, 23.5)")
            .on("int4, int4, float8 -> time", |c| c.map3(|h: i32, m: i32, s: f64| time(h, m, s).map(Time))),
        def("make_timestamp", "A timestamp of its six fields.", "make_timestamp(2024, 7, 15, 8, 15, 23.5)").on(
            "int4, int4, int4, int4, int4, float8 -> timestamp",
            |c| {
                let readings = reading(c)?;
                c.collect(|row| Ok(readings(row)?.map(Timestamp)))
            },
        ),
        def(
            "make_timestamptz",
            "A timestamptz of its six fields in the session's zone or a given one.",
            "make_timestamptz(2024, 7, 15, 8, 15, 23.5, 'Europe/Berlin')",
        )
        .stable()
        .on("int4, int4, int4, int4, int4, float8 [, text] -> timestamptz", make_timestamptz),
        def(
            "make_interval",
            "An interval of years, months, weeks, days, hours, minutes and seconds.",
            "make_interval(0, 0, 0, 10)",
        )
        .on("int4 [, int4 [, int4 [, int4 [, int4 [, int4 [, float8]]]]]] -> interval", make_interval),
    ]
}
