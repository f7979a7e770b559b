//! The join as a node of a physical plan.
//!
//! ```text
//! AsofJoinExec: join_type=Left, on=[(symbol@0, symbol@1)], match=ts@1 >= ts@0, tolerance=60000000
//!   left, right: partitioned by the keys, each partition sorted by the match value
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::utils::project_schema;
use datafusion_common::{
    ColumnStatistics, JoinSide, JoinType, Result, Statistics, assert_eq_or_internal_err, internal_err, plan_err,
};
use datafusion_execution::memory_pool::MemoryConsumer;
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::equivalence::{ProjectionMapping, join_equivalence_properties};
use datafusion_physical_expr::{Distribution, EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion_physical_expr_common::physical_expr::PhysicalExprRef;
use datafusion_physical_expr_common::sort_expr::OrderingRequirements;
use datafusion_physical_plan::common::can_project;
use datafusion_physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion_physical_plan::filter_pushdown::{ChildFilterDescription, FilterDescription, FilterPushdownPhase};
use datafusion_physical_plan::joins::utils::{ColumnIndex, build_join_schema};
use datafusion_physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion_physical_plan::projection::{EmbeddedProjection, ProjectionExec, try_embed_projection};
use datafusion_physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion_physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions, apply_expression_roots,
    validate_child_count,
};

use super::AsofOp;
use super::nearest::Nearest;
use super::output::{Output, Source};
use super::rows::KeptRows;
use super::scale::Scale;
use super::side::{Rows, Side};
use super::stream::{AsofStream, Join};
use super::walk::OneSided;
use crate::keys::Keys;

