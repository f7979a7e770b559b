//! Parts of strings, padding, case, characters, concatenation.

use std::borrow::Cow;

use arrow::array::ArrayRef;
use datafusion_common::Result;

use super::super::call::{Call, Value, fail};
use super::super::define::{Function, def};
use super::super::values;

/// The most bytes a value may have, as in PostgreSQL.
const BYTES_MAX: usize = 0x3fff_ffff;

/// The byte offset of a character; the length if there are fewer.
fn offset(text: &str, characters: usize) -> usize {
    if text.is_ascii() {
        return characters.min(text.len());
    }
    text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at)
}

fn count(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

fn size(n: i32) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn int(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn left(text: &str, n: i32) -> Value<&str> {
    let characters = if n >= 0 { size(n) } else { count(text).saturating_sub(n.unsigned_abs() as usize) };
    Ok(&text[..offset(text, characters)])
}

fn right(text: &str, n: i32) -> Value<&str> {
    let skip = if n >= 0 { count(text).saturating_sub(size(n)) } else { n.unsigned_abs() as usize };
    Ok(&text[offset(text, skip)..])
}

/// `from` counts from 1 and may lie before the start; `length` none: to the end.
fn substring(text: &str, from: i32, length: Option<i32>) -> Value<&str> {
    let from = i64::from(from);
    let end = match length {
        Some(length) if length < 0 => return fail("22011", "negative substring length not allowed"),
        Some(length) => from + i64::from(length),
        None => i64::MAX,
    };
    let first = usize::try_from(from.max(1) - 1).unwrap_or(0);
    let last = usize::try_from(end.max(1) - 1).unwrap_or(usize::MAX);
    if last <= first {
        return Ok("");
    }
    let start = offset(text, first);
    let rest = &text[start..];
    Ok(&rest[..offset(rest, last - first)])
}

fn pad(text: &str, length: i32, fill: &str, before: bool) -> Value<String> {
    let length = size(length);
    if length.saturating_mul(4) > BYTES_MAX {
        return fail("54000", "requested length too large");
    }
    let have = count(text);
    if have >= length || fill.is_empty() {
        return Ok(text[..offset(text, length)].to_owned());
    }
    let padding = fill.chars().cycle().take(length - have);
    let mut out = String::with_capacity(text.len() + (length - have));
    if before {
        out.extend(padding);
        out.push_str(text);
    } else {
        out.push_str(text);
        out.extend(padding);
    }
    Ok(out)
}

fn repeat(text: &str, times: i32) -> Value<String> {
    if text.len().saturating_mul(size(times)) > BYTES_MAX {
        return fail("54000", "requested length too large");
    }
    Ok(text.repeat(size(times)))
}

fn overlay(text: &str, new: &str, from: i32, length: Option<i32>) -> Value<String> {
    if from <= 0 {
        return fail("22011", "negative substring length not allowed");
    }
    let length = length.unwrap_or(int(count(new)));
    let Some(after) = from.checked_add(length) else { return fail("22003", "integer out of range") };
    Ok(format!("{}{new}{}", substring(text, 1, Some(from - 1))?, substring(text, after, None)?))
}

fn initcap(text: &str) -> Value<String> {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for character in text.chars() {
        if inside {
            out.extend(character.to_lowercase());
        } else {
            out.extend(character.to_uppercase());
        }
        inside = character.is_alphanumeric();
    }
    Ok(out)
}

fn chr(code: i32) -> Value<String> {
    let Ok(number) = u32::try_from(code) else { return fail("22023", "character number must be positive") };
    match char::from_u32(number) {
        Some('\0') => fail("54000", "null character not permitted"),
        Some(character) => Ok(character.into()),
        None if number > 0x10_ffff => fail("54000", format!("requested character too large for encoding: {code}")),
        None => fail("54000", format!("requested character not valid for encoding: {code}")),
    }
}

/// `\XXXX`, `\uXXXX`, `\+XXXXXX`, `\UXXXXXXXX` and `\\`.
fn unistr(text: &str) -> Value<String> {
    let invalid = || {
        let mut error = crate::types::ValueError::new("42601", "invalid Unicode escape");
        error.hint = Some("Unicode escapes must be \\XXXX, \\+XXXXXX, \\uXXXX, or \\UXXXXXXXX.".into());
        error
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut high = None;
    while let Some(at) = rest.find('\\') {
        if at > 0 && high.is_some() {
            return fail("42601", "invalid Unicode surrogate pair");
        }
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('\\') {
            out.push('\\');
            rest = after;
            continue;
        }
        let (skip, digits) = match rest.as_bytes().first() {
            Some(b'+') => (1, 6),
            Some(b'u') => (1, 4),
            Some(b'U') => (1, 8),
            _ => (0, 4),
        };
        let hex = rest.get(skip..skip + digits).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).ok_or_else(invalid)?;
        rest = &rest[skip + digits..];
        match (high.take(), code) {
            (None, 0xd800..0xdc00) => high = Some(code),
            (Some(first), 0xdc00..0xe000) => {
                out.extend(char::from_u32(0x10000 + ((first - 0xd800) << 10) + (code - 0xdc00)));
            }
            (Some(_), _) | (None, 0xdc00..0xe000) => return fail("42601", "invalid Unicode surrogate pair"),
            (None, code) => match char::from_u32(code) {
                Some(character) if code > 0 => out.push(character),
                _ => return fail("42601", "invalid Unicode code point"),
            },
        }
    }
    if high.is_some() {
        return fail("42601", "invalid Unicode surrogate pair");
    }
    out.push_str(rest);
    Ok(out)
}

fn trim<'a>(text: &'a str, characters: &str, start: bool, end: bool) -> Cow<'a, str> {
    let drop = |c: char| characters.contains(c);
    let text = if start { text.trim_start_matches(drop) } else { text };
    Cow::Borrowed(if end { text.trim_end_matches(drop) } else { text })
}

fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    let printers = values::printers(call, 0)?;
    call.collect(|row| {
        let mut out = String::new();
        for (printer, argument) in printers.iter().zip(&call.args) {
            printer.print(&mut out, argument.at(row))?;
        }
        Ok(out)
    })
}

fn concat_ws(call: &Call<'_>) -> Result<ArrayRef> {
    let separator = call.column::<&str>(0)?;
    let printers = values::printers(call, 1)?;
    call.collect(|row| {
        let Some(separator) = separator.get(row) else { return Ok(None) };
        let mut out = String::new();
        let mut first = true;
        for (printer, argument) in printers.iter().zip(&call.args[1..]) {
            if let Some(text) = printer.text(argument.at(row))? {
                if !first {
                    out.push_str(separator);
                }
                first = false;
                out.push_str(&text);
            }
        }
        Ok(Some(out))
    })
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    let mut all = parts();
    all.extend(characters());
    all
}

fn parts() -> Vec<Function> {
    vec![
        def("left", "The first n characters; all but the last -n if n is negative.", "left('abcde', 2)")
            .on("text, int4 -> text", |c| c.map2(left)),
        def("right", "The last n characters; all but the first -n if n is negative.", "right('abcde', 2)")
            .on("text, int4 -> text", |c| c.map2(right)),
        def(
            "substr",
            "The part from a character (counted from 1) on, of a length; or the part a regular expression finds.",
            "substr('abcde', 2, 3)",
        )
        .alias(&["substring"])
        .on("text, int4 -> text", |c| c.map2(|s, from| substring(s, from, None)))
        .on("text, int4, int4 -> text", |c| c.map3(|s, from, length| substring(s, from, Some(length))))
        .on("bytea, int4 -> bytea", |c| c.map2(|s, from| super::bytes::substring(s, from, None)))
        .on("bytea, int4, int4 -> bytea", |c| c.map3(|s, from, length| super::bytes::substring(s, from, Some(length))))
        .on("text, text -> text", super::pattern::substring)
        .on("text, text, text -> text", super::pattern::substring_similar),
        def("overlay", "With a part replaced.", "overlay('abcdef', 'XX', 2, 3)")
            .on("text, text, int4 -> text", |c| c.map3(|s, new, from| overlay(s, new, from, None)))
            .on("text, text, int4, int4 -> text", |c| {
                c.map4(|s, new, from, length| overlay(s, new, from, Some(length)))
            })
            .on("bytea, bytea, int4 -> bytea", |c| c.map3(|s, new, from| super::bytes::overlay(s, new, from, None)))
            .on("bytea, bytea, int4, int4 -> bytea", |c| {
                c.map4(|s, new, from, length| super::bytes::overlay(s, new, from, Some(length)))
            }),
        def("lpad", "Filled up at the start, or cut, to a number of characters.", "lpad('7', 3, '0')")
            .on("text, int4 -> text", |c| c.map2(|s, length| pad(s, length, " ", true)))
            .on("text, int4, text -> text", |c| c.map3(|s, length, fill| pad(s, length, fill, true))),
        def("rpad", "Filled up at the end, or cut, to a number of characters.", "rpad('a', 3, '.')")
            .on("text, int4 -> text", |c| c.map2(|s, length| pad(s, length, " ", false)))
            .on("text, int4, text -> text", |c| c.map3(|s, length, fill| pad(s, length, fill, false))),
        def("btrim", "Without blanks, or any of those characters, at both ends.", "btrim('xyabcx', 'xy')")
            .alias(&["trim"])
            .on("text -> text", |c| c.map1(|s: &str| Ok(s.trim_matches(' '))))
            .on("text, text -> text", |c| c.map2(|s, chars: &str| Ok(trim(s, chars, true, true))))
            .on("bytea, bytea -> bytea", |c| c.map2(|s, bytes: &[u8]| Ok(super::bytes::trim(s, bytes, true, true)))),
        def("ltrim", "Without blanks, or any of those characters, at the start.", "ltrim('xxa', 'x')")
            .on("text -> text", |c| c.map1(|s: &str| Ok(s.trim_start_matches(' '))))
            .on("text, text -> text", |c| c.map2(|s, chars: &str| Ok(trim(s, chars, true, false))))
            .on("bytea, bytea -> bytea", |c| c.map2(|s, bytes: &[u8]| Ok(super::bytes::trim(s, bytes, true, false)))),
        def("rtrim", "Without blanks, or any of those characters, at the end.", "rtrim('axx', 'x')")
            .on("text -> text", |c| c.map1(|s: &str| Ok(s.trim_end_matches(' '))))
            .on("text, text -> text", |c| c.map2(|s, chars: &str| Ok(trim(s, chars, false, true))))
            .on("bytea, bytea -> bytea", |c| c.map2(|s, bytes: &[u8]| Ok(super::bytes::trim(s, bytes, false, true)))),
    ]
}

