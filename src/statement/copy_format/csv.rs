//! Rows of CSV: fields between delimiters, quoted in whole or in part, with line ends inside of quotes.

use super::{FieldAt, Fields, LineEnd, RowFault, Step, scan, stops};

/// Splits rows into fields.
pub(super) struct CsvRows {
    delimiter: u8,
    quote: u8,
    escape: u8,
    null: Vec<u8>,
    stops: [bool; 256],
    stops_in_quotes: [bool; 256],
    line_end: LineEnd,
    force_not_null: Vec<bool>,
    force_null: Vec<bool>,
}

/// Where the reading of a field stopped.
enum FieldEnd {
    Delimiter,
    LineEnd,
    Input,
}

impl CsvRows {
    /// `force_not_null`, `force_null`: per column.
    pub(super) fn new(
        (delimiter, quote, escape): (u8, u8, u8),
        null: &str,
        force_not_null: Vec<bool>,
        force_null: Vec<bool>,
    ) -> Self {
        Self {
            delimiter,
            quote,
            escape,
            null: null.as_bytes().to_vec(),
            stops: stops(&[delimiter, quote, b'\n', b'\r']),
            stops_in_quotes: stops(&[quote, escape, b'\n', b'\r']),
            line_end: LineEnd::Unknown,
            force_not_null,
            force_null,
        }
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
        if input.get(start) == Some(&b'\\')
            && let Some(step) = marker(&input[start..], is_last)
        {
            return Ok(step);
        }
        let mut lines = 1;
        let mut at = start;
        loop {
            let field = at;
            at = scan(input, at, &self.stops);
            let end = if input.get(at) == Some(&self.quote) {
                match self.quoted_field(input, field, &mut at, &mut lines, fields) {
                    FieldEnd::Input if is_last && in_quotes(fields) => return Err(RowFault::UnterminatedQuote),
                    end => end,
                }
            } else {
                self.push(fields, input, field, at, false, false);
                match input.get(at) {
                    None => FieldEnd::Input,
                    Some(byte) if *byte == self.delimiter => FieldEnd::Delimiter,
                    Some(_) => FieldEnd::LineEnd,
                }
            };
            match end {
                FieldEnd::Delimiter => at += 1,
                FieldEnd::LineEnd => {
                    return Ok(match self.line_end.accept(input, at, is_last)? {
                        Some(length) => Step::Row { end: at, next: at + length, lines },
                        None => Step::Incomplete,
                    });
                }
                FieldEnd::Input if !is_last || at == start => return Ok(Step::Incomplete),
                FieldEnd::Input => return Ok(Step::Row { end: at, next: at, lines }),
            }
        }
    }

    /// Reads a field with quotes in it, from `field` on; `at` is the first quote, and moves to the end. If the input ends
    /// inside of quotes no field is pushed.
    #[cold]
    #[inline(never)]
    fn quoted_field(
        &self,
        input: &[u8],
        field: usize,
        at: &mut usize,
        lines: &mut u64,
        fields: &mut Fields,
    ) -> FieldEnd {
        let scratch = fields.scratch.len();
        let mut plain = field;
        loop {
            fields.scratch.extend_from_slice(&input[plain..*at]);
            match input.get(*at) {
                Some(byte) if *byte == self.quote => {}
                other => {
                    let end = match other {
                        None => FieldEnd::Input,
                        Some(byte) if *byte == self.delimiter => FieldEnd::Delimiter,
                        Some(_) => FieldEnd::LineEnd,
                    };
                    self.push(fields, input, scratch, fields.scratch.len(), true, true);
                    return end;
                }
            }
            *at += 1;
            if !self.quoted_part(input, at, lines, &mut fields.scratch) {
                fields.at.push(UNTERMINATED);
                return FieldEnd::Input;
            }
            plain = *at;
            *at = scan(input, *at, &self.stops);
        }
    }

    /// Copies what is in quotes; `at` moves behind the closing one. False if the input ends before.
    fn quoted_part(&self, input: &[u8], at: &mut usize, lines: &mut u64, out: &mut Vec<u8>) -> bool {
        loop {
            let stop = scan(input, *at, &self.stops_in_quotes);
            out.extend_from_slice(&input[*at..stop]);
            *at = stop;
            let Some(byte) = input.get(stop).copied() else { return false };
            let next = input.get(stop + 1).copied();
            if byte == self.escape && next.is_some_and(|next| next == self.quote || next == self.escape) {
                out.extend(next);
                *at += 2;
            } else if byte == self.quote {
                *at += 1;
                return true;
            } else {
                if byte == b'\n' || (byte == b'\r' && self.line_end == LineEnd::Return) {
                    *lines += 1;
                }
                out.push(byte);
                *at += 1;
            }
        }
    }

    #[inline]
    fn push(&self, fields: &mut Fields, input: &[u8], start: usize, end: usize, changed: bool, quoted: bool) {
        let column = fields.at.len();
        let bytes = if changed { &fields.scratch[start..end] } else { &input[start..end] };
        let forced = |columns: &[bool]| columns.get(column).copied().unwrap_or(false);
        let null = bytes == self.null.as_slice()
            && if quoted { forced(&self.force_null) } else { !forced(&self.force_not_null) };
        fields.at.push(FieldAt { start, end, changed, null });
    }
}

/// Stands for a field whose closing quote is missing.
const UNTERMINATED: FieldAt = FieldAt { start: usize::MAX, end: usize::MAX, changed: false, null: false };

fn in_quotes(fields: &Fields) -> bool {
    fields.at.last() == Some(&UNTERMINATED)
}

/// A line of `\.` alone ends the data; `None`: it is something else.
fn marker(rest: &[u8], is_last: bool) -> Option<Step> {
    match rest {
        [b'\\', b'.', b'\n', ..] | [b'\\', b'.', b'\r', ..] => Some(Step::End),
        [b'\\', b'.'] if is_last => Some(Step::End),
        [b'\\'] | [b'\\', b'.'] if !is_last => Some(Step::Incomplete),
        _ => None,
    }
}
