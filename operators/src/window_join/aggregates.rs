//! Aggregates over slices of the right rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{SortColumn, SortOptions, filter, lexsort_to_indices, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::Accumulator;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use datafusion_physical_expr_common::physical_expr::PhysicalExprRef;

/// An aggregate over right columns.
#[derive(Debug, Clone)]
pub struct WindowAggregate {
    /// The function and its arguments.
    pub function: Arc<AggregateFunctionExpr>,
    /// FILTER (WHERE …)
    pub filter: Option<PhysicalExprRef>,
}

/// One aggregate, its arguments as places among the inputs.
struct Function {
    function: Arc<AggregateFunctionExpr>,
    args: Vec<usize>,
    /// Rows are given to it in this order.
    order: Vec<(usize, SortOptions)>,
    filter: Option<usize>,
    /// It takes values back.
    slides: bool,
    /// Its value over no rows.
    empty: ScalarValue,
}

/// All aggregates of a join, and what they read.
pub(super) struct Aggregates {
    functions: Vec<Function>,
    inputs: Vec<PhysicalExprRef>,
    schema: SchemaRef,
}

impl Aggregates {
    pub(super) fn new(aggregates: &[WindowAggregate], right: &Schema) -> Result<Self> {
        let mut inputs: Vec<PhysicalExprRef> = vec![];
        let mut functions = vec![];
        for WindowAggregate { function, filter } in aggregates {
            let mut place = |input: &PhysicalExprRef| match inputs.iter().position(|known| known == input) {
                Some(at) => at,
                None => {
                    inputs.push(Arc::clone(input));
                    inputs.len() - 1
                }
            };
            let mut args: Vec<usize> = function.expressions().iter().map(&mut place).collect();
            let order: Vec<_> = function.order_bys().iter().map(|sort| (place(&sort.expr), sort.options)).collect();
            args.extend(order.iter().map(|(at, _)| *at));
            let filter = filter.as_ref().map(&mut place);
            let types = args.iter().map(|at| inputs[*at].data_type(right)).collect::<Result<Vec<_>>>()?;
            functions.push(Function {
                slides: order.is_empty() && slides(function, &types),
                empty: function.create_accumulator()?.evaluate()?,
                function: Arc::clone(function),
                args,
                order,
                filter,
            });
        }
        let field =
            |(at, input): (usize, &PhysicalExprRef)| Ok(Field::new(at.to_string(), input.data_type(right)?, true));
        let schema = Arc::new(Schema::new(inputs.iter().enumerate().map(field).collect::<Result<Vec<_>>>()?));
        Ok(Self { functions, inputs, schema })
    }

    pub(super) fn len(&self) -> usize {
        self.functions.len()
    }

    /// The columns that are kept of right rows.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// What is kept of a right batch.
    pub(super) fn inputs(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let array = |input: &PhysicalExprRef| input.evaluate(batch)?.into_array(batch.num_rows());
        let columns = self.inputs.iter().map(array).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema(), columns, &options)?)
    }

    /// True if every window's rows are needed at a time.
    pub(super) fn recomputes(&self) -> bool {
        self.functions.iter().any(|function| !function.slides)
    }

    /// The value of each over no rows.
    pub(super) fn empty(&self) -> Vec<ScalarValue> {
        self.functions.iter().map(|function| function.empty.clone()).collect()
    }

    /// What slides, without any rows yet.
    pub(super) fn states(&self) -> Result<Vec<Box<dyn Accumulator>>> {
        let sliding = self.functions.iter().filter(|function| function.slides);
        sliding.map(|function| function.function.create_sliding_accumulator()).collect()
    }

    /// Takes rows into what slides.
    pub(super) fn add(&self, states: &mut [Box<dyn Accumulator>], rows: &[ArrayRef]) -> Result<()> {
        for (function, state) in self.functions.iter().filter(|function| function.slides).zip(states) {
            state.update_batch(&function.arguments(rows)?)?;
        }
        Ok(())
    }

    /// Takes rows back.
    pub(super) fn remove(&self, states: &mut [Box<dyn Accumulator>], rows: &[ArrayRef]) -> Result<()> {
        for (function, state) in self.functions.iter().filter(|function| function.slides).zip(states) {
            state.retract_batch(&function.arguments(rows)?)?;
        }
        Ok(())
    }

    /// The values over a window: `rows` if some need them.
    pub(super) fn values(
        &self,
        states: &mut [Box<dyn Accumulator>],
        rows: impl FnOnce() -> Vec<ArrayRef>,
    ) -> Result<Vec<ScalarValue>> {
        let rows = if self.recomputes() { rows() } else { vec![] };
        let mut states = states.iter_mut();
        let value = |function: &Function| match function.slides.then(|| states.next()).flatten() {
            Some(state) => state.evaluate(),
            None => function.over(&rows),
        };
        self.functions.iter().map(value).collect()
    }
}

impl Function {
    /// Its arguments of the rows that it counts.
    fn arguments(&self, rows: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let arguments = self.args.iter().map(|at| &rows[*at]);
        match self.filter {
            Some(mask) => arguments.map(|array| Ok(filter(array, rows[mask].as_boolean())?)).collect(),
            None => Ok(arguments.map(Arc::clone).collect()),
        }
    }

    /// Its value over some rows, from nothing.
    fn over(&self, rows: &[ArrayRef]) -> Result<ScalarValue> {
        let mut arguments = self.arguments(rows)?;
        if !self.order.is_empty() {
            let column = |(array, (_, options)): (&ArrayRef, &(usize, SortOptions))| SortColumn {
                values: Arc::clone(array),
                options: Some(*options),
            };
            let keys = &arguments[arguments.len() - self.order.len()..];
            let columns: Vec<SortColumn> = keys.iter().zip(&self.order).map(column).collect();
            let order = lexsort_to_indices(&columns, None)?;
            arguments = arguments.iter().map(|array| Ok(take(array, &order, None)?)).collect::<Result<_>>()?;
        }
        let mut state = self.function.create_accumulator()?;
        state.update_batch(&arguments)?;
        state.evaluate()
    }
}

/// True if taking values back leaves what there would be without them, and costs no more than what there is: sums of floats
/// keep what they rounded, and NaN; `array_agg` keeps the arrays its values are in.
fn slides(function: &AggregateFunctionExpr, types: &[DataType]) -> bool {
    let name = function.fun().name();
    let exact = name == "count" || !types.iter().any(has_floats);
    exact && name != "array_agg" && function.create_sliding_accumulator().is_ok()
}

fn has_floats(data_type: &DataType) -> bool {
    data_type.is_floating() || data_type.is_nested()
}
