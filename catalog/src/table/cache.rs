//! Decoded columns kept in memory for repeated reads.

/// A memory-budgeted cache of decoded column chunks, keyed by (file, row group, column): files are immutable, so entries
/// never go stale.
#[derive(Debug)]
pub struct ColumnCache {
    _todo: (),
}

impl ColumnCache {
    /// A cache of at most `bytes` bytes.
    pub fn new(bytes: u64) -> Self {
        let _ = bytes;
        todo!()
    }
}
