//! Sorts rows by one column of whole numbers, as times are: by its bytes instead of by comparisons.
//!
//! ```text
//!  rows        12:03 b | 12:01 a | 12:03 c          as they came, in batches
//!  keys        (0x…b4, 0) (0x…3c, 1) (0x…b4, 2)     number and row; ordered by each byte in which numbers differ
//!  output      12:01 a | 12:03 b | 12:03 c          rows picked from the batches
//! ```
//! A radix sort from the least byte on (Knuth, The Art of Computer Programming 3, 5.2.5): each pass is linear and keeps the order
//! of equal rows. All rows are in memory; where the memory limit does not allow that, DataFusion's [`SortExec`] takes over,
//! which spills.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::{SortOptions, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{DataFusionError, Result, exec_err, plan_err};
use datafusion_execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion_physical_plan::execution_plan::{CardinalityEffect, EmissionType};
use datafusion_physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion_physical_plan::sorts::sort::SortExec;
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    ReplaceChildrenOptions, validate_child_count,
};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

use crate::gapfill::window::{is_time, times_or_any};

/// A key of the sort: the number, and the row's place among all.
type Key = (u64, u32);

/// A batch and a row of it.
type Place = (usize, usize);

/// Sorts each partition by one column; see [the module](self).
#[derive(Debug)]
pub struct TimeSortExec {
    input: Arc<dyn ExecutionPlan>,
    column: usize,
    options: SortOptions,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl TimeSortExec {
    /// Whether rows of this schema can be sorted by the expressions.
    pub fn takes(order: &LexOrdering, schema: &SchemaRef) -> bool {
        let [only] = order.as_ref() else { return false };
        let column = only.expr.downcast_ref::<Column>();
        column.is_some_and(|column| is_time(schema.field(column.index()).data_type()))
    }

    /// Sorts `input` by the one column of `order`.
    ///
    /// # Errors
    /// If it is another order than [`Self::takes`] takes.
    pub fn try_new(order: &LexOrdering, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let first: &PhysicalSortExpr = order.first();
        let (Some(column), true) = (first.expr.downcast_ref::<Column>(), Self::takes(order, &input.schema())) else {
            return plan_err!("{order} is no order by a time");
        };
        let equivalence = EquivalenceProperties::new_with_orderings(input.schema(), [[first.clone()]]);
        let partitioning = input.output_partitioning().clone();
        let properties = PlanProperties::new(equivalence, partitioning, EmissionType::Final, input.boundedness());
        Ok(Self {
            column: column.index(),
            options: first.options,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            input,
        })
    }

    fn order(&self) -> PhysicalSortExpr {
        let name = self.input.schema().field(self.column).name().clone();
        PhysicalSortExpr::new(Arc::new(Column::new(&name, self.column)), self.options)
    }
}

impl DisplayAs for TimeSortExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "TimeSortExec: expr=[{}]", self.order())
    }
}

impl ExecutionPlan for TimeSortExec {
    fn name(&self) -> &'static str {
        "TimeSortExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
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
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        Ok(Arc::new(Self::try_new(&LexOrdering::from([self.order()]), children.swap_remove(0))?))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new(format!("TimeSortExec[{partition}]"));
        let sorting = Sorting {
            input: self.input.execute(partition, Arc::clone(&context))?,
            column: self.column,
            order: self.order(),
            reservation: memory.register(context.memory_pool()),
            batches: vec![],
            context,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let schema = self.schema();
        let sorted = futures::stream::once(sorting.run()).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, sorted)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// One partition.
struct Sorting {
    input: SendableRecordBatchStream,
    column: usize,
    order: PhysicalSortExpr,
    reservation: MemoryReservation,
    batches: Vec<RecordBatch>,
    context: Arc<TaskContext>,
    metrics: BaselineMetrics,
}

impl Sorting {
    async fn run(mut self) -> Result<SendableRecordBatchStream> {
        let mut rows = 0;
        while let Some(batch) = self.input.next().await.transpose()? {
            if batch.num_rows() == 0 {
                continue;
            }
            rows += batch.num_rows();
            // The batch, and two keys and a place for each row.
            let row_bytes = 2 * size_of::<Key>() + size_of::<Place>();
            let bytes = batch.get_array_memory_size() + batch.num_rows() * row_bytes;
            let is_full = self.reservation.try_grow(bytes).is_err() || u32::try_from(rows).is_err();
            self.batches.push(batch);
            if is_full {
                return self.spilling();
            }
        }
        let elapsed = self.metrics.elapsed_compute().clone();
        let timer = elapsed.timer();
        let places = places(&self.batches, self.column, self.order.options)?;
        timer.done();
        let schema = self.input.schema();
        let size = self.context.session_config().batch_size().max(1);
        let state = (self, places, 0);
        let sorted = futures::stream::try_unfold(state, move |(sorting, places, done)| async move {
            if done == places.len() {
                return Ok::<_, DataFusionError>(None);
            }
            let timer = sorting.metrics.elapsed_compute().timer();
            let end = places.len().min(done + size);
            let batches: Vec<&RecordBatch> = sorting.batches.iter().collect();
            let batch = interleave_record_batch(&batches, &places[done..end])?.record_output(&sorting.metrics);
            timer.done();
            Ok(Some((batch, (sorting, places, end))))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, sorted)))
    }

