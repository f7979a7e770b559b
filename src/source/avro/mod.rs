//! Messages in Avro as JSON documents: `CREATE SOURCE … FROM KAFKA (…, format avro, schema '{…}')`.
//!
//! ```text
//! schema text ─ apache-avro ─▶ schema ─▶ nodes ─▶ types that its fields announce for new columns
//!                                          │
//! message ─ (header) ─ datum ──────────────┴────▶ one line of JSON ─▶ the path of all documents
//! ```
//! The crate reads schemas; datums are read here: its own reader takes a string that is cut off for null and reserves memory by
//! lengths that nobody checked, and for what is only passed on no tree of values is needed. A datum is read to its last byte, or
//! the message is a dead letter.

use std::collections::HashMap;
use std::sync::Arc;

use tidemill_udfs::types::SqlType;

use crate::error::SqlState;
use crate::{Error, Result};

/// Bytes to JSON.
mod datum;

/// The text of a schema to nodes.
mod schema;

/// Magic byte and id of the schema, which Confluent's serializers put before the datum.
const HEADER_BYTES: usize = 5;
/// Bytes of a schema: it is kept in the catalog, and the greatest in use are some tens of kilobytes.
const SCHEMA_BYTES_MAX: usize = 256 << 10;

/// What is before the datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// Nothing.
    None,
    /// Confluent's, with this id or any.
    Confluent(Option<u32>),
}

/// Reads messages of one schema.
#[derive(Debug)]
pub(crate) struct Messages {
    nodes: schema::Nodes,
    header: Header,
    /// By the path of the field, with points between: the type of a column that is made for it.
    pub(crate) types: Arc<HashMap<String, SqlType>>,
}

impl Messages {
    /// # Errors
    /// 22023 for what is no schema, or not one of documents.
    pub(crate) fn new(schema: &str, header: Header) -> Result<Self> {
        if schema.len() > SCHEMA_BYTES_MAX {
            let message = format!("a schema has at most {} kB", SCHEMA_BYTES_MAX >> 10);
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let nodes = schema::Nodes::parse(schema)?;
        let types = Arc::new(nodes.types());
        Ok(Self { nodes, header, types })
    }

    /// The document that a message is, on one line.
    ///
    /// # Errors
    /// 22P03 for bytes that are not exactly one datum of the schema, 22021 for strings that are not UTF-8, 22008, 54000 and
    /// 54001 for what a document cannot have.
    pub(crate) fn document(&self, message: &[u8]) -> Result<Vec<u8>> {
        let datum = match self.header {
            Header::None => message,
            Header::Confluent(expected) => {
                let invalid = |message: String| Error::new(SqlState::INVALID_BINARY_REPRESENTATION, message);
                let (&[magic, a, b, c, d], datum) = message
                    .split_first_chunk::<HEADER_BYTES>()
                    .ok_or_else(|| invalid("the message is shorter than the header of a schema's id".into()))?;
                if magic != 0 {
                    return Err(invalid("the message does not begin with the header of a schema's id".into()));
                }
                let id = u32::from_be_bytes([a, b, c, d]);
                if let Some(expected) = expected.filter(|expected| *expected != id) {
                    return Err(invalid(format!("the message has a schema of id {id}, not {expected}")));
                }
                datum
            }
        };
        datum::document(&self.nodes, datum)
    }
}

#[cfg(test)]
mod tests;
