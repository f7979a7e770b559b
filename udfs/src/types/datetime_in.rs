//! Dates, times and timestamps from text: ISO 8601 in a fast path, and the rest of what PostgreSQL reads: month names,
//! the orders MDY, DMY and YMD, BC, AM/PM, concatenated digits, days of the year, Julian days, zones by offset,
//! abbreviation or name, and `now`, `today`, `tomorrow`, `yesterday`, `epoch`, `infinity`.
//!
//! The text is cut into tokens by their shape; each token then fills the next of the fields it can be.

use chrono_tz::Tz;

use super::calendar::{
    DAY, FIRST_DAY, HOUR, LAST_DAY, MINUTE, SECOND, days_from_civil, days_in_month, offset_at, offset_of_abbreviation,
    offset_of_local, posix_offset, zone_by_name,
};
use super::datetime_words::{Keyword, keyword, zone_abbreviation};
use super::{DateOrder, TextSettings, ValueError, input_error};

/// What a text can be wrong by.
#[derive(Debug)]
pub(super) enum Fault {
    /// Not of the syntax.
    Syntax,
    /// A field out of its range.
    Field,
    /// As `Field`, where another order of the fields may help.
    Order,
    /// An offset of 16 hours or more.
    Displacement,
    /// No such time zone.
    Zone(String),
}

impl Fault {
    pub(super) fn at(self, type_name: &str, text: &[u8]) -> ValueError {
        let shown = String::from_utf8_lossy(text);
        match self {
            Self::Syntax => {
                let mut error = input_error(type_name, text);
                error.code = "22007";
                error
            }
            Self::Field => ValueError::new("22008", format!("date/time field value out of range: \"{shown}\"")),
            Self::Order => {
                let mut error = Self::Field.at(type_name, text);
                error.hint = Some("Perhaps you need a different \"datestyle\" setting.".into());
                error
            }
            Self::Displacement => ValueError::new("22009", format!("time zone displacement out of range: \"{shown}\"")),
            Self::Zone(name) => ValueError::new("22023", format!("time zone \"{name}\" not recognized")),
        }
    }
}

/// A date as days from 1970-01-01.
#[inline]
pub(super) fn parse_date(text: &[u8], settings: &TextSettings) -> Result<i32, ValueError> {
    if let (Some(days), true) = (iso_date(text), text.len() == 10) {
        return Ok(days);
    }
    match decode(text, settings, false).map_err(|fault| fault.at("date", text))? {
        Moment::Infinite { negative: false } => Ok(i32::MAX),
        Moment::Infinite { negative: true } => Ok(i32::MIN),
        Moment::Epoch => Ok(0),
        Moment::At { days: Some(days), .. } => i32::try_from(days)
            .ok()
            .filter(|days| (FIRST_DAY..=LAST_DAY).contains(&i64::from(*days)))
            .ok_or_else(|| out_of_range("date", text)),
        Moment::At { days: None, .. } => Err(Fault::Syntax.at("date", text)),
    }
}

/// A time of day in microseconds.
#[inline]
pub(super) fn parse_time(text: &[u8], settings: &TextSettings) -> Result<i64, ValueError> {
    if let Some((time, [])) = iso_time(text) {
        return Ok(time);
    }
    match decode(text, settings, true).map_err(|fault| fault.at("time", text))? {
        Moment::At { time: Some(time), .. } => Ok(time),
        _ => Err(Fault::Syntax.at("time", text)),
    }
}

/// A timestamp without time zone in microseconds; a zone in the text is ignored, as in PostgreSQL.
#[inline]
pub(super) fn parse_timestamp(text: &[u8], settings: &TextSettings) -> Result<i64, ValueError> {
    if let Some((us, _)) = iso_timestamp(text) {
        return Ok(us);
    }
    let name = "timestamp";
    match decode(text, settings, false).map_err(|fault| fault.at(name, text))? {
        Moment::Infinite { negative } => Ok(infinite(negative)),
        Moment::Epoch => Ok(0),
        Moment::At { days, time, .. } => {
            let days = days.ok_or_else(|| Fault::Syntax.at(name, text))?;
            instant(days, time.unwrap_or(0), 0).ok_or_else(|| out_of_range(name, text))
        }
    }
}

