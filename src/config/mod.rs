//! Every limit and option, from flags, environment and file: one place.
//!
//! ```text
//! flags > environment (TIDEMILL_…) > file (--config) > defaults  →  Options → Options::resolve → Config
//! ```
//! [`Options`] is what somebody said, [`Config`] is what holds. Every limit has its unit in the name, its default here,
//! and the reason for it; limits that depend on each other are checked together in [`Options::resolve`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

/// How sizes and durations are written.
mod units;

/// What the machine has.
mod machine;

pub use units::{ByteSize, Interval, Switch};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Connections at once. 200 is what a pool in front of a few application servers needs; each costs a task and about
/// 100 kB of buffers, so the limit protects memory, not threads.
pub const CONNECTIONS_MAX_DEFAULT: usize = 250;

/// The least memory with which queries over wide rows still finish by spilling: a few 8192-row batches per operator.
pub const MEMORY_BYTES_MIN: u64 = 64 * MIB;

/// Share of the machine's memory for queries, percent. The rest is for hot rows (10–15), the column cache (25), buffers
/// of connections and the system's page cache.
const MEMORY_PERCENT: u64 = 50;

/// Share of the machine's memory for decoded columns, percent.
const CACHE_PERCENT: u64 = 25;

/// Share of `memory` that one query may take, percent: one greedy query leaves the others room to finish.
const QUERY_MEMORY_PERCENT: u64 = 80;

/// What queries may spill to disk. Ten times the memory of a large laptop; a runaway join stops before the disk is full.
const SPILL_BYTES_DEFAULT: u64 = 64 * GIB;

/// Dead letters of one database: millions of documents, and too few to fill a disk before somebody looks.
const DEAD_LETTER_BYTES_DEFAULT: u64 = GIB;

/// A log segment. Large enough that fsync of a new file is rare, small enough that clean-up follows flushes closely.
pub const WAL_SEGMENT_BYTES: u64 = 64 * MIB;

/// Log size above which tables that hold it back are flushed. Replay runs at several hundred MB/s, so a restart after
/// kill -9 stays within seconds.
pub const WAL_BYTES_MAX_DEFAULT: u64 = GIB;

/// How long a file that a table no longer needs stays on disk: other Delta readers may still be reading it.
const FILE_RETENTION_DEFAULT: Duration = Duration::from_secs(3600);

/// How long keys of requests are known: longer than a client that was cut off goes on trying.
const IDEMPOTENCY_RETENTION_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// Requests that HTTP works on at once. Each holds a batch of documents (16 MB) and, until it is committed, up to 32 MB of
/// its body for another try: 64 are 3 GB at the worst. One more is answered 429 and comes again.
const HTTP_REQUESTS_MAX_DEFAULT: usize = 64;

/// How long HTTP waits for the next bytes of a request. PostgreSQL's authentication_timeout; longer than the pause between
/// two requests of an agent that writes every ten seconds.
const HTTP_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// A body that must be on disk before it can be read (Parquet has its table of contents at the end). Far above the files
/// that lakes are made of (128 MB to 1 GB); the disk must have room for one per request at once.
const UPLOAD_BYTES_MAX_DEFAULT: u64 = 4 * GIB;

/// How long running statements may take to finish at shutdown: below the 90 s after which systemd kills.
const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Stack of each worker thread. Planning recurses over the query's tree; DataFusion grows the stack where it can, our
/// own rules rely on this. Reserved, not used, until touched.
pub const THREAD_STACK_BYTES: usize = 8 << 20;

const _: () = assert!(2 * WAL_SEGMENT_BYTES <= WAL_BYTES_MAX_DEFAULT, "a full segment and the next must fit the log");
const _: () = assert!(MEMORY_PERCENT + CACHE_PERCENT <= 80, "hot rows and connections need memory too");

