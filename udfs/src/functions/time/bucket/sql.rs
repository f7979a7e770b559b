//! `time_bucket` in SQL.

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion_common::Result;

use super::super::super::call::{Call, Date, FromArgument, Interval, IntoResult, Timestamp, Value, fail};
use super::super::super::define::{Function, def};
use super::super::trunc::zone_reader;
use super::super::{arithmetic, is_infinite};
use super::{Bucket, Line, Width, out_of_range, remainder};

/// A value with an optional third argument of a type; `None` where any argument is NULL.
fn rows<'a, W, T, E, R>(call: &'a Call<'_>, start: impl Fn(W, T, Option<E>) -> Value<R>) -> Result<ArrayRef>
where
    W: FromArgument<'a>,
    T: FromArgument<'a>,
    E: FromArgument<'a>,
    R: IntoResult,
{
    if call.args.len() > 2 {
        call.map3(|width: W, time: T, extra: E| start(width, time, Some(extra)))
    } else {
        call.map2(|width: W, time: T| start(width, time, None))
    }
}

/// Infinities come before errors in a width, as everywhere here.
fn start_of_time(bucket: impl FnOnce() -> Value<Bucket>, time: Timestamp) -> Value<Timestamp> {
    if is_infinite(time.0) {
        return Ok(time);
    }
    Ok(Timestamp(bucket()?.start_of(time.0)?))
}

fn start_of_date(bucket: impl FnOnce() -> Value<Bucket>, date: Date) -> Value<Date> {
    if Line::Days.is_infinite(date.0.into()) {
        return Ok(date);
    }
    i32::try_from(bucket()?.start_of(date.0.into())?).map_or_else(|_| out_of_range(), |day| Ok(Date(day)))
}

/// The buckets of a call whose arguments but the time are constant, without an offset, NULLs or errors.
fn constant_bucket(call: &Call<'_>) -> Result<Option<Bucket>> {
    let Some(Some(width)) = call.constant::<Interval>(0)? else { return Ok(None) };
    let origin = match call.args.len() {
        2 => None,
        _ => match call.constant::<Timestamp>(2)? {
            Some(Some(origin)) => Some(origin.0),
            _ => return Ok(None),
        },
    };
    Ok(Bucket::of_times(width, origin, None).ok())
}

/// A whole column at once, where every bucket is of the same fixed width. What goes wrong is left to the slow way, which
/// knows which values are NULL and what to say.
fn times_fast(call: &Call<'_>) -> Result<Option<ArrayRef>> {
    let Some(Width::Fixed { width, phase, .. }) =
        constant_bucket(call)?.filter(|_| !call.args[1].constant).map(|bucket| bucket.width)
    else {
        return Ok(None);
    };
    let times = call.args[1].array.as_primitive::<TimestampMicrosecondType>();
    let wrong = Cell::new(false);
    let starts = times.unary::<_, TimestampMicrosecondType>(|time| {
        let start = time.wrapping_sub(remainder(time, width, phase));
        let infinite = is_infinite(time);
        wrong.set(wrong.get() | (!infinite & (start > time || start < arithmetic::FIRST)));
        if infinite { time } else { start }
    });
    if wrong.get() {
        return Ok(None);
    }
    Ok(Some(Arc::new(starts.with_data_type(call.returns.data_type().clone()))))
}

fn times(call: &Call<'_>) -> Result<ArrayRef> {
    if let Some(done) = times_fast(call)? {
        return Ok(done);
    }
    rows(call, |width, time, origin: Option<Timestamp>| {
        start_of_time(|| Bucket::of_times(width, origin.map(|origin| origin.0), None), time)
    })
}

fn times_offset(call: &Call<'_>) -> Result<ArrayRef> {
    rows(call, |width, time, offset| start_of_time(|| Bucket::of_times(width, None, offset), time))
}

fn times_from(call: &Call<'_>) -> Result<ArrayRef> {
    call.map4(|width, time, origin: Timestamp, offset| {
        start_of_time(|| Bucket::of_times(width, Some(origin.0), Some(offset)), time)
    })
}

fn dates(call: &Call<'_>) -> Result<ArrayRef> {
    rows(call, |width, date, origin: Option<Date>| {
        start_of_date(|| Bucket::of_dates(width, origin.map(|origin| origin.0), None), date)
    })
}

