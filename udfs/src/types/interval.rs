//! interval: text both ways, in all styles. Months, days and the time are kept apart, as in PostgreSQL; the engine's time
//! is in nanoseconds, of which text shows microseconds.

use arrow::datatypes::IntervalMonthDayNano;

use super::calendar::{HOUR, MINUTE, SECOND};
use super::datetime_in::{Fault, Token, clock, tokens};
use super::datetime_out::{clock_parts, write_fraction, write_two};
use super::number::write_int;
use super::{IntervalStyle, TextSettings, ValueError};

/// An interval while it is summed up.
#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    months: i64,
    days: i64,
    us: i64,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    /// So many months.
    Months(i64),
}

/// An interval in any of PostgreSQL's notations.
pub(super) fn parse_interval(text: &[u8], settings: &TextSettings) -> Result<IntervalMonthDayNano, ValueError> {
    let sum = parse(text, settings).map_err(|fault| match fault {
        Fault::Field | Fault::Order => field_overflow(text),
        other => other.at("interval", text),
    })?;
    let out_of_range = || ValueError::new("22008", "interval out of range");
    let months = i32::try_from(sum.months).map_err(|_| out_of_range())?;
    let days = i32::try_from(sum.days).map_err(|_| field_overflow(text))?;
    let nanoseconds = sum.us.checked_mul(1000).ok_or_else(out_of_range)?;
    Ok(IntervalMonthDayNano::new(months, days, nanoseconds))
}

fn field_overflow(text: &[u8]) -> ValueError {
    ValueError::new("22015", format!("interval field value out of range: \"{}\"", String::from_utf8_lossy(text)))
}

fn parse(text: &[u8], settings: &TextSettings) -> Result<Sum, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::Syntax)?;
    let lower = text.trim().to_ascii_lowercase();
    if let Some(iso) = lower.strip_prefix('p') {
        return parse_iso(iso);
    }
    parse_words(&lower, settings)
}

impl Sum {
    /// Adds `whole.fraction` units; a fraction of a unit becomes smaller ones.
    fn add(&mut self, number: Number, unit: Unit) -> Result<(), Fault> {
        let Number { whole, fraction } = number;
        let add = |to: &mut i64, factor: i64| -> Result<(), Fault> {
            *to = whole.checked_mul(factor).and_then(|more| to.checked_add(more)).ok_or(Fault::Field)?;
            Ok(())
        };
        match unit {
            Unit::Microsecond => {
                add(&mut self.us, 1)?;
                self.add_us(fraction)
            }
            Unit::Millisecond => {
                add(&mut self.us, 1000)?;
                self.add_us(fraction * 1e3)
            }
            Unit::Second => {
                add(&mut self.us, SECOND)?;
                self.add_us(fraction * 1e6)
            }
            Unit::Minute => {
                add(&mut self.us, MINUTE)?;
                self.add_us(fraction * 60e6)
            }
            Unit::Hour => {
                add(&mut self.us, HOUR)?;
                self.add_us(fraction * 3600e6)
            }
            Unit::Day => {
                add(&mut self.days, 1)?;
                self.add_us(fraction * 86_400e6)
            }
            Unit::Week => {
                add(&mut self.days, 7)?;
                self.add_days(fraction * 7.0)
            }
            Unit::Months(1) => {
                add(&mut self.months, 1)?;
                self.add_days(fraction * 30.0)
            }
            Unit::Months(months) => {
                add(&mut self.months, months)?;
                let extra = (fraction * integer_to_float(months)).round_ties_even();
                self.months = self.months.checked_add(float_to_integer(extra)?).ok_or(Fault::Field)?;
                Ok(())
            }
        }
    }

    fn add_days(&mut self, days: f64) -> Result<(), Fault> {
        self.days = self.days.checked_add(float_to_integer(days.trunc())?).ok_or(Fault::Field)?;
        self.add_us((days - days.trunc()) * 86_400e6)
    }

    fn add_us(&mut self, us: f64) -> Result<(), Fault> {
        self.us = self.us.checked_add(float_to_integer(us.round_ties_even())?).ok_or(Fault::Field)?;
        Ok(())
    }

