//! Batches to DataRow messages: columns are typed once per batch, then rows are written straight into the buffer.

use std::sync::Arc;

use bytes::BytesMut;
use datafusion::arrow::array::RecordBatch;
use tidemill_udfs::types::{ColumnEncoder, SqlType, TextSettings};

use crate::error::SqlState;
use crate::session::Column;
use crate::{Error, Result};

/// Once the buffer holds this many bytes, [`RowEncoder::encode_batch`] stops after the row, so that wide rows cannot fill
/// the memory however many of them are asked for.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// The longest message PostgreSQL's clients take.
const MESSAGE_BYTES_MAX: usize = 0x3fff_ffff;

/// Encodes the rows of one result.
#[derive(Debug)]
pub struct RowEncoder {
    columns: Vec<(SqlType, bool)>,
    any_binary: bool,
    settings: Arc<TextSettings>,
    buffer: Vec<u8>,
}

impl RowEncoder {
    /// An encoder of rows with these columns. `formats`: none: text for all; one: for all; else one per column.
    ///
    /// # Errors
    /// 08P01 for another number of formats, 22023 for an unknown one.
    pub fn new(columns: &[Column], formats: &[i16], settings: Arc<TextSettings>) -> Result<Self> {
        if formats.len() > 1 && formats.len() != columns.len() {
            return Err(Error::new(
                SqlState::PROTOCOL_VIOLATION,
                format!("bind message has {} result formats but query has {} columns", formats.len(), columns.len()),
            ));
        }
        let columns = columns
            .iter()
            .enumerate()
            .map(|(at, column)| match formats.get(at).or(formats.first()).copied().unwrap_or(0) {
                0 => Ok((column.sql_type.clone(), false)),
                1 => Ok((column.sql_type.clone(), true)),
                other => {
                    let message = format!("unsupported format code: {other}");
                    Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let any_binary = columns.iter().any(|(_, binary)| *binary);
        Ok(Self { columns, any_binary, settings, buffer: vec![] })
    }

    /// Appends DataRow messages for rows from `from_row` on: at most `max_rows`, and no more after [`CHUNK_BYTES`]. Returns
    /// how many: at least one, if there is one.
    ///
    /// # Errors
    /// 22003 for an unsigned integer above bigint, 2202E for a ragged array in binary, 54000 for a row above 1 GB.
    pub fn encode_batch(
        &mut self,
        batch: &RecordBatch,
        from_row: usize,
        max_rows: usize,
        out: &mut BytesMut,
    ) -> Result<usize> {
        let to_row = batch.num_rows().min(from_row.saturating_add(max_rows));
        if from_row >= to_row {
            return Ok(0);
        }
        if batch.num_columns() != self.columns.len() {
            let message = format!("{} columns where {} were told", batch.num_columns(), self.columns.len());
            return Err(Error::internal(message));
        }
        let mut encoders = Vec::with_capacity(self.columns.len());
        for ((sql_type, binary), array) in self.columns.iter().zip(batch.columns()) {
            let encoder = ColumnEncoder::new(array, sql_type, &self.settings)?;
            if self.any_binary && *binary {
                encoder.check_binary()?;
            }
            encoders.push((encoder, *binary));
        }
        self.buffer.clear();
        let limit = CHUNK_BYTES.saturating_sub(out.len());
        let mut row = from_row;
        while row < to_row && (row == from_row || self.buffer.len() < limit) {
            write_row(&encoders, row, &mut self.buffer)?;
            row += 1;
        }
        out.extend_from_slice(&self.buffer);
        // A few huge values must not keep their memory for the rest of the result.
        self.buffer.shrink_to(4 * CHUNK_BYTES);
        Ok(row - from_row)
    }
}

#[inline]
fn write_row(encoders: &[(ColumnEncoder, bool)], row: usize, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    out.push(b'D');
    out.extend_from_slice(&[0; 4]);
    let count = i16::try_from(encoders.len()).map_err(|_| too_large())?;
    out.extend_from_slice(&count.to_be_bytes());
    for (encoder, binary) in encoders {
        if encoder.is_null(row) {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            continue;
        }
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        if *binary {
            encoder.write_binary(row, out);
        } else {
            encoder.write_text(row, out);
        }
        let length = out.len() - at - 4;
        set_length(out, at, length)?;
    }
    let length = out.len() - start - 1;
    set_length(out, start + 1, length)
}

#[inline]
fn set_length(out: &mut [u8], at: usize, length: usize) -> Result<()> {
    match i32::try_from(length) {
        Ok(word) if length <= MESSAGE_BYTES_MAX => {
            out[at..at + 4].copy_from_slice(&word.to_be_bytes());
            Ok(())
        }
        _ => Err(too_large()),
    }
}

#[cold]
fn too_large() -> Error {
    Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "row is too large to send")
}

#[cfg(test)]
mod tests;
