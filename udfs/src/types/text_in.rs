//! [`ColumnParser`]: values of one type in, as text or in PostgreSQL's binary form, an Arrow array out.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int16Builder, Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder, ListArray, NullBufferBuilder,
    StringViewBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;

use super::sql_type::{NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX};
use super::{
    SqlType, TextSettings, ValueError, array_in, binary_in, bytes, datetime_in, interval, json, number, numeric,
};

/// Parses the values of one column. After an error the parser is to be dropped: a part of the value may be in it.
pub struct ColumnParser {
    pub(super) sql_type: SqlType,
    settings: TextSettings,
    pub(super) builder: Builder,
}

/// The array under construction, by type.
pub(super) enum Builder {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Numeric(Decimal128Builder, numeric::Target),
    Oid(UInt32Builder),
    /// Text that needs no check but of its encoding.
    Text(StringViewBuilder),
    /// Text that the type checks or changes.
    Checked(StringViewBuilder),
    Bytea(BinaryViewBuilder, Vec<u8>),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampTz(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    List(Box<ListBuilder>),
}

/// Lists under construction: the parser of the elements, and where each list ends.
pub(super) struct ListBuilder {
    pub(super) elements: ColumnParser,
    pub(super) offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    /// int2vector, oidvector: elements with blanks between them, without braces.
    pub(super) vector: bool,
}

impl ColumnParser {
    /// A parser of values of that type.
    ///
    /// # Errors
    /// 0A000 for types that have no input (record).
    pub fn new(sql_type: &SqlType, settings: &TextSettings) -> Result<Self, ValueError> {
        Self::with_capacity(sql_type, settings, 0)
    }