    fn negated(self) -> Result<Self, Fault> {
        let negate = |n: i64| n.checked_neg().ok_or(Fault::Field);
        Ok(Self { months: negate(self.months)?, days: negate(self.days)?, us: negate(self.us)? })
    }
}

/// A number in two parts, so that the whole one is exact. Both have its sign.
#[derive(Debug, Clone, Copy)]
struct Number {
    whole: i64,
    fraction: f64,
}

fn integer_to_float(number: i64) -> f64 {
    i32::try_from(number).map_or(0.0, f64::from)
}

fn float_to_integer(number: f64) -> Result<i64, Fault> {
    format!("{number:.0}").parse().map_err(|_| Fault::Field)
}

impl Number {
    /// `[±]digits[.digits]`
    fn parse(text: &str) -> Result<Self, Fault> {
        let negative = text.starts_with('-');
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start();
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
            return Err(Fault::Syntax);
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| Fault::Field)? };
        let fraction: f64 = format!("0.{fraction}").parse().unwrap_or(0.0);
        Ok(if negative { Self { whole: -whole, fraction: -fraction } } else { Self { whole, fraction } })
    }
}

/// `1 year 2 mons 3 days 04:05:06`, `@ 1 hour ago`, `1-2 3 4:05:06`, `1.5 weeks`, `90`
fn parse_words(text: &str, settings: &TextSettings) -> Result<Sum, Fault> {
    let tokens = split_units(tokens(text)?)?;
    let mut sum = Sum::default();
    let mut at = 0;
    let mut seen = 0;
    let mut ago = false;
    // In the SQL standard's style one leading minus is for all fields.
    let all_negative = settings.interval_style == IntervalStyle::SqlStandard
        && matches!(tokens.first(), Some(Token::Signed(text)) if text.starts_with('-'))
        && !tokens[1..].iter().any(|token| matches!(token, Token::Signed(_)));
    let sign = |text: &str| text.starts_with('-') || all_negative;
    while let Some(token) = tokens.get(at) {
        at += 1;
        let text = match token {
            Token::Time(text) | Token::Number(text) | Token::Signed(text) | Token::Date(text) => *text,
            Token::Word("ago") => {
                ago = true;
                continue;
            }
            Token::Word(_) | Token::SignedWord(..) => return Err(Fault::Syntax),
        };
        let bare = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start();
        if bare.contains(':') {
            let (hours, minutes, seconds) = clock(bare)?;
            let us = hours.checked_mul(HOUR).and_then(|us| us.checked_add(minutes * MINUTE + seconds));
            let us = us.ok_or(Fault::Field)?;
            sum.us = sum.us.checked_add(if sign(text) { -us } else { us }).ok_or(Fault::Field)?;
            once(&mut seen, fields::HOUR | fields::MINUTE | fields::SECONDS)?;
        } else if let Some((years, months)) = bare.split_once('-') {
            let years: i64 = years.parse().map_err(|_| Fault::Syntax)?;
            let months: i64 = months.parse().map_err(|_| Fault::Syntax)?;
            if months >= 12 {
                return Err(Fault::Field);
            }
            let months = years.checked_mul(12).and_then(|all| all.checked_add(months)).ok_or(Fault::Field)?;
            sum.months += if sign(text) { -months } else { months };
            once(&mut seen, fields::MONTHS_OF_YEAR | fields::MONTH)?;
        } else {
            let mut number = Number::parse(text)?;
            if all_negative && !text.starts_with('-') {
                number = Number { whole: -number.whole, fraction: -number.fraction };
            }
            let unit = match tokens.get(at) {
                Some(Token::Word(word)) if *word != "ago" => {
                    at += 1;
                    unit(word).ok_or(Fault::Syntax)?
                }
                Some(Token::Time(_)) => Unit::Day,
                Some(Token::Signed(next)) if next.contains(':') => Unit::Day,
                None | Some(Token::Word(_)) => Unit::Second,
                _ => return Err(Fault::Syntax),
            };
            once(&mut seen, fields::of(unit, number.fraction != 0.0))?;
            sum.add(number, unit)?;
        }
    }
    match seen {
        0 => Err(Fault::Syntax),
        _ if ago => sum.negated(),
        _ => Ok(sum),
    }
}

