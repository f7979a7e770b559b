//! json and jsonb: validation with PostgreSQL's messages, and jsonb's canonical text (keys by length then bytes, the last
//! of equal keys wins, numbers as numeric prints them, `, ` and `: ` as separators).

use super::numeric::canonical_number;
use super::{ValueError, input_error};

/// Arrays and objects within each other; deeper ones could exhaust the stack.
const DEPTH_MAX: usize = 1_000;

/// Checks a json value.
pub(super) fn validate(text: &str) -> Result<(), ValueError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.document(None)
}

/// The canonical text of a jsonb value.
pub fn canonical(text: &str) -> Result<String, ValueError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    parser.document(Some(&mut out))?;
    Ok(String::from_utf8(out).expect("made of pieces of UTF-8 text"))
}

/// A recursive descent over the text; `out`, if any, gets the canonical form.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// A key, and where its value is in the buffer of its object.
struct Member {
    key: String,
    value: std::ops::Range<usize>,
}

impl<'a> Parser<'a> {
    fn document(&mut self, out: Option<&mut Vec<u8>>) -> Result<(), ValueError> {
        self.skip_space();
        if self.peek().is_none() {
            return Err(self.ended());
        }
        self.value(out)?;
        self.skip_space();
        if self.peek().is_some() { Err(self.expected("end of input")) } else { Ok(()) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, out: Option<&mut Vec<u8>>) -> Result<(), ValueError> {
        self.skip_space();
        match self.peek() {
            None => Err(self.ended()),
            Some(b'{') => self.nested(|parser| parser.object(out)),
            Some(b'[') => self.nested(|parser| parser.array(out)),
            Some(b'"') => {
                let mut text = out.is_some().then(String::new);
                self.string(text.as_mut())?;
                if let (Some(out), Some(text)) = (out, text) {
                    write_string(&text, out);
                }
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => self.number(out),
            Some(c) if is_word(c) => {
                let word = self.word();
                if !matches!(word, "true" | "false" | "null") {
                    return Err(self.invalid_token(self.at));
                }
                self.at += word.len();
                if let Some(out) = out {
                    out.extend_from_slice(word.as_bytes());
                }
                Ok(())
            }
            Some(_) => Err(self.expected("JSON value")),
        }
    }

    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Result<(), ValueError>) -> Result<(), ValueError> {
        if self.depth == DEPTH_MAX {
            let mut error = ValueError::new("54001", "stack depth limit exceeded");
            error.detail = Some(format!("JSON values are nested more than {DEPTH_MAX} levels deep."));
            return Err(error);
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn array(&mut self, mut out: Option<&mut Vec<u8>>) -> Result<(), ValueError> {
        self.at += 1;
        self.skip_space();
        if let Some(out) = out.as_deref_mut() {
            out.push(b'[');
        }
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                self.value(out.as_deref_mut())?;
                self.skip_space();
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if let Some(out) = out.as_deref_mut() {
                            out.extend_from_slice(b", ");
                        }
                    }
                    Some(b']') => {
                        self.at += 1;
                        break;
                    }
                    None => return Err(self.ended()),
                    Some(_) => return Err(self.expected("\",\" or \"]\"")),
                }
            }
        }
        if let Some(out) = out {
            out.push(b']');
        }
        Ok(())
    }

    fn object(&mut self, out: Option<&mut Vec<u8>>) -> Result<(), ValueError> {
        self.at += 1;
        self.skip_space();
        let mut members: Vec<Member> = vec![];
        let mut values = out.is_some().then(Vec::new);
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            let mut wanted = "string or \"}\"";
            loop {
                self.skip_space();
                match self.peek() {
                    Some(b'"') => {}
                    None => return Err(self.ended()),
                    Some(_) => return Err(self.expected(wanted)),
                }
                wanted = "string";
                let mut key = values.is_some().then(String::new);
                self.string(key.as_mut())?;
                self.skip_space();
                match self.peek() {
                    Some(b':') => self.at += 1,
                    None => return Err(self.ended()),
                    Some(_) => return Err(self.expected("\":\"")),
                }
                let start = values.as_ref().map_or(0, Vec::len);
                self.value(values.as_mut())?;
                if let (Some(values), Some(key)) = (&values, key) {
                    members.push(Member { key, value: start..values.len() });
                }
                self.skip_space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => {
                        self.at += 1;
                        break;
                    }
                    None => return Err(self.ended()),
                    Some(_) => return Err(self.expected("\",\" or \"}\"")),
                }
            }
        }
        if let (Some(out), Some(values)) = (out, values) {
            write_object(members, &values, out);
        }
        Ok(())
    }

    /// A string at the opening quote; its meaning is appended to `out`.
    fn string(&mut self, mut out: Option<&mut String>) -> Result<(), ValueError> {
        let start = self.at;
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(|c| c == b'"' || c == b'\\' || c < 0x20).unwrap_or(rest.len());
            if let Some(out) = out.as_deref_mut() {
                out.push_str(&rest[..plain]);
            }
            self.at += plain;
            match self.peek() {
                None => return Err(self.invalid_token(start)),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape(out.as_deref_mut(), start)?,
                Some(control) => {
                    return Err(self.error(format!("Character with value 0x{control:02x} must be escaped.")));
                }
            }
        }
    }

    fn escape(&mut self, out: Option<&mut String>, start: usize) -> Result<(), ValueError> {
        self.at += 1;
        let Some(letter) = self.text[self.at..].chars().next() else {
            return Err(self.invalid_token(start));
        };
        let meaning = match letter {
            '"' | '\\' | '/' => letter,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode_escape(out),
            other => return Err(self.error(format!("Escape sequence \"\\{other}\" is invalid."))),
        };
        self.at += 1;
        if let Some(out) = out {
            out.push(meaning);
        }
        Ok(())
    }

    /// `uXXXX`, or two of them that form a surrogate pair. json keeps what jsonb must be able to store.
    fn unicode_escape(&mut self, out: Option<&mut String>) -> Result<(), ValueError> {
        let first = self.four_digits()?;
        let Some(out) = out else {
            return Ok(());
        };
        let code = match first {
            0xD800..=0xDBFF => {
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(self.error("Unicode low surrogate must follow a high surrogate."));
                }
                self.at += 1;
                match self.four_digits()? {
                    low @ 0xDC00..=0xDFFF => 0x1_0000 + ((first - 0xD800) << 10) + (low - 0xDC00),
                    _ => return Err(self.error("Unicode low surrogate must follow a high surrogate.")),
                }
            }
            0xDC00..=0xDFFF => return Err(self.error("Unicode low surrogate must follow a high surrogate.")),
            0 => {
                let mut error = ValueError::new("22P05", "unsupported Unicode escape sequence");
                error.detail = Some("\\u0000 cannot be converted to text.".into());
                return Err(error);
            }
            code => code,
        };
        out.extend(char::from_u32(code));
        Ok(())
    }

    fn four_digits(&mut self) -> Result<u32, ValueError> {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
        let code = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| self.error("\"\\u\" must be followed by four hexadecimal digits."))?;
        self.at += 5;
        Ok(code)
    }

    fn number(&mut self, out: Option<&mut Vec<u8>>) -> Result<(), ValueError> {
        let start = self.at;
        let digits = |parser: &mut Self| {
            let first = parser.at;
            while matches!(parser.peek(), Some(b'0'..=b'9')) {
                parser.at += 1;
            }
            parser.at > first
        };
        self.at += usize::from(self.peek() == Some(b'-'));
        let mut valid = if self.peek() == Some(b'0') {
            self.at += 1;
            true
        } else {
            digits(self)
        };
        if valid && self.peek() == Some(b'.') {
            self.at += 1;
            valid = digits(self);
        }
        if valid && matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            valid = digits(self);
        }
        if !valid || self.peek().is_some_and(is_word) {
            return Err(self.invalid_token(start));
        }
        match out {
            Some(out) => canonical_number(&self.text.as_bytes()[start..self.at], out),
            None => Ok(()),
        }
    }

    /// The letters, digits and non-ASCII characters from here.
    fn word(&self) -> &'a str {
        let rest = &self.text[self.at..];
        &rest[..rest.bytes().position(|c| !is_word(c)).unwrap_or(rest.len())]
    }

    fn error(&self, detail: impl Into<String>) -> ValueError {
        let mut error = input_error("json", b"");
        error.message = "invalid input syntax for type json".into();
        error.detail = Some(detail.into());
        error
    }

    fn ended(&self) -> ValueError {
        self.error("The input string ended unexpectedly.")
    }

    /// The token from `start` is none: it is shown up to where reading stopped, and the rest of the word there.
    fn invalid_token(&self, start: usize) -> ValueError {
        let end = if self.text[start..].starts_with('"') { self.text.len() } else { self.at + self.word().len() };
        self.error(format!("Token \"{}\" is invalid.", &self.text[start..end]))
    }

    /// A well-formed token of the wrong kind, or no token at all.
    fn expected(&self, wanted: &str) -> ValueError {
        let rest = &self.text[self.at..];
        let first = rest.chars().next().unwrap_or_default();
        let found = match first {
            '{' | '}' | '[' | ']' | ',' | ':' => &rest[..1],
            '"' => {
                let mut ahead = Parser { text: self.text, at: self.at, depth: 0 };
                match ahead.string(None) {
                    Ok(()) => &self.text[self.at..ahead.at],
                    Err(error) => return error,
                }
            }
            '-' | '0'..='9' => {
                let mut ahead = Parser { text: self.text, at: self.at, depth: 0 };
                match ahead.number(None) {
                    Ok(()) => &self.text[self.at..ahead.at],
                    Err(error) => return error,
                }
            }
            _ if matches!(self.word(), "true" | "false" | "null") => self.word(),
            _ => {
                let end = if self.word().is_empty() { first.len_utf8() } else { self.word().len() };
                return self.error(format!("Token \"{}\" is invalid.", &rest[..end]));
            }
        };
        self.error(format!("Expected {wanted}, but found \"{found}\"."))
    }
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || c >= 0x80
}

fn write_object(mut members: Vec<Member>, values: &[u8], out: &mut Vec<u8>) {
    // Stable: of equal keys the last one given comes last.
    members.sort_by(|a, b| (a.key.len(), a.key.as_bytes()).cmp(&(b.key.len(), b.key.as_bytes())));
    out.push(b'{');
    let mut first = true;
    for (at, member) in members.iter().enumerate() {
        if members.get(at + 1).is_some_and(|next| next.key == member.key) {
            continue;
        }
        if !first {
            out.extend_from_slice(b", ");
        }
        first = false;
        write_string(&member.key, out);
        out.extend_from_slice(b": ");
        out.extend_from_slice(&values[member.value.clone()]);
    }
    out.push(b'}');
}

/// Appends a JSON string with PostgreSQL's escapes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}
