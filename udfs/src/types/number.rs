//! Text of booleans, integers and floats, both ways. Input is bytes as the client sent them, output is appended.

use std::num::NonZero;

use lexical_core::{FormattedSize, FromLexical, ToLexical, ToLexicalWithOptions, WriteFloatOptions};

use super::{SqlType, ValueError, input_error};

/// Without PostgreSQL's white space at both ends.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let is_space = |c: &u8| matches!(c, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let start = text.iter().position(|c| !is_space(c)).unwrap_or(text.len());
    let end = text.iter().rposition(|c| !is_space(c)).map_or(start, |at| at + 1);
    &text[start..end]
}

/// A boolean: `t`, `tr`, … `true`, `yes`, `on`, `1` and their opposites, in any case.
pub(super) fn parse_bool(text: &[u8]) -> Result<bool, ValueError> {
    let word = trim(text).to_ascii_lowercase();
    let prefix_of = |whole: &str, least: usize| word.len() >= least && whole.as_bytes().starts_with(&word);
    if prefix_of("true", 1) || prefix_of("yes", 1) || prefix_of("on", 2) || word == b"1" {
        Ok(true)
    } else if prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) || word == b"0" {
        Ok(false)
    } else {
        Err(input_error("boolean", text))
    }
}

/// An integer that fits `T`; `sql_type` is for the message.
#[inline]
pub(super) fn parse_int<T: TryFrom<i64>>(text: &[u8], sql_type: &SqlType) -> Result<T, ValueError> {
    if let Some(value) = plain_int(text)
        && let Ok(value) = T::try_from(value)
    {
        return Ok(value);
    }
    parse_int_slow(text, sql_type)
}

/// Up to 18 digits with an optional minus.
#[inline]
fn plain_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for c in digits {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

#[cold]
fn parse_int_slow<T: TryFrom<i64>>(text: &[u8], sql_type: &SqlType) -> Result<T, ValueError> {
    let name = sql_type.plain_name();
    let word = trim(text);
    let digits = word.strip_prefix(b"-").or_else(|| word.strip_prefix(b"+")).unwrap_or(word);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(input_error(&name, text));
    }
    let out_of_range = || {
        ValueError::new("22003", format!("value \"{}\" is out of range for type {name}", String::from_utf8_lossy(text)))
    };
    let value = std::str::from_utf8(word).ok().and_then(|word| word.parse::<i64>().ok()).ok_or_else(out_of_range)?;
    T::try_from(value).map_err(|_| out_of_range())
}

/// oid and its kin: unsigned, and negative numbers wrap as in PostgreSQL.
pub(super) fn parse_oid(text: &[u8]) -> Result<u32, ValueError> {
    let value: i64 = match plain_int(text) {
        Some(value) => value,
        None => parse_int_slow(text, &SqlType::Oid)?,
    };
    u32::try_from(value).or_else(|_| i32::try_from(value).map(i32::cast_unsigned)).map_err(|_| {
        let text = String::from_utf8_lossy(text);
        ValueError::new("22003", format!("value \"{text}\" is out of range for type oid"))
    })
}

/// The two float types.
pub(super) trait Float:
    Copy
    + FromLexical
    + ToLexical
    + ToLexicalWithOptions<Options = WriteFloatOptions>
    + FormattedSize
    + Into<f64>
    + std::str::FromStr
{
    /// Its name in messages.
    const NAME: &'static str;
    /// Digits that every value keeps through text (DBL_DIG, FLT_DIG).
    const DIGITS: i32;
    /// Mantissa as an integer and exponent of 2: value = mantissa × 2^exponent.
    fn parts(self) -> (u64, i32);
}

impl Float for f32 {
    const NAME: &'static str = "real";
    const DIGITS: i32 = 6;
    fn parts(self) -> (u64, i32) {
        let bits = self.to_bits();
        let (fraction, exponent) = (u64::from(bits & 0x7f_ffff), i32::from((bits >> 23) as u8));
        if exponent == 0 { (fraction, -149) } else { (fraction | 0x80_0000, exponent - 150) }
    }
}

impl Float for f64 {
    const NAME: &'static str = "double precision";
    const DIGITS: i32 = 15;
    fn parts(self) -> (u64, i32) {
        let bits = self.to_bits();
        let fraction = bits & 0xf_ffff_ffff_ffff;
        let exponent = i32::try_from((bits >> 52) & 0x7ff).expect("eleven bits");
        if exponent == 0 { (fraction, -1074) } else { (fraction | 0x10_0000_0000_0000, exponent - 1075) }
    }
}

/// A float in decimal or scientific notation, `NaN`, `Infinity`, `inf`.
#[inline]
pub(super) fn parse_float<T: Float>(text: &[u8]) -> Result<T, ValueError> {
    if let Some(value) = plain_float(text)
        && let Ok(value) = value
    {
        return Ok(value);
    }
    parse_float_slow(text)
}

