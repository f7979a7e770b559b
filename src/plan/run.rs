//! A plan becomes a stream: parameters in, relations and functions of this execution's scope, optimized, run in a task of
//! its own that ends when the stream is dropped or cancelled, within the query's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::expr::{Placeholder, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use tokio_util::task::AbortOnDropHandle;

use super::context::Relation;
use super::engine::Engine;
use super::typing::{Typed, parameter_index};
use super::{Plan, Scope, extension, system, union_order};
use crate::Result;
use crate::error::{Error, SqlState};

/// The plan as this execution runs it: values for parameters, this scope's rows and functions.
pub(super) fn bound(scope: &Arc<Scope>, plan: &Plan, parameters: &[ScalarValue]) -> Result<LogicalPlan> {
    bound_plan(scope, plan.logical.as_ref().clone(), parameters)
}

fn bound_plan(scope: &Arc<Scope>, plan: LogicalPlan, parameters: &[ScalarValue]) -> Result<LogicalPlan> {
    let mut failure = None;
    let mut fail = |error: Error| {
        failure = Some(error);
        DataFusionError::Plan(String::new())
    };
    let bound = plan.transform_down_with_subqueries(|node| {
        let node = if let LogicalPlan::TableScan(mut scan) = node {
            let provider = source_as_provider(&scan.source)?;
            if let Some(relation) = Relation::of(provider.as_ref()) {
                scan.source = provider_as_source(relation.again(scope).map_err(&mut fail)?);
            }
            Transformed::yes(LogicalPlan::TableScan(scan))
        } else {
            Transformed::yes(extension::map_hidden(node, |hidden| bound_plan(scope, hidden, parameters))?)
        };
        node.transform_data(|node| {
            // What a node gives goes by the name of its expression, which its parents refer to: with a value in place
            // of a parameter it keeps that name.
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| match expr {
                    Expr::Placeholder(Placeholder { id, field }) => {
                        let index = parameter_index(&id).map_err(&mut fail)?;
                        let value = parameters.get(index).ok_or_else(|| {
                            fail(Error::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {id}")))
                        })?;
                        let sql_type = field.as_ref().map(|field| tidemill_udfs::types::SqlType::of_field(field));
                        let literal = match (sql_type, &field) {
                            (Some(sql_type), Some(field)) => {
                                let value = if value.data_type() == *field.data_type() {
                                    value.clone()
                                } else {
                                    value.cast_to(field.data_type())?
                                };
                                Typed::literal(value, sql_type).expr
                            }
                            _ => Expr::Literal(value.clone(), None),
                        };
                        Ok(Transformed::yes(literal))
                    }
                    Expr::ScalarFunction(call) => match system::rebound(scope, &call.func) {
                        Some(function)
                            if call.func.signature().volatility != datafusion::logical_expr::Volatility::Immutable =>
                        {
                            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, call.args))))
                        }
                        _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
                    },
                    other => Ok(Transformed::no(other)),
                })?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })
        })
    });
    match bound {
        Ok(bound) => Ok(bound.data),
        Err(error) => Err(failure.unwrap_or_else(|| error.into())),
    }
}

/// The plan without rows: [`bound`] finds them again.
pub(super) fn unbound(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::TableScan(mut scan) = node else {
            return Ok(Transformed::yes(extension::map_hidden(node, unbound)?));
        };
        let provider = source_as_provider(&scan.source)?;
        if let Some(relation) = Relation::of(provider.as_ref()) {
            scan.source = provider_as_source(relation.unbound());
        }
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(plan.data)
}

/// The server's runtime with memory of this query's own: what it takes counts against both limits.
pub(crate) fn runtime(scope: &Scope) -> Arc<RuntimeEnv> {
    let shared = &scope.instance.runtime;
    let limit = usize::try_from(scope.instance.config.query_memory_bytes).unwrap_or(usize::MAX);
    let pool = QueryPool { shared: Arc::clone(&shared.memory_pool), limit, used: AtomicUsize::new(0) };
    Arc::new(RuntimeEnv { memory_pool: Arc::new(pool), ..shared.as_ref().clone() })
}

/// One query's share of the server's memory.
#[derive(Debug)]
struct QueryPool {
    shared: Arc<dyn MemoryPool>,
    limit: usize,
    used: AtomicUsize,
}

