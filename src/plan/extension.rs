//! Nodes of plans that DataFusion does not have, and their operators.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::asof::{self, AsofJoin};
use super::engine::Engine;
use super::gapfill::{self, GapFill};
use super::resample::{self, Resample};
use super::window_join::{self, WindowJoin};

/// The planner that knows our nodes.
pub(super) fn query_planner() -> Arc<dyn QueryPlanner + Send + Sync> {
    Arc::new(Planner(DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Nodes)])))
}

struct Planner(DefaultPhysicalPlanner);

impl fmt::Debug for Planner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Planner")
    }
}

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.create_physical_plan(plan, session).await
    }
}

struct Nodes;

#[async_trait]
impl ExtensionPlanner for Nodes {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(engine) = session.as_any().downcast_ref::<Engine>() else {
            return internal_err!("an engine not ours");
        };
        if let (Some(node), [input]) = (node.as_any().downcast_ref::<GapFill>(), inputs) {
            let Some(scope) = engine.scope() else { return internal_err!("gaps are filled in a statement") };
            return gapfill::physical(node, engine, scope, Arc::clone(input)).map(Some);
        }
        if let (Some(node), [input]) = (node.as_any().downcast_ref::<Resample>(), inputs) {
            let Some(scope) = engine.scope() else { return internal_err!("resampling is part of a statement") };
            return resample::physical(node, engine, scope, Arc::clone(input)).map(Some);
        }
        if let (Some(node), [left, right]) = (node.as_any().downcast_ref::<AsofJoin>(), inputs) {
            return asof::physical(node, engine, left, right).map(Some);
        }
        if let (Some(node), [left, right]) = (node.as_any().downcast_ref::<WindowJoin>(), inputs) {
            return window_join::physical(node, engine, context, left, right).map(Some);
        }
        Ok(None)
    }
}

/// True if an expression has a query in it.
pub(super) fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|expr| {
        Ok(matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)))
    })
    .unwrap_or(true)
}

/// A plan's node with the plans that it hides from DataFusion changed.
///
/// # Errors
/// Those of `change`.
pub(super) fn map_hidden(
    node: LogicalPlan,
    change: impl FnMut(LogicalPlan) -> crate::Result<LogicalPlan>,
) -> Result<LogicalPlan> {
    let LogicalPlan::Extension(Extension { node: extension }) = &node else { return Ok(node) };
    let Some(gaps) = extension.as_any().downcast_ref::<GapFill>() else { return Ok(node) };
    let gaps = gaps.clone().map_lookups(change).map_err(DataFusionError::from)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(gaps) }))
}

/// A plan whose nodes, subqueries included, are changed from the leaves up, with errors of ours.
///
/// # Errors
/// Those of `change`.
pub(super) fn rewritten(
    plan: LogicalPlan,
    mut change: impl FnMut(LogicalPlan) -> crate::Result<Transformed<LogicalPlan>>,
) -> crate::Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| Ok(change(node)?))?;
    Ok(plan.data)
}
