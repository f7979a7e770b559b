//! What the query around it wants of a resampled source: its range of time and its series.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Extension, Filter, LogicalPlan, Operator};

use super::node::{Resample, length};
use crate::Result;
use crate::plan::Scope;
use crate::plan::extension::has_subquery;
use crate::plan::gapfill::{Side, conditions};

/// Tells every resampled source what is asked of it.
///
/// # Errors
/// 22023 for a maximal gap that is none.
pub(in crate::plan) fn rewrite(scope: &Arc<Scope>, plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut failure = None;
    let rewritten = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::Filter(filter) = &node else { return Ok(Transformed::no(node)) };
        match told(scope, filter) {
            Ok(Some(input)) => {
                let filter = Filter::try_new(filter.predicate.clone(), Arc::new(input))?;
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            Ok(None) => Ok(Transformed::no(node)),
            Err(error) => {
                failure = Some(error);
                Err(DataFusionError::Plan(String::new()))
            }
        }
    });
    match rewritten {
        Ok(rewritten) => Ok(rewritten.data),
        Err(error) => Err(failure.unwrap_or_else(|| error.into())),
    }
}

/// The filter's input with the source told; `None`: there is none right below.
fn told(scope: &Arc<Scope>, filter: &Filter) -> Result<Option<LogicalPlan>> {
    // Column by column of the filter's input: which of the source's it is.
    let mut places: Vec<Option<usize>> = (0..filter.input.schema().fields().len()).map(Some).collect();
    let mut plan = filter.input.as_ref();
    let source = loop {
        plan = match plan {
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Projection(projection) => {
                for place in &mut places {
                    *place = place.and_then(|at| column(projection.expr.get(at)?, &projection.input));
                }
                &projection.input
            }
            LogicalPlan::Extension(Extension { node }) => match node.as_any().downcast_ref::<Resample>() {
                Some(source) if source.bounds.is_empty() => break source,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
    };
    let above = filter.input.schema();
    let time_at = source.series.len();
    let Some(time) = places.iter().position(|place| *place == Some(time_at)) else { return Ok(None) };
    let mut bounds = vec![];
    conditions(scope, &filter.input, &filter.predicate, time, &mut bounds);
    // Conditions on the series alone: said of the source's rows.
    let series: Vec<Expr> = split_conjunction(&filter.predicate)
        .into_iter()
        .filter(|condition| !condition.is_volatile() && !has_subquery(condition) && !condition.column_refs().is_empty())
        .filter_map(|condition| {
            let below = condition.clone().transform_up(|expr| match &expr {
                Expr::Column(name) => {
                    let at = above.maybe_index_of_column(name).and_then(|at| places[at]);
                    match at.and_then(|at| source.series.get(at)) {
                        Some(at) => {
                            let field = source.input.schema().qualified_field(*at);
                            Ok(Transformed::yes(Expr::Column(Column::from(field))))
                        }
                        None => Err(DataFusionError::Plan(String::new())),
                    }
                }
                _ => Ok(Transformed::no(expr)),
            });
            below.ok().map(|below| below.data)
        })
        .collect();
    let mut needed = series;
    let time_field = source.input.schema().qualified_field(source.time);
    let time_type = time_field.1.data_type().clone();
    if let (Some(gap), true) = (&source.options.max_gap, time_type.is_temporal()) {
        // Samples further away are not used.
        let gap = length(scope, "max_gap", gap, &time_type)?;
        let micros = if time_type.equals_datatype(&datafusion::arrow::datatypes::DataType::Date32) {
            gap.saturating_mul(86_400_000_000)
        } else {
            gap
        };
        let every = super::node::interval(scope, "every", &source.options.every)?;
        let gap = ScalarValue::new_interval_mdn(0, 0, micros.saturating_mul(1000));
        let width = ScalarValue::IntervalMonthDayNano(Some(every));
        for bound in &bounds {
            let time = Expr::Column(Column::from(time_field));
            let literal = |value: &ScalarValue| Expr::Literal(value.clone(), None);
            let moved = |value: Expr, op: Operator, by: Expr| {
                Expr::BinaryExpr(BinaryExpr { left: Box::new(value), op, right: Box::new(by) })
            };
            let (op, value) = match bound.side {
                // The first step may be a width before.
                Side::Start => {
                    let value = moved(bound.value.clone(), Operator::Minus, literal(&gap));
                    (Operator::GtEq, moved(value, Operator::Minus, literal(&width)))
                }
                Side::Finish => (Operator::LtEq, moved(bound.value.clone(), Operator::Plus, literal(&gap))),
            };
            needed.push(moved(time, op, value));
        }
    }
    let mut input = source.input.clone();
    if let Some(needed) = conjunction(needed) {
        input = LogicalPlan::Filter(Filter::try_new(needed, Arc::new(input))?);
    }
    let mut changed = source.with_input(input)?;
    changed.bounds = bounds;
    let replacement = LogicalPlan::Extension(Extension { node: Arc::new(changed) });
    let replaced = filter.input.as_ref().clone().transform_down(|node| {
        let is_source = matches!(&node, LogicalPlan::Extension(extension) if extension.node.as_any().is::<Resample>());
        if is_source {
            return Ok(Transformed::new(replacement.clone(), true, TreeNodeRecursion::Stop));
        }
        Ok(Transformed::no(node))
    })?;
    Ok(Some(replaced.data))
}

fn column(expr: &Expr, input: &LogicalPlan) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => column(&alias.expr, input),
        Expr::Column(column) => input.schema().maybe_index_of_column(column),
        _ => None,
    }
}