/// A timestamp with time zone in microseconds; the session's zone where the text has none.
#[inline]
pub(super) fn parse_timestamptz(text: &[u8], settings: &TextSettings) -> Result<i64, ValueError> {
    if let Some((us, zone)) = iso_timestamp(text) {
        let offset = zone.unwrap_or_else(|| offset_of_local(settings.time_zone, us));
        return us.checked_sub(i64::from(offset) * SECOND).ok_or_else(|| out_of_range("timestamp", text));
    }
    let name = "timestamp with time zone";
    match decode(text, settings, false).map_err(|fault| fault.at(name, text))? {
        Moment::Infinite { negative } => Ok(infinite(negative)),
        Moment::Epoch => Ok(0),
        Moment::At { days, time, zone } => {
            let days = days.ok_or_else(|| Fault::Syntax.at(name, text))?;
            let time = time.unwrap_or(0);
            let local = days.saturating_mul(DAY).saturating_add(time);
            let offset = match zone {
                Some(Zone::Offset(seconds)) => seconds,
                Some(Zone::Named(zone)) => offset_of_local(zone, local),
                Some(Zone::Abbreviation(zone, word)) => offset_of_abbreviation(zone, word, local),
                None => offset_of_local(settings.time_zone, local),
            };
            instant(days, time, offset).ok_or_else(|| out_of_range("timestamp", text))
        }
    }
}

fn infinite(negative: bool) -> i64 {
    if negative { i64::MIN } else { i64::MAX }
}

fn out_of_range(what: &str, text: &[u8]) -> ValueError {
    ValueError::new("22008", format!("{what} out of range: \"{}\"", String::from_utf8_lossy(text)))
}

/// The instant of a local date and time; `None` beyond 64 bits and before the Julian period.
fn instant(days: i64, time: i64, offset: i32) -> Option<i64> {
    let us = days.checked_mul(DAY)?.checked_add(time)?.checked_sub(i64::from(offset) * SECOND)?;
    (us != i64::MAX && us.div_euclid(DAY) >= FIRST_DAY).then_some(us)
}

// The fast path: `2024-01-02[ T]03:04:05[.678901][Z|±hh[[:]mm]]` and its parts.

#[inline]
fn two(text: &[u8], at: usize) -> Option<u32> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// The date in the first ten bytes.
#[inline]
fn iso_date(text: &[u8]) -> Option<i32> {
    if text.len() < 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = i64::from(two(text, 0)? * 100 + two(text, 2)?);
    let (month, day) = (two(text, 5)?, two(text, 8)?);
    if year == 0 || !(1..=12).contains(&month) || day == 0 || (day > 28 && day > days_in_month(year, month)) {
        return None;
    }
    i32::try_from(days_from_civil(year, month, day)).ok()
}

