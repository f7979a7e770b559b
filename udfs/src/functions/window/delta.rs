//! `delta` and `rate`: how values change from row to row.

use std::fmt::Debug;

use arrow::array::ArrayRef;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use datafusion_expr::PartitionEvaluator;

use super::super::call::{Value, fail};
use super::super::number::{DIGITS_MAX, Num};
use super::super::time::is_infinite;
use super::{Memory, Running, running, value, with};

/// `v - previous v`
#[derive(Debug)]
struct Delta<T: ArrowPrimitiveType> {
    previous: Option<T::Native>,
    subtract: fn(T::Native, T::Native) -> Value<T::Native>,
}

fn start<T: ArrowPrimitiveType + Debug>(
    data_type: &DataType,
    subtract: fn(T::Native, T::Native) -> Value<T::Native>,
) -> Box<dyn PartitionEvaluator> {
    with(Delta::<T> { previous: None, subtract }, data_type)
}

impl<T: ArrowPrimitiveType + Debug> Memory for Delta<T> {
    type Result = T;

    fn next(&mut self, args: &[ArrayRef], row: usize) -> Value<Option<T::Native>> {
        let Some(current) = value::<T>(&args[0], row) else { return Ok(None) };
        self.previous.replace(current).map(|previous| (self.subtract)(current, previous)).transpose()
    }
}

fn subtract_integers(a: i64, b: i64) -> Value<i64> {
    a.checked_sub(b).map_or_else(|| fail("22003", "bigint out of range"), Ok)
}

/// Both have the column's decimals.
fn subtract_numerics(a: i128, b: i128) -> Value<i128> {
    Num::new(a.saturating_sub(b), 0).fit(DIGITS_MAX, 0)
}

/// delta(v)
pub(super) fn delta() -> Running {
    running(
        "delta",
        "The difference to the previous value that is not null.",
        "delta(reading) OVER (PARTITION BY meter ORDER BY ts)",
    )
    .on("float8 -> float8", |t| start::<Float64Type>(t, |a, b| Ok(a - b)))
    .on("int8 -> int8", |t| start::<Int64Type>(t, subtract_integers))
    .on("numeric -> numeric", |t| start::<Decimal128Type>(t, subtract_numerics))
}

/// A counter's increase per second.
#[derive(Debug)]
struct Rate {
    previous: Option<(f64, i64)>,
}

impl Memory for Rate {
    type Result = Float64Type;

    fn next(&mut self, args: &[ArrayRef], row: usize) -> Value<Option<f64>> {
        let arguments = value::<Float64Type>(&args[0], row).zip(value::<TimestampMicrosecondType>(&args[1], row));
        let Some((current, time)) = arguments.filter(|(_, time)| !is_infinite(*time)) else { return Ok(None) };
        let Some((previous, since)) = self.previous.replace((current, time)) else { return Ok(None) };
        // At one time there is no rate.
        if time == since {
            return Ok(None);
        }
        let increase = if current < previous { current } else { current - previous };
        Ok(Some(increase / seconds(i128::from(time) - i128::from(since))))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is a double too")]
fn seconds(micros: i128) -> f64 {
    micros as f64 / 1e6
}

/// rate(v, ts)
pub(super) fn rate() -> Running {
    let start = |data_type: &DataType| with(Rate { previous: None }, data_type);
    running(
        "rate",
        "A counter's increase per second since the previous row; a smaller value is one that began again at 0.",
        "rate(bytes, ts) OVER (PARTITION BY host ORDER BY ts)",
    )
    .on("float8, timestamp -> float8", start)
    .on("float8, timestamptz -> float8", start)
}
