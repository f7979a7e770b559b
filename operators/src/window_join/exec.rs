//! The join as a node of a physical plan.
//!
//! ```text
//! WindowJoinExec: on=[(symbol@0, symbol@1)], times=(ts@1, ts@0), window=[-2000000, 0], prevailing, aggr=[avg(bid)]
//!   left, right: partitioned by the keys, each partition sorted by the time
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{ColumnStatistics, Result, Statistics, assert_eq_or_internal_err, internal_err, plan_err};
use datafusion_execution::memory_pool::MemoryConsumer;
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::{Distribution, EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion_physical_expr_common::physical_expr::PhysicalExprRef;
use datafusion_physical_expr_common::sort_expr::OrderingRequirements;
use datafusion_physical_plan::execution_plan::EmissionType;
use datafusion_physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion_physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion_physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions, apply_expression_roots,
    validate_child_count,
};

use super::WindowJoin;
use super::aggregates::Aggregates;
use super::stream::{Parts, WindowStream};
use crate::asof::output::{Output, Source};
use crate::asof::rows::KeptRows;
use crate::asof::scale::Scale;
use crate::asof::side::{Rows, Side};
use crate::keys::Keys;

/// Left rows, each with aggregates of the right rows in its window.
///
/// Memory grows with the right rows in open windows. What does not fit fails with `ResourcesExhausted`.
#[derive(Debug, Clone)]
pub struct WindowJoinExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    join: WindowJoin,
    /// Left columns, then the aggregates.
    schema: SchemaRef,
    scale: Scale,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl WindowJoinExec {
    /// A join of two inputs; its columns are the left ones and `fields`, one for each aggregate.
    ///
    /// # Errors
    /// If types of keys or times differ or cannot be used, or if the window ends before it begins.
    pub fn try_new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        join: WindowJoin,
        fields: Vec<Field>,
    ) -> Result<Self> {
        let (left_schema, right_schema) = (left.schema(), right.schema());
        if join.window.low > join.window.high {
            return plan_err!("the window of a window join ends before it begins");
        }
        if fields.len() != join.aggregates.len() {
            return internal_err!("an aggregate without a name");
        }
        for (l, r) in &join.on {
            let types = (l.data_type(&left_schema)?, r.data_type(&right_schema)?);
            if types.0 != types.1 {
                return plan_err!("the keys {l} and {r} of a window join have different types: {types:?}");
            }
        }
        let types = (join.times.0.data_type(&left_schema)?, join.times.1.data_type(&right_schema)?);
        let Some(scale) = Scale::new(&types.0, false).filter(|_| types.0 != DataType::Float64) else {
            return plan_err!("times of a window join cannot have the type {}", types.0);
        };
        if std::mem::discriminant(&types.0) != std::mem::discriminant(&types.1) {
            return plan_err!("the times of a window join have different types: {types:?}");
        }
        let columns = left_schema.fields().iter().cloned().chain(fields.into_iter().map(Arc::new));
        let schema: SchemaRef = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
        // Left columns keep their places.
        let mut equivalence = EquivalenceProperties::new(Arc::clone(&schema));
        equivalence.add_orderings(left.equivalence_properties().oeq_class().iter().cloned());
        let properties = PlanProperties::new(
            equivalence,
            left.output_partitioning().clone(),
            EmissionType::Incremental,
            left.boundedness(),
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { left, right, join, schema, scale, properties: Arc::new(properties), metrics })
    }

    fn fields(&self) -> Vec<Field> {
        let width = self.left.schema().fields().len();
        self.schema.fields().iter().skip(width).map(|field| field.as_ref().clone()).collect()
    }
}

impl DisplayAs for WindowJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let WindowJoin { on, times, window, aggregates } = &self.join;
        let on: Vec<String> = on.iter().map(|(left, right)| format!("({left}, {right})")).collect();
        write!(f, "WindowJoinExec: on=[{}], times=({}, {})", on.join(", "), times.0, times.1)?;
        write!(f, ", window=[{}, {}]", window.low, window.high)?;
        if window.prevailing {
            f.write_str(", prevailing")?;
        }
        let names: Vec<&str> = aggregates.iter().map(|aggregate| aggregate.function.name()).collect();
        write!(f, ", aggr=[{}]", names.join(", "))
    }
}

