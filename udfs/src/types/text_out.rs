//! [`ColumnEncoder`]: the values of an Arrow array as text or in PostgreSQL's binary form, one at a time.
//!
//! The array's type is looked at once, when the encoder is made; writing a value is one branch on an enum of typed arrays
//! and appends to the caller's buffer. Types that only the engine makes (unsigned, dictionary, nanoseconds, …) are first
//! turned into those of [`SqlType::data_type`].

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, StringViewArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};

use super::number::{write_float, write_int};
use super::quotient::QUOTIENT_PRECISION;
use super::sql_type::{NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX};
use super::{SqlType, TextSettings, ValueError, binary_out, bytes, datetime_out, interval, numeric};

/// Writes the values of one array.
pub struct ColumnEncoder {
    pub(super) values: Values,
    nulls: Option<NullBuffer>,
    settings: TextSettings,
}

/// The array by type.
pub(super) enum Values {
    /// All are NULL.
    Null,
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    /// Scale; whether zeros at the end of the fraction are left out.
    Numeric(Decimal128Array, i8, bool),
    /// Scale; which digits are shown.
    Numeric256(Decimal256Array, i8, numeric::Shown),
    Oid(UInt32Array),
    Text(StringViewArray),
    /// char(n): filled up with blanks.
    Padded(StringViewArray, usize),
    Uuid(StringViewArray),
    Jsonb(StringViewArray),
    /// "char"
    CharByte(StringViewArray),
    Bytea(BinaryViewArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    TimestampTz(TimestampMicrosecondArray),
    Interval(IntervalMonthDayNanoArray),
    List(Box<Lists>),
    /// Names, types, values.
    Record(Vec<(String, SqlType, ColumnEncoder)>),
}

/// Arrays: where each begins and ends in the elements.
pub(super) struct Lists {
    pub(super) offsets: OffsetBuffer<i32>,
    pub(super) elements: ColumnEncoder,
    pub(super) element_type: SqlType,
    /// int2vector, oidvector.
    pub(super) vector: bool,
    /// No element's text needs quotes.
    plain: bool,
}

impl ColumnEncoder {
    /// An encoder of `array`, whose values are of `sql_type`.
    ///
    /// # Errors
    /// 22003 for unsigned integers above bigint; XX000 if the array cannot be of that type.
    pub fn new(array: &ArrayRef, sql_type: &SqlType, settings: &TextSettings) -> Result<Self, ValueError> {
        let array = canonical(array, sql_type)?;
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let values = Values::new(&array, sql_type, settings)?;
        Ok(Self { values, nulls, settings: settings.clone() })
    }

    /// Whether the value is NULL.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the text of a value that is not NULL.
    #[inline]
    pub fn write_text(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Float8(array) => write_float(array.value(row), self.settings.extra_float_digits, out),
            Values::Text(array) | Values::Uuid(array) | Values::Jsonb(array) | Values::CharByte(array) => {
                out.extend_from_slice(array.value(row).as_bytes());
            }
            Values::Int4(array) => write_int(array.value(row), out),
            Values::Int8(array) => write_int(array.value(row), out),
            Values::Timestamp(array) => datetime_out::write_timestamp(array.value(row), &self.settings, out),
            Values::TimestampTz(array) => datetime_out::write_timestamptz(array.value(row), &self.settings, out),
            Values::Numeric(array, scale, trimmed) => numeric::write_numeric(array.value(row), *scale, *trimmed, out),
            Values::Null => {}
            Values::Bool(array) => out.push(if array.value(row) { b't' } else { b'f' }),
            Values::Int2(array) => write_int(array.value(row), out),
            Values::Float4(array) => write_float(array.value(row), self.settings.extra_float_digits, out),
            Values::Numeric256(array, scale, shown) => {
                numeric::write_numeric256(array.value(row), *scale, *shown, out);
            }
            Values::Oid(array) => write_int(array.value(row), out),
            Values::Padded(array, width) => write_padded(array.value(row), *width, out),
            Values::Bytea(array) => bytes::write_bytea(array.value(row), self.settings.bytea_escape, out),
            Values::Date(array) => datetime_out::write_date(array.value(row), &self.settings, out),
            Values::Time(array) => datetime_out::write_time(array.value(row), out),
            Values::Interval(array) => interval::write_interval(array.value(row), self.settings.interval_style, out),
            Values::List(lists) => lists.write_text(row, out),
            Values::Record(fields) => write_record(fields, row, out),
        }
    }

    /// Appends the binary form of a value that is not NULL, without its length.
    #[inline]
    pub fn write_binary(&self, row: usize, out: &mut Vec<u8>) {
        binary_out::write(&self.values, row, out);
    }

    /// Checks that every value has a binary form: inner arrays are all of one length.
    ///
    /// # Errors
    /// 2202E for others.
    pub fn check_binary(&self) -> Result<(), ValueError> {
        binary_out::check(&self.values)
    }

