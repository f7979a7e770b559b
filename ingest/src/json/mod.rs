//! JSON: bytes cut anywhere → documents ([`frame`]) → values, in one pass ([`document`], [`lex`]) → rows.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tidemill_udfs::types::{SqlType, TextSettings, ValueError};

use crate::outcome::{Decoded, Position};
use crate::rows::{KeyEnd, Place, RowFault, Rows};
use crate::shape::TableShape;

mod document;
mod frame;
pub(crate) mod lex;
pub(crate) mod value;

pub use frame::JsonFormat;
use frame::{Frame, Framer};

/// Decodes JSON objects into rows of one table.
///
/// Memory: the document that is not complete, up to `row_bytes_max`, the batch under construction, and the batches not yet
/// taken. So push chunks of at most some megabytes and take all batches after each.
pub struct JsonDecoder {
    framer: Framer,
    documents: Documents,
}

/// A key ends with its quote; those with escapes are looked up by what they mean.
const KEY_END: KeyEnd = KeyEnd { sign: b'"', escaped: |byte| matches!(byte, b'"' | b'\\' | 0..0x20) };

/// What takes documents.
struct Documents {
    rows: Rows,
    ready: VecDeque<Decoded>,
    /// For reuse.
    stack: Vec<bool>,
}

impl JsonDecoder {
    /// A decoder for the table.
    pub fn new(format: JsonFormat, shape: TableShape, settings: TextSettings) -> Self {
        Self::resume(format, shape, settings, Position::START)
    }

    /// A decoder that goes on where another one was ([`Decoded::end`], and its [`Self::format`]): to decode documents again
    /// after the table was changed in a way that their rows do not fit ([`Decoded::changes_on`]).
    pub fn resume(format: JsonFormat, shape: TableShape, settings: TextSettings, start: Position) -> Self {
        let rows = Rows::new(shape, settings, true, KEY_END);
        let framer = Framer::new(format, rows.row_bytes_max(), start);
        Self { framer, documents: Documents { rows, ready: VecDeque::new(), stack: vec![] } }
    }

    /// Takes bytes as they come.
    pub fn push(&mut self, chunk: &[u8]) {
        self.framer.push(chunk, &mut |frame| self.documents.take(&frame));
    }

    /// The data is complete: a document without its end is a dead letter. Take the last batches after it.
    pub fn finish(&mut self) {
        self.framer.finish(&mut |frame| self.documents.take(&frame));
        self.flush();
    }

    /// Ends the batch under construction, so that all whole documents so far can be taken.
    pub fn flush(&mut self) {
        let end = self.framer.position();
        self.documents.ready.extend(self.documents.rows.take(end));
    }

    /// A full batch, if there is one.
    pub fn take_batch(&mut self) -> Option<Decoded> {
        self.documents.ready.pop_front()
    }

    /// The format, which is not `Auto` any more once the first line was seen.
    pub fn format(&self) -> JsonFormat {
        self.framer.format()
    }

    /// The table as it is with all changes so far, those of batches not yet taken included.
    pub fn shape(&self) -> TableShape {
        self.documents.rows.shape()
    }

    /// New columns have these types, by the path of the field with points between the names, whatever their first values look
    /// like: a schema that the documents were written with says so.
    pub fn announce(&mut self, types: Arc<HashMap<String, SqlType>>) {
        self.documents.rows.announce(types);
    }

    /// Goes on with another shape, because somebody else changed the table.
    ///
    /// # Panics
    /// If there are rows for the shape so far: flush and take all batches before.
    pub fn set_shape(&mut self, shape: TableShape) {
        self.documents.rows.set_shape(shape);
    }
}

impl Documents {
    fn take(&mut self, frame: &Frame<'_>) {
        let place = Place { offset: frame.offset, line: frame.line, bytes: frame.bytes };
        match self.take_document(frame) {
            Ok(()) => self.rows.locate(place),
            Err(fault) => self.rows.abandon(frame.raw, place, *fault),
        }
        if self.rows.count(frame.raw.len()) {
            self.ready.extend(self.rows.take(frame.end));
        }
    }

    fn take_document(&mut self, frame: &Frame<'_>) -> Result<(), Box<RowFault>> {
        let bytes_max = self.rows.row_bytes_max();
        self.rows.begin();
        if frame.raw.len() > bytes_max {
            let mut error = ValueError::new("54000", "document is too large");
            error.detail = Some(format!("It has {} bytes; the limit is {bytes_max}.", frame.bytes));
            return Err(RowFault::new(error));
        }
        // A byte order mark may precede the first document.
        let raw =
            if frame.offset == 0 { frame.raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(frame.raw) } else { frame.raw };
        let text = std::str::from_utf8(raw).map_err(|error| RowFault::new(invalid_utf8(raw, &error)))?;
        document::take_document(&mut self.rows, text, &mut self.stack)
    }
}

/// 22021, as PostgreSQL says it.
pub(crate) fn invalid_utf8(bytes: &[u8], error: &std::str::Utf8Error) -> ValueError {
    let rest = &bytes[error.valid_up_to()..];
    // The bytes that the first one says belong together, as far as there are any.
    let length = match rest[0] {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    };
    let shown: Vec<_> = rest.iter().take(length).map(|byte| format!("0x{byte:02x}")).collect();
    ValueError::new("22021", format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")))
}

#[cfg(test)]
mod tests;
