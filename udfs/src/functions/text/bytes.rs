//! bytea: encodings, character sets, bytes and bits.

use super::super::call::{Value, fail};
use super::super::define::{Function, def};
use crate::types::ValueError;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Lines of base64 are that long.
const LINE: usize = 76;

/// See `substr`.
pub(crate) fn substring(bytes: &[u8], from: i32, length: Option<i32>) -> Value<Vec<u8>> {
    let from = i64::from(from);
    let end = match length {
        Some(length) if length < 0 => return fail("22011", "negative substring length not allowed"),
        Some(length) => from + i64::from(length),
        None => i64::MAX,
    };
    let at = |position: i64| usize::try_from(position.max(1) - 1).unwrap_or(usize::MAX).min(bytes.len());
    Ok(bytes.get(at(from)..at(end)).unwrap_or_default().to_vec())
}

/// See `overlay`.
pub(crate) fn overlay(bytes: &[u8], new: &[u8], from: i32, length: Option<i32>) -> Value<Vec<u8>> {
    if from <= 0 {
        return fail("22011", "negative substring length not allowed");
    }
    let length = length.unwrap_or(i32::try_from(new.len()).unwrap_or(i32::MAX));
    let Some(after) = from.checked_add(length) else { return fail("22003", "integer out of range") };
    let mut out = substring(bytes, 1, Some(from - 1))?;
    out.extend_from_slice(new);
    out.extend(substring(bytes, after, None)?);
    Ok(out)
}

/// See `btrim`.
pub(crate) fn trim(bytes: &[u8], drop: &[u8], start: bool, end: bool) -> Vec<u8> {
    let keep = |byte: &u8| !drop.contains(byte);
    let from = if start { bytes.iter().position(keep).unwrap_or(bytes.len()) } else { 0 };
    let to = if end { bytes.iter().rposition(keep).map_or(from, |at| at + 1) } else { bytes.len() };
    bytes.get(from..to).unwrap_or_default().to_vec()
}

fn encode(bytes: &[u8], format: &str) -> Value<String> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => Ok(bytes.iter().map(|b| format!("{b:02x}")).collect()),
        "base64" => Ok(base64(bytes)),
        "escape" => Ok(escape(bytes)),
        _ => fail("22023", format!("unrecognized encoding: \"{format}\"")),
    }
}

fn decode(text: &str, format: &str) -> Value<Vec<u8>> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => from_hex(text),
        "base64" => from_base64(text),
        "escape" => from_escape(text),
        _ => fail("22023", format!("unrecognized encoding: \"{format}\"")),
    }
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() / 3 * 4 + 4);
    let mut column = 0;
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (index, b)| word | u32::from(*b) << (16 - 8 * index));
        if column == LINE {
            out.push('\n');
            column = 0;
        }
        for digit in 0..4 {
            let sextet = (word >> (18 - 6 * digit)) & 63;
            out.push(if digit > chunk.len() { '=' } else { char::from(BASE64[sextet as usize]) });
        }
        column += 4;
    }
    if column == LINE {
        out.push('\n');
    }
    out
}

fn from_base64(text: &str) -> Value<Vec<u8>> {
    let corrupt = |message: &str| {
        let mut error = ValueError::new("22023", message);
        error.hint = Some("Input data is missing padding, is truncated, or is otherwise corrupted.".into());
        error
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut digits, mut padding) = (0u32, 0, 0);
    for character in text.chars() {
        match character {
            ' ' | '\t' | '\n' | '\r' => continue,
            '=' => {
                if digits < 2 {
                    return fail("22023", "unexpected \"=\" while decoding base64 sequence");
                }
                padding += 1;
                word <<= 6;
            }
            _ => {
                let value = u8::try_from(character).ok().and_then(|b| BASE64.iter().position(|digit| *digit == b));
                let Some(value) = value else {
                    return fail(
                        "22023",
                        format!("invalid symbol \"{character}\" found while decoding base64 sequence"),
                    );
                };
                word = word << 6 | u32::try_from(value).unwrap_or(0);
            }
        }
        digits += 1;
        if digits == 4 {
            let bytes = word.to_be_bytes();
            out.extend_from_slice(&bytes[1..4 - padding.min(2)]);
            (word, digits, padding) = (0, 0, 0);
        }
    }
    if digits == 0 { Ok(out) } else { Err(corrupt("invalid base64 end sequence")) }
}

fn from_hex(text: &str) -> Value<Vec<u8>> {
    let mut digits = vec![];
    for character in text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\n' | '\r')) {
        match character.to_digit(16) {
            Some(digit) => digits.push(u8::try_from(digit).unwrap_or(0)),
            None => return fail("22023", format!("invalid hexadecimal digit: \"{character}\"")),
        }
    }
    if !digits.len().is_multiple_of(2) {
        return fail("22023", "invalid hexadecimal data: odd number of digits");
    }
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Zero and bytes above 127 as `\nnn`, backslashes doubled.
fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            0 | 128.. => out.push_str(&format!("\\{byte:03o}")),
            byte => out.push(char::from(*byte)),
        }
    }
    out
}