    /// Whether the text of the values never has blanks, quotes, commas, braces or backslashes.
    fn is_plain(&self) -> bool {
        matches!(
            self.values,
            Values::Bool(_)
                | Values::Int2(_)
                | Values::Int4(_)
                | Values::Int8(_)
                | Values::Float4(_)
                | Values::Float8(_)
                | Values::Numeric(..)
                | Values::Numeric256(..)
                | Values::Oid(_)
                | Values::Uuid(_)
                | Values::Time(_)
                | Values::List(_)
        )
    }
}

impl Values {
    fn new(array: &ArrayRef, sql_type: &SqlType, settings: &TextSettings) -> Result<Self, ValueError> {
        // A numeric without modifier is stored with zeros it did not come with; what was computed keeps its scale.
        let stored = matches!(array.data_type(), DataType::Decimal128(NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE));
        let plain = *sql_type == SqlType::Numeric(None);
        let trimmed = plain && stored;
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int16 => Self::Int2(array.as_primitive::<Int16Type>().clone()),
            DataType::Int32 => Self::Int4(array.as_primitive::<Int32Type>().clone()),
            DataType::Int64 => Self::Int8(array.as_primitive::<Int64Type>().clone()),
            DataType::UInt32 => Self::Oid(array.as_primitive::<UInt32Type>().clone()),
            DataType::Float32 => Self::Float4(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Self::Float8(array.as_primitive::<Float64Type>().clone()),
            DataType::Decimal128(_, scale) => {
                Self::Numeric(array.as_primitive::<Decimal128Type>().clone(), *scale, trimmed)
            }
            DataType::Decimal256(precision, scale) => {
                let shown = match (plain, *precision, *scale) {
                    (true, QUOTIENT_PRECISION, _) => numeric::Shown::Significant,
                    (true, _, NUMERIC_DEFAULT_SCALE) => numeric::Shown::Trimmed,
                    _ => numeric::Shown::All,
                };
                Self::Numeric256(array.as_primitive::<Decimal256Type>().clone(), *scale, shown)
            }
            DataType::Utf8View => {
                let array = array.as_string_view().clone();
                match sql_type {
                    SqlType::Char(n) => Self::Padded(array, usize::try_from(*n).unwrap_or(0)),
                    SqlType::Uuid => Self::Uuid(array),
                    SqlType::Jsonb => Self::Jsonb(array),
                    SqlType::CharByte => Self::CharByte(array),
                    _ => Self::Text(array),
                }
            }
            DataType::BinaryView => Self::Bytea(array.as_binary_view().clone()),
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>().clone()),
            DataType::Time64(_) => Self::Time(array.as_primitive::<Time64MicrosecondType>().clone()),
            DataType::Timestamp(_, None) => Self::Timestamp(array.as_primitive::<TimestampMicrosecondType>().clone()),
            DataType::Timestamp(_, Some(_)) => {
                Self::TimestampTz(array.as_primitive::<TimestampMicrosecondType>().clone())
            }
            DataType::Interval(_) => Self::Interval(array.as_primitive::<IntervalMonthDayNanoType>().clone()),
            DataType::List(field) => {
                let list = array.as_list::<i32>();
                let element_type = match sql_type.element() {
                    // More dimensions in the value than in the declared type.
                    Some(element) if matches!(field.data_type(), DataType::List(_)) && element.element().is_none() => {
                        SqlType::Array(Arc::new(element))
                    }
                    Some(element) => element,
                    None => SqlType::of_field(field),
                };
                let elements = ColumnEncoder::new(list.values(), &element_type, settings)?;
                Self::List(Box::new(Lists {
                    offsets: list.offsets().clone(),
                    plain: elements.is_plain(),
                    elements,
                    vector: matches!(sql_type, SqlType::Int2Vector | SqlType::OidVector),
                    element_type: element_type.innermost().clone(),
                }))
            }
            DataType::Struct(fields) => Self::Record(
                fields
                    .iter()
                    .zip(array.as_struct().columns())
                    .map(|(field, column)| {
                        let sql_type = SqlType::of_field(field);
                        ColumnEncoder::new(column, &sql_type, settings)
                            .map(|encoder| (field.name().clone(), sql_type, encoder))
                    })
                    .collect::<Result<_, _>>()?,
            ),
            other => return Err(ValueError::new("XX000", format!("values of Arrow type {other} cannot be sent"))),
        })
    }
}

