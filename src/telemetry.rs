//! Logs and metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::config::{ConfigError, LogFormat};
use crate::error::SqlState;
use crate::instance::Instance;

/// The statement kinds counted apart: the first word of the command tag. Others are counted together.
const KINDS: [&str; 14] = [
    "SELECT", "INSERT", "UPDATE", "DELETE", "COPY", "BEGIN", "COMMIT", "ROLLBACK", "SET", "SHOW", "CREATE", "ALTER",
    "DROP", "FETCH",
];

/// The server's counters, rendered for Prometheus at /metrics. All count since the server started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections that got as far as a session.
    pub connections: AtomicU64,
    /// Connections refused: no slot, wrong password, unknown database.
    pub connections_refused: AtomicU64,
    /// Rows sent in results and COPY.
    pub rows_sent: AtomicU64,
    /// Bytes clients sent.
    pub bytes_received: AtomicU64,
    /// Bytes sent to clients.
    pub bytes_sent: AtomicU64,
    /// Statements whose code panicked: bugs of ours.
    pub panics: AtomicU64,
    /// Flushes of hot rows to files.
    pub flushes: AtomicU64,
    /// Compactions of files.
    pub compactions: AtomicU64,
    /// Checkpoints.
    pub checkpoints: AtomicU64,
    /// Dead letters that failed too often to be tried again.
    pub dead_letters_quarantined: AtomicU64,
    /// Pieces of background work that failed; they are tried again.
    pub background_failures: AtomicU64,
    statements: [AtomicU64; KINDS.len()],
    statements_other: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Metrics {
    /// Counts a completed statement by its command tag.
    pub fn statement(&self, tag: &str) {
        let word = tag.split(' ').next().unwrap_or(tag);
        let counter =
            KINDS.iter().position(|kind| *kind == word).map_or(&self.statements_other, |at| &self.statements[at]);
        counter.fetch_add(1, Relaxed);
    }

    /// Counts an error sent to a client by its SQLSTATE class.
    pub fn error(&self, code: &SqlState) {
        let class = code.code().get(..2).unwrap_or("XX");
        let mut errors = self.errors.lock();
        match errors.get_mut(class) {
            Some(count) => *count += 1,
            None => {
                errors.insert(class.to_owned(), 1);
            }
        }
    }
}

/// All metrics in Prometheus' text format.
pub fn render(instance: &Instance) -> String {
    let metrics = &instance.metrics;
    let wal = instance.store.wal_status();
    let cache = instance.store.cache().status();
    let mut page = Page(String::with_capacity(4096));
    let connections = instance.sessions.lock().len() as u64;
    page.one("connections", "gauge", "Clients connected.", connections);
    page.counter("connections_total", "Clients that connected.", &metrics.connections);
    page.counter("connections_refused_total", "Connections refused.", &metrics.connections_refused);
    page.head("statements_total", "counter", "Statements completed, by kind.");
    for (kind, count) in KINDS.iter().zip(&metrics.statements) {
        page.labelled("statements_total", "kind", &kind.to_ascii_lowercase(), count.load(Relaxed));
    }
    page.labelled("statements_total", "kind", "other", metrics.statements_other.load(Relaxed));
    page.head("errors_total", "counter", "Errors sent, by SQLSTATE class.");
    for (class, count) in metrics.errors.lock().iter() {
        page.labelled("errors_total", "class", class, *count);
    }
    page.counter("panics_total", "Statements that panicked.", &metrics.panics);
    page.counter("rows_sent_total", "Rows sent.", &metrics.rows_sent);
    page.counter("bytes_received_total", "Bytes received from clients.", &metrics.bytes_received);
    page.counter("bytes_sent_total", "Bytes sent to clients.", &metrics.bytes_sent);
    page.one("wal_bytes", "gauge", "Write-ahead log on disk, bytes.", wal.bytes);
    page.one("wal_segments", "gauge", "Write-ahead log segments on disk.", wal.segments);
    page.one("wal_durable_lsn", "gauge", "Newest durable log position.", wal.durable_lsn);
    page.one("wal_oldest_lsn", "gauge", "Oldest log position still needed.", wal.oldest_lsn);
    page.one("wal_syncs_total", "counter", "fsyncs of the log.", wal.syncs);
    page.one("wal_commits_total", "counter", "Transactions committed.", wal.commits);
    page.one(
        "memory_pool_bytes",
        "gauge",
        "Memory reserved by queries, bytes.",
        instance.runtime.memory_pool.reserved() as u64,
    );
    page.one("cache_bytes", "gauge", "Decoded columns kept, bytes.", cache.bytes);
    page.one("cache_budget_bytes", "gauge", "Limit of the decoded columns kept, bytes.", cache.budget);
    page.one("cache_hits_total", "counter", "Column chunks found decoded.", cache.hits);
    page.one("cache_misses_total", "counter", "Column chunks that had to be decoded.", cache.misses);
    page.counter("flushes_total", "Flushes of hot rows to files.", &metrics.flushes);
    page.counter("compactions_total", "Compactions of files.", &metrics.compactions);
    page.counter("checkpoints_total", "Checkpoints.", &metrics.checkpoints);
    page.counter(
        "dead_letters_quarantined_total",
        "Dead letters that failed too often to be tried again.",
        &metrics.dead_letters_quarantined,
    );
    page.counter("background_failures_total", "Background work that failed.", &metrics.background_failures);
    page.0
}

/// A page of metrics being written. Names get the prefix `tidemill_`.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP tidemill_{name} {help}\n# TYPE tidemill_{name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "tidemill_{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: &AtomicU64) {
        self.one(name, "counter", help, value.load(Relaxed));
    }

    fn labelled(&mut self, name: &str, label: &str, of: &str, value: u64) {
        let _ = writeln!(self.0, "tidemill_{name}{{{label}=\"{of}\"}} {value}");
    }
}

/// What is logged when nothing else is asked for: the libraries' own chatter only when it is a warning.
const LOG_FILTER_DEFAULT: &str = "warn,tidemill=info,tidemill_catalog=info";

/// Starts logging to standard error, and logs panics like any other error. Call once, first.
///
/// # Errors
/// The filter is not understood.
pub fn start_logging(filter: Option<&str>, format: LogFormat) -> Result<(), ConfigError> {
    let filter = filter.unwrap_or(LOG_FILTER_DEFAULT);
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| ConfigError::new(format!("--log \"{filter}\" is not a log filter: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let location = panic.location().map(ToString::to_string);
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(location, %backtrace, "panic: {message}");
    }));
    Ok(())
}
