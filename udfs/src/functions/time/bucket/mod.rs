//! Buckets of one width on the line of times, dates or integers, as TimescaleDB's `time_bucket` lays them.
//!
//! ```text
//! start_of(t) = floor((t - offset - origin) / width) * width + origin + offset
//! ```
//! Where a width has days or months and there is a time zone, the line is the local clock's. [`Bucket`] is what the SQL
//! function and the operator that fills gaps share; the function is in `sql`.

use std::ops::RangeInclusive;

use super::super::call::{Interval, Value, fail};
use super::arithmetic::{add, checked, months_later, negate, out_of_range};
use super::is_infinite;
use super::zone::Zone;
use crate::types::ValueError;
use crate::types::calendar::{DAY, FIRST_DAY, LAST_DAY, civil_from_days, days_from_civil};

mod sql;
#[cfg(test)]
mod tests;

pub(crate) use sql::functions;

/// Monday, 2000-01-03: weeks start like those of `date_trunc`.
const ORIGIN_DAY: i64 = 10_959;
/// January 2000, counted in months from year 0.
const ORIGIN_MONTH: i64 = 2000 * 12;
/// How many widths further a time is looked for that lies in another bucket. Two suffice where a clock is set back; the
/// limit only keeps a zone with stranger rules from going on for ever.
const PROBES: i64 = 64;

/// Buckets of one width. Times are microseconds since 1970-01-01, dates are days, both with the extreme integers as infinities;
/// or there are integers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    line: Line,
    width: Width,
    offset: Interval,
}

/// What the buckets divide.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Line {
    /// Microseconds; without a zone both of timestamp and timestamptz.
    Times(Option<Zone>),
    Days,
    Integers {
        least: i64,
        most: i64,
    },
}

/// A width, and where on the line one bucket starts: between 0 and the width.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Width {
    /// In the line's unit. `local`: it has days, so that in a zone it follows the local clock.
    Fixed {
        width: i64,
        phase: i64,
        local: bool,
    },
    Months {
        width: i64,
        phase: i64,
    },
}

fn invalid_period<T>() -> Value<T> {
    fail("22023", "period must be greater than 0")
}

/// Months since year 0 of a day.
fn month_of(day: i64) -> i64 {
    let (year, month, _) = civil_from_days(day);
    year * 12 + i64::from(month) - 1
}

/// The first day of a month.
fn first_of(month: i64) -> i64 {
    let number = u32::try_from(month.rem_euclid(12) + 1).unwrap_or(1);
    days_from_civil(month.div_euclid(12), number, 1)
}

/// The width in months, if it has any. The SQLSTATE of a mixture is TimescaleDB's.
fn months(width: Interval, origin_day: Option<i64>) -> Value<Option<Width>> {
    if width.months == 0 {
        return Ok(None);
    }
    if width.days != 0 || width.nanoseconds != 0 {
        return fail("0A000", "month intervals cannot have day or time component");
    }
    if width.months < 0 {
        return invalid_period();
    }
    let width = i64::from(width.months);
    Ok(Some(Width::Months { width, phase: origin_day.map_or(ORIGIN_MONTH, month_of).rem_euclid(width) }))
}

/// The length of an interval without months; a day is 24 hours.
fn length(width: Interval) -> Value<i64> {
    match i64::from(width.days).checked_mul(DAY).and_then(|days| days.checked_add(width.nanoseconds / 1000)) {
        Some(length) if length > 0 => Ok(length),
        Some(_) => invalid_period(),
        None => fail("22008", "interval out of range"),
    }
}

/// Whole days, or TimescaleDB's words and SQLSTATE for others.
fn whole_days(micros: i64) -> Value<i64> {
    if micros % DAY == 0 {
        return Ok(micros / DAY);
    }
    let below_a_day = micros.unsigned_abs() < DAY.unsigned_abs();
    fail(
        "0A000",
        format!("interval must {}", if below_a_day { "not have sub-day precision" } else { "be a multiple of a day" }),
    )
}

impl Bucket {
    /// Of timestamp, or of timestamptz in UTC.
    ///
    /// # Errors
    /// 0A000 for months together with days or time, 22023 for a width that is not positive, 22008 for an infinite origin.
    pub fn of_times(width: Interval, origin: Option<i64>, offset: Option<Interval>) -> Result<Self, ValueError> {
        Self::times(width, None, origin, offset)
    }

    /// Of timestamptz by a zone's clock.
    ///
    /// # Errors
    /// As [`Self::of_times`]; 22023 for an unknown zone.
    pub fn in_zone(
        width: Interval,
        zone: &str,
        origin: Option<i64>,
        offset: Option<Interval>,
    ) -> Result<Self, ValueError> {
        Self::times(width, Some(Zone::find(zone)?), origin, offset)
    }

