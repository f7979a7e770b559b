//! Quotients of numerics as PostgreSQL rounds and shows them: sixteen significant digits or more, so that the number of
//! digits after the point is each value's own (`select_div_scale`).
//!
//! A quotient, and what is computed from one, is a Decimal256 of precision 76; its values are rounded as PostgreSQL rounds
//! them, with zeros up to the type's scale. How many of the digits are shown follows from the value.

use arrow::datatypes::{DataType, i256};

use super::ValueError;

/// The precision that marks a numeric whose digits shown are each value's own.
pub const QUOTIENT_PRECISION: u8 = 76;

/// Digits after the point that a quotient has at most.
pub const QUOTIENT_SCALE: i8 = 32;

/// Digits after the point that the root of a quotient has at most; the scale tells it from a quotient.
pub const ROOT_SCALE: i8 = QUOTIENT_SCALE - 1;

/// NUMERIC_MIN_SIG_DIGITS
const SIGNIFICANT_DIGITS: i32 = 16;

/// The type of a quotient.
pub fn quotient_type() -> DataType {
    DataType::Decimal256(QUOTIENT_PRECISION, QUOTIENT_SCALE)
}

/// The type of the root of a quotient.
pub fn root_type() -> DataType {
    DataType::Decimal256(QUOTIENT_PRECISION, ROOT_SCALE)
}

/// `dividend / divisor`, as a value of [`quotient_type`].
///
/// # Errors
/// 22012 for a divisor of zero, 22003 for more digits than there is room for.
pub fn quotient(dividend: i256, scale: i8, divisor: i256, divisor_scale: i8) -> Result<i256, ValueError> {
    let (quotient, shown) = rounded_quotient(dividend, scale, divisor, divisor_scale)?;
    quotient.checked_mul(power_of_ten(i32::from(QUOTIENT_SCALE) - shown)?).ok_or_else(numeric_overflow)
}

/// The square root of a quotient, as a value of [`root_type`] with the quotient's digits; the quotient is not negative.
///
/// # Errors
/// As [`quotient`].
pub fn quotient_root(dividend: i256, scale: i8, divisor: i256, divisor_scale: i8) -> Result<i256, ValueError> {
    let (quotient, shown) = rounded_quotient(dividend, scale, divisor, divisor_scale)?;
    let (quotient, shown) = if shown > i32::from(ROOT_SCALE) {
        (rounded(quotient, i256::from_i128(10)), shown - 1)
    } else {
        (quotient, shown)
    };
    let square = quotient.checked_mul(power_of_ten(shown)?).ok_or_else(numeric_overflow)?;
    let mut root = square_root(square);
    // Half up: (root + 1/2)² = root² + root + 1/4
    if square.wrapping_sub(root.wrapping_mul(root)) > root {
        root = root.wrapping_add(i256::ONE);
    }
    root.checked_mul(power_of_ten(i32::from(ROOT_SCALE) - shown)?).ok_or_else(numeric_overflow)
}

/// The largest integer whose square is not above a number that is not negative, by Newton's method from above.
fn square_root(square: i256) -> i256 {
    if square <= i256::ONE {
        return square;
    }
    let digits = i32::try_from(square.to_string().len()).unwrap_or(76);
    let mut root = power_of_ten((digits + 1) / 2).unwrap_or(square);
    loop {
        let next = root.wrapping_add(square.wrapping_div(root)).wrapping_div(i256::from_i128(2));
        if next >= root {
            return root;
        }
        root = next;
    }
}

/// The quotient at the scale PostgreSQL gives it, and that scale.
fn rounded_quotient(dividend: i256, scale: i8, divisor: i256, divisor_scale: i8) -> Result<(i256, i32), ValueError> {
    if divisor == i256::ZERO {
        return Err(ValueError::new("22012", "division by zero"));
    }
    let shown = shown_scale(leading(dividend, scale), leading(divisor, divisor_scale))
        .max(i32::from(scale))
        .max(i32::from(divisor_scale))
        .min(i32::from(QUOTIENT_SCALE));
    let shift = shown + i32::from(divisor_scale) - i32::from(scale);
    let quotient = match small_quotient(dividend, divisor, shift) {
        Some(quotient) => quotient,
        None if shift >= 0 => {
            rounded(dividend.checked_mul(power_of_ten(shift)?).ok_or_else(numeric_overflow)?, divisor)
        }
        None => rounded(dividend, divisor.checked_mul(power_of_ten(-shift)?).ok_or_else(numeric_overflow)?),
    };
    Ok((quotient, shown))
}

