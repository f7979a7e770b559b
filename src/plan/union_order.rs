//! UNION ALL gives its branches' rows in the order in which they are written. SQL does not promise it, PostgreSQL does it, and
//! clients count on it. Each branch is still computed by as many threads as before, and the later ones run ahead as far as
//! their buffers hold.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, execute_stream};
use futures::StreamExt;

/// Runs a plan as one stream, a union at its top branch by branch.
pub(super) fn execute(plan: Arc<dyn ExecutionPlan>, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
    let Some(plan) = by_branch(&plan)? else { return execute_stream(plan, task) };
    let branches = 0..plan.output_partitioning().partition_count();
    let streams = branches.map(|branch| plan.execute(branch, Arc::clone(&task))).collect::<Result<Vec<_>>>()?;
    let rows = futures::stream::iter(streams).flatten();
    Ok(Box::pin(RecordBatchStreamAdapter::new(plan.schema(), rows)))
}

/// The plan with one partition for each branch of the union at its top; `None`: there is none.
fn by_branch(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if plan.is::<UnionExec>() {
        let one = |branch: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
            match branch.output_partitioning().partition_count() {
                1 => Arc::clone(branch),
                _ => Arc::new(CoalescePartitionsExec::new(Arc::clone(branch))),
            }
        };
        return UnionExec::try_new(plan.children().into_iter().map(one).collect()).map(Some);
    }
    // What computes each row for itself keeps partitions and their order.
    let [child] = plan.children()[..] else { return Ok(None) };
    if !matches!(plan.name(), "ProjectionExec" | "FilterExec" | "CooperativeExec" | "CoalesceBatchesExec") {
        return Ok(None);
    }
    by_branch(child)?.map(|child| replace_children_if_necessary(Arc::clone(plan), vec![child])).transpose()
}
