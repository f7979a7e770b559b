//! Sums and differences as PostgreSQL makes them: months keep the day where it exists, days keep the local hour.
//!
//! The operators come here under the names `pg_timestamp_add_interval`, `pg_date_add`, …; `age`, `justify_*`, `timezone` and
//! `isfinite` under their own.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use datafusion_common::Result;

use super::super::call::{Call, Date, Interval, Time, Timestamp, Value, fail};
use super::super::define::{Function, def};
use super::super::number::Num;
use super::trunc::{in_range, midnight, zone_reader};
use super::zone::Zone;
use crate::types::calendar::{DAY, SECOND, civil_from_days, days_from_civil, days_in_month};

/// The first moment a timestamp holds, and the end of time: from 1970, 64 bits reach into the year 294247.
pub(crate) const FIRST: i64 = -210_866_803_200_000_000;
const END: i64 = i64::MAX;

pub(crate) fn out_of_range<T>() -> Value<T> {
    fail("22008", "timestamp out of range")
}

fn interval_out_of_range<T>() -> Value<T> {
    fail("22008", "interval out of range")
}

/// A finite timestamp if it is in range.
pub(crate) fn checked(micros: Option<i64>) -> Value<i64> {
    match micros {
        Some(micros) if (FIRST..END).contains(&micros) => Ok(micros),
        _ => out_of_range(),
    }
}

/// An interval of months, days and microseconds.
pub(crate) fn interval(months: i64, days: i64, micros: i64) -> Value<Interval> {
    let months = i32::try_from(months).ok();
    let days = i32::try_from(days).ok();
    match (months, days, micros.checked_mul(1000)) {
        (Some(months), Some(days), Some(nanos)) => Ok(Interval::new(months, days, nanos)),
        _ => interval_out_of_range(),
    }
}

fn micros(interval: Interval) -> i64 {
    interval.nanoseconds / 1000
}

/// The same day that many months on, or the month's last.
pub(crate) fn months_later(days: i64, months: i32) -> Option<i64> {
    let (year, month, day) = civil_from_days(days);
    let count = year * 12 + i64::from(month) - 1 + i64::from(months);
    let (year, month) = (count.div_euclid(12), u32::try_from(count.rem_euclid(12) + 1).ok()?);
    Some(days_from_civil(year, month, day.min(days_in_month(year, month))))
}

fn add_months(local: i64, months: i32) -> Option<i64> {
    months_later(local.div_euclid(DAY), months)?.checked_mul(DAY)?.checked_add(local.rem_euclid(DAY))
}

/// `timestamp + interval`
pub(crate) fn add(local: i64, by: Interval) -> Value<i64> {
    if super::is_infinite(local) {
        return Ok(local);
    }
    let months = if by.months == 0 { Some(local) } else { add_months(local, by.months) };
    let days = checked(months)?.checked_add(i64::from(by.days).saturating_mul(DAY));
    checked(checked(days)?.checked_add(micros(by)))
}

/// `timestamptz + interval`: months and days by the local clock.
pub(crate) fn add_zoned(instant: i64, by: Interval, zone: Zone) -> Value<i64> {
    if super::is_infinite(instant) {
        return Ok(instant);
    }
    let mut at = instant;
    if by.months != 0 {
        at = zone.to_utc(checked(add_months(zone.to_local(at), by.months))?);
    }
    if by.days != 0 {
        at = zone.to_utc(checked(zone.to_local(at).checked_add(i64::from(by.days).saturating_mul(DAY)))?);
    }
    checked(at.checked_add(micros(by)))
}

pub(crate) fn negate(by: Interval) -> Value<Interval> {
    match (by.months.checked_neg(), by.days.checked_neg(), by.nanoseconds.checked_neg()) {
        (Some(months), Some(days), Some(nanos)) => Ok(Interval::new(months, days, nanos)),
        _ => interval_out_of_range(),
    }
}

