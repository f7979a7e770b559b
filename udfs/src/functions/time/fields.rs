//! extract and date_part: the fields of dates, times, timestamps and intervals.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::Result;
use datafusion_expr::ReturnFieldArgs;

use super::super::call::{Call, Date, FromArgument, Interval, IntoResult, Time, Timestamp, Value, fail};
use super::super::define::{Function, def};
use super::super::number::{DIGITS_MAX, Num, SCALE_DEFAULT};
use super::zone::Zone;
use crate::types::calendar::{DAY, HOUR, MINUTE, SECOND, civil_from_days, days_from_civil, weekday};
use crate::types::{SqlType, ValueError};

/// A field's name, as extract and date_trunc take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    Epoch,
    Julian,
    Dow,
    IsoDow,
    Doy,
    IsoYear,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

impl Unit {
    /// The unit of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "microsecond" | "microseconds" | "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecon" => {
                Self::Microsecond
            }
            "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecon" => {
                Self::Millisecond
            }
            "second" | "seconds" | "s" | "sec" | "secs" => Self::Second,
            "minute" | "minutes" | "m" | "min" | "mins" => Self::Minute,
            "hour" | "hours" | "h" | "hr" | "hrs" => Self::Hour,
            "day" | "days" | "d" => Self::Day,
            "week" | "weeks" | "w" => Self::Week,
            "month" | "months" | "mon" | "mons" => Self::Month,
            "quarter" | "qtr" => Self::Quarter,
            "year" | "years" | "y" | "yr" | "yrs" => Self::Year,
            "decade" | "decades" | "dec" | "decs" => Self::Decade,
            "century" | "centuries" | "c" | "cent" => Self::Century,
            "millennium" | "millennia" | "mil" | "mils" => Self::Millennium,
            "epoch" => Self::Epoch,
            "julian" | "j" | "jd" => Self::Julian,
            "dow" => Self::Dow,
            "isodow" => Self::IsoDow,
            "doy" => Self::Doy,
            "isoyear" => Self::IsoYear,
            "timezone" => Self::Timezone,
            "timezone_h" | "timezone_hour" => Self::TimezoneHour,
            "timezone_m" | "timezone_minute" => Self::TimezoneMinute,
            _ => return None,
        })
    }

    /// The decimals of the field.
    fn scale(self, from: &DataType) -> i8 {
        match self {
            // A date's epoch and julian are whole.
            Self::Epoch | Self::Julian if *from == DataType::Date32 => 0,
            Self::Second | Self::Epoch => 6,
            Self::Millisecond => 3,
            Self::Julian => SCALE_DEFAULT,
            _ => 0,
        }
    }
}

/// A field's value.
enum Part {
    Whole(i64),
    Decimal(Num),
    /// Of an infinite date: those fields that grow with time.
    Infinite(bool),
    Null,
}

/// The year and week of ISO 8601.
pub(crate) fn iso_week(days: i64) -> (i64, i64) {
    // The week belongs to the year of its Thursday.
    let thursday = days + 3 - (days + 3).rem_euclid(7);
    let (year, ..) = civil_from_days(thursday);
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}

