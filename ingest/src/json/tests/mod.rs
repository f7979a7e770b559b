//! JSON documents in, rows, changes and dead letters out. One table of cases per subject; `decode` is the only place that
//! calls the decoder.

use std::fmt::Write;

use tidemill_udfs::types::SqlType;

use super::*;
use crate::testing::{adding, check_counts, flattening, shown, table, text_of};
use crate::{Evolve, ShapeColumn};

mod evolve;
mod existing;
mod frames;
mod random;

/// All batches of the documents, pushed in chunks of so many bytes.
fn decode(shape: TableShape, format: JsonFormat, documents: &[u8], chunk: usize) -> Vec<Decoded> {
    let mut decoder = JsonDecoder::new(format, shape, TextSettings::default());
    let mut all = vec![];
    for chunk in documents.chunks(chunk) {
        decoder.push(chunk);
        all.extend(std::iter::from_fn(|| decoder.take_batch()));
    }
    decoder.finish();
    all.extend(std::iter::from_fn(|| decoder.take_batch()));
    all.iter().for_each(check_counts);
    all
}

/// Runs documents whole and in small pieces, and compares.
fn check(shape: &TableShape, documents: &str, expected: &str) {
    let whole = shown(&decode(shape.clone(), JsonFormat::Auto, documents.as_bytes(), usize::MAX));
    let trimmed = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    assert_eq!(whole.trim_end(), trimmed, "of {documents}");
    for chunk in [1, 3, 7] {
        let cut = shown(&decode(shape.clone(), JsonFormat::Auto, documents.as_bytes(), chunk));
        assert_eq!(cut, whole, "in chunks of {chunk}: {documents}");
    }
}
