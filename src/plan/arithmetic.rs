//! Arithmetic where PostgreSQL's differs from DataFusion's: integers that overflow fail, numeric keeps its digits, floats
//! fail on division by zero, differences of timestamps are intervals, intervals multiply.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, IntervalMonthDayNanoArray, PrimitiveArray,
};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimestampMicrosecondType, i256,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;
use tidemill_udfs::types::ValueError;

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Arithmetic {
    /// int + int, both of one type
    Add,
    /// int - int
    Subtract,
    /// int * int
    Multiply,
    /// numeric * numeric with that many digits after the point
    NumericMultiply(i8),
    /// numeric / numeric with that many digits after the point
    NumericDivide(i8),
    /// float / float
    FloatDivide,
    /// timestamp - timestamp
    TimestampDifference,
    /// time - time
    TimeDifference,
    /// interval * float8
    IntervalMultiply,
    /// interval / float8
    IntervalDivide,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    operation: Arithmetic,
    signature: Signature,
}

impl Arithmetic {
    /// The operation applied to two expressions of the types it is for.
    pub(super) fn call(self, left: Expr, right: Expr) -> Expr {
        let function = Function { operation: self, signature: Signature::any(2, Volatility::Immutable) };
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(function)), vec![left, right]))
    }

    /// True for a call made by [`Self::call`].
    pub(super) fn is(udf: &ScalarUDF) -> bool {
        (udf.inner().as_ref() as &dyn std::any::Any).is::<Function>()
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract | Self::TimestampDifference | Self::TimeDifference => "-",
            Self::Multiply | Self::NumericMultiply(_) | Self::IntervalMultiply => "*",
            Self::NumericDivide(_) | Self::FloatDivide | Self::IntervalDivide => "/",
        }
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.operation.sign()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => Ok(format!("{} {} {}", left.schema_name(), self.operation.sign(), right.schema_name())),
            _ => internal_err!("an operator has two sides"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match self.operation {
            Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Multiply | Arithmetic::FloatDivide => types[0].clone(),
            Arithmetic::NumericMultiply(scale) | Arithmetic::NumericDivide(scale) => {
                DataType::Decimal128(precision(scale), scale)
            }
            Arithmetic::TimestampDifference
            | Arithmetic::TimeDifference
            | Arithmetic::IntervalMultiply
            | Arithmetic::IntervalDivide => DataType::Interval(IntervalUnit::MonthDayNano),
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else { return internal_err!("an operator has two sides") };
        let out_of_range = |error| in_words(error, &left.data_type());
        match self.operation {
            Arithmetic::Add => apply(left, right, |l, r| numeric::add(l, r).map_err(out_of_range)),
            Arithmetic::Subtract => apply(left, right, |l, r| numeric::sub(l, r).map_err(out_of_range)),
            Arithmetic::Multiply => apply(left, right, |l, r| numeric::mul(l, r).map_err(out_of_range)),
            operation => {
                let scalar = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
                let rows = if scalar { 1 } else { args.number_rows };
                let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
                let result = by_row(operation, &left, &right)?;
                if scalar {
                    return datafusion::common::ScalarValue::try_from_array(&result, 0).map(ColumnarValue::Scalar);
                }
                Ok(ColumnarValue::Array(result))
            }
        }
    }
}

fn in_words(error: ArrowError, data_type: &DataType) -> ArrowError {
    let type_name = match data_type {
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        _ => return error,
    };
    match error {
        ArrowError::ArithmeticOverflow(_) => {
            ArrowError::ExternalError(Box::new(ValueError::new("22003", format!("{type_name} out of range"))))
        }
        other => other,
    }
}

fn by_row(operation: Arithmetic, left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    Ok(match operation {
        Arithmetic::NumericMultiply(scale) => Arc::new(decimals(left, right, scale, multiply)?),
        Arithmetic::NumericDivide(scale) => Arc::new(decimals(left, right, scale, divide)?),
        Arithmetic::FloatDivide => float_divide(left, right)?,
        Arithmetic::TimestampDifference => Arc::new(binary::<TimestampMicrosecondType>(left, right, |l, r| {
            let micros = l.checked_sub(r).ok_or_else(|| ValueError::new("22008", "interval out of range"))?;
            let day = 86_400_000_000;
            interval(0, micros / day, micros % day)
        })?),
        Arithmetic::TimeDifference => {
            Arc::new(binary::<Time64MicrosecondType>(left, right, |l, r| interval(0, 0, l - r))?)
        }
        Arithmetic::IntervalMultiply => Arc::new(scale_intervals(left, right, Ok)?),
        Arithmetic::IntervalDivide => Arc::new(scale_intervals(left, right, |divisor| {
            if divisor == 0.0 { Err(division_by_zero()) } else { Ok(1.0 / divisor) }
        })?),
        Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Multiply => {
            return internal_err!("integers are computed by column");
        }
    })
}

