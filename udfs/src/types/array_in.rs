//! Arrays from text: `{1,2,NULL}`, `{"a b","c\"d"}`, `{{1,2},{3,4}}`, `[0:1]={1,2}`. Lower bounds are read and not kept.

use super::text_in::{Builder, ListBuilder};
use super::{SqlType, ValueError};

/// The most dimensions an array has, as in PostgreSQL.
pub const DIMENSIONS_MAX: usize = 6;

/// The dimensions that the text of an array begins with.
pub fn text_dimensions(text: &str) -> usize {
    let body = match text.trim_start() {
        bounds if bounds.starts_with('[') => bounds.split_once('=').map_or("", |(_, body)| body),
        body => body,
    };
    body.chars().filter(|c| !c.is_ascii_whitespace()).take_while(|c| *c == '{').take(DIMENSIONS_MAX + 1).count()
}

/// Appends one array to `list`, whose type is `sql_type`.
pub(super) fn push(list: &mut ListBuilder, sql_type: &SqlType, text: &[u8]) -> Result<(), ValueError> {
    if list.vector {
        return push_vector(list, text);
    }
    let mut reader = Reader { text, at: 0 };
    let given = reader.bounds()?;
    let count = reader.elements(list, sql_type)?;
    reader.skip_space();
    if reader.at < text.len() {
        return Err(reader.malformed("Junk after closing right brace."));
    }
    if given.first().is_some_and(|given| *given != count) {
        return Err(reader.malformed("Specified array dimensions do not match array contents."));
    }
    list.end_list(count)
}