/// Each field may come once.
fn once(seen: &mut u32, fields: u32) -> Result<(), Fault> {
    if *seen & fields != 0 {
        return Err(Fault::Syntax);
    }
    *seen |= fields;
    Ok(())
}

/// Fields as bits.
mod fields {
    use super::Unit;

    pub(super) const MINUTE: u32 = 1;
    pub(super) const HOUR: u32 = 2;
    pub(super) const MONTH: u32 = 4;
    pub(super) const MONTHS_OF_YEAR: u32 = 8;
    const SECOND: u32 = 16;
    const MILLISECOND: u32 = 32;
    const MICROSECOND: u32 = 64;
    /// A second with a fraction has the smaller ones too.
    pub(super) const SECONDS: u32 = SECOND | MILLISECOND | MICROSECOND;

    pub(super) fn of(unit: Unit, fractional: bool) -> u32 {
        match unit {
            Unit::Microsecond => MICROSECOND,
            Unit::Millisecond => MILLISECOND,
            Unit::Second if fractional => SECONDS,
            Unit::Second => SECOND,
            Unit::Minute => MINUTE,
            Unit::Hour => HOUR,
            Unit::Day => 128,
            Unit::Week => 256,
            Unit::Months(1) => MONTH,
            Unit::Months(12) => MONTHS_OF_YEAR,
            Unit::Months(120) => 512,
            Unit::Months(1_200) => 1024,
            Unit::Months(_) => 2048,
        }
    }
}

/// Undoes what the tokens of dates and intervals differ in: a word with digits behind it (`1h30m`) is several tokens.
fn split_units(tokens: Vec<Token<'_>>) -> Result<Vec<Token<'_>>, Fault> {
    let mut result = Vec::with_capacity(tokens.len());
    for token in tokens {
        let Token::Date(text) = token else {
            result.push(token);
            continue;
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            result.push(Token::Date(text));
            continue;
        }
        let letters = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
        if text[letters..].starts_with(['-', '/', '.']) {
            return Err(Fault::Syntax);
        }
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let is_letter = first.is_ascii_alphabetic();
            let end = rest.find(|c: char| c.is_ascii_alphabetic() != is_letter).unwrap_or(rest.len());
            let piece = &rest[..end];
            result.push(match first {
                _ if is_letter => Token::Word(piece),
                '+' | '-' => Token::Signed(piece),
                _ if piece.contains(':') => Token::Time(piece),
                _ => Token::Number(piece),
            });
            rest = &rest[end..];
        }
    }
    Ok(result)
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word {
        "microsecond" | "microseconds" | "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecon" => {
            Unit::Microsecond
        }
        "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecon" => {
            Unit::Millisecond
        }
        "second" | "seconds" | "s" | "sec" | "secs" => Unit::Second,
        "minute" | "minutes" | "m" | "min" | "mins" => Unit::Minute,
        "hour" | "hours" | "h" | "hr" | "hrs" => Unit::Hour,
        "day" | "days" | "d" => Unit::Day,
        "week" | "weeks" | "w" => Unit::Week,
        "month" | "months" | "mon" | "mons" => Unit::Months(1),
        "year" | "years" | "y" | "yr" | "yrs" => Unit::Months(12),
        "decade" | "decades" | "dec" | "decs" => Unit::Months(120),
        "century" | "centuries" | "c" | "cent" => Unit::Months(1_200),
        "millennium" | "millennia" | "mil" | "mils" => Unit::Months(12_000),
        _ => return None,
    })
}

