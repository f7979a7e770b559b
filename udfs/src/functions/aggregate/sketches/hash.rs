//! A hash of SQL values that is the same for ever: states which depend on it are stored and merged on other machines.
//!
//! A value becomes bytes, a tag and its canonical form, and those are hashed by XXH64 (xxHash, its published specification).
//! Numbers that are equal in SQL give the same bytes whatever their types: 1::int4, 1::int8, 1.00 and 1e0. A numeric with a
//! fraction of more than 15 digits has no equal in float8 here, as two of them could have the same one.

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt32Type,
    i256,
};

use super::super::super::call::{Value, fail};
use super::super::super::time::interval_order;
use crate::types::SqlType;
use crate::types::calendar::DAY;

// Part of what is stored: a number is never given another meaning.
const NULL: u8 = 0;
const BOOL: u8 = 1;
const INTEGER: u8 = 2;
const DOUBLE: u8 = 3;
const DECIMAL: u8 = 4;
const TEXT: u8 = 5;
const BYTES: u8 = 6;
const INSTANT: u8 = 7;
const TIME: u8 = 8;
const INTERVAL: u8 = 9;
const LIST: u8 = 10;
const ROW: u8 = 11;

/// Digits that every float8 keeps.
const DOUBLE_DIGITS: i128 = 1_000_000_000_000_000;

/// Writes a value's canonical bytes behind those in `out`.
///
/// # Errors
/// 42883 for a type without them.
pub(crate) fn canonical(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Value<()> {
    if array.is_null(row) {
        out.push(NULL);
        return Ok(());
    }
    match array.data_type() {
        DataType::Boolean => out.extend([BOOL, u8::from(array.as_boolean().value(row))]),
        DataType::Int16 => integer(array.as_primitive::<Int16Type>().value(row).into(), out),
        DataType::Int32 => integer(array.as_primitive::<Int32Type>().value(row).into(), out),
        DataType::Int64 => integer(array.as_primitive::<Int64Type>().value(row).into(), out),
        DataType::UInt32 => integer(array.as_primitive::<UInt32Type>().value(row).into(), out),
        DataType::Float32 => double(array.as_primitive::<Float32Type>().value(row).into(), out),
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row), out),
        DataType::Decimal128(_, scale) => decimal(array.as_primitive::<Decimal128Type>().value(row), *scale, out),
        DataType::Decimal256(_, scale) => wide_decimal(array.as_primitive::<Decimal256Type>().value(row), *scale, out),
        DataType::Utf8View => sized(TEXT, array.as_string_view().value(row).as_bytes(), out),
        DataType::Utf8 => sized(TEXT, array.as_string::<i32>().value(row).as_bytes(), out),
        DataType::LargeUtf8 => sized(TEXT, array.as_string::<i64>().value(row).as_bytes(), out),
        DataType::BinaryView => sized(BYTES, array.as_binary_view().value(row), out),
        DataType::Binary => sized(BYTES, array.as_binary::<i32>().value(row), out),
        DataType::LargeBinary => sized(BYTES, array.as_binary::<i64>().value(row), out),
        DataType::Date32 => {
            let days: i64 = array.as_primitive::<Date32Type>().value(row).into();
            fixed(INSTANT, &days.saturating_mul(DAY).to_le_bytes(), out);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            fixed(INSTANT, &array.as_primitive::<TimestampMicrosecondType>().value(row).to_le_bytes(), out);
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            fixed(TIME, &array.as_primitive::<Time64MicrosecondType>().value(row).to_le_bytes(), out);
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let span = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            fixed(INTERVAL, &interval_order(span).to_le_bytes(), out);
        }
        DataType::List(_) => list::<i32>(array, row, out)?,
        DataType::LargeList(_) => list::<i64>(array, row, out)?,
        DataType::Struct(_) => {
            fixed(ROW, &length(array.as_struct().num_columns()), out);
            for column in array.as_struct().columns() {
                canonical(column, row, out)?;
            }
        }
        other => {
            let name = SqlType::of_data_type(other).name();
            return fail("42883", format!("could not identify a hash function for type {name}"));
        }
    }
    Ok(())
}

