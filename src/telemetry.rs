//! Logs and metrics.

/// The server's counters, rendered for Prometheus at /metrics.
#[derive(Debug, Default)]
pub struct Metrics {}
