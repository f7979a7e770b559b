//! Every limit and option, from flags, environment and file: one place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The server's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is stored.
    pub data_dir: PathBuf,
    /// The Postgres port.
    pub pg_listen: SocketAddr,
    /// The HTTP port: /metrics, /health.
    pub http_listen: SocketAddr,
    /// TLS certificate chain and private key (PEM). Both or none; if they cannot be read, the server does not start.
    pub tls_certificate: Option<PathBuf>,
    /// See `tls_certificate`.
    pub tls_key: Option<PathBuf>,
    /// Connections at once; one more is refused with 53300.
    pub connections_max: usize,
    /// Memory of all queries together, bytes.
    pub memory_bytes: u64,
    /// Memory of one query, bytes.
    pub query_memory_bytes: u64,
    /// Disk that queries may spill to, bytes.
    pub spill_bytes: u64,
    /// Decoded columns kept for repeated reads, bytes.
    pub cache_bytes: u64,
    /// Answer a commit before it is on disk: survives kill -9, not power loss.
    pub fsync: bool,
    /// WAL size above which tables that hold it back are flushed, bytes.
    pub wal_bytes_max: u64,
    /// Removed files are deleted after this long.
    pub file_retention: Duration,
    /// Cut a damaged log at the damage (loses what follows).
    pub repair_wal: bool,
    /// Time to finish running statements at shutdown.
    pub drain_timeout: Duration,
    /// Threads for queries; 0: one per core.
    pub threads: usize,
}
