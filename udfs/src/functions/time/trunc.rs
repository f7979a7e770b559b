//! date_trunc and date_bin: the start of the period a moment lies in.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion_common::Result;

use super::super::call::{Call, Date, Interval, Time, Timestamp, Value, fail};
use super::super::define::{Function, def};
use super::fields::{Unit, iso_week};
use super::zone::Zone;
use crate::types::calendar::{DAY, HOUR, MINUTE, SECOND, civil_from_days, days_from_civil};
use crate::types::{ValueError, calendar};

/// Units of fixed length that divide a day.
fn step(unit: Unit) -> Option<i64> {
    Some(match unit {
        Unit::Microsecond => 1,
        Unit::Millisecond => 1000,
        Unit::Second => SECOND,
        Unit::Minute => MINUTE,
        Unit::Hour => HOUR,
        Unit::Day => DAY,
        _ => return None,
    })
}

/// Cuts a local clock's reading; `None`: not a unit to cut to.
fn cut(unit: Unit, micros: i64) -> Option<i64> {
    if super::is_infinite(micros) {
        return Some(micros);
    }
    if let Some(step) = step(unit) {
        return Some(micros - micros.rem_euclid(step));
    }
    let days = micros.div_euclid(DAY);
    let (year, month, _) = civil_from_days(days);
    // Centuries and millennia begin in year 1, also before it.
    let period = |length: i64| (year - 1).div_euclid(length) * length + 1;
    let start = match unit {
        Unit::Week => days - (days + 3).rem_euclid(7),
        Unit::IsoYear => {
            let january_4 = days_from_civil(iso_week(days).0, 1, 4);
            january_4 - (january_4 + 3).rem_euclid(7)
        }
        Unit::Month => days_from_civil(year, month, 1),
        Unit::Quarter => days_from_civil(year, (month - 1) / 3 * 3 + 1, 1),
        Unit::Year => days_from_civil(year, 1, 1),
        Unit::Decade => days_from_civil(year.div_euclid(10) * 10, 1, 1),
        Unit::Century => days_from_civil(period(100), 1, 1),
        Unit::Millennium => days_from_civil(period(1000), 1, 1),
        _ => return None,
    };
    Some(start * DAY)
}

fn unit(name: &str, type_name: &str) -> Value<Unit> {
    match Unit::parse(name) {
        Some(unit) if unit != Unit::IsoYear && (step(unit).is_some() || cut(unit, 0).is_some()) => Ok(unit),
        Some(_) => fail("0A000", format!("unit \"{name}\" not supported for type {type_name}")),
        None => fail("22023", format!("unit \"{name}\" not recognized for type {type_name}")),
    }
}

fn trunc_local(name: &str, micros: i64) -> Value<Timestamp> {
    const TYPE: &str = "timestamp without time zone";
    Ok(Timestamp(cut(unit(name, TYPE)?, micros).unwrap_or(micros)))
}

fn trunc_zoned(name: &str, instant: i64, zone: Zone) -> Value<Timestamp> {
    let unit = unit(name, "timestamp with time zone")?;
    if super::is_infinite(instant) {
        return Ok(Timestamp(instant));
    }
    let offset = zone.offset(instant) * SECOND;
    let local = cut(unit, instant + offset).unwrap_or(instant);
    // Within an hour the offset is taken to stay; a day may begin with another one.
    let same_offset = step(unit).is_some_and(|step| step < DAY);
    Ok(Timestamp(if same_offset { local - offset } else { zone.to_utc(local) }))
}

fn trunc_interval(name: &str, interval: Interval) -> Value<Interval> {
    let unit = match Unit::parse(name) {
        Some(Unit::Week) => {
            let mut error = ValueError::new("0A000", format!("unit \"{name}\" not supported for type interval"));
            error.detail = Some("Months usually have fractional weeks.".into());
            return Err(error);
        }
        Some(unit) => unit,
        None => return fail("22023", format!("unit \"{name}\" not recognized for type interval")),
    };
    let months = match unit {
        Unit::Month => 1,
        Unit::Quarter => 3,
        Unit::Year => 12,
        Unit::Decade => 120,
        Unit::Century => 1200,
        Unit::Millennium => 12_000,
        Unit::Day => return Ok(Interval::new(interval.months, interval.days, 0)),
        _ => match step(unit) {
            Some(step) => {
                let nanos = interval.nanoseconds - interval.nanoseconds % (step * 1000);
                return Ok(Interval::new(interval.months, interval.days, nanos));
            }
            None => return fail("0A000", format!("unit \"{name}\" not supported for type interval")),
        },
    };
    Ok(Interval::new(interval.months - interval.months % months, 0, 0))
}

