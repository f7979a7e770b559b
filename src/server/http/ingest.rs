//! `POST /v1/ingest/{table}`: a body of documents into a table, in one transaction.
//!
//! ```text
//! curl -T events.ndjson http://localhost:8433/v1/ingest/events
//! {"table":"events","documents":5,"rows":2,"dead_letters":3,"new_columns":[{"name":"amount","type":"bigint"}],"lsn":7}
//! ```
//! The answer comes when all of it is durable. A request with the `Idempotency-Key` of an earlier one adds nothing and gets that
//! one's answer, with `"replayed":true`.

use std::net::SocketAddr;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::refusal;
use super::body::{self, Job};
use super::login::Visitor;
use super::unpack::Packing;
use super::{Site, login};
use crate::error::Refusal;
use crate::plan::split_name;
use crate::statement::control::Name;
use crate::statement::ingest::Format;
use crate::{Error, Result};

/// What the address says beside the table.
#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    database: Option<String>,
    /// `json`, `ndjson`, `csv`, `parquet`, `arrow`: wins over the content type.
    format: Option<String>,
}

pub(super) async fn ingest(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    table: Result<Path<String>, PathRejection>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        let visitor = Visitor::admit(&site, login::credentials(&headers), peer)?;
        let Path(table) = table?;
        let Query(parameters) = parameters?;
        let (format, packing) = (format(&parameters, &headers)?, Packing::of(&headers)?);
        let job = Job::Documents { table: Name { parts: split_name(&table)?, offset: 0 }, format };
        let guest = visitor.enter(parameters.database.as_deref(), &format!("POST /v1/ingest/{table}"))?;
        let source = (format!("http {}", peer.ip()), body::key(&headers)?);
        let done = body::ingest(&site, guest, job, source, (body, packing)).await?;
        Ok((table, done))
    };
    match answer.await {
        Ok((table, done)) => {
            let column = |(name, data_type): &(String, String)| json!({ "name": name, "type": data_type });
            let new: Vec<Value> = done.report.new_columns.iter().map(column).collect();
            let widened: Vec<Value> = done.report.widened_columns.iter().map(column).collect();
            let mut answer = json!({
                "table": table,
                "documents": done.report.documents,
                "rows": done.report.rows,
                "dead_letters": done.report.dead_letters,
                "new_columns": new,
                "widened_columns": widened,
                "lsn": done.lsn,
            });
            if done.replayed {
                answer["replayed"] = true.into();
            }
            Json(answer).into_response()
        }
        Err(error) => refusal(&site.instance, &error),
    }
}

fn format(parameters: &Parameters, headers: &HeaderMap) -> Result<Format> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let unsupported = |what: &str, given: &str| {
        Error::refused(Refusal::MediaType, format!("{what} \"{given}\" is not supported")).hint(
            "Send application/json, application/x-ndjson, text/csv, application/vnd.apache.parquet or \
             application/vnd.apache.arrow.stream.",
        )
    };
    let content = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(match (parameters.format.as_deref(), content.as_str()) {
        (Some("json"), _) => Format::Json,
        (Some("ndjson" | "jsonl"), _) => Format::Lines,
        (Some("csv"), _) | (None, "text/csv") => Format::Csv,
        (Some("parquet"), _) | (None, "application/vnd.apache.parquet" | "application/x-parquet") => Format::Parquet,
        (Some("arrow"), _) => Format::Arrow,
        (None, "application/vnd.apache.arrow.stream" | "application/vnd.apache.arrow.file") => Format::Arrow,
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
