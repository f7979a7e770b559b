//! Functions on integers and numeric, exact, with PostgreSQL's rounding and errors.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion_common::Result;
use datafusion_expr::ReturnFieldArgs;

use super::super::call::{Call, Value, fail};
use super::super::define::{Function, def};
use super::super::number::{DIGITS_MAX, Num, SCALE_DEFAULT, power_of_ten};
use crate::types::SqlType;

fn decimal(scale: i8) -> Result<FieldRef> {
    Ok(Arc::new(Field::new("numeric", DataType::Decimal128(DIGITS_MAX, scale), true)))
}

/// A numeric without decimals.
pub(crate) fn whole(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    decimal(0)
}

/// A numeric with the most decimals of the arguments.
fn widest(args: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    let scale = |field: &FieldRef| match field.data_type() {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    };
    decimal(args.arg_fields.iter().map(scale).max().unwrap_or(0).max(0))
}

/// A numeric with as many decimals as the second argument says, where it is known when planning.
fn chosen(args: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    let decimals = args.scalar_arguments.get(1).copied().flatten().map(ToString::to_string);
    match decimals.and_then(|text| text.parse::<i32>().ok()) {
        Some(decimals) => decimal(i8::try_from(decimals.clamp(0, 30)).unwrap_or(0)),
        None => Ok(Arc::new(SqlType::Numeric(None).field("numeric", true))),
    }
}

/// More decimals than a numeric has are all its decimals.
fn clamp(decimals: i32) -> i32 {
    decimals.clamp(-40, 38)
}

/// √n by Newton's method, with that many decimals.
fn square_root(n: Num) -> Value<Num> {
    if n.value < 0 {
        return fail("2201F", "cannot take square root of a negative number");
    }
    // The most decimals for which the shifted number still fits.
    let mut scale = SCALE_DEFAULT;
    let shifted = loop {
        let by = i32::from(scale) * 2 - i32::from(n.scale);
        let shifted = match u32::try_from(by) {
            Ok(by) if by <= 38 => n.value.checked_mul(power_of_ten(by)),
            Ok(_) => None,
            Err(_) => Some(n.value / power_of_ten(by.unsigned_abs().min(38))),
        };
        match shifted {
            Some(shifted) => break shifted,
            None => scale -= 1,
        }
    };
    let root = shifted.unsigned_abs().isqrt();
    let up = shifted.unsigned_abs() - root * root > root;
    Ok(Num::new(i128::try_from(root + u128::from(up)).unwrap_or(0), scale))
}

/// A double's result as numeric.
fn numeric(value: f64) -> Value<Num> {
    if value.is_finite() { Num::from_f64(value) } else { fail("22003", "value overflows numeric format") }
}

fn logarithm(n: Num) -> Value<f64> {
    match n.value.cmp(&0) {
        Ordering::Less => fail("2201E", "cannot take logarithm of a negative number"),
        Ordering::Equal => fail("2201E", "cannot take logarithm of zero"),
        Ordering::Greater => Ok(n.to_f64().ln()),
    }
}

fn log10(n: Num) -> Value<Num> {
    logarithm(n)?;
    numeric(n.to_f64().log10())
}

fn log_of(base: Num, n: Num) -> Value<Num> {
    let (base_log, log) = (logarithm(base)?, logarithm(n)?);
    if base_log == 0.0 {
        return fail("22012", "division by zero");
    }
    let quotient = log / base_log;
    // 6 rather than 5.999999999999999
    let near = quotient.round();
    numeric(if (quotient - near).abs() < 1e-13 * near.abs().max(1.0) { near } else { quotient })
}

fn power(base: Num, exponent: Num) -> Value<Num> {
    let whole = exponent.trim();
    match (base.value.cmp(&0), exponent.value < 0, whole.scale > 0) {
        (Ordering::Equal, true, _) => return fail("2201F", "zero raised to a negative power is undefined"),
        (Ordering::Less, _, true) => {
            return fail("2201F", "a negative number raised to a non-integer power yields a complex result");
        }
        _ => {}
    }
    match u32::try_from(whole.value) {
        Ok(times) if whole.scale <= 0 && times <= 1024 => {
            let mut result = Num::from(1);
            for _ in 0..times {
                result = result.multiply(base)?;
            }
            Ok(result)
        }
        _ => numeric(base.to_f64().powf(exponent.to_f64())),
    }
}

