//! JSON as a tree, for what changes or compares it; printed as jsonb prints, or indented.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::super::call::{Value, fail};
use super::scan;
use crate::types::ValueError;

/// How deep values may nest.
const DEPTH_MAX: usize = 1000;

/// A JSON value. Numbers keep their digits; keys and strings are without escapes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

fn invalid(text: &str) -> ValueError {
    let mut error = ValueError::new("22P02", "invalid input syntax for type json");
    error.detail = Some(if text.trim().is_empty() {
        "The input string ended unexpectedly.".into()
    } else {
        format!("Token \"{}\" is invalid.", text.split_whitespace().next().unwrap_or(""))
    });
    error
}

/// The order of keys in jsonb: shorter first, then bytewise.
pub(crate) fn key_order(a: &str, b: &str) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

impl<'a> Json<'a> {
    /// Reads JSON text.
    ///
    /// # Errors
    /// 22P02, 54001
    pub(crate) fn parse(text: &'a str) -> Value<Self> {
        Self::read(text.trim_matches([' ', '\n', '\t', '\r']), 0)
    }

    fn read(text: &'a str, depth: usize) -> Value<Self> {
        if depth > DEPTH_MAX {
            return fail("54001", "stack depth limit exceeded");
        }
        Ok(match scan::kind(text) {
            scan::Kind::Object => {
                let mut members = vec![];
                for (key, value) in scan::members(text) {
                    members.push((scan::unescape(key), Self::read(value, depth + 1)?));
                }
                Json::Object(members)
            }
            scan::Kind::Array => {
                Json::Array(scan::elements(text).map(|element| Self::read(element, depth + 1)).collect::<Value<_>>()?)
            }
            scan::Kind::String => Json::String(scan::string(text)),
            scan::Kind::Bool => Json::Bool(text == "true"),
            scan::Kind::Null => Json::Null,
            scan::Kind::Number if text.bytes().any(|b| b.is_ascii_digit()) => Json::Number(Cow::Borrowed(text)),
            scan::Kind::Number => return Err(invalid(text)),
        })
    }

    /// Keys sorted and unique (the last of each counts), numbers as numeric prints them: the form jsonb has.
    pub(crate) fn normalise(self) -> Self {
        match self {
            Json::Array(elements) => Json::Array(elements.into_iter().map(Json::normalise).collect()),
            Json::Object(members) => Self::object(members.into_iter().map(|(k, v)| (k, v.normalise())).collect()),
            Json::Number(digits) => Json::Number(match canonical_number(&digits) {
                Cow::Borrowed(_) => digits,
                Cow::Owned(number) => Cow::Owned(number),
            }),
            other => other,
        }
    }

    /// An object with sorted, unique keys.
    pub(crate) fn object(mut members: Vec<(Cow<'a, str>, Json<'a>)>) -> Self {
        members.sort_by(|a, b| key_order(&a.0, &b.0));
        let mut unique: Vec<(Cow<'a, str>, Json<'a>)> = Vec::with_capacity(members.len());
        for member in members {
            match unique.last_mut().filter(|last| last.0 == member.0) {
                Some(last) => *last = member,
                None => unique.push(member),
            }
        }
        Json::Object(unique)
    }

    /// True for what is neither object nor array.
    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(self, Json::Array(_) | Json::Object(_))
    }

    /// The text jsonb prints.
    pub(crate) fn to_jsonb_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, ": ", ", ");
        out
    }

    /// Text with these between key and value, and between members.
    pub(crate) fn write(&self, out: &mut String, colon: &str, comma: &str) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(digits) => out.push_str(digits),
            Json::String(text) => quote(out, text),
            Json::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push_str(comma);
                    }
                    element.write(out, colon, comma);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push_str(comma);
                    }
                    quote(out, key);
                    out.push_str(colon);
                    value.write(out, colon, comma);
                }
                out.push('}');
            }
        }
    }

    /// One member per line, as jsonb_pretty indents.
    pub(crate) fn write_pretty(&self, out: &mut String, depth: usize) {
        let line = |out: &mut String, depth: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n("    ", depth));
        };
        match self {
            Json::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    line(out, depth + 1);
                    element.write_pretty(out, depth + 1);
                }
                line(out, depth);
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    line(out, depth + 1);
                    quote(out, key);
                    out.push_str(": ");
                    value.write_pretty(out, depth + 1);
                }
                line(out, depth);
                out.push('}');
            }
            scalar => scalar.write(out, ": ", ", "),
        }
    }

    /// Without members whose value is null, at any depth.
    pub(crate) fn strip_nulls(self) -> Self {
        match self {
            Json::Array(elements) => Json::Array(elements.into_iter().map(Json::strip_nulls).collect()),
            Json::Object(members) => Json::Object(
                members.into_iter().filter(|(_, v)| *v != Json::Null).map(|(k, v)| (k, v.strip_nulls())).collect(),
            ),
            other => other,
        }
    }

    /// Equal as jsonb: numbers by value, objects by keys.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Json::Number(a), Json::Number(b)) => a == b || trim_number(a) == trim_number(b),
            (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Json::Object(a), Json::Object(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1.same(&b.1))
            }
            (a, b) => a == b,
        }
    }

    /// jsonb's order: objects above arrays above booleans, numbers, strings and null; what has more members is greater.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            // At the top a scalar is an array of one, below such an array.
            (Json::Array(elements), scalar) if scalar.is_scalar() => elements.len().cmp(&1).then(Ordering::Greater),
            (scalar, Json::Array(elements)) if scalar.is_scalar() => 1.cmp(&elements.len()).then(Ordering::Less),
            _ => self.compare_within(other),
        }
    }

    fn compare_within(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
            (Json::Number(a), Json::Number(b)) => compare_numbers(a, b),
            (Json::String(a), Json::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Json::Array(a), Json::Array(b)) => a.len().cmp(&b.len()).then_with(|| {
                let pairs = a.iter().zip(b).map(|(a, b)| a.compare_within(b));
                pairs.fold(Ordering::Equal, Ordering::then)
            }),
            (Json::Object(a), Json::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
                let pairs = a
                    .iter()
                    .zip(b)
                    .map(|(a, b)| a.0.as_bytes().cmp(b.0.as_bytes()).then_with(|| a.1.compare_within(&b.1)));
                pairs.fold(Ordering::Equal, Ordering::then)
            }),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Json::Null => 0,
            Json::String(_) => 1,
            Json::Number(_) => 2,
            Json::Bool(_) => 3,
            Json::Array(_) => 4,
            Json::Object(_) => 5,
        }
    }

    /// `self @> other`
    pub(crate) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            // At the top an array also contains a bare scalar that is one of its elements.
            (Json::Array(elements), scalar) if scalar.is_scalar() => {
                elements.iter().any(|element| element.same(scalar))
            }
            _ => self.contains_within(other),
        }
    }

    fn contains_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Json::Object(mine), Json::Object(theirs)) => theirs.iter().all(|(key, value)| {
                let found = mine.binary_search_by(|(candidate, _)| key_order(candidate, key));
                found.is_ok_and(|at| mine[at].1.contains_within(value))
            }),
            (Json::Array(mine), Json::Array(theirs)) => {
                theirs.iter().all(|theirs| mine.iter().any(|mine| mine.contains_within(theirs)))
            }
            (a, b) => a.is_scalar() && b.is_scalar() && a.same(b),
        }
    }
}