    fn times(width: Interval, zone: Option<Zone>, origin: Option<i64>, offset: Option<Interval>) -> Value<Self> {
        // What TimescaleDB makes of an infinite origin is an accident.
        if origin.is_some_and(is_infinite) {
            return out_of_range();
        }
        let origin = origin.map(|origin| zone.map_or(origin, |zone| zone.to_local(origin)));
        let by_month = months(width, origin.map(|origin| origin.div_euclid(DAY)))?;
        let by_length = |width: Interval| -> Value<Width> {
            let (days, width) = (width.days, length(width)?);
            let phase = origin.unwrap_or(ORIGIN_DAY * DAY).rem_euclid(width);
            Ok(Width::Fixed { width, phase, local: days != 0 })
        };
        let width = by_month.map_or_else(|| by_length(width), Ok)?;
        Ok(Self { line: Line::Times(zone), width, offset: offset.unwrap_or(Interval::ZERO) })
    }

    /// Of date.
    ///
    /// # Errors
    /// As [`Self::of_times`]; 0A000 for a width or offset that is not of whole days.
    pub fn of_dates(width: Interval, origin: Option<i32>, offset: Option<Interval>) -> Result<Self, ValueError> {
        let origin = origin.map(i64::from);
        if origin.is_some_and(|origin| Line::Days.is_infinite(origin)) {
            return out_of_range();
        }
        let by_length = |width: Interval| -> Value<Width> {
            let width = whole_days(length(width)?)?;
            Ok(Width::Fixed { width, phase: origin.unwrap_or(ORIGIN_DAY).rem_euclid(width), local: true })
        };
        let width = months(width, origin)?.map_or_else(|| by_length(width), Ok)?;
        let offset = offset.unwrap_or(Interval::ZERO);
        whole_days(offset.nanoseconds / 1000)?;
        Ok(Self { line: Line::Days, width, offset })
    }

    /// Of the integers of a type, whose least and greatest are given.
    ///
    /// # Errors
    /// 22023 for a width that is not positive.
    pub fn of_integers(width: i64, offset: Option<i64>, range: RangeInclusive<i64>) -> Result<Self, ValueError> {
        if width <= 0 {
            return invalid_period();
        }
        let phase = offset.unwrap_or(0).rem_euclid(width);
        let line = Line::Integers { least: *range.start(), most: *range.end() };
        Ok(Self { line, width: Width::Fixed { width, phase, local: false }, offset: Interval::ZERO })
    }

    /// The start of the bucket that a time lies in; an infinity is its own.
    ///
    /// # Errors
    /// 22008 where the start is out of the type's range.
    pub fn start_of(&self, time: i64) -> Result<i64, ValueError> {
        if self.line.is_infinite(time) {
            return Ok(time);
        }
        let base = self.shifted(self.line.checked(Some(time))?, negate(self.offset)?)?;
        let start = match self.line {
            Line::Times(Some(zone)) => self.start_in(zone, base)?,
            _ => self.line.checked(self.aligned(base))?,
        };
        self.shifted(start, self.offset)
    }

    /// `k` buckets on from a bucket's start: by the calendar, so that months do not drift, and on the local clock where there
    /// is a zone and the width has days or months. Times the clock skips are those after the gap, so two may be equal.
    /// In a zone, a width without days is walked bucket by bucket. `None`: out of the type's range, or `start` is infinite.
    pub fn nth(&self, start: i64, k: i64) -> Option<i64> {
        if self.line.is_infinite(start) || self.line.checked(Some(start)).is_err() {
            return None;
        }
        match self.line {
            Line::Times(Some(_)) if !self.is_local() => self.walk(start, k),
            Line::Times(Some(zone)) => {
                let base = self.shifted(start, negate(self.offset).ok()?).ok()?;
                let local = self.line.checked(self.stepped(self.aligned(zone.to_local(base))?, k)).ok()?;
                self.shifted(checked(Some(zone.to_utc(local))).ok()?, self.offset).ok()
            }
            _ => {
                let base = self.shifted(start, negate(self.offset).ok()?).ok()?;
                let stepped = self.line.checked(self.stepped(self.aligned(base)?, k)).ok()?;
                self.shifted(stepped, self.offset).ok()
            }
        }
    }

    /// The next start after a bucket's start, always greater: what fills gaps asks for again and again.
    /// `None`: there is none in the type's range.
    pub fn following(&self, start: i64) -> Option<i64> {
        let by_calendar = match self.line {
            Line::Times(Some(_)) if !self.is_local() => None,
            _ => Some(self.nth(start, 1)?),
        };
        by_calendar.filter(|next| *next > start).or_else(|| self.probe(start))
    }