/// A whole column at once, where every value is cut to a multiple of the same step.
fn trunc_fast(call: &Call<'_>, zone: Option<Zone>) -> Result<Option<ArrayRef>> {
    let Some(Some(name)) = call.constant::<&str>(0)? else { return Ok(None) };
    let utc = matches!(zone, None | Some(Zone::Named(chrono_tz::Tz::UTC)));
    let Some(step) = Unit::parse(name).and_then(step).filter(|_| utc && !call.args[1].constant) else {
        return Ok(None);
    };
    let times = call.args[1].array.as_primitive::<TimestampMicrosecondType>();
    let cut = times.unary::<_, TimestampMicrosecondType>(|t| {
        if super::is_infinite(t) { t } else { t.wrapping_sub(t.rem_euclid(step)) }
    });
    Ok(Some(Arc::new(cut.with_data_type(call.returns.data_type().clone()))))
}

fn trunc(call: &Call<'_>) -> Result<ArrayRef> {
    if let Some(done) = trunc_fast(call, None)? {
        return Ok(done);
    }
    call.map2(|name: &str, t: Timestamp| trunc_local(name, t.0))
}

fn trunc_session(call: &Call<'_>) -> Result<ArrayRef> {
    let zone = Zone::Named(call.time_zone()?);
    if let Some(done) = trunc_fast(call, Some(zone))? {
        return Ok(done);
    }
    call.map2(|name: &str, t: Timestamp| trunc_zoned(name, t.0, zone))
}

/// The midnight a date begins with in a zone.
pub(crate) fn midnight(date: Date, zone: Zone) -> i64 {
    match date.0 {
        i32::MAX => i64::MAX,
        i32::MIN => i64::MIN,
        days => zone.to_utc(i64::from(days).saturating_mul(DAY)),
    }
}

/// Parses a zone once if it is constant.
pub(crate) fn zone_reader<'a>(call: &'a Call<'_>, index: usize) -> Result<impl Fn(usize) -> Value<Option<Zone>> + 'a> {
    let names = call.column::<&str>(index)?;
    let constant = match call.constant::<&str>(index)? {
        Some(Some(name)) => Some(Zone::find(name)?),
        _ => None,
    };
    Ok(move |row| match constant {
        Some(zone) => Ok(Some(zone)),
        None => names.get(row).map(Zone::find).transpose(),
    })
}

fn trunc_in_zone(call: &Call<'_>) -> Result<ArrayRef> {
    let (names, times) = (call.column::<&str>(0)?, call.column::<Timestamp>(1)?);
    let zones = zone_reader(call, 2)?;
    call.collect(|row| match (names.get(row), times.get(row), zones(row)?) {
        (Some(name), Some(t), Some(zone)) => trunc_zoned(name, t.0, zone).map(Some),
        _ => Ok(None),
    })
}

fn bin(stride: Interval, source: Timestamp, origin: Timestamp) -> Value<Timestamp> {
    if super::is_infinite(source.0) {
        return Ok(source);
    }
    if super::is_infinite(origin.0) {
        return fail("22008", "origin out of range");
    }
    if stride.months != 0 {
        return fail("0A000", "timestamps cannot be binned into intervals containing months or years");
    }
    let stride = i64::from(stride.days).checked_mul(DAY).and_then(|d| d.checked_add(stride.nanoseconds / 1000));
    let Some(stride) = stride else { return fail("22008", "interval out of range") };
    if stride <= 0 {
        return fail("22008", "stride must be greater than zero");
    }
    let bin = source.0.checked_sub(origin.0).and_then(|from| source.0.checked_sub(from.rem_euclid(stride)));
    bin.map_or_else(|| fail("22008", "timestamp out of range"), |micros| Ok(Timestamp(micros)))
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def(
            "date_trunc",
            "The start of the second, minute, …, century a moment lies in; in the session's zone or a given one.",
            "date_trunc('hour', now())",
        )
        .alias(&["datetrunc"])
        .stable()
        .on("text, timestamp -> timestamp", trunc)
        .monotonic_in(1)
        // Not monotonic in a zone: Newfoundland's clocks once went back across midnight, a minute after it.
        .on("text, timestamptz -> timestamptz", trunc_session)
        .monotonic_in_utc(1)
        .on("text, timestamptz, text -> timestamptz", trunc_in_zone)
        .on("text, date -> timestamptz", |c| {
            let zone = Zone::Named(c.time_zone()?);
            c.map2(|name: &str, date: Date| trunc_zoned(name, midnight(date, zone), zone))
        })
        .monotonic_in(1)
        .on("text, interval -> interval", |c| c.map2(trunc_interval))
        .on("text, time -> interval", |c| {
            c.map2(|name: &str, time: Time| trunc_interval(name, Interval::new(0, 0, time.0 * 1000)))
        }),
        def(
            "date_bin",
            "The start of the bin of a fixed length, counted from an origin.",
            "date_bin('15 minutes', now(), '2001-01-01')",
        )
        .on("interval, timestamp, timestamp -> timestamp", |c| c.map3(bin))
        .monotonic_in(1)
        .on("interval, timestamptz, timestamptz -> timestamptz", |c| c.map3(bin))
        .monotonic_in(1),
    ]
}

/// True for days that a date can hold.
pub(crate) fn in_range(days: i64) -> bool {
    (calendar::FIRST_DAY..=calendar::LAST_DAY).contains(&days)
}
