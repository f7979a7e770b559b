//! `INSERT INTO events FORMAT JSON '{"id": 1}', $1`: documents where rows would stand. New fields become columns and what does
//! not fit dead letters, as through any other door; `INSERT 0 n` counts the rows.

use datafusion::common::ScalarValue;
use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use super::super::call;
use super::super::control::InsertDocuments;
use super::{Ingest, TEXT_BYTES};
use crate::error::SqlState;
use crate::session::{Portal, Session};
use crate::{Error, Result};

/// The parameters: text, or what the client declared if that can hold documents.
pub(crate) fn parameters(insert: &InsertDocuments, types: &[SqlType]) -> Vec<SqlType> {
    let mut parameters = call::parameters(insert.documents.iter());
    for (parameter, declared) in parameters.iter_mut().zip(types) {
        if matches!(declared, SqlType::Json | SqlType::Jsonb | SqlType::Bytea | SqlType::Varchar(_)) {
            *parameter = declared.clone();
        }
    }
    parameters
}

/// Takes the documents into the table, in the session's transaction. The command tag.
///
/// # Errors
/// As [`Ingest`]; 22004 for NULL, 42804 for values that are no texts, 22023 for an unknown format.
pub(crate) async fn insert(
    session: &mut Session,
    insert: &InsertDocuments,
    portal: &Portal,
    cancel: &CancellationToken,
) -> Result<String> {
    let (format, at) = &insert.format;
    let format = call::text_format(format).map_err(|error| error.at(*at))?;
    let values = call::values(session, insert.documents.iter(), portal, cancel)?;
    let mut ingest = Ingest::begin(session, &insert.table, format, "insert", cancel)?;
    for (number, value) in values.iter().enumerate() {
        if number > 0 {
            // What is malformed in one text does not reach the next.
            ingest.next_input(format, "insert").await?;
        }
        for chunk in bytes(value)?.chunks(TEXT_BYTES) {
            ingest.push(chunk).await?;
        }
    }
    let report = ingest.finish(session).await?;
    report.notice(session);
    report.notice_columns(session, insert.table.last());
    Ok(format!("INSERT 0 {}", report.rows))
}

fn bytes(value: &ScalarValue) -> Result<&[u8]> {
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            Ok(text.as_bytes())
        }
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes)) => Ok(bytes),
        other if other.is_null() => {
            Err(Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, "a text of documents must not be null"))
        }
        other => {
            let message = format!("documents must be given as text, json or bytea, not as {}", other.data_type());
            Err(Error::new(SqlState::DATATYPE_MISMATCH, message))
        }
    }
}
