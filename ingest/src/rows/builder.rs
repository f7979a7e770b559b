//! Arrow arrays under construction, from [`Slot`]s.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryViewBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder, ListArray,
    NullBufferBuilder, StringViewBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef};
use tidemill_udfs::types::SqlType;

use super::slot::{Scratch, Slot};

/// The array of a column, by type.
pub(crate) enum Builder {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Numeric(Decimal128Builder),
    Oid(UInt32Builder),
    Text(StringViewBuilder),
    Bytea(BinaryViewBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    List(Box<ListBuilder>),
}

/// Arrays of arrays: the elements, and where each list ends.
pub(crate) struct ListBuilder {
    field: FieldRef,
    elements: Builder,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

/// An element takes two bytes of a document, and the limits keep a batch's documents far below 4 GB.
const ROOM: &str = "the lists of a batch have fewer than 2^31 elements";

/// Why a slot's integer fits the column.
const CHECKED: &str = "conversion checked the range";

impl Builder {
    /// `None` for types whose values no column has.
    pub(crate) fn new(sql_type: &SqlType) -> Option<Self> {
        Some(match sql_type.data_type() {
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int16 => Self::Int2(Int16Builder::new()),
            DataType::Int32 => Self::Int4(Int32Builder::new()),
            DataType::Int64 => Self::Int8(Int64Builder::new()),
            DataType::Float32 => Self::Float4(Float32Builder::new()),
            DataType::Float64 => Self::Float8(Float64Builder::new()),
            decimal @ DataType::Decimal128(..) => Self::Numeric(Decimal128Builder::new().with_data_type(decimal)),
            DataType::UInt32 => Self::Oid(UInt32Builder::new()),
            DataType::Utf8View => Self::Text(StringViewBuilder::new()),
            DataType::BinaryView => Self::Bytea(BinaryViewBuilder::new()),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Time64(_) => Self::Time(Time64MicrosecondBuilder::new()),
            timestamp @ DataType::Timestamp(..) => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(timestamp))
            }
            DataType::Interval(_) => Self::Interval(IntervalMonthDayNanoBuilder::new()),
            DataType::List(field) => Self::List(Box::new(ListBuilder {
                field,
                elements: Self::new(&sql_type.element()?)?,
                offsets: vec![0],
                nulls: NullBufferBuilder::new(0),
            })),
            _ => return None,
        })
    }

    /// Appends a value that was converted for this column's type.
    #[inline]
    pub(crate) fn append(&mut self, slot: Slot, doc: &str, scratch: &Scratch) {
        match (self, slot) {
            (Self::Int8(builder), Slot::Int(value)) => builder.append_value(value),
            (Self::Float8(builder), Slot::Float(value)) => builder.append_value(value),
            (Self::Text(builder), Slot::Text(span)) => builder.append_value(scratch.text(doc, span)),
            (Self::Timestamp(builder), Slot::Int(value)) => builder.append_value(value),
            (Self::Bool(builder), Slot::Bool(value)) => builder.append_value(value),
            (Self::Int2(builder), Slot::Int(value)) => builder.append_value(i16::try_from(value).expect(CHECKED)),
            (Self::Int4(builder), Slot::Int(value)) => builder.append_value(i32::try_from(value).expect(CHECKED)),
            // It came from a real.
            (Self::Float4(builder), Slot::Float(value)) => builder.append_value(value as f32),
            (Self::Numeric(builder), Slot::Decimal(value)) => builder.append_value(value),
            (Self::Oid(builder), Slot::Int(value)) => builder.append_value(u32::try_from(value).expect(CHECKED)),
            (Self::Bytea(builder), Slot::Bytes(start, end)) => builder.append_value(&scratch.bytes[start..end]),
            (Self::Date(builder), Slot::Int(value)) => builder.append_value(i32::try_from(value).expect(CHECKED)),
            (Self::Time(builder), Slot::Int(value)) => builder.append_value(value),
            (Self::Interval(builder), Slot::Interval(value)) => builder.append_value(value),
            (Self::List(list), Slot::List(start, end)) => {
                for slot in &scratch.list[start..end] {
                    list.elements.append(*slot, doc, scratch);
                }
                let last = list.offsets.last().copied().unwrap_or(0);
                let length = i32::try_from(end - start).expect(ROOM);
                list.offsets.push(last.checked_add(length).expect(ROOM));
                list.nulls.append_non_null();
            }
            (builder, Slot::Null) => builder.append_nulls(1),
            (_, slot) => unreachable!("{slot:?} was converted for another type"),
        }
    }

