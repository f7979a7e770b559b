//! Resampling as a node of a physical plan.
//!
//! ```text
//!  ResampleExec: time=ts, series=[device], values=[v linear, w locf], steps=[…, …), max_gap=30000000
//!    SortExec: device, ts
//!      …
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{Result, internal_err, plan_err};
use datafusion_execution::memory_pool::MemoryConsumer;
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::{Distribution, OrderingRequirements, PhysicalExpr};
use datafusion_physical_plan::coop::make_cooperative;
use datafusion_physical_plan::execution_plan::SchedulingType;
use datafusion_physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion_physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions, validate_child_count,
};

use super::column::Column;
use super::grid::Grid;
use super::input::Input;
use super::picks::Picks;
use super::properties::{resampled_schema, survivors};
use super::stream::{Resampling, State};
use super::{Extent, Method, Resample};
use crate::gapfill::line::is_supported;
use crate::gapfill::properties::{column, required_order};
use crate::gapfill::window::{Window, is_time, time_bounds};

/// Makes the rows of each series at regular times; see [the module](super).
#[derive(Debug, Clone)]
pub struct ResampleExec {
    input: Arc<dyn ExecutionPlan>,
    resample: Resample,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ResampleExec {
    /// Resamples the input. The output has [`resampled_schema`].
    ///
    /// # Errors
    /// A plan error if what is to be done does not fit together or to the input's types.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, mut resample: Resample) -> Result<Self> {
        let schema = resampled_schema(&input.schema(), &resample)?;
        check_columns(&input.schema(), &resample)?;
        check_steps(&input.schema(), &mut resample)?;
        let (equivalences, partitioning) = survivors(&input, &schema, &resample)?;
        let properties =
            PlanProperties::new(equivalences, partitioning, input.pipeline_behavior(), input.boundedness())
                .with_scheduling_type(SchedulingType::Cooperative);
        Ok(Self { input, resample, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() })
    }

    /// The plan whose rows are resampled.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// What is done; `finish` may have been cut to the end of the type.
    pub fn resample(&self) -> &Resample {
        &self.resample
    }
}

fn check_columns(schema: &Schema, resample: &Resample) -> Result<()> {
    let data_type = schema.field(resample.time).data_type();
    if !is_time(data_type) {
        return plan_err!("a series cannot be resampled by a time of type {data_type}");
    }
    if resample.values.is_empty() {
        return plan_err!("there is no column of values to be resampled");
    }
    for &(index, method) in &resample.values {
        let field = schema.field(index);
        if method == Method::Linear && !is_supported(field.data_type()) {
            return plan_err!("column \"{}\" of type {} cannot be interpolated", field.name(), field.data_type());
        }
    }
    Ok(())
}

/// Cuts the extent to what the type can hold.
fn check_steps(schema: &Schema, resample: &mut Resample) -> Result<()> {
    if let Some(width @ ..=0) = resample.steps.fixed() {
        return plan_err!("a step cannot be {width} wide");
    }
    if let Some(gap @ ..0) = resample.max_gap {
        return plan_err!("max_gap cannot be negative: {gap}");
    }
    let data_type = schema.field(resample.time).data_type();
    let (min, max) = time_bounds(data_type);
    if let Some(start) = resample.extent.start {
        if start < min {
            return plan_err!("the first step, {start}, is out of range of {data_type}");
        }
        if resample.steps.floor(start)? != start {
            return plan_err!("the first step cannot be {start}, which is none");
        }
    }
    if max < i64::MAX {
        resample.extent.finish = resample.extent.finish.map(|finish| finish.min(max + 1));
    }
    Ok(())
}

impl DisplayAs for ResampleExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let schema = self.input.schema();
        let name = |index: usize| schema.field(index).name().as_str();
        let Resample { time, series, values, extent, max_gap, .. } = &self.resample;
        let series: Vec<&str> = series.iter().map(|&index| name(index)).collect();
        let values: Vec<String> = values.iter().map(|&(index, method)| format!("{} {method}", name(index))).collect();
        let side = |side: Option<i64>| side.map_or_else(String::new, |side| side.to_string());
        let Extent { start, finish } = *extent;
        write!(
            f,
            "ResampleExec: time={}, series=[{}], values=[{}], steps=[{}, {})",
            name(*time),
            series.join(", "),
            values.join(", "),
            side(start),
            side(finish)
        )?;
        max_gap.map_or(Ok(()), |max_gap| write!(f, ", max_gap={max_gap}"))
    }
}

impl ExecutionPlan for ResampleExec {
    fn name(&self) -> &'static str {
        "ResampleExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let schema = self.input.schema();
        let keys: Vec<_> = self.resample.series.iter().map(|&index| column(&schema, index)).collect();
        InputDistributionRequirements::new(vec![if keys.is_empty() {
            Distribution::SinglePartition
        } else {
            Distribution::KeyPartitioned(keys)
        }])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![required_order(&self.input.schema(), self.resample.time, &self.resample.series)]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        let input = children.swap_remove(0);
        Ok(Arc::new(match options.children_properties {
            ChildrenPropertiesMode::Keep => {
                Self { input, metrics: ExecutionPlanMetricsSet::new(), ..Self::clone(&self) }
            }
            ChildrenPropertiesMode::Recompute => Self::try_new(input, self.resample.clone())?,
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Resample { time, series, values, steps, extent, max_gap, .. } = &self.resample;
        let partitions = self.input.output_partitioning().partition_count();
        if series.is_empty() && partitions != 1 {
            return internal_err!("one series cannot be resampled in {partitions} partitions");
        }
        let schema = self.input.schema();
        let data_type = |index: usize| -> DataType { schema.field(index).data_type().clone() };
        let picks = |index: usize| Picks::new(index, data_type(index));
        // Checked not to be negative.
        let max_gap = max_gap.map(i64::unsigned_abs);
        let mut looked_at = vec![false; schema.fields().len()];
        values.iter().for_each(|&(index, _)| looked_at[index] = true);
        let reservation = MemoryConsumer::new(format!("ResampleExec[{partition}]")).register(context.memory_pool());
        let samples = reservation.new_empty();
        let resampling = Resampling {
            source: self.input.execute(partition, Arc::clone(&context))?,
            schema: self.schema(),
            series: series.iter().map(|&index| picks(index)).collect(),
            columns: values.iter().map(|&(index, method)| Column::new(picks(index), method, max_gap)).collect(),
            grid: Grid::new(Arc::clone(steps), *extent, time_bounds(&data_type(*time)).0),
            input: Input::new(Window::new(*time, series.clone(), looked_at, reservation), *time),
            batch_rows: context.session_config().batch_size().max(1),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            reservation: samples,
            state: State::default(),
        };
        // Many batches may come of one of the input's.
        Ok(make_cooperative(resampling.stream()))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
