//! HTTP: statements at /v1/sql, documents at /v1/ingest, InfluxDB's /write, /metrics for Prometheus, /health for load
//! balancers and supervisors. What each takes and gives is in `openapi.json`, which is served too.
//!
//! ```text
//! socket → serve (TLS, limits) → addresses → login (role, place) → sql      → Session → rows as JSON, CSV, Arrow
//!                                                                → ingest   → body → statement/ingest
//! ```

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::error::Refusal;
use crate::instance::Instance;
use crate::telemetry;

/// Errors as answers.
mod answer;

/// Bodies on their way into tables.
mod body;

/// InfluxDB's addresses.
mod influx;

/// POST /v1/ingest/{table}.
mod ingest;

/// Roles and passwords.
mod login;

/// Sockets: TLS, limits, the end.
mod serve;

/// POST /v1/sql.
mod sql;

/// Bodies as they come.
mod unpack;

pub(super) use serve::{Door, serve};

/// What all requests share.
#[derive(Clone)]
pub(super) struct Site {
    instance: Arc<Instance>,
    /// Set when the log failed.
    failure: Arc<OnceLock<String>>,
    /// Requests that may still begin to work.
    places: Arc<Semaphore>,
    /// Requests at work.
    tasks: TaskTracker,
}

impl Site {
    /// `tasks` are waited for when the server stops.
    pub(super) fn new(instance: Arc<Instance>, failure: Arc<OnceLock<String>>, tasks: TaskTracker) -> Self {
        let places = Arc::new(Semaphore::new(instance.config.http_requests_max.min(Semaphore::MAX_PERMITS)));
        Self { instance, failure, places, tasks }
    }

    /// All addresses, and the errors of other ones.
    fn router(&self) -> Router {
        let mut router = Router::new();
        for (address, methods) in addresses() {
            router = router.route(address, methods);
        }
        router
            .fallback(unknown)
            .method_not_allowed_fallback(other_method)
            // Bodies are streamed: their size is no matter of memory.
            .layer(DefaultBodyLimit::disable())
            .with_state(self.clone())
    }
}

/// Every address. `openapi.json` describes each; a test holds the two together.
fn addresses() -> [(&'static str, MethodRouter<Site>); 8] {
    [
        ("/v1/sql", post(sql::sql)),
        ("/v1/ingest/{table}", post(ingest::ingest).put(ingest::ingest)),
        ("/api/v2/write", post(influx::write_v2)),
        ("/write", post(influx::write_v1)),
        ("/ping", get(influx::ping)),
        ("/health", get(health)),
        ("/metrics", get(metrics)),
        ("/openapi.json", get(openapi)),
    ]
}

/// 200 while the server takes statements, else 503 with the reason. As JSON for who asks for that: InfluxDB's clients do.
async fn health(State(site): State<Site>, headers: HeaderMap) -> Response {
    let trouble = match site.failure.get() {
        Some(failure) => Some(format!("write-ahead log failed: {failure}")),
        None => site.instance.shutdown.is_cancelled().then(|| "shutting down".to_owned()),
    };
    let status = if trouble.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("application/json") {
        let state = if trouble.is_some() { "fail" } else { "pass" };
        let message = trouble.as_deref().unwrap_or("ready for queries and writes");
        let body = json!({ "name": "tidemill", "status": state, "message": message, "version": VERSION });
        return (status, axum::Json(body)).into_response();
    }
    (status, format!("{}\n", trouble.as_deref().unwrap_or("ok"))).into_response()
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

async fn metrics(State(site): State<Site>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::render(&site.instance))
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI.replace("{version}", VERSION))
}

/// OpenAPI 3.1.
const OPENAPI: &str = include_str!("openapi.json");

async fn unknown(State(site): State<Site>, address: Uri) -> Response {
    let message = format!("there is no address {}", address.path());
    let error = Error::refused(Refusal::UnknownAddress, message).hint("GET /openapi.json lists the addresses.");
    answer::refusal(&site.instance, &error)
}

async fn other_method(State(site): State<Site>, address: Uri) -> Response {
    let message = format!("{} takes other methods", address.path());
    let error = Error::refused(Refusal::Method, message).hint("GET /openapi.json lists them.");
    answer::refusal(&site.instance, &error)
}
