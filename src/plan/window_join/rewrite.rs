//! From a typed plan with marked joins below an aggregation to one with [`WindowJoin`] nodes.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, Extension, Filter, Join, LogicalPlan, Operator, Projection,
};
use tidemill_operators::window_join::Window;

use super::node::WindowJoin;
use crate::Result;
use crate::error::{Error, SqlState};
use crate::plan::Scope;
use crate::plan::asof::{check_type, distance, is_true, times};
use crate::plan::extension::rewritten;
use crate::plan::marker::marked;
use crate::statement::parse::WINDOW;

/// Puts the nodes in.
///
/// # Errors
/// 0A000 for conditions and aggregates of other kinds and for such joins elsewhere, 42601 where a time is missing, 22023
/// for a bad window.
pub(in crate::plan) fn rewrite(scope: &Arc<Scope>, plan: LogicalPlan) -> Result<LogicalPlan> {
    if !is_marked(&plan)? {
        return Ok(plan);
    }
    let plan = rewritten(plan, |node| match node {
        LogicalPlan::Aggregate(aggregate) => joined(scope, aggregate),
        other => Ok(Transformed::no(other)),
    })?;
    if is_marked(&plan)? {
        return Err(Error::unsupported("a WINDOW JOIN is not supported here")
            .hint("Put the join and the aggregates over it into a subquery of their own."));
    }
    Ok(plan)
}

fn is_marked(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found = found || matches!(node, LogicalPlan::Join(join) if mark(join).is_some());
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The mark's arguments.
fn mark(join: &Join) -> Option<&[Expr]> {
    match marked(join.filter.as_ref()?) {
        Some((WINDOW, args)) => Some(args),
        _ => None,
    }
}

/// True if an expression reads nothing else, subqueries in it included.
fn reads_only(expr: &Expr, schema: &DFSchema) -> bool {
    let has = |column: &Column| schema.maybe_index_of_column(column).is_some();
    let outer_in = |outer: &Expr| !matches!(outer, Expr::OuterReferenceColumn(_, column) if !has(column));
    let queries = expr.exists(|expr| {
        let subquery = match expr {
            Expr::ScalarSubquery(subquery) => subquery,
            Expr::Exists(exists) => &exists.subquery,
            Expr::InSubquery(inner) => &inner.subquery,
            _ => return Ok(false),
        };
        Ok(!subquery.outer_ref_columns.iter().all(outer_in))
    });
    expr.column_refs().into_iter().all(has) && !queries.unwrap_or(true)
}

/// An aggregation over marked joins, and conditions on the left side between.
fn joined(scope: &Arc<Scope>, aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let (mut conditions, mut below) = (vec![], &aggregate.input);
    while let LogicalPlan::Filter(filter) = below.as_ref() {
        conditions.extend(split_conjunction(&filter.predicate).into_iter().cloned());
        below = &filter.input;
    }
    let mut joins = vec![];
    while let LogicalPlan::Join(join) = below.as_ref()
        && let Some(args) = mark(join)
    {
        joins.push((join, args));
        below = &join.left;
    }
    joins.reverse();
    if joins.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let base = Arc::clone(below.schema());
    if !conditions.iter().all(|condition| reads_only(condition, &base)) {
        return Err(Error::unsupported("WHERE may only have conditions on the left side of a WINDOW JOIN")
            .hint("Put conditions on the right side into ON or FILTER, those on aggregates into HAVING."));
    }
    let mut plan = match conjunction(conditions) {
        Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, Arc::clone(below))?),
        None => below.as_ref().clone(),
    };
    // Which join each aggregate belongs to.
    let owners = aggregate.aggr_expr.iter().map(|expr| owner(expr, &joins)).collect::<Result<Vec<_>>>()?;
    let name = |at: usize| format!("\u{1}aggregate{at}");
    let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    for (at, (join, args)) in joins.iter().enumerate() {
        let own: Vec<usize> = (0..owners.len()).filter(|aggregate| owners[*aggregate] == at).collect();
        if own.is_empty() {
            continue;
        }
        let field = |at: &usize| {
            Arc::new(aggregate.schema.field(groups + at).as_ref().clone().with_name(name(*at)).with_nullable(true))
        };
        let schema = WindowJoin::schema_of(&plan, own.iter().map(field).collect())?;
        let aggregates = own.iter().map(|at| aggregate.aggr_expr[*at].clone()).collect();
        let parts = parts(scope, join, args, &base)?;
        let node = WindowJoin {
            left: plan,
            right: parts.right,
            keys: parts.keys,
            times: parts.times,
            window: parts.window,
            aggregates,
            schema,
        };
        plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    }
    let columns = aggregate.schema.iter().enumerate().map(|(at, (relation, field))| match at.checked_sub(groups) {
        None => aggregate.group_expr[at].clone(),
        Some(at) => Expr::Column(Column::new_unqualified(name(at))).alias_qualified(relation.cloned(), field.name()),
    });
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns.collect(), Arc::new(plan))?)))
}

