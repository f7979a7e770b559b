//! Where a statement that computes for long gives others their turn, and notices that it was cancelled: PostgreSQL's
//! `CHECK_FOR_INTERRUPTS`.
//!
//! DataFusion's operators yield to the scheduler when they read rows. A join makes up to billions of rows of one batch
//! that it read, or rejects as many pairs and makes none: [`Interrupts`] lets joins yield by the batches that they give,
//! and lets their filters look at the statement's token and pass their thread on.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::sync::CancellationToken;

use super::engine::StatementOptions;
use crate::error::{Error, SqlState};

/// The rule; comes after those that look for joins.
#[derive(Debug)]
pub(super) struct Interrupts;

impl PhysicalOptimizerRule for Interrupts {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let scope = config.extensions.get::<StatementOptions>().and_then(|options| options.scope.as_ref());
        let plan = plan.transform_up(|plan| {
            if let Some(aggregate) = plan.downcast_ref::<AggregateExec>()
                && aggregate.limit_options().is_some_and(|limit| limit.descending.is_none())
                && !aggregate.is_unordered_unfiltered_group_by_distinct()
            {
                // A rule after DataFusion's gave its rows an order: as it is, it would fail for want of a direction.
                return Ok(Transformed::yes(Arc::new(aggregate.clone().with_limit_options(None)) as _));
            }
            if !multiplies(plan.as_ref()) {
                return Ok(Transformed::no(plan));
            }
            let plan = match scope {
                Some(scope) => checked(plan, &scope.cancel)?,
                None => plan,
            };
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan)) as _))
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &'static str {
        "Interrupts"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// True for operators that give many batches for one that they read.
fn multiplies(plan: &dyn ExecutionPlan) -> bool {
    matches!(
        plan.name(),
        "CrossJoinExec"
            | "HashJoinExec"
            | "NestedLoopJoinExec"
            | "PiecewiseMergeJoinExec"
            | "SortMergeJoinExec"
            | "UnnestExec"
            // Gives what it has sorted without reading.
            | "SortExec"
    )
}

/// A join whose filter looks at the token.
fn checked(plan: Arc<dyn ExecutionPlan>, cancel: &CancellationToken) -> Result<Arc<dyn ExecutionPlan>> {
    let check = |filter: &JoinFilter| {
        let input = Arc::clone(filter.expression());
        let check = Arc::new(Check::new(input, cancel.clone()));
        Some(JoinFilter::new(check, filter.column_indices().to_vec(), Arc::clone(filter.schema())))
    };
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>()
        && let Some(filter) = join.filter()
    {
        return Ok(Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(check(filter)).build()?));
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && let Some(filter) = join.filter()
    {
        return join.builder().with_filter(check(filter)).build_exec();
    }
    Ok(plan)
}

/// `input`'s value, or 57014 once the statement is cancelled.
#[derive(Debug)]
struct Check {
    input: Arc<dyn PhysicalExpr>,
    cancel: CancellationToken,
    /// Evaluations for which the task should have yielded, and could not.
    overdue: AtomicUsize,
}

/// Overdue evaluations until the thread is passed on: some milliseconds' worth of pairs.
const OVERDUE_MAX: usize = 1024;

/// How long the other thread may take to come; waited for once in [`OVERDUE_MAX`] evaluations.
const HANDOVER: Duration = Duration::from_micros(100);

impl Check {
    fn new(input: Arc<dyn PhysicalExpr>, cancel: CancellationToken) -> Self {
        Self { input, cancel, overdue: AtomicUsize::new(0) }
    }

    /// Gives the thread's other tasks to another thread if this one has not yielded for long. The system then shares
    /// the cores among the two.
    fn pass_on(&self) {
        let in_time =
            pin!(tokio::task::coop::consume_budget()).poll(&mut Context::from_waker(Waker::noop())).is_ready();
        if in_time {
            self.overdue.store(0, Ordering::Relaxed);
        } else if self.overdue.fetch_add(1, Ordering::Relaxed) % OVERDUE_MAX == OVERDUE_MAX - 1
            && Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
        {
            tokio::task::block_in_place(|| std::thread::sleep(HANDOVER));
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt(f)
    }
}

// One statement has one token.
impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        self.input.eq(&other.input)
    }
}

impl Eq for Check {}

impl Hash for Check {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
    }
}

impl PhysicalExpr for Check {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.input.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.input.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.input.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.cancel.is_cancelled() {
            return Err(Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request").into());
        }
        self.pass_on();
        self.input.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.cancel.clone()))),
            _ => internal_err!("a check has one child"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt_sql(f)
    }
}
