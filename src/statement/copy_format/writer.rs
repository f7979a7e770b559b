//! [`CopyWriter`]: batches to COPY TO's bytes.

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use tidemill_udfs::types::{ColumnEncoder, SqlType, TextSettings};

use super::binary::SIGNATURE;
use super::{CopyOptions, Encoding, ForceQuote, Format, Header, stops};
use crate::error::SqlState;
use crate::session::CopyChunk;
use crate::{Error, Result};

/// A chunk ends after the row with which it reaches this size.
const CHUNK_BYTES: usize = 256 * 1024;

/// Writes rows in one of COPY's formats.
pub struct CopyWriter {
    options: CopyOptions,
    columns: Vec<WriterColumn>,
    settings: TextSettings,
    /// Bytes that need quotes (csv) or a backslash (text).
    special: [bool; 256],
    line_end: &'static [u8],
}

struct WriterColumn {
    name: String,
    sql_type: SqlType,
    force_quote: bool,
    /// Its texts never have a special byte and are never the NULL string.
    plain: bool,
}

impl CopyWriter {
    /// A writer of rows with these columns.
    ///
    /// # Errors
    /// 42703 for unknown columns in FORCE_QUOTE.
    pub fn new(options: &CopyOptions, columns: &[(String, SqlType)], settings: &TextSettings) -> Result<Self> {
        if let ForceQuote::Columns(names) = &options.force_quote {
            for name in names {
                if !columns.iter().any(|(column, _)| column == name) {
                    let message = format!("column \"{name}\" does not exist");
                    return Err(Error::new(SqlState::UNDEFINED_COLUMN, message));
                }
            }
        }
        let usual = matches!(options.delimiter, b',' | b'\t' | b';' | b'|')
            && options.quote == b'"'
            && matches!(options.null.as_str(), "" | "\\N");
        let columns = columns
            .iter()
            .map(|(name, sql_type)| WriterColumn {
                name: name.clone(),
                sql_type: sql_type.clone(),
                force_quote: match &options.force_quote {
                    ForceQuote::All => true,
                    ForceQuote::Columns(names) => names.contains(name),
                },
                plain: usual && is_plain(sql_type),
            })
            .collect();
        let special = match options.format {
            Format::Csv => stops(&[options.delimiter, options.quote, b'\n', b'\r']),
            _ => stops(&[options.delimiter, b'\\', 8, 9, 10, 11, 12, 13]),
        };
        Ok(Self { options: options.clone(), columns, settings: settings.clone(), special, line_end: b"\n" })
    }

