//! `ema`: the exponential moving average.

use arrow::array::ArrayRef;
use arrow::datatypes::Float64Type;

use super::super::call::{Value, fail};
use super::{Memory, Running, running, value, with};

/// The average so far.
#[derive(Debug)]
struct Average(Option<f64>);

impl Memory for Average {
    type Result = Float64Type;

    fn next(&mut self, args: &[ArrayRef], row: usize) -> Value<Option<f64>> {
        let Some(alpha) = value::<Float64Type>(&args[1], row) else { return Ok(None) };
        // NaN is not in the range either.
        if !(alpha > 0.0 && alpha <= 1.0) {
            return fail("22023", "alpha must be greater than 0 and at most 1");
        }
        if let Some(current) = value::<Float64Type>(&args[0], row) {
            self.0 = Some(self.0.map_or(current, |average| alpha * current + (1.0 - alpha) * average));
        }
        Ok(self.0)
    }
}

/// ema(v, alpha)
pub(super) fn function() -> Running {
    running(
        "ema",
        "The exponential moving average, in which a new value has the weight alpha; a null leaves it as it was.",
        "ema(price, 0.2) OVER (PARTITION BY symbol ORDER BY ts)",
    )
    .on("float8, float8 -> float8", |t| with(Average(None), t))
}
