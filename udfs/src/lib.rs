//! SQL types and functions: Arrow in, Arrow out. Knows nothing of the server.

/// PostgreSQL's types over Arrow: names, oids, and the text form of every value.
pub mod types;

/// The functions, one list.
pub mod functions;