fn exp(n: Num) -> Value<Num> {
    let value = n.to_f64().exp();
    if value.is_infinite() { fail("22003", "value overflows numeric format") } else { numeric(value) }
}

fn factorial(n: i64) -> Value<Num> {
    if n < 0 {
        return fail("22003", "factorial of a negative number is undefined");
    }
    let mut product = 1i128;
    for factor in 2..=n {
        product = match product.checked_mul(factor.into()).filter(|p| *p < power_of_ten(38)) {
            Some(product) => product,
            None => return fail("22003", "value overflows numeric format"),
        };
    }
    Ok(Num::new(product, 0))
}

fn common_divisor(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn gcd(a: i64, b: i64, type_name: &str, max: i64) -> Value<i64> {
    let divisor = common_divisor(a.unsigned_abs().into(), b.unsigned_abs().into());
    match i64::try_from(divisor) {
        Ok(divisor) if divisor <= max => Ok(divisor),
        _ => fail("22003", format!("{type_name} out of range")),
    }
}

fn lcm(a: i64, b: i64, type_name: &str, max: i64) -> Value<i64> {
    if a == 0 || b == 0 {
        return Ok(0);
    }
    let (x, y) = (u128::from(a.unsigned_abs()), u128::from(b.unsigned_abs()));
    match i64::try_from(x / common_divisor(x, y) * y) {
        Ok(multiple) if multiple <= max => Ok(multiple),
        _ => fail("22003", format!("{type_name} out of range")),
    }
}

fn int4(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn aligned(a: Num, b: Num) -> Value<(Num, Num)> {
    let scale = a.scale.max(b.scale);
    Ok((a.rescale(scale)?, b.rescale(scale)?))
}

fn numeric_gcd(a: Num, b: Num) -> Value<Num> {
    let (a, b) = aligned(a, b)?;
    let divisor = common_divisor(a.value.unsigned_abs(), b.value.unsigned_abs());
    Ok(Num::new(i128::try_from(divisor).unwrap_or(i128::MAX), a.scale))
}

fn numeric_lcm(a: Num, b: Num) -> Value<Num> {
    let divisor = numeric_gcd(a, b)?;
    if divisor.value == 0 {
        return Ok(divisor);
    }
    let (a, b) = aligned(a, b)?;
    match (a.value / divisor.value).checked_mul(b.value).filter(|product| product.unsigned_abs() < 10u128.pow(38)) {
        Some(multiple) => Ok(Num::new(multiple.abs(), a.scale)),
        None => fail("22003", "value overflows numeric format"),
    }
}

/// Division by zero, and the one quotient that does not fit.
fn remainder(a: i64, b: i64) -> Value<i64> {
    if b == 0 { fail("22012", "division by zero") } else { Ok(a.wrapping_rem(b)) }
}

/// The bucket of a histogram with equal steps: 0 below, count + 1 above.
fn bucket(operand: Num, low: Num, high: Num, count: i32) -> Value<i32> {
    if count <= 0 {
        return fail("2201G", "count must be greater than zero");
    }
    let above = |at: Ordering| at != Ordering::Less;
    let down = match low.cmp(&high) {
        Ordering::Equal => return fail("2201G", "lower bound cannot equal upper bound"),
        order => order == Ordering::Greater,
    };
    let (from_low, from_high) = (operand.cmp(&low), operand.cmp(&high));
    let (before, behind) = if down {
        (from_low == Ordering::Greater, from_high != Ordering::Greater)
    } else {
        (!above(from_low), above(from_high))
    };
    if before {
        return Ok(0);
    }
    if behind {
        return count.checked_add(1).map_or_else(|| fail("22003", "integer out of range"), Ok);
    }
    let minus = |n: Num| Num::new(-n.value, n.scale);
    let (part, range) = (operand.add(minus(low))?, high.add(minus(low))?);
    let number = part.multiply(Num::from(i64::from(count)))?.divide_whole(range)?;
    Ok(int4(number.to_i64()?.saturating_add(1)))
}

/// width_bucket of a sorted array of bounds.
fn bucket_of_bounds(call: &Call<'_>) -> Result<ArrayRef> {
    let (operands, bounds) = (call.column::<f64>(0)?, call.column::<ArrayRef>(1)?);
    call.collect(|row| match (operands.get(row), bounds.get(row)) {
        (Some(operand), Some(bounds)) => {
            if bounds.null_count() > 0 {
                return fail("22004", "thresholds array must not contain NULLs");
            }
            let bounds = bounds.as_primitive::<Float64Type>().values();
            Ok(Some(i32::try_from(bounds.partition_point(|bound| *bound <= operand)).unwrap_or(i32::MAX)))
        }
        _ => Ok(None),
    })
}

fn absolute<T>(value: Option<T>, type_name: &str) -> Value<T> {
    value.map_or_else(|| fail("22003", format!("{type_name} out of range")), Ok)
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    let mut all = rounding();
    all.extend(division());
    all.extend(powers());
    all
}

fn rounding() -> Vec<Function> {
    vec![
        def(
            "round",
            "The nearest integer, or number with that many decimals; numeric rounds halves away from zero.",
            "round(2.345, 2)",
        )
        .on("float8 -> float8", |c| c.map1(|x: f64| Ok(x.round_ties_even())))
        .computed("numeric -> numeric", whole, |c| c.map1(|n: Num| n.round(0)))
        .computed("numeric, int4 -> numeric", chosen, |c| c.map2(|n: Num, decimals: i32| n.round(clamp(decimals)))),
        def("trunc", "Without decimals, or all but some.", "trunc(2.345, 2)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(x.trunc())))
            .computed("numeric -> numeric", whole, |c| c.map1(|n: Num| n.trunc(0)))
            .computed("numeric, int4 -> numeric", chosen, |c| c.map2(|n: Num, decimals: i32| n.trunc(clamp(decimals)))),
        def("ceil", "The smallest integer not below.", "ceil(2.1)")
            .alias(&["ceiling"])
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(x.ceil())))
            .computed("numeric -> numeric", whole, |c| c.map1(Num::ceil)),
        def("floor", "The largest integer not above.", "floor(2.9)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(x.floor())))
            .computed("numeric -> numeric", whole, |c| c.map1(Num::floor)),
        def("sign", "-1, 0 or 1.", "sign(-2.5)")
            .alias(&["signum"])
            .on("float8 -> float8", |c| {
                c.map1(|x: f64| {
                    Ok(if x > 0.0 {
                        1.0
                    } else if x < 0.0 {
                        -1.0
                    } else {
                        x.abs() * 0.0
                    })
                })
            })
            .computed("numeric -> numeric", whole, |c| c.map1(|n: Num| Ok(Num::new(n.value.signum(), 0)))),
        def("abs", "Without its sign.", "abs(-3)")
            .on("int2 -> int2", |c| c.map1(|n: i16| absolute(n.checked_abs(), "smallint")))
            .on("int4 -> int4", |c| c.map1(|n: i32| absolute(n.checked_abs(), "integer")))
            .on("int8 -> int8", |c| c.map1(|n: i64| absolute(n.checked_abs(), "bigint")))
            .on("float4 -> float4", |c| c.map1(|x: f32| Ok(x.abs())))
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(x.abs())))
            .on("numeric -> same", |c| c.map1(|n: Num| Ok(Num::new(n.value.abs(), n.scale)))),
        def("scale", "The number of decimals.", "scale(8.4100)")
            .on("numeric -> int4", |c| c.map1(|n: Num| Ok(i32::from(n.scale.max(0))))),
        def("min_scale", "The number of decimals that are needed.", "min_scale(8.4100)")
            .on("numeric -> int4", |c| c.map1(|n: Num| Ok(i32::from(n.trim().scale.max(0))))),
        def("trim_scale", "Without zeros behind the last decimal.", "trim_scale(8.4100)")
            .on("numeric -> numeric", |c| c.map1(|n: Num| Ok(n.trim()))),
    ]
}

