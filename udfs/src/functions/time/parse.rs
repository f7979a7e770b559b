//! to_date and to_timestamp: text read after a template.

use arrow::array::ArrayRef;
use datafusion_common::Result;

use super::super::call::{Call, Date, Timestamp, Value, fail};
use super::super::define::{Function, def};
use super::arithmetic::checked;
use super::format::{Templates, cased};
use super::make::from_epoch;
use super::pattern::{Case, Key, MONTHS, Part, Pattern, ROMAN_MONTHS, WEEKDAYS};
use super::trunc::in_range;
use super::zone::Zone;
use crate::types::ValueError;
use crate::types::calendar::{DAY, HOUR, MINUTE, SECOND, days_from_civil, days_in_month, is_leap};

/// What has been read.
#[derive(Debug, Default)]
struct Fields {
    year: i64,
    has_year: bool,
    bc: bool,
    century: Option<i64>,
    short_year: bool,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    week: Option<i64>,
    week_of_month: Option<i64>,
    weekday: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_weekday: Option<i64>,
    iso_day: Option<i64>,
    julian: Option<i64>,
    hour: i64,
    twelve: bool,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
    seconds_of_day: Option<i64>,
    zone_sign: i64,
    zone_hours: Option<i64>,
    zone_minutes: i64,
}

/// The text that is read.
struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

fn out_of_range(text: &str) -> ValueError {
    ValueError::new("22008", format!("date/time field value out of range: \"{text}\""))
}

fn invalid(value: &str, field: &str, detail: &str) -> ValueError {
    let mut error = ValueError::new("22007", format!("invalid value \"{value}\" for \"{field}\""));
    error.detail = Some(detail.into());
    error
}

impl<'a> Reader<'a> {
    /// An integer of at most that many characters (none: of any length).
    fn int(&mut self, width: Option<usize>, field: &str) -> Value<(i64, usize)> {
        let limit = width
            .map_or(self.rest.len(), |width| self.rest.char_indices().nth(width).map_or(self.rest.len(), |(at, _)| at));
        let window = &self.rest[..limit];
        let sign = usize::from(window.starts_with(['+', '-']));
        let digits = window[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            let shown: String = self.rest.chars().take(width.unwrap_or(4)).collect();
            return Err(invalid(&shown, field, "Value must be an integer."));
        }
        let number = &window[..sign + digits];
        self.rest = &self.rest[number.len()..];
        match number.parse::<i32>() {
            Ok(value) => Ok((value.into(), digits)),
            Err(_) => {
                let mut error =
                    ValueError::new("22008", format!("value for \"{field}\" in source string is out of range"));
                error.detail = Some("Value must be in the range -2147483648 to 2147483647.".into());
                Err(error)
            }
        }
    }

    /// One of those names, in any case; its index.
    fn name<'n>(&mut self, names: impl Iterator<Item = &'n str>, field: &str) -> Value<usize> {
        for (index, name) in names.enumerate() {
            if self.rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
                self.rest = &self.rest[name.len()..];
                return Ok(index);
            }
        }
        let shown: String = self.rest.chars().take_while(|c| !c.is_whitespace()).collect();
        Err(invalid(&shown, field, "The given value did not match any of the allowed values for this field."))
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn skip(&mut self, count: usize) {
        let end = self.rest.char_indices().nth(count).map_or(self.rest.len(), |(at, _)| at);
        self.rest = &self.rest[end..];
    }
}

/// A number may be longer than its field if something else than digits follows it.
fn is_open(parts: &[Part], index: usize) -> bool {
    match parts.get(index + 1) {
        None | Some(Part::Separator(_)) => true,
        Some(Part::Text(text)) => !text.starts_with(|c: char| c.is_ascii_digit()),
        Some(Part::Field { key, .. }) => !is_number(*key),
    }
}

fn is_number(key: Key) -> bool {
    !matches!(
        key,
        Key::Era(_)
            | Key::Meridiem(_)
            | Key::WeekdayName
            | Key::WeekdayShort
            | Key::MonthName
            | Key::MonthShort
            | Key::RomanMonth
            | Key::ZoneName
            | Key::ZoneHours
            | Key::ZoneOffset
    )
}

