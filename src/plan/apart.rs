//! Aggregates that only casts tell apart, `sum(n), sum(n::int8)`, under names of their own.
//!
//! DataFusion calls an aggregate by its arguments without their casts. Aliases tell such ones apart, but where one of them says
//! the SQL type too, its simplifier takes all aliases off and finds one name twice. So the names become plain, and what
//! they stand for is said above:
//!
//! ```text
//! Aggregate sum(n), sum(cast(n)) AS "sum(as int8(n))" {numeric}
//!   →  Projection a0 AS "sum(n)", a1 AS "sum(as int8(n))" {numeric}
//!        Aggregate sum(n) AS a0, sum(cast(n)) AS a1
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::Alias;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection};
use tidemill_udfs::types::SqlType;

use super::extension::rewritten;
use super::typing::field_metadata;
use crate::Result;

/// Names such aggregates apart.
///
/// # Errors
/// None that a user can cause.
pub(super) fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewritten(plan, |node| match node {
        LogicalPlan::Aggregate(aggregate) if collide(&aggregate) => named(aggregate).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}

fn collide(aggregate: &Aggregate) -> bool {
    let mut names = HashSet::new();
    let is_grouping =
        |expr: &Expr| matches!(bare(expr), Expr::AggregateFunction(call) if call.func.name() == "grouping");
    // What GROUPING becomes is looked for in the projection right above.
    aggregate.aggr_expr.len() > 1
        && !aggregate.aggr_expr.iter().any(is_grouping)
        && !aggregate.aggr_expr.iter().all(|expr| names.insert(bare(expr).schema_name().to_string()))
}

fn named(aggregate: Aggregate) -> Result<LogicalPlan> {
    let old = Arc::clone(&aggregate.schema);
    let exprs =
        aggregate.aggr_expr.iter().zip(0..).map(|(expr, at)| bare(expr).clone().alias(format!("\u{1}aggregate{at}")));
    let aggregate = Aggregate::try_new(aggregate.input, aggregate.group_expr, exprs.collect())?;
    let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let shown = (0..aggregate.schema.fields().len()).map(|at| {
        let column = Expr::Column(Column::from(aggregate.schema.qualified_field(at)));
        if at < groups {
            return column;
        }
        let (relation, field) = old.qualified_field(at);
        let metadata = field_metadata(&SqlType::of_field(field));
        Expr::Alias(Alias::new(column, relation.cloned(), field.name()).with_metadata(Some(metadata)))
    });
    let shown = shown.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(shown, Arc::new(LogicalPlan::Aggregate(aggregate)))?))
}
