//! The scan as a node of a physical plan.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{Result, Statistics};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion_physical_expr_common::physical_expr::is_volatile;
use datafusion_physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion_physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion_physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion_physical_plan::statistics::StatisticsArgs;
use datafusion_physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
    SortOrderPushdownResult,
};
use parking_lot::Mutex;

use super::filter::{Filter, remap};
use super::metrics::ScanMetrics;
use super::order::{Order, exact_order};
use super::queue::Queue;
use super::ranges::{Range, ranges};
use super::read::projected;
use super::settle::{Settled, Settling};
use super::stream::Partition;
use super::task::Task;
use super::turn::Effort;
use super::{Scan, prune, statistics};
use crate::table::writer::ROW_GROUP_ROWS;

/// A scan of a table at a snapshot.
#[derive(Debug)]
pub struct TableScanExec {
    pub(super) scan: Arc<Scan>,
    /// Indices into the table's schema.
    pub(super) projection: Arc<[usize]>,
    schema: SchemaRef,
    /// Conditions that rows must meet, over the table's schema; the scan evaluates them.
    pub(super) filters: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Filter>,
    /// Conditions that only rule out pieces, over the table's schema; they may change while the query runs.
    dynamic: Vec<Arc<dyn PhysicalExpr>>,
    order: Order,
    /// Rows after which each partition may stop.
    fetch: Option<usize>,
    /// What is left after the filters ruled out files and hot chunks; in `order`.
    pub(super) tasks: Arc<Vec<Task>>,
    partitions: usize,
    /// What each partition reads, if not whatever comes next: see [`Self::in_ranges`].
    ranges: Option<Arc<[Range]>>,
    settling: Option<Settling>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    runs: Mutex<Runs>,
    /// Computed once: planning asks for them several times.
    statistics: OnceLock<Statistics>,
}

/// The queues of each execution. The n-th execution of a partition belongs to the n-th run of the plan.
#[derive(Debug, Default)]
struct Runs {
    /// How often each partition was executed.
    executed: Vec<usize>,
    queues: Vec<Vec<Arc<Queue>>>,
}

impl TableScanExec {
    /// A scan of the columns `projection` (indices into the table's schema) of the rows that meet `filters`.
    pub(super) fn try_new(
        scan: Arc<Scan>,
        projection: &[usize],
        filters: Vec<Arc<dyn PhysicalExpr>>,
        fetch: Option<usize>,
        target_partitions: usize,
    ) -> Result<Self> {
        let mut tasks = scan.tasks();
        prune::retain(&filters, &scan, &mut tasks)?;
        if let (Some(fetch), true) = (fetch, filters.is_empty()) {
            let mut rows = 0;
            tasks.retain(|task| {
                let needed = rows < fetch as u64;
                rows += scan.latest_rows(task);
                needed
            });
        }
        let rows: u64 = tasks.iter().map(|task| scan.task_rows(task)).sum();
        let pieces = usize::try_from(rows.div_ceil(ROW_GROUP_ROWS as u64)).unwrap_or(usize::MAX);
        let partitions = target_partitions.min(pieces).max(1);
        let schema = projected(&scan.schema, projection)?;
        let equivalence = EquivalenceProperties::new(Arc::clone(&schema));
        Ok(Self {
            filter: Filter::new(&filters, &scan.schema)?,
            projection: projection.into(),
            filters,
            dynamic: vec![],
            order: Order::Units,
            fetch,
            tasks: Arc::new(tasks),
            partitions,
            ranges: None,
            settling: None,
            properties: Arc::new(properties(equivalence, partitions)),
            metrics: ExecutionPlanMetricsSet::new(),
            runs: Mutex::default(),
            statistics: OnceLock::new(),
            schema,
            scan,
        })
    }

    /// A copy to be changed, which has not run.
    fn copy(&self) -> Self {
        Self {
            scan: Arc::clone(&self.scan),
            projection: Arc::clone(&self.projection),
            schema: Arc::clone(&self.schema),
            filters: self.filters.clone(),
            filter: self.filter.clone(),
            dynamic: self.dynamic.clone(),
            order: self.order.clone(),
            fetch: self.fetch,
            tasks: Arc::clone(&self.tasks),
            partitions: self.partitions,
            ranges: self.ranges.clone(),
            settling: self.settling.clone(),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
            runs: Mutex::default(),
            statistics: OnceLock::new(),
        }
    }

    /// The queue a partition takes from.
    fn queue(&self, partition: usize) -> Arc<Queue> {
        let mut runs = self.runs.lock();
        runs.executed.resize(self.partitions, 0);
        let run = runs.executed[partition];
        runs.executed[partition] += 1;
        while runs.queues.len() <= run {
            let queues = self.new_queues();
            runs.queues.push(queues);
        }
        let queues = &runs.queues[run];
        Arc::clone(&queues[partition.min(queues.len() - 1)])
    }

