//! to_char of timestamps and intervals.

use std::cell::RefCell;
use std::fmt::Write;

use arrow::array::ArrayRef;
use datafusion_common::Result;

use super::super::call::{Call, Date, Interval, Timestamp, Value};
use super::super::define::{Function, def};
use super::super::math::to_char as numbers;
use super::fields::{clock_parts, display_year, iso_week};
use super::pattern::{Case, Key, MONTHS, Part, Pattern, ROMAN_MONTHS, WEEKDAYS};
use super::zone::Zone;
use crate::types::calendar::{DAY, civil_from_days, days_from_civil, weekday};

/// What a template prints from.
struct Moment {
    year: i64,
    month: i64,
    day: i64,
    days: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    /// Abbreviation and seconds east of UTC.
    zone: Option<(String, i64)>,
    is_interval: bool,
}

impl Moment {
    fn of_timestamp(local: i64) -> Self {
        let (days, time) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second, micros) = clock_parts(time);
        let (month, day) = (month.into(), day.into());
        Self { year, month, day, days, hour, minute, second, micros, zone: None, is_interval: false }
    }

    fn of_instant(instant: i64, zone: Zone) -> Self {
        let mut moment = Self::of_timestamp(zone.to_local(instant));
        moment.zone = Some((zone.abbreviation(instant), zone.offset(instant)));
        moment
    }

    fn of_interval(interval: Interval) -> Self {
        let (hour, minute, second, micros) = clock_parts(interval.nanoseconds / 1000);
        Self {
            year: (interval.months / 12).into(),
            month: (interval.months % 12).into(),
            day: interval.days.into(),
            days: 0,
            hour,
            minute,
            second,
            micros,
            zone: None,
            is_interval: true,
        }
    }

    fn day_of_year(&self) -> i64 {
        if self.is_interval {
            return self.year * 360 + self.month * 30 + self.day;
        }
        self.days - days_from_civil(self.year, 1, 1) + 1
    }

    fn shown_year(&self) -> i64 {
        if self.is_interval || self.year > 0 { self.year } else { 1 - self.year }
    }
}

/// A name in the case the template has.
pub(crate) fn cased(text: &str, case: Case) -> String {
    match case {
        Case::Upper => text.to_ascii_uppercase(),
        Case::Title => text.to_owned(),
        Case::Lower => text.to_ascii_lowercase(),
    }
}

/// th, st, nd, rd behind a number.
pub(crate) fn ordinal_suffix(number: &str, case: Case) -> &'static str {
    let digits = number.as_bytes();
    let teen = digits.len() > 1 && digits[digits.len() - 2] == b'1';
    let upper = case == Case::Upper;
    match (digits.last(), teen) {
        (Some(b'1'), false) => {
            if upper {
                "ST"
            } else {
                "st"
            }
        }
        (Some(b'2'), false) => {
            if upper {
                "ND"
            } else {
                "nd"
            }
        }
        (Some(b'3'), false) => {
            if upper {
                "RD"
            } else {
                "rd"
            }
        }
        _ => {
            if upper {
                "TH"
            } else {
                "th"
            }
        }
    }
}

/// A number with zeros in front unless filled; the sign does not count for the width.
fn number(value: i64, width: usize, fill: bool) -> String {
    let width = if fill { 0 } else { width };
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{:0>width$}", value.unsigned_abs())
}

fn print(pattern: &Pattern, moment: &Moment) -> Value<String> {
    let mut out = String::new();
    for part in &pattern.parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Separator(character) => out.push(*character),
            Part::Field { key, case, fill, ordinal } => {
                if moment.is_interval && !of_interval(*key) {
                    let mut error =
                        crate::types::ValueError::new("22007", "invalid format specification for an interval value");
                    error.hint = Some("Intervals are not tied to specific calendar dates.".into());
                    return Err(error);
                }
                let text = field(moment, *key, *case, *fill);
                out.push_str(&text);
                if let Some(case) = ordinal.filter(|_| text.ends_with(|c: char| c.is_ascii_digit())) {
                    out.push_str(ordinal_suffix(&text, case));
                }
            }
        }
    }
    Ok(out)
}