/// What begins and ends with a digit and is neither zero nor infinite after parsing: correct without a second look.
#[inline]
fn plain_float<T: Float>(text: &[u8]) -> Option<lexical_core::Result<T>> {
    let first = text.strip_prefix(b"-").unwrap_or(text).first()?;
    if !first.is_ascii_digit() || !text.last()?.is_ascii_digit() {
        return None;
    }
    let value = lexical_core::parse::<T>(text);
    let wide: f64 = (*value.as_ref().ok()?).into();
    (wide.is_finite() && wide != 0.0).then_some(value)
}

#[cold]
fn parse_float_slow<T: Float>(text: &[u8]) -> Result<T, ValueError> {
    let invalid = || input_error(T::NAME, text);
    let word = std::str::from_utf8(trim(text)).map_err(|_| invalid())?;
    let value: T = word.parse().map_err(|_| invalid())?;
    let wide: f64 = value.into();
    let mantissa = word.split(['e', 'E']).next().unwrap_or(word);
    let overflow = wide.is_infinite() && mantissa.contains(|c: char| c.is_ascii_digit());
    let underflow = wide == 0.0 && mantissa.contains(|c: char| matches!(c, '1'..='9'));
    if overflow || underflow {
        return Err(ValueError::new("22003", format!("\"{word}\" is out of range for type {}", T::NAME)));
    }
    Ok(value)
}

/// Appends an integer.
#[inline]
pub(super) fn write_int<T: ToLexical + FormattedSize>(value: T, out: &mut Vec<u8>) {
    let mut buffer = [0u8; 40];
    out.extend_from_slice(lexical_core::write(value, &mut buffer));
}

/// No exponent where PostgreSQL writes none.
const PLAIN_BELOW_1E15: WriteFloatOptions = WriteFloatOptions::builder()
    .positive_exponent_break(NonZero::new(15))
    .negative_exponent_break(NonZero::new(-5))
    .build_strict();

/// A cheap look at whether `even_of_tie` may have something to do: it needs an exponent of 2 that fits the places.
#[inline]
fn may_be_tie<T: Float>(text: &[u8], value: T) -> bool {
    let (mantissa, exponent) = value.parts();
    let places = text.iter().rposition(|c| *c == b'.').map_or(0, |at| text.len() - at - 1);
    let twos = exponent + 1 + i32::try_from(mantissa.trailing_zeros()).unwrap_or(0);
    i32::try_from(places).is_ok_and(|places| twos == -places)
}

/// Appends a float as PostgreSQL prints it with that `extra_float_digits`.
#[inline]
pub(super) fn write_float<T: Float>(value: T, extra_digits: i32, out: &mut Vec<u8>) {
    let wide: f64 = value.into();
    // Between these the shortest form has no exponent, neither here nor in PostgreSQL.
    let plain_max = if T::DIGITS == 6 { 1e6 } else { 1e15 };
    if extra_digits > 0 && wide.abs() >= 1e-4 && wide.abs() < plain_max {
        let mut buffer = [0u8; lexical_core::BUFFER_SIZE];
        let text = lexical_core::write_with_options::<T, { lexical_core::format::STANDARD }>(
            value,
            &mut buffer,
            &PLAIN_BELOW_1E15,
        );
        let text = text.strip_suffix(b".0").unwrap_or(text);
        if may_be_tie(text, value) {
            return write_float_slow(value, extra_digits, out);
        }
        out.extend_from_slice(text);
    } else {
        write_float_slow(value, extra_digits, out);
    }
}

#[cold]
fn write_float_slow<T: Float>(value: T, extra_digits: i32, out: &mut Vec<u8>) {
    let wide: f64 = value.into();
    if wide.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if wide.is_sign_negative() {
        out.push(b'-');
    }
    if wide.is_infinite() {
        out.extend_from_slice(b"Infinity");
        return;
    }
    if wide == 0.0 {
        out.push(b'0');
        return;
    }
    if extra_digits > 0 {
        let (digits, exponent) = shortest(value);
        write_digits(&digits, exponent, if T::DIGITS == 6 { 6 } else { 15 }, out);
    } else {
        let precision = usize::try_from((T::DIGITS + extra_digits).max(1)).expect("positive");
        let (digits, exponent) = split(&format!("{:.*e}", precision - 1, wide.abs()));
        let digits = digits.trim_end_matches('0');
        write_digits(digits, exponent, i32::try_from(precision).expect("small"), out);
    }
}