    /// One queue for all, or, where rows must keep an order, one for each partition with its share of neighbours.
    fn new_queues(&self) -> Vec<Arc<Queue>> {
        let queue_of = |filters: &[_], tasks| {
            let fixed = prune::predicate(filters, &self.scan.schema);
            let (order, dynamic, settling) = (self.order.clone(), self.dynamic.clone(), self.settling.clone());
            Arc::new(Queue::new(&self.scan, order, fixed, dynamic, settling, tasks))
        };
        if let Some(ranges) = &self.ranges {
            return ranges.iter().map(|range| queue_of(&range.filters, range.tasks.clone())).collect();
        }
        let queue = |tasks| queue_of(&self.filters, tasks);
        if !self.order.is_exact() {
            return vec![queue(self.tasks.as_ref().clone())];
        }
        let total: u64 = self.tasks.iter().map(|task| self.scan.task_rows(task)).sum();
        let share = total.div_ceil(self.partitions as u64).max(1);
        let mut shares = vec![vec![]; self.partitions];
        let mut before = 0;
        for task in self.tasks.iter() {
            let partition = usize::try_from(before / share).unwrap_or(usize::MAX).min(self.partitions - 1);
            before += self.scan.task_rows(task);
            shares[partition].push(task.clone());
        }
        shares.into_iter().map(queue).collect()
    }

    /// The same rows in the order of a column of the output, rows of one aligned value in one partition. `align` gives the
    /// greatest boundary up to a value, in the unit of the column, where partitions may be cut. `None` if the table does not
    /// have the order of that column, or too few boundaries for as many partitions.
    ///
    /// # Errors
    /// Those of reading what is known of hot rows.
    pub fn in_ranges(&self, column: usize, align: &dyn Fn(i64) -> Option<i64>) -> Result<Option<Self>> {
        let Some(&table_column) = self.projection.get(column) else { return Ok(None) };
        if self.fetch.is_some() || table_column >= self.scan.state.def.columns.len() {
            return Ok(None);
        }
        let ranges = ranges(&self.scan, &self.tasks, &self.filters, table_column, self.partitions, align)?;
        let Some(ranges) = ranges else { return Ok(None) };
        let field = self.schema.field(column);
        let by = PhysicalSortExpr::new(Arc::new(Column::new(field.name(), column)), SortOptions::default().asc());
        let orderings = [[by]];
        let equivalence = EquivalenceProperties::new_with_orderings(Arc::clone(&self.schema), orderings);
        let order = Order::Exact { column: table_column, descending: false };
        let mut scan = self.copy();
        scan.order = order;
        scan.partitions = ranges.len();
        scan.properties = Arc::new(properties(equivalence, scan.partitions));
        scan.ranges = Some(ranges.into());
        Ok(Some(scan))
    }

    /// The same scan visiting the pieces with the last (`descending`) or first times first, without row groups that `by` says
    /// are of no interest. Columns are the output's. `None` if the scan has another order to keep.
    pub fn settled_by(&self, key: usize, time: usize, descending: bool, by: Arc<dyn Settled>) -> Option<Self> {
        let columns = self.scan.state.def.columns.len();
        let column = |at: usize| self.projection.get(at).copied().filter(|column| *column < columns);
        let (key, time) = (column(key)?, column(time)?);
        if self.order.is_exact() || self.fetch.is_some() || self.ranges.is_some() {
            return None;
        }
        let order = Order::By { column: time, descending };
        let mut tasks = self.tasks.as_ref().clone();
        order.arrange(&self.scan, &mut tasks);
        let equivalence = EquivalenceProperties::new(Arc::clone(&self.schema));
        let mut scan = self.ordered(order, tasks, equivalence);
        scan.settling = Some(Settling { key, time, descending, by });
        Some(scan)
    }

    /// The table's oid.
    pub fn table(&self) -> crate::Oid {
        self.scan.state.oid
    }

    /// The table column that an expression over the output is.
    fn table_column(&self, expression: &Arc<dyn PhysicalExpr>) -> Option<usize> {
        let column = expression.downcast_ref::<Column>()?;
        self.projection.get(column.index()).copied()
    }

    /// This scan visiting its pieces in another order.
    fn ordered(&self, order: Order, tasks: Vec<Task>, equivalence: EquivalenceProperties) -> Self {
        let mut copy = self.copy();
        copy.order = order;
        copy.tasks = Arc::new(tasks);
        copy.properties = Arc::new(properties(equivalence, self.partitions));
        copy
    }
}

