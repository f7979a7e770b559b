//! Decimal arithmetic on what numeric is in the engine: up to 38 digits and a scale.

use std::cmp::Ordering;
use std::fmt;

use arrow::datatypes::i256;

use super::call::{Value, fail};

/// The most digits a numeric has.
pub(crate) const DIGITS_MAX: u8 = 38;
/// The scale of a numeric without a declared one.
pub(crate) const SCALE_DEFAULT: i8 = 16;

/// value × 10^-scale
#[derive(Debug, Clone, Copy)]
pub(crate) struct Num {
    pub(crate) value: i128,
    pub(crate) scale: i8,
}

/// 10^n for n ≤ 38.
pub(crate) fn power_of_ten(n: u32) -> i128 {
    10i128.pow(n)
}

fn overflow<T>() -> Value<T> {
    fail("22003", "value overflows numeric format")
}

fn wide(n: i128) -> i256 {
    i256::from_i128(n)
}

/// 10^n as 256 bits, for n ≤ 76.
fn wide_power(n: u32) -> Option<i256> {
    if n > 76 { None } else { Some(i256::from_i128(10).wrapping_pow(n)) }
}

/// a / b rounded half away from zero; b > 0.
fn divide_rounded(a: i256, b: i256) -> Option<i256> {
    let quotient = a.checked_div(b)?;
    let rest = a.checked_sub(quotient.checked_mul(b)?)?;
    let rest = if rest < i256::ZERO { rest.checked_neg()? } else { rest };
    let up = rest >= b.checked_sub(rest)?;
    match (up, a < i256::ZERO) {
        (false, _) => Some(quotient),
        (true, false) => quotient.checked_add(i256::ONE),
        (true, true) => quotient.checked_sub(i256::ONE),
    }
}

impl Num {
    pub(crate) const fn new(value: i128, scale: i8) -> Self {
        Self { value, scale }
    }

    /// The same number with another scale, rounded half away from zero.
    pub(crate) fn rescale(self, scale: i8) -> Value<Self> {
        let by = i32::from(scale) - i32::from(self.scale);
        let value = match by.cmp(&0) {
            Ordering::Equal => return Ok(self),
            Ordering::Greater => wide_power(by.unsigned_abs()).and_then(|p| wide(self.value).checked_mul(p)),
            Ordering::Less => match wide_power(by.unsigned_abs()) {
                Some(power) => divide_rounded(wide(self.value), power),
                None => Some(i256::ZERO),
            },
        };
        match value.and_then(i256::to_i128) {
            Some(value) => Ok(Self { value, scale }),
            None if self.value == 0 => Ok(Self { value: 0, scale }),
            None => overflow(),
        }
    }

    /// The value for a column of that precision and scale.
    pub(crate) fn fit(self, precision: u8, scale: i8) -> Value<i128> {
        let value = self.rescale(scale)?.value;
        if precision >= DIGITS_MAX || value.unsigned_abs() < power_of_ten(u32::from(precision)).unsigned_abs() {
            return if value.unsigned_abs() < 10u128.pow(38) { Ok(value) } else { overflow() };
        }
        overflow()
    }

    /// Rounded to that many decimals (negative: to tens, hundreds, …); the result's scale is never negative.
    pub(crate) fn round(self, decimals: i32) -> Value<Self> {
        let decimals = decimals.clamp(-76, 76);
        if decimals >= i32::from(self.scale) {
            return Ok(self);
        }
        let power = wide_power((i32::from(self.scale) - decimals).unsigned_abs());
        let rounded = power.and_then(|power| divide_rounded(wide(self.value), power)).unwrap_or(i256::ZERO);
        Self::shifted(rounded, decimals)
    }

    /// Cut to that many decimals.
    pub(crate) fn trunc(self, decimals: i32) -> Value<Self> {
        let decimals = decimals.clamp(-76, 76);
        if decimals >= i32::from(self.scale) {
            return Ok(self);
        }
        let power = wide_power((i32::from(self.scale) - decimals).unsigned_abs());
        let cut = power.and_then(|power| wide(self.value).checked_div(power)).unwrap_or(i256::ZERO);
        Self::shifted(cut, decimals)
    }

