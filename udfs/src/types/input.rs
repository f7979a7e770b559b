//! One value from its text: the input functions behind [`super::ColumnParser`], for callers that build arrays themselves.
//! Errors are those of [`super::ColumnParser::push`].

use std::borrow::Cow;

use arrow::datatypes::IntervalMonthDayNano;

use super::sql_type::{NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX};
use super::{SqlType, TextSettings, ValueError, bytes, datetime_in, interval, number, numeric, text_in};

/// boolean
pub fn boolean(text: &[u8]) -> Result<bool, ValueError> {
    number::parse_bool(text)
}

/// smallint
pub fn int2(text: &[u8]) -> Result<i16, ValueError> {
    number::parse_int(text, &SqlType::Int2)
}

/// integer
pub fn int4(text: &[u8]) -> Result<i32, ValueError> {
    number::parse_int(text, &SqlType::Int4)
}

/// bigint
pub fn int8(text: &[u8]) -> Result<i64, ValueError> {
    number::parse_int(text, &SqlType::Int8)
}

/// oid and the types that are one under another name
pub fn oid(text: &[u8]) -> Result<u32, ValueError> {
    number::parse_oid(text)
}

/// real
pub fn float4(text: &[u8]) -> Result<f32, ValueError> {
    number::parse_float(text)
}

/// double precision
pub fn float8(text: &[u8]) -> Result<f64, ValueError> {
    number::parse_float(text)
}

/// numeric with that modifier, as the integer of a Decimal128.
pub fn numeric(text: &[u8], modifier: Option<(u8, i8)>) -> Result<i128, ValueError> {
    let (precision, scale) = modifier.unwrap_or((NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE));
    numeric::parse_numeric(text, numeric::Target { precision, scale, exact: modifier.is_none() })
}

/// The types whose values are text that the type checks or changes: varchar(n), char(n), name, "char", uuid, json, jsonb.
pub fn checked_text<'a>(sql_type: &SqlType, text: &'a str) -> Result<Cow<'a, str>, ValueError> {
    text_in::checked(sql_type, text)
}

/// bytea, appended to `out`.
pub fn bytea(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    bytes::parse_bytea(text, out)
}

/// date: days since 1970-01-01.
pub fn date(text: &[u8], settings: &TextSettings) -> Result<i32, ValueError> {
    datetime_in::parse_date(text, settings)
}

/// time: microseconds of the day.
pub fn time(text: &[u8], settings: &TextSettings) -> Result<i64, ValueError> {
    datetime_in::parse_time(text, settings)
}

/// timestamp: microseconds since 1970 in no zone.
pub fn timestamp(text: &[u8], settings: &TextSettings) -> Result<i64, ValueError> {
    datetime_in::parse_timestamp(text, settings)
}

/// timestamptz: microseconds since 1970 in UTC.
pub fn timestamptz(text: &[u8], settings: &TextSettings) -> Result<i64, ValueError> {
    datetime_in::parse_timestamptz(text, settings)
}

/// interval
pub fn interval(text: &[u8], settings: &TextSettings) -> Result<IntervalMonthDayNano, ValueError> {
    interval::parse_interval(text, settings)
}