/// `timestamp - timestamp`: days and time.
fn difference(a: Timestamp, b: Timestamp) -> Value<Interval> {
    if super::is_infinite(a.0) || super::is_infinite(b.0) {
        return fail("22008", "cannot subtract infinite timestamps");
    }
    match a.0.checked_sub(b.0) {
        Some(micros) => interval(0, micros / DAY, micros % DAY),
        None => interval_out_of_range(),
    }
}

fn add_intervals(a: Interval, b: Interval) -> Value<Interval> {
    match (a.months.checked_add(b.months), a.days.checked_add(b.days), a.nanoseconds.checked_add(b.nanoseconds)) {
        (Some(months), Some(days), Some(nanos)) => Ok(Interval::new(months, days, nanos)),
        _ => interval_out_of_range(),
    }
}

/// A double as an integer, if it is near enough to one that exists.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked; fractions are cut on purpose")]
fn whole(value: f64) -> Value<i64> {
    if value.is_finite() && value.abs() < 9.2e18 { Ok(value as i64) } else { interval_out_of_range() }
}

/// An interval's parts scaled one by one; what is left of months goes to days (30), of days to time.
fn scale(span: Interval, scaled: impl Fn(f64) -> f64) -> Value<Interval> {
    const DAY_SECONDS: f64 = 86_400.0;
    let round6 = |x: f64| (x * 1e6).round_ties_even() / 1e6;
    let (months, days) = (scaled(span.months.into()), scaled(span.days.into()));
    let (whole_months, whole_days) = (whole(months)?, whole(days)?);
    let month_days = round6((months - months.trunc()) * 30.0);
    let mut seconds = round6((days - days.trunc() + month_days - month_days.trunc()) * DAY_SECONDS);
    let mut extra_days = whole(month_days)?;
    if seconds.abs() >= DAY_SECONDS {
        extra_days += whole(seconds / DAY_SECONDS)?;
        seconds -= (seconds / DAY_SECONDS).trunc() * DAY_SECONDS;
    }
    #[expect(clippy::cast_precision_loss, reason = "PostgreSQL multiplies the time as a double too")]
    let time = scaled(micros(span) as f64) + seconds * 1e6;
    interval(whole_months, whole_days + extra_days, whole(time.round_ties_even())?)
}

fn divide(span: Interval, by: f64) -> Value<Interval> {
    if by == 0.0 {
        return fail("22012", "division by zero");
    }
    scale(span, |part| part / by)
}

/// The interval by a number of values, for their average.
#[expect(clippy::cast_precision_loss, reason = "PostgreSQL divides by a double too")]
pub(crate) fn divide_interval(span: Interval, count: i64) -> Value<Interval> {
    divide(span, count as f64)
}

/// An interval's length in microseconds, a month of 30 days and a day of 24 hours: what PostgreSQL compares.
pub(crate) fn interval_order(span: Interval) -> i128 {
    (i128::from(span.months) * 30 + i128::from(span.days)) * i128::from(DAY) + i128::from(micros(span))
}

/// The difference in years, months, days and time, as one counts on a calendar.
fn age(a: Timestamp, b: Timestamp) -> Value<Interval> {
    if super::is_infinite(a.0) || super::is_infinite(b.0) {
        return fail("22008", "timestamp out of range");
    }
    let negative = a.0 < b.0;
    let (late, early) = if negative { (b.0, a.0) } else { (a.0, b.0) };
    let part = |t: i64| (civil_from_days(t.div_euclid(DAY)), t.rem_euclid(DAY));
    let (((late_year, late_month, late_day), late_time), ((year, month, day), time)) = (part(late), part(early));
    let mut months = (late_year - year) * 12 + i64::from(late_month) - i64::from(month);
    let mut days = i64::from(late_day) - i64::from(day);
    let mut rest = late_time - time;
    if rest < 0 {
        rest += DAY;
        days -= 1;
    }
    if days < 0 {
        // The month that is borrowed has the length of the earlier date's, or of the later's where the sign is turned.
        let (year, month) = if negative { (late_year, late_month) } else { (year, month) };
        days += i64::from(days_in_month(year, month));
        months -= 1;
    }
    let age = interval(months, days, rest)?;
    if negative { negate(age) } else { Ok(age) }
}