fn characters() -> Vec<Function> {
    vec![
        def("length", "The number of characters, or of bytes of a bytea.", "length('añb')")
            .on("text -> int4", |c| c.map1(|s: &str| Ok(int(count(s)))))
            .on("bytea -> int4", |c| c.map1(|s: &[u8]| Ok(int(s.len()))))
            .on("bytea, text -> int4", |c| {
                c.map2(|s, encoding| Ok(int(count(&super::bytes::convert_from(s, encoding)?))))
            }),
        def("octet_length", "The number of bytes.", "octet_length('añb')")
            .on("text -> int4", |c| c.map1(|s: &str| Ok(int(s.len()))))
            .on("bytea -> int4", |c| c.map1(|s: &[u8]| Ok(int(s.len())))),
        def("bit_length", "The number of bits.", "bit_length('añb')")
            .on("text -> int4", |c| c.map1(|s: &str| Ok(int(s.len().saturating_mul(8)))))
            .on("bytea -> int4", |c| c.map1(|s: &[u8]| Ok(int(s.len().saturating_mul(8))))),
        def("repeat", "That many times.", "repeat('ab', 3)").on("text, int4 -> text", |c| c.map2(repeat)),
        def("initcap", "Each word's first letter large, the others small.", "initcap('hello world')")
            .on("text -> text", |c| c.map1(initcap)),
        def("ascii", "The first character's code; 0 for an empty string.", "ascii('x')")
            .on("text -> int4", |c| c.map1(|s: &str| Ok(s.chars().next().map_or(0, |c| int(c as usize))))),
        def("chr", "The character with that code.", "chr(233)").on("int4 -> text", |c| c.map1(chr)),
        def("unistr", "With Unicode escapes replaced by their characters.", "unistr('\\00e9')")
            .on("text -> text", |c| c.map1(unistr)),
        def("starts_with", "Does the string begin with that?", "starts_with('abc', 'ab')")
            .on("text, text -> bool", |c| c.map2(|s: &str, prefix: &str| Ok(s.starts_with(prefix)))),
        def("to_hex", "In hexadecimal digits.", "to_hex(255)")
            .on("int4 -> text", |c| c.map1(|n: i32| Ok(format!("{n:x}"))))
            .on("int8 -> text", |c| c.map1(|n: i64| Ok(format!("{n:x}")))),
        def("concat", "All arguments' text, one after the other; nulls are left out.", "concat('a', 1, null, true)")
            .stable()
            .on("...any -> text", concat),
        def(
            "concat_ws",
            "All arguments' text with a separator between; nulls are left out.",
            "concat_ws(', ', 'a', null, 1)",
        )
        .stable()
        .on("text, ...any -> text", concat_ws),
    ]
}