pub(super) fn division_by_zero() -> ValueError {
    ValueError::new("22012", "division by zero")
}

/// The precision of a computed numeric: never that of a stored one without modifier, (38, 16), of which zeros at the end of
/// the fraction are not shown.
pub(super) fn precision(scale: i8) -> u8 {
    if scale == tidemill_udfs::types::NUMERIC_DEFAULT_SCALE { 37 } else { 38 }
}

fn numeric_overflow() -> ValueError {
    ValueError {
        detail: Some("A numeric holds at most 38 digits.".into()),
        ..ValueError::new("22003", "numeric field overflow")
    }
}

fn interval(months: i64, days: i64, micros: i64) -> std::result::Result<IntervalMonthDayNano, ValueError> {
    let out = || ValueError::new("22008", "interval out of range");
    Ok(IntervalMonthDayNano {
        months: i32::try_from(months).map_err(|_| out())?,
        days: i32::try_from(days).map_err(|_| out())?,
        nanoseconds: micros.checked_mul(1000).ok_or_else(out)?,
    })
}

fn binary<T>(
    left: &ArrayRef,
    right: &ArrayRef,
    operation: impl Fn(i64, i64) -> std::result::Result<IntervalMonthDayNano, ValueError>,
) -> Result<IntervalMonthDayNanoArray>
where
    T: datafusion::arrow::datatypes::ArrowPrimitiveType<Native = i64>,
{
    let (left, right) = (left.as_primitive::<T>(), right.as_primitive::<T>());
    let values = left
        .iter()
        .zip(right)
        .map(|pair| match pair {
            (Some(left), Some(right)) => operation(left, right).map(Some),
            _ => Ok(None),
        })
        .collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(values.into_iter().collect())
}

/// A decimal operation on (value, scale) pairs that gives a value of the wanted scale.
type DecimalOperation = fn(i128, i8, i128, i8, i8) -> std::result::Result<i128, ValueError>;