fn justify_hours(span: Interval) -> Value<Interval> {
    let mut days = i64::from(span.days) + micros(span) / DAY;
    let mut time = micros(span) % DAY;
    if days > 0 && time < 0 {
        time += DAY;
        days -= 1;
    } else if days < 0 && time > 0 {
        time -= DAY;
        days += 1;
    }
    interval(span.months.into(), days, time)
}

fn justify_days(span: Interval) -> Value<Interval> {
    let mut months = i64::from(span.months) + i64::from(span.days / 30);
    let mut days = i64::from(span.days % 30);
    if months > 0 && days < 0 {
        days += 30;
        months -= 1;
    } else if months < 0 && days > 0 {
        days -= 30;
        months += 1;
    }
    interval(months, days, micros(span))
}

fn justify_interval(span: Interval) -> Value<Interval> {
    let mut days = i64::from(span.days) + micros(span) / DAY;
    let mut time = micros(span) % DAY;
    let mut months = i64::from(span.months) + days / 30;
    days %= 30;
    if months > 0 && (days < 0 || (days == 0 && time < 0)) {
        days += 30;
        months -= 1;
    } else if months < 0 && (days > 0 || (days == 0 && time > 0)) {
        days -= 30;
        months += 1;
    }
    if days > 0 && time < 0 {
        time += DAY;
        days -= 1;
    } else if days < 0 && time > 0 {
        time -= DAY;
        days += 1;
    }
    interval(months, days, time)
}

fn date_add(date: Date, days: i32) -> Value<Date> {
    if date.0 == i32::MAX || date.0 == i32::MIN {
        return Ok(date);
    }
    match date.0.checked_add(days).filter(|sum| in_range((*sum).into())) {
        Some(sum) => Ok(Date(sum)),
        None => fail("22008", "date out of range"),
    }
}

fn date_diff(a: Date, b: Date) -> Value<i32> {
    let infinite = |date: Date| date.0 == i32::MAX || date.0 == i32::MIN;
    if infinite(a) || infinite(b) {
        return fail("22008", "cannot subtract infinite dates");
    }
    a.0.checked_sub(b.0).map_or_else(|| fail("22003", "integer out of range"), Ok)
}

fn local_midnight(date: Date) -> i64 {
    midnight(date, Zone::Fixed(0))
}

fn time_add(time: Time, by: Interval) -> Time {
    Time((i128::from(time.0) + i128::from(micros(by))).rem_euclid(i128::from(DAY)).try_into().unwrap_or(0))
}

/// `AT TIME ZONE interval`
fn zone_of(offset: Interval) -> Value<Zone> {
    if offset.months != 0 || offset.days != 0 {
        return fail("22023", "interval time zone must not include months or days");
    }
    Ok(Zone::Fixed(micros(offset) / SECOND))
}

fn to_zone(call: &Call<'_>, f: fn(Zone, i64) -> i64) -> Result<ArrayRef> {
    let (zones, times) = (zone_reader(call, 0)?, call.column::<Timestamp>(1)?);
    call.collect(|row| match (zones(row)?, times.get(row)) {
        (Some(zone), Some(t)) => Ok(Some(Timestamp(f(zone, t.0)))),
        _ => Ok(None),
    })
}

fn zoned_sum(call: &Call<'_>, negative: bool) -> Result<ArrayRef> {
    let zone = Zone::Named(call.time_zone()?);
    call.map2(|t: Timestamp, by: Interval| {
        let by = if negative { negate(by)? } else { by };
        add_zoned(t.0, by, zone).map(Timestamp)
    })
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    let mut all = operators();
    all.extend(named());
    all
}

