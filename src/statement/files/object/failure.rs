//! What stores answer, as errors for people.

use object_store::client::{HttpError, HttpErrorKind};

use crate::Error;
use crate::error::SqlState;

/// Bytes of a store's answer that are shown: they may be a page of HTML.
const DETAIL_BYTES_MAX: usize = 1_000;

/// Why an object cannot be read or written.
pub(super) fn failed(url: &str, doing: &str, error: &object_store::Error) -> Error {
    use object_store::Error as Store;
    let missing = (SqlState::UNDEFINED_FILE, "no such object or bucket");
    let denied = (SqlState::INSUFFICIENT_PRIVILEGE, "permission denied");
    let (code, reason) = match error {
        Store::NotFound { .. } => missing,
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => denied,
        Store::Precondition { .. } | Store::NotModified { .. } => (SqlState::IO_ERROR, "it changed meanwhile"),
        Store::NotSupported { .. } | Store::NotImplemented { .. } => {
            (SqlState::FEATURE_NOT_SUPPORTED, "the store cannot do that")
        }
        Store::InvalidPath { .. } | Store::UnknownConfigurationKey { .. } => {
            (SqlState::INVALID_PARAMETER_VALUE, "invalid name")
        }
        other => match (status(&other.to_string()), http_kind(other)) {
            (Some(404), _) => missing,
            (Some(401 | 403), _) => denied,
            (_, Some(HttpErrorKind::Connect)) => {
                (SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION, "the store cannot be reached")
            }
            (_, Some(HttpErrorKind::Timeout | HttpErrorKind::Interrupted | HttpErrorKind::Request)) => {
                (SqlState::CONNECTION_FAILURE, "the connection to the store failed")
            }
            _ => (SqlState::IO_ERROR, "the store answered with an error"),
        },
    };
    let error = Error::new(code, format!("could not open \"{url}\" for {doing}: {reason}")).detail(detail(error));
    let codes = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION];
    if codes.contains(error.code()) && !url.starts_with("http") {
        return error.hint(
            "Credentials, region and endpoint come from options such as aws_access_key_id, aws_secret_access_key, aws_region and \
             aws_endpoint, or from the server's environment variables of those names.",
        );
    }
    error
}

/// The status of an answer to a listing: there `object_store` tells it by its text only.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("non-2xx status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// What was wrong with the request, however deep it is wrapped.
fn http_kind(error: &object_store::Error) -> Option<HttpErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return Some(http.kind());
        }
        cause = error.source();
    }
    None
}

/// What the store said, without the queries of URLs, which may be signed, and on one line.
pub(super) fn detail(error: &object_store::Error) -> String {
    without_queries(&error.to_string())
}

fn without_queries(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(DETAIL_BYTES_MAX));
    for word in text.split_whitespace() {
        if !shown.is_empty() {
            shown.push(' ');
        }
        match (word.contains("://"), word.split_once('?')) {
            (true, Some((url, query))) => {
                let end = query.trim_start_matches(|c: char| !matches!(c, ')' | '"' | '\'' | '<' | '>'));
                shown.push_str(url);
                shown.push_str("?…");
                shown.push_str(end);
            }
            _ => shown.push_str(word),
        }
    }
    match shown.floor_char_boundary(DETAIL_BYTES_MAX) {
        end if end < shown.len() => format!("{}…", &shown[..end]),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::{status, without_queries};

    #[test]
    fn signatures_are_not_shown() {
        let found = without_queries("Error for url (https://a.b/c?sig=secret&x=1):\n  <Error>no</Error>? yes");
        assert_eq!(found, "Error for url (https://a.b/c?…): <Error>no</Error>? yes");
        assert_eq!(without_queries(&"é".repeat(1_000)).len(), 1_000 + "…".len());
    }

    #[test]
    fn answers_to_listings() {
        assert_eq!(status("Server returned non-2xx status code: 403 Forbidden: <Error>"), Some(403));
        assert_eq!(status("non-2xx status code: é"), None);
        assert_eq!(status("error sending request"), None);
    }
}
