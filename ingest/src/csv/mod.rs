//! CSV with a header: bytes cut anywhere → lines (with line ends inside of quotes) → fields → rows. Values are read by the
//! input function of their column; those of new columns become what they look like, or text.

use std::collections::VecDeque;

use memchr::{memchr, memchr2};
use tidemill_udfs::types::{TextSettings, ValueError};

use crate::json::invalid_utf8;
use crate::outcome::{Decoded, Position};
use crate::rows::{KeyEnd, NONE, Place, ROOT, RowFault, Rows};
use crate::shape::TableShape;
use crate::value::{Span, Value};

/// How lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvOptions {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields; doubled, itself.
    pub quote: u8,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: b',', quote: b'"' }
    }
}

/// Decodes CSV whose first line names the fields. An empty field is NULL, unless it is quoted.
///
/// Memory: as [`crate::JsonDecoder`].
pub struct CsvDecoder {
    options: CsvOptions,
    rows: Rows,
    /// The fields of the header; `None` before it came.
    header: Option<Vec<usize>>,
    /// As it came.
    header_text: String,
    /// Bytes not yet parsed begin at `position`; up to `scanned` there is no line end, and `in_quotes` there.
    input: Vec<u8>,
    position: usize,
    scanned: usize,
    in_quotes: bool,
    /// Up to this offset lines end at the first line end: one with several, in quotes, made no sense. So each byte is looked
    /// at twice at most.
    single_until: u64,
    /// A line that is too long goes on.
    overlong: bool,
    offset: u64,
    line: u64,
    ready: VecDeque<Decoded>,
}

/// Keys are in the header only.
const KEY_END: KeyEnd = KeyEnd { sign: 0, escaped: |_| true };

impl CsvDecoder {
    /// A decoder for the table.
    pub fn new(options: CsvOptions, shape: TableShape, settings: TextSettings) -> Self {
        Self {
            options,
            rows: Rows::new(shape, settings, false, KEY_END),
            header: None,
            header_text: String::new(),
            input: vec![],
            position: 0,
            scanned: 0,
            in_quotes: false,
            single_until: 0,
            overlong: false,
            offset: 0,
            line: 1,
            ready: VecDeque::new(),
        }
    }

    /// Takes bytes as they come.
    pub fn push(&mut self, chunk: &[u8]) {
        self.input.extend_from_slice(chunk);
        self.parse(false);
    }

    /// What was pushed so far is whole lines, whatever quotes they have.
    pub fn end_document(&mut self) {
        self.parse(true);
    }

    /// The header as it came, if it did.
    pub fn header(&self) -> Option<&str> {
        self.header.as_ref().map(|_| self.header_text.as_str())
    }

    /// The data is complete. Take the last batches after it.
    pub fn finish(&mut self) {
        self.parse(true);
        self.flush();
    }

    /// Ends the batch under construction.
    pub fn flush(&mut self) {
        let end = Position { offset: self.offset, line: self.line, in_array: false };
        self.ready.extend(self.rows.take(end));
    }

    /// A full batch, if there is one.
    pub fn take_batch(&mut self) -> Option<Decoded> {
        self.ready.pop_front()
    }

    /// The table as it is with all changes so far.
    pub fn shape(&self) -> TableShape {
        self.rows.shape()
    }

    fn parse(&mut self, is_last: bool) {
        let input = std::mem::take(&mut self.input);
        while self.position < input.len() {
            let rest = &input[self.position..];
            let (length, several) = match self.line_end(&input) {
                Some(end) => (end - self.position, true),
                // A quote without its end must not swallow all lines to come.
                None if is_last || rest.len() > self.rows.row_bytes_max() => match memchr(b'\n', rest) {
                    Some(end) => (end, false),
                    None if is_last => (rest.len(), false),
                    None => break,
                },
                None => break,
            };
            let raw = &rest[..length];
            let first_line = memchr(b'\n', raw).filter(|_| several);
            if !self.take_line(raw, first_line.is_some()) {
                self.single_until = self.offset + u64::try_from(length).expect("fewer than 2^64");
                let length = first_line.expect("there are several lines");
                self.take_line(&rest[..length], false);
                self.next(&input, length);
                continue;
            }
            self.next(&input, length);
        }
        let rest = &input[self.position..];
        if rest.len() > self.rows.row_bytes_max() {
            self.begin_overlong(rest);
            self.position = input.len();
            (self.scanned, self.in_quotes) = (self.position, false);
        }
        self.input = input;
        self.input.drain(..self.position);
        self.scanned -= self.position;
        self.position = 0;
        // A long line must not keep its memory for the rest of the data.
        if self.input.is_empty() {
            self.input.shrink_to(4 * 1024 * 1024);
        }
    }

    /// Goes to the line behind one of that length.
    fn next(&mut self, input: &[u8], length: usize) {
        let next = (self.position + length + 1).min(input.len());
        let lines = memchr::memchr_iter(b'\n', &input[self.position..next]).count();
        self.line += u64::try_from(lines).expect("fewer than 2^64");
        self.offset += u64::try_from(next - self.position).expect("fewer than 2^64");
        self.position = next;
        (self.scanned, self.in_quotes) = (next, false);
    }

    /// The end of the line that begins at `position`, if it is here.
    #[inline]
    fn line_end(&mut self, input: &[u8]) -> Option<usize> {
        if self.offset < self.single_until {
            return memchr(b'\n', &input[self.position..]).map(|length| self.position + length);
        }
        while let Some(found) = memchr2(self.options.quote, b'\n', &input[self.scanned..]) {
            let at = self.scanned + found;
            if input[at] == b'\n' && !self.in_quotes {
                return Some(at);
            }
            self.in_quotes ^= input[at] == self.options.quote;
            self.scanned = at + 1;
        }
        self.scanned = input.len();
        None
    }