/// Years without a year 0.
pub(crate) fn display_year(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

/// 1 is years 1 to n, -1 is years -n to -1.
fn period(year: i64, length: i64) -> i64 {
    if year > 0 { (year + length - 1) / length } else { -((length - 1 - (year - 1)) / length) }
}

fn unsupported<T>(name: &str, type_name: &str) -> Value<T> {
    fail("0A000", format!("unit \"{name}\" not supported for type {type_name}"))
}

fn unknown<T>(name: &str, type_name: &str) -> Value<T> {
    fail("22023", format!("unit \"{name}\" not recognized for type {type_name}"))
}

/// A field of a day.
fn day_part(unit: Unit, days: i64) -> Option<i64> {
    let (year, month, day) = civil_from_days(days);
    Some(match unit {
        Unit::Day => day.into(),
        Unit::Month => month.into(),
        Unit::Year => display_year(year),
        Unit::Quarter => (i64::from(month) - 1) / 3 + 1,
        Unit::Week => iso_week(days).1,
        Unit::IsoYear => display_year(iso_week(days).0),
        Unit::Decade => year.div_euclid(10),
        Unit::Century => period(year, 100),
        Unit::Millennium => period(year, 1000),
        Unit::Dow => i64::try_from(weekday(days)).unwrap_or(0),
        Unit::IsoDow => (days + 3).rem_euclid(7) + 1,
        Unit::Doy => days - days_from_civil(year, 1, 1) + 1,
        _ => return None,
    })
}

/// A field of a time of day.
fn time_part(unit: Unit, micros: i64) -> Option<Part> {
    Some(match unit {
        Unit::Microsecond => Part::Whole(micros % MINUTE),
        Unit::Millisecond => Part::Decimal(Num::new((micros % MINUTE).into(), 3)),
        Unit::Second => Part::Decimal(Num::new((micros % MINUTE).into(), 6)),
        Unit::Minute => Part::Whole(micros / MINUTE % 60),
        Unit::Hour => Part::Whole(micros / HOUR),
        _ => return None,
    })
}

fn infinite(unit: Unit, positive: bool) -> Part {
    match unit {
        Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium | Unit::Julian | Unit::IsoYear | Unit::Epoch => {
            Part::Infinite(positive)
        }
        _ => Part::Null,
    }
}

/// The day number of the Julian period, with the day's passed part.
fn julian(micros: i64) -> Part {
    let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let number = Num::from(days + 2_440_588);
    match Num::from(time).divide(Num::from(DAY), SCALE_DEFAULT).and_then(|part| number.add(part)) {
        Ok(number) => Part::Decimal(number),
        Err(_) => Part::Null,
    }
}

fn of_timestamp(name: &str, micros: i64) -> Value<Part> {
    const TYPE: &str = "timestamp without time zone";
    let Some(unit) = Unit::parse(name) else { return unknown(name, TYPE) };
    if super::is_infinite(micros) {
        return Ok(infinite(unit, micros > 0));
    }
    local_part(unit, micros).map_or_else(
        || match unit {
            Unit::Epoch => Ok(Part::Decimal(Num::new(micros.into(), 6))),
            _ => unsupported(name, TYPE),
        },
        Ok,
    )
}

fn local_part(unit: Unit, micros: i64) -> Option<Part> {
    match unit {
        Unit::Julian => Some(julian(micros)),
        _ => {
            time_part(unit, micros.rem_euclid(DAY)).or_else(|| day_part(unit, micros.div_euclid(DAY)).map(Part::Whole))
        }
    }
}

fn of_timestamptz(name: &str, micros: i64, zone: Zone) -> Value<Part> {
    const TYPE: &str = "timestamp with time zone";
    let Some(unit) = Unit::parse(name) else { return unknown(name, TYPE) };
    if super::is_infinite(micros) {
        return Ok(infinite(unit, micros > 0));
    }
    Ok(match unit {
        Unit::Epoch => Part::Decimal(Num::new(micros.into(), 6)),
        Unit::Timezone => Part::Whole(zone.offset(micros)),
        Unit::TimezoneHour => Part::Whole(zone.offset(micros) / 3600),
        Unit::TimezoneMinute => Part::Whole(zone.offset(micros) / 60 % 60),
        _ => match local_part(unit, zone.to_local(micros)) {
            Some(part) => part,
            None => return unsupported(name, TYPE),
        },
    })
}

fn of_date(name: &str, days: i32) -> Value<Part> {
    let Some(unit) = Unit::parse(name) else { return unknown(name, "date") };
    if days == i32::MAX || days == i32::MIN {
        return Ok(infinite(unit, days > 0));
    }
    let days = i64::from(days);
    Ok(match unit {
        Unit::Epoch => Part::Whole(days * 86_400),
        Unit::Julian => Part::Whole(days + 2_440_588),
        _ => match day_part(unit, days) {
            Some(part) => Part::Whole(part),
            None => return unsupported(name, "date"),
        },
    })
}

fn of_time(name: &str, micros: i64) -> Value<Part> {
    const TYPE: &str = "time without time zone";
    let Some(unit) = Unit::parse(name) else { return unknown(name, TYPE) };
    match unit {
        Unit::Epoch => Ok(Part::Decimal(Num::new(micros.into(), 6))),
        _ => time_part(unit, micros).map_or_else(|| unsupported(name, TYPE), Ok),
    }
}

fn of_interval(name: &str, interval: Interval) -> Value<Part> {
    let Some(unit) = Unit::parse(name) else { return unknown(name, "interval") };
    let micros = interval.nanoseconds / 1000;
    let (years, months) = (i64::from(interval.months / 12), i64::from(interval.months % 12));
    Ok(match unit {
        Unit::Day => Part::Whole(interval.days.into()),
        Unit::Month => Part::Whole(months),
        Unit::Quarter => Part::Whole(months / 3 + 1),
        Unit::Year => Part::Whole(years),
        Unit::Decade => Part::Whole(years / 10),
        Unit::Century => Part::Whole(years / 100),
        Unit::Millennium => Part::Whole(years / 1000),
        Unit::Epoch => {
            // A year counts as 365.25 days, a month as 30.
            let days = i128::from(years) * 36525 + i128::from(months * 30 + i64::from(interval.days)) * 100;
            Part::Decimal(Num::new(days * i128::from(DAY / 100) + i128::from(micros), 6))
        }
        _ => match time_part(unit, micros) {
            Some(part) => part,
            None => return unsupported(name, "interval"),
        },
    })
}

/// extract's results: numeric, with as many decimals as the field has where it is known when planning.
fn numeric(args: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    let name = args.scalar_arguments[0].and_then(|value| value.try_as_str()).flatten();
    Ok(Arc::new(match name.and_then(Unit::parse) {
        Some(unit) => {
            let scale = unit.scale(args.arg_fields[1].data_type());
            Field::new("extract", DataType::Decimal128(DIGITS_MAX, scale), true)
        }
        None => SqlType::Numeric(None).field("extract", true),
    }))
}

fn as_numeric(part: Part) -> Value<Option<Num>> {
    match part {
        Part::Whole(number) => Ok(Some(number.into())),
        Part::Decimal(number) => Ok(Some(number)),
        Part::Infinite(_) => Err(ValueError::new("0A000", "numeric cannot hold infinity here")),
        Part::Null => Ok(None),
    }
}

fn as_double(part: Part) -> Value<Option<f64>> {
    Ok(match part {
        // Fields of dates and their seconds are far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "only microseconds of very long intervals are above 2^53")]
        Part::Whole(number) => Some(number as f64),
        Part::Decimal(number) => Some(number.to_f64()),
        Part::Infinite(true) => Some(f64::INFINITY),
        Part::Infinite(false) => Some(f64::NEG_INFINITY),
        Part::Null => None,
    })
}

fn map<'a, A: FromArgument<'a>, R: IntoResult>(
    call: &'a Call<'_>,
    part: impl Fn(&str, A) -> Value<Part>,
    convert: fn(Part) -> Value<Option<R>>,
) -> Result<ArrayRef> {
    call.map2(|name: &str, value: A| convert(part(name, value)?))
}

fn zoned<R: IntoResult>(call: &Call<'_>, convert: fn(Part) -> Value<Option<R>>) -> Result<ArrayRef> {
    let zone = Zone::Named(call.time_zone()?);
    map(call, |name, t: Timestamp| of_timestamptz(name, t.0, zone), convert)
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("extract", "A field of a date, time, timestamp or interval, exactly.", "extract(hour FROM now())")
            .stable()
            .computed("text, timestamp -> numeric", numeric, |c| {
                map(c, |n, t: Timestamp| of_timestamp(n, t.0), as_numeric)
            })
            .computed("text, timestamptz -> numeric", numeric, |c| zoned(c, as_numeric))
            .computed("text, date -> numeric", numeric, |c| map(c, |n, d: Date| of_date(n, d.0), as_numeric))
            .computed("text, time -> numeric", numeric, |c| map(c, |n, t: Time| of_time(n, t.0), as_numeric))
            .computed("text, interval -> numeric", numeric, |c| map(c, of_interval, as_numeric)),
        def(
            "date_part",
            "A field of a date, time, timestamp or interval, as double precision.",
            "date_part('hour', now())",
        )
        .alias(&["datepart"])
        .stable()
        .on("text, timestamp -> float8", |c| map(c, |n, t: Timestamp| of_timestamp(n, t.0), as_double))
        .on("text, timestamptz -> float8", |c| zoned(c, as_double))
        .on("text, date -> float8", |c| map(c, |n, d: Date| date_as_timestamp(n, d), as_double))
        .on("text, time -> float8", |c| map(c, |n, t: Time| of_time(n, t.0), as_double))
        .on("text, interval -> float8", |c| map(c, of_interval, as_double)),
    ]
}

/// date_part, unlike extract, takes a date as its midnight.
fn date_as_timestamp(name: &str, date: Date) -> Value<Part> {
    match date.0 {
        i32::MAX => of_timestamp(name, i64::MAX),
        i32::MIN => of_timestamp(name, i64::MIN),
        days => of_timestamp(name, i64::from(days).saturating_mul(DAY)),
    }
}

/// Seconds of a minute are below 60.
pub(crate) fn clock_parts(micros: i64) -> (i64, i64, i64, i64) {
    (micros / HOUR, micros / MINUTE % 60, micros / SECOND % 60, micros % SECOND)
}