    /// A later time's start, where the clock or an offset of months makes neighbours equal.
    fn probe(&self, start: i64) -> Option<i64> {
        if self.line.is_infinite(start) {
            return None;
        }
        let length = match (self.width, self.line) {
            (Width::Fixed { width, .. }, _) => width,
            (Width::Months { width, .. }, Line::Days) => width * 31,
            (Width::Months { width, .. }, _) => width.checked_mul(31 * DAY)?,
        };
        (1..=PROBES).find_map(|count| {
            let time = start.checked_add(length.checked_mul(count)?)?;
            self.start_of(self.line.checked(Some(time)).ok()?).ok().filter(|next| *next > start)
        })
    }

    fn walk(&self, start: i64, k: i64) -> Option<i64> {
        let mut at = start;
        for _ in 0..k {
            at = self.following(at)?;
        }
        for _ in k..0 {
            at = self.start_of(at.checked_sub(1)?).ok()?;
        }
        Some(at)
    }

    /// By a zone's clock: [`Self::nth`] may come by one start twice, [`Self::following`] does not.
    pub fn has_zone(&self) -> bool {
        matches!(self.line, Line::Times(Some(_)))
    }

    /// In a zone: does the width follow the local clock?
    fn is_local(&self) -> bool {
        matches!(self.width, Width::Months { .. } | Width::Fixed { local: true, .. })
    }

    /// Where a clock is set back, the bucket's start is taken as the reading's second coming, or lies in the gap where it is
    /// set forward; either may be after the time. It is then moved back by widths until it is not, by the local clock if
    /// the width has days or months: so a start is always one that [`Self::nth`] comes by. (TimescaleDB subtracts too; that
    /// it does so by the same clock is an assumption.)
    fn start_in(&self, zone: Zone, base: i64) -> Value<i64> {
        let mut local = self.line.checked(self.aligned(zone.to_local(base)))?;
        let mut start = checked(Some(zone.to_utc(local)))?;
        match self.width {
            Width::Fixed { width, local: false, .. } if start > base => {
                // The difference is at most a day, the number of widths rounded up.
                let count = (start - base).div_euclid(width) + i64::from((start - base) % width != 0);
                start -= count * width;
            }
            _ => {
                while start > base {
                    local = self.line.checked(self.stepped(local, -1))?;
                    start = zone.to_utc(local);
                }
            }
        }
        checked(Some(start))
    }

    /// The last point of the grid that is not after a point of the line; `None` for an overflow.
    fn aligned(&self, at: i64) -> Option<i64> {
        match self.width {
            Width::Fixed { width, phase, .. } => at.checked_sub(remainder(at, width, phase)),
            Width::Months { width, phase } => {
                let unit = self.line.day();
                let month = month_of(at.div_euclid(unit));
                first_of(month - remainder(month, width, phase)).checked_mul(unit)
            }
        }
    }

    /// `k` widths on from a point of the grid.
    fn stepped(&self, at: i64, k: i64) -> Option<i64> {
        match self.width {
            Width::Fixed { width, .. } => width.checked_mul(k)?.checked_add(at),
            Width::Months { width, .. } => {
                let unit = self.line.day();
                // No type reaches further than this many months, and the calendar's arithmetic must not overflow.
                let by = width.checked_mul(k).filter(|by| by.abs() <= 12 * 12_000_000)?;
                first_of(month_of(at.div_euclid(unit)) + by).checked_mul(unit)
            }
        }
    }

    /// A point of the line, shifted by an offset: in UTC, also where there is a zone.
    fn shifted(&self, at: i64, by: Interval) -> Value<i64> {
        match self.line {
            _ if by == Interval::ZERO => Ok(at),
            Line::Times(_) => add(at, by),
            Line::Days => {
                let days = i64::from(by.days) + by.nanoseconds / 1000 / DAY;
                self.line.checked(months_later(at, by.months).map(|at| at + days))
            }
            Line::Integers { .. } => Ok(at),
        }
    }
}

impl Line {
    fn is_infinite(self, at: i64) -> bool {
        match self {
            Self::Times(_) => is_infinite(at),
            Self::Days => at == i64::from(i32::MIN) || at == i64::from(i32::MAX),
            Self::Integers { .. } => false,
        }
    }

    /// A day in the line's unit.
    fn day(self) -> i64 {
        if matches!(self, Self::Times(_)) { DAY } else { 1 }
    }

    fn checked(self, at: Option<i64>) -> Value<i64> {
        let valid = match self {
            Self::Times(_) => return checked(at),
            Self::Days => at.filter(|day| (FIRST_DAY..=LAST_DAY).contains(day)),
            Self::Integers { least, most } => at.filter(|number| (least..=most).contains(number)),
        };
        valid.map_or_else(out_of_range, Ok)
    }
}

/// How far a point is after the grid's last one. Both remainders are below the width, so nothing overflows.
#[inline]
fn remainder(at: i64, width: i64, phase: i64) -> i64 {
    let rest = at.rem_euclid(width) - phase;
    if rest < 0 { rest + width } else { rest }
}
