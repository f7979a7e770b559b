//! Rows of COPY's binary format: a header, then per row the number of fields and each with its length, then -1.

use super::{FieldAt, Fields, Step};

/// What the data begins with.
pub(super) const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Flags that must be understood to read the data.
const CRITICAL_FLAGS: u32 = 0xffff_0000;

/// Reads rows.
#[derive(Default)]
pub(super) struct BinaryRows {
    header_read: bool,
    ended: bool,
}

/// The next `N` bytes.
fn take<const N: usize>(input: &[u8], at: usize) -> Option<[u8; N]> {
    input.get(at..at.checked_add(N)?)?.try_into().ok()
}

impl BinaryRows {
    /// Reads the row that begins at `start`; `is_last`: no more input will come. The error is PostgreSQL's message.
    pub(super) fn row(
        &mut self,
        input: &[u8],
        start: usize,
        is_last: bool,
        columns: usize,
        fields: &mut Fields,
    ) -> Result<Step, String> {
        let cut = |message: &str| if is_last { Err(message.to_owned()) } else { Ok(Step::Incomplete) };
        let mut at = start;
        if !self.header_read {
            let got = &input[at..input.len().min(at + SIGNATURE.len())];
            if !SIGNATURE.starts_with(got) || (is_last && got.len() < SIGNATURE.len()) {
                return Err("COPY file signature not recognized".into());
            }
            let Some(flags) = take::<4>(input, at + SIGNATURE.len()) else {
                return cut("invalid COPY file header (missing flags)");
            };
            if u32::from_be_bytes(flags) & CRITICAL_FLAGS != 0 {
                return Err("unrecognized critical flags in COPY file header".into());
            }
            let Some(length) = take::<4>(input, at + SIGNATURE.len() + 4) else {
                return cut("invalid COPY file header (missing length)");
            };
            let wrong_length = "invalid COPY file header (wrong length)";
            let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| wrong_length)?;
            at += SIGNATURE.len() + 8 + length;
            if at > input.len() {
                return cut(wrong_length);
            }
        }
        if self.ended {
            return if at < input.len() { Err("received copy data after EOF marker".into()) } else { Ok(Step::End) };
        }
        fields.clear();
        let Some(count) = take::<2>(input, at) else {
            // The end without the trailer is accepted, as in PostgreSQL.
            return if is_last && at < input.len() {
                Err("unexpected EOF in COPY data".into())
            } else {
                Ok(Step::Incomplete)
            };
        };
        at += 2;
        let count = i16::from_be_bytes(count);
        if count == -1 {
            self.header_read = true;
            self.ended = true;
            return Ok(Step::Row { end: at, next: at, lines: 0 });
        }
        if usize::try_from(count).ok() != Some(columns) {
            return Err(format!("row field count is {count}, expected {columns}"));
        }
        for _ in 0..columns {
            let Some(length) = take::<4>(input, at) else { return cut("unexpected EOF in COPY data") };
            at += 4;
            let length = i32::from_be_bytes(length);
            if length == -1 {
                fields.at.push(FieldAt { start: at, end: at, changed: false, null: true });
                continue;
            }
            let length = usize::try_from(length).map_err(|_| "invalid field size".to_owned())?;
            let end = at.checked_add(length).ok_or("invalid field size")?;
            if end > input.len() {
                return cut("unexpected EOF in COPY data");
            }
            fields.at.push(FieldAt { start: at, end, changed: false, null: false });
            at = end;
        }
        self.header_read = true;
        Ok(Step::Row { end: at, next: at, lines: 1 })
    }

    /// Whether the trailer was read.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }
}