    /// What was read and the rest, by the sort that spills.
    fn spilling(self) -> Result<SendableRecordBatchStream> {
        let schema = self.input.schema();
        let read = futures::stream::iter(self.batches.into_iter().map(Ok)).chain(self.input);
        let input: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), read));
        drop(self.reservation);
        let sort = SortExec::new(LexOrdering::from([self.order]), Arc::new(Once::new(schema, input)));
        sort.execute(0, self.context)
    }
}

/// The places of all rows in order.
fn places(batches: &[RecordBatch], column: usize, options: SortOptions) -> Result<Vec<Place>> {
    let mut keys: Vec<Key> = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    let mut nulls: Vec<u32> = vec![];
    let mut all: Vec<Place> = Vec::with_capacity(keys.capacity());
    let (mut ones, mut zeros) = (0_u64, 0_u64);
    for (at, batch) in batches.iter().enumerate() {
        let array = batch.column(column);
        let valid = array.nulls();
        for (row, time) in times_or_any(array)?.iter().enumerate() {
            let number = u32::try_from(all.len()).unwrap_or(u32::MAX);
            all.push((at, row));
            if valid.is_some_and(|valid| valid.is_null(row)) {
                nulls.push(number);
                continue;
            }
            // Negative numbers first; all the other way round if descending.
            let key = (*time as u64) ^ (1 << 63) ^ if options.descending { u64::MAX } else { 0 };
            (ones, zeros) = (ones | key, zeros | !key);
            keys.push((key, number));
        }
    }
    radix_sort(&mut keys, ones & zeros);
    let sorted = keys.iter().map(|(_, number)| *number);
    let numbers: Vec<u32> =
        if options.nulls_first { nulls.into_iter().chain(sorted).collect() } else { sorted.chain(nulls).collect() };
    Ok(numbers.into_iter().map(|number| all[number as usize]).collect())
}

/// Sorts by the bytes that have a bit of `differing`, the least first. Stable.
fn radix_sort(keys: &mut Vec<Key>, differing: u64) {
    let mut other: Vec<Key> = vec![(0, 0); keys.len()];
    for byte in (0..8).filter(|byte| (differing >> (8 * byte)) & 0xff != 0) {
        let digit = |key: &Key| ((key.0 >> (8 * byte)) & 0xff) as usize;
        let mut starts = [0_usize; 256];
        for key in keys.iter() {
            starts[digit(key)] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += std::mem::replace(start, sum);
        }
        for key in keys.iter() {
            let place = &mut starts[digit(key)];
            other[*place] = *key;
            *place += 1;
        }
        std::mem::swap(keys, &mut other);
    }
}

/// Gives a stream once.
struct Once {
    stream: Mutex<Option<SendableRecordBatchStream>>,
    properties: Arc<PlanProperties>,
}

impl Once {
    fn new(schema: SchemaRef, stream: SendableRecordBatchStream) -> Self {
        use datafusion_physical_plan::{Partitioning, execution_plan::Boundedness};
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { stream: Mutex::new(Some(stream)), properties: Arc::new(properties) }
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl DisplayAs for Once {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Once")
    }
}

impl ExecutionPlan for Once {
    fn name(&self) -> &'static str {
        "Once"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        match self.stream.lock().take() {
            Some(stream) => Ok(stream),
            None => exec_err!("a stream was asked for twice"),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int16Array, Int64Array, TimestampMicrosecondArray};
    use arrow::compute::{concat_batches, lexsort_to_indices, take_record_batch};
    use arrow::datatypes::{Field, Schema};
    use datafusion_execution::config::SessionConfig;
    use datafusion_execution::memory_pool::GreedyMemoryPool;
    use datafusion_execution::runtime_env::RuntimeEnvBuilder;
    use datafusion_physical_plan::test::TestMemoryExec;
    use rand::Rng;