impl std::fmt::Display for QueryPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "query({} of {} bytes)", self.used.load(Ordering::Relaxed), self.limit)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
        self.shared.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.used.fetch_sub(shrink, Ordering::Relaxed);
        self.shared.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> datafusion::common::Result<()> {
        let fits = |used: usize| used.checked_add(additional).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|used| {
            DataFusionError::ResourcesExhausted(format!(
                "Failed on request of size {additional}: the query uses {used} of {} bytes it may use.",
                self.limit
            ))
        })?;
        self.shared.try_grow(reservation, additional).inspect_err(|_| {
            self.used.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

/// Batches made ahead of the client.
const BATCHES_AHEAD: usize = 2;

/// Runs a plan as one stream, on the threads for queries: what computes for long there keeps no client from being heard.
pub(super) fn stream(scope: &Arc<Scope>, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
    let schema = plan.schema();
    let task = Engine::new(scope, runtime(scope)).task();
    let cancel = scope.cancel.clone();
    if is_short(plan.as_ref()) {
        let input = union_order::execute(plan, task)?;
        let batches = input.take_until(cancel.clone().cancelled_owned()).chain(end(cancel));
        return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)));
    }
    let (sender, receiver) = tokio::sync::mpsc::channel::<datafusion::common::Result<RecordBatch>>(BATCHES_AHEAD);
    // Operators start tasks of their own on the threads on which they are started.
    let task = AbortOnDropHandle::new(scope.instance.threads.queries.spawn(async move {
        let mut input = match union_order::execute(plan, task) {
            Ok(input) => input,
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        while let Some(batch) = input.next().await {
            let failed = batch.is_err();
            if sender.send(batch).await.is_err() || failed {
                return;
            }
        }
    }));
    // The task is dropped, and so aborted, with the stream.
    let batches = futures::stream::unfold((receiver, Some(task)), |(mut receiver, task)| async move {
        if let Some(batch) = receiver.recv().await {
            return Some((batch, (receiver, task)));
        }
        match task?.await {
            Ok(()) => None,
            Err(error) => Some((Err(DataFusionError::ExecutionJoin(Box::new(error))), (receiver, None))),
        }
    });
    let batches = batches.take_until(cancel.clone().cancelled_owned()).chain(end(cancel));
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
}

/// What comes after the last batch: nothing, or that the statement was cancelled.
fn end(
    cancel: tokio_util::sync::CancellationToken,
) -> impl futures::Stream<Item = datafusion::common::Result<RecordBatch>> + Send {
    futures::stream::once(async move { cancel.is_cancelled() }).filter_map(|cancelled| async move {
        cancelled.then(|| Err(Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request").into()))
    })
}

/// True for plans that compute one row from nothing: not worth a task.
fn is_short(plan: &dyn ExecutionPlan) -> bool {
    match plan.name() {
        "PlaceholderRowExec" | "EmptyExec" => true,
        "ProjectionExec" => plan.children().iter().all(|child| is_short(child.as_ref())),
        _ => false,
    }
}

/// True for a query without rows to read: constants only.
pub(super) fn is_constant(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Projection(projection) = plan else { return false };
    if !matches!(projection.input.as_ref(), LogicalPlan::EmptyRelation(empty) if empty.produce_one_row) {
        return false;
    }
    let mut plain = true;
    for expr in &projection.expr {
        let _ = expr.apply(|expr| {
            if matches!(
                expr,
                Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::SetComparison(_)
                    | Expr::Unnest(_)
            ) {
                plain = false;
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        });
    }
    plain
}

/// The physical plan of a query [`is_constant`] is true for, without the optimizer.
pub(super) fn constant(engine: &Engine, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let LogicalPlan::Projection(projection) = plan else { return Err(Error::internal("a constant query projects")) };
    let schema = projection.input.schema();
    let exprs = projection
        .expr
        .iter()
        .zip(projection.schema.fields())
        .map(|(expr, field)| {
            let expr = engine.expression(expr.clone().unalias(), schema)?;
            Ok(datafusion::physical_expr::projection::ProjectionExpr { expr, alias: field.name().clone() })
        })
        .collect::<Result<Vec<_>>>()?;
    let row = Arc::new(datafusion::physical_plan::placeholder_row::PlaceholderRowExec::new(Arc::new(
        datafusion::arrow::datatypes::Schema::empty(),
    )));
    Ok(Arc::new(datafusion::physical_plan::projection::ProjectionExec::try_new(exprs, row)?))
}
