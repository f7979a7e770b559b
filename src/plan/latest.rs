//! `LATEST ON ts PARTITION BY k`: of the rows that WHERE lets through, for each key the one with the greatest time. It is
//! DISTINCT ON over the columns of FROM, between WHERE and GROUP BY.
//!
//! ```text
//! text     SELECT … FROM t WHERE c LATEST ON ts PARTITION BY k
//! tokens   SELECT … FROM t WHERE (c) AND "latest"(ts, k)                `statement::parse::latest`
//! plan     Filter c AND latest(ts, k)
//!    →     DISTINCT ON (k) * ORDER BY ts DESC
//!            Filter c AND ts IS NOT NULL                                [`rewrite`]
//! ```

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{DistinctOn, Expr, Filter, LogicalPlan, ScalarUDF};

use super::distinct_on::first_rows;
use super::extension::rewritten;
use super::marker::{self, marked};
use super::typing::{Typed, Typing};
use crate::statement::parse::LATEST;
use crate::{Error, Result};

/// The function that says it in WHERE.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![marker::udf(LATEST)]
}

/// True for that function.
pub(super) fn is_marker(function: &ScalarUDF) -> bool {
    marker::name(function) == Some(LATEST)
}

/// The mark with its time and keys typed.
///
/// # Errors
/// None that a user can cause.
pub(super) fn typed(typing: &mut Typing, function: &Arc<ScalarUDF>, args: Vec<Typed>) -> Result<Typed> {
    let exprs = args.into_iter().map(|arg| Ok(typing.settled(arg)?.expr)).collect::<Result<_>>()?;
    Ok(Typed::bool(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), exprs))))
}

/// Puts the nodes in.
///
/// # Errors
/// Of the engine.
pub(super) fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found = found || matches!(node, LogicalPlan::Filter(filter) if split_conjunction(&filter.predicate).into_iter().any(is_mark));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !found {
        return Ok(plan);
    }
    rewritten(plan, |node| match node {
        LogicalPlan::Filter(filter) => latest(filter),
        other => Ok(Transformed::no(other)),
    })
}

fn is_mark(condition: &Expr) -> bool {
    matches!(marked(condition), Some((LATEST, _)))
}

fn latest(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let (marks, mut conditions): (Vec<Expr>, Vec<Expr>) =
        split_conjunction(&filter.predicate).into_iter().cloned().partition(is_mark);
    let Some(mark) = marks.first() else { return Ok(Transformed::no(LogicalPlan::Filter(filter))) };
    let Some((_, [time, keys @ ..])) = marked(mark) else { return Err(Error::internal("LATEST ON has a time")) };
    conditions.push(time.clone().is_not_null());
    let input = match conjunction(conditions) {
        Some(condition) => Arc::new(LogicalPlan::Filter(Filter::try_new(condition, filter.input)?)),
        None => filter.input,
    };
    let schema = Arc::clone(input.schema());
    let columns = schema.iter().map(|(relation, field)| Expr::Column(Column::from((relation, field)))).collect();
    let plan = first_rows(DistinctOn {
        on_expr: keys.to_vec(),
        select_expr: columns,
        // Without the keys: nobody asked for their order.
        sort_expr: Some(vec![time.clone().sort(false, false)]),
        input,
        schema,
    })?;
    Ok(Transformed::yes(plan))
}
