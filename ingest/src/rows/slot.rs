//! A converted value that waits for its row to be complete: no column changes before the whole row is known to be good.

use arrow::datatypes::IntervalMonthDayNano;

use crate::value::Span;

/// A value of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Slot {
    Null,
    Bool(bool),
    /// int2, int4, int8, oid, date, time, timestamp, timestamptz
    Int(i64),
    /// float4, float8
    Float(f64),
    /// numeric, at the column's scale
    Decimal(i128),
    /// All types that are text in Arrow.
    Text(Span),
    /// bytea: a range of the scratch bytes.
    Bytes(usize, usize),
    Interval(IntervalMonthDayNano),
    /// An array: a range of the scratch list.
    List(usize, usize),
}

/// What slots refer to besides the document; emptied with each row.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) list: Vec<Slot>,
}

/// Above this a buffer gives its memory back after the row: one large value must not keep it.
const KEPT_BYTES: usize = 1024 * 1024;

impl Scratch {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.bytes.clear();
        self.list.clear();
        if self.text.capacity() > KEPT_BYTES {
            self.text.shrink_to(KEPT_BYTES);
        }
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes.shrink_to(KEPT_BYTES);
        }
        if self.list.capacity() > KEPT_BYTES / size_of::<Slot>() {
            self.list.shrink_to(KEPT_BYTES / size_of::<Slot>());
        }
    }

    #[inline]
    pub(crate) fn text<'a>(&'a self, doc: &'a str, span: Span) -> &'a str {
        if span.changed { &self.text[span.start..span.end] } else { &doc[span.start..span.end] }
    }

    /// Keeps a text.
    pub(crate) fn keep(&mut self, text: &str) -> Span {
        let start = self.text.len();
        self.text.push_str(text);
        Span { start, end: self.text.len(), changed: true }
    }
}