/// The usual case, where 128 bits have room.
fn small_quotient(dividend: i256, divisor: i256, shift: i32) -> Option<i256> {
    let factor = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
    let (dividend, divisor) = (dividend.to_i128()?.checked_mul(factor)?, divisor.to_i128()?);
    let (quotient, remainder) = (dividend.checked_div(divisor)?, dividend % divisor);
    let up = divisor.unsigned_abs() - remainder.unsigned_abs() <= remainder.unsigned_abs();
    let away = if (dividend < 0) == (divisor < 0) { 1 } else { -1 };
    Some(i256::from_i128(if up { quotient + away } else { quotient }))
}

/// Digits after the point of a quotient of numbers with these leading digits.
fn shown_scale(dividend: (i32, u32), divisor: (i32, u32)) -> i32 {
    let weight = dividend.0 - divisor.0 - i32::from(dividend.1 <= divisor.1);
    (SIGNIFICANT_DIGITS - 4 * weight).max(0)
}

/// A number's first digit in base 10000 and that digit's weight, as PostgreSQL holds numerics. Zero: 0, 0.
fn leading(value: i256, scale: i8) -> (i32, u32) {
    let Some(small) = value.to_i128().map(i128::unsigned_abs) else {
        let text = value.to_string();
        let digits = text.trim_start_matches('-');
        let exponent = i32::try_from(digits.len()).unwrap_or(i32::MAX) - 1 - i32::from(scale);
        let width = usize::try_from(exponent.rem_euclid(4) + 1).unwrap_or(1);
        return (exponent.div_euclid(4), digits[..width].parse().unwrap_or(0));
    };
    let Some(last) = small.checked_ilog10() else { return (0, 0) };
    let exponent = i32::try_from(last).unwrap_or(0) - i32::from(scale);
    let width = u32::try_from(exponent.rem_euclid(4)).unwrap_or(0) + 1;
    let first =
        if last + 1 >= width { small / 10_u128.pow(last + 1 - width) } else { small * 10_u128.pow(width - last - 1) };
    (exponent.div_euclid(4), u32::try_from(first).unwrap_or(0))
}

/// How many of its `scale` digits after the point such a value shows: those a division gives a value of its size, and more
/// where it has them.
pub(super) fn shown_digits(value: i256, scale: i8) -> i8 {
    let (weight, first) = match value.checked_mul(value) {
        // A root has the digits of what it is the root of.
        Some(square) if scale == ROOT_SCALE => leading(square, 2 * scale),
        _ => leading(value, scale),
    };
    // A power of 10000 is what divisions of equal leading digits give.
    let exact = first == 1 && is_power_of_ten(value);
    let mut shown = shown_scale((weight, first), (0, if exact || first == 0 { 1 } else { 0 }));
    let needed = i32::from(scale) - trailing_zeros(value, i32::from(scale));
    if scale >= 2 * QUOTIENT_SCALE {
        // A product of quotients.
        shown = shown.max(needed);
    } else if scale > ROOT_SCALE {
        shown = (shown + i32::from(scale) - i32::from(QUOTIENT_SCALE)).clamp(0, i32::from(scale));
    }
    while shown < needed {
        shown += 4;
    }
    i8::try_from(shown.min(i32::from(scale))).unwrap_or(scale)
}

fn is_power_of_ten(value: i256) -> bool {
    let text = value.to_string();
    let digits = text.trim_start_matches('-').as_bytes();
    digits[0] == b'1' && digits[1..].iter().all(|digit| *digit == b'0')
}

