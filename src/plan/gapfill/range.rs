//! Which buckets a query wants: what its conditions say about the time, wherever they stand.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, Result, ScalarValue, plan_err};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, JoinType, LogicalPlan, Operator};
use tidemill_udfs::types::SqlType;

use crate::plan::asof::AsofJoin;
use crate::plan::engine::Engine;
use crate::plan::types::is_integer;
use crate::plan::{Scope, cast};

/// Microseconds.
const DAY: i64 = 86_400_000_000;

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
pub(super) fn bounds(scope: &Arc<Scope>, plan: &LogicalPlan, column: &Column) -> Vec<Bound> {
    let mut found = vec![];
    if let Some(index) = plan.schema().maybe_index_of_column(column) {
        walk(scope, plan, index, &mut found);
    }
    found
}

fn walk(scope: &Arc<Scope>, plan: &LogicalPlan, index: usize, found: &mut Vec<Bound>) {
    match plan {
        LogicalPlan::Filter(filter) => {
            conditions(scope, plan, &filter.predicate, index, found);
            walk(scope, &filter.input, index, found);
        }
        LogicalPlan::SubqueryAlias(alias) => walk(scope, &alias.input, index, found),
        LogicalPlan::Subquery(subquery) => walk(scope, &subquery.subquery, index, found),
        LogicalPlan::Sort(sort) => walk(scope, &sort.input, index, found),
        LogicalPlan::Limit(limit) => walk(scope, &limit.input, index, found),
        LogicalPlan::Projection(projection) => {
            if let Some(below) = projection.expr.get(index).and_then(|expr| column_index(&projection.input, expr)) {
                walk(scope, &projection.input, below, found);
            }
        }
        LogicalPlan::Extension(extension) => {
            let Some(join) = extension.node.as_any().downcast_ref::<AsofJoin>() else { return };
            let (left, right, is_inner) = join.sides();
            let width = left.schema().fields().len();
            match index.checked_sub(width) {
                None => walk(scope, left, index, found),
                Some(index) if is_inner => walk(scope, right, index, found),
                Some(_) => {}
            }
        }
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            if join.join_type == JoinType::Inner
                && let Some(filter) = &join.filter
            {
                conditions(scope, plan, filter, index, found);
            }
            match join.join_type {
                JoinType::Inner | JoinType::Left if index < left => walk(scope, &join.left, index, found),
                JoinType::Inner | JoinType::Right if index >= left => walk(scope, &join.right, index - left, found),
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
pub(in crate::plan) fn conditions(
    scope: &Arc<Scope>,
    plan: &LogicalPlan,
    predicate: &Expr,
    index: usize,
    found: &mut Vec<Bound>,
) {
    let mut add = |side, inclusive, value: &Expr, comparable: Comparable| {
        if is_simple(value)
            && let Some(value) = comparable.bound(scope, value)
        {
            found.push(Bound { side, inclusive, value });
        }
    };
    for condition in split_conjunction(&without_not(predicate, true)) {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (op, value, comparable) = match (compared(plan, left, index), compared(plan, right, index)) {
                    (Some(comparable), None) => (Some(*op), right, comparable),
                    (None, Some(comparable)) => (op.swap(), left, comparable),
                    _ => continue,
                };
                let (side, inclusive) = match op {
                    Some(Operator::GtEq) => (Side::Start, true),
                    Some(Operator::Gt) => (Side::Start, false),
                    Some(Operator::LtEq) => (Side::Finish, true),
                    Some(Operator::Lt) => (Side::Finish, false),
                    _ => continue,
                };
                add(side, inclusive, value, comparable);
            }
            Expr::Between(between) if !between.negated => {
                if let Some(comparable) = compared(plan, &between.expr, index) {
                    add(Side::Start, true, &between.low, comparable);
                    add(Side::Finish, true, &between.high, comparable);
                }
            }
            _ => {}
        }
    }
}

/// The condition, or its opposite, with NOT moved into ANDs, ORs and comparisons.
fn without_not(predicate: &Expr, holds: bool) -> Expr {
    match predicate {
        Expr::Not(inner) => without_not(inner, !holds),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let op = match op {
                _ if holds => *op,
                Operator::And => Operator::Or,
                _ => Operator::And,
            };
            let (left, right) = (without_not(left, holds), without_not(right, holds));
            Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) })
        }
        other if holds => other.clone(),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.negate().is_some() => {
            let op = op.negate().unwrap_or(*op);
            Expr::BinaryExpr(BinaryExpr { left: left.clone(), op, right: right.clone() })
        }
        Expr::Between(between) => Expr::Between(Between { negated: !between.negated, ..between.clone() }),
        other => Expr::Not(Box::new(other.clone())),
    }
}

