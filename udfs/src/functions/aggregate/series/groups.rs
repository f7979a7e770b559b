//! What every aggregate of this folder is made of: a [`Group`] says what is kept of one group's rows, and the
//! accumulators of one and of many groups follow from it. Partial results travel between the engine's stages as one
//! `bytea`.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::super::super::FunctionInfo;
use super::super::super::call::{Value, error};
use crate::types::SqlType;

/// What an aggregate keeps of one group's rows.
pub(crate) trait Group: Default + Debug + Send + Sync + 'static {
    /// Adds rows, given with their group, and tells about how many bytes of heap that took.
    fn update(groups: &mut [Self], arguments: &[ArrayRef], rows: impl Iterator<Item = (usize, usize)>)
    -> Result<usize>;

    /// Adds what [`Group::partial`] gave elsewhere.
    fn merge(&mut self, partial: &[u8]) -> Value<()>;

    /// The result so far, in a form that more can be added to. `None` without rows.
    fn partial(&mut self) -> Value<Option<Vec<u8>>>;

    /// The results of groups. More rows may follow: a window's frame asks after each of them.
    fn results(groups: &mut [Self]) -> Result<ArrayRef>;

    /// The bytes of heap that it holds.
    fn heap_bytes(&self) -> usize;
}

/// An array of states.
pub(crate) fn bytea(states: impl Iterator<Item = Value<Option<Vec<u8>>>>) -> Result<ArrayRef> {
    let mut builder = BinaryViewBuilder::new();
    for state in states {
        match state? {
            Some(state) => builder.try_append_value(state)?,
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// The groups of one aggregation.
struct Groups<G> {
    groups: Vec<G>,
    heap_bytes: usize,
}

impl<G: Group> Groups<G> {
    fn new() -> Self {
        Self { groups: vec![], heap_bytes: 0 }
    }

    fn add(&mut self, arguments: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        let rows = groups.iter().copied().enumerate();
        self.heap_bytes += match filter {
            None => G::update(&mut self.groups, arguments, rows)?,
            Some(filter) => {
                let rows = rows.filter(|(row, _)| filter.is_valid(*row) && filter.value(*row));
                G::update(&mut self.groups, arguments, rows)?
            }
        };
        Ok(())
    }

    fn merge(&mut self, partials: &ArrayRef, groups: impl Iterator<Item = usize>) -> Result<()> {
        let Some(partials) = partials.as_binary_view_opt() else {
            return exec_err!("a partial result has type bytea, not {}", partials.data_type());
        };
        for (row, group) in groups.enumerate().filter(|(row, _)| partials.is_valid(*row)) {
            let group = &mut self.groups[group];
            let before = group.heap_bytes();
            group.merge(partials.value(row))?;
            self.heap_bytes = (self.heap_bytes + group.heap_bytes()).saturating_sub(before);
        }
        Ok(())
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<G> {
        let groups = emit_to.take_needed(&mut self.groups);
        self.heap_bytes = self.heap_bytes.saturating_sub(groups.iter().map(G::heap_bytes).sum());
        groups
    }
}

impl<G: Group> GroupsAccumulator for Groups<G> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups, G::default);
        self.add(values, group_indices, opt_filter)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        G::results(&mut self.take(emit_to))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        // One after the other is given up, so that not all are there twice.
        Ok(vec![bytea(self.take(emit_to).into_iter().map(|mut group| group.partial()))?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.groups.resize_with(total_num_groups, G::default);
        self.merge(&values[0], group_indices.iter().copied())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |array| array.len());
        let mut each = Self::new();
        each.update_batch(values, &(0..rows).collect::<Vec<_>>(), opt_filter, rows)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<G>() + self.heap_bytes
    }
}

/// One group alone: no GROUP BY, or a window.
struct One<G>(Groups<G>);

impl<G: Group> Debug for One<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.groups.fmt(f)
    }
}

impl<G: Group> Accumulator for One<G> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |array| array.len());
        self.0.heap_bytes += G::update(&mut self.0.groups, values, (0..rows).map(|row| (row, 0)))?;
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge(&states[0], std::iter::repeat_n(0, states[0].len()))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::BinaryView(self.0.groups[0].partial()?)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&G::results(&mut self.0.groups)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + size_of::<G>() + self.0.heap_bytes
    }
}

