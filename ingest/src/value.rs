//! Values between a decoder, which knows how they are written, and the rows, which know what they become.

/// A piece of text: of the document, or of the row's scratch buffer where it had to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// In the scratch buffer.
    pub(crate) changed: bool,
}

/// A value as the document has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    /// A string.
    Text(Span),
    /// A text that may stand for a value of any type (CSV).
    Untyped(Span),
    /// A valid JSON array or object.
    Array(Span),
    /// See `Array`.
    Object(Span),
    /// Microseconds since 1970 in UTC.
    Instant(i64),
}

/// A number in JSON's notation, and what reading its digits told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    /// Its text.
    pub(crate) span: Span,
    /// All digits as one integer, if `digits` is at most 18.
    pub(crate) mantissa: u64,
    /// Digits, without zeros at the beginning.
    pub(crate) digits: u32,
    /// Those of them behind the point.
    pub(crate) fraction: u32,
    pub(crate) negative: bool,
    /// There is a point or an exponent.
    pub(crate) is_float: bool,
    pub(crate) has_exponent: bool,
}

/// The most digits that always fit 64 bits with a sign.
const DIGITS_EXACT: u32 = 18;

/// The most digits that a double always keeps (DBL_DIG).
const DIGITS_KEPT: u32 = 15;

/// Powers of ten that are doubles without rounding.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

impl Number {
    /// An integer of at most 18 digits.
    #[inline]
    pub(crate) fn small_integer(&self) -> Option<i64> {
        if self.is_float || self.digits > DIGITS_EXACT {
            return None;
        }
        let value = i64::try_from(self.mantissa).ok()?;
        Some(if self.negative { -value } else { value })
    }

    /// The double it is, where one multiplication or division of exact doubles gives it (Clinger's fast path).
    #[inline]
    pub(crate) fn small_float(&self) -> Option<f64> {
        if self.has_exponent || self.digits > DIGITS_KEPT {
            return None;
        }
        let power = POWERS.get(usize::try_from(self.fraction).ok()?)?;
        // At most 15 digits: 53 bits hold them.
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
        let value = self.mantissa as f64 / power;
        Some(if self.negative { -value } else { value })
    }
}

/// Whether the nearest double to a decimal, printed in the fewest digits, is the same decimal.
pub(crate) fn float_keeps(text: &str) -> bool {
    let Ok(value) = text.parse::<f64>() else { return false };
    value.is_finite() && decimal(text) == decimal(&format!("{value:e}"))
}

/// As [`float_keeps`], of a real.
pub(crate) fn real_keeps(text: &str) -> bool {
    let Ok(value) = text.parse::<f32>() else { return false };
    value.is_finite() && decimal(text) == decimal(&format!("{value:e}"))
}

/// Significant digits, and the exponent of ten that the point before them has; zero has none.
fn decimal(text: &str) -> Option<(String, i64)> {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    if digits.is_empty() {
        return None;
    }
    let zeros = all.len() - digits.len();
    let point = i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()?;
    Some((digits.trim_end_matches('0').to_owned(), point.saturating_add(exponent.parse().unwrap_or(i64::MAX / 4))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_that_keep_a_decimal() {
        let cases = [
            ("0", true),
            ("-0.0", true),
            ("0.1", true),
            ("100", true),
            ("1e22", true),
            ("1e23", true),
            ("0.30000000000000004", true),
            ("0.300000000000000040", true),
            ("0.3000000000000000444", false),
            ("9007199254740993", false),
            ("9007199254740992", true),
            ("123456789012345678", false),
            ("1e400", false),
            ("1e-400", false),
            ("5e-324", true),
            ("1.7976931348623157e308", true),
        ];
        for (text, expected) in cases {
            assert_eq!(float_keeps(text), expected, "{text}");
        }
        assert!(real_keeps("0.1") && real_keeps("16777216") && !real_keeps("0.123456789") && !real_keeps("1e39"));
    }
}
