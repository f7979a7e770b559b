//! Bind's parameters to values.

use datafusion::common::ScalarValue;
use tidemill_udfs::types::{DIMENSIONS_MAX, SqlType, TextSettings, decode_scalar, parse_scalar, text_dimensions};

use super::Parameter;
use crate::error::SqlState;
use crate::plan::{Scope, system};
use crate::{Error, Result};

/// True for types whose values are objects that text may name: regclass and its kin.
pub(super) fn may_be_name(sql_type: &SqlType) -> bool {
    sql_type.is_oid() && !matches!(sql_type, SqlType::Oid | SqlType::Xid)
}

/// The types with the dimensions that the values have, where these are more than the types': in PostgreSQL arrays of any number
/// of dimensions have one type. `None`: as they are.
pub(super) fn with_dimensions(types: &[SqlType], parameters: &[Parameter]) -> Option<Vec<SqlType>> {
    let dimensions = |parameter: &Parameter| match parameter {
        Parameter::Null => 0,
        Parameter::Text(bytes) => std::str::from_utf8(bytes).map_or(0, text_dimensions),
        Parameter::Binary(bytes) => {
            let first = bytes.first_chunk().map_or(0, |word| i32::from_be_bytes(*word));
            usize::try_from(first).unwrap_or(0).min(DIMENSIONS_MAX)
        }
    };
    let deeper: Vec<SqlType> = types
        .iter()
        .zip(parameters)
        .map(|(sql_type, parameter)| match sql_type {
            SqlType::Array(_) => sql_type.with_dimensions(dimensions(parameter)),
            other => other.clone(),
        })
        .collect();
    (deeper != types).then_some(deeper)
}

/// A parameter as a value of its type; of unknown type it is text. `scope`: where objects are looked up by name; needed for
/// types that [`may_be_name`] is true for.
///
/// # Errors
/// 22P02, 22003, … as the type's input function; 22P03 for bad binary data, 22021 for text that is not UTF-8.
pub(super) fn decode_parameter(
    sql_type: &SqlType,
    parameter: &Parameter,
    settings: &TextSettings,
    scope: Option<&Scope>,
) -> Result<ScalarValue> {
    match parameter {
        Parameter::Null => ScalarValue::try_from(&sql_type.data_type()).map_err(Error::from),
        Parameter::Text(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|error| {
                let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
                let message = format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}");
                Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
            })?;
            match scope.filter(|_| may_be_name(sql_type)) {
                Some(scope) => Ok(ScalarValue::UInt32(Some(system::resolve_reg(scope, sql_type, text)?))),
                None => Ok(parse_scalar(sql_type, text, settings)?),
            }
        }
        Parameter::Binary(bytes) => Ok(decode_scalar(sql_type, bytes, settings)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn decodes() {
        let settings = TextSettings::default();
        let decode = |sql_type: SqlType, parameter: Parameter| decode_parameter(&sql_type, &parameter, &settings, None);
        let text = |text: &'static str| Parameter::Text(Bytes::from_static(text.as_bytes()));
        let binary = |bytes: &'static [u8]| Parameter::Binary(Bytes::from_static(bytes));
        assert_eq!(decode(SqlType::Int4, text("42")).unwrap(), ScalarValue::Int32(Some(42)));
        assert_eq!(decode(SqlType::Int4, binary(b"\0\0\0\x2a")).unwrap(), ScalarValue::Int32(Some(42)));
        assert_eq!(decode(SqlType::Int4, Parameter::Null).unwrap(), ScalarValue::Int32(None));
        assert_eq!(decode(SqlType::Unknown, text("a")).unwrap(), ScalarValue::Utf8View(Some("a".into())));
        let codes = [
            (decode(SqlType::Int4, text("x")), "22P02"),
            (decode(SqlType::Int4, binary(b"\0")), "22P03"),
            (decode(SqlType::Text, binary(b"\xff")), "22021"),
            (decode(SqlType::Text, Parameter::Text(Bytes::from_static(b"\xff"))), "22021"),
        ];
        for (result, code) in codes {
            assert_eq!(result.unwrap_err().code().code(), code);
        }
    }
}
