//! Values in and out of their stored text forms.
//!
//! | form | used in | example of a timestamp |
//! |---|---|---|
//! | raw | our statistics: the Arrow integer, exact | `1700000000000000` |
//! | Delta | Delta statistics and partition values, as other readers expect | `2023-11-14T22:13:20Z` |
//! | SQL | the value a later column has in earlier rows | `2023-11-14 22:13:20+00` |

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion_common::ScalarValue;
use serde_json::Value;

use crate::{Error, Result};

/// True if least and greatest values of the type are kept.
pub fn has_order(data_type: &DataType) -> bool {
    !matches!(data_type, DataType::BinaryView | DataType::Interval(_) | DataType::List(_))
}

/// The raw text form. `None` for NULL and for types without one.
pub fn raw_text(value: &ScalarValue) -> Option<String> {
    Some(match value {
        ScalarValue::Boolean(Some(v)) => v.to_string(),
        ScalarValue::Int16(Some(v)) => v.to_string(),
        ScalarValue::Int32(Some(v)) | ScalarValue::Date32(Some(v)) => v.to_string(),
        ScalarValue::Int64(Some(v))
        | ScalarValue::Time64Microsecond(Some(v))
        | ScalarValue::TimestampMicrosecond(Some(v), _) => v.to_string(),
        ScalarValue::UInt32(Some(v)) => v.to_string(),
        // Rust prints the shortest text that reads back as the same number.
        ScalarValue::Float32(Some(v)) => v.to_string(),
        ScalarValue::Float64(Some(v)) => v.to_string(),
        ScalarValue::Decimal128(Some(v), _, _) => v.to_string(),
        ScalarValue::Utf8View(Some(v)) => v.clone(),
        _ => return None,
    })
}

