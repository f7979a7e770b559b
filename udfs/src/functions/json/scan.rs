//! Finds values inside JSON text without building anything: offsets in, slices out.
//!
//! The text is taken to be valid JSON (the types see to that); on other text the answers are `None` or nonsense, never a
//! panic. A value's slice is exactly as written, so a slice of jsonb text is jsonb text again.

use std::borrow::Cow;

/// What a JSON value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// The value's kind, told by its first byte.
pub(crate) fn kind(text: &str) -> Kind {
    let bytes = text.as_bytes();
    match bytes.get(space(bytes, 0)) {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    }
}

/// The first byte from `at` that is not blank.
fn space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Behind the string whose opening quote is at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Behind the value that begins at `at`.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => {
            let mut depth = 0usize;
            let mut at = at;
            loop {
                match bytes.get(at)? {
                    b'"' => {
                        at = string_end(bytes, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        _ => {
            let end = bytes[at..].iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r'));
            Some(end.map_or(bytes.len(), |length| at + length))
        }
    }
}

/// The elements of an array, in order; nothing if it is no array.
pub(crate) struct Elements<'a> {
    text: &'a str,
    at: usize,
}

/// See [`Elements`].
pub(crate) fn elements(text: &str) -> Elements<'_> {
    let bytes = text.as_bytes();
    let at = space(bytes, 0);
    Elements { text, at: if bytes.get(at) == Some(&b'[') { at + 1 } else { bytes.len() } }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let mut at = space(bytes, self.at);
        if bytes.get(at) == Some(&b',') {
            at = space(bytes, at + 1);
        }
        if matches!(bytes.get(at), None | Some(b']')) {
            self.at = bytes.len();
            return None;
        }
        let end = value_end(bytes, at)?;
        self.at = end;
        self.text.get(at..end)
    }
}

/// The members of an object, in order: the key as written between its quotes, and the value. Nothing if it is no object.
pub(crate) struct Members<'a> {
    text: &'a str,
    at: usize,
}

/// See [`Members`].
pub(crate) fn members(text: &str) -> Members<'_> {
    let bytes = text.as_bytes();
    let at = space(bytes, 0);
    Members { text, at: if bytes.get(at) == Some(&b'{') { at + 1 } else { bytes.len() } }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let bytes = self.text.as_bytes();
        let mut at = space(bytes, self.at);
        if bytes.get(at) == Some(&b',') {
            at = space(bytes, at + 1);
        }
        if bytes.get(at) != Some(&b'"') {
            self.at = bytes.len();
            return None;
        }
        let key_end = string_end(bytes, at)?;
        let key = self.text.get(at + 1..key_end - 1)?;
        let colon = space(bytes, key_end);
        let start = space(bytes, colon + 1);
        let end = value_end(bytes, start)?;
        self.at = end;
        Some((key, self.text.get(start..end)?))
    }
}

/// True if the key, as written, is `wanted`.
pub(crate) fn key_is(raw: &str, wanted: &str) -> bool {
    if raw.contains('\\') { unescape(raw) == wanted } else { raw == wanted }
}

/// The value of an object's key. With `unique` keys (jsonb) the first found is it, else the last counts.
pub(crate) fn member<'a>(text: &'a str, key: &str, unique: bool) -> Option<&'a str> {
    let mut found = members(text).filter(|(raw, _)| key_is(raw, key)).map(|(_, value)| value);
    if unique { found.next() } else { found.last() }
}

/// An array's element; negative numbers count from the end.
pub(crate) fn element(text: &str, index: i64) -> Option<&str> {
    match usize::try_from(index) {
        Ok(index) => elements(text).nth(index),
        Err(_) => {
            let back = usize::try_from(index.unsigned_abs()).ok()?;
            let count = elements(text).count();
            elements(text).nth(count.checked_sub(back)?)
        }
    }
}

/// The value at the end of a path of keys and element numbers.
pub(crate) fn path<'a, 'p>(
    text: &'a str,
    steps: impl Iterator<Item = Option<&'p str>>,
    unique: bool,
) -> Option<&'a str> {
    let mut at = text;
    for step in steps {
        let step = step?;
        at = match kind(at) {
            Kind::Object => member(at, step, unique)?,
            Kind::Array => element(at, index(step)?)?,
            _ => return None,
        };
    }
    Some(at.trim_matches([' ', '\n', '\t', '\r']))
}

/// A path step as an element number: an integer with leading blanks and a sign, as C reads it.
pub(crate) fn index(step: &str) -> Option<i64> {
    let step = step.trim_start();
    let digits = step.strip_prefix(['+', '-']).unwrap_or(step);
    let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if whole { step.parse::<i32>().ok().map(i64::from) } else { None }
}

/// The value as text: a string without quotes and escapes, `None` for null, else as written.
pub(crate) fn as_text(value: &str) -> Option<Cow<'_, str>> {
    match kind(value) {
        Kind::Null => None,
        Kind::String => Some(string(value)),
        _ => Some(Cow::Borrowed(value)),
    }
}

/// A string value's content.
pub(crate) fn string(value: &str) -> Cow<'_, str> {
    let value = value.trim_matches([' ', '\n', '\t', '\r']);
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    unescape(inner)
}

/// The text between quotes without its escapes.
pub(crate) fn unescape(raw: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(escaped) = rest.chars().next() else { break };
        rest = &rest[escaped.len_utf8()..];
        match escaped {
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => {
                let (character, used) = unicode(rest);
                out.push(character);
                rest = &rest[used..];
            }
            other => out.push(other),
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The character of `XXXX` or `XXXX\uXXXX` at the start, and the length read.
fn unicode(text: &str) -> (char, usize) {
    let hex = |from: usize| text.get(from..from + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some(high) = hex(0) else { return (char::REPLACEMENT_CHARACTER, 0) };
    if (0xd800..0xdc00).contains(&high)
        && text.get(4..6) == Some("\\u")
        && let Some(low) = hex(6).filter(|low| (0xdc00..0xe000).contains(low))
    {
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_values_as_written() {
        let text = r#" {"a" : [1, {"b":"x\"]"}, [2]] ,"c\u0041": "\ud83d\ude00", "a":  null } "#;
        assert_eq!(member(text, "a", true), Some(r#"[1, {"b":"x\"]"}, [2]]"#));
        assert_eq!(member(text, "a", false), Some("null"));
        assert_eq!(member(text, "cA", true).map(|v| string(v).into_owned()).as_deref(), Some("😀"));
        let array = member(text, "a", true).expect("it is there");
        assert_eq!(elements(array).collect::<Vec<_>>(), ["1", r#"{"b":"x\"]"}"#, "[2]"]);
        assert_eq!(element(array, -1), Some("[2]"));
        assert_eq!(element(array, -4), None);
        assert_eq!(path(array, ["1", "b"].into_iter().map(Some), true), Some(r#""x\"]""#));
    }

    #[test]
    fn survives_what_is_not_json() {
        for text in [
            "", "{", "[", "{\"", "{\"a", "{\"a\"", "{\"a\":", "[1", "\"\\", "{\"a\\", "[\"\\u12", "]", "{,}", "[,",
            "é", "{é",
        ] {
            let _ = (member(text, "a", false), element(text, 0), element(text, -1), as_text(text).map(Cow::into_owned));
            let _ = elements(text).count() + members(text).count();
        }
    }
}
