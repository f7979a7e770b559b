//! Variance and standard deviation over integers and numeric: exact sums, and PostgreSQL's digits.
//!
//! Not found by name, as the functions of these names are the engine's, for floats: the planner asks for them by the
//! argument's type.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal256Array, Decimal256Builder, Int64Array};
use arrow::datatypes::{DataType, Decimal256Type, Field, FieldRef, Int64Type, i256};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, TypeSignature, Volatility,
};

use super::average::{for_each, overflow, scale_of};
use crate::types::{
    QUOTIENT_PRECISION, QUOTIENT_SCALE, ROOT_SCALE, ValueError, quotient, quotient_root, quotient_type, root_type,
};

/// The function of that name (DataFusion's own, not an alias).
pub(crate) fn exact(name: &str) -> Option<Arc<AggregateUDF>> {
    let (name, sample, root) = match name {
        "var" => ("var", true, false),
        "var_pop" => ("var_pop", false, false),
        "stddev" => ("stddev", true, true),
        "stddev_pop" => ("stddev_pop", false, true),
        _ => return None,
    };
    let signature = Signature::new(TypeSignature::Any(1), Volatility::Immutable);
    Some(Arc::new(AggregateUDF::new_from_impl(ExactVariance { name, kind: Kind { sample, root }, signature })))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactVariance {
    name: &'static str,
    kind: Kind,
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    /// Divided by n - 1.
    sample: bool,
    /// The standard deviation.
    root: bool,
}

impl Kind {
    fn data_type(self) -> DataType {
        if self.root { root_type() } else { quotient_type() }
    }

    fn scale(self) -> i8 {
        if self.root { ROOT_SCALE } else { QUOTIENT_SCALE }
    }
}

impl AggregateUDFImpl for ExactVariance {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.data_type())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let sum = DataType::Decimal256(QUOTIENT_PRECISION, 0);
        let field = |word: &str, data_type| Arc::new(Field::new(format!("{}[{word}]", args.name), data_type, true));
        Ok(vec![field("count", DataType::Int64), field("sum", sum.clone()), field("squares", sum)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(ValueError::new("0A000", format!("{}(DISTINCT …) is not supported", self.name)).into());
        }
        let scale = scale_of(args.expr_fields[0].data_type())?;
        Ok(Box::new(One { kind: self.kind, scale, moments: Moments::default() }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let scale = scale_of(args.expr_fields[0].data_type())?;
        Ok(Box::new(Groups { kind: self.kind, scale, groups: vec![] }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// How many values, their sum and the sum of their squares.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: i64,
    sum: i256,
    squares: i256,
}

impl Moments {
    fn of(value: i256) -> Option<Self> {
        Some(Self { count: 1, sum: value, squares: value.checked_mul(value)? })
    }

    fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            count: self.count + other.count,
            sum: self.sum.checked_add(other.sum)?,
            squares: self.squares.checked_add(other.squares)?,
        })
    }

    fn minus(self, other: Self) -> Option<Self> {
        Some(Self {
            count: self.count - other.count,
            sum: self.sum.checked_sub(other.sum)?,
            squares: self.squares.checked_sub(other.squares)?,
        })
    }

    /// Applies `step` for every value that is not NULL.
    fn fold(values: &ArrayRef, mut step: impl FnMut(usize, Self) -> Option<()>) -> Result<()> {
        let mut fits = true;
        for_each(values, |row, value| fits &= Self::of(value).and_then(|one| step(row, one)).is_some())?;
        if fits { Ok(()) } else { Err(overflow().into()) }
    }

    /// (n Σx² - (Σx)²) / (n (n - 1)), or its root.
    fn result(self, kind: Kind, scale: i8) -> Result<Option<i256>> {
        if self.count == 0 || kind.sample && self.count == 1 {
            return Ok(None);
        }
        let n = i256::from(self.count);
        let others = if kind.sample { n.wrapping_sub(i256::ONE) } else { n };
        let spread = || n.checked_mul(self.squares)?.checked_sub(self.sum.checked_mul(self.sum)?);
        let (spread, pairs) = (spread().ok_or_else(overflow)?, n.wrapping_mul(others));
        let scale = scale.checked_mul(2).ok_or_else(overflow)?;
        Ok(Some(if kind.root { quotient_root(spread, scale, pairs, 0)? } else { quotient(spread, scale, pairs, 0)? }))
    }

    /// From the columns of a state.
    fn read(states: &[ArrayRef], row: usize) -> Self {
        let number = |column: usize| states[column].as_primitive::<Decimal256Type>().value(row);
        Self { count: states[0].as_primitive::<Int64Type>().value(row), sum: number(1), squares: number(2) }
    }
}

/// One group.
#[derive(Debug)]
struct One {
    kind: Kind,
    scale: i8,
    moments: Moments,
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        Moments::fold(&values[0], |_, one| {
            self.moments = self.moments.plus(one)?;
            Some(())
        })
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        Moments::fold(&values[0], |_, one| {
            self.moments = self.moments.minus(one)?;
            Some(())
        })
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for row in 0..states[0].len() {
            self.moments = self.moments.plus(Moments::read(states, row)).ok_or_else(overflow)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let number = |value| ScalarValue::Decimal256(Some(value), QUOTIENT_PRECISION, 0);
        let Moments { count, sum, squares } = self.moments;
        Ok(vec![ScalarValue::Int64(Some(count)), number(sum), number(squares)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.moments.result(self.kind, self.scale)?;
        Ok(ScalarValue::Decimal256(value, QUOTIENT_PRECISION, self.kind.scale()))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// Many groups.
struct Groups {
    kind: Kind,
    scale: i8,
    groups: Vec<Moments>,
}

fn state_of(groups: impl Iterator<Item = Moments> + Clone) -> Result<Vec<ArrayRef>> {
    let numbers = |values: Decimal256Array| -> Result<ArrayRef> {
        Ok(Arc::new(values.with_precision_and_scale(QUOTIENT_PRECISION, 0)?))
    };
    let counts: Int64Array = groups.clone().map(|moments| Some(moments.count)).collect();
    let sums = numbers(groups.clone().map(|moments| Some(moments.sum)).collect())?;
    let squares = numbers(groups.map(|moments| Some(moments.squares)).collect())?;
    Ok(vec![Arc::new(counts), sums, squares])
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize(total, Moments::default());
        Moments::fold(&values[0], |row, one| {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                self.groups[groups[row]] = self.groups[groups[row]].plus(one)?;
            }
            Some(())
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups.resize(total, Moments::default());
        for (row, group) in groups.iter().enumerate() {
            self.groups[*group] = self.groups[*group].plus(Moments::read(states, row)).ok_or_else(overflow)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = emit_to.take_needed(&mut self.groups);
        let mut values = Decimal256Builder::with_capacity(groups.len()).with_data_type(self.kind.data_type());
        for moments in groups {
            values.append_option(moments.result(self.kind, self.scale)?);
        }
        Ok(Arc::new(values.finish()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        state_of(emit_to.take_needed(&mut self.groups).into_iter())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = vec![Moments::default(); values[0].len()];
        Moments::fold(&values[0], |row, one| {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                rows[row] = one;
            }
            Some(())
        })?;
        state_of(rows.into_iter())
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<Moments>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_single_accumulators_agree() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2), Some(4)]));
        let check = |sample, root, expected: &str| {
            let kind = Kind { sample, root };
            let mut one = One { kind, scale: 0, moments: Moments::default() };
            one.update_batch(&[Arc::clone(&values)]).unwrap();
            let mut groups = Groups { kind, scale: 0, groups: vec![] };
            let states = groups.convert_to_state(&[Arc::clone(&values)], None).unwrap();
            groups.merge_batch(&states, &[0; 4], 1).unwrap();
            let grouped = ScalarValue::try_from_array(&groups.evaluate(EmitTo::All).unwrap(), 0).unwrap();
            assert_eq!(one.evaluate().unwrap(), grouped);
            let ScalarValue::Decimal256(Some(value), ..) = grouped else { panic!("{grouped}") };
            assert!(value.to_string().starts_with(expected), "{value}");
        };
        check(true, false, "23333333333333333");
        check(true, true, "15275252316519467");
        check(false, false, "15555555555555556");
        check(false, true, "12472191289246471");
    }

    #[test]
    fn one_value_has_no_sample_variance() {
        let one = Moments::of(i256::from_i128(5)).unwrap();
        assert_eq!(one.result(Kind { sample: true, root: false }, 0).unwrap(), None);
        assert_eq!(one.result(Kind { sample: false, root: false }, 0).unwrap(), Some(i256::ZERO));
        assert_eq!(Moments::default().result(Kind { sample: false, root: true }, 0).unwrap(), None);
    }
}
