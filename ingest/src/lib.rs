//! Ingestion: documents in, rows of a table out, with the schema changes they need and the documents that could not be rows.
//! Bytes in, batches out: knows no sockets, no tables and no clock, and starts nothing. Builds on the types of `udfs`.
//!
//! ```text
//! bytes → documents → values → [rows] → Decoded { batch, changes, dead letters }
//! ```
//!
//! Whoever calls commits all of a [`Decoded`] in one transaction. What is wrong with a document concerns that document only.

/// Rows under construction: columns by field, types by value, and what happens when they disagree.
mod rows;

/// JSON: objects, arrays of objects, one object on each line.
mod json;

/// InfluxDB's line protocol.
mod line;

/// CSV with a header.
mod csv;

/// Arrow batches, streams and files.
mod batches;

mod name;
mod outcome;
mod shape;
mod value;

#[cfg(test)]
mod testing;

pub use batches::{ArrowReader, BatchDecoder};
pub use csv::{CsvDecoder, CsvOptions};
pub use json::{JsonDecoder, JsonFormat};
pub use line::{LineDecoder, LineOptions, Precision, ShapeOf};
pub use outcome::{Counts, DeadLetter, Decoded, Defaults, Position, SchemaChange};
pub use shape::{Evolve, Limits, Nested, REST, ShapeColumn, TableShape};
