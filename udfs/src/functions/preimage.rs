//! Comparisons of a monotonic function with a constant as comparisons of its argument, which statistics of files can answer:
//! `time_bucket('1 hour', ts) >= '2026-01-01 00:30'` is `ts >= '2026-01-01 01:00'`.
//!
//! The bounds are found by asking the function itself, near the constant: its results are not far from its argument.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::ScalarValue;

/// The argument's least values for which the result is not below the constant, and above it; a constant between two results
/// has the same value twice. `None` where they are not found.
pub(super) fn bounds(constant: i64, limits: (i64, i64), f: impl Fn(i64) -> Option<i64>) -> Option<(i64, i64)> {
    let (min, max) = limits;
    let within = |x: i128| i64::try_from(x).ok().filter(|x| (min..=max).contains(x));
    // Away from the constant in steps that double, until the result is on the wanted side.
    let away = |from: i64, sign: i128, is_there: &dyn Fn(i64) -> bool| -> Option<i64> {
        let mut step: i128 = 1;
        loop {
            let x = within(i128::from(from) + sign * step)?;
            if is_there(f(x)?) {
                return Some(x);
            }
            step *= 2;
        }
    };
    // The least argument in (below, above] for which it is true.
    let least = |mut below: i64, mut above: i64, is_true: &dyn Fn(i64) -> bool| -> Option<i64> {
        while below.checked_add(1)? < above {
            let middle = i64::try_from((i128::from(below) + i128::from(above)).div_euclid(2)).ok()?;
            if is_true(f(middle)?) { above = middle } else { below = middle }
        }
        Some(above)
    };
    let from_constant = |y: i64| y >= constant;
    let above_constant = |y: i64| y > constant;
    let below = away(constant, -1, &|y| y < constant)?;
    let above = if from_constant(f(constant)?) { constant } else { away(constant, 1, &from_constant)? };
    let lower = least(below, above, &from_constant)?;
    let far = away(lower.max(constant), 1, &above_constant)?;
    Some((lower, least(below, far, &above_constant)?))
}

/// A value as a whole number; `None` for NULL, for infinite times and for other types.
pub(super) fn number(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) => value.map(i64::from),
        ScalarValue::Int64(value) => *value,
        ScalarValue::Date32(value) => value.filter(|day| *day != i32::MIN && *day != i32::MAX).map(i64::from),
        ScalarValue::TimestampMicrosecond(value, _) => value.filter(|time| *time != i64::MIN && *time != i64::MAX),
        _ => None,
    }
}

/// The value of a type that a whole number stands for.
pub(super) fn value(number: i64, data_type: &DataType) -> Option<ScalarValue> {
    Some(match data_type {
        DataType::Int16 => ScalarValue::Int16(Some(i16::try_from(number).ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(i32::try_from(number).ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(number)),
        DataType::Date32 => ScalarValue::Date32(Some(i32::try_from(number).ok()?)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            ScalarValue::TimestampMicrosecond(Some(number), zone.clone())
        }
        _ => return None,
    })
}

/// The finite values of a type.
pub(super) fn limits(data_type: &DataType) -> (i64, i64) {
    match data_type {
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Date32 => (i64::from(i32::MIN) + 1, i64::from(i32::MAX) - 1),
        DataType::Timestamp(..) => (i64::MIN + 1, i64::MAX - 1),
        _ => (i64::MIN, i64::MAX),
    }
}
