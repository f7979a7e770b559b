//! What all aggregates that keep a summary of a group have in common: they read rows into it, merge it with others, and give
//! it as a state (`bytea`) that accessors read. What a summary is of, and how it is written, says [`Summary`].
//!
//! ```text
//! rows ──add──► Summary ──write──► partial result ──read, merge──► Summary ──results──► states (bytea) or lists
//! ```

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReturnFieldArgs, ScalarUDFImpl, Signature,
};

use super::super::FunctionInfo;
use super::super::call::{Call, Value, error};
use super::super::define::Function;

/// What is kept of a group's rows.
pub(crate) trait Summary: Sized + Clone + Debug + Send + Sync + 'static {
    /// A batch of arguments, with their types known.
    type Rows<'a>;
    /// Reads a batch of arguments.
    fn open<'a>(arrays: &'a [ArrayRef], fields: &'a [FieldRef]) -> Result<Self::Rows<'a>>;
    /// Adds a row to its group's summary; `None` before the first row that counts.
    fn add(group: &mut Option<Self>, rows: &Self::Rows<'_>, row: usize) -> Value<()>;
    /// Adds what another one has seen, in any order of calls.
    fn merge(&mut self, other: Self) -> Value<()>;
    /// As a partial result, which must lose nothing that the end of the aggregation needs.
    fn write(&mut self) -> Vec<u8>;
    /// From a partial result, or a state: any bytes at all.
    fn read(bytes: &[u8]) -> Value<Self>;
    /// What it holds on the heap, in bytes; asked after every row.
    fn heap_bytes(&self) -> usize;
    /// As a state.
    fn finish(mut self) -> Value<Vec<u8>> {
        Ok(self.write())
    }
    /// The results of groups.
    fn results(groups: Vec<Option<Self>>, _returns: &DataType) -> Result<ArrayRef> {
        let mut states = BinaryViewBuilder::with_capacity(groups.len());
        for group in groups {
            match group {
                Some(summary) => states.try_append_value(summary.finish()?)?,
                None => states.append_null(),
            }
        }
        Ok(Arc::new(states.finish()))
    }
}

/// The body of a [`Function`] that only stands for an aggregate's names, signatures and coercion.
pub(crate) fn aggregated(_: &Call<'_>) -> Result<ArrayRef> {
    internal_err!("an aggregate was called for single rows")
}

/// An aggregate function with its documentation.
pub(crate) fn two_step<S: Summary>(function: Function) -> (AggregateUDF, FunctionInfo) {
    let info = FunctionInfo { kind: "aggregate", ..function.info() };
    (AggregateUDF::new_from_impl(TwoStep::<S> { function, summary: PhantomData }), info)
}

#[derive(Debug)]
struct TwoStep<S> {
    function: Function,
    summary: PhantomData<fn() -> S>,
}

impl<S> PartialEq for TwoStep<S> {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl<S> Eq for TwoStep<S> {}

impl<S> Hash for TwoStep<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

impl<S: Summary> TwoStep<S> {
    fn groups(&self, args: &AccumulatorArgs) -> Result<Groups<S>> {
        if args.is_distinct {
            return Err(error("0A000", format!("DISTINCT is not supported for {}", self.name())));
        }
        Ok(Groups {
            fields: args.expr_fields.to_vec(),
            returns: args.return_field.data_type().clone(),
            groups: vec![],
            heap_bytes: 0,
        })
    }
}

impl<S: Summary> AggregateUDFImpl for TwoStep<S> {
    fn name(&self) -> &str {
        ScalarUDFImpl::name(&self.function)
    }

    fn aliases(&self) -> &[String] {
        ScalarUDFImpl::aliases(&self.function)
    }

