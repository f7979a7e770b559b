//! Text of dates, times and timestamps in the four output styles. Values outside of PostgreSQL's range print too: the
//! engine's arithmetic can make them.

use super::calendar::{DAY, HOUR, MINUTE, SECOND, abbreviation_at, civil_from_days, offset_at, weekday};
use super::{DateOrder, DateOutput, TextSettings};

/// Two digits of every number below 100.
static PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Appends at least two digits.
#[inline]
pub(super) fn write_two(number: u64, out: &mut Vec<u8>) {
    match usize::try_from(number) {
        Ok(small @ 0..100) => out.extend_from_slice(&PAIRS[2 * small..2 * small + 2]),
        _ => super::number::write_int(number, out),
    }
}

/// Appends a date; the extreme integers are infinite.
#[inline]
pub(super) fn write_date(days: i32, settings: &TextSettings, out: &mut Vec<u8>) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        days => {
            let (year, month, day) = civil_from_days(i64::from(days));
            let (shown, before_christ) = shown_year(year);
            write_day(shown, month, day, settings, out);
            if before_christ {
                out.extend_from_slice(b" BC");
            }
        }
    }
}

/// Appends a time of day.
#[inline]
pub(super) fn write_time(us: i64, out: &mut Vec<u8>) {
    if us < 0 {
        out.push(b'-');
    }
    let us = us.unsigned_abs();
    let second = SECOND.unsigned_abs();
    let seconds = us / second;
    write_two(seconds / 3600, out);
    out.push(b':');
    write_two(seconds / 60 % 60, out);
    out.push(b':');
    write_two(seconds % 60, out);
    write_fraction(us % second, out);
}

/// Appends microseconds below a second: point and digits without trailing zeros, nothing for zero.
#[inline]
pub(super) fn write_fraction(us: u64, out: &mut Vec<u8>) {
    if us == 0 {
        return;
    }
    out.push(b'.');
    write_two(us / 10_000, out);
    write_two(us / 100 % 100, out);
    write_two(us % 100, out);
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

/// Appends a timestamp without time zone.
#[inline]
pub(super) fn write_timestamp(us: i64, settings: &TextSettings, out: &mut Vec<u8>) {
    match us {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        us => write_moment(us.div_euclid(DAY), us.rem_euclid(DAY), None, settings, out),
    }
}

/// Appends a timestamp in the session's time zone.
#[inline]
pub(super) fn write_timestamptz(us: i64, settings: &TextSettings, out: &mut Vec<u8>) {
    match us {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        us => {
            let offset = offset_at(settings.time_zone, us);
            // In two steps: the local time of the last instants is beyond 64 bits.
            let time = us.rem_euclid(DAY) + i64::from(offset) * SECOND;
            let days = us.div_euclid(DAY) + time.div_euclid(DAY);
            write_moment(days, time.rem_euclid(DAY), Some((offset, us)), settings, out);
        }
    }
}

/// `zone`: seconds east of UTC, and the instant.
fn write_moment(days: i64, time: i64, zone: Option<(i32, i64)>, settings: &TextSettings, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    let (shown, before_christ) = shown_year(year);
    if settings.date_output == DateOutput::Postgres {
        out.extend_from_slice(WEEKDAYS[weekday(days)].as_bytes());
        out.push(b' ');
        let name = MONTHS[usize::try_from(month - 1).unwrap_or(0)].as_bytes();
        if settings.date_order == DateOrder::Dmy {
            write_two(u64::from(day), out);
            out.push(b' ');
            out.extend_from_slice(name);
        } else {
            out.extend_from_slice(name);
            out.push(b' ');
            write_two(u64::from(day), out);
        }
        out.push(b' ');
        write_time(time, out);
        out.push(b' ');
        write_year(shown, out);
    } else {
        write_day(shown, month, day, settings, out);
        out.push(b' ');
        write_time(time, out);
    }
    if let Some((offset, instant)) = zone {
        if settings.date_output == DateOutput::Iso {
            write_offset(offset, out);
        } else {
            out.push(b' ');
            out.extend_from_slice(abbreviation_at(settings.time_zone, instant).as_bytes());
        }
    }
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// The year as written, and whether `BC` follows.
#[inline]
fn shown_year(year: i64) -> (u64, bool) {
    if year > 0 { (year.unsigned_abs(), false) } else { ((1 - year).unsigned_abs(), true) }
}

#[inline]
fn write_year(year: u64, out: &mut Vec<u8>) {
    if year < 10_000 {
        write_two(year / 100, out);
        write_two(year % 100, out);
    } else {
        super::number::write_int(year, out);
    }
}

#[inline]
fn write_day(year: u64, month: u32, day: u32, settings: &TextSettings, out: &mut Vec<u8>) {
    let (month, day) = (u64::from(month), u64::from(day));
    let day_first = settings.date_order == DateOrder::Dmy;
    let (first, second, separator) = match settings.date_output {
        DateOutput::Iso => {
            write_year(year, out);
            out.push(b'-');
            write_two(month, out);
            out.push(b'-');
            write_two(day, out);
            return;
        }
        DateOutput::German => (day, month, b'.'),
        DateOutput::Sql if day_first => (day, month, b'/'),
        DateOutput::Sql => (month, day, b'/'),
        DateOutput::Postgres if day_first => (day, month, b'-'),
        DateOutput::Postgres => (month, day, b'-'),
    };
    write_two(first, out);
    out.push(separator);
    write_two(second, out);
    out.push(separator);
    write_year(year, out);
}

fn write_offset(seconds: i32, out: &mut Vec<u8>) {
    out.push(if seconds < 0 { b'-' } else { b'+' });
    let seconds = u64::from(seconds.unsigned_abs());
    write_two(seconds / 3600, out);
    if seconds % 3600 != 0 {
        out.push(b':');
        write_two(seconds / 60 % 60, out);
        if seconds % 60 != 0 {
            out.push(b':');
            write_two(seconds % 60, out);
        }
    }
}

/// Hours, minutes and microseconds below a minute of a duration, all with its sign.
pub(super) fn clock_parts(us: i64) -> (i64, i64, i64) {
    (us / HOUR, us % HOUR / MINUTE, us % MINUTE)
}