/// Fields that an interval has.
fn of_interval(key: Key) -> bool {
    !matches!(
        key,
        Key::Era(_)
            | Key::WeekdayName
            | Key::WeekdayShort
            | Key::DayOfWeek
            | Key::IsoDayOfWeek
            | Key::IsoDayOfYear
            | Key::IsoYear(_)
            | Key::IsoWeek
            | Key::ZoneName
            | Key::ZoneHours
            | Key::ZoneMinutes
            | Key::ZoneOffset
            | Key::MonthName
            | Key::MonthShort
    )
}

fn field(moment: &Moment, key: Key, case: Case, fill: bool) -> String {
    let padded = |name: &str| {
        let name = cased(name, case);
        if fill { name } else { format!("{name:<9}") }
    };
    let month = usize::try_from(moment.month - 1).unwrap_or(0).min(11);
    let day_of_week = weekday(moment.days);
    match key {
        Key::Era(dots) => {
            let name = match (moment.year > 0, dots) {
                (true, true) => "A.D.",
                (true, false) => "AD",
                (false, true) => "B.C.",
                (false, false) => "BC",
            };
            cased(name, case)
        }
        Key::Meridiem(dots) => {
            let name = match (moment.hour.rem_euclid(24) >= 12, dots) {
                (false, true) => "A.M.",
                (false, false) => "AM",
                (true, true) => "P.M.",
                (true, false) => "PM",
            };
            cased(name, case)
        }
        Key::Century if moment.is_interval => number(moment.year / 100, 2, fill),
        Key::Century => {
            let century = if moment.year > 0 { (moment.year - 1) / 100 + 1 } else { moment.year / 100 - 1 };
            number(century, 2, fill || !(-99..=99).contains(&century))
        }
        Key::WeekdayName => padded(WEEKDAYS[day_of_week]),
        Key::WeekdayShort => cased(&WEEKDAYS[day_of_week][..3], case),
        Key::DayOfYear => number(moment.day_of_year(), 3, fill),
        Key::IsoDayOfYear => {
            let january_4 = days_from_civil(iso_week(moment.days).0, 1, 4);
            let start = january_4 - (january_4 + 3).rem_euclid(7);
            number(moment.days - start + 1, 3, fill)
        }
        Key::DayOfMonth => number(moment.day, 2, fill),
        Key::DayOfWeek => (day_of_week + 1).to_string(),
        Key::IsoDayOfWeek => (if day_of_week == 0 { 7 } else { day_of_week }).to_string(),
        Key::Fraction(digits) => {
            let width = usize::try_from(digits).unwrap_or(6);
            format!("{:0>width$}", moment.micros.abs() / 10i64.pow(6 - digits))
        }
        Key::Hour12 => {
            let hour = moment.hour % 12;
            number(if hour == 0 { 12 } else { hour }, 2, fill)
        }
        Key::Hour24 => number(moment.hour, 2, fill),
        Key::IsoYear(digits) => year(display_year(iso_week(moment.days).0).abs(), digits, fill),
        Key::IsoWeek => number(iso_week(moment.days).1, 2, fill),
        Key::Julian if moment.is_interval => (moment.year * 360 + moment.month * 30 + moment.day).to_string(),
        Key::Julian => (moment.days + 2_440_588).to_string(),
        Key::MonthName => padded(MONTHS[month]),
        Key::MonthShort => cased(&MONTHS[month][..3], case),
        Key::Month => number(moment.month, 2, fill),
        Key::Minute => number(moment.minute, 2, fill),
        Key::Milliseconds => number(moment.micros / 1000, 3, false),
        Key::Microseconds => number(moment.micros, 6, false),
        Key::Quarter if moment.is_interval && moment.month == 0 => String::new(),
        Key::Quarter => ((moment.month - 1) / 3 + 1).to_string(),
        Key::RomanMonth if moment.is_interval && moment.month == 0 && moment.year == 0 => String::new(),
        Key::RomanMonth => {
            let month = if moment.month <= 0 { 11 } else { month };
            let name = cased(ROMAN_MONTHS[month], case);
            if fill { name } else { format!("{name:<4}") }
        }
        Key::SecondsOfDay => (moment.hour * 3600 + moment.minute * 60 + moment.second).to_string(),
        Key::Second => number(moment.second, 2, fill),
        Key::ZoneName => moment.zone.as_ref().map_or(String::new(), |(name, _)| {
            if case == Case::Lower { name.to_ascii_lowercase() } else { name.clone() }
        }),
        Key::ZoneHours => {
            let offset = moment.zone.as_ref().map_or(0, |(_, offset)| *offset);
            format!("{}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 3600)
        }
        Key::ZoneMinutes => format!("{:02}", moment.zone.as_ref().map_or(0, |(_, offset)| offset.abs() / 60 % 60)),
        Key::ZoneOffset => {
            let offset = moment.zone.as_ref().map_or(0, |(_, offset)| *offset);
            let mut out = number(offset.abs() / 3600, 2, fill);
            out.insert(0, if offset < 0 { '-' } else { '+' });
            if offset % 3600 != 0 {
                let _ = write!(out, ":{:02}", offset.abs() / 60 % 60);
            }
            out
        }
        Key::WeekOfYear => number((moment.day_of_year() - 1) / 7 + 1, 2, fill),
        Key::WeekOfMonth => ((moment.day - 1) / 7 + 1).to_string(),
        Key::YearComma => {
            let year = moment.shown_year();
            format!("{},{:03}", year / 1000, year % 1000)
        }
        Key::Year(digits) => year(moment.shown_year(), digits, fill),
    }
}

/// The last digits of a year.
fn year(year: i64, digits: usize, fill: bool) -> String {
    match digits {
        4 => number(year, 4, fill),
        3 => number(year % 1000, 3, fill),
        2 => number(year % 100, 2, fill),
        _ => (year % 10).to_string(),
    }
}

/// Remembers the last template.
#[derive(Default)]
pub(crate) struct Templates(RefCell<Option<(String, Pattern)>>);

impl Templates {
    /// Applies `f` to the parsed template.
    pub(crate) fn with<R>(&self, template: &str, f: impl FnOnce(&Pattern) -> R) -> R {
        let mut known = self.0.borrow_mut();
        if let Some((text, pattern)) = &*known
            && text == template
        {
            return f(pattern);
        }
        let (_, pattern) = known.insert((template.to_owned(), Pattern::parse(template)));
        f(pattern)
    }
}

/// Infinite timestamps and empty templates print nothing: NULL.
fn printed(templates: &Templates, template: &str, moment: Option<Moment>) -> Value<Option<String>> {
    match moment {
        Some(moment) if !template.is_empty() => templates.with(template, |pattern| print(pattern, &moment)).map(Some),
        _ => Ok(None),
    }
}

fn finite(t: Timestamp) -> Option<i64> {
    Some(t.0).filter(|t| !super::is_infinite(*t))
}

fn of_timestamptz(call: &Call<'_>) -> Result<ArrayRef> {
    let (zone, templates) = (Zone::Named(call.time_zone()?), Templates::default());
    call.map2(|t: Timestamp, template: &str| {
        printed(&templates, template, finite(t).map(|t| Moment::of_instant(t, zone)))
    })
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def(
            "to_char",
            "A timestamp, interval or number as text, after a template.",
            "to_char(now(), 'YYYY-MM-DD HH24:MI')",
        )
        .stable()
        .on("timestamp, text -> text", |c| {
            let templates = Templates::default();
            c.map2(|t: Timestamp, template: &str| printed(&templates, template, finite(t).map(Moment::of_timestamp)))
        })
        .on("timestamptz, text -> text", of_timestamptz)
        .on("date, text -> text", |c| {
            let (zone, templates) = (Zone::Named(c.time_zone()?), Templates::default());
            c.map2(|d: Date, template: &str| {
                let instant = finite(Timestamp(super::trunc::midnight(d, zone)));
                printed(&templates, template, instant.map(|t| Moment::of_instant(t, zone)))
            })
        })
        .on("interval, text -> text", |c| {
            let templates = Templates::default();
            c.map2(|i: Interval, template: &str| printed(&templates, template, Some(Moment::of_interval(i))))
        })
        .on("int4, text -> text", |c| c.map2(|n: i32, template: &str| numbers::whole(n.into(), template)))
        .on("int8, text -> text", |c| c.map2(numbers::whole))
        .on("numeric, text -> text", |c| c.map2(numbers::decimal))
        .on("float8, text -> text", |c| c.map2(numbers::double)),
    ]
}