fn operators() -> Vec<Function> {
    vec![
        def(
            "pg_timestamp_add_interval",
            "timestamp + interval: months keep the day, days keep the local hour.",
            "now() + interval '1 month'",
        )
        .stable()
        .on("timestamp, interval -> timestamp", |c| c.map2(|t: Timestamp, by: Interval| add(t.0, by).map(Timestamp)))
        .on("timestamptz, interval -> timestamptz", |c| zoned_sum(c, false))
        .on("date, interval -> timestamp", |c| {
            c.map2(|d: Date, by: Interval| add(local_midnight(d), by).map(Timestamp))
        }),
        def(
            "pg_timestamp_sub_interval",
            "timestamp - interval: months keep the day, days keep the local hour.",
            "now() - interval '1 month'",
        )
        .stable()
        .on("timestamp, interval -> timestamp", |c| {
            c.map2(|t: Timestamp, by: Interval| add(t.0, negate(by)?).map(Timestamp))
        })
        .on("timestamptz, interval -> timestamptz", |c| zoned_sum(c, true))
        .on("date, interval -> timestamp", |c| {
            c.map2(|d: Date, by: Interval| add(local_midnight(d), negate(by)?).map(Timestamp))
        }),
        def(
            "pg_timestamp_diff",
            "timestamp - timestamp: days and time.",
            "timestamp '2024-01-03' - timestamp '2024-01-01 12:00'",
        )
        .on("timestamp, timestamp -> interval", |c| c.map2(difference))
        .on("timestamptz, timestamptz -> interval", |c| c.map2(difference)),
        def("pg_date_add", "date + days, or date + time.", "date '2024-01-01' + 7")
            .on("date, int4 -> date", |c| c.map2(date_add))
            .on("date, time -> timestamp", |c| {
                c.map2(|d: Date, t: Time| add(local_midnight(d), Interval::new(0, 0, t.0 * 1000)).map(Timestamp))
            }),
        def("pg_date_sub", "date - days, or date - time.", "date '2024-01-08' - 7")
            .on("date, int4 -> date", |c| {
                c.map2(|d: Date, days: i32| match days.checked_neg() {
                    Some(days) => date_add(d, days),
                    None => fail("22008", "date out of range"),
                })
            })
            .on("date, time -> timestamp", |c| {
                c.map2(|d: Date, t: Time| add(local_midnight(d), Interval::new(0, 0, -t.0 * 1000)).map(Timestamp))
            }),
        def("pg_date_diff", "date - date: days.", "date '2024-01-08' - date '2024-01-01'")
            .on("date, date -> int4", |c| c.map2(date_diff)),
        def("pg_time_add_interval", "time + interval, within the day.", "time '23:00' + interval '2 hours'")
            .on("time, interval -> time", |c| c.map2(|t: Time, by: Interval| Ok(time_add(t, by)))),
        def("pg_time_sub_interval", "time - interval, within the day.", "time '01:00' - interval '2 hours'")
            .on("time, interval -> time", |c| c.map2(|t: Time, by: Interval| Ok(time_add(t, negate(by)?)))),
        def("pg_time_diff", "time - time.", "time '10:00' - time '09:00'")
            .on("time, time -> interval", |c| c.map2(|a: Time, b: Time| interval(0, 0, a.0 - b.0))),
        def("pg_interval_add", "interval + interval.", "interval '1 day' + interval '1 hour'")
            .on("interval, interval -> interval", |c| c.map2(add_intervals)),
        def("pg_interval_sub", "interval - interval.", "interval '1 day' - interval '1 hour'")
            .on("interval, interval -> interval", |c| c.map2(|a: Interval, b: Interval| add_intervals(a, negate(b)?))),
        def("pg_interval_order", "An interval's length, to compare it by.", "pg_interval_order('1 month')").computed(
            "interval -> numeric",
            super::super::math::exact::whole,
            |c| c.map1(|span: Interval| Ok(Num::new(interval_order(span), 0))),
        ),
        def("pg_interval_neg", "-interval.", "-interval '1 day'").on("interval -> interval", |c| c.map1(negate)),
        def("pg_interval_mul", "interval * number.", "interval '1 day' * 1.5")
            .on("interval, float8 -> interval", |c| c.map2(|span: Interval, by: f64| scale(span, |part| part * by))),
        def("pg_interval_div", "interval / number.", "interval '1 day' / 2")
            .on("interval, float8 -> interval", |c| c.map2(divide)),
    ]
}

