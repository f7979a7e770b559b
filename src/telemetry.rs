//! Logs and metrics.

use crate::config::{ConfigError, LogFormat};

/// The server's counters, rendered for Prometheus at /metrics.
#[derive(Debug, Default)]
pub struct Metrics {}

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