/// `1y2m3dt4h5m6s` and `0001-02-03t04:05:06`, without the `p`.
fn parse_iso(text: &str) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    let (date, time) = match text.split_once('t') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    if text.is_empty() {
        return Err(Fault::Syntax);
    }
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    let whole = |part: &str| Number::parse(part);
    let is_alternative = |part: &str, separator| part.get(1..).is_some_and(|part| part.contains(separator));
    if is_alternative(date, '-') && !date.contains(|c: char| c.is_ascii_alphabetic()) {
        let units = [Unit::Months(12), Unit::Months(1), Unit::Day];
        for (number, unit) in date.splitn(3, '-').zip(units) {
            sum.add(Number::parse(number)?, unit)?;
        }
    } else if all_digits(date) {
        // yyyymmdd, or years.
        let (years, rest) = if date.len() == 8 { date.split_at(4) } else { (date, "") };
        sum.add(whole(years)?, Unit::Months(12))?;
        if let Some((months, days)) = rest.split_at_checked(2) {
            sum.add(whole(months)?, Unit::Months(1))?;
            sum.add(whole(days)?, Unit::Day)?;
        }
    } else {
        iso_fields(date, &mut sum, |letter| match letter {
            'y' => Some(Unit::Months(12)),
            'm' => Some(Unit::Months(1)),
            'w' => Some(Unit::Week),
            'd' => Some(Unit::Day),
            _ => None,
        })?;
    }
    match time {
        Some(time) if time.contains(':') => {
            let negative = time.starts_with('-');
            let (hours, minutes, seconds) = clock(time.strip_prefix(['-', '+']).unwrap_or(time))?;
            let us = hours.checked_mul(HOUR).and_then(|us| us.checked_add(minutes * MINUTE + seconds));
            let us = us.ok_or(Fault::Field)?;
            sum.us += if negative { -us } else { us };
        }
        Some(time) if all_digits(time) => {
            // hhmmss, or hours.
            let (hours, rest) = if time.len() == 6 { time.split_at(2) } else { (time, "") };
            sum.add(whole(hours)?, Unit::Hour)?;
            if let Some((minutes, seconds)) = rest.split_at_checked(2) {
                sum.add(whole(minutes)?, Unit::Minute)?;
                sum.add(whole(seconds)?, Unit::Second)?;
            }
        }
        Some(time) => iso_fields(time, &mut sum, |letter| match letter {
            'h' => Some(Unit::Hour),
            'm' => Some(Unit::Minute),
            's' => Some(Unit::Second),
            _ => None,
        })?,
        None => {}
    }
    Ok(sum)
}

fn iso_fields(text: &str, sum: &mut Sum, unit: impl Fn(char) -> Option<Unit>) -> Result<(), Fault> {
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or(Fault::Syntax)?;
        let number = Number::parse(&rest[..end])?;
        let letter = rest[end..].chars().next().ok_or(Fault::Syntax)?;
        sum.add(number, unit(letter).ok_or(Fault::Syntax)?)?;
        rest = &rest[end + 1..];
    }
    Ok(())
}

/// Appends an interval in the session's style.
pub(super) fn write_interval(value: IntervalMonthDayNano, style: IntervalStyle, out: &mut Vec<u8>) {
    let (years, months) = (i64::from(value.months / 12), i64::from(value.months % 12));
    let days = i64::from(value.days);
    let us = value.nanoseconds / 1000;
    match style {
        IntervalStyle::Postgres => write_postgres(years, months, days, us, out),
        IntervalStyle::PostgresVerbose => write_verbose(years, months, days, us, out),
        IntervalStyle::SqlStandard => write_sql_standard(years, months, days, us, out),
        IntervalStyle::Iso8601 => write_iso(years, months, days, us, out),
    }
}

