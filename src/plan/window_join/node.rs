//! The join as a node of a logical plan, and its operator.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{Field, FieldRef};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use tidemill_operators::window_join::{self as operator, Window, WindowAggregate, WindowJoinExec};

use crate::plan::engine::Engine;

/// Each left row, with aggregates of the right rows with equal keys in a window around its time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::plan) struct WindowJoin {
    pub(super) left: LogicalPlan,
    pub(super) right: LogicalPlan,
    pub(super) keys: Vec<(Expr, Expr)>,
    /// Left and right.
    pub(super) times: (Expr, Expr),
    pub(super) window: Window,
    /// Over right columns.
    pub(super) aggregates: Vec<Expr>,
    /// Left columns, then the aggregates.
    pub(super) schema: DFSchemaRef,
}

impl WindowJoin {
    pub(super) fn schema_of(left: &LogicalPlan, aggregates: Vec<FieldRef>) -> Result<DFSchemaRef> {
        let left = left.schema().iter().map(|(relation, field)| (relation.cloned(), Arc::clone(field)));
        let aggregates = aggregates.into_iter().map(|field| (None::<TableReference>, field));
        Ok(Arc::new(DFSchema::new_with_metadata(left.chain(aggregates).collect(), Default::default())?))
    }

    fn fields(&self) -> Vec<FieldRef> {
        let all = self.schema.fields();
        all[all.len() - self.aggregates.len()..].to_vec()
    }
}

impl PartialOrd for WindowJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.left.partial_cmp(&other.left)
    }
}

impl UserDefinedLogicalNodeCore for WindowJoin {
    fn name(&self) -> &str {
        "WindowJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let keys = self.keys.iter().flat_map(|(left, right)| [left, right]);
        keys.chain([&self.times.0, &self.times.1]).chain(&self.aggregates).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Window { low, high, prevailing } = self.window;
        write!(f, "WindowJoin: {} + [{low}, {high}] {}", self.times.0, self.times.1)?;
        if prevailing {
            f.write_str(", prevailing")?;
        }
        self.keys.iter().try_for_each(|(left, right)| write!(f, ", {left} = {right}"))?;
        self.aggregates.iter().try_for_each(|aggregate| write!(f, ", {}", aggregate.schema_name()))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("a WINDOW JOIN has two inputs");
        };
        let mut exprs = exprs.into_iter();
        let mut pair = || match (exprs.next(), exprs.next()) {
            (Some(left), Some(right)) => Ok((left, right)),
            _ => internal_err!("a WINDOW JOIN lost an expression"),
        };
        let keys = (0..self.keys.len()).map(|_| pair()).collect::<Result<_>>()?;
        let times = pair()?;
        let schema = Self::schema_of(&left, self.fields())?;
        Ok(Self { left, right, keys, times, window: self.window, aggregates: exprs.collect(), schema })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let pairs = || self.keys.iter().chain([&self.times]);
        let of = |plan: &LogicalPlan, exprs: Vec<&Expr>, shown: Vec<usize>| {
            let read = exprs.into_iter().flat_map(|expr| {
                expr.column_refs()
                    .into_iter()
                    .filter_map(|column| plan.schema().maybe_index_of_column(column))
                    .collect::<Vec<_>>()
            });
            let mut needed: Vec<usize> = read.chain(shown).collect();
            needed.sort_unstable();
            needed.dedup();
            needed
        };
        let shown = output_columns.iter().copied().filter(|column| *column < width).collect();
        let left = of(&self.left, pairs().map(|(left, _)| left).collect(), shown);
        let right = pairs().map(|(_, right)| right).chain(&self.aggregates).collect();
        Some(vec![left, of(&self.right, right, vec![])])
    }
}

/// Makes the operator, as that of an ASOF JOIN: sorted by time before it is spread by key.
pub(in crate::plan) fn physical(
    node: &WindowJoin,
    engine: &Engine,
    context: &PhysicalPlanningContext,
    left: &Arc<dyn ExecutionPlan>,
    right: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let (left_schema, right_schema) = (node.left.schema(), node.right.schema());
    let pair = |(l, r): &(Expr, Expr)| {
        Ok((engine.expression(l.clone(), left_schema)?, engine.expression(r.clone(), right_schema)?))
    };
    let on = node.keys.iter().map(pair).collect::<Result<_>>()?;
    let times = pair(&node.times)?;
    let options = SortOptions { descending: false, nulls_first: false };
    let sorted = |input: &Arc<dyn ExecutionPlan>, expr| -> Arc<dyn ExecutionPlan> {
        match LexOrdering::new([PhysicalSortExpr::new(expr, options)]) {
            Some(order) => Arc::new(SortExec::new(order, Arc::clone(input)).with_preserve_partitioning(true)),
            None => Arc::clone(input),
        }
    };
    let (left, right) = (sorted(left, Arc::clone(&times.0)), sorted(right, Arc::clone(&times.1)));
    let schema = right.schema();
    let aggregate = |expr: &Expr| {
        let name = expr.schema_name().to_string();
        let builder = LoweredAggregateBuilder::new(expr, right_schema, &schema, engine.execution_props(), context);
        let lowered = builder.with_name(name).build()?;
        Ok(WindowAggregate { function: lowered.aggregate, filter: lowered.filter })
    };
    let aggregates = node.aggregates.iter().map(aggregate).collect::<Result<_>>()?;
    let fields: Vec<Field> = node.fields().iter().map(|field| field.as_ref().clone()).collect();
    let join = operator::WindowJoin { on, times, window: node.window, aggregates };
    Ok(Arc::new(WindowJoinExec::try_new(left, right, join, fields)?))
}
