//! HTTP: /metrics for Prometheus, /health.
