//! Time zones: names and offsets, and the two directions between local clocks and UTC.

use chrono::{LocalResult, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;

use super::super::call::{Value, fail};
use crate::types::zone_by_name;

/// A zone by its name.
///
/// # Errors
/// 22023
pub(crate) fn find_name(name: &str) -> Value<Tz> {
    match zone_by_name(name) {
        Some(zone) => Ok(zone),
        None => fail("22023", format!("time zone \"{name}\" not recognized")),
    }
}

/// A zone: a named one, or seconds east of UTC.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Zone {
    Named(Tz),
    Fixed(i64),
}

const MICROS: i64 = 1_000_000;

/// `+05:30`, `UTC-3`, `-08`: in POSIX style, as AT TIME ZONE reads it, west of UTC is positive.
fn posix(name: &str) -> Option<i64> {
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
    let (hours, minutes, seconds) =
        (parts.next()??, parts.next().unwrap_or(Some(0))?, parts.next().unwrap_or(Some(0))?);
    (hours <= 15 && minutes < 60 && seconds < 60 && parts.next().is_none())
        .then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

impl Zone {
    /// A zone by name or POSIX offset.
    ///
    /// # Errors
    /// 22023
    pub(crate) fn find(name: &str) -> Value<Self> {
        match zone_by_name(name) {
            Some(zone) => Ok(Self::Named(zone)),
            None => match posix(name) {
                Some(seconds) => Ok(Self::Fixed(seconds)),
                None => fail("22023", format!("time zone \"{name}\" not recognized")),
            },
        }
    }

    /// Seconds east of UTC at an instant (microseconds since the epoch).
    pub(crate) fn offset(self, instant: i64) -> i64 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::Named(Tz::UTC) => 0,
            Self::Named(zone) => match clock(instant) {
                Some(utc) => zone.offset_from_utc_datetime(&utc).fix().local_minus_utc().into(),
                None => 0,
            },
        }
    }

    /// The local clock's reading at an instant; infinities stay.
    pub(crate) fn to_local(self, instant: i64) -> i64 {
        if super::is_infinite(instant) {
            return instant;
        }
        instant.saturating_add(self.offset(instant) * MICROS)
    }

    /// The instant at which the local clock reads that: the first of two, and behind a gap as far as it lies in it.
    pub(crate) fn to_utc(self, local: i64) -> i64 {
        if super::is_infinite(local) {
            return local;
        }
        match self {
            Self::Fixed(seconds) => local.saturating_sub(seconds * MICROS),
            Self::Named(Tz::UTC) => local,
            Self::Named(zone) => {
                let Some(reading) = clock(local) else { return local };
                let seconds: i64 = match zone.offset_from_local_datetime(&reading) {
                    LocalResult::Single(offset) => offset.fix().local_minus_utc().into(),
                    // PostgreSQL takes standard time, which is the later instant, for a reading that comes twice.
                    LocalResult::Ambiguous(first, second) => {
                        first.fix().local_minus_utc().min(second.fix().local_minus_utc()).into()
                    }
                    // A reading that is skipped is taken by the offset before the gap.
                    LocalResult::None => {
                        self.offset(local.saturating_sub(self.offset(local) * MICROS + 3 * 3600 * MICROS))
                    }
                };
                local.saturating_sub(seconds * MICROS)
            }
        }
    }

    /// The zone's abbreviation at an instant.
    pub(crate) fn abbreviation(self, instant: i64) -> String {
        match self {
            Self::Fixed(_) => String::new(),
            Self::Named(zone) => match clock(instant) {
                Some(utc) => zone.from_utc_datetime(&utc).format("%Z").to_string(),
                None => "UTC".into(),
            },
        }
    }
}

fn clock(micros: i64) -> Option<NaiveDateTime> {
    chrono::DateTime::from_timestamp_micros(micros).map(|instant| instant.naive_utc())
}