/// The array with the Arrow type that encoders know.
fn canonical(array: &ArrayRef, sql_type: &SqlType) -> Result<ArrayRef, ValueError> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |array: &ArrayRef, to: &DataType| {
        cast_with_options(array, to, &strict).map_err(|error| {
            let message = format!("cannot send Arrow type {} as {}: {error}", array.data_type(), sql_type.name());
            ValueError::new("XX000", message)
        })
    };
    let same_as = |field: &Arc<Field>| DataType::List(Arc::clone(field));
    match (array.data_type(), sql_type) {
        (DataType::Null | DataType::Struct(_) | DataType::List(_), _) => Ok(Arc::clone(array)),
        (DataType::Dictionary(_, value), _) => canonical(&cast(array, value)?, sql_type),
        (DataType::RunEndEncoded(_, values), _) => canonical(&cast(array, values.data_type())?, sql_type),
        (
            DataType::LargeList(field)
            | DataType::FixedSizeList(field, _)
            | DataType::ListView(field)
            | DataType::LargeListView(field),
            _,
        ) => cast(array, &same_as(field)),
        (DataType::Decimal128(..) | DataType::Decimal256(..), SqlType::Numeric(_)) => Ok(Arc::clone(array)),
        (DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale), SqlType::Numeric(_)) => {
            cast(array, &DataType::Decimal128(*precision, *scale))
        }
        (DataType::UInt64, SqlType::Int8) => {
            cast(array, &DataType::Int64).map_err(|_| ValueError::new("22003", "bigint out of range"))
        }
        (DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8, _)
            if sql_type.data_type() == DataType::Utf8View =>
        {
            if *array.data_type() == DataType::Utf8View {
                Ok(Arc::clone(array))
            } else {
                cast(array, &DataType::Utf8View)
            }
        }
        // Object identifiers that were given their names already.
        (DataType::Utf8View, sql_type) if sql_type.is_oid() => Ok(Arc::clone(array)),
        (DataType::FixedSizeBinary(_), SqlType::Bytea) => cast(&cast(array, &DataType::Binary)?, &DataType::BinaryView),
        (DataType::Timestamp(unit, Some(_)), SqlType::TimestampTz)
            if *unit == arrow::datatypes::TimeUnit::Microsecond =>
        {
            Ok(Arc::clone(array))
        }
        (from, to) if *from == to.data_type() => Ok(Arc::clone(array)),
        (from, to) => {
            let natural = SqlType::of_data_type(from);
            if to.data_type() == DataType::Utf8View && natural.data_type() != DataType::Utf8View {
                let field = Field::new("", from.clone(), true);
                return Ok(Arc::new(super::array_to_text(array, &field, &TextSettings::default())?));
            }
            cast(array, &to.data_type())
        }
    }
}

fn write_padded(text: &str, width: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    if text.len() < width || !text.is_ascii() {
        let blanks = width.saturating_sub(text.chars().count());
        out.resize(out.len() + blanks, b' ');
    }
}

impl Lists {
    pub(super) fn range(&self, row: usize) -> std::ops::Range<usize> {
        let at = |index: usize| usize::try_from(self.offsets[index]).expect("offsets are not negative");
        at(row)..at(row + 1)
    }

    fn write_text(&self, row: usize, out: &mut Vec<u8>) {
        if self.vector {
            for (at, element) in self.range(row).enumerate() {
                if at > 0 {
                    out.push(b' ');
                }
                self.elements.write_text(element, out);
            }
            return;
        }
        out.push(b'{');
        for (at, element) in self.range(row).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            if self.elements.is_null(element) {
                out.extend_from_slice(b"NULL");
                continue;
            }
            let start = out.len();
            self.elements.write_text(element, out);
            if !self.plain {
                quote_element(start, out);
            }
        }
        out.push(b'}');
    }
}

/// Puts quotes around the element from `start` if an array needs them.
fn quote_element(start: usize, out: &mut Vec<u8>) {
    let element = &out[start..];
    let special = |c: &u8| matches!(c, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t'..=b'\r');
    if element.is_empty() || element.eq_ignore_ascii_case(b"null") || element.iter().any(special) {
        quote(start, b'\\', out);
    }
}

/// Puts quotes around the text from `start`; quotes in it get `escape` before them, backslashes a second one.
fn quote(start: usize, escape: u8, out: &mut Vec<u8>) {
    let text = out.split_off(start);
    out.push(b'"');
    for c in text {
        match c {
            b'"' => out.push(escape),
            b'\\' => out.push(b'\\'),
            _ => {}
        }
        out.push(c);
    }
    out.push(b'"');
}

/// `(1,"a b",)`
fn write_record(fields: &[(String, SqlType, ColumnEncoder)], row: usize, out: &mut Vec<u8>) {
    out.push(b'(');
    for (at, (.., field)) in fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if field.is_null(row) {
            continue;
        }
        let start = out.len();
        field.write_text(row, out);
        let special = |c: &u8| matches!(c, b'"' | b'\\' | b'(' | b')' | b',' | b' ' | b'\t'..=b'\r');
        if out.len() == start || out[start..].iter().any(special) {
            quote(start, b'"', out);
        }
    }
    out.push(b')');
}
