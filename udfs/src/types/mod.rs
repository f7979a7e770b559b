//! PostgreSQL's types over Arrow: names, oids, modifiers, and the text form of every value.
//!
//! | SQL | Arrow | told apart by |
//! |---|---|---|
//! | bool int2 int4 int8 float4 float8 | Boolean Int16 Int32 Int64 Float32 Float64 | |
//! | numeric(p,s) | Decimal128(p,s) | |
//! | numeric | Decimal128(38,16) | metadata |
//! | numeric, computed | Decimal128, Decimal256 of other scales; Decimal256(76,…) shows as many digits as a division | metadata |
//! | text varchar(n) char(n) name "char" uuid json jsonb, enums | Utf8View | metadata |
//! | bytea | BinaryView | |
//! | date time timestamp timestamptz | Date32 Time64(µs) Timestamp(µs) Timestamp(µs, UTC) | |
//! | interval | Interval(MonthDayNano) | |
//! | oid regclass regtype … | UInt32 | metadata; without: oid |
//! | array | List | the element's metadata; of enums the field's own |
//!
//! Values are stored normalised, so that comparing the Arrow values compares the SQL values: uuid in lower-case canonical
//! text, jsonb in PostgreSQL's jsonb text form (keys sorted and unique), char(n) without its trailing blanks.
//! Infinite dates and timestamps are the extreme integers, as in PostgreSQL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion_common::ScalarValue;

mod array_in;
mod binary_in;
mod binary_out;
mod bytes;
pub(crate) mod calendar;
mod datetime_in;
mod datetime_out;
pub(crate) mod datetime_words;
mod enums;
/// One value from its text.
pub mod input;
mod interval;
/// json and jsonb: validation, and jsonb's canonical text.
pub mod json;
mod json_out;
mod number;
mod numeric;
mod quotient;
mod sql_type;
mod text_in;
mod text_out;

#[cfg(test)]
mod tests;

pub use array_in::{DIMENSIONS_MAX, text_dimensions};
pub use calendar::{posix_offset, zone_by_name};
pub use enums::EnumType;
pub use json_out::JsonEncoder;
pub use quotient::{
    QUOTIENT_PRECISION, QUOTIENT_SCALE, ROOT_SCALE, power_of_ten, quotient, quotient_root, quotient_type, root_type,
    rounded,
};
pub use sql_type::{NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX};
pub use text_in::ColumnParser;
pub use text_out::ColumnEncoder;

/// Field metadata key that holds the SQL type, spelled as [`SqlType::stored`].
pub const SQL_TYPE_KEY: &str = "tidemill.type";

/// A SQL type with its modifier.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// boolean
    Bool,
    /// smallint
    Int2,
    /// integer
    Int4,
    /// bigint
    Int8,
    /// real
    Float4,
    /// double precision
    Float8,
    /// numeric, numeric(p,s)
    Numeric(Option<(u8, i8)>),
    /// text
    Text,
    /// character varying, character varying(n)
    Varchar(Option<u32>),
    /// character(n)
    Char(u32),
    /// "char", one byte
    CharByte,
    /// name
    Name,
    /// bytea
    Bytea,
    /// date
    Date,
    /// time without time zone
    Time,
    /// timestamp without time zone
    Timestamp,
    /// timestamp with time zone
    TimestampTz,
    /// interval
    Interval,
    /// uuid
    Uuid,
    /// json
    Json,
    /// jsonb
    Jsonb,
    /// oid
    Oid,
    /// regclass
    RegClass,
    /// regtype
    RegType,
    /// regproc
    RegProc,
    /// regprocedure
    RegProcedure,
    /// regoperator
    RegOperator,
    /// regnamespace
    RegNamespace,
    /// regrole
    RegRole,
    /// xid
    Xid,
    /// int2vector
    Int2Vector,
    /// oidvector
    OidVector,
    /// An enum.
    Enum(Arc<EnumType>),
    /// An array of another type.
    Array(Arc<SqlType>),
    /// The row of a relation or a row constructor.
    Record,
    /// void
    Void,
    /// A literal or parameter whose type nothing says yet (oid 705).
    Unknown,
}

/// A value that is not one of its type: carries the SQLSTATE (22P02, 22003, 22007, 22008, …).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValueError {
    /// SQLSTATE.
    pub code: &'static str,
    /// PostgreSQL's primary message.
    pub message: String,
    /// PostgreSQL's detail, if it gives one.
    pub detail: Option<String>,
    /// PostgreSQL's hint, if it gives one.
    pub hint: Option<String>,
}

/// What the text form of values depends on.
#[derive(Debug, Clone)]
pub struct TextSettings {
    /// TimeZone.
    pub time_zone: chrono_tz::Tz,
    /// DateStyle's order for input: `MDY`, `DMY`, `YMD`. Output is always ISO unless `date_style_output` says otherwise.
    pub date_order: DateOrder,
    /// DateStyle's output format.
    pub date_output: DateOutput,
    /// IntervalStyle.
    pub interval_style: IntervalStyle,
    /// extra_float_digits: > 0 prints the shortest exact form.
    pub extra_float_digits: i32,
    /// bytea_output = escape instead of hex.
    pub bytea_escape: bool,
    /// The time of the transaction's start, microseconds since the epoch: for 'now', 'today', 'tomorrow', 'yesterday'.
    pub now_us: i64,
}

