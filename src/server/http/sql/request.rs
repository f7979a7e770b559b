//! What a request to /v1/sql asks: the text of statements, or a JSON object of text, parameters and database.

use std::fmt;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use super::super::unpack::{Packing, Reader};
use crate::error::{Refusal, SqlState};
use crate::instance::Instance;
use crate::session::Parameter;
use crate::{Error, Result};

/// A request, unpacked: it is in memory while it runs. What is longer is a load, for /v1/ingest.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// As many as Bind's 16 bits can count.
const PARAMETERS_MAX: usize = 65_535;

/// How deep parameters may nest; as documents in ingestion.
const DEPTH_MAX: usize = 100;

/// What is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) sql: String,
    #[serde(default, rename = "params")]
    pub(super) parameters: Parameters,
    #[serde(default)]
    pub(super) database: Option<String>,
}

/// Parameters as they are written: types are known later.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<Box<RawValue>>);

impl Parameters {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Parameters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of parameters")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Parameters, A::Error> {
                let mut values = vec![];
                while let Some(value) = all.next_element()? {
                    if values.len() == PARAMETERS_MAX {
                        return Err(A::Error::custom(format!("more than {PARAMETERS_MAX} parameters")));
                    }
                    values.push(value);
                }
                Ok(Parameters(values))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// Reads the request.
///
/// # Errors
/// 415 for another content type, 400 for what is no UTF-8 or not such an object, 413, and those of [`Reader`].
pub(super) async fn read(headers: &HeaderMap, (body, packing): (Body, Packing), instance: &Instance) -> Result<Asked> {
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = match content.as_str() {
        "application/json" => true,
        // The last one is what curl says where it is told nothing.
        "" | "text/plain" | "application/sql" | "application/x-www-form-urlencoded" => false,
        other => {
            let message = format!("content type \"{other}\" is not supported");
            return Err(Error::refused(Refusal::MediaType, message)
                .hint("Send SQL as text/plain, or an object with a member \"sql\" as application/json."));
        }
    };
    let reader = Reader::new(body, packing, instance.config.http_idle_timeout, CancellationToken::new())?;
    let text = String::from_utf8(reader.whole(REQUEST_BYTES_MAX).await?).map_err(|error| {
        let byte = error.as_bytes()[error.utf8_error().valid_up_to()];
        malformed(format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}"))
    })?;
    let asked = if is_json {
        serde_json::from_str(&text).map_err(|error| {
            malformed(format!("the request is not what it should be: {error}"))
                .hint("Send an object like {\"sql\": \"SELECT $1\", \"params\": [1]}.")
        })?
    } else {
        Asked { sql: text, ..Asked::default() }
    };
    if asked.sql.contains('\0') {
        return Err(malformed("invalid byte sequence for encoding \"UTF8\": 0x00".to_owned()));
    }
    Ok(asked)
}

fn malformed(message: String) -> Error {
    Error::refused(Refusal::Malformed, message)
}

/// The parameters as values for a statement that takes these types.
///
/// # Errors
/// 54001 for nesting that is too deep, 22P02 for an array of another kind than its type.
pub(super) fn values(parameters: Parameters, types: &[SqlType]) -> Result<Vec<Parameter>> {
    parameters.0.iter().zip(types).map(|(value, sql_type)| value_of(value.get(), sql_type)).collect()
}

/// A JSON value as the text of a value. Strings are the text itself, whatever the type; for json and jsonb arrays and objects
/// are as they are written.
fn value_of(json: &str, sql_type: &SqlType) -> Result<Parameter> {
    let text = match json.as_bytes().first() {
        Some(b'n') => return Ok(Parameter::Null),
        Some(b'"') => serde_json::from_str(json).map_err(|error| malformed(error.to_string()))?,
        Some(b'[') if matches!(sql_type, SqlType::Array(_)) => {
            let value: Value = serde_json::from_str(json).map_err(|error| malformed(error.to_string()))?;
            let mut text = String::new();
            array_text(&value, sql_type.innermost(), 0, &mut text)?;
            text
        }
        _ => json.to_owned(),
    };
    Ok(Parameter::Text(text.into()))
}

/// `{1,NULL,"a b"}`
fn array_text(value: &Value, element: &SqlType, depth: usize, out: &mut String) -> Result<()> {
    let is_json = matches!(element, SqlType::Json | SqlType::Jsonb);
    match value {
        Value::Array(elements) if !is_json || depth == 0 => {
            if depth == DEPTH_MAX {
                return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, "a parameter is nested too deeply"));
            }
            out.push('{');
            for (at, value) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                array_text(value, element, depth + 1, out)?;
            }
            out.push('}');
        }
        Value::Null => out.push_str("NULL"),
        Value::String(text) => quoted(text, out),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::Array(_) | Value::Object(_) => quoted(&written(value)?, out),
    }
    Ok(())
}

fn written(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(error.to_string()))
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_as_text() {
        let cases = [
            ("int4", "1", Some("1")),
            ("numeric", "12345678901234567890.123456789", Some("12345678901234567890.123456789")),
            ("float8", "1e400", Some("1e400")),
            ("text", "null", None),
            ("bool", "true", Some("true")),
            ("text", "\"a\\\"\\u00e9\"", Some("a\"é")),
            ("jsonb", "{\"a\": [1]}", Some("{\"a\": [1]}")),
            ("jsonb", "[1,2]", Some("[1,2]")),
            ("int4[]", "[1, null, 3]", Some("{1,NULL,3}")),
            ("int4[]", "\"{1,2}\"", Some("{1,2}")),
            ("text[]", "[\"a b\", \"\", \"NULL\", \"q\\\"\\\\\"]", Some("{\"a b\",\"\",\"NULL\",\"q\\\"\\\\\"}")),
            ("int4[]", "[[1,2],[3,4]]", Some("{{1,2},{3,4}}")),
            ("jsonb[]", "[{\"a\":1},[2]]", Some("{\"{\\\"a\\\":1}\",\"[2]\"}")),
        ];
        for (sql_type, json, expected) in cases {
            let sql_type = SqlType::parse(sql_type).expect("a type");
            let found = match value_of(json, &sql_type).expect(json) {
                Parameter::Text(bytes) => Some(String::from_utf8(bytes.to_vec()).expect("UTF-8")),
                _ => None,
            };
            assert_eq!(found.as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn objects_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<Asked>(text);
        assert_eq!(read(r#"{"sql":"SELECT 1","params":[1,"a"],"database":"d"}"#).expect("fine").parameters.len(), 2);
        for wrong in ["{}", "[]", r#"{"sql":1}"#, r#"{"sql":"","x":1}"#, r#"{"sql":"","params":{}}"#, r#"{"sql":""}}"#]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let many = format!(r#"{{"sql":"","params":[{}0]}}"#, "0,".repeat(PARAMETERS_MAX));
        assert!(read(&many).expect_err("too many").to_string().contains("65535"));
    }
}
