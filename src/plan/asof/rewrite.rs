//! From a typed plan with marked joins to one with [`AsofJoin`] nodes.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Extension, Filter, Join, LogicalPlan, Operator};
use tidemill_operators::asof::AsofOp;
use tidemill_udfs::types::SqlType;

use super::node::AsofJoin;
use super::{ASOF_NEAREST, LT, is_mark};
use crate::Result;
use crate::error::{Error, SqlState};
use crate::plan::context::Relation;
use crate::plan::extension::{has_subquery, rewritten};
use crate::plan::marker::marked;
use crate::plan::{Scope, cast};

/// Puts the nodes in.
///
/// # Errors
/// 42601 for a join without exactly one inequality, 0A000 for conditions of other kinds, 22023 for a bad tolerance.
pub(in crate::plan) fn rewrite(scope: &Arc<Scope>, plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found = found || matches!(node, LogicalPlan::Join(join) if mark(join).is_some());
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !found {
        return Ok(plan);
    }
    rewritten(plan, |node| match node {
        LogicalPlan::Join(join) => match mark(&join) {
            Some((name, args)) => joined(scope, &join, name, &args).map(Transformed::yes),
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        LogicalPlan::Filter(filter) => pushed(filter),
        other => Ok(Transformed::no(other)),
    })
}

/// The mark's name and arguments.
fn mark(join: &Join) -> Option<(&'static str, Vec<Expr>)> {
    let (name, args) = marked(join.filter.as_ref()?)?;
    is_mark(name).then(|| (name, args.to_vec()))
}

/// Which input an expression reads.
fn side(expr: &Expr, left: &DFSchema, right: &DFSchema) -> Option<JoinSide> {
    let columns = expr.column_refs();
    let all_in = |schema: &DFSchema| columns.iter().all(|column| schema.maybe_index_of_column(column).is_some());
    match (all_in(left), all_in(right)) {
        _ if columns.is_empty() => None,
        (true, _) => Some(JoinSide::Left),
        (_, true) => Some(JoinSide::Right),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinSide {
    Left,
    Right,
}

fn joined(scope: &Arc<Scope>, join: &Join, name: &str, args: &[Expr]) -> Result<LogicalPlan> {
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        return Err(Error::unsupported(format!(
            "ASOF {} JOIN is not supported",
            join.join_type.to_string().to_uppercase()
        ))
        .hint("Only ASOF JOIN and ASOF LEFT JOIN are."));
    }
    let what = if name == LT { "an LT JOIN" } else { "an ASOF JOIN" };
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    let (mut keys, mut matches, mut left_only, mut right_only) = (vec![], vec![], vec![], vec![]);
    for condition in split_conjunction(&args[0]) {
        if is_true(condition) {
            continue;
        }
        if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition {
            let sides = (side(left, left_schema, right_schema), side(right, left_schema, right_schema));
            let turned = match sides {
                (Some(JoinSide::Left), Some(JoinSide::Right)) => {
                    Some((left.as_ref().clone(), Some(*op), right.as_ref().clone()))
                }
                (Some(JoinSide::Right), Some(JoinSide::Left)) => {
                    Some((right.as_ref().clone(), op.swap(), left.as_ref().clone()))
                }
                _ => None,
            };
            match turned {
                Some((l, Some(Operator::Eq), r)) => {
                    keys.push((l, r));
                    continue;
                }
                Some((l, Some(op @ (Operator::Gt | Operator::GtEq | Operator::Lt | Operator::LtEq)), r)) => {
                    matches.push((l, op, r));
                    continue;
                }
                _ => {}
            }
        }
        match side(condition, left_schema, right_schema) {
            // Which right rows there are to choose from.
            Some(JoinSide::Right) => right_only.push(condition.clone()),
            Some(JoinSide::Left) if join.join_type == JoinType::Inner => left_only.push(condition.clone()),
            _ => {
                return Err(Error::unsupported(format!(
                    "the condition of {what} may only have equalities, one inequality, and conditions on the right side"
                ))
                .hint("Put other conditions into WHERE."));
            }
        }
    }
    let syntax = |message: String, hint: &str| Error::new(SqlState::SYNTAX_ERROR, message).hint(hint);
    let (matched, op) = match (matches.as_slice(), times(&join.left, &join.right)) {
        ([(_, op, _)], _) if name == LT && *op != Operator::Gt => {
            return Err(syntax(
                "an LT JOIN matches earlier rows only".to_owned(),
                "Write a.ts > b.ts, or ASOF JOIN for other inequalities.",
            ));
        }
        ([(l, op, r)], _) => ((l.clone(), r.clone()), *op),
        ([], Some(times)) => (times, if name == LT { Operator::Gt } else { Operator::GtEq }),
        ([], None) => {
            return Err(syntax(
                format!("{what} needs an inequality between both sides"),
                if name == LT {
                    "Add the condition that says which rows are earlier, like a.ts > b.ts, or give both tables a tidemill.time_column."
                } else {
                    "Add the condition that says which rows are near, like a.ts >= b.ts."
                },
            ));
        }
        _ => {
            return Err(syntax(
                format!("{what} has only one inequality between both sides"),
                "Put the others into WHERE.",
            ));
        }
    };
    let data_type = matched.0.get_type(left_schema)?;
    check_type(&data_type, what)?;
    let tolerance = args.get(1).map(|text| tolerance(scope, text, &data_type)).transpose()?;
    let op = match op {
        _ if name == ASOF_NEAREST => AsofOp::Nearest,
        Operator::GtEq => AsofOp::GtEq,
        Operator::Gt => AsofOp::Gt,
        Operator::LtEq => AsofOp::LtEq,
        _ => AsofOp::Lt,
    };
    let filtered = |plan: &Arc<LogicalPlan>, conditions| -> Result<LogicalPlan> {
        let plan = Arc::clone(plan);
        Ok(match conjunction(conditions) {
            Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, plan)?),
            None => Arc::unwrap_or_clone(plan),
        })
    };
    let (left, right): (LogicalPlan, LogicalPlan) =
        (filtered(&join.left, left_only)?, filtered(&join.right, right_only)?);
    let schema = AsofJoin::schema_of(&left, &right, join.join_type)?;
    let mut on: Vec<(Expr, Expr)> = join.on.clone();
    on.append(&mut keys);
    let node = AsofJoin { left, right, keys: on, matched, op, tolerance, join_type: join.join_type, schema };
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// The condition of a join without one.
pub(in crate::plan) fn is_true(condition: &Expr) -> bool {
    matches!(condition, Expr::Literal(ScalarValue::Boolean(Some(true)), _))
}

/// Both sides' time columns, if their tables say them and they have one type.
pub(in crate::plan) fn times(left: &LogicalPlan, right: &LogicalPlan) -> Option<(Expr, Expr)> {
    let (l, r) = (time_column(left)?, time_column(right)?);
    let type_of = |column: &Column, plan: &LogicalPlan| {
        plan.schema().maybe_index_of_column(column).map(|at| plan.schema().field(at).data_type().clone())
    };
    (type_of(&l, left)? == type_of(&r, right)?).then(|| (Expr::Column(l), Expr::Column(r)))
}

/// The declared time column of the table that a plan's rows come from; of a join's left one.
fn time_column(plan: &LogicalPlan) -> Option<Column> {
    let above = |input: &LogicalPlan, column: &Column| {
        let (relation, field) = plan.schema().qualified_field(input.schema().maybe_index_of_column(column)?);
        Some(Column::from((relation, field)))
    };
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok()?;
            let def = &Relation::of(provider.as_ref())?.state()?.def;
            // Declared: what is only taken for it by default must not decide what a query means.
            def.given_options.get("tidemill.time_column")?;
            let name = def.options.time_column.as_ref()?;
            let physical = def.columns.iter().find(|column| column.name == *name)?.physical_name.clone();
            let (relation, field) =
                plan.schema().iter().find(|(_, field)| *field.name() == *name || *field.name() == physical)?;
            Some(Column::from((relation, field)))
        }
        LogicalPlan::SubqueryAlias(alias) => above(&alias.input, &time_column(&alias.input)?),
        LogicalPlan::Filter(filter) => time_column(&filter.input),
        LogicalPlan::Sort(sort) => time_column(&sort.input),
        LogicalPlan::Limit(limit) => time_column(&limit.input),
        LogicalPlan::Join(join) => time_column(&join.left),
        LogicalPlan::Extension(extension) => time_column(&extension.node.as_any().downcast_ref::<AsofJoin>()?.left),
        LogicalPlan::Projection(projection) => {
            let time = Expr::Column(time_column(&projection.input)?);
            let at = projection.expr.iter().position(|expr| expr.clone().unalias() == time)?;
            Some(Column::from(projection.schema.qualified_field(at)))
        }
        _ => None,
    }
}

