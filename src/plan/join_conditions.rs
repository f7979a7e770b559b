//! Conditions of inner joins that DataFusion's EliminateCrossJoin would lose or read otherwise when it takes joins apart and
//! puts them together anew (55.2): they are said in the join's filter too, which it keeps.
//!
//! ```text
//!  a JOIN g ON … JOIN t ON t.id = a.id AND t.n = a.k[g.i]
//!     it joins a and t first; then `a.k[g.i]` is of both sides, and the pair (a.k[g.i], t.n) is in no join
//!  a JOIN b ON a.x IS NOT DISTINCT FROM b.x JOIN c ON …
//!     all pairs come to be compared as the topmost join compares its own
//! ```

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, Operator, binary_expr};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// The rule; right before EliminateCrossJoin.
#[derive(Debug)]
pub(super) struct KeptConditions;

impl OptimizerRule for KeptConditions {
    fn name(&self) -> &str {
        "kept_conditions"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            // With a filter right above it a join is taken apart, too: what the filter says is compared as the join's pairs.
            LogicalPlan::Filter(mut filter) => {
                let Some(join) = inner(&filter.input).filter(|join| compares_nulls(join)) else {
                    return Ok(Transformed::no(LogicalPlan::Filter(filter)));
                };
                filter.input = Arc::new(LogicalPlan::Join(in_filter(join.clone())));
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => Ok(kept(join)),
            other => Ok(Transformed::no(other)),
        }
    }
}

fn kept(mut join: Join) -> Transformed<LogicalPlan> {
    let mut changed = false;
    let (left, right) = (inner(&join.left).is_some(), inner(&join.right).is_some());
    if !left && !right {
        return Transformed::no(LogicalPlan::Join(join));
    }
    for input in [&mut join.left, &mut join.right] {
        if let Some(inside) = inner(input).filter(|inside| compares_nulls(inside)) {
            *input = Arc::new(LogicalPlan::Join(in_filter(inside.clone())));
            changed = true;
        }
    }
    if compares_nulls(&join) {
        join = in_filter(join);
        changed = true;
    }
    let mut sources = vec![];
    flattened(&join.left, &mut sources);
    flattened(&join.right, &mut sources);
    let known: Vec<Expr> = join.filter.iter().flat_map(split_conjunction).cloned().collect();
    let spanning = join.on.iter().filter(|(left, right)| !is_of_one(left, &sources) || !is_of_one(right, &sources));
    let mut added: Vec<Expr> = spanning.map(|(left, right)| left.clone().eq(right.clone())).collect();
    added.retain(|condition| !known.contains(condition));
    if !added.is_empty() {
        join.filter = conjunction(known.into_iter().chain(added));
        changed = true;
    }
    Transformed::new_transformed(LogicalPlan::Join(join), changed)
}

fn inner(plan: &LogicalPlan) -> Option<&Join> {
    match plan {
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => Some(join),
        _ => None,
    }
}

fn compares_nulls(join: &Join) -> bool {
    join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty()
}

/// A join whose pairs are all in its filter.
fn in_filter(mut join: Join) -> Join {
    let pairs = std::mem::take(&mut join.on).into_iter();
    let pairs = pairs.map(|(left, right)| binary_expr(left, Operator::IsNotDistinctFrom, right));
    join.filter = conjunction(pairs.chain(join.filter));
    join.null_equality = NullEquality::NullEqualsNothing;
    join
}

/// What inner joins are made of.
fn flattened<'p>(plan: &'p LogicalPlan, sources: &mut Vec<&'p LogicalPlan>) {
    match inner(plan) {
        Some(join) => {
            flattened(&join.left, sources);
            flattened(&join.right, sources);
        }
        None => sources.push(plan),
    }
}

fn is_of_one(expr: &Expr, sources: &[&LogicalPlan]) -> bool {
    let columns = expr.column_refs();
    let has_all = |source: &&LogicalPlan| columns.iter().all(|column| source.schema().has_column(column));
    !columns.is_empty() && sources.iter().any(has_all)
}