impl ExecutionPlan for WindowJoinExec {
    fn name(&self) -> &'static str {
        "WindowJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        if self.join.on.is_empty() {
            return InputDistributionRequirements::new(vec![Distribution::SinglePartition; 2]);
        }
        let (left, right) = self.join.on.iter().cloned().unzip();
        InputDistributionRequirements::co_partitioned(vec![
            Distribution::KeyPartitioned(left),
            Distribution::KeyPartitioned(right),
        ])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let options = SortOptions { descending: false, nulls_first: false };
        let ordering = |expression: &PhysicalExprRef| {
            LexOrdering::new([PhysicalSortExpr::new(Arc::clone(expression), options)]).map(OrderingRequirements::from)
        };
        vec![ordering(&self.join.times.0), ordering(&self.join.times.1)]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true, false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        let Ok([left, right]) = <[_; 2]>::try_from(children) else {
            return internal_err!("a join has two inputs");
        };
        Ok(Arc::new(match options.children_properties {
            ChildrenPropertiesMode::Keep => {
                Self { left, right, metrics: ExecutionPlanMetricsSet::new(), ..Self::clone(&self) }
            }
            ChildrenPropertiesMode::Recompute => Self::try_new(left, right, self.join.clone(), self.fields())?,
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let keys = self.join.on.iter().flat_map(|(left, right)| [left, right]);
        apply_expression_roots(keys.chain([&self.join.times.0, &self.join.times.1]), f)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let partitions = |side: &Arc<dyn ExecutionPlan>| side.output_partitioning().partition_count();
        assert_eq_or_internal_err!(
            partitions(&self.left),
            partitions(&self.right),
            "the inputs of a window join are partitioned differently"
        );
        let WindowJoin { on, times, window, aggregates } = &self.join;
        let batch_rows = context.session_config().batch_size().max(1);
        let key_type = |(left, _): &(PhysicalExprRef, PhysicalExprRef)| left.data_type(&self.left.schema());
        let keys = Keys::new(&on.iter().map(key_type).collect::<Result<Vec<_>>>()?)?;
        let (left_on, right_on) = on.iter().cloned().unzip();
        let aggregates = Aggregates::new(aggregates, &self.right.schema())?;
        let left = self.left.execute(partition, Arc::clone(&context))?;
        let right = self.right.execute(partition, Arc::clone(&context))?;
        let width = self.left.schema().fields().len();
        let sources = (0..width).map(Source::Left).chain((0..aggregates.len()).map(Source::Right)).collect();
        let columns = (0..width).collect();
        Ok(Box::pin(WindowStream::new(Parts {
            left_side: Side::new(left, left_on, Arc::clone(&times.0), self.scale, columns, Some(batch_rows)),
            right_side: Side::new(right, right_on, Arc::clone(&times.1), self.scale, vec![], None),
            left: Rows::default(),
            right: Rows::default(),
            keys,
            window: *window,
            kept: KeptRows::new(aggregates.schema()),
            aggregates,
            output: Output::new(Arc::clone(&self.schema), sources, false, batch_rows),
            schema: Arc::clone(&self.schema),
            batch_rows,
            reservation: MemoryConsumer::new(format!("WindowJoin[{partition}]")).register(context.memory_pool()),
            kept_rows: MetricBuilder::new(&self.metrics).gauge("kept_rows_max", partition),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        })))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition), ChildStats::Skip]
    }

    /// Each left row comes out once.
    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut left = inputs[0].as_ref().clone();
        left.total_byte_size = Default::default();
        let aggregates = self.join.aggregates.len();
        left.column_statistics.extend(std::iter::repeat_n(ColumnStatistics::new_unknown(), aggregates));
        Ok(Arc::new(left))
    }
}
