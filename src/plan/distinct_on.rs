//! DISTINCT ON as one aggregate that keeps each group's first row, instead of one ordered aggregate for each column. Columns
//! of the row that nobody asks for are taken out of it, so that they are not read.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Distinct, DistinctOn, Expr, LogicalPlan, LogicalPlanBuilder, Projection, SortExpr,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use tidemill_udfs::functions::FirstRow;

use super::enums;

/// The rule; before DataFusion's own `replace_distinct_aggregate`.
#[derive(Debug)]
pub(super) struct DistinctOnFirstRow;

impl OptimizerRule for DistinctOnFirstRow {
    fn name(&self) -> &str {
        "distinct_on_first_row"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Distinct(Distinct::On(distinct)) => Ok(Transformed::yes(first_rows(distinct)?)),
            LogicalPlan::Projection(projection) => match narrower(&projection)? {
                Some(plan) => Ok(Transformed::yes(plan)),
                None => Ok(Transformed::no(LogicalPlan::Projection(projection))),
            },
            other => Ok(Transformed::no(other)),
        }
    }
}

/// The aggregate, and what was asked for of it.
///
/// # Errors
/// Of the engine.
pub(super) fn first_rows(distinct: DistinctOn) -> Result<LogicalPlan> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, schema } = distinct;
    let mut sort_expr = sort_expr.unwrap_or_default();
    // The engine wants what DISTINCT ON and ORDER BY name to be the same: only here the order may be another one.
    for sort in &mut sort_expr {
        sort.expr = enums::sorted(std::mem::take(&mut sort.expr), input.schema())?;
    }
    // Rows of one group are equal in what the groups are made of: only the rest decides which is the first.
    let keys: Vec<&SortExpr> = sort_expr.iter().filter(|sort| over(&on_expr, &on_expr, &sort.expr).is_none()).collect();
    let options =
        keys.iter().map(|sort| SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first }).collect();
    let plain = |expr: &Expr| expr.clone().unalias();
    let values: Vec<Expr> = select_expr.iter().map(plain).filter(|expr| !on_expr.contains(expr)).collect();
    let aggregates = if values.is_empty() {
        vec![]
    } else {
        let function = Arc::new(AggregateUDF::new_from_impl(FirstRow::new(values.len(), options)));
        let arguments = values.iter().cloned().chain(keys.iter().map(|sort| sort.expr.clone())).collect();
        vec![function.call(arguments)]
    };
    let groups = on_expr.len();
    let aggregate = LogicalPlan::Aggregate(Aggregate::try_new(input, on_expr.clone(), aggregates)?);
    let output: Vec<Expr> = aggregate.schema().iter().map(|field| Expr::Column(Column::from(field))).collect();
    let group_of = |expr: &Expr| on_expr.iter().position(|on| on == expr).and_then(|at| output.get(at));
    let order: Vec<SortExpr> = sort_expr
        .iter()
        .map_while(|sort| Some(SortExpr { expr: over(&on_expr, &output, &sort.expr)?, ..sort.clone() }))
        .collect();
    let mut value = 0;
    let projected: Vec<Expr> = select_expr
        .iter()
        .zip(schema.iter())
        .map(|(expr, (qualifier, field))| {
            let found = match (group_of(&plain(expr)), output.get(groups)) {
                (Some(group), _) => group.clone(),
                (None, Some(row)) => {
                    value += 1;
                    get_field(row.clone(), format!("c{}", value - 1))
                }
                (None, None) => plain(expr),
            };
            found.alias_qualified(qualifier.cloned(), field.name())
        })
        .collect();
    let mut builder = LogicalPlanBuilder::from(aggregate);
    if !order.is_empty() {
        builder = builder.sort(order)?;
    }
    builder.project(projected)?.build()
}

/// The expression over columns that stand for `groups`; `None` if it is of others too. What sorts a group may be computed
/// from what it is made of: the place of an enum's label.
fn over(groups: &[Expr], columns: &[Expr], expr: &Expr) -> Option<Expr> {
    let mut is_whole = true;
    let replaced = expr.clone().transform_down(|expr| {
        if let Some(column) = groups.iter().position(|group| *group == expr).and_then(|at| columns.get(at)) {
            return Ok(Transformed::new(column.clone(), true, TreeNodeRecursion::Jump));
        }
        is_whole &= !matches!(expr, Expr::Column(_) | Expr::ScalarSubquery(_));
        Ok(Transformed::no(expr))
    });
    replaced.ok().filter(|replaced| is_whole && replaced.transformed).map(|replaced| replaced.data)
}