fn write_postgres(years: i64, months: i64, days: i64, us: i64, out: &mut Vec<u8>) {
    let start = out.len();
    // A positive field after a negative one shows its plus.
    let mut after_negative = false;
    for (value, name) in [(years, "year"), (months, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        if out.len() > start {
            out.push(b' ');
        }
        if after_negative && value > 0 {
            out.push(b'+');
        }
        write_counted(value, name, value != 1, out);
        after_negative = value < 0;
    }
    if us != 0 || out.len() == start {
        if out.len() > start {
            out.push(b' ');
        }
        if us < 0 {
            out.push(b'-');
        } else if after_negative {
            out.push(b'+');
        }
        write_clock(us, true, out);
    }
}

fn write_counted(value: i64, name: &str, plural: bool, out: &mut Vec<u8>) {
    write_int(value, out);
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    if plural {
        out.push(b's');
    }
}

/// `hh:mm:ss.ffffff` without sign; `wide`: two digits for the hour.
fn write_clock(us: i64, wide: bool, out: &mut Vec<u8>) {
    let (hours, minutes, rest) = clock_parts(us);
    if wide {
        write_two(hours.unsigned_abs(), out);
    } else {
        write_int(hours.unsigned_abs(), out);
    }
    out.push(b':');
    write_two(minutes.unsigned_abs(), out);
    out.push(b':');
    let second = SECOND.unsigned_abs();
    write_two(rest.unsigned_abs() / second, out);
    write_fraction(rest.unsigned_abs() % second, out);
}

/// Seconds with fraction, without sign and leading zero.
fn write_seconds(us: i64, out: &mut Vec<u8>) {
    let second = SECOND.unsigned_abs();
    write_int(us.unsigned_abs() / second, out);
    write_fraction(us.unsigned_abs() % second, out);
}

fn write_verbose(years: i64, months: i64, days: i64, us: i64, out: &mut Vec<u8>) {
    out.push(b'@');
    let (hours, minutes, seconds) = clock_parts(us);
    let units = [(years, "year"), (months, "mon"), (days, "day"), (hours, "hour"), (minutes, "min")];
    // The first field that is not zero tells the sign of all; others are relative to it.
    let mut ago = None;
    for (value, name) in units {
        if value == 0 {
            continue;
        }
        let negative = *ago.get_or_insert(value < 0);
        let value = if negative { -value } else { value };
        out.push(b' ');
        write_counted(value, name, value != 1, out);
    }
    if seconds != 0 {
        out.push(b' ');
        if *ago.get_or_insert(seconds < 0) != (seconds < 0) {
            out.push(b'-');
        }
        write_seconds(seconds, out);
        out.extend_from_slice(if seconds.abs() == SECOND { b" sec" } else { b" secs" });
    }
    match ago {
        None => out.extend_from_slice(b" 0"),
        Some(true) => out.extend_from_slice(b" ago"),
        Some(false) => {}
    }
}

fn write_sql_standard(years: i64, months: i64, days: i64, us: i64, out: &mut Vec<u8>) {
    let parts = [years, months, days, us];
    let (negative, positive) = (parts.iter().any(|part| *part < 0), parts.iter().any(|part| *part > 0));
    let (has_months, has_time) = (years != 0 || months != 0, days != 0 || us != 0);
    let write_months = |out: &mut Vec<u8>| {
        write_int(years.unsigned_abs(), out);
        out.push(b'-');
        write_int(months.unsigned_abs(), out);
    };
    if !negative && !positive {
        out.push(b'0');
    } else if (negative && positive) || (has_months && has_time) {
        let sign = |negative: bool| if negative { b'-' } else { b'+' };
        out.push(sign(years < 0 || months < 0));
        write_months(out);
        out.extend_from_slice(&[b' ', sign(days < 0)]);
        write_int(days.unsigned_abs(), out);
        out.extend_from_slice(&[b' ', sign(us < 0)]);
        write_clock(us, false, out);
    } else {
        if negative {
            out.push(b'-');
        }
        if has_months {
            write_months(out);
            return;
        }
        if days != 0 {
            write_int(days.unsigned_abs(), out);
            out.push(b' ');
        }
        write_clock(us, false, out);
    }
}

fn write_iso(years: i64, months: i64, days: i64, us: i64, out: &mut Vec<u8>) {
    if years == 0 && months == 0 && days == 0 && us == 0 {
        out.extend_from_slice(b"PT0S");
        return;
    }
    let field = |value: i64, letter: u8, out: &mut Vec<u8>| {
        if value != 0 {
            write_int(value, out);
            out.push(letter);
        }
    };
    out.push(b'P');
    field(years, b'Y', out);
    field(months, b'M', out);
    field(days, b'D', out);
    if us == 0 {
        return;
    }
    let (hours, minutes, seconds) = clock_parts(us);
    out.push(b'T');
    field(hours, b'H', out);
    field(minutes, b'M', out);
    if seconds != 0 {
        if seconds < 0 {
            out.push(b'-');
        }
        write_seconds(seconds, out);
        out.push(b'S');
    }
}

/// Months, days and microseconds of PostgreSQL's binary form. `None`: longer than the engine holds.
pub(super) fn from_parts(months: i32, days: i32, us: i64) -> Option<IntervalMonthDayNano> {
    Some(IntervalMonthDayNano::new(months, days, us.checked_mul(1000)?))
}