    use super::*;

    fn random_batch(random: &mut impl Rng, kind: u32, first: i64) -> RecordBatch {
        let rows = random.random_range(0..40);
        let number = |random: &mut dyn rand::RngCore| -> Option<i64> {
            match random.random_range(0..10) {
                0 => None,
                1 => Some([i64::MIN, i64::MAX, -1, 0][random.random_range(0..4)]),
                2..6 => Some(random.random_range(-5..5)),
                _ => Some(random.random_range(-1_000_000_000_000..1_000_000_000_000)),
            }
        };
        let numbers: Vec<Option<i64>> = (0..rows).map(|_| number(random)).collect();
        let times: ArrayRef = match kind {
            0 => Arc::new(Int64Array::from(numbers)),
            1 => Arc::new(numbers.into_iter().map(|number| number.map(|n| n as i16)).collect::<Int16Array>()),
            _ => Arc::new(TimestampMicrosecondArray::from(numbers)),
        };
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + times.len() as i64));
        let fields = vec![
            Field::new("row", rows.data_type().clone(), true),
            Field::new("time", times.data_type().clone(), true),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![rows, times]).unwrap()
    }

    async fn sorted(batches: &[RecordBatch], options: SortOptions, memory: usize) -> (Vec<RecordBatch>, bool) {
        let schema = batches[0].schema();
        let input = TestMemoryExec::try_new_exec(&[batches.to_vec()], Arc::clone(&schema), None).unwrap();
        let order = LexOrdering::from([PhysicalSortExpr::new(Arc::new(Column::new("time", 1)), options)]);
        assert!(TimeSortExec::takes(&order, &schema));
        let sort = TimeSortExec::try_new(&order, input).unwrap();
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(memory))).build_arc();
        let context = TaskContext::default()
            .with_runtime(runtime.unwrap())
            .with_session_config(SessionConfig::new().with_batch_size(16).with_sort_spill_reservation_bytes(0));
        let output: Vec<RecordBatch> = sort.execute(0, Arc::new(context)).unwrap().try_collect().await.unwrap();
        let by_radix = sort.metrics().unwrap().output_rows().unwrap_or(0) > 0;
        (output, by_radix)
    }

    #[tokio::test]
    async fn rows_come_in_the_order_that_comparisons_give() {
        let random = &mut rand::rng();
        for round in 0..300 {
            let mut first = 0;
            let batches: Vec<RecordBatch> = (0..random.random_range(1..8))
                .map(|_| {
                    let batch = random_batch(random, round % 3, first);
                    first += batch.num_rows() as i64;
                    batch
                })
                .collect();
            let options = SortOptions { descending: round % 2 == 0, nulls_first: random.random_bool(0.5) };
            let (output, _) = sorted(&batches, options, usize::MAX).await;
            let all = concat_batches(&batches[0].schema(), &batches).unwrap();
            let by = |column: usize, options| arrow::compute::SortColumn {
                values: Arc::clone(all.column(column)),
                options: Some(options),
            };
            // Equal times stay in the order of the input.
            let rows = SortOptions { descending: false, nulls_first: false };
            let indices = lexsort_to_indices(&[by(1, options), by(0, rows)], None).unwrap();
            let expected = take_record_batch(&all, &indices).unwrap();
            assert_eq!(concat_batches(&all.schema(), &output).unwrap(), expected, "{options:?}");
        }
    }

    #[tokio::test]
    async fn without_the_memory_it_is_sorted_all_the_same() {
        let random = &mut rand::rng();
        let batches: Vec<RecordBatch> = (0..2000).map(|at| random_batch(random, 0, at * 100)).collect();
        let options = SortOptions { descending: false, nulls_first: false };
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let (output, by_radix) = sorted(&batches, options, 1 << 20).await;
        assert!(!by_radix && rows > 10_000);
        let output = concat_batches(&batches[0].schema(), &output).unwrap();
        assert_eq!(output.num_rows(), rows);
        let order = arrow::compute::SortColumn { values: Arc::clone(output.column(1)), options: Some(options) };
        let indices = lexsort_to_indices(&[order], None).unwrap();
        let times = arrow::compute::take(output.column(1), &indices, None).unwrap();
        assert_eq!(&times, output.column(1));
    }
}
