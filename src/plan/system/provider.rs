//! A system relation as DataFusion reads it: rows are made when the plan runs, only the columns it needs.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

use tidemill_catalog::Oid;

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

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match about(self.relation, filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.relation.columns.len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(self.relation.schema.project(&projection)?);
        let rows = Rows {
            relation: self.relation,
            scope: Arc::clone(&self.scope),
            projection,
            schema: Arc::clone(&schema),
            about: filters.iter().find_map(|filter| about(self.relation, filter)),
        };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, std::iter::empty(), false, limit)?))
    }
}

/// The one partition of a system relation.
struct Rows {
    relation: &'static Relation,
    scope: Arc<Scope>,
    projection: Vec<usize>,
    schema: Arc<Schema>,
    about: Option<Oid>,
}

/// Relations that are asked for one table at a time, by psql's `\d` and by tools, and the columns that say which.
const BY_RELATION: [(&str, &str); 2] = [("pg_class", "oid"), ("pg_attribute", "attrelid")];

/// The object whose rows a condition asks for.
fn about(relation: &Relation, filter: &Expr) -> Option<Oid> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return None };
    let (column, oid) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(ScalarValue::UInt32(Some(oid)), _))
        | (Expr::Literal(ScalarValue::UInt32(Some(oid)), _), Expr::Column(column)) => (column, oid),
        _ => return None,
    };
    BY_RELATION.contains(&(relation.name, column.name.as_str())).then_some(*oid)
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
        let about = self.about;
        let batch_rows = context.session_config().batch_size().max(1);
        let rows = futures::stream::once(async move {
            let mut batch = Batch::new(relation, projection);
            batch.about = about;
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
