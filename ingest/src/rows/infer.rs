//! The types of new columns, from their values.
//!
//! | value | type |
//! |---|---|
//! | true, false | bool |
//! | integer of 64 bits | int8 |
//! | other number that a double keeps: printed in the fewest digits it is the same decimal | float8 |
//! | other number of up to 22 digits before and 16 behind the point | numeric |
//! | any other number, such as 1e400 | jsonb, which keeps all digits |
//! | `2024-01-02` | date |
//! | `2024-01-02T03:04:05.678901Z`, with `+02:00`, with a blank for the T | timestamptz |
//! | the same without a zone | timestamp: what is not said is not made up |
//! | the same with digits below microseconds | text: the type would lose them |
//! | `0190cafe-…`, 36 characters | uuid |
//! | other string | text |
//! | array of values of one of these types (integers and other numbers: of numbers) | array; of text if the strings disagree |
//! | array of arrays, of objects, of mixed values; the empty array | jsonb |
//! | object | jsonb, or its members are columns |
//! | null | none yet: a field becomes a column with its first value |

use std::sync::Arc;

use tidemill_udfs::types::{SqlType, TextSettings, input};

use super::convert::{Conversion, Kind, Target, next_element};
use super::slot::Scratch;
use crate::json::lex::Lexer;
use crate::value::{Number, Span, Value, float_keeps, real_keeps};

/// The type that a new column gets for a value; `None` for NULL.
pub(crate) fn infer(value: Value, cx: &mut Conversion<'_>) -> Option<SqlType> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => SqlType::Bool,
        Value::Number(number) => infer_number(&number, cx.scratch.text(cx.doc, number.span)),
        // Where strings have a notation of their own for everything else.
        Value::Text(_) if !cx.json_strings => SqlType::Text,
        Value::Text(span) => infer_text(cx.scratch.text(cx.doc, span), cx.settings),
        Value::Untyped(span) => infer_untyped(cx.scratch.text(cx.doc, span), cx.settings),
        Value::Object(_) => SqlType::Jsonb,
        Value::Array(span) => infer_array(span, cx),
        Value::Instant(_) => SqlType::TimestampTz,
    })
}

fn infer_number(number: &Number, text: &str) -> SqlType {
    if number.small_integer().is_some() {
        return SqlType::Int8;
    }
    if !number.is_float && text.parse::<i64>().is_ok() {
        return SqlType::Int8;
    }
    let integer_of_numeric = !number.is_float && input::numeric(text.as_bytes(), None).is_ok();
    if !integer_of_numeric && (number.small_float().is_some() || float_keeps(text)) {
        return SqlType::Float8;
    }
    if input::numeric(text.as_bytes(), None).is_ok() { SqlType::Numeric(None) } else { SqlType::Jsonb }
}

fn infer_text(text: &str, settings: &TextSettings) -> SqlType {
    let bytes = text.as_bytes();
    if bytes.len() == 36 && is_uuid(bytes) {
        return SqlType::Uuid;
    }
    if bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' || !bytes[0].is_ascii_digit() {
        return SqlType::Text;
    }
    match iso_shape(bytes) {
        Some(Iso::Date) if input::date(bytes, settings).is_ok() => SqlType::Date,
        Some(Iso::Local) if input::timestamp(bytes, settings).is_ok() => SqlType::Timestamp,
        Some(Iso::Zoned) if input::timestamptz(bytes, settings).is_ok() => SqlType::TimestampTz,
        _ => SqlType::Text,
    }
}

/// What an untyped text looks like.
fn infer_untyped(text: &str, settings: &TextSettings) -> SqlType {
    if matches!(text, "true" | "false" | "t" | "f") {
        return SqlType::Bool;
    }
    let mut lexer = Lexer::new(text, 0);
    match lexer.number() {
        // Not `007` and the like, which the lexer refuses, and are names rather than numbers.
        Ok(number) if lexer.at == text.len() => match infer_number(&number, text) {
            SqlType::Jsonb => SqlType::Text,
            other => other,
        },
        _ => infer_text(text, settings),
    }
}

