//! A system relation as DataFusion reads it: rows are made when the plan runs, only the columns it needs.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

use super::batch::Batch;
use super::registry::Relation;
use crate::plan::Scope;

/// A system relation seen from one scope.
pub(crate) struct SystemTable {
    relation: &'static Relation,
    scope: Arc<Scope>,
}

impl SystemTable {
    pub(crate) fn new(relation: &'static Relation, scope: &Arc<Scope>) -> Self {
        Self { relation, scope: Arc::clone(scope) }
    }
}

impl fmt::Debug for SystemTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.relation.namespace, self.relation.name)
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.relation.schema)
    }

    fn table_type(&self) -> TableType {
        if self.relation.kind == "v" { TableType::View } else { TableType::Base }
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.relation.columns.len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(self.relation.schema.project(&projection)?);
        let rows =
            Rows { relation: self.relation, scope: Arc::clone(&self.scope), projection, schema: Arc::clone(&schema) };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, std::iter::empty(), false, limit)?))
    }
}

/// The one partition of a system relation.
struct Rows {
    relation: &'static Relation,
    scope: Arc<Scope>,
    projection: Vec<usize>,
    schema: Arc<Schema>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.relation.namespace, self.relation.name)
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (relation, scope, projection) = (self.relation, Arc::clone(&self.scope), self.projection.clone());
        let batch_rows = context.session_config().batch_size().max(1);
        let rows = futures::stream::once(async move {
            let mut batch = Batch::new(relation, projection);
            (relation.fill)(&scope, &mut batch);
            batch.finish()
        });
        // Operators expect batches of about the configured size.
        let slices = futures::StreamExt::flat_map(rows, move |batch| {
            let pieces: Vec<Result<_>> = match batch {
                Ok(batch) => {
                    let starts = (0..batch.num_rows()).step_by(batch_rows);
                    starts.map(|start| Ok(batch.slice(start, batch_rows.min(batch.num_rows() - start)))).collect()
                }
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(pieces)
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), slices))
    }
}
