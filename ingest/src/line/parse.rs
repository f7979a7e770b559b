//! One line of InfluxDB's line protocol, from its text to the row:
//!
//! ```text
//! measurement[,tag=value…] field=value[,field=value…] [timestamp]
//! ```
//!
//! | field value | type |
//! |---|---|
//! | `1`, `1.5`, `-1e3` | float |
//! | `1i`, `1u` | integer, unsigned |
//! | `t`, `T`, `true`, `True`, `TRUE`, `f`, … | boolean |
//! | `"text"`, with `\"` and `\\` | string |
//!
//! In a measurement `\,` and `\ ` stand for the signs themselves, in keys and tag values `\=` as well; any other backslash
//! is one.

use tidemill_udfs::types::ValueError;

use crate::json::lex::Lexer;
use crate::rows::{NONE, ROOT, RowFault, Rows};
use crate::value::{Number, Span, Value};

/// The first byte from `at` on that is one of `stops`, behind no backslash, and whether there are backslashes before it.
#[inline]
fn scan(bytes: &[u8], mut at: usize, stops: impl Fn(u8) -> bool) -> (usize, bool) {
    let mut escaped = false;
    while let Some(byte) = bytes.get(at).copied() {
        if stops(byte) {
            break;
        }
        if byte == b'\\' {
            escaped = true;
            at += usize::from(at + 1 < bytes.len());
        }
        at += 1;
    }
    (at, escaped)
}

/// What a key or tag value means: a backslash before one of `signs` is taken away.
fn unescaped(raw: &str, signs: &[char], out: &mut String) {
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next) if c == '\\' && signs.contains(next) => {}
            _ => out.push(c),
        }
    }
}

/// A line cut into what is before the fields, and the rest.
pub(super) struct Line<'a> {
    pub(super) text: &'a str,
    /// The measurement, escapes undone.
    pub(super) measurement: std::borrow::Cow<'a, str>,
    /// Behind the measurement.
    at: usize,
}

impl<'a> Line<'a> {
    /// # Errors
    /// 22P04 if there is no measurement.
    pub(super) fn new(text: &'a str) -> Result<Self, ValueError> {
        let (at, escaped) = scan(text.as_bytes(), 0, |byte| matches!(byte, b',' | b' '));
        let mut measurement = std::borrow::Cow::Borrowed(&text[..at]);
        if escaped {
            let mut meant = String::new();
            unescaped(&measurement, &[',', ' '], &mut meant);
            measurement = std::borrow::Cow::Owned(meant);
        }
        if measurement.is_empty() { Err(malformed("missing measurement")) } else { Ok(Self { text, measurement, at }) }
    }

    /// The timestamp at the end of the line, as written, and where the fields end.
    pub(super) fn timestamp(&self) -> (Option<&'a str>, usize) {
        let Some(space) = self.text.bytes().rposition(|byte| byte == b' ') else { return (None, self.text.len()) };
        let last = &self.text[space + 1..];
        let digits = last.strip_prefix(['-', '+']).unwrap_or(last);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return (None, self.text.len());
        }
        (Some(last), self.text[..space].trim_end_matches(' ').len())
    }

    /// Tags and fields as values of the row. `end`: where the fields end.
    pub(super) fn values(&self, rows: &mut Rows, tags: usize, end: usize) -> Result<(), Box<RowFault>> {
        let text = &self.text[..end];
        let bytes = text.as_bytes();
        let mut at = self.at;
        let mut previous = NONE;
        while bytes.get(at) == Some(&b',') {
            let field;
            (field, at) = key(text, at + 1, rows, tags, previous, "tag")?;
            previous = field;
            let (behind, escaped) = scan(bytes, at, |byte| matches!(byte, b',' | b' ' | b'='));
            if behind == at || bytes.get(behind) == Some(&b'=') {
                return Err(RowFault::new(malformed("missing tag value")));
            }
            let value = if escaped {
                let start = rows.scratch.text.len();
                unescaped(&text[at..behind], &[',', ' ', '='], &mut rows.scratch.text);
                Span { start, end: rows.scratch.text.len(), changed: true }
            } else {
                Span { start: at, end: behind, changed: false }
            };
            rows.set(text, field, Value::Text(value))?;
            at = behind;
        }
        while bytes.get(at) == Some(&b' ') {
            at += 1;
        }
        if at == bytes.len() {
            return Err(RowFault::new(malformed("missing fields")));
        }
        previous = NONE;
        loop {
            let field;
            (field, at) = key(text, at, rows, ROOT, previous, "field")?;
            previous = field;
            let value;
            (value, at) = field_value(text, at, rows)?;
            match bytes.get(at) {
                None | Some(b',') => rows.set(text, field, value)?,
                Some(b' ') => return Err(RowFault::new(malformed("invalid timestamp"))),
                Some(_) => return Err(RowFault::new(malformed("invalid field format"))),
            }
            if at == bytes.len() {
                return Ok(());
            }
            at += 1;
        }
    }
}