fn from_escape(text: &str) -> Value<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        match bytes.get(at + 1..) {
            Some([b'\\', ..]) => {
                out.push(b'\\');
                at += 2;
            }
            Some([a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                at += 4;
            }
            _ => return fail("22P02", "invalid input syntax for type bytea"),
        }
    }
    Ok(out)
}

/// The character sets that are known: UTF8 and the two that are its first code points.
#[derive(Clone, Copy, PartialEq)]
enum Charset {
    Utf8,
    Latin1,
    Ascii,
}

fn charset(name: &str, role: &str) -> Value<Charset> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    match plain.as_str() {
        "utf8" | "unicode" => Ok(Charset::Utf8),
        "latin1" | "iso88591" => Ok(Charset::Latin1),
        "sqlascii" => Ok(Charset::Ascii),
        _ => fail("22023", format!("invalid {role} encoding name \"{name}\"")),
    }
}

/// Bytes in a character set as text.
pub(crate) fn convert_from(bytes: &[u8], encoding: &str) -> Value<String> {
    match charset(encoding, "source")? {
        Charset::Latin1 => Ok(bytes.iter().map(|b| char::from(*b)).collect()),
        Charset::Utf8 | Charset::Ascii => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
            outcome => {
                let at = outcome.map_or_else(|e| e.valid_up_to(), |text| text.find('\0').unwrap_or(0));
                let length = match bytes[at] {
                    0xf0.. => 4,
                    0xe0.. => 3,
                    0xc0.. => 2,
                    _ => 1,
                };
                let shown: Vec<String> = bytes[at..].iter().take(length).map(|b| format!("0x{b:02x}")).collect();
                fail("22021", format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")))
            }
        },
    }
}

fn convert_to(text: &str, encoding: &str) -> Value<Vec<u8>> {
    match charset(encoding, "destination")? {
        Charset::Utf8 | Charset::Ascii => Ok(text.as_bytes().to_vec()),
        Charset::Latin1 => text
            .chars()
            .map(|character| {
                u8::try_from(u32::from(character)).or_else(|_| {
                    let shown: Vec<String> = character.to_string().bytes().map(|b| format!("0x{b:02x}")).collect();
                    fail(
                        "22P05",
                        format!(
                            "character with byte sequence {} in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"",
                            shown.join(" ")
                        ),
                    )
                })
            })
            .collect(),
    }
}

fn position(bytes: &[u8], index: i64, unit: usize) -> Value<usize> {
    let length = bytes.len().saturating_mul(unit);
    match usize::try_from(index).ok().filter(|at| *at < length) {
        Some(at) => Ok(at),
        None => {
            let last = i64::try_from(length).unwrap_or(i64::MAX) - 1;
            fail("2202E", format!("index {index} out of valid range, 0..{last}"))
        }
    }
}

fn set_bit(bytes: &[u8], index: i64, bit: i32) -> Value<Vec<u8>> {
    let at = position(bytes, index, 8)?;
    let mut out = bytes.to_vec();
    match bit {
        0 => out[at / 8] &= !(1 << (at % 8)),
        1 => out[at / 8] |= 1 << (at % 8),
        _ => return fail("22023", "new bit must be 0 or 1"),
    }
    Ok(out)
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("encode", "Bytes as text: hex, base64 or escape.", "encode('abc', 'base64')")
            .on("bytea, text -> text", |c| c.map2(encode)),
        def("decode", "Text as bytes: hex, base64 or escape.", "decode('YWJj', 'base64')")
            .on("text, text -> bytea", |c| c.map2(decode)),
        def("convert_from", "Bytes in an encoding as text.", "convert_from('\\xe9', 'latin1')")
            .on("bytea, text -> text", |c| c.map2(convert_from)),
        def("convert_to", "Text as bytes in an encoding.", "convert_to('é', 'latin1')")
            .on("text, text -> bytea", |c| c.map2(convert_to)),
        def("get_byte", "The byte at an offset, counted from 0.", "get_byte('\\x0102', 1)")
            .on("bytea, int4 -> int4", |c| c.map2(|b: &[u8], at: i32| Ok(i32::from(b[position(b, at.into(), 1)?])))),
        def("set_byte", "With another byte at an offset.", "set_byte('\\x0102', 1, 255)").on(
            "bytea, int4, int4 -> bytea",
            |c| {
                c.map3(|b: &[u8], at: i32, byte: i32| {
                    let at = position(b, at.into(), 1)?;
                    let mut out = b.to_vec();
                    out[at] = u8::try_from(byte & 255).unwrap_or(0);
                    Ok(out)
                })
            },
        ),
        def("get_bit", "The bit at an offset, counted from 0.", "get_bit('\\x01', 0)").on("bytea, int8 -> int4", |c| {
            c.map2(|b: &[u8], at: i64| position(b, at, 8).map(|at| i32::from(b[at / 8] >> (at % 8) & 1)))
        }),
        def("set_bit", "With another bit at an offset.", "set_bit('\\x00', 0, 1)")
            .on("bytea, int8, int4 -> bytea", |c| c.map3(set_bit)),
        def("bit_count", "The number of bits that are 1.", "bit_count('\\xff')")
            .on("bytea -> int8", |c| c.map1(|b: &[u8]| Ok(b.iter().map(|b| i64::from(b.count_ones())).sum::<i64>()))),
    ]
}
