//! Time zones: names and offsets, and the two directions between local clocks and UTC.

use chrono_tz::Tz;

use super::super::call::{Value, fail};
use crate::types::calendar::posix_offset;
use crate::types::calendar::{SECOND, abbreviation_at, offset_at, offset_of_local};
use crate::types::datetime_words::zone_abbreviation;
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

impl Zone {
    /// A zone by abbreviation, name or POSIX offset.
    ///
    /// # Errors
    /// 22023
    pub(crate) fn find(name: &str) -> Value<Self> {
        match zone_abbreviation(&name.to_ascii_lowercase()) {
            Some(Ok(seconds)) => return Ok(Self::Fixed(seconds.into())),
            Some(Err((zone, _))) => return find_name(zone).map(Self::Named),
            None => {}
        }
        match zone_by_name(name) {
            Some(zone) => Ok(Self::Named(zone)),
            None => match posix_offset(name) {
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
            Self::Named(zone) => offset_at(zone, instant).into(),
        }
    }

    /// The local clock's reading at an instant; infinities stay.
    pub(crate) fn to_local(self, instant: i64) -> i64 {
        if super::is_infinite(instant) {
            return instant;
        }
        instant.saturating_add(self.offset(instant) * SECOND)
    }

    /// The instant at which the local clock reads that; readings that come twice or never are taken as standard time.
    pub(crate) fn to_utc(self, local: i64) -> i64 {
        if super::is_infinite(local) {
            return local;
        }
        let seconds = match self {
            Self::Fixed(seconds) => seconds,
            Self::Named(Tz::UTC) => 0,
            Self::Named(zone) => offset_of_local(zone, local).into(),
        };
        local.saturating_sub(seconds * SECOND)
    }

    /// The zone's abbreviation at an instant.
    pub(crate) fn abbreviation(self, instant: i64) -> String {
        match self {
            Self::Fixed(_) => String::new(),
            Self::Named(zone) => abbreviation_at(zone, instant),
        }
    }
}