/// The server's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is stored.
    pub data_dir: PathBuf,
    /// The Postgres port.
    pub pg_listen: SocketAddr,
    /// The HTTP port.
    pub http_listen: SocketAddr,
    /// Requests that HTTP works on at once; one more is refused with 429.
    pub http_requests_max: usize,
    /// How long HTTP waits for the head of a request, or for more of its body.
    pub http_idle_timeout: Duration,
    /// The largest body that is kept on disk before it is read, bytes.
    pub upload_bytes_max: u64,
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
    /// What the dead letters of one database may take, bytes; beyond it nothing is taken in that would add one.
    pub dead_letter_bytes: u64,
    /// Dead letters are deleted after this long; `None`: never.
    pub dead_letter_retention: Option<Duration>,
    /// Decoded columns kept for repeated reads, bytes.
    pub cache_bytes: u64,
    /// Answer a commit only when it is on disk. Off: survives kill -9, not power loss.
    pub fsync: bool,
    /// WAL size above which tables that hold it back are flushed, bytes.
    pub wal_bytes_max: u64,
    /// Removed files are deleted after this long.
    pub file_retention: Duration,
    /// Idempotency keys of requests may be used again after this long.
    pub idempotency_retention: Duration,
    /// Cut a damaged log at the damage (loses what follows).
    pub repair_wal: bool,
    /// Time to finish running statements at shutdown.
    pub drain_timeout: Duration,
    /// Threads for queries; 0: one per core.
    pub threads: usize,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Options as given by flags, environment or file; what is absent has its default.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Directory where everything is stored; made if missing [default: tidemill-data]
    #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// Address of the Postgres port [default: 127.0.0.1:5433]
    #[arg(long, value_name = "ADDRESS:PORT", env = "TIDEMILL_PG_LISTEN", global = true)]
    pub pg_listen: Option<SocketAddr>,
    /// Address of the HTTP port [default: 127.0.0.1:8433]
    #[arg(long, value_name = "ADDRESS:PORT", env = "TIDEMILL_HTTP_LISTEN", global = true)]
    pub http_listen: Option<SocketAddr>,
    /// Requests that HTTP works on at once [default: 64]
    #[arg(long, value_name = "NUMBER", env = "TIDEMILL_MAX_HTTP_REQUESTS", global = true)]
    pub max_http_requests: Option<usize>,
    /// How long HTTP waits for the next bytes of a request, e.g. 30s [default: 60s]
    #[arg(long, value_name = "DURATION", env = "TIDEMILL_HTTP_IDLE_TIMEOUT", global = true)]
    pub http_idle_timeout: Option<Interval>,
    /// The largest body, unpacked, that HTTP keeps on disk before it is read: Parquet [default: 4GB]
    #[arg(long, value_name = "SIZE", env = "TIDEMILL_MAX_UPLOAD", global = true)]
    pub max_upload: Option<ByteSize>,
    /// TLS certificate chain, PEM; with --tls-key
    #[arg(long, value_name = "FILE", env = "TIDEMILL_TLS_CERTIFICATE", global = true)]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the TLS certificate, PEM
    #[arg(long, value_name = "FILE", env = "TIDEMILL_TLS_KEY", global = true)]
    pub tls_key: Option<PathBuf>,
    /// Connections at once [default: 250]
    #[arg(long, value_name = "NUMBER", env = "TIDEMILL_MAX_CONNECTIONS", global = true)]
    pub max_connections: Option<usize>,
    /// Memory of all queries together, e.g. 8GB [default: half of the machine's]
    #[arg(long, value_name = "SIZE", env = "TIDEMILL_MEMORY", global = true)]
    pub memory: Option<ByteSize>,
    /// Memory of one query [default: 80% of --memory]
    #[arg(long, value_name = "SIZE", env = "TIDEMILL_QUERY_MEMORY", global = true)]
    pub query_memory: Option<ByteSize>,
    /// What the dead letters of one database may take; beyond it ingestion that would add one is refused [default: 1GB]
    #[arg(long, value_name = "SIZE", env = "TIDEMILL_DEAD_LETTERS", global = true)]
    pub dead_letters: Option<ByteSize>,
    /// Dead letters are deleted after this long, e.g. 90d [default: never]
    #[arg(long, value_name = "DURATION", env = "TIDEMILL_DEAD_LETTER_RETENTION", global = true)]
    pub dead_letter_retention: Option<Interval>,
    /// Disk that queries may spill to [default: 64GB]
    #[arg(long, value_name = "SIZE", env = "TIDEMILL_SPILL", global = true)]
    pub spill: Option<ByteSize>,
    /// Memory for decoded columns [default: a quarter of the machine's]
    #[arg(long, value_name = "SIZE", env = "TIDEMILL_CACHE", global = true)]
    pub cache: Option<ByteSize>,
    /// Answer a commit only when it is on disk; off survives kill -9 but not power loss [default: on]
    #[arg(long, value_name = "on|off", env = "TIDEMILL_FSYNC", global = true)]
    pub fsync: Option<Switch>,
    /// Log size above which tables are flushed to shorten it [default: 1GB]
    #[arg(long, value_name = "SIZE", env = "TIDEMILL_WAL_MAX", global = true)]
    pub wal_max: Option<ByteSize>,
    /// How long files that no table needs any more stay on disk, e.g. 30min [default: 1h]
    #[arg(long, value_name = "DURATION", env = "TIDEMILL_FILE_RETENTION", global = true)]
    pub file_retention: Option<Interval>,
    /// How long a request with the same Idempotency-Key gets the first one's answer [default: 24h]
    #[arg(long, value_name = "DURATION", env = "TIDEMILL_IDEMPOTENCY_RETENTION", global = true)]
    pub idempotency_retention: Option<Interval>,
    /// How long running statements may take to finish at shutdown [default: 30s]
    #[arg(long, value_name = "DURATION", env = "TIDEMILL_DRAIN_TIMEOUT", global = true)]
    pub drain_timeout: Option<Interval>,
    /// Threads for queries [default: one per core]
    #[arg(long, value_name = "NUMBER", env = "TIDEMILL_THREADS", global = true)]
    pub threads: Option<usize>,
    /// What is logged, e.g. info or warn,tidemill=debug [default: info]
    #[arg(long, value_name = "FILTER", env = "TIDEMILL_LOG", global = true)]
    pub log: Option<String>,
    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT", env = "TIDEMILL_LOG_FORMAT", value_enum, global = true)]
    pub log_format: Option<LogFormat>,
    /// Cut a damaged write-ahead log at the damage and start: what follows the damage is lost
    // Not in the file: a repair is asked for once, by a person.
    #[arg(long, global = true)]
    #[serde(skip)]
    pub repair_wal: bool,
}