/// `hh:mm:ss[.ffffff]` and what follows it.
#[inline]
fn iso_time(text: &[u8]) -> Option<(i64, &[u8])> {
    if text.len() < 8 || text[2] != b':' || text[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (two(text, 0)?, two(text, 3)?, two(text, 6)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut time = i64::from(hour) * HOUR + i64::from(minute) * MINUTE + i64::from(second) * SECOND;
    let mut rest = &text[8..];
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
        if !(1..=6).contains(&digits) {
            return None;
        }
        let mut value = fraction[..digits].iter().fold(0, |value, c| value * 10 + i64::from(c - b'0'));
        for _ in digits..6 {
            value *= 10;
        }
        time += value;
        rest = &fraction[digits..];
    }
    Some((time, rest))
}

/// The local instant and the zone's seconds east of UTC.
#[inline]
fn iso_timestamp(text: &[u8]) -> Option<(i64, Option<i32>)> {
    let days = i64::from(iso_date(text)?);
    if text.len() == 10 {
        return Some((days * DAY, None));
    }
    if !matches!(text[10], b' ' | b'T') {
        return None;
    }
    let (time, rest) = iso_time(&text[11..])?;
    let zone = match rest {
        [] => None,
        b"Z" => Some(0),
        [sign @ (b'+' | b'-'), offset @ ..] => {
            let minutes = match offset.len() {
                2 => two(offset, 0)? * 60,
                4 => two(offset, 0)? * 60 + two(offset, 2).filter(|minutes| *minutes < 60)?,
                5 if offset[2] == b':' => two(offset, 0)? * 60 + two(offset, 3).filter(|minutes| *minutes < 60)?,
                _ => return None,
            };
            let seconds = i32::try_from(minutes).ok().filter(|minutes| *minutes < 16 * 60)? * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => return None,
    };
    Some((days * DAY + time, zone))
}

/// A zone in the text.
#[derive(Debug, Clone, Copy)]
enum Zone {
    /// Seconds east of UTC.
    Offset(i32),
    Named(Tz),
    /// An abbreviation whose meaning changed over time, and the zone that tells it.
    Abbreviation(Tz, &'static str),
}

/// What the text means.
enum Moment {
    Infinite { negative: bool },
    Epoch,
    At { days: Option<i64>, time: Option<i64>, zone: Option<Zone> },
}

fn decode(text: &[u8], settings: &TextSettings, time_only: bool) -> Result<Moment, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::Syntax)?.to_ascii_lowercase();
    let mut decoder = Decoder::new(settings, time_only);
    for token in tokens(&text)? {
        decoder.take(&token)?;
    }
    decoder.finish()
}

/// A piece of the text by its shape.
#[derive(Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// `03:04:05.6`
    Time(&'a str),
    /// `2024-01-02`, `02-jan-2024`, `1/2/2024`, also `america/new_york`
    Date(&'a str),
    /// `2024`, `20240102`, `2024.032`
    Number(&'a str),
    /// `+02:00`: a sign and digits.
    Signed(&'a str),
    /// Letters.
    Word(&'a str),
    /// A sign and letters.
    SignedWord(bool, &'a str),
}

/// Cuts lower-case text into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Fault> {
    let mut tokens = vec![];
    let mut rest = text;
    let take = |text: &str, accept: &dyn Fn(char) -> bool| text.find(|c| !accept(c)).unwrap_or(text.len());
    let digit = |c: char| c.is_ascii_digit();
    while let Some(first) = rest.chars().next() {
        let end;
        if first.is_ascii_whitespace() || first == '\x0b' {
            rest = &rest[1..];
            continue;
        } else if first.is_ascii_digit() || first == '.' {
            let whole = take(rest, &digit);
            let delimiter = rest[whole..].chars().next();
            match delimiter {
                Some(':') => {
                    end = take(rest, &|c| digit(c) || c == ':' || c == '.');
                    tokens.push(Token::Time(&rest[..end]));
                }
                Some(delimiter @ ('-' | '/' | '.')) => {
                    let after = &rest[whole + 1..];
                    if after.starts_with(digit) || delimiter == '.' {
                        let second = whole + 1 + take(after, &digit);
                        if rest[second..].starts_with(delimiter) {
                            end = take(rest, &|c| digit(c) || c == delimiter);
                            tokens.push(Token::Date(&rest[..end]));
                        } else {
                            end = second;
                            let number = delimiter == '.';
                            tokens.push(if number { Token::Number(&rest[..end]) } else { Token::Date(&rest[..end]) });
                        }
                    } else {
                        end = take(rest, &|c| c.is_ascii_alphanumeric() || c == delimiter);
                        tokens.push(Token::Date(&rest[..end]));
                    }
                }
                _ => {
                    end = whole;
                    tokens.push(Token::Number(&rest[..end]));
                }
            }
        } else if first.is_ascii_alphabetic() {
            let letters = take(rest, &|c| c.is_ascii_alphabetic());
            let next = rest[letters..].chars().next();
            let compound = match next {
                Some('-' | '/' | '.') => true,
                Some(c) if c == '+' || c == '_' || digit(c) => keyword(&rest[..letters]).is_none(),
                _ => false,
            };
            if compound {
                end = take(rest, &|c| c.is_ascii_alphanumeric() || "+-/_.:".contains(c));
                tokens.push(Token::Date(&rest[..end]));
            } else {
                end = letters;
                tokens.push(Token::Word(&rest[..end]));
            }
        } else if first == '+' || first == '-' {
            let blanks = 1 + take(&rest[1..], &|c| c.is_ascii_whitespace());
            let after = &rest[blanks..];
            if after.starts_with(digit) {
                end = blanks + take(after, &|c| digit(c) || ":.-".contains(c));
                tokens.push(Token::Signed(&rest[..end]));
            } else if after.starts_with(|c: char| c.is_ascii_alphabetic()) {
                end = blanks + take(after, &|c| c.is_ascii_alphabetic());
                tokens.push(Token::SignedWord(first == '-', &rest[blanks..end]));
            } else {
                return Err(Fault::Syntax);
            }
        } else if first.is_ascii_punctuation() {
            rest = &rest[1..];
            continue;
        } else {
            return Err(Fault::Syntax);
        }
        rest = &rest[end..];
    }
    Ok(tokens)
}

/// `hh:mm[:ss[.f]]` in microseconds; `mm:ss.f` if a fraction follows the second part.
pub(super) fn clock(text: &str) -> Result<(i64, i64, i64), Fault> {
    let mut parts = text.splitn(3, ':');
    let number = |text: &str| text.parse::<i64>().map_err(|_| Fault::Syntax);
    let hour = number(parts.next().unwrap_or(""))?;
    let second_part = parts.next().ok_or(Fault::Syntax)?;
    let (hour, minute, seconds) = match parts.next() {
        Some(seconds) => (hour, number(second_part)?, seconds_us(seconds)?),
        None if second_part.contains('.') => (0, hour, seconds_us(second_part)?),
        None if second_part.is_empty() => (hour, 0, 0),
        None => (hour, number(second_part)?, 0),
    };
    if minute > 59 || seconds > 60 * SECOND {
        return Err(Fault::Field);
    }
    Ok((hour, minute, seconds))
}

/// `ss[.f]` in microseconds.
pub(super) fn seconds_us(text: &str) -> Result<i64, Fault> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| Fault::Syntax)? };
    whole.checked_mul(SECOND).and_then(|us| us.checked_add(fraction_us(fraction)?)).ok_or(Fault::Syntax)
}

/// The microseconds of `.fraction`, rounded.
pub(super) fn fraction_us(digits: &str) -> Option<i64> {
    if digits.len() <= 6 {
        if !digits.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        return format!("{digits:0<6}").parse().ok();
    }
    let value: f64 = format!("0.{digits}").parse().ok()?;
    format!("{:.0}", (value * 1e6).round_ties_even()).parse().ok()
}

/// Fields found so far.
struct Decoder<'a> {
    settings: &'a TextSettings,
    /// A time of day is asked for: numbers are times, not dates.
    time_only: bool,
    year: Option<i64>,
    two_digit_year: bool,
    month: Option<i64>,
    month_by_name: bool,
    day: Option<i64>,
    day_of_year: Option<i64>,
    /// A whole date: Julian day, `today`.
    days: Option<i64>,
    time: Option<i64>,
    zone: Option<Zone>,
    before_christ: Option<bool>,
    afternoon: Option<bool>,
    special: Option<Moment>,
    /// What the word before announced: `t` a time, `j` a Julian day.
    announced: Option<Keyword>,
}

impl<'a> Decoder<'a> {
    fn new(settings: &'a TextSettings, time_only: bool) -> Self {
        Self {
            settings,
            time_only,
            year: None,
            two_digit_year: false,
            month: None,
            month_by_name: false,
            day: None,
            day_of_year: None,
            days: None,
            time: None,
            zone: None,
            before_christ: None,
            afternoon: None,
            special: None,
            announced: None,
        }
    }

    fn has_date(&self) -> bool {
        self.days.is_some() || self.day_of_year.is_some() || (self.month.is_some() && self.day.is_some())
    }

    fn has_whole_date(&self) -> bool {
        self.has_date() && (self.year.is_some() || self.days.is_some())
    }

    fn take(&mut self, token: &Token<'_>) -> Result<(), Fault> {
        if self.special.is_some() {
            return Err(Fault::Syntax);
        }
        match token {
            Token::Time(text) => {
                if self.announced.take().is_some_and(|word| word != Keyword::Time) {
                    return Err(Fault::Syntax);
                }
                let (hour, minute, seconds) = clock(text)?;
                if hour > 24 || (hour == 24 && (minute > 0 || seconds > 0)) {
                    return Err(Fault::Field);
                }
                self.set_time(hour * HOUR + minute * MINUTE + seconds)
            }
            Token::Date(text) => self.take_date(text),
            Token::Number(text) => self.take_number(text),
            Token::Signed(text) => self.set_zone(Zone::Offset(offset(text)?)),
            Token::Word(word) => self.take_word(word),
            Token::SignedWord(negative, word) => match keyword(word) {
                Some(Keyword::Infinity) if *negative => {
                    self.special = Some(Moment::Infinite { negative: true });
                    Ok(())
                }
                _ => Err(Fault::Syntax),
            },
        }
    }

    fn take_date(&mut self, text: &str) -> Result<(), Fault> {
        let starts_with_digit = text.starts_with(|c: char| c.is_ascii_digit());
        match self.announced.take() {
            None if self.time_only && starts_with_digit && !text.contains(['/', '.']) && text.len() < 10 => {}
            None if !self.has_date() => return self.date_parts(text),
            None if !starts_with_digit => {
                if let Some(zone) = zone_by_name(text) {
                    return self.set_zone(Zone::Named(zone));
                }
                let offset = posix_offset(text).and_then(|offset| offset.try_into().ok());
                return self.set_zone(Zone::Offset(offset.ok_or_else(|| Fault::Zone(text.to_owned()))?));
            }
            None | Some(Keyword::Time) => {}
            Some(_) => return Err(Fault::Syntax),
        }
        // A concatenated time with its zone behind a minus: 040506-08.
        let (time, zone) = text.find('-').map(|at| text.split_at(at)).ok_or(Fault::Syntax)?;
        self.set_zone(Zone::Offset(offset(zone)?))?;
        self.concatenated(time)
    }

    /// `2024-01-02`, `jan-02-2024`: month names count first, then the numbers in order.
    fn date_parts(&mut self, text: &str) -> Result<(), Fault> {
        let mut numbers = vec![];
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let is_digit = first.is_ascii_digit();
            if !first.is_ascii_alphanumeric() {
                rest = &rest[first.len_utf8()..];
                continue;
            }
            let same = |c: char| if is_digit { c.is_ascii_digit() } else { c.is_ascii_alphabetic() };
            let end = rest.find(|c| !same(c)).unwrap_or(rest.len());
            if is_digit {
                numbers.push(&rest[..end]);
            } else {
                match keyword(&rest[..end]) {
                    Some(Keyword::Month(month)) if self.month.is_none() => {
                        self.month = Some(month);
                        self.month_by_name = true;
                    }
                    _ => return Err(Fault::Syntax),
                }
            }
            rest = &rest[end..];
        }
        for number in numbers {
            if self.has_whole_date() {
                return Err(Fault::Syntax);
            }
            self.number(number)?;
        }
        if self.has_whole_date() { Ok(()) } else { Err(Fault::Syntax) }
    }

    fn take_number(&mut self, text: &str) -> Result<(), Fault> {
        let whole = text.find('.').unwrap_or(text.len());
        match self.announced.take() {
            Some(Keyword::Time) => return self.concatenated(text),
            Some(Keyword::Julian) => {
                let value: f64 = text.parse().map_err(|_| Fault::Field)?;
                let day: i64 = format!("{:.0}", value.floor()).parse().map_err(|_| Fault::Field)?;
                self.days = Some(day + FIRST_DAY);
                if whole < text.len() {
                    let us = format!("{:.0}", ((value - value.floor()) * 86_400e6).round());
                    self.set_time(us.parse().map_err(|_| Fault::Field)?)?;
                }
                return Ok(());
            }
            Some(_) => return Err(Fault::Syntax),
            None => {}
        }
        if self.time_only && !self.has_date() {
            return self.concatenated(text);
        }
        if whole < text.len() {
            let no_date = self.year.is_none() && self.month.is_none() && self.day.is_none();
            return match whole {
                _ if no_date && !self.has_date() => self.date_parts(text),
                3.. => self.concatenated(text),
                _ => Err(Fault::Syntax),
            };
        }
        if text.len() >= 6 && (!self.has_whole_date() || self.time.is_none()) {
            return self.concatenated(text);
        }
        self.number(text)
    }

    /// yyyymmdd, yymmdd, hhmmss[.f], hhmm
    fn concatenated(&mut self, text: &str) -> Result<(), Fault> {
        let whole = text.find('.').unwrap_or(text.len());
        let number = |text: &str| text.parse::<i64>().map_err(|_| Fault::Syntax);
        if whole == text.len() && !self.has_whole_date() && !self.time_only && whole >= 6 {
            if self.year.is_some() || self.month.is_some() || self.day.is_some() {
                return Err(Fault::Syntax);
            }
            self.day = Some(number(&text[whole - 2..])?);
            self.month = Some(number(&text[whole - 4..whole - 2])?);
            self.year = Some(number(&text[..whole - 4])?);
            self.two_digit_year = whole == 6;
            return Ok(());
        }
        let seconds = match whole {
            6 => seconds_us(&text[4..])?,
            4 if whole == text.len() => 0,
            _ => return Err(Fault::Syntax),
        };
        let (hour, minute) = (number(&text[..2])?, number(&text[2..4])?);
        if minute > 59 || seconds > 60 * SECOND || hour > 24 || (hour == 24 && minute * MINUTE + seconds > 0) {
            return Err(Fault::Field);
        }
        self.set_time(hour * HOUR + minute * MINUTE + seconds)
    }

    /// One number of a date: which field depends on those known and on the order.
    fn number(&mut self, text: &str) -> Result<(), Fault> {
        let value: i64 = text.parse().map_err(|_| Fault::Field)?;
        let long = text.len() >= 3;
        let order = self.settings.date_order;
        let only_year = self.year.is_some() && self.month.is_none() && self.day.is_none();
        if text.len() == 3 && only_year && (1..=366).contains(&value) {
            self.day_of_year = Some(value);
            return Ok(());
        }
        match (self.year, self.month, self.day) {
            (None, None, None) if long || order == DateOrder::Ymd => self.set_year(value, text),
            (None, None, None) if order == DateOrder::Dmy => self.day = Some(value),
            (None, None, None) | (Some(_), None, None) | (None, None, Some(_)) => self.month = Some(value),
            (None, Some(_), None) if self.month_by_name && (long || order == DateOrder::Ymd) => {
                self.set_year(value, text);
            }
            (None, Some(_), None) => self.day = Some(value),
            (Some(earlier), Some(_), None) if self.month_by_name && long && self.two_digit_year => {
                // What was taken for a year was the day.
                self.day = Some(earlier);
                self.set_year(value, text);
            }
            (Some(_), Some(_), None) => self.day = Some(value),
            (None, Some(_), Some(_)) => self.set_year(value, text),
            (Some(_), None, Some(_)) => self.month = Some(value),
            (Some(_), Some(_), Some(_)) => return self.concatenated(text),
        }
        Ok(())
    }

    fn set_year(&mut self, year: i64, text: &str) {
        self.year = Some(year);
        self.two_digit_year = text.len() <= 2;
    }

    fn set_time(&mut self, time: i64) -> Result<(), Fault> {
        match self.time.replace(time) {
            None => Ok(()),
            Some(_) => Err(Fault::Syntax),
        }
    }

    fn set_zone(&mut self, zone: Zone) -> Result<(), Fault> {
        match self.zone.replace(zone) {
            None => Ok(()),
            Some(_) => Err(Fault::Syntax),
        }
    }

    fn take_word(&mut self, word: &str) -> Result<(), Fault> {
        if self.announced.is_some() {
            return Err(Fault::Syntax);
        }
        let Some(found) = keyword(word) else {
            let zone = match zone_abbreviation(word) {
                Some(Ok(seconds)) => Zone::Offset(seconds),
                Some(Err((word, name))) => Zone::Abbreviation(zone_by_name(name).ok_or(Fault::Syntax)?, word),
                None => Zone::Named(zone_by_name(word).ok_or(Fault::Syntax)?),
            };
            return self.set_zone(zone);
        };
        match found {
            Keyword::Month(month) => {
                if let (Some(number), None, false) = (self.month, self.day, self.month_by_name) {
                    // `8 january`: the number before was the day.
                    self.day = Some(number);
                } else if self.month.is_some() {
                    return Err(Fault::Syntax);
                }
                self.month = Some(month);
                self.month_by_name = true;
            }
            Keyword::Weekday | Keyword::Ignored => {}
            Keyword::Afternoon(afternoon) => self.afternoon = Some(afternoon),
            Keyword::BeforeChrist(before) => self.before_christ = Some(before),
            Keyword::Time if !self.has_date() && !self.time_only => return Err(Fault::Syntax),
            Keyword::Time | Keyword::Julian => self.announced = Some(found),
            Keyword::Infinity => self.special = Some(Moment::Infinite { negative: false }),
            Keyword::Epoch => self.special = Some(Moment::Epoch),
            Keyword::AllBalls => {
                self.set_time(0)?;
                self.set_zone(Zone::Offset(0))?;
            }
            Keyword::Now => {
                let (days, time, offset) = self.now();
                self.days = Some(days);
                self.set_time(time)?;
                self.set_zone(Zone::Offset(offset))?;
            }
            Keyword::Day(difference) => self.days = Some(self.now().0 + difference),
        }
        Ok(())
    }

    /// The transaction's start in the session's zone: day, time, seconds east of UTC.
    fn now(&self) -> (i64, i64, i32) {
        let offset = offset_at(self.settings.time_zone, self.settings.now_us);
        let local = self.settings.now_us + i64::from(offset) * SECOND;
        (local.div_euclid(DAY), local.rem_euclid(DAY), offset)
    }

    fn finish(mut self) -> Result<Moment, Fault> {
        if self.announced.is_some() {
            return Err(Fault::Syntax);
        }
        if let Some(special) = self.special.take() {
            let alone = self.time.is_none() && self.zone.is_none() && !self.has_date() && self.year.is_none();
            return if alone { Ok(special) } else { Err(Fault::Syntax) };
        }
        let days = self.date()?;
        if let (Some(afternoon), Some(time)) = (self.afternoon, self.time.as_mut()) {
            if *time >= 13 * HOUR {
                return Err(Fault::Field);
            }
            match (afternoon, *time >= 12 * HOUR) {
                (true, false) => *time += 12 * HOUR,
                (false, true) => *time -= 12 * HOUR,
                _ => {}
            }
        }
        Ok(Moment::At { days, time: self.time, zone: self.zone })
    }

    fn date(&self) -> Result<Option<i64>, Fault> {
        if self.days.is_some() {
            return Ok(self.days);
        }
        let Some(written) = self.year else {
            let partial = self.month.is_some() || self.day.is_some() || self.day_of_year.is_some();
            return if partial { Err(Fault::Syntax) } else { Ok(None) };
        };
        let year = match self.before_christ {
            Some(true) if written > 0 => 1 - written,
            _ if written <= 0 => return Err(Fault::Field),
            Some(true) => return Err(Fault::Field),
            _ if self.two_digit_year && written < 70 => written + 2000,
            _ if self.two_digit_year && written < 100 => written + 1900,
            _ => written,
        };
        if year > 10_000_000 {
            return Err(Fault::Field);
        }
        if let Some(day) = self.day_of_year {
            return Ok(Some(days_from_civil(year, 1, 1) + day - 1));
        }
        if self.month.is_some_and(|month| !(1..=12).contains(&month)) {
            return Err(Fault::Order);
        }
        let (Some(month), Some(day)) = (self.month, self.day) else {
            return Err(Fault::Syntax);
        };
        let month = u32::try_from(month).ok().filter(|month| (1..=12).contains(month)).ok_or(Fault::Order)?;
        let day = u32::try_from(day).ok().filter(|day| (1..=31).contains(day)).ok_or(Fault::Order)?;
        if day > days_in_month(year, month) {
            return Err(Fault::Field);
        }
        Ok(Some(days_from_civil(year, month, day)))
    }
}

