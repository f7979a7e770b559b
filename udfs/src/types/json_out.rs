//! [`JsonEncoder`]: the values of an Arrow array as JSON, as PostgreSQL's `to_json` writes them, one at a time.
//!
//! Numbers are bare with all their digits, unless JSON has no such number (NaN, infinity); json and jsonb are as they are;
//! timestamps have a T in the middle; arrays and records are nested; all else is its text in quotes.

use arrow::array::ArrayRef;
use memchr::memchr;

use super::json::write_string;
use super::text_out::Values;
use super::{ColumnEncoder, DateOutput, SqlType, TextSettings, ValueError};

/// Writes the values of one array as JSON.
pub struct JsonEncoder {
    encoder: ColumnEncoder,
    /// Texts are JSON already.
    is_json: bool,
}

impl JsonEncoder {
    /// An encoder of `array`, whose values are of `sql_type`.
    ///
    /// # Errors
    /// As [`ColumnEncoder::new`].
    pub fn new(array: &ArrayRef, sql_type: &SqlType, settings: &TextSettings) -> Result<Self, ValueError> {
        // Whatever DateStyle says: JSON is for programs.
        let settings = TextSettings { date_output: DateOutput::Iso, ..settings.clone() };
        Ok(Self { encoder: ColumnEncoder::new(array, sql_type, &settings)?, is_json: is_json(sql_type) })
    }

    /// Appends a value; `null` for NULL.
    #[inline]
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        write(&self.encoder, self.is_json, row, out);
    }
}

fn is_json(sql_type: &SqlType) -> bool {
    matches!(sql_type.innermost(), SqlType::Json | SqlType::Jsonb)
}

fn write(encoder: &ColumnEncoder, is_json: bool, row: usize, out: &mut Vec<u8>) {
    if encoder.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    let start = out.len();
    match &encoder.values {
        Values::Null => out.extend_from_slice(b"null"),
        Values::Bool(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
        Values::Int2(_) | Values::Int4(_) | Values::Int8(_) => encoder.write_text(row, out),
        Values::Float4(_) | Values::Float8(_) | Values::Numeric(..) | Values::Numeric256(..) => {
            encoder.write_text(row, out);
            if !out.last().is_some_and(u8::is_ascii_digit) {
                quote(start, out);
            }
        }
        Values::Text(array) if is_json => out.extend_from_slice(array.value(row).as_bytes()),
        Values::Jsonb(array) => out.extend_from_slice(array.value(row).as_bytes()),
        Values::Text(array) => write_string(array.value(row), out),
        Values::Timestamp(_) | Values::TimestampTz(_) => {
            encoder.write_text(row, out);
            to_iso(start, out);
            quote(start, out);
        }
        Values::List(lists) => {
            let is_json = is_json || is_json_type(&lists.element_type);
            out.push(b'[');
            for (at, element) in lists.range(row).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(&lists.elements, is_json, element, out);
            }
            out.push(b']');
        }
        Values::Record(members) => {
            out.push(b'{');
            for (at, (name, sql_type, member)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_string(name, out);
                out.push(b':');
                write(member, self::is_json(sql_type), row, out);
            }
            out.push(b'}');
        }
        _ => {
            encoder.write_text(row, out);
            quote(start, out);
        }
    }
}

fn is_json_type(sql_type: &SqlType) -> bool {
    matches!(sql_type, SqlType::Json | SqlType::Jsonb)
}

/// Makes a JSON string of the text from `start`.
fn quote(start: usize, out: &mut Vec<u8>) {
    if out[start..].iter().any(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let text = out.split_off(start);
        write_string(std::str::from_utf8(&text).expect("the text of values is UTF-8"), out);
        return;
    }
    out.push(b'"');
    out[start..].rotate_right(1);
    out.push(b'"');
}

/// Makes `2024-01-02T03:04:05+00:00` of `2024-01-02 03:04:05+00` from `start` on. Infinity stays.
fn to_iso(start: usize, out: &mut Vec<u8>) {
    let Some(space) = memchr(b' ', &out[start..]) else { return };
    let time = start + space + 1;
    out[time - 1] = b'T';
    let Some(zone) = out[time..].iter().position(|byte| matches!(byte, b'+' | b'-')) else { return };
    let zone = time + zone;
    // ` BC` comes after it.
    let end = memchr(b' ', &out[zone..]).map_or(out.len(), |found| zone + found);
    if memchr(b':', &out[zone..end]).is_none() {
        out.splice(end..end, *b":00");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::parse_scalar;

    #[test]
    fn values_as_to_json_writes_them() {
        let settings = TextSettings { date_output: DateOutput::German, ..TextSettings::default() };
        let cases = [
            ("bool", "t", "true"),
            ("int8", "9223372036854775807", "9223372036854775807"),
            ("numeric", "12345678901234567890.5", "12345678901234567890.5"),
            ("numeric(10,2)", "1.5", "1.50"),
            ("float8", "NaN", "\"NaN\""),
            ("float8", "-Infinity", "\"-Infinity\""),
            ("float8", "1e300", "1e+300"),
            ("float4", "0.1", "0.1"),
            ("text", "a\"b\\c\n\u{1}é😀", "\"a\\\"b\\\\c\\n\\u0001é😀\""),
            ("text", "", "\"\""),
            ("char(3)", "a", "\"a  \""),
            ("bytea", "\\x00ff", "\"\\\\x00ff\""),
            ("date", "2024-02-29", "\"2024-02-29\""),
            ("timestamp", "2024-02-29 01:02:03.5", "\"2024-02-29T01:02:03.5\""),
            ("timestamptz", "2024-02-29 01:02:03+00", "\"2024-02-29T01:02:03+00:00\""),
            ("timestamptz", "0044-03-15 00:00:00+00 BC", "\"0044-03-15T00:00:00+00:00 BC\""),
            ("timestamptz", "infinity", "\"infinity\""),
            ("interval", "1 day 2 hours", "\"1 day 02:00:00\""),
            ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\""),
            ("json", " {\"b\" : 1, \"a\":2} ", " {\"b\" : 1, \"a\":2} "),
            ("jsonb", "{\"b\" : 1, \"a\":2}", "{\"a\": 2, \"b\": 1}"),
            ("oid", "26", "\"26\""),
            ("int4[]", "{1,NULL,3}", "[1,null,3]"),
            ("int4[]", "{}", "[]"),
            ("text[]", "{a,\"b c\",\"\\\"\"}", "[\"a\",\"b c\",\"\\\"\"]"),
            ("jsonb[]", "{1,\"{\\\"a\\\":1}\"}", "[1,{\"a\": 1}]"),
        ];
        for (sql_type, text, expected) in cases {
            let sql_type = SqlType::parse(sql_type).expect("a type");
            let value = parse_scalar(&sql_type, text, &TextSettings::default()).expect(text);
            let array = value.to_array_of_size(2).expect("an array");
            let mut out = b"x".to_vec();
            JsonEncoder::new(&array, &sql_type, &settings).expect("an encoder").write(1, &mut out);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), format!("x{expected}"), "{}", sql_type.name());
        }
        let nulls = arrow::array::new_null_array(&arrow::datatypes::DataType::Int32, 1);
        let mut out = vec![];
        JsonEncoder::new(&nulls, &SqlType::Int4, &settings).expect("an encoder").write(0, &mut out);
        assert_eq!(out, b"null");
    }
}
