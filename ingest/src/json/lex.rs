//! JSON's tokens over text that is known to be UTF-8. Strict as RFC 8259 and PostgreSQL are; what exactly is wrong is not
//! told here: [`super::fault`] looks again.

use crate::value::{Number, Span};

/// Why a document is not read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LexFault {
    /// No JSON.
    Syntax,
    /// Too many arrays and objects within each other.
    Depth,
}

/// Reads tokens from `at` on.
pub(crate) struct Lexer<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

/// A string without its quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quoted {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// There are backslashes: it is not its own meaning.
    pub(crate) escaped: bool,
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// The high bit of the first byte that ends a stretch of plain characters in a string is set (those of later ones may be):
/// a quote, a backslash, a control character.
#[inline]
fn string_stops(word: u64) -> u64 {
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zeros(word ^ (ONES * 0x22));
    let backslash = zeros(word ^ (ONES * 0x5c));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGHS
}

/// The first byte from `at` on that is not plain in a string.
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let stops = string_stops(u64::from_le_bytes(*word));
        if stops != 0 {
            return Some(at + usize::try_from(stops.trailing_zeros() / 8).expect("below 8"));
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).map(|found| at + found)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl<'a> Lexer<'a> {
    #[inline]
    pub(crate) fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    #[inline]
    pub(crate) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte, which must be this one.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), LexFault> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(LexFault::Syntax)
        }
    }

    /// A string at its opening quote.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Quoted, LexFault> {
        self.expect(b'"')?;
        let start = self.at;
        let end = plain_end(self.bytes(), start).ok_or(LexFault::Syntax)?;
        self.at = end;
        if self.bytes()[end] == b'"' {
            self.at += 1;
            return Ok(Quoted { start, end, escaped: false });
        }
        self.escaped_string(start)
    }

    /// Goes on at the first backslash or control character.
    #[cold]
    #[inline(never)]
    fn escaped_string(&mut self, start: usize) -> Result<Quoted, LexFault> {
        let bytes = self.bytes();
        loop {
            match bytes[self.at] {
                b'"' => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(Quoted { start, end, escaped: true });
                }
                b'\\' => match bytes.get(self.at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                    Some(b'u') => {
                        let digits = bytes.get(self.at + 2..self.at + 6).ok_or(LexFault::Syntax)?;
                        if !digits.iter().all(u8::is_ascii_hexdigit) {
                            return Err(LexFault::Syntax);
                        }
                        self.at += 6;
                    }
                    _ => return Err(LexFault::Syntax),
                },
                _ => return Err(LexFault::Syntax),
            }
            self.at = plain_end(bytes, self.at).ok_or(LexFault::Syntax)?;
        }
    }

    /// A number at its first character.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<Number, LexFault> {
        let bytes = self.bytes();
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        let mut at = start + usize::from(negative);
        let (mut mantissa, mut digits, mut fraction) = (0u64, 0u32, 0u32);
        let mut read = |at: &mut usize| {
            let first = *at;
            while let Some(digit) = bytes.get(*at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
                digits += u32::from(digits > 0 || digit > 0);
                *at += 1;
            }
            *at - first
        };
        let whole = read(&mut at);
        if whole == 0 || (whole > 1 && bytes[at - whole] == b'0') {
            return Err(LexFault::Syntax);
        }
        let (mut is_float, mut has_exponent) = (false, false);
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            let behind = read(&mut at);
            if behind == 0 {
                return Err(LexFault::Syntax);
            }
            fraction = u32::try_from(behind).unwrap_or(u32::MAX);
            is_float = true;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let first = at;
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            if at == first {
                return Err(LexFault::Syntax);
            }
            (is_float, has_exponent) = (true, true);
        }
        if bytes.get(at).is_some_and(|byte| is_word(*byte)) {
            return Err(LexFault::Syntax);
        }
        self.at = at;
        let span = Span { start, end: at, changed: false };
        Ok(Number { span, mantissa, digits, fraction, negative, is_float, has_exponent })
    }

    /// `true`, `false` or `null`.
    #[inline]
    pub(crate) fn word(&mut self, word: &str) -> Result<(), LexFault> {
        let end = self.at + word.len();
        let bytes = self.bytes();
        if bytes.get(self.at..end) != Some(word.as_bytes()) || bytes.get(end).is_some_and(|byte| is_word(*byte)) {
            return Err(LexFault::Syntax);
        }
        self.at = end;
        Ok(())
    }

    /// A whole array or object at its opening bracket, of at most `depth` within each other. `stack` is for reuse.
    pub(crate) fn nested(&mut self, depth: usize, stack: &mut Vec<bool>) -> Result<Span, LexFault> {
        let start = self.at;
        stack.clear();
        loop {
            self.skip_space();
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if stack.len() >= depth {
                        return Err(LexFault::Depth);
                    }
                    self.at += 1;
                    self.skip_space();
                    let is_object = open == b'{';
                    if self.peek() == Some(if is_object { b'}' } else { b']' }) {
                        self.at += 1;
                    } else {
                        stack.push(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => drop(self.string()?),
                Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                _ => return Err(LexFault::Syntax),
            }
            if self.close(stack)? {
                return Ok(Span { start, end: self.at, changed: false });
            }
        }
    }

    /// What follows a value: ends of arrays and objects, a comma. True if all are closed.
    fn close(&mut self, stack: &mut Vec<bool>) -> Result<bool, LexFault> {
        while let Some(is_object) = stack.last().copied() {
            self.skip_space();
            let found = self.peek().ok_or(LexFault::Syntax)?;
            self.at += 1;
            match (found, is_object) {
                (b',', true) => {
                    self.skip_space();
                    self.key()?;
                    return Ok(false);
                }
                (b',', false) => return Ok(false),
                (b'}', true) | (b']', false) => drop(stack.pop()),
                _ => return Err(LexFault::Syntax),
            }
        }
        Ok(true)
    }

    fn key(&mut self) -> Result<(), LexFault> {
        self.string()?;
        self.skip_space();
        self.expect(b':')
    }
}

/// Appends what a string with escapes means.
///
/// # Errors
/// `Syntax` for halves of surrogate pairs and for NUL, which text cannot hold.
pub(crate) fn unescape(raw: &str, out: &mut String) -> Result<(), LexFault> {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let letter = *rest.as_bytes().get(at + 1).ok_or(LexFault::Syntax)?;
        rest = &rest[at + 2..];
        let meaning = match letter {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut code = four_digits(&mut rest)?;
                if (0xD800..0xDC00).contains(&code) {
                    rest = rest.strip_prefix("\\u").ok_or(LexFault::Syntax)?;
                    let low = four_digits(&mut rest)?;
                    if !(0xDC00..0xE000).contains(&low) {
                        return Err(LexFault::Syntax);
                    }
                    code = 0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                }
                char::from_u32(code).filter(|c| *c != '\0').ok_or(LexFault::Syntax)?
            }
            other => char::from(other),
        };
        out.push(meaning);
    }
    out.push_str(rest);
    Ok(())
}

fn four_digits(rest: &mut &str) -> Result<u32, LexFault> {
    let (digits, after) = rest.split_at_checked(4).ok_or(LexFault::Syntax)?;
    *rest = after;
    u32::from_str_radix(digits, 16).map_err(|_| LexFault::Syntax)
}