/// # Errors
/// 0A000 for a type without a scale.
pub(in crate::plan) fn check_type(data_type: &DataType, what: &str) -> Result<()> {
    let is_line = matches!(
        data_type,
        DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Timestamp(..)
            | DataType::Float64
    );
    if is_line {
        return Ok(());
    }
    let name = SqlType::of_data_type(data_type).name();
    Err(Error::unsupported(format!("{what} cannot match values of type {name}"))
        .hint("Cast both sides to timestamptz, timestamp, date, an integer type or double precision."))
}

/// The greatest distance, in the unit of what is matched.
fn tolerance(scope: &Arc<Scope>, text: &Expr, data_type: &DataType) -> Result<i64> {
    let text = match text {
        Expr::Literal(value, _) => value.try_as_str().flatten().unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    distance(scope, &text, data_type, "TOLERANCE")
}

/// A distance between values of a type, in their unit; `word`: what it is.
///
/// # Errors
/// 22023 for a text that is none, 0A000 between floats.
pub(in crate::plan) fn distance(scope: &Arc<Scope>, text: &str, data_type: &DataType, word: &str) -> Result<i64> {
    let invalid = |text: &str| {
        Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid {word} \"{text}\""))
            .hint("Give an interval without months, like '10 seconds'; a number where numbers are matched.")
    };
    let value = match data_type {
        DataType::Timestamp(..) | DataType::Date32 => {
            let interval = cast::literal(scope, Some(text), &SqlType::Interval).map_err(|_| invalid(text))?;
            let Expr::Literal(datafusion::common::ScalarValue::IntervalMonthDayNano(Some(interval)), _) = interval.expr
            else {
                return Err(invalid(text));
            };
            let IntervalMonthDayNano { months, days, nanoseconds } = interval;
            let micros = i64::from(days)
                .checked_mul(86_400_000_000)
                .and_then(|days| days.checked_add(nanoseconds / 1000))
                .filter(|_| months == 0)
                .ok_or_else(|| invalid(text))?;
            if *data_type == DataType::Date32 { micros / 86_400_000_000 } else { micros }
        }
        DataType::Float64 => {
            return Err(Error::unsupported(format!("{word} between values of type double precision is not supported")));
        }
        _ => text.trim().parse().map_err(|_| invalid(text))?,
    };
    if value < 0 { Err(invalid(text)) } else { Ok(value) }
}

/// Conditions of WHERE on the left side alone hold before the join as well.
fn pushed(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let unchanged = |filter| Ok(Transformed::no(LogicalPlan::Filter(filter)));
    let LogicalPlan::Extension(extension) = filter.input.as_ref() else { return unchanged(filter) };
    let Some(join) = extension.node.as_any().downcast_ref::<AsofJoin>() else { return unchanged(filter) };
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    let is_left = |expr: &Expr| {
        let reads = side(expr, left_schema, right_schema) == Some(JoinSide::Left);
        reads && !expr.is_volatile() && !has_subquery(expr)
    };
    let (left, rest): (Vec<Expr>, Vec<Expr>) =
        split_conjunction(&filter.predicate).into_iter().cloned().partition(is_left);
    let Some(condition) = conjunction(left) else { return unchanged(filter) };
    let input = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(join.left.clone()))?);
    let join = AsofJoin { left: input, ..join.clone() };
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(join) });
    Ok(Transformed::yes(match conjunction(rest) {
        Some(rest) => LogicalPlan::Filter(Filter::try_new(rest, Arc::new(plan))?),
        None => plan,
    }))
}