/// `1 2 3`
fn push_vector(list: &mut ListBuilder, text: &[u8]) -> Result<(), ValueError> {
    let mut count = 0;
    for word in text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        list.elements.push(word)?;
        count += 1;
    }
    list.end_list(count)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn malformed(&self, detail: impl Into<String>) -> ValueError {
        let text = String::from_utf8_lossy(self.text);
        let mut error = ValueError::new("22P02", format!("malformed array literal: \"{text}\""));
        error.detail = Some(detail.into());
        error
    }

    fn ended(&self) -> ValueError {
        self.malformed("Unexpected end of input.")
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|c| c.is_ascii_whitespace() || c == 0x0b) {
            self.at += 1;
        }
    }

    fn accept(&mut self, c: u8) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        self.at += usize::from(matches!(self.peek(), Some(b'-' | b'+')));
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        std::str::from_utf8(&self.text[start..self.at]).ok()?.parse().ok()
    }

    /// `[2:3][4]=`: the lengths it tells.
    fn bounds(&mut self) -> Result<Vec<usize>, ValueError> {
        self.skip_space();
        let mut lengths = vec![];
        while self.accept(b'[') {
            let missing = "\"[\" must introduce explicitly-specified array dimensions.";
            let first = self.integer().ok_or_else(|| self.malformed(missing))?;
            let (lower, upper) = if self.accept(b':') {
                (first, self.integer().ok_or_else(|| self.malformed("Missing array dimension value."))?)
            } else {
                (1, first)
            };
            if !self.accept(b']') {
                return Err(self.malformed("Missing \"]\" after array dimensions."));
            }
            if upper < lower {
                return Err(ValueError::new("2202E", "upper bound cannot be less than lower bound"));
            }
            let length = upper.checked_sub(lower).and_then(|length| usize::try_from(length).ok()?.checked_add(1));
            lengths.push(length.ok_or_else(|| ValueError::new("54000", "array size exceeds the maximum allowed"))?);
            self.skip_space();
        }
        if !lengths.is_empty() {
            if !self.accept(b'=') {
                return Err(self.malformed("Missing \"=\" after array dimensions."));
            }
            self.skip_space();
            if self.peek() != Some(b'{') {
                return Err(self.malformed("Array contents must start with \"{\"."));
            }
        }
        Ok(lengths)
    }

    /// The elements in braces: how many.
    fn elements(&mut self, list: &mut ListBuilder, sql_type: &SqlType) -> Result<usize, ValueError> {
        if !self.accept(b'{') {
            return Err(self.malformed("Array value must start with \"{\" or dimension information."));
        }
        self.skip_space();
        if self.accept(b'}') {
            return Ok(0);
        }
        let mut count = 0;
        let mut inner_length = None;
        loop {
            self.skip_space();
            if self.peek() == Some(b'{') {
                let length = self.inner(list, sql_type)?;
                if *inner_length.get_or_insert(length) != length {
                    let detail = "Multidimensional arrays must have sub-arrays with matching dimensions.";
                    return Err(self.malformed(detail));
                }
            } else if matches!(list.elements.builder, Builder::List(_)) {
                return Err(self.malformed("Unexpected array element."));
            } else {
                self.element(list)?;
            }
            count += 1;
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(count);
                }
                None => return Err(self.ended()),
                Some(b'"') => return Err(self.malformed("Incorrectly quoted array element.")),
                Some(_) => return Err(self.malformed("Unexpected array element.")),
            }
        }
    }

    /// An array in the array.
    fn inner(&mut self, list: &mut ListBuilder, sql_type: &SqlType) -> Result<usize, ValueError> {
        let Builder::List(inner) = &mut list.elements.builder else {
            let mut error = ValueError::new(
                "0A000",
                format!("a value of type {} cannot have more dimensions than its declaration", sql_type.name()),
            );
            error.hint = Some(format!("Declare the type as {}[].", sql_type.name()));
            return Err(error);
        };
        let length = self.elements(inner, &list.elements.sql_type)?;
        if length == 0 {
            return Err(self.malformed("Unexpected \"}\" character."));
        }
        inner.end_list(length)?;
        Ok(length)
    }

    /// One element up to the delimiter or brace.
    fn element(&mut self, list: &mut ListBuilder) -> Result<(), ValueError> {
        if self.accept(b'"') {
            return self.quoted(list);
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.peek() {
                None => return Err(self.ended()),
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(b',' | b'}') => break,
                Some(b'{') => return Err(self.malformed("Unexpected \"{\" character.")),
                Some(b'"') => return Err(self.malformed("Unexpected array element.")),
                Some(_) => self.at += 1,
            }
        }
        if self.at > self.text.len() {
            return Err(self.ended());
        }
        let raw = &self.text[start..self.at];
        if escaped {
            return list.elements.push(&unescaped(raw));
        }
        let element = super::number::trim(raw);
        if element.is_empty() {
            let found = char::from(self.peek().unwrap_or(b'}'));
            return Err(self.malformed(format!("Unexpected \"{found}\" character.")));
        }
        if element.eq_ignore_ascii_case(b"null") {
            list.elements.push_null();
            return Ok(());
        }
        list.elements.push(element)
    }

    /// An element behind its opening quote.
    fn quoted(&mut self, list: &mut ListBuilder) -> Result<(), ValueError> {
        let rest = &self.text[self.at..];
        let plain = memchr::memchr2(b'"', b'\\', rest).ok_or_else(|| self.ended())?;
        if rest[plain] == b'"' {
            self.at += plain + 1;
            return list.elements.push(&rest[..plain]);
        }
        let mut element = rest[..plain].to_vec();
        self.at += plain;
        loop {
            match self.peek().ok_or_else(|| self.ended())? {
                b'"' => {
                    self.at += 1;
                    return list.elements.push(&element);
                }
                b'\\' => {
                    element.push(*self.text.get(self.at + 1).ok_or_else(|| self.ended())?);
                    self.at += 2;
                }
                other => {
                    element.push(other);
                    self.at += 1;
                }
            }
        }
    }
}

/// An unquoted element with backslashes: escaped white space stays, other at the ends goes.
fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut element = Vec::with_capacity(raw.len());
    let mut keep = 0;
    let mut rest = raw;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'\\' {
            if let [escaped, after @ ..] = after {
                element.push(*escaped);
                rest = after;
            }
            keep = element.len();
        } else if !first.is_ascii_whitespace() {
            element.push(*first);
            keep = element.len();
        } else if !element.is_empty() {
            element.push(*first);
        }
    }
    element.truncate(keep);
    element
}