/// A projection over first rows, without the values that it does not use. Between the two only filters, sorts and limits.
fn narrower(projection: &Projection) -> Result<Option<LogicalPlan>> {
    let mut chain = vec![];
    let mut below = &projection.input;
    let aggregate = loop {
        let next = match below.as_ref() {
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::Sort(sort) => &sort.input,
            LogicalPlan::Limit(limit) => &limit.input,
            LogicalPlan::Aggregate(aggregate) => break aggregate,
            _ => return Ok(None),
        };
        chain.push(below);
        below = next;
    };
    let [Expr::AggregateFunction(call)] = aggregate.aggr_expr.as_slice() else { return Ok(None) };
    let Some(function) = (call.func.inner().as_ref() as &dyn Any).downcast_ref::<FirstRow>() else { return Ok(None) };
    let row = Expr::Column(Column::from(aggregate.schema.qualified_field(aggregate.schema.fields().len() - 1)));
    let mut used = vec![];
    for expr in projection.expr.iter().cloned().chain(chain.iter().flat_map(|node| node.expressions())) {
        if !values_of(&expr, &row, &mut used)? {
            return Ok(None);
        }
    }
    used.sort_unstable();
    used.dedup();
    if used.is_empty() || used.len() == function.values() {
        return Ok(None);
    }
    let arguments = &call.params.args;
    let kept = used.iter().map(|value| arguments[*value].clone()).chain(arguments[function.values()..].iter().cloned());
    let narrow = Arc::new(AggregateUDF::new_from_impl(function.of(used.len()))).call(kept.collect());
    let aggregate = Aggregate::try_new(Arc::clone(&aggregate.input), aggregate.group_expr.clone(), vec![narrow])?;
    let narrow_row = Expr::Column(Column::from(aggregate.schema.qualified_field(aggregate.schema.fields().len() - 1)));
    let replaced = |expr: Expr| {
        expr.transform_down(|expr| {
            let value = value_of(&expr, &row).and_then(|value| used.binary_search(&value).ok());
            Ok(match value {
                Some(at) => {
                    Transformed::new(get_field(narrow_row.clone(), format!("c{at}")), true, TreeNodeRecursion::Jump)
                }
                None => Transformed::no(expr),
            })
        })
        .map(|expr| expr.data)
    };
    let mut plan = LogicalPlan::Aggregate(aggregate);
    for node in chain.into_iter().rev() {
        let exprs = node.expressions().into_iter().map(replaced).collect::<Result<_>>()?;
        plan = node.with_new_exprs(exprs, vec![plan])?;
    }
    let exprs = projection
        .expr
        .iter()
        .zip(projection.schema.iter())
        .map(|(expr, (qualifier, field))| {
            Ok(match expr {
                Expr::Column(_) => expr.clone(),
                expr => replaced(expr.clone())?.unalias().alias_qualified(qualifier.cloned(), field.name()),
            })
        })
        .collect::<Result<_>>()?;
    Ok(Some(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?)))
}

/// Notes which values of the row an expression uses; false if it uses the row as a whole.
fn values_of(expr: &Expr, row: &Expr, used: &mut Vec<usize>) -> Result<bool> {
    let mut apart = true;
    expr.apply(|expr| {
        if let Some(value) = value_of(expr, row) {
            used.push(value);
            return Ok(TreeNodeRecursion::Jump);
        }
        // What a subquery uses is not seen here.
        let is_query = matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_));
        apart = apart && expr != row && !is_query;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(apart)
}

/// `n` of `get_field(row, 'cn')`.
fn value_of(expr: &Expr, row: &Expr) -> Option<usize> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let ("get_field", [of, Expr::Literal(name, _)]) = (call.func.name(), call.args.as_slice()) else { return None };
    (of == row).then(|| name.try_as_str().flatten()?.strip_prefix('c')?.parse().ok()).flatten()
}
