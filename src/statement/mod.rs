//! WHAT: parsing, then one file per statement that is not a plain query.

/// Text to statements.
pub mod parse;

/// COPY's formats: bytes to batches and back.
pub mod copy_format;
