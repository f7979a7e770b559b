//! Columns of Parquet files as columns of the type that all files have in common.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringViewBuilder};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimestampNanosecondType};
use datafusion::error::DataFusionError;
use tidemill_udfs::types::{ColumnParser, SqlType, TextSettings, array_to_text, json};

use super::super::shown;
use crate::{Error, Result};

/// The largest integer below which doubles keep all.
const DOUBLE_KEEPS: i64 = 1 << 53;

/// The type of a column as it is read.
///
/// # Errors
/// 0A000 for structs, maps and the like.
pub(super) fn readable(field: &Field, path: &Path) -> Result<SqlType> {
    let sql_type = SqlType::of_field(field);
    let is_unsigned = matches!(field.data_type(), DataType::UInt64);
    let holds_record = |sql_type: &SqlType| match sql_type {
        SqlType::Array(element) => **element == SqlType::Record,
        other => *other == SqlType::Record,
    };
    if holds_record(&sql_type) {
        let (name, path) = (field.name(), shown(path));
        let message = format!("column \"{name}\" of file \"{path}\" is of type {}", field.data_type());
        return Err(Error::unsupported(message).hint("Columns of structs and maps cannot be compacted."));
    }
    // Half of its values are above bigint.
    Ok(if is_unsigned { SqlType::Numeric(None) } else { sql_type })
}

/// The values in another type; `None` if it does not give back all of them.
pub(super) fn convert(
    array: &ArrayRef,
    from: &SqlType,
    to: &SqlType,
    settings: &TextSettings,
) -> Result<Option<ArrayRef>> {
    let data_type = to.data_type();
    if array.data_type() == &data_type && (from == to || !matches!(to, SqlType::Jsonb)) {
        return Ok(Some(Arc::clone(array)));
    }
    let as_text = || -> Result<ArrayRef> {
        refuse_nanoseconds(array)?;
        let plain = plain(array)?;
        Ok(Arc::new(array_to_text(&plain, &from.field("", true), settings)?))
    };
    Ok(match to {
        SqlType::Text => Some(as_text()?),
        SqlType::Jsonb => Some(Arc::new(to_json(&plain(array)?, from, settings)?)),
        SqlType::Float8 => to_double(array)?,
        SqlType::Numeric(_) if matches!(from, SqlType::Float4 | SqlType::Float8) => {
            let text = as_text()?;
            let text = text.as_string_view();
            let mut parser = ColumnParser::new(to, settings)?;
            for value in text {
                match value {
                    None => parser.push_null(),
                    Some(value) if parser.push(value.as_bytes()).is_ok() => {}
                    Some(_) => return Ok(None),
                }
            }
            Some(parser.finish())
        }
        _ => {
            let options = CastOptions { safe: true, ..CastOptions::default() };
            refuse_nanoseconds(array)?;
            let cast = cast_with_options(array, &data_type, &options).map_err(DataFusionError::from)?;
            // Safe: what does not fit is NULL.
            (cast.null_count() == array.null_count()).then_some(cast)
        }
    })
}

/// 0A000 for times with digits that no type of ours keeps.
fn refuse_nanoseconds(array: &ArrayRef) -> Result<()> {
    if let Some(times) = array.as_primitive_opt::<TimestampNanosecondType>()
        && times.iter().flatten().any(|time| time % 1_000 != 0)
    {
        return Err(Error::unsupported("timestamps with digits below microseconds cannot be compacted"));
    }
    Ok(())
}

/// The array without dictionaries and large or fixed layouts, which the encoder of texts does not know.
fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    let data_type = SqlType::of_data_type(array.data_type()).data_type();
    if array.data_type() == &data_type || matches!(array.data_type(), DataType::Decimal128(..) | DataType::UInt64) {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(array, &data_type, &options).map_err(DataFusionError::from)?)
}

fn to_double(array: &ArrayRef) -> Result<Option<ArrayRef>> {
    if matches!(array.data_type(), DataType::Float32) {
        // By the digits it shows: 0.1 stays 0.1.
        let reals = array.as_primitive::<datafusion::arrow::datatypes::Float32Type>();
        let doubles: Float64Array =
            reals.iter().map(|real| real.and_then(|real| real.to_string().parse().ok())).collect();
        return Ok(Some(Arc::new(doubles)));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    if array.data_type().is_integer() {
        let whole = cast_with_options(array, &DataType::Int64, &options).map_err(DataFusionError::from)?;
        if whole.as_primitive::<Int64Type>().iter().flatten().any(|value| value.abs() > DOUBLE_KEEPS) {
            return Ok(None);
        }
    } else if !array.data_type().is_floating() {
        return Ok(None);
    }
    let cast = cast_with_options(array, &DataType::Float64, &options).map_err(DataFusionError::from)?;
    Ok(Some(Arc::new(cast.as_primitive::<Float64Type>().clone())))
}

/// JSON values: of numbers and booleans as such, of arrays as arrays, of all others as strings.
fn to_json(
    array: &ArrayRef,
    from: &SqlType,
    settings: &TextSettings,
) -> Result<datafusion::arrow::array::StringViewArray> {
    let mut built = StringViewBuilder::with_capacity(array.len());
    if let (SqlType::Array(element), Some(list)) = (from, array.as_list_opt::<i32>()) {
        for row in 0..list.len() {
            if list.is_null(row) {
                built.append_null();
                continue;
            }
            let values = to_json(&list.value(row), element, settings)?;
            let values: Vec<&str> = values.iter().map(|value| value.unwrap_or("null")).collect();
            built.append_value(format!("[{}]", values.join(", ")));
        }
        return Ok(built.finish());
    }
    let text = array_to_text(array, &from.field("", true), settings)?;
    use SqlType::{Bool, Float4, Float8, Int2, Int4, Int8, Json, Jsonb, Numeric};
    let is_number = matches!(from, Int2 | Int4 | Int8 | Float4 | Float8 | Numeric(_));
    for value in &text {
        let Some(value) = value else {
            built.append_null();
            continue;
        };
        match from {
            Json | Jsonb => built.append_value(value),
            Bool => built.append_value(if value == "t" { "true" } else { "false" }),
            // NaN and the infinities are no JSON.
            _ if is_number && value.ends_with(|last: char| last.is_ascii_digit()) => {
                built.append_value(json::canonical(value)?);
            }
            _ => {
                let mut quoted = vec![];
                json::write_string(value, &mut quoted);
                built.append_value(String::from_utf8_lossy(&quoted));
            }
        }
    }
    Ok(built.finish())
}