/// Two digits become a year near 2020.
fn complete_year(year: i64, digits: usize) -> i64 {
    match year {
        _ if digits >= 4 => year,
        0..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}

fn read(text: &str, pattern: &Pattern) -> Value<Fields> {
    let mut fields = Fields { zone_sign: 1, ..Fields::default() };
    let mut reader = Reader { text, rest: text };
    for (index, part) in pattern.parts.iter().enumerate() {
        if !pattern.exact && index == 0 {
            reader.skip_blanks();
        }
        match part {
            _ if reader.rest.is_empty() => break,
            Part::Text(text) => reader.skip(text.chars().count()),
            Part::Separator(_) => {
                let is_separator = |c: char| c.is_whitespace() || (c.is_ascii() && !c.is_ascii_alphanumeric());
                if pattern.exact || reader.rest.starts_with(is_separator) {
                    // A sign stays if the next field is signed.
                    let signed = matches!(pattern.parts.get(index + 1), Some(Part::Field { key: Key::ZoneHours, .. }));
                    if !(signed && reader.rest.starts_with(['+', '-'])) {
                        reader.skip(1);
                    }
                }
            }
            Part::Field { key, fill, ordinal, case } => {
                if !pattern.exact {
                    reader.skip_blanks();
                }
                let open = *fill || ordinal.is_some() || is_open(&pattern.parts, index);
                read_field(&mut reader, &mut fields, *key, *case, open)?;
                if ordinal.is_some() {
                    reader.skip(2);
                }
            }
        }
    }
    Ok(fields)
}

fn read_field(reader: &mut Reader<'_>, fields: &mut Fields, key: Key, case: Case, open: bool) -> Value<()> {
    // Errors name the field as the template does.
    let named = |title: &'static str| cased(title, case);
    let width = |n: usize| if open { None } else { Some(n) };
    match key {
        Key::Era(dots) => {
            let names = if dots { ["A.D.", "B.C."] } else { ["AD", "BC"] };
            fields.bc = reader.name(names.into_iter(), if dots { "B.C." } else { "BC" })? == 1;
        }
        Key::Meridiem(dots) => {
            let names = if dots { ["A.M.", "P.M."] } else { ["AM", "PM"] };
            fields.afternoon = Some(reader.name(names.into_iter(), if dots { "P.M." } else { "PM" })? == 1);
            fields.twelve = true;
        }
        Key::Century => fields.century = Some(reader.int(width(2), "CC")?.0),
        Key::WeekdayName => fields.weekday = Some(index(reader.name(WEEKDAYS.into_iter(), &named("Day"))?)),
        Key::WeekdayShort => fields.weekday = Some(index(reader.name(WEEKDAYS.iter().map(|n| &n[..3]), &named("Dy"))?)),
        Key::DayOfYear => fields.day_of_year = Some(reader.int(width(3), "DDD")?.0),
        Key::IsoDayOfYear => fields.iso_day = Some(reader.int(width(3), "IDDD")?.0),
        Key::DayOfMonth => fields.day = Some(reader.int(width(2), "DD")?.0),
        Key::DayOfWeek => fields.weekday = Some(reader.int(width(1), "D")?.0 - 1),
        Key::IsoDayOfWeek => fields.iso_weekday = Some(reader.int(width(1), "ID")?.0),
        Key::Fraction(digits) => {
            fields.micros += fraction(reader, width(index_usize(digits)), index_usize(digits), "FF")?
        }
        Key::Milliseconds => fields.micros += fraction(reader, width(3), 3, "MS")?,
        Key::Microseconds => fields.micros += fraction(reader, width(6), 6, "US")?,
        Key::Hour12 => {
            fields.hour = reader.int(width(2), "HH")?.0;
            fields.twelve = true;
        }
        Key::Hour24 => fields.hour = reader.int(width(2), "HH24")?.0,
        Key::IsoYear(digits) => {
            let (year, read) = reader.int(width(digits), "IYYY")?;
            fields.iso_year = Some(if digits < 4 { complete_year(year, read) } else { year });
        }
        Key::IsoWeek => fields.iso_week = Some(reader.int(width(2), "IW")?.0),
        Key::Julian => fields.julian = Some(reader.int(None, "J")?.0),
        Key::MonthName => fields.month = Some(index(reader.name(MONTHS.into_iter(), &named("Month"))?) + 1),
        Key::MonthShort => fields.month = Some(index(reader.name(MONTHS.iter().map(|n| &n[..3]), &named("Mon"))?) + 1),
        Key::Month => fields.month = Some(reader.int(width(2), "MM")?.0),
        Key::RomanMonth => {
            // The longest first: VIII before VII.
            let mut order: Vec<usize> = (0..12).collect();
            order.sort_by_key(|month| std::cmp::Reverse(ROMAN_MONTHS[*month].len()));
            let found = reader.name(order.iter().map(|month| ROMAN_MONTHS[*month]), "RM")?;
            fields.month = Some(index(order[found]) + 1);
        }
        Key::Minute => fields.minute = reader.int(width(2), "MI")?.0,
        Key::Quarter => drop(reader.int(width(1), "Q")?),
        Key::SecondsOfDay => fields.seconds_of_day = Some(reader.int(width(5), "SSSS")?.0),
        Key::Second => fields.second = reader.int(width(2), "SS")?.0,
        Key::ZoneName | Key::ZoneOffset => {
            let name = if key == Key::ZoneName { "TZ" } else { "OF" };
            return fail("0A000", format!("formatting field \"{name}\" is only supported in to_char"));
        }
        Key::ZoneHours => {
            fields.zone_sign = if reader.rest.starts_with('-') { -1 } else { 1 };
            if reader.rest.starts_with(['+', '-', ' ']) {
                reader.skip(1);
            }
            fields.zone_hours = Some(reader.int(width(2), "TZH")?.0);
        }
        Key::ZoneMinutes => fields.zone_minutes = reader.int(width(2), "TZM")?.0,
        Key::WeekOfYear => fields.week = Some(reader.int(width(2), "WW")?.0),
        Key::WeekOfMonth => fields.week_of_month = Some(reader.int(width(1), "W")?.0),
        Key::YearComma => {
            let (thousands, _) = reader.int(None, "Y,YYY")?;
            reader.skip(1);
            fields.year = thousands * 1000 + reader.int(Some(3), "Y,YYY")?.0;
            fields.has_year = true;
        }
        Key::Year(digits) => {
            let (year, read) = reader.int(width(digits), &"YYYY"[..digits])?;
            fields.year = if digits < 4 { complete_year(year, read) } else { year };
            fields.short_year = digits <= 2;
            fields.has_year = true;
        }
    }
    Ok(())
}

fn index(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(0)
}

fn index_usize(n: u32) -> usize {
    usize::try_from(n).unwrap_or(0)
}

/// Digits behind a point: fewer than the field has stand for larger parts.
fn fraction(reader: &mut Reader<'_>, width: Option<usize>, digits: usize, name: &str) -> Value<i64> {
    let (value, read) = reader.int(width, name)?;
    if read > digits {
        return Err(out_of_range(reader.text));
    }
    Ok(value * 10i64.pow(u32::try_from(6 - read).unwrap_or(0)))
}

/// Days since the epoch.
fn days(fields: &Fields, text: &str) -> Value<i64> {
    let wrong = || out_of_range(text);
    if let Some(julian) = fields.julian {
        return Ok(julian - 2_440_588);
    }
    let gregorian = fields.has_year || fields.month.is_some() || fields.day.is_some() || fields.week.is_some();
    let iso = fields.iso_year.is_some()
        || fields.iso_week.is_some()
        || fields.iso_day.is_some()
        || fields.iso_weekday.is_some();
    if gregorian && iso {
        let mut error = ValueError::new("22007", "invalid combination of date conventions");
        error.hint = Some("Do not mix Gregorian and ISO week date conventions in a formatting template.".into());
        return Err(error);
    }
    if let Some(year) = fields.iso_year {
        let january_4 = days_from_civil(year, 1, 4);
        let start = january_4 - (january_4 + 3).rem_euclid(7);
        if let Some(day) = fields.iso_day {
            return Ok(start + day - 1);
        }
        let weekday = fields.iso_weekday.unwrap_or(1);
        return Ok(start + (fields.iso_week.unwrap_or(1) - 1) * 7 + weekday - 1);
    }
    let mut year = fields.year;
    if let Some(century) = fields.century {
        year = if fields.has_year && fields.short_year {
            (century - 1) * 100 + year % 100
        } else {
            (century - 1) * 100 + 1
        };
    }
    // Year -1, as 1 BC, is the year before year 1; without a year it is 1 BC too.
    let year = match (fields.bc, fields.has_year || fields.century.is_some()) {
        (true, true) => 1 - year,
        (false, true) if year < 0 => year + 1,
        (_, true) => year,
        (_, false) => 0,
    };
    if let Some(day) = fields.day_of_year.filter(|_| fields.month.is_none() && fields.day.is_none()) {
        let length = if is_leap(year) { 366 } else { 365 };
        return if (1..=length).contains(&day) { Ok(days_from_civil(year, 1, 1) + day - 1) } else { Err(wrong()) };
    }
    if let Some(week) = fields.week.filter(|_| fields.month.is_none() && fields.day.is_none()) {
        return Ok(days_from_civil(year, 1, 1) + (week - 1) * 7);
    }
    let month = u32::try_from(fields.month.unwrap_or(1)).ok().filter(|m| (1..=12).contains(m)).ok_or_else(wrong)?;
    let day = fields.day.or(fields.week_of_month.map(|week| (week - 1) * 7 + 1)).unwrap_or(1);
    let day = u32::try_from(day).ok().filter(|d| *d >= 1 && *d <= days_in_month(year, month)).ok_or_else(wrong)?;
    Ok(days_from_civil(year, month, day))
}

/// Microseconds of the day.
fn time(fields: &Fields, text: &str) -> Value<i64> {
    let mut hour = fields.hour;
    if let Some(seconds) = fields.seconds_of_day {
        if !(0..86_400).contains(&seconds) {
            return Err(out_of_range(text));
        }
        return Ok(seconds * SECOND + fields.micros);
    }
    if fields.twelve {
        if !(1..=12).contains(&hour) && hour != 0 {
            let mut error = ValueError::new("22007", format!("hour \"{hour}\" is invalid for the 12-hour clock"));
            error.hint = Some("Use the 24-hour clock, or give an hour between 1 and 12.".into());
            return Err(error);
        }
        match fields.afternoon {
            Some(true) if hour < 12 => hour += 12,
            Some(false) | None if hour == 12 => hour = 0,
            _ => {}
        }
    }
    let valid = (0..24).contains(&hour) && (0..60).contains(&fields.minute) && (0..60).contains(&fields.second);
    if !valid {
        return Err(out_of_range(text));
    }
    Ok(hour * HOUR + fields.minute * MINUTE + fields.second * SECOND + fields.micros)
}

fn to_date(text: &str, pattern: &Pattern) -> Value<Date> {
    let fields = read(text, pattern)?;
    time(&fields, text)?;
    let days = days(&fields, text)?;
    match i32::try_from(days) {
        Ok(small) if in_range(days) => Ok(Date(small)),
        _ => fail("22008", format!("date out of range: \"{text}\"")),
    }
}

fn to_timestamp(text: &str, pattern: &Pattern, session: Zone) -> Value<Timestamp> {
    let fields = read(text, pattern)?;
    let local = checked(days(&fields, text)?.checked_mul(DAY).and_then(|d| d.checked_add(time(&fields, text).ok()?)));
    time(&fields, text)?;
    let zone = match fields.zone_hours {
        Some(hours) if hours <= 15 && fields.zone_minutes < 60 => {
            Zone::Fixed(fields.zone_sign * (hours * 3600 + fields.zone_minutes * 60))
        }
        Some(_) => return Err(out_of_range(text)),
        None => session,
    };
    Ok(Timestamp(zone.to_utc(local?)))
}

fn timestamps(call: &Call<'_>) -> Result<ArrayRef> {
    let (zone, templates) = (Zone::Named(call.time_zone()?), Templates::default());
    call.map2(|text: &str, template: &str| templates.with(template, |pattern| to_timestamp(text, pattern, zone)))
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("to_date", "Text as a date, after a template.", "to_date('15 Jan 2024', 'DD Mon YYYY')").on(
            "text, text -> date",
            |c| {
                let templates = Templates::default();
                c.map2(|text: &str, template: &str| templates.with(template, |pattern| to_date(text, pattern)))
            },
        ),
        def(
            "to_timestamp",
            "Seconds since 1970, or text after a template, as a timestamp with time zone.",
            "to_timestamp('2024-01-02 03:04', 'YYYY-MM-DD HH24:MI')",
        )
        .stable()
        .on("float8 -> timestamptz", |c| c.map1(from_epoch))
        .on("text, text -> timestamptz", timestamps),
    ]
}