fn decimals(left: &ArrayRef, right: &ArrayRef, scale: i8, operation: DecimalOperation) -> Result<Decimal128Array> {
    let (DataType::Decimal128(_, left_scale), DataType::Decimal128(_, right_scale)) =
        (left.data_type(), right.data_type())
    else {
        return internal_err!("numeric arithmetic on {} and {}", left.data_type(), right.data_type());
    };
    let (left, right) = (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
    let mut values = Vec::with_capacity(left.len());
    for pair in left.iter().zip(right) {
        values.push(match pair {
            (Some(l), Some(r)) => Some(operation(l, *left_scale, r, *right_scale, scale)?),
            _ => None,
        });
    }
    Ok(PrimitiveArray::<Decimal128Type>::from_iter(values).with_precision_and_scale(precision(scale), scale)?)
}

fn multiply(l: i128, ls: i8, r: i128, rs: i8, scale: i8) -> std::result::Result<i128, ValueError> {
    let product = i256::from_i128(l).checked_mul(i256::from_i128(r)).ok_or_else(numeric_overflow)?;
    narrow(rescale(product, i32::from(ls) + i32::from(rs), i32::from(scale))?)
}

fn divide(l: i128, ls: i8, r: i128, rs: i8, scale: i8) -> std::result::Result<i128, ValueError> {
    if r == 0 {
        return Err(division_by_zero());
    }
    let shift = i32::from(scale) + i32::from(rs) - i32::from(ls);
    let (mut dividend, mut divisor) = (i256::from_i128(l), i256::from_i128(r));
    if shift >= 0 {
        dividend = dividend.checked_mul(power_of_ten(shift)?).ok_or_else(numeric_overflow)?;
    } else {
        divisor = divisor.checked_mul(power_of_ten(-shift)?).ok_or_else(numeric_overflow)?;
    }
    narrow(rounded(dividend, divisor))
}

fn power_of_ten(exponent: i32) -> std::result::Result<i256, ValueError> {
    u32::try_from(exponent).ok().and_then(|e| i256::from_i128(10).checked_pow(e)).ok_or_else(numeric_overflow)
}

/// `dividend / divisor`, half away from zero.
fn rounded(dividend: i256, divisor: i256) -> i256 {
    let quotient = dividend.wrapping_div(divisor);
    let remainder = dividend.wrapping_rem(divisor).wrapping_abs();
    let divisor_size = divisor.wrapping_abs();
    if divisor_size.wrapping_sub(remainder) > remainder {
        return quotient;
    }
    let negative = (dividend < i256::ZERO) != (divisor < i256::ZERO);
    if negative { quotient.wrapping_sub(i256::ONE) } else { quotient.wrapping_add(i256::ONE) }
}

fn rescale(value: i256, from: i32, to: i32) -> std::result::Result<i256, ValueError> {
    if to >= from {
        return value.checked_mul(power_of_ten(to - from)?).ok_or_else(numeric_overflow);
    }
    Ok(rounded(value, power_of_ten(from - to)?))
}

fn narrow(value: i256) -> std::result::Result<i128, ValueError> {
    let limit = 10_i128.pow(37);
    value.to_i128().filter(|value| (-limit < *value) && (*value < limit)).ok_or_else(numeric_overflow)
}

fn float_divide(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    let zero = match right.data_type() {
        DataType::Float32 => {
            let left = left.as_primitive::<Float32Type>();
            let zeros = right.as_primitive::<Float32Type>();
            zeros.iter().enumerate().any(|(row, value)| value == Some(0.0) && left.is_valid(row))
        }
        _ => {
            let left = left.as_primitive::<Float64Type>();
            let zeros = right.as_primitive::<Float64Type>();
            zeros.iter().enumerate().any(|(row, value)| value == Some(0.0) && left.is_valid(row))
        }
    };
    if zero {
        return Err(division_by_zero().into());
    }
    Ok(numeric::div(left, right)?)
}

/// Multiplies intervals as PostgreSQL does: what is left of a month becomes days of a 30-day month, what is left of a day
/// becomes time.
fn scale_intervals(
    intervals: &ArrayRef,
    numbers: &ArrayRef,
    factor: impl Fn(f64) -> std::result::Result<f64, ValueError>,
) -> Result<IntervalMonthDayNanoArray> {
    let numbers: &Float64Array = numbers.as_primitive();
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
    let mut values = Vec::with_capacity(intervals.len());
    for pair in intervals.iter().zip(numbers) {
        values.push(match pair {
            (Some(interval), Some(number)) => Some(scaled(interval, factor(number)?)?),
            _ => None,
        });
    }
    Ok(values.into_iter().collect())
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "checked against the range before")]
fn scaled(value: IntervalMonthDayNano, factor: f64) -> std::result::Result<IntervalMonthDayNano, ValueError> {
    let out = || ValueError::new("22008", "interval out of range");
    let months = f64::from(value.months) * factor;
    let days = f64::from(value.days) * factor;
    let month_days = (months - months.trunc()) * 30.0;
    // Values that differ from a whole day by less than a microsecond are that day.
    let month_days = (month_days * 1_000_000.0).round() / 1_000_000.0;
    let part = (days - days.trunc()) + (month_days - month_days.trunc());
    let seconds = (part * 86_400.0 * 1_000_000.0).round();
    let micros = (value.nanoseconds as f64 / 1000.0 * factor).round() + seconds;
    let whole_days = days.trunc() + month_days.trunc();
    if !(months.abs() < f64::from(i32::MAX) && whole_days.abs() < f64::from(i32::MAX) && micros.abs() < 9.2e15) {
        return Err(out());
    }
    interval(months.trunc() as i64, whole_days as i64, micros as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_division_rounds_half_away_from_zero() {
        let check = |l, ls, r, rs, scale, expected| assert_eq!(divide(l, ls, r, rs, scale), Ok(expected));
        check(1, 0, 3, 0, 4, 3333);
        check(2, 0, 3, 0, 4, 6667);
        check(-2, 0, 3, 0, 4, -6667);
        check(5, 1, 1, 0, 0, 1);
        check(-5, 1, 1, 0, 0, -1);
        check(4, 1, 1, 0, 0, 0);
        assert_eq!(divide(1, 0, 0, 0, 4).unwrap_err().code, "22012");
    }

    #[test]
    fn numeric_product_keeps_to_the_wanted_scale() {
        assert_eq!(multiply(15, 1, 15, 1, 2), Ok(225));
        assert_eq!(multiply(15, 1, 15, 1, 1), Ok(23));
        assert_eq!(multiply(10_i128.pow(37), 0, 100, 0, 0).unwrap_err().code, "22003");
    }
}
