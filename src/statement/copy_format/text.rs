//! Rows of COPY's text format: fields between delimiters, backslash escapes, `\.` as the end.

use super::{FieldAt, Fields, LineEnd, RowFault, Step, scan, stops};

/// Splits rows into fields.
pub(super) struct TextRows {
    delimiter: u8,
    null: Vec<u8>,
    stops: [bool; 256],
    line_end: LineEnd,
}

impl TextRows {
    pub(super) fn new(delimiter: u8, null: &str) -> Self {
        let stops = stops(&[delimiter, b'\\', b'\n', b'\r']);
        Self { delimiter, null: null.as_bytes().to_vec(), stops, line_end: LineEnd::Unknown }
    }

    /// Reads the row that begins at `start`; `is_last`: no more input will come.
    #[inline]
    pub(super) fn row(
        &mut self,
        input: &[u8],
        start: usize,
        is_last: bool,
        fields: &mut Fields,
    ) -> Result<Step, RowFault> {
        fields.clear();
        let mut lines = 1;
        let mut field = start;
        let mut escaped = false;
        let mut at = start;
        loop {
            at = scan(input, at, &self.stops);
            let Some(byte) = input.get(at).copied() else {
                if !is_last || start == at {
                    return Ok(Step::Incomplete);
                }
                self.field(input, field, at, escaped, fields);
                return Ok(Step::Row { end: at, next: at, lines });
            };
            if byte == self.delimiter {
                self.field(input, field, at, escaped, fields);
                at += 1;
                (field, escaped) = (at, false);
            } else if byte == b'\\' {
                match input.get(at + 1) {
                    None if !is_last => return Ok(Step::Incomplete),
                    Some(b'.') if at == start => return self.marker(input, at + 2, is_last),
                    Some(b'\n') => lines += 1,
                    _ => {}
                }
                escaped = true;
                at = (at + 2).min(input.len());
            } else {
                let Some(length) = self.line_end.accept(input, at, is_last)? else {
                    return Ok(Step::Incomplete);
                };
                self.field(input, field, at, escaped, fields);
                return Ok(Step::Row { end: at, next: at + length, lines });
            }
        }
    }

    /// What follows `\.`: a line end as before, or nothing.
    fn marker(&self, input: &[u8], at: usize, is_last: bool) -> Result<Step, RowFault> {
        let mut line_end = self.line_end;
        match input.get(at) {
            None if is_last => Ok(Step::End),
            None => Ok(Step::Incomplete),
            Some(b'\n' | b'\r') => match line_end.accept(input, at, is_last) {
                Ok(Some(_)) => Ok(Step::End),
                Ok(None) => Ok(Step::Incomplete),
                Err(_) => Err(RowFault::MarkerStyle),
            },
            Some(_) => Err(RowFault::MarkerCorrupt),
        }
    }

    #[inline]
    fn field(&self, input: &[u8], start: usize, end: usize, escaped: bool, fields: &mut Fields) {
        let raw = &input[start..end];
        let null = raw == self.null.as_slice();
        if !escaped || null {
            fields.at.push(FieldAt { start, end, changed: false, null });
            return;
        }
        let start = fields.scratch.len();
        unescape(raw, &mut fields.scratch);
        fields.at.push(FieldAt { start, end: fields.scratch.len(), changed: true, null: false });
    }
}

/// Undoes backslash escapes: `\n`, `\x41`, `\101`, and the character itself for others.
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let Some((escaped, after)) = rest[at + 1..].split_first() else {
            // A backslash at the end of the data stands for itself.
            out.push(b'\\');
            return;
        };
        rest = after;
        match escaped {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let more = rest.iter().take(2).take_while(|c| matches!(c, b'0'..=b'7')).count();
                let value =
                    rest[..more].iter().fold(u32::from(escaped - b'0'), |value, c| value * 8 + u32::from(c - b'0'));
                // Three digits can be above 255: as in PostgreSQL, the low byte counts.
                out.push(value.to_le_bytes()[0]);
                rest = &rest[more..];
            }
            b'x' => {
                let digits = rest.iter().take(2).take_while(|c| c.is_ascii_hexdigit()).count();
                match std::str::from_utf8(&rest[..digits]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    Some(byte) => out.push(byte),
                    None => out.push(b'x'),
                }
                rest = &rest[digits..];
            }
            other => out.push(*other),
        }
    }
    out.extend_from_slice(rest);
}
