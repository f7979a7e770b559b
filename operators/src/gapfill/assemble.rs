//! Puts a column of an output batch together from runs of present rows and of made ones.
//!
//! ```text
//!  pieces   rows 0..3 of batch 0 | 2 made | rows 3..9 of batch 0 | 1 made     made, in one array:  m m m
//!  output   r r r m m r r r r r r m
//! ```

use arrow::array::{Array, ArrayRef, AsArray, MutableArrayData, UInt64Array, make_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::DataType;
use std::sync::Arc;

use datafusion_common::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Rows { batch: usize, start: usize, len: usize },
    Made { len: usize },
}

/// The pieces of one column, in order.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: Vec<Piece>,
    made: usize,
}

impl Pieces {
    pub(super) fn rows(&mut self, batch: usize, start: usize, len: usize) {
        match self.pieces.last_mut() {
            Some(Piece::Rows { batch: last, start: begin, len: so_far })
                if *last == batch && *begin + *so_far == start =>
            {
                *so_far += len;
            }
            _ => self.pieces.push(Piece::Rows { batch, start, len }),
        }
    }

    pub(super) fn made(&mut self, len: usize) {
        self.made += len;
        match self.pieces.last_mut() {
            Some(Piece::Made { len: so_far }) => *so_far += len,
            _ => self.pieces.push(Piece::Made { len }),
        }
    }

    /// How many rows the array of made ones has.
    pub(super) fn made_rows(&self) -> usize {
        self.made
    }

    /// For each row of the column: none for present rows, for made ones their number.
    pub(super) fn made_places(&self) -> UInt64Array {
        let mut places = vec![];
        let mut at = 0;
        for piece in &self.pieces {
            match *piece {
                Piece::Rows { len, .. } => at += len as u64,
                Piece::Made { len } => {
                    places.extend(at..at + len as u64);
                    at += len as u64;
                }
            }
        }
        places.into()
    }

    /// Forgets the pieces.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.made = 0;
    }

    /// The column. `batches` are this column's arrays in the window.
    pub(super) fn assemble(&self, batches: &[ArrayRef], made: impl FnOnce() -> Result<ArrayRef>) -> Result<ArrayRef> {
        match self.pieces.as_slice() {
            [Piece::Rows { batch, start, len }] => return Ok(batches[*batch].slice(*start, *len)),
            [Piece::Made { .. }] => return made(),
            _ => {}
        }
        let made = if self.made > 0 { Some(made()?) } else { None };
        let mut sources: Vec<&dyn Array> = batches.iter().map(AsRef::as_ref).collect();
        sources.extend(made.as_ref().map(|made| made.as_ref() as &dyn Array));
        match sources[0].data_type() {
            // Appending dictionaries to each other may leave no room for the keys; this merges them.
            DataType::Dictionary(_, _) => Ok(interleave(&sources, &self.indices(batches.len()))?),
            _ => self.copy(&sources, batches.len()),
        }
    }

    /// The runs as (source, start, len); made rows are of source `made`.
    fn runs(&self, made: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut next = 0;
        self.pieces.iter().map(move |piece| match *piece {
            Piece::Rows { batch, start, len } => (batch, start, len),
            Piece::Made { len } => {
                next += len;
                (made, next - len, len)
            }
        })
    }

    fn indices(&self, made: usize) -> Vec<(usize, usize)> {
        self.runs(made).flat_map(|(source, start, len)| (start..start + len).map(move |row| (source, row))).collect()
    }

    fn copy(&self, sources: &[&dyn Array], made: usize) -> Result<ArrayRef> {
        let data: Vec<_> = sources.iter().map(|source| source.to_data()).collect();
        let rows = self.runs(made).map(|(_, _, len)| len).sum();
        let mut copy = MutableArrayData::new(data.iter().collect(), false, rows);
        for (source, start, len) in self.runs(made) {
            copy.try_extend(source, start, start + len)?;
        }
        Ok(make_array(copy.freeze()))
    }
}

/// A copy of one row that does not keep the rest of its array in memory.
pub(crate) fn one_row(array: &ArrayRef, row: usize) -> Result<ArrayRef> {
    Ok(detached(take(&array.slice(row, 1), &UInt64Array::from(vec![0]), None)?))
}

/// The array without the texts that are none of its own: views share those of the array they were taken from.
pub(crate) fn detached(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        _ => array,
    }
}
