//! sum, avg, min and max of intervals: added part by part, compared as PostgreSQL compares them.
//!
//! Not found by name, as the functions of these names are the engine's: the planner asks for them by the argument's type.

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility};

use super::super::time::{divide_interval, interval_order};
use crate::types::ValueError;

/// The aggregate of that name over intervals.
pub(crate) fn interval(name: &str) -> Option<Arc<AggregateUDF>> {
    let kind = [Kind::Sum, Kind::Average, Kind::Least, Kind::Greatest].into_iter().find(|kind| kind.name() == name)?;
    let signature = Signature::new(TypeSignature::Any(1), Volatility::Immutable);
    Some(Arc::new(AggregateUDF::new_from_impl(Intervals { kind, signature })))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Average,
    Least,
    Greatest,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Average => "avg",
            Self::Least => "min",
            Self::Greatest => "max",
        }
    }

    fn adds(self) -> bool {
        matches!(self, Self::Sum | Self::Average)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Intervals {
    kind: Kind,
    signature: Signature,
}

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

impl AggregateUDFImpl for Intervals {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new(format!("{}[count]", args.name), DataType::Int64, true)),
            Arc::new(Field::new(format!("{}[value]", args.name), INTERVAL, true)),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct && self.kind.adds() {
            return Err(
                ValueError::new("0A000", format!("{}(DISTINCT interval) is not supported", self.kind.name())).into()
            );
        }
        Ok(Box::new(State { kind: self.kind, value: IntervalMonthDayNano::new(0, 0, 0), count: 0 }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The sum or the extreme so far, and of how many values.
#[derive(Debug)]
struct State {
    kind: Kind,
    value: IntervalMonthDayNano,
    count: i64,
}

fn out_of_range() -> ValueError {
    ValueError::new("22008", "interval out of range")
}

fn plus(a: IntervalMonthDayNano, b: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    Some(IntervalMonthDayNano::new(
        a.months.checked_add(b.months)?,
        a.days.checked_add(b.days)?,
        a.nanoseconds.checked_add(b.nanoseconds)?,
    ))
}

fn minus(a: IntervalMonthDayNano, b: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    Some(IntervalMonthDayNano::new(
        a.months.checked_sub(b.months)?,
        a.days.checked_sub(b.days)?,
        a.nanoseconds.checked_sub(b.nanoseconds)?,
    ))
}

impl State {
    fn take_in(&mut self, value: IntervalMonthDayNano, count: i64) -> Result<()> {
        let better = match self.kind {
            Kind::Least => interval_order(value) < interval_order(self.value),
            Kind::Greatest => interval_order(value) > interval_order(self.value),
            Kind::Sum | Kind::Average => {
                self.value = plus(self.value, value).ok_or_else(out_of_range)?;
                false
            }
        };
        if better || self.count == 0 {
            self.value = value;
        }
        self.count += count;
        Ok(())
    }
}

impl Accumulator for State {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<IntervalMonthDayNanoType>().iter().flatten() {
            self.take_in(value, 1)?;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<IntervalMonthDayNanoType>().iter().flatten() {
            self.value = minus(self.value, value).ok_or_else(out_of_range)?;
            self.count -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.kind.adds()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let counts = states[0].as_primitive::<Int64Type>();
        let values = states[1].as_primitive::<IntervalMonthDayNanoType>();
        for (count, value) in counts.iter().zip(values) {
            if let (Some(count @ 1..), Some(value)) = (count, value) {
                self.take_in(value, count)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(Some(self.count)), ScalarValue::IntervalMonthDayNano(Some(self.value))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = match (self.count, self.kind) {
            (0, _) => None,
            (count, Kind::Average) => Some(divide_interval(self.value, count)?),
            _ => Some(self.value),
        };
        Ok(ScalarValue::IntervalMonthDayNano(value))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::IntervalMonthDayNanoArray;

    use super::*;

    #[test]
    fn intervals_add_by_part_and_compare_by_length() {
        let hour = 3_600_000_000_000;
        let values: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![
            Some(IntervalMonthDayNano::new(1, 0, 0)),
            None,
            Some(IntervalMonthDayNano::new(0, 31, 0)),
            Some(IntervalMonthDayNano::new(0, 0, 3 * hour)),
        ]));
        let check = |kind, expected| {
            let mut state = State { kind, value: IntervalMonthDayNano::new(0, 0, 0), count: 0 };
            state.update_batch(&[Arc::clone(&values)]).unwrap();
            let states: Vec<ArrayRef> = state.state().unwrap().iter().map(|s| s.to_array().unwrap()).collect();
            let mut merged = State { kind, value: IntervalMonthDayNano::new(0, 0, 0), count: 0 };
            merged.merge_batch(&states).unwrap();
            assert_eq!(merged.evaluate().unwrap(), ScalarValue::IntervalMonthDayNano(Some(expected)), "{kind:?}");
        };
        check(Kind::Sum, IntervalMonthDayNano::new(1, 31, 3 * hour));
        check(Kind::Least, IntervalMonthDayNano::new(0, 0, 3 * hour));
        check(Kind::Greatest, IntervalMonthDayNano::new(0, 31, 0));
        // A third of a month is 10 days, of a day 8 hours.
        check(Kind::Average, IntervalMonthDayNano::new(0, 20, 9 * hour));
    }
}