    /// False: it cannot be more than one line, and nothing happened.
    fn take_line(&mut self, raw: &[u8], is_several: bool) -> bool {
        if std::mem::take(&mut self.overlong) {
            // Its beginning is a dead letter already.
            return true;
        }
        let place = Place { offset: self.offset, line: self.line, bytes: u64::try_from(raw.len()).unwrap_or(u64::MAX) };
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        if self.header.is_none() {
            let raw = raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw);
            self.take_header(&String::from_utf8_lossy(raw));
            return true;
        }
        if raw.is_empty() {
            return true;
        }
        self.rows.begin();
        match self.take_row(raw) {
            Ok(()) => self.rows.locate(place),
            Err(_) if is_several => {
                self.rows.undo();
                return false;
            }
            Err(fault) => self.rows.abandon(raw, place, *fault),
        }
        if self.rows.count(raw.len()) {
            let lines = memchr::memchr_iter(b'\n', raw).count() + 1;
            let line = self.line + u64::try_from(lines).expect("fewer than 2^64");
            let end = Position { offset: self.offset + place.bytes + 1, line, in_array: false };
            self.ready.extend(self.rows.take(end));
        }
        true
    }

    fn take_header(&mut self, text: &str) {
        let mut previous = NONE;
        let mut header = vec![];
        let mut at = Some(0);
        while let Some(start) = at {
            let Ok((span, next)) = self.field(text, start) else { break };
            let name = match span {
                Some(span) => self.rows.scratch.text(text, span).to_owned(),
                None => String::new(),
            };
            previous = self.rows.fields.find(ROOT, previous, &name);
            header.push(previous);
            at = next;
        }
        self.rows.scratch.clear();
        text.clone_into(&mut self.header_text);
        self.header = Some(header);
    }

    fn take_row(&mut self, raw: &[u8]) -> Result<(), Box<RowFault>> {
        if raw.len() > self.rows.row_bytes_max() {
            return Err(RowFault::new(too_large(self.rows.row_bytes_max())));
        }
        let text = std::str::from_utf8(raw).map_err(|error| RowFault::new(invalid_utf8(raw, &error)))?;
        if memchr(0, raw).is_some() {
            return Err(RowFault::new(ValueError::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00")));
        }
        let count = self.header.as_ref().map_or(0, Vec::len);
        let mut at = Some(0);
        for column in 0..count {
            let field = self.header.as_ref().map_or(NONE, |header| header[column]);
            let Some(start) = at else {
                let name = self.rows.fields.path(field, ".");
                return Err(RowFault::new(ValueError::new("22P04", format!("missing data for column \"{name}\""))));
            };
            let (span, next) = self.field(text, start)?;
            let value = match span {
                None => Value::Null,
                Some(span) => Value::Untyped(span),
            };
            self.rows.set(text, field, value)?;
            at = next;
        }
        if at.is_some() {
            return Err(RowFault::new(ValueError::new("22P04", "extra data after last expected column")));
        }
        self.rows.commit(text)
    }

    /// The field at `start`, `None` if it is empty and not quoted, and where the next one begins, if there is one.
    #[inline]
    fn field(&mut self, text: &str, start: usize) -> Result<(Option<Span>, Option<usize>), Box<RowFault>> {
        let bytes = text.as_bytes();
        if bytes.get(start) == Some(&self.options.quote) {
            return self.quoted(text, start + 1);
        }
        let end = memchr(self.options.delimiter, &bytes[start..]).map_or(bytes.len(), |found| start + found);
        let span = (end > start).then_some(Span { start, end, changed: false });
        Ok((span, (end < bytes.len()).then_some(end + 1)))
    }

    fn quoted(&mut self, text: &str, start: usize) -> Result<(Option<Span>, Option<usize>), Box<RowFault>> {
        let bytes = text.as_bytes();
        let (quote, delimiter) = (self.options.quote, self.options.delimiter);
        let from = self.rows.scratch.text.len();
        let mut plain = start;
        let mut at = start;
        loop {
            let Some(found) = memchr(quote, &bytes[at..]) else {
                return Err(RowFault::new(ValueError::new("22P04", "unterminated CSV quoted field")));
            };
            at += found;
            if bytes.get(at + 1) != Some(&quote) {
                break;
            }
            self.rows.scratch.text.push_str(&text[plain..=at]);
            at += 2;
            plain = at;
        }
        let span = if plain == start {
            Span { start, end: at, changed: false }
        } else {
            self.rows.scratch.text.push_str(&text[plain..at]);
            Span { start: from, end: self.rows.scratch.text.len(), changed: true }
        };
        match bytes.get(at + 1) {
            None => Ok((Some(span), None)),
            Some(byte) if *byte == delimiter => Ok((Some(span), Some(at + 2))),
            Some(_) => Err(RowFault::new(ValueError::new("22P04", "unexpected data after a quoted CSV field"))),
        }
    }

    /// A line that is longer than the limit and has no end yet: what is kept of it is a dead letter now.
    fn begin_overlong(&mut self, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let place = Place { offset: self.offset, line: self.line, bytes: length };
        self.offset += length;
        if !std::mem::replace(&mut self.overlong, true) {
            self.rows.begin();
            self.rows.abandon(bytes, place, *RowFault::new(too_large(self.rows.row_bytes_max())));
            self.rows.count(0);
        }
    }
}

fn too_large(bytes_max: usize) -> ValueError {
    let mut error = ValueError::new("54000", "line is too large");
    error.detail = Some(format!("The limit is {bytes_max} bytes."));
    error
}

#[cfg(test)]
mod tests;