/// DateStyle's order of day, month and year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DateOrder {
    /// month, day, year (the default)
    #[default]
    Mdy,
    /// day, month, year
    Dmy,
    /// year, month, day
    Ymd,
}

/// DateStyle's output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DateOutput {
    /// ISO 8601 (the default)
    #[default]
    Iso,
    /// traditional SQL
    Sql,
    /// PostgreSQL's first style
    Postgres,
    /// German
    German,
}

/// IntervalStyle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IntervalStyle {
    /// `1 year 2 mons 3 days 04:05:06`
    #[default]
    Postgres,
    /// `@ 1 year 2 mons 3 days 4 hours 5 mins 6 secs`
    PostgresVerbose,
    /// SQL standard
    SqlStandard,
    /// ISO 8601
    Iso8601,
}

impl Default for TextSettings {
    fn default() -> Self {
        Self {
            time_zone: chrono_tz::Tz::UTC,
            date_order: DateOrder::Mdy,
            date_output: DateOutput::Iso,
            interval_style: IntervalStyle::Postgres,
            extra_float_digits: 1,
            bytea_escape: false,
            now_us: 0,
        }
    }
}

impl ValueError {
    /// An error without detail or hint.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None, hint: None }
    }
}

impl From<ValueError> for datafusion_common::DataFusionError {
    fn from(error: ValueError) -> Self {
        Self::External(Box::new(error))
    }
}

/// 22P02, as PostgreSQL words it for most types.
fn input_error(type_name: &str, text: &[u8]) -> ValueError {
    let text = String::from_utf8_lossy(text);
    ValueError::new("22P02", format!("invalid input syntax for type {type_name}: \"{text}\""))
}

/// A value from its text.
///
/// # Errors
/// As [`ColumnParser::push`].
pub fn parse_scalar(sql_type: &SqlType, text: &str, settings: &TextSettings) -> Result<ScalarValue, ValueError> {
    let mut parser = ColumnParser::with_capacity(sql_type, settings, 1)?;
    parser.push(text.as_bytes())?;
    scalar(&parser.finish())
}

/// A value from PostgreSQL's binary form.
///
/// # Errors
/// As [`ColumnParser::push_binary`].
pub fn decode_scalar(sql_type: &SqlType, bytes: &[u8], settings: &TextSettings) -> Result<ScalarValue, ValueError> {
    let mut parser = ColumnParser::with_capacity(sql_type, settings, 1)?;
    parser.push_binary(bytes)?;
    scalar(&parser.finish())
}

fn scalar(array: &ArrayRef) -> Result<ScalarValue, ValueError> {
    ScalarValue::try_from_array(array, 0).map_err(|error| ValueError::new("XX000", error.to_string()))
}

/// An array of texts (of any Arrow string type) as values of a type, as assignment does it: varchar(n) refuses what is too
/// long. An explicit cast cuts it off: see [`truncate_text`].
///
/// # Errors
/// As [`ColumnParser::push`]; XX000 if the array has no texts.
pub fn array_from_text(texts: &dyn Array, sql_type: &SqlType, settings: &TextSettings) -> Result<ArrayRef, ValueError> {
    let mut parser = ColumnParser::with_capacity(sql_type, settings, texts.len())?;
    let mut push = |text: Option<&str>| match text {
        Some(text) => parser.push(text.as_bytes()),
        None => {
            parser.push_null();
            Ok(())
        }
    };
    match texts.data_type() {
        DataType::Utf8View => texts.as_string_view().iter().try_for_each(&mut push)?,
        DataType::Utf8 => texts.as_string::<i32>().iter().try_for_each(&mut push)?,
        DataType::LargeUtf8 => texts.as_string::<i64>().iter().try_for_each(&mut push)?,
        DataType::Null => (0..texts.len()).try_for_each(|_| push(None))?,
        other => return Err(ValueError::new("XX000", format!("Arrow type {other} is no text"))),
    }
    Ok(parser.finish())
}

/// The texts of an array's values, as a cast to text gives them: booleans as `true` and `false`, char(n) without blanks at
/// its end.
///
/// # Errors
/// As [`ColumnEncoder::new`].
pub fn array_to_text(array: &dyn Array, field: &Field, settings: &TextSettings) -> Result<StringViewArray, ValueError> {
    let sql_type = match SqlType::of_field(field) {
        SqlType::Char(_) => SqlType::Text,
        other => other,
    };
    let encoder = ColumnEncoder::new(&array.slice(0, array.len()), &sql_type, settings)?;
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut text = vec![];
    for row in 0..array.len() {
        if encoder.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        encoder.write_text(row, &mut text);
        if sql_type == SqlType::Bool {
            builder.append_value(if text == b"t" { "true" } else { "false" });
        } else {
            builder.append_value(std::str::from_utf8(&text).expect("the text of values is UTF-8"));
        }
    }
    Ok(builder.finish())
}

/// What an explicit cast of a text to varchar(n), char(n), name or "char" keeps of it.
pub fn truncate_text<'a>(text: &'a str, sql_type: &SqlType) -> &'a str {
    let first = |n: u32| {
        let end = text.char_indices().nth(usize::try_from(n).unwrap_or(usize::MAX));
        end.map_or(text, |(end, _)| &text[..end])
    };
    match sql_type {
        SqlType::Varchar(Some(n)) => first(*n),
        SqlType::Char(n) if *n > 0 => first(*n).trim_end_matches(' '),
        SqlType::CharByte => first(1),
        SqlType::Name => &text[..text.floor_char_boundary(63)],
        _ => text,
    }
}