fn division() -> Vec<Function> {
    vec![
        def("mod", "The rest of a division, with the dividend's sign.", "mod(-7, 3)")
            .on("int2, int2 -> int2", |c| {
                c.map2(|a: i16, b: i16| remainder(a.into(), b.into()).map(|r| i16::try_from(r).unwrap_or(0)))
            })
            .on("int4, int4 -> int4", |c| c.map2(|a: i32, b: i32| remainder(a.into(), b.into()).map(int4)))
            .on("int8, int8 -> int8", |c| c.map2(remainder))
            .computed("numeric, numeric -> numeric", widest, |c| c.map2(Num::remainder)),
        def("div", "The quotient without decimals.", "div(7.5, 2)").computed(
            "numeric, numeric -> numeric",
            whole,
            |c| c.map2(Num::divide_whole),
        ),
        def("gcd", "The greatest common divisor.", "gcd(12, 18)")
            .on("int4, int4 -> int4", |c| {
                c.map2(|a: i32, b: i32| gcd(a.into(), b.into(), "integer", i32::MAX.into()).map(int4))
            })
            .on("int8, int8 -> int8", |c| c.map2(|a: i64, b: i64| gcd(a, b, "bigint", i64::MAX)))
            .computed("numeric, numeric -> numeric", widest, |c| c.map2(numeric_gcd)),
        def("lcm", "The least common multiple.", "lcm(4, 6)")
            .on("int4, int4 -> int4", |c| {
                c.map2(|a: i32, b: i32| lcm(a.into(), b.into(), "integer", i32::MAX.into()).map(int4))
            })
            .on("int8, int8 -> int8", |c| c.map2(|a: i64, b: i64| lcm(a, b, "bigint", i64::MAX)))
            .computed("numeric, numeric -> numeric", widest, |c| c.map2(numeric_lcm)),
        def("factorial", "1 × 2 × … × n.", "factorial(5)").computed("int8 -> numeric", whole, |c| c.map1(factorial)),
        def(
            "width_bucket",
            "The bucket of a histogram with equal steps, or with given bounds.",
            "width_bucket(5.35, 0.024, 10.06, 5)",
        )
        .on("numeric, numeric, numeric, int4 -> int4", |c| c.map4(bucket))
        .on("float8, float8, float8, int4 -> int4", |c| c.map4(super::float::bucket))
        .on("float8, float8[] -> int4", bucket_of_bounds),
    ]
}

