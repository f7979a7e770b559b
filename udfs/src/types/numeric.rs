//! numeric: text and binary of Decimal128 and Decimal256, both ways.
//!
//! A value is an integer times 10^-scale. PostgreSQL's binary form is base 10000: number of digits, weight of the first,
//! sign, scale to display, digits; each sixteen bits.

use arrow::datatypes::i256;

use super::number::{trim, write_int};
use super::quotient::shown_digits;
use super::{ValueError, input_error};

/// 10^n for what an u128 holds.
const fn powers() -> [u128; 39] {
    let mut powers = [1u128; 39];
    let mut n = 1;
    while n < 39 {
        powers[n] = powers[n - 1] * 10;
        n += 1;
    }
    powers
}

/// 10^0 … 10^38.
const POWERS: [u128; 39] = powers();

/// Where a decimal goes: how many digits, how many of them fractional, and whether rounding to it is allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// Digits in all, at most 38.
    pub precision: u8,
    /// Fractional digits, 0 … precision.
    pub scale: i8,
    /// Unconstrained numeric: a value that does not fit exactly is refused, not rounded.
    pub exact: bool,
}

impl Target {
    fn scale(self) -> usize {
        usize::try_from(self.scale).unwrap_or(0)
    }

    fn limit(self) -> u128 {
        POWERS[usize::from(self.precision.min(38))]
    }

    fn overflow(self, text: &[u8]) -> ValueError {
        if self.exact {
            let text = String::from_utf8_lossy(text);
            let mut error = ValueError::new("22003", format!("value \"{text}\" does not fit type numeric"));
            error.detail = Some("numeric without precision holds 22 digits before and 16 after the point.".into());
            error.hint = Some("Declare a precision and scale of up to 38 digits, such as numeric(38,20).".into());
            return error;
        }
        let digits = i16::from(self.precision) - i16::from(self.scale);
        let bound = if digits == 0 { "1".to_owned() } else { format!("10^{digits}") };
        let mut error = ValueError::new("22003", "numeric field overflow");
        error.detail = Some(format!(
            "A field with precision {}, scale {} must round to an absolute value less than {bound}.",
            self.precision, self.scale
        ));
        error
    }
}

/// The integer of a numeric's text at the target's scale, rounded half away from zero.
#[inline]
pub(super) fn parse_numeric(text: &[u8], target: Target) -> Result<i128, ValueError> {
    match parse_plain(text, target) {
        Some(value) => Ok(value),
        None => parse_any(text, target),
    }
}

/// `-12.50`: at most 18 digits, no more fractional ones than the target has.
#[inline]
fn parse_plain(text: &[u8], target: Target) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.len() > 19 || target.precision > 38 {
        return None;
    }
    let mut value = 0u64;
    let mut point = None;
    for (at, c) in digits.iter().enumerate() {
        let digit = c.wrapping_sub(b'0');
        if digit <= 9 {
            value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
        } else if *c == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    let fraction = point.map_or(0, |at| digits.len() - at - 1);
    if digits.len() - usize::from(point.is_some()) == 0 || fraction > target.scale() {
        return None;
    }
    let value = u128::from(value).checked_mul(POWERS[target.scale() - fraction])?;
    let value = i128::try_from(value).ok().filter(|_| value < target.limit())?;
    Some(if negative { -value } else { value })
}

#[cold]
fn parse_any(text: &[u8], target: Target) -> Result<i128, ValueError> {
    let number = Decimal::parse(text)?;
    number.to_scale(target).ok_or_else(|| target.overflow(trim(text)))
}

/// Digits without leading zeros, and where the point is: 0.digits × 10^point.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

