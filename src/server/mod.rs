//! IN/OUT: bytes to requests and back. Knows no tables.

/// HTTP: /metrics, /health.
pub mod http;

/// The Postgres wire protocol.
pub mod pgwire;