    /// As [`Self::new`], with room for so many values.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn with_capacity(sql_type: &SqlType, settings: &TextSettings, rows: usize) -> Result<Self, ValueError> {
        let builder = match sql_type {
            SqlType::Bool => Builder::Bool(BooleanBuilder::with_capacity(rows)),
            SqlType::Int2 => Builder::Int2(Int16Builder::with_capacity(rows)),
            SqlType::Int4 => Builder::Int4(Int32Builder::with_capacity(rows)),
            SqlType::Int8 => Builder::Int8(Int64Builder::with_capacity(rows)),
            SqlType::Float4 => Builder::Float4(Float32Builder::with_capacity(rows)),
            SqlType::Float8 => Builder::Float8(Float64Builder::with_capacity(rows)),
            SqlType::Numeric(modifier) => {
                let (precision, scale) = modifier.unwrap_or((NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE));
                if precision > NUMERIC_PRECISION_MAX || scale < 0 {
                    return Err(ValueError::new("0A000", format!("type {} has no input", sql_type.name())));
                }
                let builder =
                    Decimal128Builder::with_capacity(rows).with_data_type(DataType::Decimal128(precision, scale));
                Builder::Numeric(builder, numeric::Target { precision, scale, exact: modifier.is_none() })
            }
            SqlType::Text | SqlType::Varchar(None) | SqlType::Unknown | SqlType::Void => {
                Builder::Text(StringViewBuilder::with_capacity(rows))
            }
            SqlType::Varchar(_)
            | SqlType::Char(_)
            | SqlType::CharByte
            | SqlType::Name
            | SqlType::Uuid
            | SqlType::Json
            | SqlType::Jsonb
            | SqlType::Enum(_) => Builder::Checked(StringViewBuilder::with_capacity(rows)),
            SqlType::Bytea => Builder::Bytea(BinaryViewBuilder::with_capacity(rows), vec![]),
            SqlType::Date => Builder::Date(Date32Builder::with_capacity(rows)),
            SqlType::Time => Builder::Time(Time64MicrosecondBuilder::with_capacity(rows)),
            SqlType::Timestamp => Builder::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows)),
            SqlType::TimestampTz => Builder::TimestampTz(
                TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(sql_type.data_type()),
            ),
            SqlType::Interval => Builder::Interval(IntervalMonthDayNanoBuilder::with_capacity(rows)),
            SqlType::Array(_) | SqlType::Int2Vector | SqlType::OidVector => {
                let element = sql_type.element().expect("arrays and vectors have elements");
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0);
                Builder::List(Box::new(ListBuilder {
                    elements: Self::with_capacity(&element, settings, rows)?,
                    offsets,
                    nulls: NullBufferBuilder::new(rows),
                    vector: !matches!(sql_type, SqlType::Array(_)),
                }))
            }
            SqlType::Record => {
                return Err(ValueError::new("0A000", "input of anonymous composite types is not implemented"));
            }
            SqlType::Oid
            | SqlType::RegClass
            | SqlType::RegType
            | SqlType::RegProc
            | SqlType::RegProcedure
            | SqlType::RegOperator
            | SqlType::RegNamespace
            | SqlType::RegRole
            | SqlType::Xid => Builder::Oid(UInt32Builder::with_capacity(rows)),
        };
        Ok(Self { sql_type: sql_type.clone(), settings: settings.clone(), builder })
    }

    /// Appends a value from its text.
    ///
    /// # Errors
    /// As PostgreSQL's input function of the type: 22P02, 22003, 22007, 22008, 22001, …
    #[inline]
    pub fn push(&mut self, text: &[u8]) -> Result<(), ValueError> {
        let settings = &self.settings;
        match &mut self.builder {
            Builder::Float8(builder) => builder.append_value(number::parse_float(text)?),
            Builder::Text(builder) => builder.append_value(utf8(text)?),
            Builder::TimestampTz(builder) => builder.append_value(datetime_in::parse_timestamptz(text, settings)?),
            Builder::Timestamp(builder) => builder.append_value(datetime_in::parse_timestamp(text, settings)?),
            Builder::Int4(builder) => builder.append_value(number::parse_int(text, &SqlType::Int4)?),
            Builder::Int8(builder) => builder.append_value(number::parse_int(text, &SqlType::Int8)?),
            Builder::Bool(builder) => builder.append_value(number::parse_bool(text)?),
            Builder::Int2(builder) => builder.append_value(number::parse_int(text, &SqlType::Int2)?),
            Builder::Float4(builder) => builder.append_value(number::parse_float(text)?),
            Builder::Numeric(builder, target) => builder.append_value(numeric::parse_numeric(text, *target)?),
            Builder::Oid(builder) => builder.append_value(number::parse_oid(text)?),
            Builder::Checked(builder) => push_checked(builder, &self.sql_type, utf8(text)?)?,
            Builder::Bytea(builder, buffer) => {
                buffer.clear();
                bytes::parse_bytea(text, buffer)?;
                builder.append_value(buffer);
            }
            Builder::Date(builder) => builder.append_value(datetime_in::parse_date(text, settings)?),
            Builder::Time(builder) => builder.append_value(datetime_in::parse_time(text, settings)?),
            Builder::Interval(builder) => builder.append_value(interval::parse_interval(text, settings)?),
            Builder::List(list) => array_in::push(list, &self.sql_type, text)?,
        }
        Ok(())
    }

    /// Appends a value from PostgreSQL's binary form.
    ///
    /// # Errors
    /// 22P03 for bytes of the wrong length or structure, else as [`Self::push`].
    pub fn push_binary(&mut self, bytes: &[u8]) -> Result<(), ValueError> {
        binary_in::push(self, bytes)
    }

    /// Appends NULL.
    pub fn push_null(&mut self) {
        match &mut self.builder {
            Builder::Bool(builder) => builder.append_null(),
            Builder::Int2(builder) => builder.append_null(),
            Builder::Int4(builder) => builder.append_null(),
            Builder::Int8(builder) => builder.append_null(),
            Builder::Float4(builder) => builder.append_null(),
            Builder::Float8(builder) => builder.append_null(),
            Builder::Numeric(builder, _) => builder.append_null(),
            Builder::Oid(builder) => builder.append_null(),
            Builder::Text(builder) | Builder::Checked(builder) => builder.append_null(),
            Builder::Bytea(builder, _) => builder.append_null(),
            Builder::Date(builder) => builder.append_null(),
            Builder::Time(builder) => builder.append_null(),
            Builder::Timestamp(builder) | Builder::TimestampTz(builder) => builder.append_null(),
            Builder::Interval(builder) => builder.append_null(),
            Builder::List(list) => {
                let end = list.offsets.last().copied().unwrap_or(0);
                list.offsets.push(end);
                list.nulls.append_null();
            }
        }
    }

    /// The values so far as an array of [`SqlType::data_type`]; the parser begins anew.
    pub fn finish(&mut self) -> ArrayRef {
        match &mut self.builder {
            Builder::Bool(builder) => Arc::new(builder.finish()),
            Builder::Int2(builder) => Arc::new(builder.finish()),
            Builder::Int4(builder) => Arc::new(builder.finish()),
            Builder::Int8(builder) => Arc::new(builder.finish()),
            Builder::Float4(builder) => Arc::new(builder.finish()),
            Builder::Float8(builder) => Arc::new(builder.finish()),
            Builder::Numeric(builder, _) => Arc::new(builder.finish()),
            Builder::Oid(builder) => Arc::new(builder.finish()),
            Builder::Text(builder) | Builder::Checked(builder) => Arc::new(builder.finish()),
            Builder::Bytea(builder, _) => Arc::new(builder.finish()),
            Builder::Date(builder) => Arc::new(builder.finish()),
            Builder::Time(builder) => Arc::new(builder.finish()),
            Builder::Timestamp(builder) | Builder::TimestampTz(builder) => Arc::new(builder.finish()),
            Builder::Interval(builder) => Arc::new(builder.finish()),
            Builder::List(list) => list.finish(&self.sql_type),
        }
    }
}