impl Decimal {
    fn parse(text: &[u8]) -> Result<Self, ValueError> {
        let invalid = || input_error("numeric", text);
        let word = trim(text);
        let (negative, rest) = match word {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let lower = rest.to_ascii_lowercase();
        if matches!(lower.as_slice(), b"nan" | b"infinity" | b"inf") {
            let mut error = ValueError::new("0A000", "numeric NaN and infinity are not supported");
            error.hint = Some("Use type double precision.".into());
            return Err(error);
        }
        let (mantissa, exponent) = match lower.iter().position(|c| *c == b'e') {
            Some(at) => (&lower[..at], parse_exponent(&lower[at + 1..]).ok_or_else(invalid)??),
            None => (lower.as_slice(), 0),
        };
        let mut digits = Vec::with_capacity(mantissa.len());
        let mut point = None;
        for c in mantissa {
            match c {
                b'0'..=b'9' => digits.push(*c),
                b'.' if point.is_none() => point = Some(digits.len()),
                _ => return Err(invalid()),
            }
        }
        if digits.is_empty() {
            return Err(invalid());
        }
        let point = i64::try_from(point.unwrap_or(digits.len())).map_err(|_| invalid())?;
        let zeros = digits.iter().take_while(|c| **c == b'0').count();
        digits.drain(..zeros);
        let zeros = i64::try_from(zeros).map_err(|_| invalid())?;
        Ok(Self { negative, digits, point: point - zeros + exponent })
    }

    /// `None` if it does not fit.
    fn to_scale(&self, target: Target) -> Option<i128> {
        // Digits to keep: those before the point, and `scale` behind it.
        let keep = self.point + i64::from(target.scale);
        let given = i64::try_from(self.digits.len()).ok()?;
        if self.digits.is_empty() || (keep < 0 && !target.exact) {
            return Some(0);
        }
        if target.exact && self.digits.iter().skip(usize::try_from(keep).unwrap_or(0)).any(|c| *c != b'0') {
            return None;
        }
        if keep > 39 {
            return None;
        }
        let kept = usize::try_from(keep.min(given).max(0)).ok()?;
        let mut value = 0u128;
        for c in &self.digits[..kept] {
            value = value.checked_mul(10)?.checked_add(u128::from(c - b'0'))?;
        }
        if keep > given {
            value = value.checked_mul(*POWERS.get(usize::try_from(keep - given).ok()?)?)?;
        } else if self.digits.get(kept).is_some_and(|c| *c >= b'5') {
            value += 1;
        }
        let signed = i128::try_from(value).ok().filter(|_| value < target.limit())?;
        Some(if self.negative { -signed } else { signed })
    }
}

/// `None`: no number.
fn parse_exponent(text: &[u8]) -> Option<Result<i64, ValueError>> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // PostgreSQL's limit is INT_MAX / 2.
    let value: Option<i64> = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    Some(match value.filter(|value| *value <= i64::from(i32::MAX / 2)) {
        Some(value) => Ok(if text[0] == b'-' { -value } else { value }),
        None => Err(ValueError::new("22003", "value overflows numeric format")),
    })
}

/// Canonical text of a JSON number inside jsonb: what numeric prints, of any size up to PostgreSQL's limits.
pub(super) fn canonical_number(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let overflow = || ValueError::new("22003", "value overflows numeric format");
    let number = Decimal::parse(text)?;
    let (mantissa, exponent) = match text.iter().position(|c| matches!(c, b'e' | b'E')) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..]).ok_or_else(overflow)??),
        None => (text, 0),
    };
    let written = mantissa.iter().position(|c| *c == b'.').map_or(0, |at| mantissa.len() - at - 1);
    // Digits shown behind the point: those written, moved by the exponent.
    let shown = (i64::try_from(written).map_err(|_| overflow())? - exponent).max(0);
    if number.point > 131_072 || shown > 16_383 {
        return Err(overflow());
    }
    if number.negative && !number.digits.is_empty() {
        out.push(b'-');
    }
    let digit = |at: i64| usize::try_from(at).ok().and_then(|at| number.digits.get(at)).copied().unwrap_or(b'0');
    if number.point <= 0 || number.digits.is_empty() {
        out.push(b'0');
    } else {
        out.extend((0..number.point).map(digit));
    }
    if shown > 0 {
        out.push(b'.');
        let start = if number.digits.is_empty() { 0 } else { number.point };
        out.extend((start..start + shown).map(digit));
    }
    Ok(())
}

/// Which digits after the point are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// As many as the type's scale.
    All,
    /// Without zeros at the end.
    Trimmed,
    /// As many as a division gives: see [`super::quotient`].
    Significant,
}

/// Appends a Decimal128's text; `trimmed`: without zeros at the end of the fraction.
#[inline]
pub(super) fn write_numeric(value: i128, scale: i8, trimmed: bool, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let mut buffer = [0u8; 40];
    let digits = match u64::try_from(value.unsigned_abs()) {
        Ok(small) => lexical_core::write(small, &mut buffer),
        Err(_) => lexical_core::write(value.unsigned_abs(), &mut buffer),
    };
    write_scaled(digits, scale, trimmed, out);
}

/// As [`write_numeric`], of a Decimal256.
pub(super) fn write_numeric256(value: i256, scale: i8, shown: Shown, out: &mut Vec<u8>) {
    if shown == Shown::Significant {
        let digits = shown_digits(value, scale);
        let factor = i256::from_i128(10).wrapping_pow(u32::from((scale - digits).unsigned_abs()));
        return write_numeric256(value.wrapping_div(factor), digits, Shown::All, out);
    }
    let text = value.to_string();
    let digits = text.strip_prefix('-').unwrap_or(&text);
    if digits.len() < text.len() {
        out.push(b'-');
    }
    write_scaled(digits.as_bytes(), scale, shown == Shown::Trimmed, out);
}

fn write_scaled(digits: &[u8], scale: i8, trimmed: bool, out: &mut Vec<u8>) {
    let Ok(scale) = usize::try_from(scale) else {
        out.extend_from_slice(digits);
        if digits != b"0" {
            out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0');
        }
        return;
    };
    if digits.len() > scale {
        out.extend_from_slice(&digits[..digits.len() - scale]);
    } else {
        out.push(b'0');
    }
    if scale == 0 {
        return;
    }
    let point = out.len();
    out.push(b'.');
    out.resize(out.len() + scale.saturating_sub(digits.len()), b'0');
    out.extend_from_slice(&digits[digits.len().saturating_sub(scale)..]);
    if trimmed {
        while out.last() == Some(&b'0') {
            out.pop();
        }
        if out.len() == point + 1 {
            out.pop();
        }
    }
}

