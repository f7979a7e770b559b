//! sum of real: added in double precision, given as real.
//!
//! Not found by name, as `sum` of other floats is the engine's: the planner asks for it by the argument's type.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use crate::types::ValueError;

/// sum(real)
pub(crate) fn sum() -> Arc<AggregateUDF> {
    let signature = Signature::exact(vec![DataType::Float32], Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(RealSum { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RealSum {
    signature: Signature,
}

impl AggregateUDFImpl for RealSum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float32)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[sum]", args.name), DataType::Float64, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(ValueError::new("0A000", "sum(DISTINCT real) is not supported").into());
        }
        Ok(Box::new(One(None)))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups(vec![])))
    }
}

/// The sum as real.
#[expect(clippy::cast_possible_truncation, reason = "this is the rounding to real, checked for overflow")]
fn real(sum: f64) -> Result<f32> {
    let rounded = sum as f32;
    if rounded.is_infinite() && sum.is_finite() {
        return Err(ValueError::new("22003", "value out of range: overflow").into());
    }
    Ok(rounded)
}

/// One group; `None` before the first value.
#[derive(Debug)]
struct One(Option<f64>);

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<Float32Type>().iter().flatten() {
            self.0 = Some(self.0.unwrap_or(0.0) + f64::from(value));
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for sum in states[0].as_primitive::<Float64Type>().iter().flatten() {
            self.0 = Some(self.0.unwrap_or(0.0) + sum);
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Float64(self.0)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float32(self.0.map(real).transpose()?))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// Many groups.
struct Groups(Vec<Option<f64>>);

impl Groups {
    fn add(&mut self, group: usize, value: f64) {
        self.0[group] = Some(self.0[group].unwrap_or(0.0) + value);
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.0.resize(total, None);
        for (row, value) in values[0].as_primitive::<Float32Type>().iter().enumerate() {
            let passes = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if let (Some(value), true) = (value, passes) {
                self.add(groups[row], value.into());
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.0.resize(total, None);
        for (group, sum) in groups.iter().zip(states[0].as_primitive::<Float64Type>()) {
            if let Some(sum) = sum {
                self.add(*group, sum);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.0);
        let sums = sums.into_iter().map(|sum| sum.map(real).transpose()).collect::<Result<Float32Array>>()?;
        Ok(Arc::new(sums))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(Float64Array::from(emit_to.take_needed(&mut self.0)))])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let passes = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let values = values[0].as_primitive::<Float32Type>().iter().enumerate();
        let sums: Float64Array = values.map(|(row, value)| value.filter(|_| passes(row)).map(f64::from)).collect();
        Ok(vec![Arc::new(sums)])
    }

    fn size(&self) -> usize {
        self.0.capacity() * size_of::<Option<f64>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_real_and_null_without_values() {
        let values: ArrayRef = Arc::new(Float32Array::from(vec![Some(0.1), None, Some(0.2)]));
        let mut groups = Groups(vec![]);
        groups.update_batch(&[values], &[0, 1, 0], None, 2).unwrap();
        let states = groups.state(EmitTo::All).unwrap();
        groups.merge_batch(&states, &[0, 1], 2).unwrap();
        let sums = groups.evaluate(EmitTo::All).unwrap();
        assert_eq!(sums.as_primitive::<Float32Type>().iter().collect::<Vec<_>>(), [Some(0.3), None]);
        assert!(real(1e300).is_err());
    }
}