    fn signature(&self) -> &Signature {
        ScalarUDFImpl::signature(&self.function)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        ScalarUDFImpl::return_type(&self.function, types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let constants = vec![None; fields.len()];
        self.function.return_field_from_args(ReturnFieldArgs { arg_fields: fields, scalar_arguments: &constants })
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        ScalarUDFImpl::coerce_types(&self.function, types).or_else(|error| {
            // An integer literal is a bigint until it is given PostgreSQL's type.
            let narrow = |data_type: &DataType| match data_type {
                DataType::Int64 => DataType::Int32,
                other => other.clone(),
            };
            let narrow: Vec<DataType> = types.iter().map(narrow).collect();
            ScalarUDFImpl::coerce_types(&self.function, &narrow).map_err(|_| error)
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let mut groups = self.groups(&args)?;
        groups.groups.push(None);
        Ok(Box::new(One(groups)))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.groups(&args)?))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[state]", args.name), DataType::BinaryView, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The summaries of all groups.
#[derive(Debug)]
struct Groups<S> {
    fields: Vec<FieldRef>,
    returns: DataType,
    groups: Vec<Option<S>>,
    /// Of all summaries; counted along, as asking every group after each batch would take longer than the batch.
    heap_bytes: usize,
}

impl<S: Summary> Groups<S> {
    /// Lets a group's summary change.
    fn change(&mut self, group: usize, f: impl FnOnce(&mut Option<S>) -> Value<()>) -> Value<()> {
        let group = &mut self.groups[group];
        let before = group.as_ref().map_or(0, S::heap_bytes);
        f(group)?;
        self.heap_bytes = (self.heap_bytes + group.as_ref().map_or(0, S::heap_bytes)).saturating_sub(before);
        Ok(())
    }

    fn add(&mut self, arrays: &[ArrayRef], counts: impl Fn(usize) -> Option<usize>) -> Result<()> {
        let fields = self.fields.clone();
        let rows = S::open(arrays, &fields)?;
        for row in 0..arrays.first().map_or(0, |array| array.len()) {
            if let Some(group) = counts(row) {
                self.change(group, |group| S::add(group, &rows, row))?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], group_of: impl Fn(usize) -> usize) -> Result<()> {
        let Some(states) = states.first().and_then(|states| states.as_binary_view_opt()) else {
            return internal_err!("a partial result is bytes");
        };
        for row in (0..states.len()).filter(|row| states.is_valid(*row)) {
            let other = S::read(states.value(row))?;
            self.change(group_of(row), |group| match group {
                Some(summary) => summary.merge(other),
                None => {
                    *group = Some(other);
                    Ok(())
                }
            })?;
        }
        Ok(())
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Option<S>> {
        let taken = emit_to.take_needed(&mut self.groups);
        let bytes: usize = taken.iter().flatten().map(S::heap_bytes).sum();
        self.heap_bytes = self.heap_bytes.saturating_sub(bytes);
        taken
    }
}

impl<S: Summary> GroupsAccumulator for Groups<S> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups, || None);
        let counts = |row| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        self.add(values, |row| counts(row).then(|| group_indices[row]))
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.groups.resize_with(total_num_groups, || None);
        self.merge(values, |row| group_indices[row])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = self.take(emit_to);
        S::results(groups, &self.returns)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut states = BinaryViewBuilder::new();
        for mut group in self.take(emit_to) {
            match &mut group {
                Some(summary) => states.try_append_value(summary.write())?,
                None => states.append_null(),
            }
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |array| array.len());
        let (fields, returns) = (self.fields.clone(), self.returns.clone());
        let mut each = Self { fields, returns, groups: vec![], heap_bytes: 0 };
        each.update_batch(values, &(0..rows).collect::<Vec<_>>(), opt_filter, rows)?;
        GroupsAccumulator::state(&mut each, EmitTo::All)
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<Option<S>>() + self.heap_bytes
    }
}

/// One group. Window frames ask it again and again, so that results leave the summary where it is.
#[derive(Debug)]
struct One<S>(Groups<S>);

impl<S: Summary> Accumulator for One<S> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.add(values, |_| Some(0))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge(states, |_| 0)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let result = S::results(self.0.groups.clone(), &self.0.returns)?;
        match result.as_list_opt::<i32>() {
            // Made by hand, as the general way forgets what the elements' field says of their SQL type.
            Some(list) => Ok(ScalarValue::List(Arc::new(list.clone()))),
            None => ScalarValue::try_from_array(&result, 0),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::BinaryView(self.0.groups[0].as_mut().map(S::write))])
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }
}