/// The join whose right side an aggregate reads.
fn owner(aggregate: &Expr, joins: &[(&Join, &[Expr])]) -> Result<usize> {
    let columns = aggregate.column_refs();
    let reads = |schema: &DFSchema| columns.iter().all(|column| schema.maybe_index_of_column(column).is_some());
    match joins {
        [_] if columns.is_empty() => Ok(0),
        _ if columns.is_empty() => Err(Error::unsupported("count(*) over several WINDOW JOINs is not supported")
            .hint("Count a column of the side that is meant.")),
        _ => joins.iter().position(|(join, _)| reads(join.right.schema())).ok_or_else(|| {
            Error::unsupported("an aggregate over a WINDOW JOIN may only read columns of one right side")
                .hint("Columns of the left side can be used outside of aggregates, or aggregated around a subquery.")
        }),
    }
}

struct Parts {
    right: LogicalPlan,
    keys: Vec<(Expr, Expr)>,
    times: (Expr, Expr),
    window: Window,
}

fn parts(scope: &Arc<Scope>, join: &Join, args: &[Expr], base: &DFSchema) -> Result<Parts> {
    let right_schema = join.right.schema();
    let [condition, low, high, prevailing, pair @ ..] = args else {
        return Err(Error::internal("a WINDOW JOIN has a window"));
    };
    let mut keys = join.on.clone();
    let mut right_only = vec![];
    for condition in split_conjunction(condition).into_iter().filter(|condition| !is_true(condition)) {
        if let Some(key) = sides(condition, Operator::Eq, base, right_schema) {
            keys.push(key);
        } else if !condition.column_refs().is_empty() && reads_only(condition, right_schema) {
            right_only.push(condition.clone());
        } else {
            return Err(Error::unsupported(
                "the condition of a WINDOW JOIN may only have equalities and conditions on the right side",
            )
            .hint("Put conditions on the left side into WHERE; the window says which times match."));
        }
    }
    let times = match pair.first() {
        Some(pair) => sides(pair, Operator::GtEq, base, right_schema),
        None => times(&join.left, &join.right),
    };
    let times = times.filter(|(left, _)| reads_only(left, base)).ok_or_else(|| {
        Error::new(SqlState::SYNTAX_ERROR, "a WINDOW JOIN needs to know the times of both sides")
            .hint("Name them with MATCH_CONDITION (a.ts, b.ts), or give both tables a tidemill.time_column.")
    })?;
    let data_type = times.0.get_type(base)?;
    check_type(&data_type, "a WINDOW JOIN")?;
    let (low, high) = (bound(scope, low, &data_type)?, bound(scope, high, &data_type)?);
    if low > high {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "the window of a WINDOW JOIN ends before it begins")
            .hint("The earlier bound comes first, like BETWEEN '10 seconds' PRECEDING AND CURRENT ROW."));
    }
    let window = Window { low, high, prevailing: text(prevailing) == "include" };
    let right = Arc::clone(&join.right);
    let right = match conjunction(right_only) {
        Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, right)?),
        None => Arc::unwrap_or_clone(right),
    };
    Ok(Parts { right, keys, times, window })
}

/// Both sides of an operator, the left one first.
fn sides(condition: &Expr, wanted: Operator, left: &DFSchema, right: &DFSchema) -> Option<(Expr, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left: l, op, right: r }) = condition else { return None };
    let reads = |expr: &Expr, schema: &DFSchema| !expr.column_refs().is_empty() && reads_only(expr, schema);
    match *op == wanted {
        true if reads(l, left) && reads(r, right) => Some((l.as_ref().clone(), r.as_ref().clone())),
        true if reads(r, left) && reads(l, right) => Some((r.as_ref().clone(), l.as_ref().clone())),
        _ => None,
    }
}

fn text(expr: &Expr) -> String {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

/// A bound's distance from the left time, negative before it.
fn bound(scope: &Arc<Scope>, expr: &Expr, data_type: &DataType) -> Result<i64> {
    let text = text(expr);
    let Some((direction, length)) = text.split_once(' ').filter(|(direction, _)| *direction != "current") else {
        return Ok(0);
    };
    let length = distance(scope, length, data_type, "window bound")?;
    Ok(if direction == "preceding" { -length } else { length })
}
