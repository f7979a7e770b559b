//! DISTINCT ON as one aggregate that keeps each group's first row, instead of one ordered aggregate for each column.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Distinct, DistinctOn, Expr, LogicalPlan, LogicalPlanBuilder, SortExpr,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use tidemill_udfs::functions::FirstRow;

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
            other => Ok(Transformed::no(other)),
        }
    }
}

fn first_rows(distinct: DistinctOn) -> Result<LogicalPlan> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, schema } = distinct;
    let sort_expr = sort_expr.unwrap_or_default();
    // Rows of one group are equal in what the groups are made of: only the rest decides which is the first.
    let keys: Vec<&SortExpr> = sort_expr.iter().filter(|sort| !on_expr.contains(&sort.expr)).collect();
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
        .map_while(|sort| {
            let group = group_of(&sort.expr)?.clone();
            Some(SortExpr { expr: group, ..sort.clone() })
        })
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