/// Joins each left row with at most one right row: the nearest of those with equal keys that meet the match condition.
///
/// Memory grows with the number of keys, not with the inputs; only `AsofOp::Nearest` also keeps the left rows that wait for
/// a later right row. What does not fit fails with `ResourcesExhausted`: nothing is written to disk.
#[derive(Debug, Clone)]
pub struct AsofJoinExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    on: Vec<(PhysicalExprRef, PhysicalExprRef)>,
    condition: (PhysicalExprRef, PhysicalExprRef, AsofOp),
    tolerance: Option<i64>,
    join_type: JoinType,
    /// Left columns, then right columns.
    join_schema: SchemaRef,
    /// Indices into `join_schema`.
    projection: Option<Arc<[usize]>>,
    /// Where each column of `join_schema` comes from.
    columns: Arc<[ColumnIndex]>,
    scale: Scale,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl AsofJoinExec {
    /// A join of rows whose `on` expressions are equal and whose match values meet the `condition`: left value, right value
    /// and how they must relate. The `tolerance` is the greatest distance of the two that still matches, in the unit of
    /// their type: days for dates, microseconds for timestamps in microseconds.
    ///
    /// # Errors
    /// If the types of two expressions differ or cannot be used, if the tolerance is negative, or if the join is neither
    /// `Inner` nor `Left`.
    pub fn try_new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        on: Vec<(PhysicalExprRef, PhysicalExprRef)>,
        condition: (PhysicalExprRef, PhysicalExprRef, AsofOp),
        tolerance: Option<i64>,
        join_type: JoinType,
    ) -> Result<Self> {
        Self::with_all(left, right, on, condition, tolerance, join_type, None)
    }

    fn with_all(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        on: Vec<(PhysicalExprRef, PhysicalExprRef)>,
        condition: (PhysicalExprRef, PhysicalExprRef, AsofOp),
        tolerance: Option<i64>,
        join_type: JoinType,
        projection: Option<Arc<[usize]>>,
    ) -> Result<Self> {
        if !matches!(join_type, JoinType::Inner | JoinType::Left) {
            return plan_err!("an ASOF join cannot be a {join_type} join");
        }
        if let Some(tolerance) = tolerance.filter(|tolerance| *tolerance < 0) {
            return plan_err!("the tolerance of an ASOF join cannot be negative: {tolerance}");
        }
        let types = |(l, r): (&PhysicalExprRef, &PhysicalExprRef)| -> Result<(DataType, DataType)> {
            Ok((l.data_type(&left.schema())?, r.data_type(&right.schema())?))
        };
        for (l, r) in &on {
            let (left_type, right_type) = types((l, r))?;
            if left_type != right_type {
                return plan_err!(
                    "the keys {l} and {r} of an ASOF join have different types: {left_type}, {right_type}"
                );
            }
        }
        let (left_type, right_type) = types((&condition.0, &condition.1))?;
        let Some(scale) = Scale::new(&left_type, condition.2.is_descending()) else {
            return plan_err!("an ASOF join cannot match values of type {left_type}");
        };
        if !is_same_scale(&left_type, &right_type) {
            return plan_err!("the match values of an ASOF join have different types: {left_type}, {right_type}");
        }
        let (join_schema, columns) = build_join_schema(&left.schema(), &right.schema(), &join_type);
        let join_schema = Arc::new(join_schema);
        can_project(&join_schema, projection.as_deref())?;
        let mut join = Self {
            // Replaced below: they are computed from the rest.
            properties: Arc::clone(left.properties()),
            metrics: ExecutionPlanMetricsSet::new(),
            columns: columns.into(),
            left,
            right,
            on,
            condition,
            tolerance,
            join_type,
            join_schema,
            projection,
            scale,
        };
        join.properties = Arc::new(join.compute_properties()?);
        Ok(join)
    }

    fn compute_properties(&self) -> Result<PlanProperties> {
        // What is constant on the right is NULL for left rows without a match.
        let right = match self.join_type {
            JoinType::Inner => self.right.equivalence_properties().clone(),
            _ => EquivalenceProperties::new(self.right.schema()),
        };
        let mut equivalence = join_equivalence_properties(
            self.left.equivalence_properties().clone(),
            right,
            &self.join_type,
            Arc::clone(&self.join_schema),
            &self.maintains_input_order(),
            None,
            &self.on,
        )?;
        let mut partitioning = self.left.output_partitioning().clone();
        if let Some(projection) = &self.projection {
            let mapping = ProjectionMapping::from_indices(projection, &self.join_schema)?;
            partitioning = partitioning.project(&mapping, &equivalence);
            equivalence = equivalence.project(&mapping, project_schema(&self.join_schema, Some(projection))?);
        }
        let emission = match self.op() {
            AsofOp::Nearest => EmissionType::Both,
            _ => EmissionType::Incremental,
        };
        let needs_all = Boundedness::Unbounded { requires_infinite_memory: true };
        let boundedness = match (self.left.boundedness(), self.right.boundedness()) {
            (Boundedness::Bounded, right) => right,
            (left, Boundedness::Bounded) => left,
            (left, right) if left == needs_all || right == needs_all => needs_all,
            (left, _) => left,
        };
        Ok(PlanProperties::new(equivalence, partitioning, emission, boundedness))
    }

    /// The input of which each row is joined.
    pub fn left(&self) -> &Arc<dyn ExecutionPlan> {
        &self.left
    }

    /// The input in which matches are looked for.
    pub fn right(&self) -> &Arc<dyn ExecutionPlan> {
        &self.right
    }

    /// Pairs of a left and a right expression that must be equal.
    pub fn on(&self) -> &[(PhysicalExprRef, PhysicalExprRef)] {
        &self.on
    }

    /// The left and the right match value.
    pub fn match_values(&self) -> (&PhysicalExprRef, &PhysicalExprRef) {
        (&self.condition.0, &self.condition.1)
    }

    /// How the match values relate.
    pub fn op(&self) -> AsofOp {
        self.condition.2
    }

    /// The greatest distance of the match values, in the unit of their type.
    pub fn tolerance(&self) -> Option<i64> {
        self.tolerance
    }

    /// `Inner` or `Left`.
    pub fn join_type(&self) -> JoinType {
        self.join_type
    }

    /// The columns of the output: indices into the left columns followed by the right ones. None for all.
    pub fn projection(&self) -> Option<&[usize]> {
        self.projection.as_deref()
    }

    /// This join with only some columns of its output: those at the given places of its present output.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn with_projection(&self, projection: Option<Vec<usize>>) -> Result<Self> {
        can_project(&self.schema(), projection.as_deref())?;
        let column = |at: usize| self.projection.as_ref().map_or(at, |present| present[at]);
        let projection = match projection {
            Some(columns) => Some(columns.into_iter().map(column).collect()),
            None => self.projection.clone(),
        };
        self.copy(Arc::clone(&self.left), Arc::clone(&self.right), projection)
    }

    fn copy(
        &self,
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        projection: Option<Arc<[usize]>>,
    ) -> Result<Self> {
        let (on, condition) = (self.on.clone(), self.condition.clone());
        Self::with_all(left, right, on, condition, self.tolerance, self.join_type, projection)
    }

    /// Where the columns of the output come from.
    fn output_columns(&self) -> Vec<&ColumnIndex> {
        match &self.projection {
            Some(projection) => projection.iter().map(|at| &self.columns[*at]).collect(),
            None => self.columns.iter().collect(),
        }
    }

    /// The columns of each side that the output shows, and where its columns are among them.
    fn sources(&self) -> (Vec<usize>, Vec<usize>, Vec<Source>) {
        let (mut left, mut right) = (vec![], vec![]);
        let place = |columns: &mut Vec<usize>, index: usize| match columns.iter().position(|column| *column == index) {
            Some(at) => at,
            None => {
                columns.push(index);
                columns.len() - 1
            }
        };
        let source = |column: &ColumnIndex| match column.side {
            JoinSide::Left => Source::Left(place(&mut left, column.index)),
            _ => Source::Right(place(&mut right, column.index)),
        };
        let sources = self.output_columns().into_iter().map(source).collect();
        (left, right, sources)
    }
}