/// Why a configuration cannot be used; the message names the option.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// With that message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl Options {
    /// The options in a TOML file.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has an unknown name: the message says where.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError(format!("cannot read the configuration file \"{}\": {error}", path.display()))
        })?;
        Self::from_toml(&text)
            .map_err(|ConfigError(error)| ConfigError(format!("configuration file \"{}\": {error}", path.display())))
    }

    fn from_toml(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError(error.to_string().trim_end().to_owned()))
    }

    /// These options, and `other`'s where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(other.data_dir),
            pg_listen: self.pg_listen.or(other.pg_listen),
            http_listen: self.http_listen.or(other.http_listen),
            max_http_requests: self.max_http_requests.or(other.max_http_requests),
            http_idle_timeout: self.http_idle_timeout.or(other.http_idle_timeout),
            max_upload: self.max_upload.or(other.max_upload),
            tls_certificate: self.tls_certificate.or(other.tls_certificate),
            tls_key: self.tls_key.or(other.tls_key),
            max_connections: self.max_connections.or(other.max_connections),
            memory: self.memory.or(other.memory),
            query_memory: self.query_memory.or(other.query_memory),
            dead_letters: self.dead_letters.or(other.dead_letters),
            dead_letter_retention: self.dead_letter_retention.or(other.dead_letter_retention),
            spill: self.spill.or(other.spill),
            cache: self.cache.or(other.cache),
            fsync: self.fsync.or(other.fsync),
            wal_max: self.wal_max.or(other.wal_max),
            file_retention: self.file_retention.or(other.file_retention),
            idempotency_retention: self.idempotency_retention.or(other.idempotency_retention),
            drain_timeout: self.drain_timeout.or(other.drain_timeout),
            threads: self.threads.or(other.threads),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
            repair_wal: self.repair_wal || other.repair_wal,
        }
    }

    /// The configuration: defaults filled in, limits checked against each other.
    ///
    /// # Errors
    /// A limit that cannot work, named.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        self.resolve_on(machine::memory_bytes())
    }

    fn resolve_on(&self, machine_bytes: u64) -> Result<Config, ConfigError> {
        let memory_bytes = self.memory.map_or(machine_bytes / 100 * MEMORY_PERCENT, ByteSize::bytes).max(1);
        let config = Config {
            data_dir: self.data_dir.clone().unwrap_or_else(|| "tidemill-data".into()),
            pg_listen: self.pg_listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 5433))),
            http_listen: self.http_listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8433))),
            http_requests_max: self.max_http_requests.unwrap_or(HTTP_REQUESTS_MAX_DEFAULT),
            http_idle_timeout: self.http_idle_timeout.map_or(HTTP_IDLE_TIMEOUT_DEFAULT, Interval::duration),
            upload_bytes_max: self.max_upload.map_or(UPLOAD_BYTES_MAX_DEFAULT, ByteSize::bytes),
            tls_certificate: self.tls_certificate.clone(),
            tls_key: self.tls_key.clone(),
            connections_max: self.max_connections.unwrap_or(CONNECTIONS_MAX_DEFAULT),
            memory_bytes: if self.memory.is_some() { memory_bytes } else { memory_bytes.max(MEMORY_BYTES_MIN) },
            query_memory_bytes: 0,
            spill_bytes: self.spill.map_or(SPILL_BYTES_DEFAULT, ByteSize::bytes),
            dead_letter_bytes: self.dead_letters.map_or(DEAD_LETTER_BYTES_DEFAULT, ByteSize::bytes),
            dead_letter_retention: self.dead_letter_retention.map(Interval::duration),
            cache_bytes: self.cache.map_or(machine_bytes / 100 * CACHE_PERCENT, ByteSize::bytes),
            fsync: self.fsync.is_none_or(Switch::is_on),
            wal_bytes_max: self.wal_max.map_or(WAL_BYTES_MAX_DEFAULT, ByteSize::bytes),
            file_retention: self.file_retention.map_or(FILE_RETENTION_DEFAULT, Interval::duration),
            idempotency_retention: self.idempotency_retention.map_or(IDEMPOTENCY_RETENTION_DEFAULT, Interval::duration),
            repair_wal: self.repair_wal,
            drain_timeout: self.drain_timeout.map_or(DRAIN_TIMEOUT_DEFAULT, Interval::duration),
            threads: self.threads.unwrap_or(0),
        };
        let config = Config {
            query_memory_bytes: self
                .query_memory
                .map_or(config.memory_bytes / 100 * QUERY_MEMORY_PERCENT, ByteSize::bytes),
            ..config
        };
        config.check()?;
        Ok(config)
    }
}

