//! The proleptic Gregorian calendar and time zones. Days count from 1970-01-01, instants are microseconds from its start.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{OffsetName, TZ_VARIANTS, Tz};

/// Microseconds of a second.
pub(crate) const SECOND: i64 = 1_000_000;
/// Microseconds of a minute.
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// Microseconds of an hour.
pub(crate) const HOUR: i64 = 60 * MINUTE;
/// Microseconds of a day.
pub(crate) const DAY: i64 = 24 * HOUR;

/// 2000-01-01, from which PostgreSQL's binary forms count.
pub(crate) const POSTGRES_EPOCH_DAYS: i32 = 10_957;
/// See [`POSTGRES_EPOCH_DAYS`].
pub(crate) const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// 4714-11-24 BC, day 0 of the Julian period: the first date there is.
pub(crate) const FIRST_DAY: i64 = -2_440_588;
/// 5874897-12-31
pub(crate) const LAST_DAY: i64 = 2_145_042_905;
/// Days before a date. Any month from 1 to 12; the day may lie outside of it.
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    // Years begin in March: the leap day is the last of the year, and months have a linear formula.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year (0 is 1 BC), month and day of a day.
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let small = |n: i64| u32::try_from(n).expect("between 0 and 31");
    let day = small(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    let month = small(if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 });
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Whether February has 29 days.
pub(crate) fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

/// Days of a month.
pub(crate) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// 0: Sunday.
pub(crate) fn weekday(days: i64) -> usize {
    usize::try_from((days + 4).rem_euclid(7)).expect("below 7")
}

/// The last year whose daylight saving rules the zone data lists.
const LAST_LISTED_YEAR: i64 = 2099;

/// An instant the zone data covers at which the same rules hold: years after the listed ones become one of the last 28
/// with the same calendar.
fn covered(us: i64) -> NaiveDateTime {
    let days = us.div_euclid(DAY);
    let (year, ..) = civil_from_days(days);
    let mut shifted = us;
    if year > LAST_LISTED_YEAR {
        let january = days_from_civil(year, 1, 1);
        let twin = (LAST_LISTED_YEAR - 27..=LAST_LISTED_YEAR)
            .find(|twin| is_leap(*twin) == is_leap(year) && weekday(days_from_civil(*twin, 1, 1)) == weekday(january))
            .unwrap_or(LAST_LISTED_YEAR);
        shifted = us - (january - days_from_civil(twin, 1, 1)) * DAY;
    }
    DateTime::from_timestamp_micros(shifted).unwrap_or(DateTime::UNIX_EPOCH).naive_utc()
}

/// Seconds east of UTC at an instant.
#[inline]
pub(crate) fn offset_at(zone: Tz, utc_us: i64) -> i32 {
    if zone == Tz::UTC {
        return 0;
    }
    zone.offset_from_utc_datetime(&covered(utc_us)).fix().local_minus_utc()
}

/// What the zone calls its time at an instant: `CET`, `CEST`, `-03`.
pub(crate) fn abbreviation_at(zone: Tz, utc_us: i64) -> String {
    let offset = zone.offset_from_utc_datetime(&covered(utc_us));
    if let Some(name) = offset.abbreviation() {
        return name.to_owned();
    }
    let seconds = offset.fix().local_minus_utc();
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs() / 60);
    match minutes % 60 {
        0 => format!("{sign}{:02}", minutes / 60),
        rest => format!("{sign}{:02}{rest:02}", minutes / 60),
    }
}

/// Seconds east of UTC of a wall clock reading whose abbreviation is given: what it means in the zone then, half a year
/// before or after, or else the zone's time.
pub(crate) fn offset_of_abbreviation(zone: Tz, abbreviation: &str, local_us: i64) -> i32 {
    let half_a_year = 183 * DAY;
    [0, -half_a_year, half_a_year]
        .into_iter()
        .map(|shift| local_us.saturating_add(shift) - i64::from(offset_of_local(zone, local_us)) * SECOND)
        .find(|instant| abbreviation_at(zone, *instant).eq_ignore_ascii_case(abbreviation))
        .map_or_else(|| offset_of_local(zone, local_us), |instant| offset_at(zone, instant))
}

/// Seconds east of UTC of a wall clock reading. One that occurs twice means the second; one that is skipped is read as if
/// the clock had not been moved.
pub(crate) fn offset_of_local(zone: Tz, local_us: i64) -> i32 {
    if zone == Tz::UTC {
        return 0;
    }
    match zone.offset_from_local_datetime(&covered(local_us)) {
        MappedLocalTime::Single(offset) => offset.fix().local_minus_utc(),
        MappedLocalTime::Ambiguous(_, later) => later.fix().local_minus_utc(),
        MappedLocalTime::None => offset_at(zone, local_us.saturating_sub(DAY)),
    }
}

/// `+05:30`, `UTC-3`, `-08`: seconds east of UTC, where POSIX counts those west of it.
pub fn posix_offset(name: &str) -> Option<i64> {
    let offset = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let (sign, digits) = match offset.as_bytes().first()? {
        b'+' => (-1, &offset[1..]),
        b'-' => (1, &offset[1..]),
        _ => return None,
    };
    let mut parts = digits.split(':').map(|part| {
        let plain = !part.is_empty() && part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
        if plain { part.parse::<i64>().ok() } else { None }
    });
    let hours = parts.next()??;
    let minutes = parts.next().unwrap_or(Some(0))?;
    let seconds = parts.next().unwrap_or(Some(0))?;
    let valid = hours <= 15 && minutes < 60 && seconds < 60 && parts.next().is_none();
    valid.then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// The zone of that name, in any case.
pub fn zone_by_name(name: &str) -> Option<Tz> {
    static BY_NAME: LazyLock<HashMap<String, Tz>> =
        LazyLock::new(|| TZ_VARIANTS.iter().map(|zone| (zone.name().to_ascii_lowercase(), *zone)).collect());
    BY_NAME.get(&name.to_ascii_lowercase()).copied()
}