fn powers() -> Vec<Function> {
    vec![
        def("sqrt", "The square root.", "sqrt(2)")
            .on("float8 -> float8", |c| c.map1(super::float::square_root))
            .on("numeric -> numeric", |c| c.map1(square_root)),
        def("exp", "e to that power.", "exp(1.0)")
            .on("float8 -> float8", |c| c.map1(super::float::exp))
            .on("numeric -> numeric", |c| c.map1(exp)),
        def("ln", "The natural logarithm.", "ln(2.0)")
            .on("float8 -> float8", |c| c.map1(|x: f64| super::float::logarithm(x, f64::ln)))
            .on("numeric -> numeric", |c| c.map1(|n: Num| numeric(logarithm(n)?))),
        def("log", "The logarithm to base 10, or to a base.", "log(2.0, 64.0)")
            .on("float8 -> float8", |c| c.map1(|x: f64| super::float::logarithm(x, f64::log10)))
            .on("numeric -> numeric", |c| c.map1(log10))
            .on("numeric, numeric -> numeric", |c| c.map2(log_of)),
        def("log10", "The logarithm to base 10.", "log10(100)")
            .on("float8 -> float8", |c| c.map1(|x: f64| super::float::logarithm(x, f64::log10)))
            .on("numeric -> numeric", |c| c.map1(log10)),
        def("power", "The first to the power of the second.", "power(2, 10)")
            .alias(&["pow"])
            .on("float8, float8 -> float8", |c| c.map2(super::float::power))
            .on("numeric, numeric -> numeric", |c| c.map2(power)),
    ]
}