/// A time with that many digits of a second, half away from PostgreSQL's epoch.
fn round_micros(since: i64, digits: i32) -> Value<i64> {
    let Ok(drop) = u32::try_from(6 - i64::from(digits)) else { return Ok(since) };
    let unit = 10_i64.pow(drop.min(6));
    let (size, half) = (since.unsigned_abs(), unit.unsigned_abs() / 2);
    let rounded = (size + half) / unit.unsigned_abs() * unit.unsigned_abs();
    match i64::try_from(rounded) {
        Ok(rounded) => Ok(if since < 0 { -rounded } else { rounded }),
        Err(_) => out_of_range(),
    }
}

/// Microseconds from 1970 to 2000.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

fn round_timestamp(at: Timestamp, digits: i32) -> Value<Timestamp> {
    if super::is_infinite(at.0) {
        return Ok(at);
    }
    let since = at.0.checked_sub(POSTGRES_EPOCH).map_or_else(out_of_range, Ok)?;
    checked(round_micros(since, digits)?.checked_add(POSTGRES_EPOCH)).map(Timestamp)
}

fn round_interval(span: Interval, digits: i32) -> Value<Interval> {
    interval(span.months.into(), span.days.into(), round_micros(micros(span), digits)?)
}

/// Times with that many digits of a second, as columns of `timestamp(3)`, `time(0)` and `interval(6)` hold them; arrays of other
/// types as they are.
///
/// # Errors
/// 22008 beyond the range of the type.
pub fn round_time(array: &ArrayRef, digits: u8) -> Result<ArrayRef> {
    use arrow::datatypes::{
        DataType, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
    };
    let digits = i32::from(digits);
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let round = |at| round_timestamp(Timestamp(at), digits).map(|at| at.0);
            let rounded =
                array.as_primitive::<TimestampMicrosecondType>().try_unary::<_, TimestampMicrosecondType, _>(round)?;
            Arc::new(rounded.with_timezone_opt(zone.clone()))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let round = |at| round_micros(at, digits);
            Arc::new(array.as_primitive::<Time64MicrosecondType>().try_unary::<_, Time64MicrosecondType, _>(round)?)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let round = |span| round_interval(span, digits);
            Arc::new(
                array.as_primitive::<IntervalMonthDayNanoType>().try_unary::<_, IntervalMonthDayNanoType, _>(round)?,
            )
        }
        _ => Arc::clone(array),
    })
}

/// `(start, end) OVERLAPS (start, end)`: the ends of a pair in any order, one of them may be missing.
fn overlaps(first: [Option<i64>; 2], second: [Option<i64>; 2]) -> Option<bool> {
    let ordered = |pair: [Option<i64>; 2]| match pair {
        [None, None] => None,
        [None, Some(end)] => Some((end, None)),
        [Some(start), Some(end)] if start > end => Some((end, Some(start))),
        [Some(start), end] => Some((start, end)),
    };
    let ((start, end), (other_start, other_end)) = (ordered(first)?, ordered(second)?);
    // The later start lies before the earlier one's end; where it does not, an unknown end of its own leaves it open.
    let within = |late: i64, own_end: Option<i64>, end: Option<i64>| match (late < end?, own_end) {
        (true, _) => Some(true),
        (false, own_end) => own_end.map(|_| false),
    };
    match start.cmp(&other_start) {
        std::cmp::Ordering::Greater => within(start, end, other_end),
        std::cmp::Ordering::Less => within(other_start, other_end, end),
        // With one start, two lengths that are known say it.
        std::cmp::Ordering::Equal => end.and(other_end).map(|_| true),
    }
}