    /// Appends NULLs.
    pub(crate) fn append_nulls(&mut self, count: usize) {
        match self {
            Self::Bool(builder) => builder.append_nulls(count),
            Self::Int2(builder) => builder.append_nulls(count),
            Self::Int4(builder) => builder.append_nulls(count),
            Self::Int8(builder) => builder.append_nulls(count),
            Self::Float4(builder) => builder.append_nulls(count),
            Self::Float8(builder) => builder.append_nulls(count),
            Self::Numeric(builder) => builder.append_nulls(count),
            Self::Oid(builder) => builder.append_nulls(count),
            Self::Text(builder) => (0..count).for_each(|_| builder.append_null()),
            Self::Bytea(builder) => (0..count).for_each(|_| builder.append_null()),
            Self::Date(builder) => builder.append_nulls(count),
            Self::Time(builder) => builder.append_nulls(count),
            Self::Timestamp(builder) => builder.append_nulls(count),
            Self::Interval(builder) => builder.append_nulls(count),
            Self::List(list) => {
                let last = list.offsets.last().copied().unwrap_or(0);
                list.offsets.resize(list.offsets.len() + count, last);
                list.nulls.append_n_nulls(count);
            }
        }
    }

    /// The values so far; the builder begins anew.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int2(builder) => Arc::new(builder.finish()),
            Self::Int4(builder) => Arc::new(builder.finish()),
            Self::Int8(builder) => Arc::new(builder.finish()),
            Self::Float4(builder) => Arc::new(builder.finish()),
            Self::Float8(builder) => Arc::new(builder.finish()),
            Self::Numeric(builder) => Arc::new(builder.finish()),
            Self::Oid(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bytea(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Interval(builder) => Arc::new(builder.finish()),
            Self::List(list) => {
                let offsets = OffsetBuffer::new(std::mem::replace(&mut list.offsets, vec![0]).into());
                let elements = list.elements.finish();
                Arc::new(ListArray::new(Arc::clone(&list.field), offsets, elements, list.nulls.finish()))
            }
        }
    }

    /// The values so far; they stay.
    pub(crate) fn values(&self) -> ArrayRef {
        match self {
            Self::Bool(builder) => Arc::new(builder.finish_cloned()),
            Self::Int2(builder) => Arc::new(builder.finish_cloned()),
            Self::Int4(builder) => Arc::new(builder.finish_cloned()),
            Self::Int8(builder) => Arc::new(builder.finish_cloned()),
            Self::Float4(builder) => Arc::new(builder.finish_cloned()),
            Self::Float8(builder) => Arc::new(builder.finish_cloned()),
            Self::Numeric(builder) => Arc::new(builder.finish_cloned()),
            Self::Oid(builder) => Arc::new(builder.finish_cloned()),
            Self::Text(builder) => Arc::new(builder.finish_cloned()),
            Self::Bytea(builder) => Arc::new(builder.finish_cloned()),
            Self::Date(builder) => Arc::new(builder.finish_cloned()),
            Self::Time(builder) => Arc::new(builder.finish_cloned()),
            Self::Timestamp(builder) => Arc::new(builder.finish_cloned()),
            Self::Interval(builder) => Arc::new(builder.finish_cloned()),
            Self::List(list) => {
                let offsets = OffsetBuffer::new(list.offsets.clone().into());
                let elements = list.elements.values();
                debug_assert_eq!(elements.len(), offsets.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0)));
                Arc::new(ListArray::new(Arc::clone(&list.field), offsets, elements, list.nulls.finish_cloned()))
            }
        }
    }
}