    /// value × 10^-decimals with a scale of at least 0.
    fn shifted(value: i256, decimals: i32) -> Value<Self> {
        let value = match decimals < 0 {
            true => wide_power(decimals.unsigned_abs()).and_then(|power| value.checked_mul(power)),
            false => Some(value),
        };
        match value.and_then(i256::to_i128) {
            Some(value) => Ok(Self { value, scale: i8::try_from(decimals.max(0)).unwrap_or(SCALE_DEFAULT) }),
            None if value == Some(i256::ZERO) => Ok(Self { value: 0, scale: 0 }),
            None => overflow(),
        }
    }

    /// The largest integer not above.
    pub(crate) fn floor(self) -> Value<Self> {
        let cut = self.trunc(0)?;
        Ok(if self.value < 0 && cut.cmp(&self) != Ordering::Equal { Self::new(cut.value - 1, 0) } else { cut })
    }

    /// The smallest integer not below.
    pub(crate) fn ceil(self) -> Value<Self> {
        let cut = self.trunc(0)?;
        Ok(if self.value > 0 && cut.cmp(&self) != Ordering::Equal { Self::new(cut.value + 1, 0) } else { cut })
    }

    /// Both with the larger scale, as wide integers.
    fn align(self, other: Self) -> Option<(i256, i256, i8)> {
        let scale = self.scale.max(other.scale);
        let lift = |n: Self| {
            let by = u32::try_from(i32::from(scale) - i32::from(n.scale)).ok()?;
            wide(n.value).checked_mul(wide_power(by)?)
        };
        Some((lift(self)?, lift(other)?, scale))
    }

    fn narrow(value: Option<i256>, scale: i8) -> Value<Self> {
        match value.and_then(i256::to_i128) {
            Some(value) => Ok(Self { value, scale }),
            None => overflow(),
        }
    }

    /// a × b, with the scales' sum, cut to what fits.
    pub(crate) fn multiply(self, other: Self) -> Value<Self> {
        let product = wide(self.value).checked_mul(wide(other.value));
        let scale = i32::from(self.scale) + i32::from(other.scale);
        let Some(mut product) = product else { return overflow() };
        let mut scale = scale;
        while scale > 0 && product.to_i128().is_none_or(|p| p.unsigned_abs() >= 10u128.pow(38)) {
            product = match divide_rounded(product, wide(10)) {
                Some(product) => product,
                None => return overflow(),
            };
            scale -= 1;
        }
        Self::narrow(Some(product), i8::try_from(scale).unwrap_or(SCALE_DEFAULT))
    }

    /// a + b
    pub(crate) fn add(self, other: Self) -> Value<Self> {
        match self.align(other) {
            Some((a, b, scale)) => Self::narrow(a.checked_add(b), scale),
            None => overflow(),
        }
    }

    /// a / b, rounded to that many decimals.
    ///
    /// # Errors
    /// 22012
    pub(crate) fn divide(self, other: Self, scale: i8) -> Value<Self> {
        if other.value == 0 {
            return fail("22012", "division by zero");
        }
        let by = i32::from(scale) - i32::from(self.scale) + i32::from(other.scale);
        let (mut a, mut b) = (wide(self.value), wide(other.value));
        let power = wide_power(by.unsigned_abs());
        match (by >= 0, power) {
            (true, Some(power)) => a = a.checked_mul(power).unwrap_or(i256::MAX),
            (false, Some(power)) => b = b.checked_mul(power).unwrap_or(i256::MAX),
            (_, None) => return overflow(),
        }
        if b < i256::ZERO {
            (a, b) = (a.wrapping_neg(), b.wrapping_neg());
        }
        Self::narrow(divide_rounded(a, b), scale)
    }

    /// a / b without decimals.
    pub(crate) fn divide_whole(self, other: Self) -> Value<Self> {
        if other.value == 0 {
            return fail("22012", "division by zero");
        }
        match self.align(other) {
            Some((a, b, _)) => Self::narrow(a.checked_div(b), 0),
            None => overflow(),
        }
    }

    /// The rest of a / b, with a's sign.
    pub(crate) fn remainder(self, other: Self) -> Value<Self> {
        if other.value == 0 {
            return fail("22012", "division by zero");
        }
        match self.align(other) {
            Some((a, b, scale)) => Self::narrow(a.checked_rem(b), scale),
            None => overflow(),
        }
    }

    /// The nearest double.
    pub(crate) fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// A double to its 15 significant digits, as a cast to numeric takes it.
    pub(crate) fn from_f64(value: f64) -> Value<Self> {
        if value.is_nan() || value.is_infinite() {
            return fail(
                "22003",
                format!("cannot convert {} to numeric", if value.is_nan() { "NaN" } else { "infinity" }),
            );
        }
        match Self::parse(&format!("{value:.14e}")) {
            Some(number) => Ok(number.trim()),
            None => overflow(),
        }
    }

