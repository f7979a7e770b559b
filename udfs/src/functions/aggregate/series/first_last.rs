//! `first(value, time)` and `last(value, time)`: the value of the earliest or the latest row. Rows without a time do
//! not count; a value may be NULL. Of rows of one time the first that arrived is taken.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::super::super::define::view_type;
use super::super::first_row::FirstRows;
use super::groups::About;

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FirstLast {
    last: bool,
    signature: Signature,
}

/// Both functions.
pub(crate) fn all() -> [FirstLast; 2] {
    [false, true].map(|last| FirstLast { last, signature: Signature::user_defined(Volatility::Immutable) })
}

impl FirstLast {
    pub(crate) fn is_last(&self) -> bool {
        self.last
    }

    pub(crate) fn about(&self) -> About {
        match self.last {
            false => About {
                name: "first",
                signatures: &["first(anyelement, any) → anyelement"],
                description: "The value of the row with the earliest time, NULL too; rows without a time do not count.",
                example: "first(price, sold_at)",
            },
            true => About {
                name: "last",
                signatures: &["last(anyelement, any) → anyelement"],
                description: "The value of the row with the latest time, NULL too; rows without a time do not count.",
                example: "last(price, sold_at)",
            },
        }
    }

    fn rows(&self, fields: &[FieldRef]) -> Result<FirstRows> {
        let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
        FirstRows::new(&types, 1, &[SortOptions { descending: self.last, nulls_first: false }])
    }
}

impl AggregateUDFImpl for FirstLast {
    fn name(&self) -> &str {
        self.about().name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(value) => Ok(value.clone()),
            None => internal_err!("{} without arguments", self.name()),
        }
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        match fields.first() {
            // What the field says of the SQL type stays.
            Some(value) => Ok(Arc::new(value.as_ref().clone().with_name(self.name()).with_nullable(true))),
            None => internal_err!("{} without arguments", self.name()),
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        // A bare NULL or a literal is text.
        let known = |data_type: &DataType| match data_type {
            DataType::Null => DataType::Utf8View,
            other => view_type(other),
        };
        match types {
            [value, time] if !time.is_nested() => Ok(vec![known(value), known(time)]),
            _ => Err(self.about().no_such(types)),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One(self.rows(args.expr_fields)?)))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Edges(self.rows(args.expr_fields)?)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |what: &str, data_type: &DataType| {
            Arc::new(Field::new(format!("{}[{what}]", args.name), data_type.clone(), true))
        };
        Ok(vec![
            field("value", args.input_fields[0].data_type()),
            field("time", args.input_fields[1].data_type()),
            field("is set", &DataType::Boolean),
        ])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The rows that have a time and are not filtered out.
fn counts(time: &ArrayRef, filter: Option<&BooleanArray>) -> impl Fn(usize) -> bool {
    let (nulls, filter) = (time.logical_nulls(), filter.cloned());
    move |row| {
        nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
            && filter.as_ref().is_none_or(|filter| filter.is_valid(row) && filter.value(row))
    }
}

/// The state of all groups.
struct Edges(FirstRows);

impl GroupsAccumulator for Edges {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        match (values[1].logical_null_count(), opt_filter) {
            (0, None) => self.0.add(values, group_indices, |_| true, total_num_groups),
            _ => self.0.add(values, group_indices, counts(&values[1], opt_filter), total_num_groups),
        }
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (mut rows, _) = self.0.emit(emit_to)?;
        Ok(rows.swap_remove(0))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        GroupsAccumulator::state(&mut self.0, emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        GroupsAccumulator::merge_batch(&mut self.0, values, group_indices, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let counts = counts(&values[1], opt_filter);
        let is_set: BooleanArray = (0..values[1].len()).map(|row| Some(counts(row))).collect();
        Ok(vec![Arc::clone(&values[0]), Arc::clone(&values[1]), Arc::new(is_set)])
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }
}

/// One group. Unlike [`Edges`] it may be asked again and again, after every row of a window.
struct One(FirstRows);

impl std::fmt::Debug for One {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("first or last")
    }
}

impl One {
    fn add(&mut self, arguments: &[ArrayRef], counts: impl Fn(usize) -> bool) -> Result<()> {
        let rows = arguments.first().map_or(0, |array| array.len());
        self.0.add(arguments, &vec![0; rows], counts, 1)?;
        // Only one row is needed, and it is asked for often.
        self.0.compact()
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, counts(&values[1], None))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (rows, _) = self.0.show()?;
        ScalarValue::try_from_array(&rows[0], 0)
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (rows, is_set) = self.0.show()?;
        let mut state: Vec<ScalarValue> =
            rows.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect::<Result<_>>()?;
        state.push(ScalarValue::Boolean(Some(is_set.value(0))));
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some((is_set, arguments)) = states.split_last() else { return internal_err!("first without a state") };
        let is_set = is_set.as_boolean().clone();
        self.add(arguments, |row| is_set.value(row))
    }
}
