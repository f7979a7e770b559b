//! Gap filling as a node of a physical plan.
//!
//! ```text
//!  GapFillExec: time=bucket, series=[device], buckets=[…, …), fill=[time, series, locf, interpolate]
//!    SortExec: device, bucket
//!      AggregateExec …
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{Result, internal_err, plan_err};
use datafusion_execution::memory_pool::MemoryConsumer;
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::{Distribution, OrderingRequirements, PhysicalExpr};
use datafusion_physical_plan::coop::make_cooperative;
use datafusion_physical_plan::execution_plan::{CardinalityEffect, SchedulingType, apply_expression_roots};
use datafusion_physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion_physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions, validate_child_count,
};

use super::column::Column;
use super::grid::Grid;
use super::properties::{column, equivalences, filled_schema, nullable, partitioning, required_order};
use super::stream::{Filling, State};
use super::window::{Window, is_time, time_bounds};
use super::{Fill, Range, Steps, line};

/// Adds rows for the missing buckets of each series; see [the module](super).
#[derive(Debug, Clone)]
pub struct GapFillExec {
    input: Arc<dyn ExecutionPlan>,
    pub(super) time: usize,
    pub(super) series: Vec<usize>,
    range: Range,
    pub(super) steps: Arc<dyn Steps>,
    columns: Vec<Fill>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl GapFillExec {
    /// Fills the buckets of `range` that `steps` counts. `time` is the input's column of the bucket, `series` the other columns
    /// it was grouped by, `columns` says for each column of the input how it is filled. The output has [`filled_schema`].
    ///
    /// # Errors
    /// A plan error if these do not fit together or to the input's types.
    pub fn try_new(
        input: Arc<dyn ExecutionPlan>,
        time: usize,
        series: Vec<usize>,
        range: Range,
        steps: Arc<dyn Steps>,
        columns: Vec<Fill>,
    ) -> Result<Self> {
        let schema = filled_schema(&input.schema(), &series, &columns)?;
        check_roles(&schema, time, &series, &columns)?;
        for (index, fill) in columns.iter().enumerate() {
            check_fill(&schema, time, index, fill)?;
        }
        let range = check_range(schema.field(time).data_type(), range, steps.as_ref())?;
        let equivalences = equivalences(&schema, input.equivalence_properties(), time, &series, &columns)?;
        let partitioning = partitioning(input.output_partitioning(), &columns);
        let properties =
            PlanProperties::new(equivalences, partitioning, input.pipeline_behavior(), input.boundedness())
                .with_scheduling_type(SchedulingType::Cooperative);
        let properties = Arc::new(properties);
        Ok(Self { input, time, series, range, steps, columns, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    /// The plan whose rows are filled up.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// The column of the bucket.
    pub fn time(&self) -> usize {
        self.time
    }

    /// Where buckets start.
    pub fn steps(&self) -> &dyn Steps {
        self.steps.as_ref()
    }

    /// The buckets that are filled; `finish` may have been cut to the end of the type.
    pub fn range(&self) -> Range {
        self.range
    }

    /// How each column is filled.
    pub fn columns(&self) -> &[Fill] {
        &self.columns
    }
}

/// Whether the columns of time and of the series are filled as such.
fn check_roles(schema: &SchemaRef, time: usize, series: &[usize], columns: &[Fill]) -> Result<()> {
    let of_time: Vec<usize> = (0..columns.len()).filter(|&index| matches!(columns[index], Fill::Time)).collect();
    if of_time != [time] {
        return plan_err!("column {time} is the time to be filled, but the columns {of_time:?} are filled as such");
    }
    let data_type = schema.field(time).data_type();
    if !is_time(data_type) {
        return plan_err!("buckets of type {data_type} cannot be filled");
    }
    for (at, index) in series.iter().enumerate() {
        if !matches!(columns.get(*index), Some(Fill::Series)) || series[..at].contains(index) {
            return plan_err!("column {index} is not filled as one of the series");
        }
    }
    Ok(())
}

/// Whether a column can be filled like this.
fn check_fill(schema: &SchemaRef, time: usize, index: usize, fill: &Fill) -> Result<()> {
    let (name, data_type) = (schema.field(index).name(), schema.field(index).data_type());
    let check = |expression: &Arc<dyn PhysicalExpr>, schema: &Schema| match expression.data_type(schema)? {
        filled if filled == *data_type => Ok(()),
        filled => plan_err!("column \"{name}\" of type {data_type} cannot be filled with {filled}"),
    };
    match fill {
        Fill::Time | Fill::Series | Fill::Null | Fill::Locf { .. } => Ok(()),
        Fill::Value(value) => check(value, &Schema::empty()),
        Fill::Row(expression) => check(expression, &nullable(schema)),
        Fill::Interpolate { .. } if !line::is_supported(data_type) => {
            plan_err!("column \"{name}\" of type {data_type} cannot be interpolated")
        }
        Fill::Interpolate { at: None, .. } => Ok(()),
        Fill::Interpolate { at: Some(at), .. } => match schema.fields().get(*at).map(|field| field.data_type()) {
            Some(DataType::Timestamp(unit, _)) if matches!(schema.field(time).data_type(), DataType::Timestamp(same, _) if same == unit) => {
                Ok(())
            }
            Some(other) if other == schema.field(time).data_type() => Ok(()),
            other => plan_err!("column {at} of type {other:?} is not a time of \"{name}\""),
        },
    }
}

/// The range, cut to what the type can hold.
fn check_range(data_type: &DataType, range: Range, steps: &dyn Steps) -> Result<Range> {
    if let Some(width @ ..=0) = steps.fixed() {
        return plan_err!("a bucket cannot be {width} wide");
    }
    let (min, max) = time_bounds(data_type);
    if range.start < min && range.start < range.finish {
        return plan_err!("the first bucket, {}, is out of range of {data_type}", range.start);
    }
    Ok(Range { start: range.start, finish: range.finish.min(max.saturating_add(1)) })
}

impl DisplayAs for GapFillExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "GapFillExec: ")?;
        self.fmt_what(f)
    }
}

impl GapFillExec {
    /// What is filled, and how.
    pub(super) fn fmt_what(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let schema = self.input.schema();
        let name = |&index: &usize| schema.field(index).name().as_str();
        let series: Vec<&str> = self.series.iter().map(name).collect();
        let fills: Vec<String> = self.columns.iter().map(ToString::to_string).collect();
        write!(
            f,
            "time={}, series=[{}], buckets=[{}, {}), fill=[{}]",
            name(&self.time),
            series.join(", "),
            self.range.start,
            self.range.finish,
            fills.join(", ")
        )
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let nulls = |missing: &bool| if *missing { " over nulls" } else { "" };
        match self {
            Fill::Time => write!(f, "time"),
            Fill::Series => write!(f, "series"),
            Fill::Null => write!(f, "null"),
            Fill::Value(expression) | Fill::Row(expression) => write!(f, "{expression}"),
            Fill::Locf { treat_null_as_missing, .. } => write!(f, "locf{}", nulls(treat_null_as_missing)),
            Fill::Interpolate { treat_null_as_missing, .. } => {
                write!(f, "interpolate{}", nulls(treat_null_as_missing))
            }
        }
    }
}

impl ExecutionPlan for GapFillExec {
    fn name(&self) -> &'static str {
        "GapFillExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let schema = self.input.schema();
        let keys: Vec<_> = self.series.iter().map(|&index| column(&schema, index)).collect();
        InputDistributionRequirements::new(vec![if keys.is_empty() {
            Distribution::SinglePartition
        } else {
            Distribution::KeyPartitioned(keys)
        }])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![required_order(&self.input.schema(), self.time, &self.series)]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let expressions = self.columns.iter().filter_map(|fill| match fill {
            Fill::Value(expression) | Fill::Row(expression) => Some(expression),
            Fill::Time | Fill::Series | Fill::Null | Fill::Locf { .. } | Fill::Interpolate { .. } => None,
        });
        apply_expression_roots(expressions, f)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        let input = children.swap_remove(0);
        let mut copy = Self::clone(&self);
        Ok(Arc::new(match options.children_properties {
            ChildrenPropertiesMode::Keep => {
                (copy.input, copy.metrics) = (input, ExecutionPlanMetricsSet::new());
                copy
            }
            ChildrenPropertiesMode::Recompute => {
                Self::try_new(input, copy.time, copy.series, copy.range, copy.steps, copy.columns)?
            }
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let partitions = self.input.output_partitioning().partition_count();
        if self.series.is_empty() && partitions != 1 {
            return internal_err!("gaps of one series cannot be filled in {partitions} partitions");
        }
        let schema = self.schema();
        let columns = self.columns.iter().zip(schema.fields()).enumerate();
        let columns = columns.map(|(index, (fill, field))| Column::new(index, field.data_type(), fill));
        let needs_nulls = |fill: &Fill| matches!(fill, Fill::Locf { .. } | Fill::Interpolate { .. });
        let looked_at = self.columns.iter().map(needs_nulls).collect();
        let reservation = MemoryConsumer::new(format!("GapFillExec[{partition}]")).register(context.memory_pool());
        let filling = Filling {
            input: self.input.execute(partition, Arc::clone(&context))?,
            columns: columns.collect::<Result<_>>()?,
            series: self.series.clone(),
            grid: Grid::new(Arc::clone(&self.steps), self.range),
            window: Window::new(self.time, self.series.clone(), looked_at, reservation),
            batch_rows: context.session_config().batch_size().max(1),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            state: State::default(),
            schema,
        };
        // Many batches may come of one of the input's.
        Ok(make_cooperative(filling.stream()))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::GreaterEqual
    }
}
