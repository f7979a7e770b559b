//! Rows as the log spells them: compact for one row, near a copy for many.
//!
//! ```text
//! batch   rows | columns | per column: name, type name, array     (numbers as LEB128, text with its length before it)
//! array   nulls u8: 0 none, 1 a bitmap follows, 2 all (nothing follows)
//!         bool            bitmap
//!         fixed width     the values, little-endian
//!         text, bytes     width u8 of lengths (1, 2, 4) | lengths | the bytes
//!         list            lengths as above | number of items | their array
//! ```
//! The schema goes with every batch: ten bytes a column buy records that need nothing else to be read.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryViewArray, BooleanArray, ListArray, RecordBatch, RecordBatchOptions,
    StringViewArray, make_array, make_view, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, SchemaRef};

use crate::record::{data_type_from_name, data_type_name};
use crate::{Error, Result, hot};

#[cfg(target_endian = "big")]
compile_error!("the log copies values as they are in memory: little-endian");

const NULLS_NONE: u8 = 0;
const NULLS_SOME: u8 = 1;
const NULLS_ALL: u8 = 2;

/// Appends a number, seven bits a byte, least first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends bytes after their length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes being read. Every error means the record's writer and reader disagree: the checksum was right.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

fn malformed<T>(what: &str) -> Result<T> {
    Err(Error::Invalid(format!("log record: {what}")))
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return malformed("it ends too early");
        };
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        malformed("a number is too long")
    }

    pub(crate) fn length(&mut self) -> Result<usize> {
        usize::try_from(self.number()?).or_else(|_| malformed("a length is too great"))
    }

    pub(crate) fn oid(&mut self) -> Result<crate::Oid> {
        crate::Oid::try_from(self.number()?).or_else(|_| malformed("an oid is too great"))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).or_else(|_| malformed("text is not UTF-8"))
    }
}

/// Appends a batch as `hot::to_physical` makes it.
///
/// # Errors
/// `Invalid` for a type that tables do not hold.
pub(crate) fn put_batch(out: &mut Vec<u8>, batch: &RecordBatch) -> Result<()> {
    put_number(out, batch.num_rows() as u64);
    put_number(out, batch.num_columns() as u64);
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        put_bytes(out, field.name().as_bytes());
        put_bytes(out, data_type_name(field.data_type())?.as_bytes());
        put_array(out, array.as_ref())?;
    }
    Ok(())
}

/// Reads a batch. `likely` is the schema of the last one read: the same schema is then shared, not made again.
pub(crate) fn batch(reader: &mut Reader<'_>, likely: &mut Option<SchemaRef>) -> Result<RecordBatch> {
    let rows = reader.length()?;
    let columns = reader.length()?;
    let mut arrays = Vec::with_capacity(columns.min(1 << 16));
    let mut is_likely = likely.as_ref().is_some_and(|schema| schema.fields().len() == columns);
    let mut fields: Vec<(String, DataType)> = Vec::new();
    for column in 0..columns {
        let (name, type_name) = (reader.text()?, reader.text()?);
        let known = likely.as_ref().filter(|_| is_likely).map(|schema| schema.field(column));
        let data_type = match known {
            Some(field) if field.name() == name && is_type_named(field, type_name) => field.data_type().clone(),
            _ => {
                if is_likely {
                    let before = likely.iter().flat_map(|schema| schema.fields().iter()).take(column);
                    fields = before.map(|field| (field.name().clone(), field.data_type().clone())).collect();
                    is_likely = false;
                }
                data_type_from_name(type_name)?
            }
        };
        arrays.push(array(reader, &data_type, rows)?);
        if !is_likely {
            fields.push((name.to_owned(), data_type));
        }
    }
    let schema = match likely {
        Some(schema) if is_likely => Arc::clone(schema),
        _ => hot::schema_of(fields.iter().map(|(name, data_type)| (name.as_str(), data_type))),
    };
    *likely = Some(Arc::clone(&schema));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
}

fn is_type_named(field: &Field, name: &str) -> bool {
    data_type_name(field.data_type()).is_ok_and(|own| own == name)
}

fn put_array(out: &mut Vec<u8>, array: &dyn Array) -> Result<()> {
    match array.null_count() {
        0 => out.push(NULLS_NONE),
        nulls if nulls == array.len() => {
            out.push(NULLS_ALL);
            return Ok(());
        }
        _ => {
            out.push(NULLS_SOME);
            let nulls = array.nulls().expect("an array with nulls has a null buffer");
            put_bits(out, nulls.inner());
        }
    }
    match array.data_type() {
        DataType::Boolean => put_bits(out, array.as_boolean().values()),
        DataType::Utf8View => {
            let array = array.as_string_view();
            put_values(out, array.len(), |row| if array.is_null(row) { &[] } else { array.value(row).as_bytes() })
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            put_values(out, array.len(), |row| if array.is_null(row) { &[] } else { array.value(row) })
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            let lengths: Vec<u32> = offsets.windows(2).map(|pair| pair[0].abs_diff(pair[1])).collect();
            put_lengths(out, &lengths);
            let first = usize::try_from(offsets[0]).expect("offsets are not negative");
            let end = usize::try_from(offsets[list.len()]).expect("offsets are not negative");
            put_number(out, (end - first) as u64);
            return put_array(out, list.values().slice(first, end - first).as_ref());
        }
        fixed => {
            let Some(width) = fixed.primitive_width() else {
                return Err(Error::Invalid(format!("a table cannot hold the type {fixed}")));
            };
            let data = array.to_data();
            let start = data.offset() * width;
            out.extend_from_slice(&data.buffers()[0].as_slice()[start..start + data.len() * width]);
        }
    }
    Ok(())
}