fn overlaps_of<A>(call: &Call<'_>) -> Result<ArrayRef>
where
    A: FromMicros + for<'a> super::super::call::FromArgument<'a>,
{
    let columns = [call.column::<A>(0)?, call.column::<A>(1)?, call.column::<A>(2)?, call.column::<A>(3)?];
    call.collect(|row| {
        let [a, b, c, d] = columns.each_ref().map(|column| column.get(row).map(FromMicros::micros));
        Ok(overlaps([a, b], [c, d]))
    })
}

/// What is counted in microseconds.
trait FromMicros {
    fn micros(self) -> i64;
}

impl FromMicros for Timestamp {
    fn micros(self) -> i64 {
        self.0
    }
}

impl FromMicros for Time {
    fn micros(self) -> i64 {
        self.0
    }
}

fn named() -> Vec<Function> {
    vec![
        def("pg_round_time", "With that many digits of a second: timestamp(2).", "pg_round_time(now(), 2)")
            .on("timestamp, int4 -> timestamp", |c| c.map2(round_timestamp))
            .on("timestamptz, int4 -> timestamptz", |c| c.map2(round_timestamp))
            .on("time, int4 -> time", |c| c.map2(|t: Time, digits: i32| Ok(Time(round_micros(t.0, digits)?))))
            .on("interval, int4 -> interval", |c| c.map2(round_interval)),
        def(
            "overlaps",
            "Have two stretches of time a moment in common? The operator OVERLAPS.",
            "overlaps(timestamp '2024-01-01', timestamp '2024-01-03', timestamp '2024-01-02', timestamp '2024-01-04')",
        )
        .on("timestamp, timestamp, timestamp, timestamp -> bool", overlaps_of::<Timestamp>)
        .on("timestamptz, timestamptz, timestamptz, timestamptz -> bool", overlaps_of::<Timestamp>)
        .on("time, time, time, time -> bool", overlaps_of::<Time>),
        def(
            "age",
            "The difference as one counts on a calendar: years, months, days and time.",
            "age('2024-03-01', '2023-01-31')",
        )
        .stable()
        .on("timestamp, timestamp -> interval", |c| c.map2(age))
        .on("timestamptz, timestamptz -> interval", |c| {
            let zone = Zone::Named(c.time_zone()?);
            c.map2(|a: Timestamp, b: Timestamp| age(Timestamp(zone.to_local(a.0)), Timestamp(zone.to_local(b.0))))
        }),
        def("justify_hours", "24 hours become a day.", "justify_hours('27 hours')")
            .on("interval -> interval", |c| c.map1(justify_hours)),
        def("justify_days", "30 days become a month.", "justify_days('35 days')")
            .on("interval -> interval", |c| c.map1(justify_days)),
        def(
            "justify_interval",
            "24 hours become a day, 30 days a month, and all parts get one sign.",
            "justify_interval('1 mon -1 hour')",
        )
        .on("interval -> interval", |c| c.map1(justify_interval)),
        def("isfinite", "Is it neither infinity nor -infinity?", "isfinite(now())")
            .on("date -> bool", |c| c.map1(|d: Date| Ok(d.0 != i32::MAX && d.0 != i32::MIN)))
            .on("timestamp -> bool", |c| c.map1(|t: Timestamp| Ok(!super::is_infinite(t.0))))
            .on("timestamptz -> bool", |c| c.map1(|t: Timestamp| Ok(!super::is_infinite(t.0))))
            .on("interval -> bool", |c| c.map1(|_: Interval| Ok(true))),
        def(
            "timezone",
            "AT TIME ZONE: a zone's clock at a moment, or the moment at which a zone's clock reads that.",
            "timezone('Europe/Berlin', now())",
        )
        .on("text, timestamp -> timestamptz", |c| to_zone(c, Zone::to_utc))
        .on("text, timestamptz -> timestamp", |c| to_zone(c, Zone::to_local))
        .on("interval, timestamp -> timestamptz", |c| {
            c.map2(|z: Interval, t: Timestamp| Ok(Timestamp(zone_of(z)?.to_utc(t.0))))
        })
        .on("interval, timestamptz -> timestamp", |c| {
            c.map2(|z: Interval, t: Timestamp| Ok(Timestamp(zone_of(z)?.to_local(t.0))))
        }),
    ]
}