/// Zeros at the end of the number, at most that many.
fn trailing_zeros(value: i256, at_most: i32) -> i32 {
    if value == i256::ZERO {
        return at_most;
    }
    let text = value.to_string();
    let zeros = text.bytes().rev().take_while(|digit| *digit == b'0').count();
    i32::try_from(zeros).unwrap_or(at_most).min(at_most)
}

/// `dividend / divisor`, half away from zero.
pub fn rounded(dividend: i256, divisor: i256) -> i256 {
    let quotient = dividend.wrapping_div(divisor);
    let remainder = dividend.wrapping_rem(divisor).wrapping_abs();
    if divisor.wrapping_abs().wrapping_sub(remainder) > remainder {
        return quotient;
    }
    let negative = (dividend < i256::ZERO) != (divisor < i256::ZERO);
    if negative { quotient.wrapping_sub(i256::ONE) } else { quotient.wrapping_add(i256::ONE) }
}

/// 10 to that power, from 0.
///
/// # Errors
/// 22003 above 76.
pub fn power_of_ten(exponent: i32) -> Result<i256, ValueError> {
    u32::try_from(exponent)
        .ok()
        .filter(|exponent| *exponent <= 76)
        .map(|exponent| i256::from_i128(10).wrapping_pow(exponent))
        .ok_or_else(numeric_overflow)
}

fn numeric_overflow() -> ValueError {
    ValueError {
        detail: Some("A computed numeric holds at most 76 digits.".into()),
        ..ValueError::new("22003", "numeric field overflow")
    }
}

#[cfg(test)]
mod tests {
    use super::super::numeric::{Shown, write_numeric256};
    use super::*;

    fn number(text: &str) -> (i256, i8) {
        let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        (i256::from_string(&text.replace('.', "")).unwrap(), i8::try_from(scale).unwrap())
    }

    #[test]
    fn quotients_have_postgresqls_digits() {
        let check = |left: &str, right: &str, expected: &str| {
            let ((left_value, left_scale), (right_value, right_scale)) = (number(left), number(right));
            let value = quotient(left_value, left_scale, right_value, right_scale).unwrap();
            let mut text = vec![];
            write_numeric256(value, QUOTIENT_SCALE, Shown::Significant, &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), expected, "{left} / {right}");
        };
        check("1.0", "3", "0.33333333333333333333");
        check("10", "4.0", "2.5000000000000000");
        check("2.0", "-3.0", "-0.66666666666666666667");
        check("100.0", "3", "33.3333333333333333");
        check("1", "1", "1.00000000000000000000");
        check("2", "1", "2.0000000000000000");
        check("0", "7", "0.00000000000000000000");
        check("12345678", "100", "123456.780000000000");
        check("1", "30000", "0.000033333333333333333333");
        check("18446744073709551614", "2", "9223372036854775807");
        check("12345679.50", "3", "4115226.500000000000");
        assert_eq!(quotient(i256::ONE, 0, i256::ZERO, 0).unwrap_err().code, "22012");
    }

    #[test]
    fn a_root_has_the_quotients_digits() {
        let check = |dividend: i128, divisor: i128, expected: &str| {
            let value = quotient_root(i256::from_i128(dividend), 0, i256::from_i128(divisor), 0).unwrap();
            let mut text = vec![];
            write_numeric256(value, ROOT_SCALE, Shown::Significant, &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), expected, "{dividend} / {divisor}");
        };
        check(14, 6, "1.5275252316519467");
        check(4, 1, "2.0000000000000000");
        check(1, 4, "0.50000000000000000000");
        check(2_000_000_000_000, 1, "1414213.5624");
        check(476_100, 4, "345.000000000000");
    }

    #[test]
    fn a_wide_division_rounds_as_a_narrow_one() {
        let wide = i256::from_string("123456789012345678901234567890123456789012345").unwrap();
        let value = quotient(wide, 0, i256::from_i128(2), 0).unwrap();
        let expected = i256::from_string("61728394506172839450617283945061728394506173").unwrap();
        assert_eq!(value.wrapping_div(power_of_ten(32).unwrap()), expected);
    }
}