    /// What comes before the first row, if anything: the names, or the binary format's signature.
    ///
    /// # Errors
    /// 22P05 for a name that the encoding cannot hold.
    pub fn header(&self) -> Result<Option<CopyChunk>> {
        if self.options.format == Format::Binary {
            let mut bytes = SIGNATURE.to_vec();
            bytes.extend_from_slice(&[0; 8]);
            return Ok(Some(CopyChunk { row_ends: vec![bytes.len()], bytes: bytes.into(), rows: 0 }));
        }
        if self.options.header == Header::Absent {
            return Ok(None);
        }
        let mut bytes = vec![];
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                bytes.push(self.options.delimiter);
            }
            let start = bytes.len();
            bytes.extend_from_slice(column.name.as_bytes());
            if self.options.format == Format::Csv {
                self.quote_if_needed(start, false, &mut bytes);
            } else {
                self.escape_if_needed(start, &mut bytes);
            }
        }
        bytes.extend_from_slice(self.line_end);
        let ends = vec![bytes.len()];
        self.chunk(bytes, ends, 0).map(Some)
    }

    /// The rows of a batch from `from_row` on, as many as fill a chunk: `CopyChunk::rows` tells how many, zero at the end.
    ///
    /// # Errors
    /// 22003 for an unsigned integer above bigint, 22P05 for a character that the encoding cannot hold.
    pub fn write(&self, batch: &RecordBatch, from_row: usize) -> Result<CopyChunk> {
        let mut encoders = Vec::with_capacity(self.columns.len());
        for (column, array) in self.columns.iter().zip(batch.columns()) {
            let encoder = ColumnEncoder::new(array, &column.sql_type, &self.settings)?;
            if self.options.format == Format::Binary {
                encoder.check_binary()?;
            }
            encoders.push((column, encoder));
        }
        let mut bytes = Vec::with_capacity(CHUNK_BYTES / 4);
        let mut ends = vec![];
        for row in from_row..batch.num_rows() {
            match self.options.format {
                Format::Text => self.text_row(&encoders, row, &mut bytes),
                Format::Csv => self.csv_row(&encoders, row, &mut bytes),
                Format::Binary => binary_row(&encoders, row, &mut bytes)?,
            }
            ends.push(bytes.len());
            if bytes.len() >= CHUNK_BYTES {
                break;
            }
        }
        let rows = u64::try_from(ends.len()).map_err(|error| Error::internal(error.to_string()))?;
        self.chunk(bytes, ends, rows)
    }

    /// What comes after the last row, if anything.
    pub fn trailer(&self) -> Option<CopyChunk> {
        (self.options.format == Format::Binary).then(|| CopyChunk {
            bytes: Bytes::from_static(&[0xff, 0xff]),
            row_ends: vec![2],
            rows: 0,
        })
    }

    fn text_row(&self, encoders: &[(&WriterColumn, ColumnEncoder)], row: usize, out: &mut Vec<u8>) {
        for (at, (column, encoder)) in encoders.iter().enumerate() {
            if at > 0 {
                out.push(self.options.delimiter);
            }
            if encoder.is_null(row) {
                out.extend_from_slice(self.options.null.as_bytes());
                continue;
            }
            let start = out.len();
            encoder.write_text(row, out);
            if !column.plain {
                self.escape_if_needed(start, out);
            }
        }
        out.extend_from_slice(self.line_end);
    }

    fn csv_row(&self, encoders: &[(&WriterColumn, ColumnEncoder)], row: usize, out: &mut Vec<u8>) {
        for (at, (column, encoder)) in encoders.iter().enumerate() {
            if at > 0 {
                out.push(self.options.delimiter);
            }
            if encoder.is_null(row) {
                out.extend_from_slice(self.options.null.as_bytes());
                continue;
            }
            let start = out.len();
            encoder.write_text(row, out);
            if !column.plain || column.force_quote {
                self.quote_if_needed(start, column.force_quote, out);
            }
        }
        out.extend_from_slice(self.line_end);
    }

    /// Escapes the text from `start` on where it has special bytes.
    fn escape_if_needed(&self, start: usize, out: &mut Vec<u8>) {
        let Some(first) = out[start..].iter().position(|byte| self.special[usize::from(*byte)]) else {
            return;
        };
        let rest = out.split_off(start + first);
        for byte in rest {
            let letter = match byte {
                8 => b'b',
                9 => b't',
                10 => b'n',
                11 => b'v',
                12 => b'f',
                13 => b'r',
                other => other,
            };
            if self.special[usize::from(byte)] {
                out.push(b'\\');
            }
            out.push(letter);
        }
    }

    /// Quotes the text from `start` on if it must be.
    fn quote_if_needed(&self, start: usize, forced: bool, out: &mut Vec<u8>) {
        let text = &out[start..];
        let is_marker = self.columns.len() == 1 && text == b"\\.";
        let special = || text.iter().any(|byte| self.special[usize::from(*byte)]);
        if !forced && text != self.options.null.as_bytes() && !is_marker && !special() {
            return;
        }
        let (quote, escape) = (self.options.quote, self.options.escape);
        let text = out.split_off(start);
        out.push(quote);
        for byte in text {
            if byte == quote || byte == escape {
                out.push(escape);
            }
            out.push(byte);
        }
        out.push(quote);
    }

    fn chunk(&self, bytes: Vec<u8>, row_ends: Vec<usize>, rows: u64) -> Result<CopyChunk> {
        if self.options.encoding == Encoding::Utf8 || self.options.format == Format::Binary || bytes.is_ascii() {
            return Ok(CopyChunk { bytes: bytes.into(), row_ends, rows });
        }
        let mut latin = Vec::with_capacity(bytes.len());
        let mut ends = Vec::with_capacity(row_ends.len());
        let mut start = 0;
        for end in row_ends {
            let text = std::str::from_utf8(&bytes[start..end]).map_err(|error| Error::internal(error.to_string()))?;
            for c in text.chars() {
                latin.push(u8::try_from(u32::from(c)).map_err(|_| no_equivalent(c))?);
            }
            ends.push(latin.len());
            start = end;
        }
        Ok(CopyChunk { bytes: latin.into(), row_ends: ends, rows })
    }
}

fn no_equivalent(c: char) -> Error {
    let mut buffer = [0; 4];
    let bytes: Vec<_> = c.encode_utf8(&mut buffer).bytes().map(|byte| format!("0x{byte:02x}")).collect();
    let sequence = bytes.join(" ");
    let message = format!(
        "character with byte sequence {sequence} in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\""
    );
    Error::new(SqlState::UNTRANSLATABLE_CHARACTER, message)
}

/// Types whose text has only digits, letters, signs, points, colons and blanks.
fn is_plain(sql_type: &SqlType) -> bool {
    use SqlType::{Bool, Date, Float4, Float8, Int2, Int4, Int8, Numeric, Time, Timestamp, TimestampTz, Uuid};
    sql_type.is_oid()
        || matches!(
            sql_type,
            Bool | Int2 | Int4 | Int8 | Float4 | Float8 | Numeric(_) | Date | Time | Timestamp | TimestampTz | Uuid
        )
}

fn binary_row(encoders: &[(&WriterColumn, ColumnEncoder)], row: usize, out: &mut Vec<u8>) -> Result<()> {
    let too_large = || Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "row is too large to send");
    let count = i16::try_from(encoders.len()).map_err(|_| too_large())?;
    out.extend_from_slice(&count.to_be_bytes());
    for (_, encoder) in encoders {
        if encoder.is_null(row) {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            continue;
        }
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        encoder.write_binary(row, out);
        let length = i32::try_from(out.len() - at - 4).map_err(|_| too_large())?;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
