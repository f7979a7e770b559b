//! Questions about the catalog are answered in the order of what stands first in FROM, as PostgreSQL's nested loops over
//! indexes do: clients that ask without ORDER BY rely on it (columns by number, above all).
//!
//! ```text
//!  pg_attribute a JOIN pg_type t    HashJoin(build a, probe t): order of t   →   HashJoin(build t, probe a): order of a
//! ```

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::context::{Place, Relation};

/// True for a plan that reads the system's relations and no table.
pub(super) fn is_about_catalog(plan: &LogicalPlan) -> bool {
    let (mut any, mut only) = (false, true);
    let looked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source)?;
            let place = Relation::of(provider.as_ref()).map(|relation| &relation.place);
            any = true;
            only = matches!(place, Some(Place::System(..)));
        }
        Ok(if only { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    looked.is_ok() && any && only
}

/// What plans of [`is_about_catalog`] are made with: they are small, and one stream keeps its order.
pub(super) fn set(options: &mut ConfigOptions) {
    options.execution.target_partitions = 1;
    // Joins stay as they are written until the rule below turns them, which it may not where filters depend on a side.
    options.optimizer.join_reordering = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
}

/// The rule; for plans made with [`set`].
#[derive(Debug)]
pub(super) struct DriverProbes;

impl PhysicalOptimizerRule for DriverProbes {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if config.optimizer.join_reordering {
            return Ok(plan);
        }
        let turned = plan.transform_up(|node| {
            let is_one = |input: &Arc<dyn ExecutionPlan>| input.output_partitioning().partition_count() == 1;
            let can_turn = |join: &&HashJoinExec| {
                matches!(join.join_type(), JoinType::Inner | JoinType::Left)
                    && is_one(join.left())
                    && is_one(join.right())
            };
            match node.downcast_ref::<HashJoinExec>().filter(can_turn) {
                Some(join) => Ok(Transformed::yes(join.swap_inputs(PartitionMode::CollectLeft)?)),
                None => Ok(Transformed::no(node)),
            }
        })?;
        Ok(turned.data)
    }

    fn name(&self) -> &'static str {
        "DriverProbes"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
