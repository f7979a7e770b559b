//! The operator as a node of a physical plan.

use std::fmt;
use std::sync::Arc;

use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{Result, internal_err};
use datafusion_execution::memory_pool::MemoryConsumer;
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion_physical_plan::coop::make_cooperative;
use datafusion_physical_plan::execution_plan::{CardinalityEffect, EmissionType, SchedulingType};
use datafusion_physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion_physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions,
    validate_child_count,
};
use parking_lot::Mutex;

use super::stream::{Filling, Shared};
use super::walk::{Buckets, Plan, Walk};
use crate::gapfill::{Fill, GapFillExec};

/// Adds rows for the missing buckets of each series to rows in the order of time; see [the module](super).
#[derive(Debug)]
pub struct InterleavedGapFillExec {
    what: GapFillExec,
    buckets: Buckets,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    runs: Mutex<Runs>,
}

/// What the partitions of each execution share. The n-th execution of a partition belongs to the n-th run of the plan.
#[derive(Debug, Default)]
struct Runs {
    executed: Vec<usize>,
    shared: Vec<Arc<Shared>>,
}

impl InterleavedGapFillExec {
    /// Does what `gaps` does with rows of `input`, which has the columns of its input, in the order of time in each
    /// partition and from partition to partition, all rows of a bucket in one partition. `None` if it cannot: a fill needs
    /// more than neighbours, buckets differ in width, or there are no columns of a series.
    ///
    /// # Errors
    /// If the columns are others.
    pub fn try_new(gaps: &GapFillExec, input: Arc<dyn ExecutionPlan>) -> Result<Option<Self>> {
        let is_simple = |fill: &Fill| match fill {
            Fill::Time | Fill::Series | Fill::Null | Fill::Value(_) => true,
            Fill::Locf { treat_null_as_missing, prev } => !treat_null_as_missing && prev.is_none(),
            Fill::Interpolate { treat_null_as_missing, prev, next, at } => {
                !treat_null_as_missing && prev.is_none() && next.is_none() && at.is_none()
            }
            Fill::Row(_) => false,
        };
        let Some(width) = gaps.steps.fixed() else { return Ok(None) };
        if gaps.series.is_empty() || !gaps.columns().iter().all(is_simple) {
            return Ok(None);
        }
        let partitions = input.output_partitioning().partition_count();
        let (series, fills) = (gaps.series.clone(), gaps.columns().to_vec());
        let what = GapFillExec::try_new(input, gaps.time, series, gaps.range(), Arc::clone(&gaps.steps), fills)?;
        let equivalences = EquivalenceProperties::new(what.schema());
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            what.input().boundedness(),
        );
        let range = what.range();
        Ok(Some(Self {
            buckets: Buckets { start: range.start, finish: range.finish, width },
            properties: Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative)),
            metrics: ExecutionPlanMetricsSet::new(),
            runs: Mutex::default(),
            what,
        }))
    }

    fn shared(&self, partition: usize) -> Arc<Shared> {
        let count = self.properties.partitioning.partition_count();
        let mut runs = self.runs.lock();
        runs.executed.resize(count, 0);
        let run = runs.executed[partition];
        runs.executed[partition] += 1;
        while runs.shared.len() <= run {
            runs.shared.push(Arc::new(Shared::new(count)));
        }
        Arc::clone(&runs.shared[run])
    }
}

impl DisplayAs for InterleavedGapFillExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "InterleavedGapFillExec: ")?;
        self.what.fmt_what(f)
    }
}

impl ExecutionPlan for InterleavedGapFillExec {
    fn name(&self) -> &'static str {
        "InterleavedGapFillExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.what.input()]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.what.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        match Self::try_new(&self.what, children.swap_remove(0))? {
            Some(plan) => Ok(Arc::new(plan)),
            None => internal_err!("gaps that could be filled cannot be filled any more"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion_physical_plan::ChildrenPropertiesMode;
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.what.input().execute(partition, Arc::clone(&context))?;
        let (time, series) = (self.what.time, &self.what.series);
        let plan = Arc::new(Plan::new(self.schema(), time, series, self.what.columns(), self.buckets));
        let memory = MemoryConsumer::new(format!("InterleavedGapFillExec[{partition}]"));
        let memory = memory.register(context.memory_pool());
        let filling = Filling {
            input,
            walk: Walk::new(Arc::clone(&plan), memory.new_empty())?,
            plan,
            memory,
            shared: self.shared(partition),
            partition,
            batch_rows: context.session_config().batch_size().max(1),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        Ok(make_cooperative(filling.stream()))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::GreaterEqual
    }
}