/// Writes a string with quotes and escapes.
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            8 => "\\b",
            12 => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        if escape.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
        from = at + 1;
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// A number as numeric prints it: without exponent, plus sign or negative zero.
pub(crate) fn canonical_number(text: &str) -> Cow<'_, str> {
    let plain = |text: &str| text.bytes().all(|b| b != b'e' && b != b'E');
    let zero = |text: &str| text.bytes().all(|b| matches!(b, b'-' | b'.' | b'0'));
    if plain(text) {
        return match text.strip_prefix('-') {
            Some(digits) if zero(text) => Cow::Owned(digits.to_owned()),
            _ => Cow::Borrowed(text),
        };
    }
    let (mantissa, exponent) = text.split_at(text.find(['e', 'E']).unwrap_or(text.len()));
    let Ok(exponent) = exponent[1..].parse::<i64>() else { return Cow::Borrowed(text) };
    // PostgreSQL's numeric ends about here too.
    if exponent.abs() > 131_072 {
        return Cow::Borrowed(text);
    }
    let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let point = i64::try_from(whole.len()).unwrap_or(0) + exponent;
    let length = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let number = if point <= 0 {
        format!("0.{}{all}", "0".repeat(usize::try_from(-point).unwrap_or(0)))
    } else if point >= length {
        format!("{all}{}", "0".repeat(usize::try_from(point - length).unwrap_or(0)))
    } else {
        let (whole, fraction) = all.split_at(usize::try_from(point).unwrap_or(0));
        format!("{whole}.{fraction}")
    };
    let trimmed = number.trim_start_matches('0');
    let number =
        if trimmed.is_empty() || trimmed.starts_with('.') { format!("0{trimmed}") } else { trimmed.to_owned() };
    Cow::Owned(if zero(&number) { number } else { format!("{sign}{number}") })
}

/// The order of canonical numbers of any length.
fn compare_numbers(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        (whole.len(), format!("{whole}{}", fraction.trim_end_matches('0')))
    };
    match (a.strip_prefix('-'), b.strip_prefix('-')) {
        (None, None) => {
            let ((a_length, a_digits), (b_length, b_digits)) = (parts(a), parts(b));
            a_length.cmp(&b_length).then_with(|| a_digits.cmp(&b_digits))
        }
        (Some(a), Some(b)) => compare_numbers(b, a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

/// A canonical number without zeros behind the point.
fn trim_number(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jsonb_has_postgresqls_order() {
        let ascending = [
            "[]",
            "null",
            "\"a\"",
            "\"b\"",
            "-10",
            "-2.5",
            "-2",
            "0",
            "0.5",
            "2",
            "10",
            "10.01",
            "false",
            "true",
            "[null]",
            "[1, 2]",
            "{}",
            "{\"a\": 1}",
            "{\"a\": 2}",
            "{\"b\": 0}",
            "{\"a\": 1, \"b\": 0}",
        ];
        for (at, a) in ascending.iter().enumerate() {
            for (against, b) in ascending.iter().enumerate() {
                let found = Json::parse(a).unwrap().compare(&Json::parse(b).unwrap());
                assert_eq!(found, at.cmp(&against), "{a} and {b}");
            }
        }
        assert_eq!(Json::parse("1").unwrap().compare(&Json::parse("1.00").unwrap()), Ordering::Equal);
    }
}