    /// Reads digits with an optional sign, point and exponent. `None`: not a number, or too large.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.as_bytes().first()? {
            b'-' => (true, &mantissa[1..]),
            b'+' => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut value = 0i128;
        let mut scale = 0i32;
        let mut full = false;
        for (index, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
            if !digit.is_ascii_digit() {
                return None;
            }
            let decimal = index >= whole.len();
            let next = value.checked_mul(10).and_then(|v| v.checked_add(i128::from(digit - b'0')));
            match next.filter(|v| v.unsigned_abs() < 10u128.pow(38) && !full) {
                Some(next) => {
                    value = next;
                    scale += i32::from(decimal);
                }
                // Digits behind the 38th are dropped if they are decimals.
                None if decimal || exponent < 0 => full = true,
                None => return None,
            }
        }
        let mut number = Self::new(if negative { -value } else { value }, i8::try_from(scale).ok()?);
        let scale = scale - exponent;
        if scale < 0 {
            number.scale = 0;
            number.value = wide_power(scale.unsigned_abs())
                .and_then(|p| wide(number.value).checked_mul(p))
                .and_then(i256::to_i128)
                .or((number.value == 0).then_some(0))?;
        } else if scale > 76 {
            number = Self::new(0, SCALE_DEFAULT);
        } else {
            number.scale = i8::try_from(scale).ok()?;
        }
        Some(number)
    }

    /// Without trailing zeros behind the point.
    pub(crate) fn trim(mut self) -> Self {
        while self.scale > 0 && self.value % 10 == 0 {
            self.value /= 10;
            self.scale -= 1;
        }
        self
    }

    /// As a 64-bit integer, rounded.
    pub(crate) fn to_i64(self) -> Value<i64> {
        match i64::try_from(self.rescale(0)?.value) {
            Ok(value) => Ok(value),
            Err(_) => fail("22003", "bigint out of range"),
        }
    }

    /// Numeric order.
    pub(crate) fn cmp(&self, other: &Self) -> Ordering {
        match self.align(*other) {
            Some((a, b, _)) => a.cmp(&b),
            None => self.value.cmp(&other.value),
        }
    }
}

impl From<i64> for Num {
    fn from(value: i64) -> Self {
        Self::new(i128::from(value), 0)
    }
}

impl fmt::Display for Num {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.value.unsigned_abs().to_string();
        if self.value < 0 {
            f.write_str("-")?;
        }
        let scale = usize::try_from(self.scale).unwrap_or(0);
        if scale == 0 {
            f.write_str(&digits)?;
            return match self.scale.cmp(&0) {
                Ordering::Less if self.value != 0 => f.write_str(&"0".repeat(usize::from(self.scale.unsigned_abs()))),
                _ => Ok(()),
            };
        }
        if digits.len() > scale {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            write!(f, "{whole}.{fraction}")
        } else {
            write!(f, "0.{digits:0>scale$}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_half_away_from_zero() {
        for (text, decimals, round, trunc) in [
            ("2.5", 0, "3", "2"),
            ("-2.5", 0, "-3", "-2"),
            ("1.2345", 2, "1.23", "1.23"),
            ("-1.235", 2, "-1.24", "-1.23"),
            ("1551", -2, "1600", "1500"),
            ("49", -2, "0", "0"),
            ("1.5", 4, "1.5", "1.5"),
        ] {
            let number = Num::parse(text).expect("a number");
            assert_eq!(number.round(decimals).expect("fits").to_string(), round, "round({text}, {decimals})");
            assert_eq!(number.trunc(decimals).expect("fits").to_string(), trunc, "trunc({text}, {decimals})");
        }
    }

    #[test]
    fn reads_and_prints() {
        for (text, printed) in
            [("1e3", "1000"), ("-1.50", "-1.50"), ("12.5e-3", "0.0125"), (".5", "0.5"), ("0", "0"), ("-0.0", "0.0")]
        {
            assert_eq!(Num::parse(text).expect("a number").to_string(), printed);
        }
        for text in ["", ".", "a", "1e", "1e40", "--1"] {
            assert!(Num::parse(text).is_none(), "{text:?} is not a number");
        }
        assert_eq!(Num::from_f64(0.1 + 0.2).expect("fits").to_string(), "0.3");
    }
}