fn put_bits(out: &mut Vec<u8>, bits: &BooleanBuffer) {
    let length = bits.len().div_ceil(8);
    let start = out.len();
    out.extend_from_slice(&bits.sliced().as_slice()[..length]);
    // What lies beyond the last row is not ours: equal rows make equal bytes.
    if !bits.len().is_multiple_of(8) {
        out[start + length - 1] &= (1 << (bits.len() % 8)) - 1;
    }
}

fn put_values<'a>(out: &mut Vec<u8>, rows: usize, value: impl Fn(usize) -> &'a [u8]) {
    let lengths: Vec<u32> =
        (0..rows).map(|row| u32::try_from(value(row).len()).expect("view arrays hold values under 4 GB")).collect();
    put_lengths(out, &lengths);
    out.reserve(lengths.iter().map(|length| *length as usize).sum());
    for row in 0..rows {
        out.extend_from_slice(value(row));
    }
}

fn put_lengths(out: &mut Vec<u8>, lengths: &[u32]) {
    match lengths.iter().max().copied().unwrap_or(0) {
        0..=0xff => {
            out.push(1);
            out.extend(lengths.iter().map(|length| *length as u8));
        }
        0x100..=0xffff => {
            out.push(2);
            out.extend(lengths.iter().flat_map(|length| (*length as u16).to_le_bytes()));
        }
        _ => {
            out.push(4);
            out.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
        }
    }
}

fn array(reader: &mut Reader<'_>, data_type: &DataType, rows: usize) -> Result<ArrayRef> {
    let nulls = match reader.byte()? {
        NULLS_NONE => None,
        NULLS_SOME => Some(NullBuffer::new(bits(reader, rows)?)),
        NULLS_ALL => return Ok(new_null_array(data_type, rows)),
        _ => return malformed("unknown null marker"),
    };
    Ok(match data_type {
        DataType::Boolean => Arc::new(BooleanArray::new(bits(reader, rows)?, nulls)),
        DataType::Utf8View => {
            let (views, buffers) = views(reader, rows)?;
            Arc::new(StringViewArray::try_new(views, buffers, nulls)?)
        }
        DataType::BinaryView => {
            let (views, buffers) = views(reader, rows)?;
            Arc::new(BinaryViewArray::try_new(views, buffers, nulls)?)
        }
        DataType::List(item) => {
            let lengths = lengths(reader, rows)?;
            let items = reader.length()?;
            if lengths.iter().sum::<usize>() != items || i32::try_from(items).is_err() {
                return malformed("list lengths and items differ");
            }
            let values = array(reader, item.data_type(), items)?;
            Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), values, nulls)?)
        }
        fixed => {
            let Some(bytes) = fixed.primitive_width().and_then(|width| rows.checked_mul(width)) else {
                return malformed("unknown fixed-width type");
            };
            let values = Buffer::from(reader.take(bytes)?);
            let data = ArrayData::builder(fixed.clone()).len(rows).add_buffer(values).nulls(nulls).build()?;
            make_array(data)
        }
    })
}

fn bits(reader: &mut Reader<'_>, rows: usize) -> Result<BooleanBuffer> {
    Ok(BooleanBuffer::new(Buffer::from(reader.take(rows.div_ceil(8))?), 0, rows))
}

fn lengths(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<usize>> {
    let width = usize::from(reader.byte()?);
    let Some(bytes) = rows.checked_mul(width) else {
        return malformed("too many rows");
    };
    let bytes = reader.take(bytes)?;
    Ok(match width {
        1 => bytes.iter().map(|byte| usize::from(*byte)).collect(),
        2 => bytes.chunks_exact(2).map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]]))).collect(),
        4 => bytes
            .chunks_exact(4)
            .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]) as usize)
            .collect(),
        _ => return malformed("unknown width of lengths"),
    })
}

fn views(reader: &mut Reader<'_>, rows: usize) -> Result<(ScalarBuffer<u128>, Vec<Buffer>)> {
    let lengths = lengths(reader, rows)?;
    let total = lengths.iter().sum();
    let bytes = reader.take(total)?;
    if u32::try_from(total).is_err() {
        return malformed("more than 4 GB of text in a batch");
    }
    let mut views = Vec::with_capacity(rows);
    let mut offset = 0;
    let mut is_inline = true;
    for length in lengths {
        views.push(make_view(&bytes[offset..offset + length], 0, offset as u32));
        is_inline &= length <= 12;
        offset += length;
    }
    let buffers = if is_inline { Vec::new() } else { vec![Buffer::from(bytes)] };
    Ok((ScalarBuffer::from(views), buffers))
}
