//! Functions on double precision that raise where they have no value, and the trigonometry in degrees.

use super::super::call::{Value, fail};
use super::super::define::{Function, def};

fn overflow<T>() -> Value<T> {
    fail("22003", "value out of range: overflow")
}

fn underflow<T>() -> Value<T> {
    fail("22003", "value out of range: underflow")
}

/// √x
pub(crate) fn square_root(x: f64) -> Value<f64> {
    if x < 0.0 { fail("2201F", "cannot take square root of a negative number") } else { Ok(x.sqrt()) }
}

/// A logarithm of what has one.
pub(crate) fn logarithm(x: f64, f: fn(f64) -> f64) -> Value<f64> {
    if x == 0.0 {
        return fail("2201E", "cannot take logarithm of zero");
    }
    if x < 0.0 {
        return fail("2201E", "cannot take logarithm of a negative number");
    }
    Ok(f(x))
}

/// e^x
pub(crate) fn exp(x: f64) -> Value<f64> {
    let result = x.exp();
    if result.is_infinite() && x.is_finite() {
        return overflow();
    }
    if result == 0.0 && x.is_finite() { underflow() } else { Ok(result) }
}

/// x^y
pub(crate) fn power(x: f64, y: f64) -> Value<f64> {
    if x == 0.0 && y < 0.0 {
        return fail("2201F", "zero raised to a negative power is undefined");
    }
    if x < 0.0 && x.is_finite() && y.is_finite() && y != y.trunc() {
        return fail("2201F", "a negative number raised to a non-integer power yields a complex result");
    }
    let result = x.powf(y);
    if result.is_infinite() && x.is_finite() && y.is_finite() {
        return overflow();
    }
    if result == 0.0 && x != 0.0 && x.is_finite() && y.is_finite() { underflow() } else { Ok(result) }
}

/// See `width_bucket`.
#[expect(clippy::cast_possible_truncation, reason = "a bucket is between 0 and the count")]
pub(crate) fn bucket(operand: f64, low: f64, high: f64, count: i32) -> Value<i32> {
    if count <= 0 {
        return fail("2201G", "count must be greater than zero");
    }
    if operand.is_nan() || low.is_nan() || high.is_nan() {
        return fail("2201G", "operand, lower bound, and upper bound cannot be NaN");
    }
    if low.is_infinite() || high.is_infinite() {
        return fail("2201G", "lower and upper bounds must be finite");
    }
    if low == high {
        return fail("2201G", "lower bound cannot equal upper bound");
    }
    let (before, behind) = if low < high { (operand < low, operand >= high) } else { (operand > low, operand <= high) };
    if before {
        return Ok(0);
    }
    if behind {
        return count.checked_add(1).map_or_else(|| fail("22003", "integer out of range"), Ok);
    }
    let bucket = (f64::from(count) * ((operand - low) / (high - low))) as i32;
    Ok(bucket.min(count - 1) + 1)
}

fn in_range(x: f64, low: f64, high: f64) -> Value<f64> {
    if x.is_nan() || (low..=high).contains(&x) { Ok(x) } else { fail("22003", "input is out of range") }
}

fn finite(x: f64) -> Value<f64> {
    if x.is_infinite() { fail("22003", "input is out of range") } else { Ok(x) }
}

/// An angle's sine in degrees, exact where it is rational.
fn sin_degrees(x: f64) -> f64 {
    let turn = x.rem_euclid(360.0);
    let (turn, sign) = if turn > 180.0 { (turn - 180.0, -1.0) } else { (turn, 1.0) };
    let turn = if turn > 90.0 { 180.0 - turn } else { turn };
    let value = if turn == 0.0 {
        0.0
    } else if turn == 30.0 {
        0.5
    } else if turn == 90.0 {
        1.0
    } else {
        turn.to_radians().sin()
    };
    sign * value
}

fn cos_degrees(x: f64) -> f64 {
    let turn = x.rem_euclid(360.0);
    let turn = if turn > 180.0 { 360.0 - turn } else { turn };
    let (turn, sign) = if turn > 90.0 { (180.0 - turn, -1.0) } else { (turn, 1.0) };
    let value = if turn == 90.0 {
        0.0
    } else if turn == 60.0 {
        0.5
    } else if turn == 0.0 {
        1.0
    } else {
        turn.to_radians().cos()
    };
    sign * value
}

fn tan_degrees(x: f64) -> f64 {
    let turn = x.rem_euclid(180.0);
    if turn == 45.0 {
        1.0
    } else if turn == 135.0 {
        -1.0
    } else {
        sin_degrees(x) / cos_degrees(x) + 0.0
    }
}

/// 30 rather than 30.000000000000004
fn degrees_of(angle: f64) -> f64 {
    let degrees = angle.to_degrees();
    let near = degrees.round();
    if (degrees - near).abs() < 1e-13 { near } else { degrees }
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("asin", "The angle with that sine, in radians.", "asin(0.5)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(in_range(x, -1.0, 1.0)?.asin()))),
        def("acos", "The angle with that cosine, in radians.", "acos(0.5)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(in_range(x, -1.0, 1.0)?.acos()))),
        def("acosh", "The inverse hyperbolic cosine.", "acosh(2)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(in_range(x, 1.0, f64::INFINITY)?.acosh()))),
        def("atanh", "The inverse hyperbolic tangent.", "atanh(0.5)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(in_range(x, -1.0, 1.0)?.atanh()))),
        def("sin", "The sine of an angle in radians.", "sin(1)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(finite(x)?.sin()))),
        def("cos", "The cosine of an angle in radians.", "cos(1)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(finite(x)?.cos()))),
        def("tan", "The tangent of an angle in radians.", "tan(1)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(finite(x)?.tan()))),
        def("sind", "The sine of an angle in degrees.", "sind(30)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(sin_degrees(finite(x)?)))),
        def("cosd", "The cosine of an angle in degrees.", "cosd(60)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(cos_degrees(finite(x)?)))),
        def("tand", "The tangent of an angle in degrees.", "tand(45)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(tan_degrees(finite(x)?)))),
        def("cotd", "The cotangent of an angle in degrees.", "cotd(45)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(1.0 / tan_degrees(finite(x)?)))),
        def("asind", "The angle with that sine, in degrees.", "asind(0.5)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(degrees_of(in_range(x, -1.0, 1.0)?.asin())))),
        def("acosd", "The angle with that cosine, in degrees.", "acosd(0.5)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(degrees_of(in_range(x, -1.0, 1.0)?.acos())))),
        def("atand", "The angle with that tangent, in degrees.", "atand(1)")
            .on("float8 -> float8", |c| c.map1(|x: f64| Ok(degrees_of(x.atan())))),
        def("atan2d", "The angle of a point, in degrees.", "atan2d(1, 1)")
            .on("float8, float8 -> float8", |c| c.map2(|y: f64, x: f64| Ok(degrees_of(y.atan2(x))))),
    ]
}