fn infer_array(span: Span, cx: &mut Conversion<'_>) -> SqlType {
    let mut lexer = Lexer::new(cx.doc, span.start);
    let mut common: Option<SqlType> = None;
    let mut doubles_keep_all = true;
    while let Ok(Some(value)) = next_element(&mut lexer, span, cx.scratch) {
        if matches!(value, Value::Array(_) | Value::Object(_)) {
            return SqlType::Jsonb;
        }
        let Some(found) = infer(value, cx) else { continue };
        doubles_keep_all &= keeps(&SqlType::Float8, value, cx.doc, cx.scratch);
        common = match common {
            None => Some(found),
            Some(common) => match common_element(&common, &found) {
                Some(wider) => Some(wider),
                None => return SqlType::Jsonb,
            },
        };
    }
    match common {
        None | Some(SqlType::Jsonb) => SqlType::Jsonb,
        Some(SqlType::Float8) if !doubles_keep_all => SqlType::Array(Arc::new(SqlType::Numeric(None))),
        Some(element) => SqlType::Array(Arc::new(element)),
    }
}

/// The type that elements of both types have in one array.
fn common_element(a: &SqlType, b: &SqlType) -> Option<SqlType> {
    use SqlType::{Date, Float8, Int8, Numeric, Text, Timestamp, TimestampTz, Uuid};
    let is_string = |t: &SqlType| matches!(t, Date | Timestamp | TimestampTz | Uuid | Text);
    match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (Int8, Float8) | (Float8, Int8) => Some(Float8),
        (Int8 | Float8, Numeric(_)) | (Numeric(_), Int8 | Float8) => Some(Numeric(None)),
        (a, b) if is_string(a) && is_string(b) => Some(Text),
        _ => None,
    }
}

/// The types to try, in this order, for a column that got its type from this batch and now meets a value that is none
/// of it, or that it would not keep.
pub(crate) fn wider_in_batch(column: &SqlType, value: &SqlType) -> Vec<SqlType> {
    use SqlType::{Array, Date, Float8, Int8, Numeric, Text, Timestamp, TimestampTz, Uuid};
    match (column, value) {
        (Int8 | Float8, Float8 | Int8) => vec![Float8, Numeric(None)],
        (Int8 | Float8, Numeric(_)) => vec![Numeric(None)],
        (Date, Timestamp | TimestampTz) => vec![value.clone(), Text],
        (Date | Timestamp | TimestampTz | Uuid, Text | Date | Timestamp | TimestampTz | Uuid) => vec![Text],
        (Array(a), Array(b)) => {
            wider_in_batch(a, b).into_iter().filter(|t| *t != Text).map(|t| Array(Arc::new(t))).collect()
        }
        _ => vec![],
    }
}

/// The types to try, in this order, for a column of the table in mode `widen`.
pub(crate) fn wider_in_table(column: &SqlType, value: &SqlType) -> Vec<SqlType> {
    use SqlType::{Date, Float4, Float8, Int2, Int4, Int8, Jsonb, Numeric, TimestampTz};
    match (column, value) {
        (Int2, Int8) => vec![Int4, Int8],
        (Int4, Int8) => vec![Int8],
        (Int2 | Int4 | Int8, Float8 | Numeric(_)) => vec![Numeric(None)],
        (Float4, Int8 | Float8 | Numeric(_) | Jsonb) => vec![Float8],
        (Date, TimestampTz) => vec![TimestampTz],
        _ => vec![],
    }
}

/// Whether a column keeps what it says it is a value of: PostgreSQL's input functions round, and dates ignore the time.
pub(crate) fn keeps(column: &SqlType, value: Value, doc: &str, scratch: &Scratch) -> bool {
    match (column, value) {
        (SqlType::Float8, Value::Number(number)) => {
            number.small_float().is_some() || float_keeps(scratch.text(doc, number.span))
        }
        (SqlType::Float4, Value::Number(number)) => real_keeps(scratch.text(doc, number.span)),
        (SqlType::Date, Value::Text(span) | Value::Untyped(span)) => span.end - span.start <= 10,
        (SqlType::Timestamp, Value::Text(span) | Value::Untyped(span)) => {
            !matches!(iso_shape(scratch.text(doc, span).as_bytes()), Some(Iso::Zoned))
        }
        _ => true,
    }
}

