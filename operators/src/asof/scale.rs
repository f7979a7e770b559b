//! Match values as integers that keep their order, so that the walk compares nothing but `i64`.
//!
//! ```text
//! timestamp 10:00:00  -> 36000000000        -1.5  -> below 0        NaN  -> above all
//! descending inputs   -> !value, which is ascending again
//! ```

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float64Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use datafusion_common::{Result, internal_err};

/// What NULL becomes: the walk passes it at once, wherever the order puts it, and its row has no key.
const NULL: i64 = i64::MIN;

/// How the values of one type become integers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    float: bool,
    /// The inputs are descending.
    reversed: bool,
}

impl Scale {
    /// None for a type without a scale.
    pub(crate) fn new(data_type: &DataType, reversed: bool) -> Option<Self> {
        let supported = matches!(
            data_type,
            DataType::Int16
                | DataType::Int32
                | DataType::Int64
                | DataType::Date32
                | DataType::Timestamp(_, _)
                | DataType::Float64
        );
        supported.then_some(Self { float: *data_type == DataType::Float64, reversed })
    }

    /// The values in their order: ascending for every order in which the inputs are read.
    pub(crate) fn encode(self, values: &ArrayRef) -> Result<ScalarBuffer<i64>> {
        Ok(match values.data_type() {
            DataType::Int16 => self.integers(values.as_primitive::<Int16Type>()),
            DataType::Int32 => self.integers(values.as_primitive::<Int32Type>()),
            DataType::Date32 => self.integers(values.as_primitive::<Date32Type>()),
            DataType::Int64 => self.longs(values.as_primitive::<Int64Type>()),
            DataType::Timestamp(unit, _) => match unit {
                TimeUnit::Second => self.longs(values.as_primitive::<TimestampSecondType>()),
                TimeUnit::Millisecond => self.longs(values.as_primitive::<TimestampMillisecondType>()),
                TimeUnit::Microsecond => self.longs(values.as_primitive::<TimestampMicrosecondType>()),
                TimeUnit::Nanosecond => self.longs(values.as_primitive::<TimestampNanosecondType>()),
            },
            DataType::Float64 => self.map(values.as_primitive::<Float64Type>(), encode_float),
            other => return internal_err!("no match value can be a {other}"),
        })
    }

    fn integers<T: ArrowPrimitiveType<Native: Into<i64>>>(self, values: &PrimitiveArray<T>) -> ScalarBuffer<i64> {
        self.map(values, Into::into)
    }

    /// The usual case costs nothing.
    fn longs<T: ArrowPrimitiveType<Native = i64>>(self, values: &PrimitiveArray<T>) -> ScalarBuffer<i64> {
        if values.null_count() == 0 && !self.reversed {
            return values.values().clone();
        }
        self.map(values, |value| value)
    }

    fn map<T: ArrowPrimitiveType>(
        self,
        values: &PrimitiveArray<T>,
        encode: impl Fn(T::Native) -> i64,
    ) -> ScalarBuffer<i64> {
        let flip = if self.reversed { -1 } else { 0 };
        let mut encoded: Vec<i64> = values.values().iter().map(|value| encode(*value) ^ flip).collect();
        if let Some(nulls) = values.nulls().filter(|nulls| nulls.null_count() > 0) {
            for (value, valid) in encoded.iter_mut().zip(nulls) {
                if !valid {
                    *value = NULL;
                }
            }
        }
        encoded.into()
    }

    /// How far two encoded values are from each other, to be compared with other distances and with a tolerance.
    pub(crate) fn distance(self, a: i64, b: i64) -> u64 {
        if !self.float || a == b {
            return a.abs_diff(b);
        }
        let decode = |value: i64| decode_float(if self.reversed { !value } else { value });
        let distance = (decode(a) - decode(b)).abs();
        // Nothing but NaN is near NaN, and nothing but infinity is near infinity.
        if distance.is_nan() { f64::INFINITY.to_bits() } else { distance.to_bits() }
    }

    /// The greatest distance that counts as a match.
    pub(crate) fn tolerance(self, tolerance: i64) -> u64 {
        // The bits of floats that are not negative are ordered like the floats.
        if self.float { (tolerance as f64).to_bits() } else { tolerance.unsigned_abs() }
    }
}

/// In the total order by which floats are sorted, but for zero, which has no sign: it must match itself.
fn encode_float(value: f64) -> i64 {
    flip_negative((value + 0.0).to_bits() as i64)
}

fn decode_float(value: i64) -> f64 {
    f64::from_bits(flip_negative(value) as u64)
}

/// Its own inverse: the bits below the sign grow with the magnitude, so those of negative numbers count down.
fn flip_negative(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}
