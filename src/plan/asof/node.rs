//! The join as a node of a logical plan, and its operator.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::common::{DFSchemaRef, JoinType, Result, internal_err};
use datafusion::logical_expr::logical_plan::builder::build_join_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use tidemill_operators::asof::{AsofJoinExec, AsofOp};

use crate::plan::engine::Engine;

/// Each left row with at most one right row: the nearest in time of those with equal keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::plan) struct AsofJoin {
    pub(super) left: LogicalPlan,
    pub(super) right: LogicalPlan,
    pub(super) keys: Vec<(Expr, Expr)>,
    /// Left and right of the match condition.
    pub(super) matched: (Expr, Expr),
    pub(super) op: AsofOp,
    /// In the unit of what is matched.
    pub(super) tolerance: Option<i64>,
    pub(super) join_type: JoinType,
    pub(super) schema: DFSchemaRef,
}

impl AsofJoin {
    /// Both inputs, and whether a left row without a right one is left out.
    pub(in crate::plan) fn sides(&self) -> (&LogicalPlan, &LogicalPlan, bool) {
        (&self.left, &self.right, self.join_type == JoinType::Inner)
    }

    pub(super) fn schema_of(left: &LogicalPlan, right: &LogicalPlan, join_type: JoinType) -> Result<DFSchemaRef> {
        Ok(Arc::new(build_join_schema(left.schema(), right.schema(), &join_type)?))
    }
}

impl PartialOrd for AsofJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.left.partial_cmp(&other.left)
    }
}

impl UserDefinedLogicalNodeCore for AsofJoin {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let keys = self.keys.iter().flat_map(|(left, right)| [left, right]);
        keys.chain([&self.matched.0, &self.matched.1]).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "AsofJoin: {}, {} {} {}", self.join_type, self.matched.0, self.op, self.matched.1)?;
        self.keys.iter().try_for_each(|(left, right)| write!(f, ", {left} = {right}"))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("an ASOF join has two inputs");
        };
        let mut pairs = exprs.into_iter();
        let mut pair = || match (pairs.next(), pairs.next()) {
            (Some(left), Some(right)) => Ok((left, right)),
            _ => internal_err!("an ASOF join lost an expression"),
        };
        let keys = (0..self.keys.len()).map(|_| pair()).collect::<Result<_>>()?;
        let matched = pair()?;
        let schema = Self::schema_of(&left, &right, self.join_type)?;
        Ok(Self { left, right, keys, matched, schema, ..self.clone() })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let mut needed = [vec![], vec![]];
        for column in output_columns {
            let (side, index) = if *column < width { (0, *column) } else { (1, column - width) };
            needed[side].push(index);
        }
        for (side, plan) in [&self.left, &self.right].into_iter().enumerate() {
            let pairs = self.keys.iter().chain([&self.matched]);
            for (left, right) in pairs {
                let expr = if side == 0 { left } else { right };
                needed[side]
                    .extend(expr.column_refs().into_iter().filter_map(|c| plan.schema().maybe_index_of_column(c)));
            }
            needed[side].sort_unstable();
            needed[side].dedup();
        }
        Some(needed.to_vec())
    }
}

/// Makes the operator. What it wants sorted is sorted before it is spread by key: a table that has the order then need not
/// be sorted at all.
pub(in crate::plan) fn physical(
    node: &AsofJoin,
    engine: &Engine,
    left: &Arc<dyn ExecutionPlan>,
    right: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let (left_schema, right_schema) = (node.left.schema(), node.right.schema());
    let pair = |(l, r): &(Expr, Expr)| {
        Ok((engine.expression(l.clone(), left_schema)?, engine.expression(r.clone(), right_schema)?))
    };
    let on = node.keys.iter().map(pair).collect::<Result<_>>()?;
    let matched = pair(&node.matched)?;
    // As a table in the order of time is read forwards and backwards.
    let descending = node.op.is_descending();
    let options = SortOptions { descending, nulls_first: descending };
    let sorted = |input: &Arc<dyn ExecutionPlan>, expr| -> Arc<dyn ExecutionPlan> {
        let order = LexOrdering::new([PhysicalSortExpr::new(expr, options)]);
        match order {
            Some(order) => Arc::new(SortExec::new(order, Arc::clone(input)).with_preserve_partitioning(true)),
            None => Arc::clone(input),
        }
    };
    let (left, right) = (sorted(left, Arc::clone(&matched.0)), sorted(right, Arc::clone(&matched.1)));
    let condition = (matched.0, matched.1, node.op);
    Ok(Arc::new(AsofJoinExec::try_new(left, right, on, condition, node.tolerance, node.join_type)?))
}
