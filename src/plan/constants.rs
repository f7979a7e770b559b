//! Constant expressions that fail: PostgreSQL computes constants when it plans, so that `WHERE 1 / 0 = 1` is an error where no
//! row is read too. DataFusion leaves in the plan what it could not compute.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use super::engine::Engine;
use crate::error::Error;

/// Fails with the error of a constant in an optimized plan.
///
/// # Errors
/// Those of class 22 that computing it gives: 22012, 22003, 22P02, ….
pub(super) fn check(engine: &Engine, plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| node.apply_expressions(|expr| expr.apply(|expr| visit(engine, expr))))?;
    Ok(())
}

fn visit(engine: &Engine, expr: &Expr) -> Result<TreeNodeRecursion> {
    match expr {
        // Leaves; and what may never be asked for.
        Expr::Literal(..) | Expr::Column(_) | Expr::Case(_) => return Ok(TreeNodeRecursion::Jump),
        Expr::ScalarFunction(call) if call.func.name() == "coalesce" => return Ok(TreeNodeRecursion::Jump),
        Expr::BinaryExpr(_) | Expr::Cast(_) | Expr::ScalarFunction(_) | Expr::Negative(_) => {}
        _ => return Ok(TreeNodeRecursion::Continue),
    }
    if !is_constant(expr) {
        return Ok(TreeNodeRecursion::Continue);
    }
    match engine.value(expr).map_err(Error::from) {
        Err(error) if error.code().code().starts_with("22") => Err(DataFusionError::from(error)),
        _ => Ok(TreeNodeRecursion::Jump),
    }
}

/// True if nothing but literals and immutable functions make the value.
fn is_constant(expr: &Expr) -> bool {
    let changes = expr.exists(|expr| {
        Ok(match expr {
            Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
            Expr::Literal(..)
            | Expr::BinaryExpr(_)
            | Expr::Cast(_)
            | Expr::Negative(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::Alias(_) => false,
            _ => true,
        })
    });
    !changes.unwrap_or(true)
}