const NEGATIVE: u16 = 0x4000;

/// Appends a Decimal128's binary form.
pub(super) fn write_numeric_binary(value: i128, scale: i8, trimmed: bool, out: &mut Vec<u8>) {
    let Ok(scale) = usize::try_from(scale) else {
        let mut text = vec![];
        write_numeric(value, scale, trimmed, &mut text);
        return write_text_as_binary(&text, out);
    };
    if scale > 38 {
        let mut text = vec![];
        write_numeric(value, i8::try_from(scale).unwrap_or(0), trimmed, &mut text);
        return write_text_as_binary(&text, out);
    }
    let whole = value.unsigned_abs() / POWERS[scale];
    let mut fraction = value.unsigned_abs() % POWERS[scale];
    let mut shown = scale;
    if trimmed {
        while shown > 0 && fraction.is_multiple_of(10) {
            fraction /= 10;
            shown -= 1;
        }
    }
    // Groups of the fraction from the right; the last one is filled up with zeros.
    let mut groups = [0u16; 24];
    let mut first = groups.len();
    let mut push = |group: u128| {
        first -= 1;
        groups[first] = u16::try_from(group).expect("below 10000");
    };
    let fraction_groups = shown.div_ceil(4);
    let odd = shown % 4;
    if odd > 0 {
        push(fraction % POWERS[odd] * POWERS[4 - odd]);
        fraction /= POWERS[odd];
    }
    for _ in 0..shown / 4 {
        push(fraction % 10_000);
        fraction /= 10_000;
    }
    let mut rest = whole;
    while rest > 0 {
        push(rest % 10_000);
        rest /= 10_000;
    }
    write_groups(&groups[first..], fraction_groups, value < 0, shown, out);
}

/// As [`write_numeric_binary`], of a Decimal256.
pub(super) fn write_numeric256_binary(value: i256, scale: i8, shown: Shown, out: &mut Vec<u8>) {
    let mut text = vec![];
    write_numeric256(value, scale, shown, &mut text);
    write_text_as_binary(&text, out);
}

fn write_text_as_binary(text: &[u8], out: &mut Vec<u8>) {
    let negative = text.first() == Some(&b'-');
    let digits = &text[usize::from(negative)..];
    let point = digits.iter().position(|c| *c == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..point], &digits[(point + 1).min(digits.len())..]);
    let number = |group: &[u8], width: usize| {
        let value = group.iter().fold(0u16, |value, c| value * 10 + u16::from(c - b'0'));
        (group.len()..width).fold(value, |value, _| value * 10)
    };
    let (head, rest) = whole.split_at(whole.len() % 4);
    let mut groups = vec![];
    if !head.is_empty() {
        groups.push(number(head, 0));
    }
    groups.extend(rest.chunks(4).map(|group| number(group, 0)));
    groups.extend(fraction.chunks(4).map(|group| number(group, 4)));
    write_groups(&groups, fraction.len().div_ceil(4), negative, fraction.len(), out);
}

/// `groups`: the digits; the last `fraction` of them are behind the point.
fn write_groups(groups: &[u16], fraction: usize, negative: bool, shown: usize, out: &mut Vec<u8>) {
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let digits = &groups[leading..];
    let trailing = digits.iter().rev().take_while(|group| **group == 0).count();
    let small = |n: usize| i16::try_from(n).expect("at most 76 digits");
    let weight = if digits.is_empty() { 0 } else { small(digits.len()) - small(fraction) - 1 };
    let digits = &digits[..digits.len() - trailing];
    out.extend_from_slice(&small(digits.len()).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&(if negative && !digits.is_empty() { NEGATIVE } else { 0 }).to_be_bytes());
    out.extend_from_slice(&small(shown).to_be_bytes());
    for digit in digits {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

/// The text of a binary numeric: `None` if it is malformed.
pub(super) fn binary_to_text(bytes: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| Some(i16::from_be_bytes([*bytes.get(2 * at)?, *bytes.get(2 * at + 1)?]));
    let (count, weight, sign, shown) = (word(0)?, word(1)?, word(2)?.cast_unsigned(), word(3)?);
    match sign {
        0 | NEGATIVE => {}
        0xC000 => return Some(b"NaN".to_vec()),
        0xD000 => return Some(b"Infinity".to_vec()),
        0xF000 => return Some(b"-Infinity".to_vec()),
        _ => return None,
    }
    let count = usize::try_from(count).ok()?;
    if bytes.len() != 8 + 2 * count || shown < 0 {
        return None;
    }
    let mut text = vec![];
    if sign == NEGATIVE {
        text.push(b'-');
    }
    text.push(b'0');
    for at in 0..count {
        let digit = word(4 + at)?;
        if !(0..10_000).contains(&digit) {
            return None;
        }
        text.extend_from_slice(format!("{digit:04}").as_bytes());
    }
    // The integer of all digits, times 10000^(weight + 1 - count).
    let exponent = 4 * (i64::from(weight) + 1 - i64::try_from(count).ok()?);
    text.push(b'e');
    write_int(exponent, &mut text);
    Some(text)
}
