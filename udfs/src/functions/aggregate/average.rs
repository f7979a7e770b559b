//! avg over integers and numeric: an exact sum and a count, divided as PostgreSQL divides.
//!
//! Not found by name, as `avg` of floats is the engine's: the planner asks for it by the argument's type.

use std::collections::HashSet;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal256Array, Decimal256Builder, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, FieldRef, Int16Type, Int32Type, Int64Type, i256,
};
use datafusion_common::{Result, ScalarValue, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, TypeSignature, Volatility,
};

use crate::types::{QUOTIENT_PRECISION, QUOTIENT_SCALE, ValueError, quotient, quotient_type};

/// avg(smallint | integer | bigint | numeric)
pub(crate) fn exact() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(ExactAverage {
        signature: Signature::new(TypeSignature::Any(1), Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactAverage {
    signature: Signature,
}

/// Digits after the point of the argument, and so of the sum.
pub(super) fn scale_of(data_type: &DataType) -> Result<i8> {
    match data_type {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => Ok(0),
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => Ok(*scale),
        other => internal_err!("avg of {other}"),
    }
}

impl AggregateUDFImpl for ExactAverage {
    fn name(&self) -> &str {
        "avg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(quotient_type())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let scale = scale_of(args.input_fields[0].data_type())?;
        let sum = DataType::Decimal256(QUOTIENT_PRECISION, scale);
        if args.is_distinct {
            return Ok(vec![Arc::new(Field::new(
                format!("{}[values]", args.name),
                DataType::new_list(sum, true),
                true,
            ))]);
        }
        Ok(vec![
            Arc::new(Field::new(format!("{}[count]", args.name), DataType::Int64, true)),
            Arc::new(Field::new(format!("{}[sum]", args.name), sum, true)),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let scale = scale_of(args.expr_fields[0].data_type())?;
        Ok(if args.is_distinct {
            Box::new(Distinct { scale, values: HashSet::new() })
        } else {
            Box::new(Average { scale, sum: i256::ZERO, count: 0 })
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let scale = scale_of(args.expr_fields[0].data_type())?;
        Ok(Box::new(Groups { scale, sums: vec![], counts: vec![] }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

pub(super) fn overflow() -> ValueError {
    ValueError::new("22003", "value overflows numeric format")
}

fn average(sum: i256, scale: i8, count: i64) -> Result<Option<i256>> {
    if count == 0 { Ok(None) } else { Ok(Some(quotient(sum, scale, i256::from(count), 0)?)) }
}

/// Calls `each` with every value that is not NULL and its row.
pub(super) fn for_each(values: &ArrayRef, mut each: impl FnMut(usize, i256)) -> Result<()> {
    fn visit<T>(values: impl Iterator<Item = Option<T>>, to: impl Fn(T) -> i256, each: &mut impl FnMut(usize, i256)) {
        for (row, value) in values.enumerate() {
            if let Some(value) = value {
                each(row, to(value));
            }
        }
    }
    match values.data_type() {
        DataType::Int16 => visit(values.as_primitive::<Int16Type>().iter(), |v| i256::from(i64::from(v)), &mut each),
        DataType::Int32 => visit(values.as_primitive::<Int32Type>().iter(), |v| i256::from(i64::from(v)), &mut each),
        DataType::Int64 => visit(values.as_primitive::<Int64Type>().iter(), i256::from, &mut each),
        DataType::Decimal128(..) => visit(values.as_primitive::<Decimal128Type>().iter(), i256::from_i128, &mut each),
        DataType::Decimal256(..) => visit(values.as_primitive::<Decimal256Type>().iter(), |v| v, &mut each),
        other => return internal_err!("avg of {other}"),
    }
    Ok(())
}

/// One group.
#[derive(Debug)]
struct Average {
    scale: i8,
    sum: i256,
    count: i64,
}

/// The sum of values that 128 bits hold whatever they are: integers of one batch.
fn narrow_sum(values: &ArrayRef) -> Option<i128> {
    Some(match values.data_type() {
        DataType::Int16 => values.as_primitive::<Int16Type>().iter().flatten().map(i128::from).sum(),
        DataType::Int32 => values.as_primitive::<Int32Type>().iter().flatten().map(i128::from).sum(),
        DataType::Int64 => values.as_primitive::<Int64Type>().iter().flatten().map(i128::from).sum(),
        _ => return None,
    })
}

impl Average {
    fn sum_of(values: &ArrayRef) -> Result<i256> {
        if let Some(sum) = narrow_sum(values) {
            return Ok(i256::from_i128(sum));
        }
        let mut sum = i256::ZERO;
        let mut lost = false;
        for_each(values, |_, value| match sum.checked_add(value) {
            Some(next) => sum = next,
            None => lost = true,
        })?;
        if lost { Err(overflow().into()) } else { Ok(sum) }
    }

    fn add(&mut self, sum: i256, count: i64) -> Result<()> {
        self.sum = self.sum.checked_add(sum).ok_or_else(overflow)?;
        self.count += count;
        Ok(())
    }
}

fn present(values: &ArrayRef) -> Result<i64> {
    Ok(i64::try_from(values.len() - values.null_count()).map_err(|_| overflow())?)
}

impl Accumulator for Average {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(Self::sum_of(&values[0])?, present(&values[0])?)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(Self::sum_of(&values[0])?.wrapping_neg(), -present(&values[0])?)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (counts, sums) = (states[0].as_primitive::<Int64Type>(), states[1].as_primitive::<Decimal256Type>());
        for (count, sum) in counts.iter().zip(sums) {
            self.add(sum.unwrap_or(i256::ZERO), count.unwrap_or(0))?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Int64(Some(self.count)),
            ScalarValue::Decimal256(Some(self.sum), QUOTIENT_PRECISION, self.scale),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = average(self.sum, self.scale, self.count)?;
        Ok(ScalarValue::Decimal256(value, QUOTIENT_PRECISION, QUOTIENT_SCALE))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// avg(DISTINCT …)
#[derive(Debug)]
struct Distinct {
    scale: i8,
    values: HashSet<i256>,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for_each(&values[0], |_, value| {
            self.values.insert(value);
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.values.drain().map(|v| ScalarValue::Decimal256(Some(v), QUOTIENT_PRECISION, self.scale));
        let data_type = DataType::Decimal256(QUOTIENT_PRECISION, self.scale);
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values.collect::<Vec<_>>(), &data_type))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = i256::ZERO;
        for value in &self.values {
            sum = sum.checked_add(*value).ok_or_else(overflow)?;
        }
        let count = i64::try_from(self.values.len()).map_err(|_| overflow())?;
        let value = average(sum, self.scale, count)?;
        Ok(ScalarValue::Decimal256(value, QUOTIENT_PRECISION, QUOTIENT_SCALE))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<i256>()
    }
}

/// Many groups.
struct Groups {
    scale: i8,
    sums: Vec<i256>,
    counts: Vec<i64>,
}

impl Groups {
    fn take(&mut self, emit_to: EmitTo) -> (Vec<i256>, Vec<i64>) {
        (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts))
    }

    fn decimals(values: impl Iterator<Item = Option<i256>>, scale: i8) -> Result<ArrayRef> {
        let array: Decimal256Array = values.collect();
        Ok(Arc::new(array.with_precision_and_scale(QUOTIENT_PRECISION, scale)?))
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
        self.sums.resize(total, i256::ZERO);
        self.counts.resize(total, 0);
        let passes = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        for_each(&values[0], |row, value| {
            if passes(row) {
                // 76 digits do not overflow by adding fewer than 2^63 numbers of 38.
                sums[groups[row]] = sums[groups[row]].wrapping_add(value);
                counts[groups[row]] += 1;
            }
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.sums.resize(total, i256::ZERO);
        self.counts.resize(total, 0);
        let (counts, sums) = (states[0].as_primitive::<Int64Type>(), states[1].as_primitive::<Decimal256Type>());
        for ((group, count), sum) in groups.iter().zip(counts).zip(sums) {
            self.sums[*group] = self.sums[*group].checked_add(sum.unwrap_or(i256::ZERO)).ok_or_else(overflow)?;
            self.counts[*group] += count.unwrap_or(0);
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let scale = self.scale;
        let (sums, counts) = self.take(emit_to);
        let mut values = Decimal256Builder::with_capacity(sums.len()).with_data_type(quotient_type());
        for (sum, count) in sums.into_iter().zip(counts) {
            values.append_option(average(sum, scale, count)?);
        }
        Ok(Arc::new(values.finish()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let scale = self.scale;
        let (sums, counts) = self.take(emit_to);
        Ok(vec![Arc::new(Int64Array::from(counts)), Self::decimals(sums.into_iter().map(Some), scale)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let passes = |row: usize| {
            values[0].is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
        };
        let rows = values[0].len();
        let counts: Int64Array = (0..rows).map(|row| Some(i64::from(passes(row)))).collect();
        let wide = cast(&values[0], &DataType::Decimal256(QUOTIENT_PRECISION, self.scale))?;
        let wide = wide.as_primitive::<Decimal256Type>();
        let sums = (0..rows).map(|row| Some(if passes(row) { wide.value(row) } else { i256::ZERO }));
        Ok(vec![Arc::new(counts), Self::decimals(sums, self.scale)?])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i256>() + self.counts.capacity() * size_of::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(values.iter().copied().collect::<Int64Array>())
    }

    fn shown(value: &ScalarValue) -> String {
        let array = value.to_array().unwrap();
        let field = Field::new("", array.data_type().clone(), true)
            .with_metadata([(crate::types::SQL_TYPE_KEY.to_owned(), "numeric".to_owned())].into());
        let texts = crate::types::array_to_text(&array, &field, &crate::types::TextSettings::default()).unwrap();
        if texts.is_null(0) { "NULL".into() } else { texts.value(0).to_owned() }
    }

    #[test]
    fn an_average_is_exact_and_rounded() {
        let check = |values: &[Option<i64>], expected: &str| {
            let mut one = Average { scale: 0, sum: i256::ZERO, count: 0 };
            one.update_batch(&[ints(values)]).unwrap();
            assert_eq!(shown(&one.evaluate().unwrap()), expected);
            let mut groups = Groups { scale: 0, sums: vec![], counts: vec![] };
            groups.update_batch(&[ints(values)], &vec![0; values.len()], None, 1).unwrap();
            let state = groups.state(EmitTo::All).unwrap();
            groups.merge_batch(&state, &[0], 1).unwrap();
            let value = ScalarValue::try_from_array(&groups.evaluate(EmitTo::All).unwrap(), 0).unwrap();
            assert_eq!(shown(&value), expected);
        };
        check(&[Some(1), Some(2), Some(2), None], "1.6666666666666667");
        check(&[Some(i64::MAX), Some(i64::MAX)], "9223372036854775807");
        check(&[Some(0), Some(1), Some(0)], "0.33333333333333333333");
        check(&[None], "NULL");
    }

    #[test]
    fn a_window_that_slides_forgets() {
        let mut window = Average { scale: 0, sum: i256::ZERO, count: 0 };
        window.update_batch(&[ints(&[Some(1), Some(2), Some(6)])]).unwrap();
        window.retract_batch(&[ints(&[Some(1)])]).unwrap();
        assert_eq!(shown(&window.evaluate().unwrap()), "4.0000000000000000");
    }
}