impl Config {
    /// Checks the limits against each other: all in one place, so that no combination is forgotten.
    fn check(&self) -> Result<(), ConfigError> {
        let error = |message: String| Err(ConfigError(message));
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return error("--tls-certificate and --tls-key must be given together".into());
        }
        if self.pg_listen == self.http_listen && self.pg_listen.port() != 0 {
            return error(format!("--pg-listen and --http-listen cannot both be {}", self.pg_listen));
        }
        if self.connections_max == 0 {
            return error("--max-connections must be at least 1".into());
        }
        if self.http_requests_max == 0 {
            return error("--max-http-requests must be at least 1".into());
        }
        if self.http_idle_timeout.is_zero() {
            return error("--http-idle-timeout must be above 0".into());
        }
        if self.memory_bytes < MEMORY_BYTES_MIN {
            let (given, least) = (ByteSize::new(self.memory_bytes), ByteSize::new(MEMORY_BYTES_MIN));
            return error(format!("--memory {given} is too small: queries need at least {least}"));
        }
        if self.query_memory_bytes > self.memory_bytes || self.query_memory_bytes == 0 {
            let (given, most) = (ByteSize::new(self.query_memory_bytes), ByteSize::new(self.memory_bytes));
            return error(format!("--query-memory {given} must be above 0 and no more than --memory {most}"));
        }
        if self.wal_bytes_max < 2 * WAL_SEGMENT_BYTES {
            let (given, least) = (ByteSize::new(self.wal_bytes_max), ByteSize::new(2 * WAL_SEGMENT_BYTES));
            return error(format!("--wal-max {given} is too small: two log segments, {least}, must fit"));
        }
        Ok(())
    }

    /// Worker threads: as configured, else one per core.
    pub fn worker_threads(&self) -> usize {
        if self.threads > 0 { self.threads } else { std::thread::available_parallelism().map_or(2, usize::from) }
    }
}

#[cfg(test)]
mod tests;
