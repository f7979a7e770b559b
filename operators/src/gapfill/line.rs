//! Straight lines between two points, for the types that can be interpolated.
//!
//! ```text
//!  y = (y0 (x1 - x) + y1 (x - x0)) / (x1 - x0)      integers, decimals: exact, half away from zero; floats: as it stands
//! ```

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    NullBufferBuilder,
};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, i256};
use datafusion_common::{Result, ScalarValue, exec_datafusion_err, exec_err, internal_err};

use super::Sample;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Integer(i64),
    Float(f64),
    /// Without its scale, which is the column's.
    Decimal(i128),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: i64,
    pub(crate) y: Number,
}

/// Whether a column of this type can be interpolated.
pub(crate) fn is_supported(data_type: &DataType) -> bool {
    use DataType::{Decimal128, Float32, Float64, Int16, Int32, Int64};
    matches!(data_type, Int16 | Int32 | Int64 | Float32 | Float64 | Decimal128(_, _))
}

/// A value that is not NULL.
pub(crate) fn number(array: &dyn Array, row: usize) -> Result<Number> {
    Ok(match array.data_type() {
        DataType::Int16 => Number::Integer(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Number::Integer(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Number::Integer(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => Number::Float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Number::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, _) => Number::Decimal(array.as_primitive::<Decimal128Type>().value(row)),
        other => return internal_err!("{other} cannot be interpolated"),
    })
}

/// The value that was looked up, of the column's type; none if it is NULL.
pub(crate) fn looked_up(sample: Option<Sample>, data_type: &DataType) -> Result<Option<(i64, ArrayRef)>> {
    let Some(Sample { time, value }) = sample else { return Ok(None) };
    if value.is_null() {
        return Ok(None);
    }
    let found = value.data_type();
    if found != *data_type {
        return exec_err!("a value of type {found} was looked up for a column of type {data_type}");
    }
    Ok(Some((time, ScalarValue::to_array(&value)?)))
}

/// Values on lines, to become an array.
#[derive(Debug)]
pub(crate) struct Lane {
    data_type: DataType,
    values: Values,
    nulls: NullBufferBuilder,
}

#[derive(Debug)]
enum Values {
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Decimals(Vec<i128>),
}

impl Lane {
    pub(crate) fn new(data_type: DataType) -> Self {
        let values = match &data_type {
            DataType::Float32 | DataType::Float64 => Values::Floats(vec![]),
            DataType::Decimal128(_, _) => Values::Decimals(vec![]),
            _ => Values::Integers(vec![]),
        };
        Self { data_type, values, nulls: NullBufferBuilder::new(0) }
    }

    /// Appends a value that is given.
    pub(crate) fn push(&mut self, y: Number) -> Result<()> {
        self.nulls.append_non_null();
        match (&mut self.values, y) {
            (Values::Integers(values), Number::Integer(y)) => values.push(y),
            (Values::Floats(values), Number::Float(y)) => values.push(y),
            (Values::Decimals(values), Number::Decimal(y)) => values.push(y),
            _ => return internal_err!("a value is of another type than its column"),
        }
        Ok(())
    }

    /// Appends the line's values at `xs`, or NULLs where there is no line.
    pub(crate) fn fill(&mut self, xs: &[i64], line: Option<(Point, Point)>) -> Result<()> {
        let Some((from, to)) = line.filter(|(from, to)| from.x != to.x || from.y == to.y) else {
            self.nulls.append_n_nulls(xs.len());
            match &mut self.values {
                Values::Integers(values) => values.resize(values.len() + xs.len(), 0),
                Values::Floats(values) => values.resize(values.len() + xs.len(), 0.0),
                Values::Decimals(values) => values.resize(values.len() + xs.len(), 0),
            }
            return Ok(());
        };
        self.nulls.append_n_non_nulls(xs.len());
        match (&mut self.values, from.y, to.y) {
            (Values::Integers(values), Number::Integer(y0), Number::Integer(y1)) => {
                for &x in xs {
                    let y = exact(y0.into(), y1.into(), from.x, to.x, x).and_then(|y| i64::try_from(y).ok());
                    values.push(y.ok_or_else(|| exec_datafusion_err!("bigint out of range"))?);
                }
            }
            (Values::Decimals(values), Number::Decimal(y0), Number::Decimal(y1)) => {
                for &x in xs {
                    let y = exact(y0, y1, from.x, to.x, x).or_else(|| exact_wide(y0, y1, from.x, to.x, x));
                    values.push(y.ok_or_else(|| exec_datafusion_err!("numeric field overflow"))?);
                }
            }
            (Values::Floats(values), Number::Float(y0), Number::Float(y1)) => {
                values.extend(xs.iter().map(|&x| float(y0, y1, from.x, to.x, x)));
            }
            _ => return internal_err!("a point is of another type than its column"),
        }
        Ok(())
    }

    /// The values appended since the last call.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        let nulls = self.nulls.finish();
        Ok(match (&mut self.values, &self.data_type) {
            (Values::Integers(values), DataType::Int16) => {
                let narrow: Result<Vec<i16>, _> = values.drain(..).map(i16::try_from).collect();
                let narrow = narrow.map_err(|_| exec_datafusion_err!("smallint out of range"))?;
                Arc::new(Int16Array::new(narrow.into(), nulls))
            }
            (Values::Integers(values), DataType::Int32) => {
                let narrow: Result<Vec<i32>, _> = values.drain(..).map(i32::try_from).collect();
                let narrow = narrow.map_err(|_| exec_datafusion_err!("integer out of range"))?;
                Arc::new(Int32Array::new(narrow.into(), nulls))
            }
            (Values::Integers(values), _) => Arc::new(Int64Array::new(std::mem::take(values).into(), nulls)),
            (Values::Floats(values), DataType::Float32) => {
                let narrow: Vec<f32> = values.drain(..).map(|value| value as f32).collect();
                Arc::new(Float32Array::new(narrow.into(), nulls))
            }
            (Values::Floats(values), _) => Arc::new(Float64Array::new(std::mem::take(values).into(), nulls)),
            (Values::Decimals(values), &DataType::Decimal128(precision, scale)) => {
                let array = Decimal128Array::new(std::mem::take(values).into(), nulls);
                let array = array.with_precision_and_scale(precision, scale)?;
                array.validate_decimal_precision(precision)?;
                Arc::new(array)
            }
            (_, other) => return internal_err!("{other} cannot be interpolated"),
        })
    }
}

/// None if it does not fit.
fn exact(y0: i128, y1: i128, x0: i64, x1: i64, x: i64) -> Option<i128> {
    // A flat line is flat, also between two values of one time.
    if y0 == y1 {
        return Some(y0);
    }
    let (x0, x1, x) = (i128::from(x0), i128::from(x1), i128::from(x));
    let sum = y0.checked_mul(x1 - x)?.checked_add(y1.checked_mul(x - x0)?)?;
    let span = x1 - x0;
    // Dividing 128 bits takes several times as long.
    let (quotient, rest) = match (i64::try_from(sum), i64::try_from(span)) {
        (Ok(sum), Ok(span)) if span > 0 => (i128::from(sum / span), i128::from(sum % span)),
        _ => (sum / span, sum % span),
    };
    let half_or_more = rest.unsigned_abs() >= span.unsigned_abs() - rest.unsigned_abs();
    Some(if !half_or_more {
        quotient
    } else if (sum < 0) == (span < 0) {
        quotient + 1
    } else {
        quotient - 1
    })
}

/// The same for decimals of many digits.
fn exact_wide(y0: i128, y1: i128, x0: i64, x1: i64, x: i64) -> Option<i128> {
    let wide = i256::from_i128;
    let difference = |a: i64, b: i64| wide(i128::from(a) - i128::from(b));
    let span = difference(x1, x0);
    // 128 and 65 bits: it fits.
    let sum = wide(y0).wrapping_mul(difference(x1, x)).wrapping_add(wide(y1).wrapping_mul(difference(x, x0)));
    let quotient = sum.checked_div(span)?;
    let rest = sum.wrapping_sub(quotient.wrapping_mul(span)).wrapping_abs();
    if rest < span.wrapping_abs().wrapping_sub(rest) {
        return quotient.to_i128();
    }
    let up = sum.is_negative() == span.is_negative();
    quotient.wrapping_add(if up { i256::ONE } else { i256::MINUS_ONE }).to_i128()
}

fn float(y0: f64, y1: f64, x0: i64, x1: i64, x: i64) -> f64 {
    // A flat line is flat, also where it is infinite.
    if y0 == y1 {
        return y0;
    }
    let (before, after, span) = (distance(x, x0), distance(x1, x), distance(x1, x0));
    let y = (y0 * after + y1 * before) / span;
    if y.is_finite() || !(y0.is_finite() && y1.is_finite()) {
        return y;
    }
    // The products were too large, the result is not.
    y0 * (after / span) + y1 * (before / span)
}

fn distance(a: i64, b: i64) -> f64 {
    match a.checked_sub(b) {
        Some(distance) => distance as f64,
        None => (i128::from(a) - i128::from(b)) as f64,
    }
}