/// Whether a column gives a value back as it was, apart from notation (`1.50`, `+02:00`, upper-case digits of a uuid), once
/// it is converted without an error.
#[inline]
pub(crate) fn gives_back(column: &Target, value: Value, cx: &mut Conversion<'_>) -> bool {
    let text = |span| cx.scratch.text(cx.doc, span);
    match (column.kind, value) {
        (_, Value::Null) | (Kind::Jsonb, _) | (Kind::Bool, Value::Bool(_)) => true,
        // Their text would do, but whether strings or objects come first must make no difference.
        (Kind::Text, value) => !matches!(value, Value::Array(_) | Value::Object(_)),
        (Kind::Int2 | Kind::Int4 | Kind::Int8, Value::Number(number)) => !number.is_float,
        (Kind::Float8, Value::Number(number)) => number.small_float().is_some() || float_keeps(text(number.span)),
        (Kind::Float4, Value::Number(number)) => real_keeps(text(number.span)),
        // Input refuses what has more digits.
        (Kind::Numeric(None), Value::Number(number)) => {
            !matches!(infer_number(&number, text(number.span)), SqlType::Jsonb)
        }
        (Kind::TimestampTz | Kind::Timestamp | Kind::Date, Value::Text(span)) => {
            let shape = iso_shape(text(span).as_bytes());
            matches!(
                (shape, column.kind),
                (Some(Iso::Date), _) | (Some(Iso::Zoned), Kind::TimestampTz) | (Some(Iso::Local), Kind::Timestamp)
            )
        }
        (Kind::Uuid, Value::Text(span)) => span.end - span.start == 36 && is_uuid(text(span).as_bytes()),
        (Kind::TimestampTz, Value::Instant(_)) => true,
        (Kind::Array, Value::Array(span)) => array_gives_back(column, span, cx),
        (_, Value::Untyped(_)) => untyped_gives_back(column, value, cx),
        _ => false,
    }
}

fn array_gives_back(column: &Target, span: Span, cx: &mut Conversion<'_>) -> bool {
    let Some(element) = column.element() else { return false };
    let mut lexer = Lexer::new(cx.doc, span.start);
    loop {
        match next_element(&mut lexer, span, cx.scratch) {
            Ok(Some(value)) if gives_back(element, value, cx) => {}
            Ok(Some(_)) | Err(_) => return false,
            Ok(None) => return true,
        }
    }
}

/// Of a text that may stand for any type: what it looks like must be of the column's type, or of a narrower one.
fn untyped_gives_back(column: &Target, value: Value, cx: &mut Conversion<'_>) -> bool {
    use SqlType::{Date, Float8, Int8, Numeric, Timestamp, TimestampTz};
    let (Some(found), Value::Untyped(span)) = (infer(value, cx), value) else { return false };
    match (&column.sql_type, &found) {
        (SqlType::Float8, Int8 | Float8) => float_keeps(cx.scratch.text(cx.doc, span)),
        (SqlType::Int2 | SqlType::Int4, Int8)
        | (SqlType::Numeric(None), Int8 | Float8 | Numeric(_))
        | (SqlType::Timestamp | SqlType::TimestampTz, Date)
        | (Date, Date)
        | (Timestamp, Timestamp)
        | (TimestampTz, TimestampTz) => true,
        (column, found) => column == found,
    }
}

/// What an ISO 8601 text has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Iso {
    Date,
    Local,
    Zoned,
}

/// Only the shape is looked at, not the ranges of the fields.
fn iso_shape(text: &[u8]) -> Option<Iso> {
    let digits = |text: &[u8], pattern: &[u8]| {
        text.len() >= pattern.len()
            && text.iter().zip(pattern).all(|(c, p)| if *p == b'0' { c.is_ascii_digit() } else { c == p })
    };
    if !digits(text, b"0000-00-00") {
        return None;
    }
    let rest = match &text[10..] {
        [] => return Some(Iso::Date),
        [b'T' | b' ', rest @ ..] if digits(rest, b"00:00:00") => &rest[8..],
        _ => return None,
    };
    let zone = match rest {
        [b'.', fraction @ ..] => {
            let count = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
            // Zeros below microseconds say nothing.
            if count == 0 || fraction[..count].iter().skip(6).any(|c| *c != b'0') {
                return None;
            }
            &fraction[count..]
        }
        other => other,
    };
    match zone {
        [] => Some(Iso::Local),
        b"Z" => Some(Iso::Zoned),
        [b'+' | b'-', offset @ ..] => {
            let patterns = [&b"00"[..], b"0000", b"00:00"];
            patterns.iter().any(|p| p.len() == offset.len() && digits(offset, p)).then_some(Iso::Zoned)
        }
        _ => None,
    }
}

fn is_uuid(text: &[u8]) -> bool {
    text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}