/// `%g`: without exponent if it is in -4 … below `fixed_below`.
fn write_digits(digits: &str, exponent: i32, fixed_below: i32, out: &mut Vec<u8>) {
    let digits = if digits.is_empty() { "0" } else { digits };
    let bytes = digits.as_bytes();
    if exponent < -4 || exponent >= fixed_below {
        out.push(bytes[0]);
        if bytes.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&bytes[1..]);
        }
        out.extend_from_slice(format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()).as_bytes());
    } else if let Ok(after) = usize::try_from(exponent) {
        let whole = bytes.len().min(after + 1);
        out.extend_from_slice(&bytes[..whole]);
        out.resize(out.len() + (after + 1 - whole), b'0');
        if bytes.len() > whole {
            out.push(b'.');
            out.extend_from_slice(&bytes[whole..]);
        }
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + usize::try_from(-exponent - 1).expect("exponent is negative"), b'0');
        out.extend_from_slice(bytes);
    }
}

/// The fewest digits that identify the value, and the exponent of the first one.
fn shortest<T: Float>(value: T) -> (String, i32) {
    let mut buffer = [0u8; lexical_core::BUFFER_SIZE];
    let text = lexical_core::write(value, &mut buffer);
    let text = std::str::from_utf8(text).expect("digits are ASCII").trim_start_matches('-');
    let (digits, exponent) = even_of_tie(normalized(text), value);
    if !on_boundary(&digits, exponent, value.parts()) {
        return (digits, exponent);
    }
    // Halfway to a neighbour: it reads back only by rounding to even. PostgreSQL does not rely on that.
    let wide: f64 = Into::<f64>::into(value).abs();
    for precision in digits.len()..17 {
        let (longer, exponent) = split(&format!("{wide:.precision$e}"));
        let longer = longer.trim_end_matches('0').to_owned();
        let reads_back = format!("{longer}e{}", exponent - i32::try_from(longer.len()).unwrap_or(0) + 1)
            .parse::<T>()
            .is_ok_and(|back| Into::<f64>::into(back) == wide);
        if reads_back && !on_boundary(&longer, exponent, value.parts()) {
            return (longer, exponent);
        }
    }
    (digits, exponent)
}

/// Where two shortest forms are equally near, the one that ends in an even digit.
fn even_of_tie<T: Float>((digits, exponent): (String, i32), value: T) -> (String, i32) {
    let (mantissa, exponent_of_2) = value.parts();
    let places = i32::try_from(digits.len()).unwrap_or(i32::MAX) - 1 - exponent;
    let Ok(number) = digits.parse::<u128>() else { return (digits, exponent) };
    // value = mantissa × 2^exponent_of_2 = (number ± 1/2) × 10^-places: compare twice of it, by its odd part.
    let zeros = mantissa.trailing_zeros();
    let odd = u128::from(mantissa >> zeros);
    let twos = exponent_of_2 + 1 + i32::try_from(zeros).unwrap_or(0);
    let is_half = |half: u128| {
        let five = 5u128.checked_pow(places.unsigned_abs());
        twos == -places
            && five.is_some_and(|five| {
                if places >= 0 { odd.checked_mul(five) == Some(half) } else { half.checked_mul(five) == Some(odd) }
            })
    };
    let other = if number.is_multiple_of(2) {
        return (digits, exponent);
    } else if is_half(2 * number + 1) {
        number + 1
    } else if is_half(2 * number - 1) {
        number - 1
    } else {
        return (digits, exponent);
    };
    let (other, length) = (other.to_string(), digits.len());
    if other.len() == length { (other.trim_end_matches('0').to_owned(), exponent) } else { (digits, exponent) }
}

/// Whether the decimal `digits` lies exactly between the float of these parts and a neighbour.
fn on_boundary(digits: &str, exponent: i32, (mantissa, _): (u64, i32)) -> bool {
    // digits × 10^k; equality of the odd parts suffices, as the decimal is known to round to the float.
    let k = exponent + 1 - i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let Ok(number) = digits.parse::<u128>() else { return false };
    let mantissa = u128::from(mantissa);
    // Below a power of two the neighbours are closer.
    let lower = if mantissa.is_power_of_two() { 4 * mantissa - 1 } else { 2 * mantissa - 1 };
    let halves = [2 * mantissa + 1, lower];
    let odd = |n: u128| n >> n.trailing_zeros();
    match k {
        0..=27 => {
            let five = 5u128.pow(k.unsigned_abs());
            number.checked_mul(five).is_some_and(|number| halves.contains(&odd(number)))
        }
        -27..=-1 => {
            let five = 5u128.pow(k.unsigned_abs());
            halves.iter().any(|half| half.checked_mul(five) == Some(odd(number)))
        }
        _ => false,
    }
}

/// Digits and exponent of Rust's `1.25e-7`.
fn split(scientific: &str) -> (String, i32) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    (mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

/// Digits without zeros at either end, and the exponent of the first, of any decimal notation.
fn normalized(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let leading = i32::try_from(all.len() - digits.len()).unwrap_or(0);
    let point = i32::try_from(whole.len()).unwrap_or(0);
    (digits.trim_end_matches('0').to_owned(), exponent + point - 1 - leading)
}
