//! HTTP: /v1/ingest for documents, InfluxDB's /write, /metrics for Prometheus, /health for load balancers and supervisors.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::instance::Instance;
use crate::telemetry;

/// Bodies on their way into tables.
mod body;

/// InfluxDB's addresses.
mod influx;

/// POST /v1/ingest/{table}.
mod ingest;

/// Roles and passwords.
mod login;

/// Compressed bodies.
pub(crate) mod unpack;

#[derive(Clone)]
struct Site {
    instance: Arc<Instance>,
    failure: Arc<OnceLock<String>>,
}

/// Serves until `stop`. `failure`: set when the log failed.
pub(super) async fn serve(
    listener: TcpListener,
    instance: Arc<Instance>,
    failure: Arc<OnceLock<String>>,
    stop: CancellationToken,
) {
    let site = Site { instance, failure };
    let router = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/v1/ingest/{table}", post(ingest::ingest).put(ingest::ingest))
        .route("/api/v2/write", post(influx::write_v2))
        .route("/write", post(influx::write_v1))
        .route("/ping", get(influx::ping))
        // Bodies are streamed: their size is no matter of memory.
        .layer(DefaultBodyLimit::disable())
        .with_state(site)
        .into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(%error, "HTTP stopped");
    }
}

/// 200 while the server takes statements, else 503 with the reason.
async fn health(State(site): State<Site>) -> (StatusCode, String) {
    if let Some(failure) = site.failure.get() {
        (StatusCode::SERVICE_UNAVAILABLE, format!("write-ahead log failed: {failure}\n"))
    } else if site.instance.shutdown.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n".to_owned())
    } else {
        (StatusCode::OK, "ok\n".to_owned())
    }
}

async fn metrics(State(site): State<Site>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::render(&site.instance))
}