/// The value of a raw text form; `None` if it is not one of that type.
pub fn raw_value(text: &str, data_type: &DataType) -> Option<ScalarValue> {
    Some(match data_type {
        DataType::Boolean => ScalarValue::Boolean(Some(text.parse().ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(text.parse().ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(text.parse().ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(text.parse().ok()?)),
        DataType::UInt32 => ScalarValue::UInt32(Some(text.parse().ok()?)),
        DataType::Float32 => ScalarValue::Float32(Some(text.parse().ok()?)),
        DataType::Float64 => ScalarValue::Float64(Some(text.parse().ok()?)),
        DataType::Date32 => ScalarValue::Date32(Some(text.parse().ok()?)),
        DataType::Time64(TimeUnit::Microsecond) => ScalarValue::Time64Microsecond(Some(text.parse().ok()?)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            ScalarValue::TimestampMicrosecond(Some(text.parse().ok()?), zone.clone())
        }
        DataType::Decimal128(p, s) => ScalarValue::Decimal128(Some(text.parse().ok()?), *p, *s),
        DataType::Utf8View => ScalarValue::Utf8View(Some(text.to_owned())),
        _ => return None,
    })
}

/// The value as Delta statistics spell it; `None` where JSON or other readers have no such value (infinity, year 294247).
pub fn delta_json(value: &ScalarValue) -> Option<Value> {
    Some(match value {
        // Delta keeps no least and greatest boolean.
        ScalarValue::Boolean(_) => return None,
        ScalarValue::Int16(Some(v)) => Value::from(*v),
        ScalarValue::Int32(Some(v)) => Value::from(*v),
        ScalarValue::Int64(Some(v)) | ScalarValue::Time64Microsecond(Some(v)) => Value::from(*v),
        ScalarValue::UInt32(Some(v)) => Value::from(*v),
        ScalarValue::Float32(Some(v)) if v.is_finite() => v.to_string().parse::<serde_json::Number>().ok()?.into(),
        ScalarValue::Float64(Some(v)) if v.is_finite() => v.to_string().parse::<serde_json::Number>().ok()?.into(),
        ScalarValue::Decimal128(Some(_), _, _) => display(value)?.parse::<serde_json::Number>().ok()?.into(),
        ScalarValue::Utf8View(Some(v)) => Value::from(v.clone()),
        ScalarValue::Date32(Some(_)) | ScalarValue::TimestampMicrosecond(Some(_), _) => calendar(value)?.into(),
        _ => return None,
    })
}

/// The value as Delta partition values spell it, `None` for NULL. A time outside the calendar is `@` and its integer.
pub fn partition_text(value: &ScalarValue) -> Option<String> {
    if value.is_null() {
        return None;
    }
    match value {
        ScalarValue::Date32(_) => calendar(value).or_else(|| raw_text(value).map(|raw| format!("@{raw}"))),
        ScalarValue::TimestampMicrosecond(_, _) => calendar(value)
            .map(|text| text.replace('T', " ").trim_end_matches('Z').to_owned())
            .or_else(|| raw_text(value).map(|raw| format!("@{raw}"))),
        ScalarValue::Decimal128(_, _, _) => display(value),
        ScalarValue::Float32(Some(v)) if v.is_infinite() => Some(infinity(v.is_sign_negative())),
        ScalarValue::Float64(Some(v)) if v.is_infinite() => Some(infinity(v.is_sign_negative())),
        _ => raw_text(value),
    }
}

fn infinity(negative: bool) -> String {
    if negative { "-Infinity".into() } else { "Infinity".into() }
}

/// The value of a Delta partition value.
///
/// # Errors
/// `Invalid` if the text is not one of that type.
pub fn partition_value(text: Option<&str>, data_type: &DataType) -> Result<ScalarValue> {
    let Some(text) = text else { return null(data_type) };
    if let Some(raw) = text.strip_prefix('@')
        && matches!(data_type, DataType::Date32 | DataType::Timestamp(_, _))
    {
        return raw_value(raw, data_type).ok_or_else(|| invalid(text, data_type));
    }
    match data_type {
        DataType::Date32 | DataType::Timestamp(_, _) | DataType::Decimal128(_, _) => sql_value(text, data_type),
        _ => raw_value(text, data_type).ok_or_else(|| invalid(text, data_type)),
    }
}

/// The value that PostgreSQL's text form stands for.
///
/// # Errors
/// `Invalid` if the text is not one of that type.
pub fn sql_value(text: &str, data_type: &DataType) -> Result<ScalarValue> {
    let wrong = || invalid(text, data_type);
    let infinite = match text {
        "infinity" => Some(true),
        "-infinity" => Some(false),
        _ => None,
    };
    Ok(match (data_type, infinite) {
        (DataType::Boolean, _) => match text {
            "t" | "true" => ScalarValue::Boolean(Some(true)),
            "f" | "false" => ScalarValue::Boolean(Some(false)),
            _ => return Err(wrong()),
        },
        (DataType::Date32, Some(plus)) => ScalarValue::Date32(Some(if plus { i32::MAX } else { i32::MIN })),
        (DataType::Timestamp(TimeUnit::Microsecond, zone), Some(plus)) => {
            ScalarValue::TimestampMicrosecond(Some(if plus { i64::MAX } else { i64::MIN }), zone.clone())
        }
        (DataType::BinaryView, _) => {
            let digits = text.strip_prefix("\\x").ok_or_else(wrong)?;
            ScalarValue::BinaryView(Some(from_hex(digits).ok_or_else(wrong)?))
        }
        (DataType::Interval(_), _) => ScalarValue::IntervalMonthDayNano(Some(interval_value(text).ok_or_else(wrong)?)),
        (DataType::List(item), _) => {
            let mut arrays: Vec<ArrayRef> = vec![];
            for element in list_elements(text).ok_or_else(wrong)? {
                let element = match element {
                    Some(element) => sql_value(&element, item.data_type())?,
                    None => null(item.data_type())?,
                };
                arrays.push(element.to_array()?);
            }
            let values = if arrays.is_empty() {
                new_empty_array(item.data_type())
            } else {
                concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>())?
            };
            let offsets = OffsetBuffer::from_lengths([values.len()]);
            ScalarValue::List(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, None)?))
        }
        (DataType::Date32 | DataType::Time64(_) | DataType::Timestamp(_, _) | DataType::Decimal128(_, _), _) => {
            ScalarValue::Utf8(Some(text.to_owned())).cast_to(data_type).map_err(|_| wrong())?
        }
        _ => raw_value(text, data_type).ok_or_else(wrong)?,
    })
}

/// NULL of a type.
///
/// # Errors
/// `DataFusion` for a type that has none.
pub fn null(data_type: &DataType) -> Result<ScalarValue> {
    Ok(ScalarValue::try_from(data_type)?)
}

