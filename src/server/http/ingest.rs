//! `POST /v1/ingest/{table}`: a body of documents into a table, in one transaction.
//!
//! ```text
//! curl -T events.ndjson http://localhost:8433/v1/ingest/events
//! {"table":"events","documents":5,"rows":2,"dead_letters":3,"new_columns":[{"name":"amount","type":"bigint"}],"lsn":7}
//! ```
//! The answer comes when all of it is durable. A body that is cut off leaves nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Site, login};
use crate::error::SqlState;
use crate::instance::Instance;
use crate::plan::split_name;
use crate::session::Session;
use crate::statement::control::Name;
use crate::statement::ingest::{Format, Ingest, Report};
use crate::{Error, Result};

/// Bodies up to this size are tried again where another writer changed the table's columns meanwhile.
const RETRY_BYTES: usize = 32 << 20;
/// How often.
const TRIES_MAX: u32 = 20;

/// What the address says beside the table.
#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    database: Option<String>,
    /// `json`, `ndjson`, `csv`
    format: Option<String>,
}

/// A request, as far as its head tells.
struct Request {
    table: Name,
    format: Format,
    source: String,
}

pub(super) async fn ingest(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(table): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        let request = request(&table, &parameters, &headers, peer)?;
        let client = login::login(&site.instance, &headers, parameters.database.as_deref(), peer)?;
        let instance = Arc::clone(&site.instance);
        let (registration, session) = client;
        registration.handle().activity.lock().query = format!("POST /v1/ingest/{table}");
        // Decoding computes; clients and the log have threads of their own.
        let work = site.instance.query_threads.spawn(async move {
            let answer = run(&instance, session, &request, body).await;
            drop(registration);
            answer
        });
        work.await.map_err(|error| Error::internal(format!("ingestion panicked: {error}")))?
    };
    match answer.await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => refusal(&site.instance, &error),
    }
}

fn request(table: &str, parameters: &Parameters, headers: &HeaderMap, peer: SocketAddr) -> Result<Request> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let format = match (parameters.format.as_deref(), content.as_str()) {
        (Some("json"), _)
        | (None, "application/json" | "" | "application/octet-stream" | "application/x-www-form-urlencoded") => {
            Format::Json
        }
        (Some("ndjson" | "jsonl"), _)
        | (None, "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines") => {
            Format::Lines
        }
        (Some("csv"), _) | (None, "text/csv") => Format::Csv,
        (Some(other), _) => return Err(unsupported(format!("format \"{other}\" is not supported"))),
        (None, other) => return Err(unsupported(format!("content type \"{other}\" is not supported"))),
    };
    let encoding = text(header::CONTENT_ENCODING);
    if !matches!(encoding, "" | "identity") {
        return Err(unsupported(format!("content encoding \"{encoding}\" is not supported")));
    }
    let table = Name { parts: split_name(table)?, offset: 0 };
    Ok(Request { table, format, source: format!("http {}", peer.ip()) })
}

fn unsupported(message: String) -> Error {
    Error::unsupported(message).hint("Send application/json, application/x-ndjson or text/csv, not compressed.")
}

/// Reads the body once, and ingests it until it is committed.
async fn run(instance: &Arc<Instance>, mut session: Session, request: &Request, body: Body) -> Result<Value> {
    let cancel = session.handle.terminate.child_token();
    let mut kept = Kept::default();
    let mut report = first(&mut session, request, body, &mut kept, &cancel).await;
    let mut tries = 1;
    let mut turn = None;
    while let (Err(error), Some(bytes)) = (&report, &kept.bytes) {
        if *error.code() != SqlState::T_R_SERIALIZATION_FAILURE || tries == TRIES_MAX {
            break;
        }
        tries += 1;
        if turn.is_none() {
            turn = Some(instance.evolution.lock().await);
        }
        let bytes = bytes.clone();
        report = again(&mut session, request, &bytes, &cancel).await;
    }
    drop(turn);
    session.rollback();
    let report = report?;
    let columns: Vec<Value> =
        report.new_columns.iter().map(|(name, data_type)| json!({ "name": name, "type": data_type })).collect();
    Ok(json!({
        "table": request.table.to_string(),
        "documents": report.documents,
        "rows": report.rows,
        "dead_letters": report.dead_letters,
        "new_columns": columns,
        "lsn": instance.store.snapshot().lsn,
    }))
}

/// The body so far, unless it is too large to be kept.
struct Kept {
    bytes: Option<Vec<u8>>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { bytes: Some(vec![]) }
    }
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        match &mut self.bytes {
            Some(kept) if kept.len() + bytes.len() <= RETRY_BYTES => kept.extend_from_slice(bytes),
            kept => *kept = None,
        }
    }
}

async fn first(
    session: &mut Session,
    request: &Request,
    body: Body,
    kept: &mut Kept,
    cancel: &CancellationToken,
) -> Result<Report> {
    let mut ingest = Ingest::begin(session, &request.table, request.format, &request.source, cancel)?;
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk: Bytes = chunk
            .map_err(|error| Error::new(SqlState::BAD_COPY_FILE_FORMAT, format!("the body cannot be read: {error}")))?;
        if cancel.is_cancelled() {
            return Err(Error::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command"));
        }
        kept.add(&chunk);
        ingest.push(&chunk).await?;
    }
    done(session, ingest).await
}

async fn again(session: &mut Session, request: &Request, bytes: &[u8], cancel: &CancellationToken) -> Result<Report> {
    session.rollback();
    let mut ingest = Ingest::begin(session, &request.table, request.format, &request.source, cancel)?;
    ingest.push(bytes).await?;
    done(session, ingest).await
}

async fn done(session: &mut Session, ingest: Ingest) -> Result<Report> {
    let report = ingest.finish(session).await?;
    session.commit().await?;
    Ok(report)
}

/// An error as HTTP says it, with the SQLSTATE.
fn refusal(instance: &Instance, error: &Error) -> Response {
    instance.metrics.error(error.code());
    let code = error.code();
    let status = match code.code() {
        "42P01" | "3D000" | "3F000" => StatusCode::NOT_FOUND,
        "28000" | "28P01" => StatusCode::UNAUTHORIZED,
        "42501" => StatusCode::FORBIDDEN,
        "0A000" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "40001" => StatusCode::CONFLICT,
        "53100" => StatusCode::INSUFFICIENT_STORAGE,
        "53300" => StatusCode::TOO_MANY_REQUESTS,
        "57P01" | "57P03" | "58030" => StatusCode::SERVICE_UNAVAILABLE,
        class if class.starts_with("XX") => StatusCode::INTERNAL_SERVER_ERROR,
        class if class.starts_with("53") => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let report = error.report();
    let body = json!({ "error": {
        "code": code.code(), "message": report.message, "detail": report.detail, "hint": report.hint,
    } });
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = axum::http::HeaderValue::from_static("Basic realm=\"tidemill\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
