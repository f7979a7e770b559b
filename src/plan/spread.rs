//! Rows that have to be sorted are spread by key first: then nothing has to be merged on the way.
//!
//! ```text
//!  RepartitionExec hash(k), keeping the order     TimeSortExec ts
//!    SortExec ts                             →      RepartitionExec hash(k)
//! ```
//! Joins in time ask for the order below the spreading, as a table may have it. Where it had to be made after all, this comes
//! after DataFusion's rules.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use tidemill_operators::time_sort::TimeSortExec;

/// The rule.
#[derive(Debug)]
pub(super) struct SortAfterSpread;

impl PhysicalOptimizerRule for SortAfterSpread {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| match spread_first(&node)? {
            Some(sorted) => Ok(Transformed::yes(sorted)),
            None => Ok(Transformed::no(node)),
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &'static str {
        "SortAfterSpread"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn spread_first(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let spread = plan.downcast_ref::<RepartitionExec>();
    let Some(spread) =
        spread.filter(|spread| spread.preserve_order() && matches!(spread.partitioning(), Partitioning::Hash(..)))
    else {
        return Ok(None);
    };
    let mut input = spread.input();
    while let Some(cooperative) = input.downcast_ref::<CooperativeExec>() {
        input = cooperative.input();
    }
    let sort = input.downcast_ref::<SortExec>();
    let Some(sort) = sort.filter(|sort| sort.preserve_partitioning() && sort.fetch().is_none()) else {
        return Ok(None);
    };
    let spread = RepartitionExec::try_new(Arc::clone(sort.input()), spread.partitioning().clone())?;
    let spread = Arc::new(spread);
    if TimeSortExec::takes(sort.expr(), &spread.schema()) {
        return Ok(Some(Arc::new(TimeSortExec::try_new(sort.expr(), spread)?)));
    }
    Ok(Some(Arc::new(SortExec::new(sort.expr().clone(), spread).with_preserve_partitioning(true))))
}