/// Seconds east of UTC of `±hh[:mm[:ss]]`, `±hhmm[ss]`.
fn offset(text: &str) -> Result<i32, Fault> {
    let negative = text.starts_with('-');
    let digits = text[1..].trim_start();
    let number = |text: &str| text.parse::<i32>().map_err(|_| Fault::Syntax);
    let (hours, minutes, seconds) = if digits.contains(':') {
        let mut parts = digits.splitn(3, ':').map(number);
        (parts.next().unwrap_or(Ok(0))?, parts.next().unwrap_or(Ok(0))?, parts.next().unwrap_or(Ok(0))?)
    } else {
        match digits.len() {
            1 | 2 => (number(digits)?, 0, 0),
            3 | 4 => {
                let (hours, minutes) = digits.split_at(digits.len() - 2);
                (number(hours)?, number(minutes)?, 0)
            }
            5 | 6 => {
                let (hours, rest) = digits.split_at(digits.len() - 4);
                (number(hours)?, number(&rest[..2])?, number(&rest[2..])?)
            }
            _ => return Err(Fault::Displacement),
        }
    };
    if hours > 15 || minutes > 59 || seconds > 59 {
        return Err(Fault::Displacement);
    }
    let seconds = hours * 3600 + minutes * 60 + seconds;
    Ok(if negative { -seconds } else { seconds })
}
