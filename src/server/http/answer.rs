//! How HTTP tells of errors: a status, and the fields of PostgreSQL's ErrorResponse as JSON.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::Error;
use crate::error::{Refusal, Report};
use crate::instance::Instance;

/// When to come again after 429 and 503, seconds: what is in the way is over soon, or the client asks once more.
const RETRY_AFTER_SECONDS: &str = "1";

/// The status of an error.
pub(super) fn status(error: &Error) -> StatusCode {
    StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// An answer that also says what the client should do about its status: show a password, come again later.
pub(super) fn advised(status: StatusCode, mut response: Response) -> Response {
    let headers = response.headers_mut();
    match status {
        StatusCode::UNAUTHORIZED => {
            let challenge = HeaderValue::from_static("Basic realm=\"tidemill\", charset=\"UTF-8\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        _ => {}
    }
    response
}

/// An error as an answer.
pub(super) fn refusal(instance: &Instance, error: &Error) -> Response {
    counted(instance, error);
    let status = status(error);
    advised(status, (status, Json(json!({ "error": report(error.report()) }))).into_response())
}

/// Counts an error, and logs it if it is ours.
pub(super) fn counted(instance: &Instance, error: &Error) {
    instance.metrics.error(error.code());
    if status(error) == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(%error, "internal error");
    } else {
        tracing::debug!(code = error.code().code(), %error, "request failed");
    }
}

/// The fields of an error or notice that say something.
pub(super) fn report(report: &Report) -> Value {
    let mut fields = Map::new();
    fields.insert("sqlstate".into(), report.code.code().into());
    fields.insert("message".into(), report.message.clone().into());
    let optional = [
        ("detail", &report.detail),
        ("hint", &report.hint),
        ("context", &report.context),
        ("schema", &report.schema),
        ("table", &report.table),
        ("column", &report.column),
        ("constraint", &report.constraint),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            fields.insert(name.into(), value.clone().into());
        }
    }
    if let Some(position) = report.position {
        fields.insert("position".into(), position.into());
    }
    Value::Object(fields)
}

impl From<PathRejection> for Error {
    fn from(rejection: PathRejection) -> Self {
        Self::refused(Refusal::Malformed, rejection.body_text())
    }
}

impl From<QueryRejection> for Error {
    fn from(rejection: QueryRejection) -> Self {
        Self::refused(Refusal::Malformed, rejection.body_text())
    }
}