impl ListBuilder {
    /// Ends a list after the elements pushed since the last one.
    pub(super) fn end_list(&mut self, elements: usize) -> Result<(), ValueError> {
        let too_long = || ValueError::new("54000", "array size exceeds the maximum allowed");
        let elements = i32::try_from(elements).map_err(|_| too_long())?;
        let end = self.offsets.last().copied().unwrap_or(0).checked_add(elements).ok_or_else(too_long)?;
        self.offsets.push(end);
        self.nulls.append_non_null();
        Ok(())
    }

    fn finish(&mut self, sql_type: &SqlType) -> ArrayRef {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let DataType::List(field) = sql_type.data_type() else { unreachable!("arrays and vectors are lists") };
        let offsets = OffsetBuffer::new(offsets.into());
        Arc::new(ListArray::new(field, offsets, self.elements.finish(), self.nulls.finish()))
    }
}

/// Checks that bytes are text.
#[inline]
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, ValueError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if memchr::memchr(0, bytes).is_none() => Ok(text),
        Ok(_) => Err(invalid_utf8(&[0])),
        Err(error) => {
            let rest = &bytes[error.valid_up_to()..];
            // The bytes that the first one says belong together, as far as there are any.
            let length = match rest[0] {
                0xC0..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xF7 => 4,
                _ => 1,
            };
            Err(invalid_utf8(&rest[..rest.len().min(length)]))
        }
    }
}

fn invalid_utf8(bytes: &[u8]) -> ValueError {
    let shown: Vec<String> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
    ValueError::new("22021", format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")))
}

fn push_checked(builder: &mut StringViewBuilder, sql_type: &SqlType, text: &str) -> Result<(), ValueError> {
    builder.append_value(checked(sql_type, text)?);
    Ok(())
}

/// What a type keeps of a text that is its value.
pub(super) fn checked<'a>(sql_type: &SqlType, text: &'a str) -> Result<Cow<'a, str>, ValueError> {
    Ok(Cow::Borrowed(match sql_type {
        SqlType::Varchar(Some(n)) => fitted(text, *n, sql_type)?,
        // Without a length nothing is filled up, so blanks at the end must be kept to be printed.
        SqlType::Char(0) => text,
        SqlType::Char(n) => fitted(text, *n, sql_type)?.trim_end_matches(' '),
        SqlType::CharByte => text.chars().next().map_or("", |first| &text[..first.len_utf8()]),
        // NAMEDATALEN - 1
        SqlType::Name => &text[..text.floor_char_boundary(63)],
        SqlType::Uuid => return Ok(Cow::Owned(bytes::uuid_text(bytes::parse_uuid(text.as_bytes())?))),
        SqlType::Json => {
            json::validate(text)?;
            text
        }
        SqlType::Jsonb => return Ok(Cow::Owned(json::canonical(text)?)),
        SqlType::Enum(of) => of.label(text)?,
        _ => text,
    }))
}

/// The text if it has at most `n` characters; further ones may only be blanks, and are cut off.
fn fitted<'a>(text: &'a str, n: u32, sql_type: &SqlType) -> Result<&'a str, ValueError> {
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    if text.len() <= n {
        return Ok(text);
    }
    match text.char_indices().nth(n) {
        None => Ok(text),
        Some((end, _)) if text[end..].bytes().all(|c| c == b' ') => Ok(&text[..end]),
        Some(_) => Err(ValueError::new("22001", format!("value too long for type {}", sql_type.name()))),
    }
}
