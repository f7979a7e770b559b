//! INSERT.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Change, TableDef};
use tokio_util::sync::CancellationToken;

use super::sink::RowSink;
use super::table;
use crate::plan::{InsertPlan, Returning, RowProgram, Scope};
use crate::session::{Outcome, RowsTag, Session};
use crate::{Error, Result};

pub(crate) async fn execute(
    session: &mut Session,
    plan: &InsertPlan,
    values: &[ScalarValue],
    cancel: &CancellationToken,
) -> Result<Outcome> {
    if let Some(on_conflict) = &plan.on_conflict {
        return Box::pin(super::conflict::execute(session, plan, on_conflict, values, cancel)).await;
    }
    session.require_writable("INSERT")?;
    let scope = session.scope(cancel);
    let planner = Arc::clone(&session.planner);
    let physical = planner.physical(&scope, &plan.source, values).await?;
    let mut stream = planner.run(&scope, physical)?;
    let mut sink = RowSink::new(session, plan.table, &scope)?;
    let late = Late::new(session, &scope, plan)?;
    let mut returned = match &plan.returning {
        Some(returning) => Some(Returned::new(session, &scope, plan.table, returning)?),
        None => None,
    };
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await? {
        let batch = late.fill(batch)?;
        rows += batch.num_rows() as u64;
        if let Some(returned) = &mut returned {
            returned.add(&batch)?;
        }
        sink.write(batch).await?;
    }
    let write = sink.finish().await?;
    session.apply(vec![Change::Write(write)])?;
    let tag = format!("INSERT 0 {rows}");
    Ok(match returned {
        Some(returned) => returned.outcome(tag),
        None => Outcome::Command(tag),
    })
}

/// INSERT … VALUES of constants and parameters.
pub(crate) async fn values(
    session: &mut Session,
    table: Oid,
    program: &RowProgram,
    values: &[ScalarValue],
    cancel: &CancellationToken,
) -> Result<Outcome> {
    session.require_writable("INSERT")?;
    let transaction_at = session.open().started_at;
    let statement_at = session.handle.activity.lock().query_started_at;
    let scope = program.has_numbers().then(|| session.scope(cancel));
    let batch = program.evaluate(values, transaction_at, statement_at, scope.as_deref())?;
    let rows = batch.num_rows();
    let mut sink = RowSink::for_values(session, table, cancel)?;
    sink.write_exact(batch).await?;
    let write = sink.finish().await?;
    session.apply_last(vec![Change::Write(write)])?;
    Ok(Outcome::Command(format!("INSERT 0 {rows}")))
}

/// Defaults that give another value for each row, computed as the rows go by: so they count in the rows' order, whatever
/// the plan does with it.
pub(super) struct Late(Vec<(usize, Arc<dyn PhysicalExpr>)>);

impl Late {
    pub(super) fn new(session: &mut Session, scope: &Arc<Scope>, plan: &InsertPlan) -> Result<Self> {
        if plan.late.is_empty() {
            return Ok(Self(vec![]));
        }
        let def = Arc::clone(&table::state(session, plan.table)?.def);
        Self::of(session, scope, &def, &plan.late)
    }

    /// Of columns by their places.
    pub(super) fn of(session: &mut Session, scope: &Arc<Scope>, def: &TableDef, places: &[usize]) -> Result<Self> {
        let default = |place: &usize| {
            let column = def.columns.get(*place).ok_or_else(|| Error::internal("a plan of another table"))?;
            Ok((*place, super::copy::default_value(session, scope, column)?))
        };
        Ok(Self(places.iter().map(default).collect::<Result<_>>()?))
    }

    pub(super) fn fill(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if self.0.is_empty() {
            return Ok(batch);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let nothing = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)
            .map_err(DataFusionError::from)?;
        let mut columns = batch.columns().to_vec();
        for (place, default) in &self.0 {
            columns[*place] = default.evaluate(&nothing)?.into_array(batch.num_rows())?;
        }
        Ok(RecordBatch::try_new(batch.schema(), columns).map_err(DataFusionError::from)?)
    }
}

/// What RETURNING gives, computed as the rows go by. Its memory counts against the server's limit.
pub(super) struct Returned {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    columns: Vec<crate::session::Column>,
    batches: Vec<RecordBatch>,
    memory: MemoryReservation,
}

impl Returned {
    pub(super) fn new(session: &mut Session, scope: &Arc<Scope>, table: Oid, returning: &Returning) -> Result<Self> {
        let state = table::state(session, table)?;
        let name = super::names::object(session, table).map_or_else(String::new, |object| object.name.clone());
        let mut input = DFSchema::try_from_qualified_schema(name.as_str(), &state.schema)?;
        let mut rows = state.schema.as_ref().clone();
        if !returning.beside.is_empty() {
            let beside = returning.beside.clone().into();
            input.merge(&DFSchema::from_unqualified_fields(beside, std::collections::HashMap::new())?);
            rows = Schema::new(rows.fields().iter().chain(&returning.beside).map(Arc::clone).collect::<Vec<_>>());
        }
        let expressions = returning
            .expressions
            .iter()
            .map(|expression| session.planner.physical_expression(scope, &input, expression.clone()))
            .collect::<Result<Vec<_>>>()?;
        let fields = expressions
            .iter()
            .zip(&returning.columns)
            .map(|(expression, column)| {
                Ok(expression.return_field(&rows)?.as_ref().clone().with_name(&column.name).with_nullable(true))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            expressions,
            schema: Arc::new(Schema::new(fields)),
            columns: returning.columns.clone(),
            batches: vec![],
            memory: MemoryConsumer::new("RETURNING").register(&session.instance.runtime.memory_pool),
        })
    }

    /// Takes rows with the table's columns and those beside it.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let arrays = self
            .expressions
            .iter()
            .map(|expression| expression.evaluate(batch)?.into_array(batch.num_rows()))
            .collect::<datafusion::error::Result<Vec<_>>>()?;
        let result =
            RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(datafusion::error::DataFusionError::from)?;
        self.memory.try_grow(result.get_array_memory_size())?;
        self.batches.push(result);
        Ok(())
    }

    pub(super) fn outcome(self, tag: String) -> Outcome {
        let Self { schema, columns, batches, memory, .. } = self;
        // The reservation lives as long as the rows.
        let rows = futures::stream::iter(batches).map_with(memory);
        Outcome::Rows {
            stream: Box::pin(RecordBatchStreamAdapter::new(schema, rows)),
            columns,
            tag: RowsTag::Fixed(tag),
        }
    }
}

trait MapWith: futures::Stream<Item = RecordBatch> + Sized {
    fn map_with(
        self,
        memory: MemoryReservation,
    ) -> impl futures::Stream<Item = datafusion::error::Result<RecordBatch>> {
        futures::StreamExt::map(self, move |batch| {
            memory.shrink(batch.get_array_memory_size().min(memory.size()));
            Ok(batch)
        })
    }
}

impl<S: futures::Stream<Item = RecordBatch>> MapWith for S {}
