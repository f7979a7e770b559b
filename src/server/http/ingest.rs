//! `POST /v1/ingest/{table}`: a body of documents into a table, in one transaction.
//!
//! ```text
//! curl -T events.ndjson http://localhost:8433/v1/ingest/events
//! {"table":"events","documents":5,"rows":2,"dead_letters":3,"new_columns":[{"name":"amount","type":"bigint"}],"lsn":7}
//! ```
//! The answer comes when all of it is durable.

use std::net::SocketAddr;

use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{self, Job};
use super::unpack::Packing;
use super::{Site, login};
use crate::instance::Instance;
use crate::plan::split_name;
use crate::statement::control::Name;
use crate::statement::ingest::Format;
use crate::{Error, Result};

/// What the address says beside the table.
#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    database: Option<String>,
    /// `json`, `ndjson`, `csv`
    format: Option<String>,
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
        let (format, packing) = (format(&parameters, &headers)?, Packing::of(&headers)?);
        let job = Job::Documents { table: Name { parts: split_name(&table)?, offset: 0 }, format };
        let client = login::login(&site.instance, login::credentials(&headers), parameters.database.as_deref(), peer)?;
        client.0.handle().activity.lock().query = format!("POST /v1/ingest/{table}");
        let source = format!("http {}", peer.ip());
        body::ingest(&site.instance, client, job, source, (body, packing)).await
    };
    match answer.await {
        Ok(done) => {
            let column = |(name, data_type): &(String, String)| json!({ "name": name, "type": data_type });
            let new: Vec<Value> = done.report.new_columns.iter().map(column).collect();
            let widened: Vec<Value> = done.report.widened_columns.iter().map(column).collect();
            let answer = json!({
                "table": table,
                "documents": done.report.documents,
                "rows": done.report.rows,
                "dead_letters": done.report.dead_letters,
                "new_columns": new,
                "widened_columns": widened,
                "lsn": done.lsn,
            });
            Json(answer).into_response()
        }
        Err(error) => refusal(&site.instance, &error),
    }
}

fn format(parameters: &Parameters, headers: &HeaderMap) -> Result<Format> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let unsupported = |what: &str, given: &str| {
        Error::unsupported(format!("{what} \"{given}\" is not supported"))
            .hint("Send application/json, application/x-ndjson or text/csv.")
    };
    let content = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(match (parameters.format.as_deref(), content.as_str()) {
        (Some("json"), _) => Format::Json,
        (Some("ndjson" | "jsonl"), _) => Format::Lines,
        (Some("csv"), _) | (None, "text/csv") => Format::Csv,
        (Some(other), _) => return Err(unsupported("format", other)),
        (None, "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines") => {
            Format::Lines
        }
        // What curl says where it is told nothing.
        (None, "" | "application/json" | "application/octet-stream" | "application/x-www-form-urlencoded") => {
            Format::Json
        }
        (None, other) => return Err(unsupported("content type", other)),
    })
}

/// The status of an error.
pub(super) fn status(error: &Error) -> StatusCode {
    StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// An answer that asks for a password, if the error says so.
pub(super) fn challenged(status: StatusCode, mut response: Response) -> Response {
    if status == StatusCode::UNAUTHORIZED {
        let challenge = axum::http::HeaderValue::from_static("Basic realm=\"tidemill\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// An error as HTTP says it, with the SQLSTATE.
fn refusal(instance: &Instance, error: &Error) -> Response {
    instance.metrics.error(error.code());
    let (status, report) = (status(error), error.report());
    let body = json!({ "error": {
        "code": error.code().code(), "message": report.message, "detail": report.detail, "hint": report.hint,
    } });
    challenged(status, (status, Json(body)).into_response())
}
