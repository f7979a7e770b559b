//! Values in PostgreSQL's binary form.

use super::calendar::{POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_US};
use super::text_out::{ColumnEncoder, Lists, Values};
use super::{ValueError, bytes, numeric};

/// Appends a value that is not NULL, without its length.
#[inline]
pub(super) fn write(values: &Values, row: usize, out: &mut Vec<u8>) {
    match values {
        Values::Null => {}
        Values::Bool(array) => out.push(u8::from(array.value(row))),
        Values::Int2(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
        Values::Int4(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
        Values::Int8(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
        Values::Float4(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
        Values::Float8(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
        Values::Numeric(array, scale, trimmed) => {
            numeric::write_numeric_binary(array.value(row), *scale, *trimmed, out);
        }
        Values::Numeric256(array, scale, shown) => {
            numeric::write_numeric256_binary(array.value(row), *scale, *shown, out);
        }
        Values::Oid(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
        Values::Text(array) => out.extend_from_slice(array.value(row).as_bytes()),
        Values::Padded(array, width) => {
            let text = array.value(row);
            out.extend_from_slice(text.as_bytes());
            out.resize(out.len() + width.saturating_sub(text.chars().count()), b' ');
        }
        Values::Uuid(array) => {
            let text = array.value(row).as_bytes();
            // Stored values are valid; a computed text that is no uuid is sent as zeros rather than breaking the message.
            out.extend_from_slice(&bytes::parse_uuid(text).unwrap_or_default());
        }
        Values::Jsonb(array) => {
            out.push(1);
            out.extend_from_slice(array.value(row).as_bytes());
        }
        Values::CharByte(array) => out.push(array.value(row).bytes().next().unwrap_or(0)),
        Values::Bytea(array) => out.extend_from_slice(array.value(row)),
        Values::Date(array) => out.extend_from_slice(&date(array.value(row)).to_be_bytes()),
        Values::Time(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
        Values::Timestamp(array) | Values::TimestampTz(array) => {
            out.extend_from_slice(&timestamp(array.value(row)).to_be_bytes());
        }
        Values::Interval(array) => {
            let value = array.value(row);
            out.extend_from_slice(&(value.nanoseconds / 1000).to_be_bytes());
            out.extend_from_slice(&value.days.to_be_bytes());
            out.extend_from_slice(&value.months.to_be_bytes());
        }
        Values::List(lists) => write_array(lists, row, out),
        Values::Record(fields) => {
            write_word(fields.len(), out);
            for (_, sql_type, field) in fields {
                out.extend_from_slice(&sql_type.oid().to_be_bytes());
                write_element(field, row, out);
            }
        }
    }
}

/// Days from PostgreSQL's epoch; infinity stays.
fn date(days: i32) -> i32 {
    if days == i32::MAX || days == i32::MIN { days } else { days.saturating_sub(POSTGRES_EPOCH_DAYS) }
}

/// Microseconds from PostgreSQL's epoch; infinity stays.
fn timestamp(us: i64) -> i64 {
    if us == i64::MAX || us == i64::MIN { us } else { us.saturating_sub(POSTGRES_EPOCH_US) }
}

/// A length or count as the format has it. None is above `i32::MAX`: arrays have 32-bit offsets, and rows a size limit.
fn write_word(number: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&i32::try_from(number).unwrap_or(i32::MAX).to_be_bytes());
}

fn write_element(encoder: &ColumnEncoder, row: usize, out: &mut Vec<u8>) {
    if encoder.is_null(row) {
        out.extend_from_slice(&(-1i32).to_be_bytes());
        return;
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    encoder.write_binary(row, out);
    let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn write_array(lists: &Lists, row: usize, out: &mut Vec<u8>) {
    let mut lengths = vec![];
    let (mut level, mut at) = (lists, row);
    loop {
        let range = level.range(at);
        if range.is_empty() {
            break;
        }
        lengths.push(range.len());
        // The inner arrays are all as long as the first: see `check`.
        let Values::List(inner) = &level.elements.values else { break };
        (level, at) = (inner, range.start);
    }
    let (start, count) = innermost(lists, row);
    let leaves = leaf(lists);
    let has_nulls = (start..start + count).any(|element| leaves.elements.is_null(element));
    if count == 0 {
        lengths.clear();
    }
    write_word(lengths.len(), out);
    write_word(usize::from(has_nulls), out);
    out.extend_from_slice(&lists.element_type.oid().to_be_bytes());
    for length in lengths {
        write_word(length, out);
        // Lower bounds: vectors count from 0.
        write_word(usize::from(!lists.vector), out);
    }
    for element in start..start + count {
        write_element(&leaves.elements, element, out);
    }
}

/// The lists of the last dimension.
fn leaf(lists: &Lists) -> &Lists {
    match &lists.elements.values {
        Values::List(inner) => leaf(inner),
        _ => lists,
    }
}

/// First and number of the elements below all dimensions of one value.
fn innermost(lists: &Lists, row: usize) -> (usize, usize) {
    let mut level = lists;
    let mut range = lists.range(row);
    while let Values::List(inner) = &level.elements.values {
        if range.is_empty() {
            return (0, 0);
        }
        range = inner.range(range.start).start..inner.range(range.end - 1).end;
        level = inner;
    }
    (range.start, range.len())
}

/// Checks that arrays in arrays are all of one length in each value.
pub(super) fn check(values: &Values) -> Result<(), ValueError> {
    let lists = match values {
        Values::List(lists) => lists,
        Values::Record(fields) => return fields.iter().try_for_each(|(.., field)| field.check_binary()),
        _ => return Ok(()),
    };
    let Values::List(inner) = &lists.elements.values else {
        return lists.elements.check_binary();
    };
    for row in 0..lists.offsets.len() - 1 {
        let mut lengths = lists.range(row).map(|at| (inner.range(at).len(), lists.elements.is_null(at)));
        let first = lengths.next();
        if matches!(first, Some((_, true))) || lengths.any(|length| Some(length) != first) {
            let message = "multidimensional arrays must have array expressions with matching dimensions";
            return Err(ValueError::new("2202E", message));
        }
    }
    lists.elements.check_binary()
}
