//! COPY's formats: text, csv and binary, both ways. Bytes in, batches out, and back; knows no sessions and no tables.
//!
//! ```text
//! bytes → CopyParser (rows → fields → one ColumnParser per column) → batches
//! batches → CopyWriter (one ColumnEncoder per column, quoting) → chunks with the ends of their rows
//! ```

mod binary;
mod csv;
mod options;
mod parser;
mod text;
mod writer;

#[cfg(test)]
mod tests;

pub use options::{CopyOptions, Encoding, ForceQuote, Format, Header};
pub use parser::CopyParser;
pub use writer::CopyWriter;

/// Where a field of the row is, whose bytes are in the input or, if they had to be changed, in the scratch buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FieldAt {
    start: usize,
    end: usize,
    /// In the scratch buffer.
    changed: bool,
    /// The NULL string, unquoted.
    null: bool,
}

/// The fields of the row just read; reused from row to row.
#[derive(Debug, Default)]
struct Fields {
    at: Vec<FieldAt>,
    scratch: Vec<u8>,
}

impl Fields {
    fn clear(&mut self) {
        self.at.clear();
        self.scratch.clear();
    }

    #[inline]
    fn bytes<'a>(&'a self, field: FieldAt, input: &'a [u8]) -> &'a [u8] {
        let source = if field.changed { &self.scratch } else { input };
        &source[field.start..field.end]
    }
}

/// What reading a row came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A row: it ends (without its line end) at `end`, the next one begins at `next`; `lines` it has.
    Row { end: usize, next: usize, lines: u64 },
    /// The input ends before the row does.
    Incomplete,
    /// The marker of the data's end.
    End,
}

/// How lines end; the first line decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum LineEnd {
    #[default]
    Unknown,
    Newline,
    Return,
    ReturnNewline,
}

/// What is wrong with a row's syntax, before its context is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowFault {
    LiteralReturn,
    LiteralNewline,
    MarkerCorrupt,
    MarkerStyle,
    UnterminatedQuote,
}

impl LineEnd {
    /// Looks at a line end at `at`. `None`: more input is needed to tell; else the bytes it has.
    #[inline]
    fn accept(&mut self, input: &[u8], at: usize, is_last: bool) -> Result<Option<usize>, RowFault> {
        if input[at] == b'\n' {
            return match *self {
                Self::Newline => Ok(Some(1)),
                Self::Unknown => {
                    *self = Self::Newline;
                    Ok(Some(1))
                }
                Self::Return | Self::ReturnNewline => Err(RowFault::LiteralNewline),
            };
        }
        let next = input.get(at + 1);
        if next.is_none() && !is_last && *self != Self::Return {
            return Ok(None);
        }
        match (*self, next) {
            (Self::Unknown | Self::ReturnNewline, Some(b'\n')) => {
                *self = Self::ReturnNewline;
                Ok(Some(2))
            }
            (Self::Unknown | Self::Return, _) => {
                *self = Self::Return;
                Ok(Some(1))
            }
            (Self::Newline | Self::ReturnNewline, _) => Err(RowFault::LiteralReturn),
        }
    }
}

/// A table of the bytes at which a scan stops.
fn stops(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    for byte in bytes {
        table[usize::from(*byte)] = true;
    }
    table
}

/// The first byte from `at` on that is in the table, or the end.
#[inline]
fn scan(input: &[u8], at: usize, stops: &[bool; 256]) -> usize {
    let rest = &input[at..];
    at + rest.iter().position(|byte| stops[usize::from(*byte)]).unwrap_or(rest.len())
}
