//! WHAT: parsing, then one file per statement that is not a plain query.

/// The syntax trees of statements that are ours.
pub mod control;

/// Text to statements.
pub mod parse;

/// The formats of COPY: bytes to rows and back.
pub mod copy_format;
