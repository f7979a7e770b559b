//! Which texts a block of a cached column surely does not have: a Bloom filter for each, so that `device = 'd7'` looks only at
//! blocks that may have a row, even where every row group has some.
//!
//! Two bits of about sixteen a row: 1.4 % of the blocks without the value are looked at all the same (Bloom, "Space/time
//! trade-offs in hash coding with allowable errors", 1970), for a ninth more memory than the views of short texts take.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion_common::hash_utils::{QualityRandomState, create_hashes};
use datafusion_common::{Result, ScalarValue};

/// Bits of a filter for each row.
const BITS_PER_ROW: usize = 16;

const HASHES: QualityRandomState = QualityRandomState::with_seed(0);

/// The texts of one block.
#[derive(Debug)]
pub(super) struct BlockTexts {
    words: Vec<u64>,
}

impl BlockTexts {
    pub(super) fn new(block: &ArrayRef) -> Result<Self> {
        let mut hashes = vec![0; block.len()];
        create_hashes([block], &HASHES, &mut hashes)?;
        let mut texts = Self { words: vec![0; words_of(block.len())] };
        for (row, hash) in hashes.into_iter().enumerate() {
            if block.is_valid(row) {
                for bit in texts.bits(hash) {
                    texts.words[bit / 64] |= 1 << (bit % 64);
                }
            }
        }
        Ok(texts)
    }

    /// False if no row has a text with this hash.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        self.bits(hash).into_iter().all(|bit| self.words[bit / 64] >> (bit % 64) & 1 == 1)
    }

    fn bits(&self, hash: u64) -> [usize; 2] {
        let mask = self.words.len() * 64 - 1;
        [hash as usize & mask, (hash >> 32) as usize & mask]
    }
}

fn words_of(rows: usize) -> usize {
    (rows * BITS_PER_ROW).next_power_of_two().max(64) / 64
}

/// True for columns that have such filters.
pub(super) fn is_text(block: &ArrayRef) -> bool {
    block.data_type() == &DataType::Utf8View
}

/// Memory that the filter of a block takes, bytes.
pub(super) fn bytes_of(block: &ArrayRef) -> u64 {
    if is_text(block) { 8 * words_of(block.len()) as u64 } else { 0 }
}

/// The hash of a text for [`super::CachedColumn::lacks`]; `None` for what is no text.
pub(crate) fn hash(value: &ScalarValue) -> Option<u64> {
    let is_text =
        matches!(value, ScalarValue::Utf8(Some(_)) | ScalarValue::Utf8View(Some(_)) | ScalarValue::LargeUtf8(Some(_)));
    let view = is_text.then(|| value.cast_to(&DataType::Utf8View).ok()).flatten()?;
    let mut hashes = [0];
    create_hashes([view.to_array().ok()?], &HASHES, &mut hashes).ok()?;
    Some(hashes[0])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringViewArray;

    use super::*;

    #[test]
    fn no_text_that_is_there_is_missed_and_few_others_are_found() {
        // Short ones are in the view, long ones beside it; among 8,192 rows, and among few.
        for rows in [1, 100, 8192] {
            let text = |row: usize| {
                if row.is_multiple_of(3) { format!("a text that is longer {row}") } else { format!("d{row}") }
            };
            let values = (0..rows).map(|row| (row % 7 != 6).then(|| text(row)));
            let block: ArrayRef = Arc::new(StringViewArray::from_iter(values));
            let texts = BlockTexts::new(&block).unwrap();
            let may_have = |text: String| texts.may_have(hash(&ScalarValue::Utf8(Some(text))).unwrap());
            assert!((0..rows).filter(|row| row % 7 != 6).all(|row| may_have(text(row))), "{rows} rows");
            let wrong = (0..10_000).filter(|row| may_have(text(1_000_000 + row))).count();
            assert!(wrong < 300, "{wrong} of 10,000 with {rows} rows");
        }
        assert_eq!(hash(&ScalarValue::Utf8View(None)), None);
        assert_eq!(hash(&ScalarValue::Int32(Some(1))), None);
    }
}
