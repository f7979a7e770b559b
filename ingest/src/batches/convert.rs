//! Values of one SQL type as values of a column: as they are, by a cast that loses nothing, or through their text and the
//! column's input function, as documents are read. A value that does not fit is its row's fault.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use tidemill_udfs::types::{ColumnEncoder, JsonEncoder, SqlType, TextSettings, ValueError};

use super::Converted;
use super::normal::Normal;
use crate::rows::builder::Builder;
use crate::rows::convert::{Conversion, Target};
use crate::rows::slot::{Scratch, Slot};
use crate::value::Span;

/// The column's values as ones of the type.
///
/// # Errors
/// 0A000 for a type that no column has.
pub(super) fn convert(column: &Normal, to: &SqlType, settings: &TextSettings) -> Result<Converted, ValueError> {
    let (array, from) = (&column.array, &column.sql_type);
    if column.is_nothing() {
        let array = arrow::array::new_null_array(&to.data_type(), array.len());
        return Ok(Converted { array, faults: vec![] });
    }
    if is_same(from, to) {
        return Ok(Converted { array: Arc::clone(array), faults: vec![] });
    }
    if is_exact(from, to) {
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let result = cast_with_options(array, &to.data_type(), &options)
            .map_err(|error| ValueError::new("XX000", error.to_string()))?;
        let lost = (0..array.len()).filter(|row| result.is_null(*row) && array.is_valid(*row));
        let faults = lost.map(|row| (row, out_of_range(to))).collect();
        return Ok(Converted { array: result, faults });
    }
    by_text(array, from, to, settings)
}

/// The values are what the column has.
fn is_same(from: &SqlType, to: &SqlType) -> bool {
    match (from, to) {
        (SqlType::Text, SqlType::Varchar(None)) => true,
        (SqlType::Array(from), SqlType::Array(to)) => is_same(from, to),
        // Texts of other types are checked first.
        (from, to) => from == to && *to != SqlType::Json,
    }
}

/// Casts that keep every value they do not refuse.
fn is_exact(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::{Date, Float4, Float8, Int2, Int4, Int8, Numeric, Timestamp};
    match (from, to) {
        (Int2 | Int4 | Int8, Int2 | Int4 | Int8 | Numeric(_)) | (Int2 | Int4, Float8) | (Int2, Float4) => true,
        (Float4, Float8) | (Date, Timestamp) => true,
        // Fewer digits behind the point are rounded, as PostgreSQL does on assignment.
        (Numeric(_), Numeric(_)) => matches!(to.data_type(), DataType::Decimal128(..)),
        _ => false,
    }
}

fn out_of_range(to: &SqlType) -> ValueError {
    match to {
        SqlType::Numeric(_) => ValueError::new("22003", "numeric field overflow"),
        other => ValueError::new("22003", format!("{} out of range", other.plain_name())),
    }
}

fn by_text(array: &ArrayRef, from: &SqlType, to: &SqlType, settings: &TextSettings) -> Result<Converted, ValueError> {
    let mut builder =
        Builder::new(to).ok_or_else(|| ValueError::new("0A000", format!("type {} has no input", to.name())))?;
    let target = Target::new(to);
    let to_json = matches!(to, SqlType::Json | SqlType::Jsonb) && *from != SqlType::Text;
    let (encoder, json) = (ColumnEncoder::new(array, from, settings)?, JsonEncoder::new(array, from, settings)?);
    let (mut scratch, mut text, mut faults) = (Scratch::default(), vec![], vec![]);
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_nulls(1);
            continue;
        }
        text.clear();
        if to_json {
            json.write(row, &mut text);
        } else {
            encoder.write_text(row, &mut text);
        }
        let doc = match (from, text.as_slice()) {
            (SqlType::Bool, b"t") => "true",
            (SqlType::Bool, b"f") => "false",
            (_, text) => std::str::from_utf8(text).expect("the text of values is UTF-8"),
        };
        scratch.clear();
        let span = Span { start: 0, end: doc.len(), changed: false };
        let read = match doc.contains('\0') {
            true => Err(ValueError::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00")),
            false => Conversion { doc, scratch: &mut scratch, settings, json_strings: false }.text(&target, span),
        };
        match read {
            Ok(slot) => builder.append(slot, doc, &scratch),
            Err(error) => {
                builder.append(Slot::Null, doc, &scratch);
                faults.push((row, error));
            }
        }
    }
    Ok(Converted { array: builder.finish(), faults })
}