fn fixed(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend(bytes);
}

fn length(length: usize) -> [u8; 8] {
    (length as u64).to_le_bytes()
}

/// With its length, so that neighbours in a list cannot be cut differently.
fn sized(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    fixed(tag, &length(bytes.len()), out);
    out.extend(bytes);
}

fn list<O: OffsetSizeTrait>(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Value<()> {
    let values: ArrayRef = array.as_list::<O>().value(row);
    fixed(LIST, &length(values.len()), out);
    (0..values.len()).try_for_each(|at| canonical(&values, at, out))
}

fn integer(value: i128, out: &mut Vec<u8>) {
    match i64::try_from(value) {
        Ok(value) => fixed(INTEGER, &value.to_le_bytes(), out),
        Err(_) => fixed(INTEGER, &value.to_le_bytes(), out),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only whole numbers below 2^126 are taken for integers")]
fn double(value: f64, out: &mut Vec<u8>) {
    const WHOLE_MAX: f64 = 8.5e37;
    if value.abs() < WHOLE_MAX && value.trunc() == value {
        integer(value as i128, out);
    } else {
        let value = if value.is_nan() { f64::NAN } else { value };
        let bits = if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() };
        fixed(DOUBLE, &bits.to_le_bytes(), out);
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of 15 digits are exact as doubles")]
fn decimal(mut value: i128, mut scale: i8, out: &mut Vec<u8>) {
    while scale > 0 && value % 10 == 0 {
        (value, scale) = (value / 10, scale - 1);
    }
    if scale <= 0
        && let Some(power) = 10_i128.checked_pow(scale.unsigned_abs().into())
        && let Some(whole) = value.checked_mul(power)
    {
        integer(whole, out);
    } else if (1..=22).contains(&scale) && value.abs() < DOUBLE_DIGITS {
        // Both are exact doubles, so that the quotient is the one nearest to the number: what its float8 is.
        double(value as f64 / 10_f64.powi(scale.into()), out);
    } else {
        fixed(DECIMAL, &value.to_le_bytes(), out);
        out.extend(scale.to_le_bytes());
    }
}

fn wide_decimal(mut value: i256, mut scale: i8, out: &mut Vec<u8>) {
    let ten = i256::from_i128(10);
    while scale > 0 && value.wrapping_rem(ten) == i256::ZERO {
        (value, scale) = (value.wrapping_div(ten), scale - 1);
    }
    match value.to_i128() {
        Some(value) => decimal(value, scale, out),
        None => {
            fixed(DECIMAL, &value.to_le_bytes(), out);
            out.extend(scale.to_le_bytes());
        }
    }
}

const PRIMES: [u64; 5] =
    [0x9e37_79b1_85eb_ca87, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 0x85eb_ca77_c2b2_ae63, 0x27d4_eb2f_1656_67c5];

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

/// XXH64 with seed 0.
pub(crate) fn xxh64(bytes: &[u8]) -> u64 {
    let mut stripes = bytes.chunks_exact(32);
    let mut hash = if bytes.len() < 32 {
        PRIMES[4]
    } else {
        let mut lanes = [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, 0_u64.wrapping_sub(PRIMES[0])];
        for stripe in stripes.by_ref() {
            for (lane, input) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, word(input));
            }
        }
        let [a, b, c, d] = lanes;
        let joined = a
            .rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18));
        lanes.iter().fold(joined, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]))
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let mut words = stripes.remainder().chunks_exact(8);
    for input in words.by_ref() {
        hash = (hash ^ round(0, word(input))).rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
    }
    let mut rest = words.remainder();
    if let Some((half, tail)) = rest.split_first_chunk::<4>() {
        hash =
            (hash ^ word(half).wrapping_mul(PRIMES[0])).rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
        rest = tail;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(PRIMES[4])).rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 32)
}