/// An interval as files hold it: `14 mons 3 days 4000000 us`; `ns` only where microseconds would lose some.
pub fn interval_text(value: IntervalMonthDayNano) -> String {
    let IntervalMonthDayNano { months, days, nanoseconds } = value;
    if nanoseconds % 1000 == 0 {
        format!("{months} mons {days} days {} us", nanoseconds / 1000)
    } else {
        format!("{months} mons {days} days {nanoseconds} ns")
    }
}

/// The interval of [`interval_text`] or of PostgreSQL's own style, `1 year 2 mons -3 days +04:05:06.5`.
pub fn interval_value(text: &str) -> Option<IntervalMonthDayNano> {
    let (mut months, mut days, mut nanoseconds) = (0_i32, 0_i32, 0_i64);
    let mut words = text.split_ascii_whitespace();
    while let Some(word) = words.next() {
        if word.contains(':') {
            nanoseconds = nanoseconds.checked_add(clock_nanoseconds(word)?)?;
            continue;
        }
        match words.next()? {
            "year" | "years" => months = months.checked_add(word.parse::<i32>().ok()?.checked_mul(12)?)?,
            "mon" | "mons" => months = months.checked_add(word.parse().ok()?)?,
            "day" | "days" => days = days.checked_add(word.parse().ok()?)?,
            "us" => nanoseconds = nanoseconds.checked_add(word.parse::<i64>().ok()?.checked_mul(1000)?)?,
            "ns" => nanoseconds = nanoseconds.checked_add(word.parse().ok()?)?,
            _ => return None,
        }
    }
    Some(IntervalMonthDayNano { months, days, nanoseconds })
}

/// `[-+]hh:mm:ss[.ffffff]`.
fn clock_nanoseconds(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1_i64, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = digits.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let (seconds, fraction) = match parts.next() {
        None => (0_i64, ""),
        Some(part) => match part.split_once('.') {
            Some((seconds, fraction)) => (seconds.parse().ok()?, fraction),
            None => (part.parse().ok()?, ""),
        },
    };
    let fraction: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let seconds = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?.checked_add(seconds)?;
    sign.checked_mul(seconds.checked_mul(1_000_000_000)?.checked_add(fraction)?)
}

/// The elements of `{a,NULL,"b \"c\"",{nested}}`, nested arrays as text.
fn list_elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = vec![];
    let (mut element, mut quoted, mut was_quoted, mut depth) = (String::new(), false, false, 0_u32);
    let mut characters = inner.chars();
    let mut finish = |element: &mut String, was_quoted: &mut bool| {
        let text = std::mem::take(element);
        elements.push((std::mem::take(was_quoted) || text != "NULL").then_some(text));
    };
    while let Some(c) = characters.next() {
        match c {
            '\\' => {
                if depth > 0 {
                    element.push('\\');
                }
                element.push(characters.next()?);
            }
            '"' if depth == 0 => {
                quoted = !quoted;
                was_quoted = true;
            }
            '"' => {
                quoted = !quoted;
                element.push('"');
            }
            ',' if !quoted && depth == 0 => finish(&mut element, &mut was_quoted),
            _ => {
                if !quoted {
                    depth = match c {
                        '{' => depth + 1,
                        '}' => depth.checked_sub(1)?,
                        _ => depth,
                    };
                }
                element.push(c);
            }
        }
    }
    if !inner.is_empty() {
        finish(&mut element, &mut was_quoted);
    }
    (!quoted && depth == 0).then_some(elements)
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

/// Arrow's text of a value.
fn display(value: &ScalarValue) -> Option<String> {
    match value.cast_to(&DataType::Utf8) {
        Ok(ScalarValue::Utf8(text)) => text,
        _ => None,
    }
}

/// ISO 8601 text of a date or timestamp of the years 1 to 9999, which all readers know.
fn calendar(value: &ScalarValue) -> Option<String> {
    let text = display(value)?;
    let year = text.get(..4)?;
    (text.as_bytes().get(4) == Some(&b'-') && year.bytes().all(|b| b.is_ascii_digit()) && year != "0000")
        .then_some(text)
}

fn invalid(text: &str, data_type: &DataType) -> Error {
    Error::Invalid(format!("stored value \"{text}\" is not of type {data_type}"))
}

#[cfg(test)]
mod tests;
