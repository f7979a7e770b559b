//! `x IN (SELECT …)` as SQL means it where NULLs are: neither true nor false. DataFusion 55 makes joins of such conditions, which say
//! false instead, but for one: `column NOT IN (…)` among the conjuncts of WHERE, without correlation, is a join that knows NULLs.
//!
//! ```text
//! o.a NOT IN (SELECT b FROM t WHERE t.c = o.c)
//!   →   NOT EXISTS (SELECT b FROM t WHERE t.c = o.c AND (o.a = b OR o.a IS NULL OR b IS NULL))
//! (a IN (SELECT b FROM t)) IS NULL, a NOT IN (SELECT b FROM t) OR c
//!   →   subplan(a) IS NULL, subplan(a) OR c: see `super::apply`
//! ```
//! Without correlation EXISTS would compare all pairs of rows, where a subplan has its values at hand.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, Subquery,
};

use super::apply::{applied_in, has_subplan, lifted};
use super::extension::has_subquery;

/// What of a condition matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    /// Whether it is true.
    True,
    /// Whether it is false.
    False,
    /// Which of the three it is.
    Exact,
}

/// The plan with the conditions of its filters and inner joins, those in subqueries included, in words that the engine gets right.
pub(super) fn exact(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) if has_subquery(&filter.predicate) => {
            Ok(Transformed::yes(filtered(Arc::unwrap_or_clone(filter.input), filter.predicate)?))
        }
        LogicalPlan::Join(mut join)
            if join.join_type == JoinType::Inner && join.filter.as_ref().is_some_and(has_subquery) =>
        {
            let predicate = join.filter.take().unwrap_or_default();
            Ok(Transformed::yes(filtered(LogicalPlan::Join(join), predicate)?))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

fn filtered(input: LogicalPlan, predicate: Expr) -> Result<LogicalPlan> {
    let predicate = condition(predicate, Sense::True, true, input.schema())?;
    // A join's own filter, which this would become, does not wait for subplans.
    let is_below = matches!(input, LogicalPlan::Join(_)) && has_subplan(&predicate);
    let filter = LogicalPlanBuilder::from(input).filter(predicate)?.build()?;
    if is_below { lifted(filter) } else { Ok(filter) }
}

/// `conjunct`: nothing but ANDs, in effect, stands between it and the whole.
fn condition(expr: Expr, sense: Sense, conjunct: bool, schema: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right })
            if sense != Sense::Exact =>
        {
            // NOT (a OR b) is NOT a AND NOT b.
            let conjunct = conjunct && (op == Operator::And) == (sense == Sense::True);
            let left = condition(*left, sense, conjunct, schema)?;
            let right = condition(*right, sense, conjunct, schema)?;
            Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::Not(inner) => {
            let sense = match sense {
                Sense::True => Sense::False,
                Sense::False => Sense::True,
                Sense::Exact => Sense::Exact,
            };
            Ok(Expr::Not(Box::new(condition(*inner, sense, conjunct, schema)?)))
        }
        Expr::InSubquery(within) => membership(within, sense, conjunct, schema),
        other => {
            let inner =
                other.map_children(|child| Ok(Transformed::yes(condition(child, Sense::Exact, false, schema)?)))?;
            Ok(inner.data)
        }
    }
}

fn membership(within: InSubquery, sense: Sense, conjunct: bool, schema: &DFSchema) -> Result<Expr> {
    let plan = &within.subquery.subquery;
    let can_be_null = within.expr.nullable(schema).unwrap_or(true) || plan.schema().field(0).is_nullable();
    let is_correlated = !within.subquery.outer_ref_columns.is_empty();
    // In these senses only equal rows count, which is what a join finds.
    let by_equals = matches!((sense, within.negated), (Sense::True, false) | (Sense::False, true));
    let knows_nulls = conjunct && !is_correlated && within.expr.any_column_refs();
    // What refers further out has no words here.
    let refers_out = within.expr.exists(|expr| Ok(matches!(expr, Expr::OuterReferenceColumn(..))))?;
    if !can_be_null || by_equals || refers_out || sense != Sense::Exact && knows_nulls {
        return Ok(Expr::InSubquery(within));
    }
    // A condition above a LIMIT is not one below it.
    let is_limited = plan.exists(|node| Ok(matches!(node, LogicalPlan::Limit(_))))?;
    if sense == Sense::Exact || !is_correlated || is_limited || has_subquery(&within.expr) {
        return applied_in(within, schema);
    }
    let InSubquery { expr: needle, subquery, negated } = within;
    let needle = needle.transform_up(|expr| match expr {
        Expr::Column(column) => {
            let (_, field) = schema.qualified_field(schema.index_of_column(&column)?);
            Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let (needle, found) = (needle.data, Expr::Column(Column::from(subquery.subquery.schema().qualified_field(0))));
    let maybe = needle.clone().eq(found.clone()).or(needle.is_null()).or(found.is_null());
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(subquery.subquery)).filter(maybe)?.build()?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: subquery.spans };
    Ok(Expr::Exists(Exists { subquery, negated }))
}