/// The types that arguments of these types are cast to; `None` if the function does not take them.
pub(crate) type Coerce = fn(&[DataType]) -> Option<Vec<DataType>>;

/// The words about an aggregate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    /// `histogram(float8, float8, float8, int4) → int4[]`, one for each signature.
    pub(crate) signatures: &'static [&'static str],
    /// A sentence.
    pub(crate) description: &'static str,
    pub(crate) example: &'static str,
}

impl About {
    /// What the function is, for documentation.
    pub(crate) fn info(&self) -> FunctionInfo {
        FunctionInfo {
            name: self.name,
            aliases: vec![],
            kind: "aggregate",
            signatures: self.signatures.iter().map(ToString::to_string).collect(),
            description: self.description,
            example: self.example,
        }
    }

    /// 42883: there is no such function of these arguments.
    pub(crate) fn no_such(&self, types: &[DataType]) -> datafusion_common::DataFusionError {
        let names: Vec<String> = types.iter().map(|t| SqlType::of_data_type(t).name()).collect();
        error("42883", format!("function {}({}) does not exist", self.name, names.join(", ")))
    }
}

/// An aggregate function.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) about: About,
    coerce: Coerce,
    returns: SqlType,
    /// Whether DISTINCT would change the result; it is not done.
    counts_repeats: bool,
    one: fn() -> Box<dyn Accumulator>,
    many: fn() -> Box<dyn GroupsAccumulator>,
    signature: Signature,
}

impl Series {
    /// An aggregate whose result is a state.
    pub(crate) fn new<G: Group>(about: About, coerce: Coerce) -> Self {
        Self {
            about,
            coerce,
            returns: SqlType::Bytea,
            counts_repeats: false,
            one: || Box::new(One(Groups { groups: vec![G::default()], heap_bytes: 0 })),
            many: || Box::new(Groups::<G>::new()),
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    /// Gives another type than bytea.
    pub(crate) fn returns(mut self, sql_type: SqlType) -> Self {
        self.returns = sql_type;
        self
    }

    /// A row that is there twice counts twice.
    pub(crate) fn counts_repeats(mut self) -> Self {
        self.counts_repeats = true;
        self
    }

    fn check(&self, args: &AccumulatorArgs) -> Result<()> {
        if args.is_distinct && self.counts_repeats {
            return Err(error("0A000", format!("DISTINCT is not supported for {}", self.about.name)));
        }
        Ok(())
    }
}

impl PartialEq for Series {
    fn eq(&self, other: &Self) -> bool {
        self.about.name == other.about.name
    }
}

impl Eq for Series {}

impl Hash for Series {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.about.name.hash(state);
    }
}

impl AggregateUDFImpl for Series {
    fn name(&self) -> &str {
        self.about.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.data_type())
    }

    fn return_field(&self, _: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::new(self.returns.field(self.about.name, true)))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        (self.coerce)(types).ok_or_else(|| self.about.no_such(types))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.check(&args)?;
        Ok((self.one)())
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.check(&args)?;
        Ok((self.many)())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[partial]", args.name), DataType::BinaryView, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// Of an argument that is a timestamp, with or without time zone. Text is a literal.
pub(crate) fn as_time(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, None))
        }
        DataType::Timestamp(_, Some(_))
        | DataType::Null
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View => Some(SqlType::TimestampTz.data_type()),
        _ => None,
    }
}

/// Of an argument that is float8.
pub(crate) fn as_float(data_type: &DataType) -> Option<DataType> {
    let known = data_type.is_numeric()
        || matches!(data_type, DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    known.then_some(DataType::Float64)
}

/// Of an argument that is text.
pub(crate) fn as_text(data_type: &DataType) -> Option<DataType> {
    matches!(data_type, DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        .then_some(DataType::Utf8View)
}

/// Of an argument that is a state.
pub(crate) fn as_state(data_type: &DataType) -> Option<DataType> {
    matches!(data_type, DataType::Null | DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
        .then_some(DataType::BinaryView)
}