fn properties(equivalence: EquivalenceProperties, partitions: usize) -> PlanProperties {
    let partitioning = Partitioning::UnknownPartitioning(partitions);
    PlanProperties::new(equivalence, partitioning, EmissionType::Incremental, Boundedness::Bounded)
}

impl DisplayAs for TableScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let (oid, pieces, units) = (self.scan.state.oid, self.tasks.len(), self.scan.units.len());
        write!(
            f,
            "TableScanExec: table={oid}, pieces={pieces} of {units} files and chunks, projection=[{}]",
            names.join(", ")
        )?;
        let list = |f: &mut fmt::Formatter, name: &str, expressions: &[Arc<dyn PhysicalExpr>]| {
            if expressions.is_empty() {
                return Ok(());
            }
            let texts: Vec<String> = expressions.iter().map(ToString::to_string).collect();
            write!(f, ", {name}=[{}]", texts.join(", "))
        };
        let replaced: usize = self.scan.replaced.iter().flatten().map(|mask| mask.count_set_bits()).sum();
        if replaced > 0 {
            write!(f, ", replaced={replaced}")?;
        }
        list(f, "filters", &self.filters)?;
        list(f, "pruning", &self.dynamic)?;
        self.order.display(f, &self.scan)?;
        if let Some(ranges) = &self.ranges {
            write!(f, " in {} ranges", ranges.len())?;
        }
        if let Some(settling) = &self.settling {
            write!(f, " until every {} is settled", self.scan.schema.field(settling.key).name())?;
        }
        match self.fetch {
            Some(fetch) => write!(f, ", fetch={fetch}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for TableScanExec {
    fn name(&self) -> &'static str {
        "TableScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
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

    /// A scan that has not run. Its dynamic filters are gone: they hold what the last run learned.
    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let mut copy = self.copy();
        copy.dynamic = vec![];
        Ok(Arc::new(copy))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for expression in self.filters.iter().chain(&self.dynamic) {
            if f(expression)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let filter = match &self.ranges {
            Some(ranges) => ranges[partition].filter.clone(),
            None => self.filter.clone(),
        };
        let partition = Partition {
            scan: Arc::clone(&self.scan),
            schema: Arc::clone(&self.schema),
            projection: Arc::clone(&self.projection),
            filter,
            queue: self.queue(partition),
            reversed: self.order.reversed(),
            fetch: self.fetch,
            effort: task.session_config().get_extension::<Effort>(),
            metrics: ScanMetrics::new(&self.metrics, partition),
        };
        Ok(partition.stream())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let whole = match self.statistics.get() {
            Some(known) => known.clone(),
            None => {
                let computed = statistics::of_scan(self, self.fetch)?;
                self.statistics.get_or_init(|| computed).clone()
            }
        };
        Ok(Arc::new(match args.partition() {
            Some(_) if self.partitions > 1 => statistics::share(whole, self.partitions),
            _ => whole,
        }))
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let mut copy = self.copy();
        copy.fetch = limit;
        Some(Arc::new(copy))
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let count = result.parent_filters.len();
        let mut copy = self.copy();
        for filter in result.parent_filters.into_iter().map(|parent| parent.filter) {
            if !is_volatile(&filter) {
                copy.dynamic.push(remap(&filter, |index| self.projection.get(index).copied())?);
            }
        }
        // They only rule out pieces: whoever has the filter still applies it to rows.
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::No; count]);
        if copy.dynamic.len() == self.dynamic.len() {
            return Ok(answer);
        }
        Ok(answer.with_updated_node(Arc::new(copy)))
    }

    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let Some(column) = order.first().and_then(|first| self.table_column(&first.expr)) else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        if self.fetch.is_some() || column >= self.scan.state.def.columns.len() {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        let descending = order[0].options.descending;
        if let ([only], Some(tasks)) = (order, exact_order(&self.scan, &self.tasks, column, descending)?) {
            let orderings = [vec![only.clone()]];
            let equivalence = EquivalenceProperties::new_with_orderings(Arc::clone(&self.schema), orderings);
            let inner = Arc::new(self.ordered(Order::Exact { column, descending }, tasks, equivalence));
            return Ok(SortOrderPushdownResult::Exact { inner });
        }
        let order = Order::By { column, descending };
        let mut tasks = self.tasks.as_ref().clone();
        order.arrange(&self.scan, &mut tasks);
        let equivalence = EquivalenceProperties::new(Arc::clone(&self.schema));
        Ok(SortOrderPushdownResult::Inexact { inner: Arc::new(self.ordered(order, tasks, equivalence)) })
    }
}