/// Timestamps with different time zones are instants all the same.
fn is_same_scale(left: &DataType, right: &DataType) -> bool {
    match (left, right) {
        (DataType::Timestamp(left, left_zone), DataType::Timestamp(right, right_zone)) => {
            left == right && left_zone.is_some() == right_zone.is_some()
        }
        _ => left == right,
    }
}

impl EmbeddedProjection for AsofJoinExec {
    fn with_projection(&self, projection: Option<Vec<usize>>) -> Result<Self> {
        Self::with_projection(self, projection)
    }
}

impl DisplayAs for AsofJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let on: Vec<String> = self.on.iter().map(|(left, right)| format!("({left}, {right})")).collect();
        let (left, right, op) = &self.condition;
        write!(f, "AsofJoinExec: join_type={}, on=[{}], match={left} {op} {right}", self.join_type, on.join(", "))?;
        if let Some(tolerance) = self.tolerance {
            write!(f, ", tolerance={tolerance}")?;
        }
        if self.projection.is_some() {
            let names: Vec<String> = self.schema().fields().iter().map(|field| field.name().clone()).collect();
            write!(f, ", projection=[{}]", names.join(", "))?;
        }
        Ok(())
    }
}

impl ExecutionPlan for AsofJoinExec {
    fn name(&self) -> &'static str {
        "AsofJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        if self.on.is_empty() {
            return InputDistributionRequirements::new(vec![Distribution::SinglePartition; 2]);
        }
        let (left, right) = self.on.iter().cloned().unzip();
        InputDistributionRequirements::co_partitioned(vec![
            Distribution::KeyPartitioned(left),
            Distribution::KeyPartitioned(right),
        ])
    }

    /// Descending for conditions that look forward. NULL is last in ascending order and first in descending order, as an
    /// ordered scan gives it, forwards or backwards; its place makes no difference to the join.
    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let descending = self.op().is_descending();
        let options = SortOptions { descending, nulls_first: descending };
        let ordering = |expression: &PhysicalExprRef| {
            LexOrdering::new([PhysicalSortExpr::new(Arc::clone(expression), options)]).map(OrderingRequirements::from)
        };
        vec![ordering(&self.condition.0), ordering(&self.condition.1)]
    }

    /// Left rows that wait are overtaken.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.op() != AsofOp::Nearest, false]
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
            ChildrenPropertiesMode::Recompute => self.copy(left, right, self.projection.clone())?,
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let keys = self.on.iter().flat_map(|(left, right)| [left, right]);
        apply_expression_roots(keys.chain([&self.condition.0, &self.condition.1]), f)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let partitions = |side: &Arc<dyn ExecutionPlan>| side.output_partitioning().partition_count();
        assert_eq_or_internal_err!(
            partitions(&self.left),
            partitions(&self.right),
            "the inputs of an ASOF join are partitioned differently"
        );
        let batch_rows = context.session_config().batch_size().max(1);
        let (left_columns, right_columns, sources) = self.sources();
        let left_schema = project_schema(&self.left.schema(), Some(&left_columns))?;
        let right_schema = project_schema(&self.right.schema(), Some(&right_columns))?;
        let key_type = |(left, _): &(PhysicalExprRef, PhysicalExprRef)| left.data_type(&self.left.schema());
        let keys = Keys::new(&self.on.iter().map(key_type).collect::<Result<Vec<_>>>()?)?;
        let (left_on, right_on) = self.on.iter().cloned().unzip();
        let (left_value, right_value, op) = self.condition.clone();
        let left = self.left.execute(partition, Arc::clone(&context))?;
        let right = self.right.execute(partition, Arc::clone(&context))?;
        let schema = self.schema();
        let join = Join {
            left_side: Side::new(left, left_on, left_value, self.scale, left_columns, Some(batch_rows)),
            right_side: Side::new(right, right_on, right_value, self.scale, right_columns, None),
            left: Rows::default(),
            right: Rows::default(),
            left_ended: false,
            right_ended: false,
            keys,
            latest: vec![],
            right_kept: KeptRows::new(right_schema),
            right_batch: 0,
            scale: self.scale,
            tolerance: self.tolerance.map(|tolerance| self.scale.tolerance(tolerance)),
            output: Output::new(Arc::clone(&schema), sources, self.join_type == JoinType::Inner, batch_rows),
            batch_rows,
            reservation: MemoryConsumer::new(format!("AsofJoin[{partition}]")).register(context.memory_pool()),
            kept_rows: MetricBuilder::new(&self.metrics).gauge("kept_rows_max", partition),
        };
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        Ok(match op {
            AsofOp::Nearest => {
                Box::pin(AsofStream::new(join, Nearest::new(KeptRows::new(left_schema)), schema, metrics))
            }
            op if op.is_strict() => Box::pin(AsofStream::new(join, OneSided::<true>::default(), schema, metrics)),
            _ => Box::pin(AsofStream::new(join, OneSided::<false>::default(), schema, metrics)),
        })
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition), ChildStats::Skip]
    }

    /// Each left row comes out once, or not at all from an inner join.
    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut left = inputs[0].as_ref().clone();
        if self.join_type == JoinType::Inner {
            left = left.to_inexact();
        }
        left.total_byte_size = Default::default();
        let right = self.right.schema().fields().len();
        left.column_statistics.extend(std::iter::repeat_n(ColumnStatistics::new_unknown(), right));
        Ok(Arc::new(left.project(self.projection.as_ref())))
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        try_embed_projection(projection, self)
    }

    /// Filters on left columns may as well be applied before the join; the others would change what matches. Columns are found
    /// by name below, so those whose name means another column there are left out.
    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let (schema, left_schema) = (self.schema(), self.left.schema());
        let is_left = |at: usize, column: &ColumnIndex| {
            column.side == JoinSide::Left
                && left_schema.index_of(schema.field(at).name()).is_ok_and(|found| found == column.index)
        };
        let columns = self.output_columns().into_iter().enumerate();
        let left = columns.filter(|(at, column)| is_left(*at, column)).map(|(at, _)| at).collect();
        Ok(FilterDescription::new()
            .with_child(ChildFilterDescription::from_child_with_allowed_indices(&filters, left, &self.left)?)
            .with_child(ChildFilterDescription::all_unsupported(&filters)))
    }
}
