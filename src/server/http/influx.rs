//! What InfluxDB's clients send: `POST /api/v2/write` and `POST /write` with line protocol, `GET /ping`.
//!
//! Measurements are tables of the schema public, made when there is none; bucket or database is our database. Lines that
//! cannot be rows are dead letters, and the answer says how many, in the form of the version that was asked.

use std::net::SocketAddr;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tidemill_ingest::Precision;

use super::answer::{advised, counted, status};
use super::body::{self, Done, Job};
use super::login::Visitor;
use super::unpack::Packing;
use super::{Site, login};
use crate::error::Refusal;
use crate::{Error, Result};

/// Parameters of both versions.
#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    /// Version 2.
    bucket: Option<String>,
    /// Version 1.
    db: Option<String>,
    u: Option<String>,
    p: Option<String>,
    precision: Option<String>,
}

/// Which form answers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

pub(super) async fn write_v2(
    state: State<Site>,
    peer: ConnectInfo<SocketAddr>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    write(Version::Two, state, peer, parameters, headers, body).await
}

pub(super) async fn write_v1(
    state: State<Site>,
    peer: ConnectInfo<SocketAddr>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    write(Version::One, state, peer, parameters, headers, body).await
}

/// Says that somebody is here.
pub(super) async fn ping() -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [("X-Influxdb-Version", concat!("tidemill-", env!("CARGO_PKG_VERSION")))])
}

async fn write(
    version: Version,
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        let Query(parameters) = parameters?;
        let by_address = parameters.u.clone().map(|user| (user, parameters.p.clone().unwrap_or_default()));
        let visitor = Visitor::admit(&site, login::credentials(&headers).or(by_address), peer)?;
        let packing = Packing::of(&headers)?;
        let job = Job::Lines(precision(version, parameters.precision.as_deref())?);
        // `name/retention policy` of version 1.
        let named = parameters.bucket.as_deref().or(parameters.db.as_deref()).filter(|name| !name.is_empty());
        let database = named.map(|name| name.split('/').next().unwrap_or(name));
        let guest = visitor.enter(database, "POST /write")?;
        let source = (format!("line protocol {}", peer.ip()), body::key(&headers)?);
        body::ingest(&site, guest, job, source, (body, packing)).await
    };
    match answer.await {
        Ok(Done { report, reason, .. }) if report.dead_letters > 0 => {
            let reason = reason.unwrap_or_default();
            let message = format!("partial write: {reason} dropped={}", report.dead_letters);
            match version {
                Version::One => (StatusCode::BAD_REQUEST, Json(json!({ "error": message }))).into_response(),
                Version::Two => {
                    let message = format!("failure writing points to database: {message}");
                    let body = json!({ "code": "unprocessable entity", "message": message });
                    (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
                }
            }
        }
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            counted(&site.instance, &error);
            let status = status(&error);
            let message = &error.report().message;
            let body = match version {
                Version::One => json!({ "error": message }),
                Version::Two => json!({ "code": code(status), "message": message }),
            };
            advised(status, (status, Json(body)).into_response())
        }
    }
}

fn precision(version: Version, given: Option<&str>) -> Result<Precision> {
    Ok(match (version, given) {
        (_, None | Some("" | "ns" | "n")) => Precision::Nanoseconds,
        (_, Some("us" | "u")) => Precision::Microseconds,
        (_, Some("ms")) => Precision::Milliseconds,
        (_, Some("s")) => Precision::Seconds,
        (_, Some(other)) => {
            let message = format!("invalid precision \"{other}\"; valid precisions are ns, us, ms and s");
            return Err(Error::refused(Refusal::Malformed, message));
        }
    })
}

/// Version 2's words for statuses.
fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not found",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::CONFLICT => "conflict",
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported media type",
        StatusCode::UNPROCESSABLE_ENTITY => "unprocessable entity",
        StatusCode::TOO_MANY_REQUESTS => "too many requests",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => "unavailable",
        StatusCode::INTERNAL_SERVER_ERROR => "internal error",
        _ => "invalid",
    }
}