/// How a column is compared with a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparable {
    /// The bound's type is the column's, or one of its kind that [`Bound::edge`] knows.
    AsItIs,
    /// timestamp or date as a time of the session's zone: the bound is what the clock there says.
    ByClock,
}

impl Comparable {
    fn bound(self, scope: &Arc<Scope>, value: &Expr) -> Option<Expr> {
        match self {
            Self::AsItIs => Some(value.clone()),
            Self::ByClock => {
                let (from, to) = (SqlType::TimestampTz, SqlType::Timestamp);
                let mode = cast::Mode::Implicit;
                cast::call(scope, value.clone(), &from, &to, &to.data_type(), mode).ok()
            }
        }
    }
}

/// If an expression is the column at this place: alone, or under the cast that comparing two types of one kind puts there.
fn compared(plan: &LogicalPlan, expr: &Expr, index: usize) -> Option<Comparable> {
    use SqlType::{Date, Timestamp, TimestampTz};
    let is_column = |expr: &Expr| (column_index(plan, expr) == Some(index)).then_some(Comparable::AsItIs);
    match expr {
        Expr::Alias(alias) => compared(plan, &alias.expr, index),
        Expr::Cast(cast) if cast.field.data_type().is_integer() => {
            is_column(&cast.expr).filter(|_| plan.schema().field(index).data_type().is_integer())
        }
        _ => match cast::implicit(expr) {
            Some((inner, from, to)) if is_integer(from) && is_integer(to) => is_column(inner),
            Some((inner, Date, Timestamp)) => is_column(inner),
            Some((inner, Date | Timestamp, TimestampTz)) => is_column(inner).map(|_| Comparable::ByClock),
            Some(_) => None,
            None => is_column(expr),
        },
    }
}

/// Where a bound cuts the column's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Edge {
    Null,
    Infinite,
    /// A start: the first time within; a finish: the first that is not. May lie beyond the type's range.
    At(i64),
}

impl Bound {
    /// The bound in the unit of a column of this type.
    pub(in crate::plan) fn edge(&self, engine: &Engine, time_type: &DataType) -> Result<Edge> {
        let value = engine.value(&self.value)?;
        // Days of a bound within one, rounded to where the column's days are.
        let (value, is_between) = match (time_type, &value) {
            (DataType::Date32, ScalarValue::TimestampMicrosecond(Some(at), _)) => {
                if matches!(*at, i64::MIN | i64::MAX) {
                    return Ok(Edge::Infinite);
                }
                (Some(at.div_euclid(DAY)), at.rem_euclid(DAY) != 0)
            }
            (_, value) if value.data_type().is_integer() => (number(value)?, false),
            (time_type, value) => (number(&value.cast_to(time_type)?)?, false),
        };
        let Some(value) = value else { return Ok(Edge::Null) };
        let is_infinite = match time_type {
            DataType::Date32 => value == i64::from(i32::MIN) || value == i64::from(i32::MAX),
            DataType::Timestamp(..) => matches!(value, i64::MIN | i64::MAX),
            _ => false,
        };
        // `> x` begins after x, `<= x` ends after it.
        let is_after = is_between || self.inclusive == (self.side == Side::Finish);
        Ok(if is_infinite { Edge::Infinite } else { Edge::At(value.saturating_add(is_after.into())) })
    }
}

/// A value of a type of time in its unit; `None`: NULL.
pub(super) fn number(value: &ScalarValue) -> Result<Option<i64>> {
    Ok(match value {
        ScalarValue::Null => None,
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) | ScalarValue::Date32(value) => value.map(i64::from),
        ScalarValue::Int64(value) | ScalarValue::TimestampMicrosecond(value, _) => *value,
        other => return plan_err!("{} is no type of buckets", other.data_type()),
    })
}

/// True for an expression that can be evaluated before any row is read. Columns of a query around it have values by then.
fn is_simple(expr: &Expr) -> bool {
    let reads_rows = |expr: &Expr| {
        matches!(
            expr,
            Expr::Column(_)
                | Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
        )
    };
    !expr.exists(|expr| Ok(reads_rows(expr))).unwrap_or(true)
}