/// A key up to its `=`, and the place behind that.
#[inline]
fn key(
    text: &str,
    at: usize,
    rows: &mut Rows,
    node: usize,
    previous: usize,
    what: &str,
) -> Result<(usize, usize), Box<RowFault>> {
    if let Some(found) = rows.fields.guess(node, previous, text.as_bytes(), at) {
        return Ok(found);
    }
    let (end, escaped) = scan(text.as_bytes(), at, |byte| matches!(byte, b'=' | b',' | b' '));
    if end == at {
        return Err(RowFault::new(malformed(&format!("missing {what} key"))));
    }
    if text.as_bytes().get(end) != Some(&b'=') {
        return Err(RowFault::new(malformed(&format!("missing {what} value"))));
    }
    let raw = &text[at..end];
    let field = if escaped {
        let mut meant = String::new();
        unescaped(raw, &[',', ' ', '='], &mut meant);
        rows.fields.find(node, previous, &meant)
    } else {
        rows.fields.find(node, previous, raw)
    };
    Ok((field, end + 1))
}

/// The value of a field, and the place behind it.
#[inline]
fn field_value(text: &str, at: usize, rows: &mut Rows) -> Result<(Value, usize), Box<RowFault>> {
    let bytes = text.as_bytes();
    match bytes.get(at) {
        Some(b'"') => return string(text, at + 1, rows),
        Some(b'-' | b'0'..=b'9') => {
            let mut lexer = Lexer::new(text, at);
            // The type behind the digits is no part of a number for the lexer.
            let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let end = at + 1 + digits;
            if matches!(bytes.get(end), Some(b'i' | b'u')) && matches!(bytes.get(end + 1), None | Some(b',' | b' ')) {
                let mut integer = Lexer::new(&text[..end], at);
                if let Ok(number) = integer.number() {
                    let is_signed = bytes[end] == b'i' || !number.negative;
                    return if is_signed {
                        Ok((Value::Number(number), end + 1))
                    } else {
                        Err(invalid(text, at, end + 1))
                    };
                }
            }
            if let Ok(number) = lexer.number()
                && matches!(bytes.get(lexer.at), None | Some(b',' | b' '))
            {
                return Ok((Value::Number(Number { is_float: true, ..number }), lexer.at));
            }
        }
        _ => {}
    }
    let (end, _) = scan(bytes, at, |byte| matches!(byte, b',' | b' '));
    let word = &text[at..end];
    let value = match word {
        "t" | "T" | "true" | "True" | "TRUE" => Value::Bool(true),
        "f" | "F" | "false" | "False" | "FALSE" => Value::Bool(false),
        "" => return Err(RowFault::new(malformed("missing field value"))),
        other => unusual_number(other, at).ok_or_else(|| invalid(text, at, end))?,
    };
    Ok((value, end))
}

/// Numbers that JSON does not write like this: `+1`, `.5`, `1.`, `007i`.
fn unusual_number(word: &str, at: usize) -> Option<Value> {
    let (digits, is_integer) = match word.strip_suffix(['i', 'u']) {
        Some(digits) => (digits, true),
        None => (word, false),
    };
    let span = Span { start: at, end: at + digits.len(), changed: false };
    let valid = if is_integer {
        let plain = digits.strip_prefix(['-', '+']).unwrap_or(digits);
        !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit())
    } else {
        digits.bytes().any(|byte| byte.is_ascii_digit()) && digits.parse::<f64>().is_ok()
    };
    // The type's input function reads the text.
    let number = Number {
        span,
        mantissa: 0,
        digits: u32::MAX,
        fraction: 0,
        negative: digits.starts_with('-'),
        is_float: !is_integer,
        has_exponent: true,
    };
    valid.then_some(Value::Number(number))
}

/// A string behind its quote.
fn string(text: &str, start: usize, rows: &mut Rows) -> Result<(Value, usize), Box<RowFault>> {
    let bytes = text.as_bytes();
    let mut at = start;
    let mut escaped = false;
    loop {
        let Some(stop) = memchr::memchr2(b'"', b'\\', &bytes[at..]) else {
            return Err(RowFault::new(malformed("unbalanced quotes")));
        };
        at += stop;
        if bytes[at] == b'"' {
            break;
        }
        escaped = true;
        at = (at + 2).min(bytes.len());
    }
    let span = if escaped {
        let from = rows.scratch.text.len();
        unescaped(&text[start..at], &['"', '\\'], &mut rows.scratch.text);
        Span { start: from, end: rows.scratch.text.len(), changed: true }
    } else {
        Span { start, end: at, changed: false }
    };
    Ok((Value::Text(span), at + 1))
}

/// 22P04 with InfluxDB's words.
pub(super) fn malformed(what: &str) -> ValueError {
    ValueError::new("22P04", format!("unable to parse line: {what}"))
}

fn invalid(text: &str, start: usize, end: usize) -> Box<RowFault> {
    let shown = crate::outcome::sample(&text[start..end]);
    RowFault::new(malformed(&format!("invalid field value \"{shown}\"")))
}
