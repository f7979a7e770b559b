//! `date_trunc('day', ts) < '2026-01-02'` as a comparison of `ts`, where the session's time zone allows it.
//!
//! DataFusion asks functions for the range of arguments that a comparison means ([`ScalarUDF::preimage`]) only if they are
//! immutable. Plans are optimized for each execution here: a stable function is as good.
//!
//! [`ScalarUDF::preimage`]: datafusion::logical_expr::ScalarUDF::preimage

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator, Volatility, and, lit};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// The rule; after constants are known, before filters are pushed down.
#[derive(Debug)]
pub(super) struct StableBounds;

impl OptimizerRule for StableBounds {
    fn name(&self) -> &str {
        "stable_bounds"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
        let info = SimplifyContext::builder()
            .with_schema(Arc::clone(filter.input.schema()))
            .with_config_options(config.options())
            .build();
        let Filter { predicate, input, .. } = filter;
        let changed = predicate.transform_up(|expr| match expr {
            Expr::BinaryExpr(comparison) => compared(comparison, &info),
            other => Ok(Transformed::no(other)),
        })?;
        changed.map_data(|predicate| Ok(LogicalPlan::Filter(Filter::try_new(predicate, input)?)))
    }
}

fn compared(comparison: BinaryExpr, info: &SimplifyContext) -> Result<Transformed<Expr>> {
    let BinaryExpr { left, op, right } = &comparison;
    let (call, op, constant) = match (left.as_ref(), right.as_ref()) {
        (Expr::ScalarFunction(call), Expr::Literal(..)) => (call, Some(*op), right),
        (Expr::Literal(..), Expr::ScalarFunction(call)) => (call, op.swap(), left),
        _ => return Ok(Transformed::no(Expr::BinaryExpr(comparison))),
    };
    let Some(op) = op.filter(|_| call.func.signature().volatility == Volatility::Stable) else {
        return Ok(Transformed::no(Expr::BinaryExpr(comparison)));
    };
    let PreimageResult::Range { expr, interval } = call.func.preimage(&call.args, constant, info)? else {
        return Ok(Transformed::no(Expr::BinaryExpr(comparison)));
    };
    let (lower, upper) = interval.into_bounds();
    let (lower, upper) = (lit(lower), lit(upper));
    Ok(Transformed::yes(match op {
        Operator::Lt => expr.lt(lower),
        Operator::LtEq => expr.lt(upper),
        Operator::Gt => expr.gt_eq(upper),
        Operator::GtEq => expr.gt_eq(lower),
        Operator::Eq => and(expr.clone().gt_eq(lower), expr.lt(upper)),
        _ => return Ok(Transformed::no(Expr::BinaryExpr(comparison))),
    }))
}
