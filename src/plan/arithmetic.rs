//! Arithmetic where PostgreSQL's differs from DataFusion's: integers and floats that overflow fail, numeric keeps its digits.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Datum, Decimal128Array, Decimal256Array, PrimitiveArray};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type, i256,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;
use tidemill_udfs::types::{
    NUMERIC_DEFAULT_SCALE, QUOTIENT_PRECISION, QUOTIENT_SCALE, ValueError, power_of_ten, quotient, quotient_type,
    rounded,
};

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Arithmetic {
    /// int + int, both of one type
    Add,
    /// int - int
    Subtract,
    /// int * int
    Multiply,
    /// numeric * numeric with a result of that precision and scale
    NumericMultiply(u8, i8),
    /// numeric / numeric
    NumericDivide,
    /// float + float
    FloatAdd,
    /// float - float
    FloatSubtract,
    /// float * float
    FloatMultiply,
    /// float / float
    FloatDivide,
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
            Self::Add | Self::FloatAdd => "+",
            Self::Subtract | Self::FloatSubtract => "-",
            Self::Multiply | Self::NumericMultiply(..) | Self::FloatMultiply => "*",
            Self::NumericDivide | Self::FloatDivide => "/",
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
            Arithmetic::NumericMultiply(precision, scale) => DataType::Decimal128(precision, scale),
            Arithmetic::NumericDivide => quotient_type(),
            _ => types[0].clone(),
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
            operation @ (Arithmetic::NumericMultiply(..) | Arithmetic::NumericDivide) => {
                let scalar = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
                let rows = if scalar { 1 } else { args.number_rows };
                let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
                let result = decimals(operation, &left, &right)?;
                if scalar {
                    return datafusion::common::ScalarValue::try_from_array(&result, 0).map(ColumnarValue::Scalar);
                }
                Ok(ColumnarValue::Array(result))
            }
            operation => match left.data_type() {
                DataType::Float32 => apply(left, right, |l, r| floats::<Float32Type>(operation, l, r)),
                _ => apply(left, right, |l, r| floats::<Float64Type>(operation, l, r)),
            },
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

pub(super) fn division_by_zero() -> ValueError {
    ValueError::new("22012", "division by zero")
}

/// The precision of a computed numeric: never that of a stored one without modifier, (38, 16), of which zeros at the end of
/// the fraction are not shown.
pub(super) fn precision(scale: i8) -> u8 {
    if scale == NUMERIC_DEFAULT_SCALE { 37 } else { 38 }
}

fn numeric_overflow() -> ValueError {
    ValueError {
        detail: Some("A numeric holds at most 38 digits.".into()),
        ..ValueError::new("22003", "numeric field overflow")
    }
}

/// Floats: what is not finite though both sides are has overflowed, zero from what is not has underflowed.
fn floats<T>(operation: Arithmetic, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError>
where
    T: ArrowPrimitiveType,
    T::Native: Into<f64>,
{
    let (left_array, left_scalar) = left.get();
    let (right_array, right_scalar) = right.get();
    let (left_values, right_values) = (left_array.as_primitive::<T>(), right_array.as_primitive::<T>());
    let fail = |error: ValueError| Err(ArrowError::ExternalError(Box::new(error)));
    let pair = |row: usize| -> (f64, f64) {
        let (left_row, right_row) = (if left_scalar { 0 } else { row }, if right_scalar { 0 } else { row });
        (left_values.value(left_row).into(), right_values.value(right_row).into())
    };
    let result = match operation {
        Arithmetic::FloatAdd => numeric::add_wrapping(left, right)?,
        Arithmetic::FloatSubtract => numeric::sub_wrapping(left, right)?,
        Arithmetic::FloatMultiply => numeric::mul_wrapping(left, right)?,
        _ => numeric::div(left, right)?,
    };
    let values = result.as_primitive::<T>();
    // Zeros are common where nothing is lost: only products and quotients can lose.
    let may_vanish = matches!(operation, Arithmetic::FloatMultiply | Arithmetic::FloatDivide);
    for (row, value) in values.values().iter().enumerate() {
        let value: f64 = (*value).into();
        let suspicious = !value.is_finite() || may_vanish && value == 0.0;
        if !suspicious || values.is_null(row) {
            continue;
        }
        let (l, r) = pair(row);
        if operation == Arithmetic::FloatDivide && r == 0.0 && !l.is_nan() {
            return fail(division_by_zero());
        }
        if value.is_infinite() && l.is_finite() && r.is_finite() {
            return fail(ValueError::new("22003", "value out of range: overflow"));
        }
        if value == 0.0 && l != 0.0 && (operation == Arithmetic::FloatDivide || r != 0.0) && r.is_finite() {
            return fail(ValueError::new("22003", "value out of range: underflow"));
        }
    }
    Ok(result)
}

/// The values of a decimal of either width.
type Wide<'a> = Box<dyn Iterator<Item = Option<i256>> + 'a>;

/// The values of a decimal of either width, and its scale.
fn wide(array: &ArrayRef) -> Result<(Wide<'_>, i8)> {
    Ok(match array.data_type() {
        DataType::Decimal128(_, scale) => {
            (Box::new(array.as_primitive::<Decimal128Type>().iter().map(|v| v.map(i256::from_i128))), *scale)
        }
        DataType::Decimal256(_, scale) => (Box::new(array.as_primitive::<Decimal256Type>().iter()), *scale),
        other => return internal_err!("numeric arithmetic on {other}"),
    })
}

/// Zeros that a stored numeric without modifier came without are none of its digits.
fn own_digits(value: i256, scale: i8, stored: bool) -> (i256, i8) {
    if !stored {
        return (value, scale);
    }
    let (mut value, mut scale) = (value, scale);
    for zeros in [16_u8, 8, 4, 2, 1] {
        let (unit, fewer) = (10_i128.pow(zeros.into()), scale - zeros.cast_signed());
        let whole = match value.to_i128() {
            _ if fewer < 0 => None,
            Some(small) => (small % unit == 0).then(|| i256::from_i128(small / unit)),
            None => {
                let unit = i256::from_i128(unit);
                (value.wrapping_rem(unit) == i256::ZERO).then(|| value.wrapping_div(unit))
            }
        };
        if let Some(whole) = whole {
            (value, scale) = (whole, fewer);
        }
    }
    (value, scale)
}

fn decimals(operation: Arithmetic, left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    let stored = |array: &ArrayRef| {
        matches!(array.data_type(), DataType::Decimal128(38, NUMERIC_DEFAULT_SCALE))
            || matches!(array.data_type(), DataType::Decimal256(QUOTIENT_PRECISION, _))
    };
    let (left_stored, right_stored) = (stored(left), stored(right));
    let ((left, left_scale), (right, right_scale)) = (wide(left)?, wide(right)?);
    if let Arithmetic::NumericMultiply(precision, scale) = operation {
        let values: Vec<Option<i128>> = left
            .zip(right)
            .map(|pair| match pair {
                (Some(l), Some(r)) => multiply(l, left_scale, r, right_scale, scale).map(Some),
                _ => Ok(None),
            })
            .collect::<std::result::Result<_, _>>()?;
        let values = Decimal128Array::from(values).with_precision_and_scale(precision, scale)?;
        return Ok(Arc::new(values));
    }
    let values: Vec<Option<i256>> = left
        .zip(right)
        .map(|pair| match pair {
            (Some(l), Some(r)) => {
                let (l, left_scale) = own_digits(l, left_scale, left_stored);
                let (r, right_scale) = own_digits(r, right_scale, right_stored);
                quotient(l, left_scale, r, right_scale).map(Some)
            }
            _ => Ok(None),
        })
        .collect::<std::result::Result<_, _>>()?;
    let values: Decimal256Array = PrimitiveArray::from_iter(values);
    Ok(Arc::new(values.with_precision_and_scale(QUOTIENT_PRECISION, QUOTIENT_SCALE)?))
}

fn multiply(l: i256, ls: i8, r: i256, rs: i8, scale: i8) -> std::result::Result<i128, ValueError> {
    let product = l.checked_mul(r).ok_or_else(numeric_overflow)?;
    let (from, to) = (i32::from(ls) + i32::from(rs), i32::from(scale));
    let product = if to >= from {
        product.checked_mul(power_of_ten(to - from)?).ok_or_else(numeric_overflow)?
    } else {
        rounded(product, power_of_ten(from - to)?)
    };
    let limit = 10_i128.pow(u32::from(precision(scale)));
    product.to_i128().filter(|value| (-limit < *value) && (*value < limit)).ok_or_else(numeric_overflow)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Scalar};

    use super::*;

    #[test]
    fn zeros_of_a_stored_numeric_are_not_its_own() {
        let check = |value: i128, scale, expected: (i128, i8)| {
            let (value, scale) = own_digits(i256::from_i128(value), scale, true);
            assert_eq!((value.to_i128().unwrap(), scale), expected);
        };
        check(25 * 10_i128.pow(15), 16, (25, 1));
        check(123, 16, (123, 16));
        check(0, 16, (0, 0));
        check(7 * 10_i128.pow(20), 16, (70_000, 0));
        assert_eq!(own_digits(i256::from_i128(100), 2, false), (i256::from_i128(100), 2));
    }

    #[test]
    fn numeric_product_keeps_to_the_wanted_scale() {
        let multiply =
            |l: i128, ls, r: i128, rs, scale| multiply(i256::from_i128(l), ls, i256::from_i128(r), rs, scale);
        assert_eq!(multiply(15, 1, 15, 1, 2), Ok(225));
        assert_eq!(multiply(15, 1, 15, 1, 1), Ok(23));
        assert_eq!(multiply(10_i128.pow(37), 0, 100, 0, 0).unwrap_err().code, "22003");
    }

    #[test]
    fn floats_fail_where_postgresql_fails() {
        let run = |operation, left: f64, right: f64| {
            let left = Float64Array::from(vec![left]);
            let right = Scalar::new(Float64Array::from(vec![right]));
            floats::<Float64Type>(operation, &left, &right)
                .map(|values| values.as_primitive::<Float64Type>().value(0))
                .map_err(|error| error.to_string())
        };
        let check = |operation, left, right, words: &str| {
            let error = run(operation, left, right).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        check(Arithmetic::FloatMultiply, 1e308, 10.0, "value out of range: overflow");
        check(Arithmetic::FloatAdd, f64::MAX, f64::MAX, "value out of range: overflow");
        check(Arithmetic::FloatMultiply, 1e-300, 1e-300, "value out of range: underflow");
        check(Arithmetic::FloatDivide, 1.0, 0.0, "division by zero");
        assert_eq!(run(Arithmetic::FloatMultiply, f64::INFINITY, 2.0), Ok(f64::INFINITY));
        assert_eq!(run(Arithmetic::FloatDivide, 1.0, f64::INFINITY), Ok(0.0));
        assert!(run(Arithmetic::FloatDivide, f64::NAN, 0.0).unwrap().is_nan());
    }
}