fn dates_offset(call: &Call<'_>) -> Result<ArrayRef> {
    rows(call, |width, date, offset| start_of_date(|| Bucket::of_dates(width, None, offset), date))
}

fn dates_from(call: &Call<'_>) -> Result<ArrayRef> {
    call.map4(|width, date, origin: Date, offset| {
        start_of_date(|| Bucket::of_dates(width, Some(origin.0), Some(offset)), date)
    })
}

fn integers<T>(call: &Call<'_>, range: RangeInclusive<T>) -> Result<ArrayRef>
where
    T: for<'a> FromArgument<'a> + IntoResult + Copy + Into<i64> + TryFrom<i64>,
{
    let range = (*range.start()).into()..=(*range.end()).into();
    rows(call, |width: T, value: T, offset: Option<T>| {
        let bucket = Bucket::of_integers(width.into(), offset.map(Into::into), range.clone())?;
        T::try_from(bucket.start_of(value.into())?).map_or_else(|_| out_of_range(), Ok)
    })
}

/// With a zone; a NULL origin or offset is none.
fn in_zone(call: &Call<'_>) -> Result<ArrayRef> {
    let (widths, times) = (call.column::<Interval>(0)?, call.column::<Timestamp>(1)?);
    let zones = zone_reader(call, 2)?;
    let origins = if call.args.len() > 3 { Some(call.column::<Timestamp>(3)?) } else { None };
    let offsets = if call.args.len() > 4 { Some(call.column::<Interval>(4)?) } else { None };
    call.collect(|row| {
        let (Some(width), Some(time), Some(zone)) = (widths.get(row), times.get(row), zones(row)?) else {
            return Ok(None);
        };
        let origin = origins.as_ref().and_then(|origins| origins.get(row)).map(|origin| origin.0);
        let offset = offsets.as_ref().and_then(|offsets| offsets.get(row));
        start_of_time(|| Bucket::times(width, Some(zone), origin, offset), time).map(Some)
    })
}

/// Milliseconds since 1970 are the first 48 bits.
fn uuid_time(text: &str) -> Value<Timestamp> {
    let id = uuid::Uuid::parse_str(text).ok().filter(|id| id.get_version_num() == 7);
    let millis = id.and_then(|id| i64::try_from(id.as_u128() >> 80).ok());
    match millis.and_then(|millis| millis.checked_mul(1000)) {
        Some(micros) => Ok(Timestamp(micros)),
        None => fail("22023", format!("uuid \"{text}\" is not of version 7, which has a time")),
    }
}

/// The function. A time with an offset is not marked as monotonic: an offset of months is not, at a month's end. Nor is one
/// in a zone: for an hour after a clock is set back, a bucket may start before the last one.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("pg_uuid_time", "The time in a uuid of version 7.", "pg_uuid_time('019b0000-0000-7000-8000-000000000000')")
            .on("uuid -> timestamptz", |c| c.map1(uuid_time)),
        def(
            "time_bucket",
            "The start of the bucket a time, date or integer lies in, or the time in a uuid of version 7; buckets have one width, counted from an origin.",
            "time_bucket('5 minutes', now())",
        )
        .on("interval, timestamp [, timestamp] -> timestamp", times)
        .monotonic_in(1)
        .on("interval, timestamptz [, timestamptz] -> timestamptz", times)
        .monotonic_in(1)
        .on("interval, date [, date] -> date", dates)
        .monotonic_in(1)
        .on("interval, timestamp, interval -> timestamp", times_offset)
        .on("interval, timestamptz, interval -> timestamptz", times_offset)
        .on("interval, date, interval -> date", dates_offset)
        .on("interval, timestamp, timestamp, interval -> timestamp", times_from)
        .on("interval, timestamptz, timestamptz, interval -> timestamptz", times_from)
        .on("interval, date, date, interval -> date", dates_from)
        .on("interval, timestamptz, text [, timestamptz [, interval]] -> timestamptz", in_zone)
        .on("int2, int2 [, int2] -> int2", |c| integers(c, i16::MIN..=i16::MAX))
        .monotonic_in(1)
        .on("int4, int4 [, int4] -> int4", |c| integers(c, i32::MIN..=i32::MAX))
        .monotonic_in(1)
        .on("int8, int8 [, int8] -> int8", |c| integers(c, i64::MIN..=i64::MAX))
        .monotonic_in(1),
    ]
}
