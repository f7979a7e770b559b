//! Which buckets a query wants: what its conditions say about the time, wherever they stand.

use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, JoinType, LogicalPlan, Operator};

use crate::plan::asof::AsofJoin;

/// Which end of the range a condition says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::plan) enum Side {
    Start,
    Finish,
}

/// `ts >= value`, `ts > value` (start), `ts < value`, `ts <= value` (finish).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::plan) struct Bound {
    pub(in crate::plan) side: Side,
    /// The value itself is in the range.
    pub(in crate::plan) inclusive: bool,
    pub(in crate::plan) value: Expr,
}

/// What holds for a column of every row of the plan: WHERE, ON of inner joins, also of subqueries and views it comes from.
pub(super) fn bounds(plan: &LogicalPlan, column: &Column) -> Vec<Bound> {
    let mut found = vec![];
    if let Some(index) = plan.schema().maybe_index_of_column(column) {
        walk(plan, index, &mut found);
    }
    found
}

fn walk(plan: &LogicalPlan, index: usize, found: &mut Vec<Bound>) {
    match plan {
        LogicalPlan::Filter(filter) => {
            conditions(plan, &filter.predicate, index, found);
            walk(&filter.input, index, found);
        }
        LogicalPlan::SubqueryAlias(alias) => walk(&alias.input, index, found),
        LogicalPlan::Subquery(subquery) => walk(&subquery.subquery, index, found),
        LogicalPlan::Sort(sort) => walk(&sort.input, index, found),
        LogicalPlan::Limit(limit) => walk(&limit.input, index, found),
        LogicalPlan::Projection(projection) => {
            if let Some(below) = projection.expr.get(index).and_then(|expr| column_index(&projection.input, expr)) {
                walk(&projection.input, below, found);
            }
        }
        LogicalPlan::Extension(extension) => {
            let Some(join) = extension.node.as_any().downcast_ref::<AsofJoin>() else { return };
            let (left, right, is_inner) = join.sides();
            let width = left.schema().fields().len();
            match index.checked_sub(width) {
                None => walk(left, index, found),
                Some(index) if is_inner => walk(right, index, found),
                Some(_) => {}
            }
        }
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            if join.join_type == JoinType::Inner
                && let Some(filter) = &join.filter
            {
                conditions(plan, filter, index, found);
            }
            match join.join_type {
                JoinType::Inner | JoinType::Left if index < left => walk(&join.left, index, found),
                JoinType::Inner | JoinType::Right if index >= left => walk(&join.right, index - left, found),
                _ => {}
            }
        }
        _ => {}
    }
}

fn column_index(plan: &LogicalPlan, expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => column_index(plan, &alias.expr),
        Expr::Column(column) => plan.schema().maybe_index_of_column(column),
        _ => None,
    }
}

/// What a condition on the rows of `plan` says of its column `index`.
pub(in crate::plan) fn conditions(plan: &LogicalPlan, predicate: &Expr, index: usize, found: &mut Vec<Bound>) {
    let is_column = |expr: &Expr| column_index(plan, expr) == Some(index);
    for condition in split_conjunction(predicate) {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (op, value) = match (op, is_column(left), is_column(right)) {
                    (op, true, false) => (Some(*op), right),
                    (op, false, true) => (op.swap(), left),
                    _ => continue,
                };
                let (side, inclusive) = match op {
                    Some(Operator::GtEq) => (Side::Start, true),
                    Some(Operator::Gt) => (Side::Start, false),
                    Some(Operator::LtEq) => (Side::Finish, true),
                    Some(Operator::Lt) => (Side::Finish, false),
                    _ => continue,
                };
                if is_simple(value) {
                    found.push(Bound { side, inclusive, value: value.as_ref().clone() });
                }
            }
            Expr::Between(between) if !between.negated && is_column(&between.expr) => {
                for (side, value) in [(Side::Start, &between.low), (Side::Finish, &between.high)] {
                    if is_simple(value) {
                        found.push(Bound { side, inclusive: true, value: value.as_ref().clone() });
                    }
                }
            }
            _ => {}
        }
    }
}

/// True for an expression that can be evaluated before any row is read.
fn is_simple(expr: &Expr) -> bool {
    let mut simple = true;
    let _ = expr.apply(|expr| {
        let reads_rows = matches!(
            expr,
            Expr::Column(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
        );
        simple = simple && !reads_rows;
        Ok(if reads_rows { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    simple
}
