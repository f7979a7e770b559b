//! A sequence in FROM: its one row, which is where it stands now, whatever the statement's snapshot.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use tidemill_catalog::sequence::SequenceDef;
use tidemill_udfs::types::SqlType;

/// The columns of every sequence.
pub(super) const COLUMNS: [(&str, SqlType); 3] =
    [("last_value", SqlType::Int8), ("log_cnt", SqlType::Int8), ("is_called", SqlType::Bool)];

/// See the module doc.
#[derive(Debug)]
pub(super) struct SequenceRow {
    def: Arc<SequenceDef>,
    schema: SchemaRef,
}

impl SequenceRow {
    pub(super) fn new(def: &Arc<SequenceDef>) -> Self {
        let fields = COLUMNS.iter().map(|(name, sql_type)| sql_type.field(name, false)).collect::<Vec<_>>();
        Self { def: Arc::clone(def), schema: Arc::new(Schema::new(fields)) }
    }
}

#[async_trait]
impl TableProvider for SequenceRow {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (position, left) = self.def.position();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![position.value])),
            Arc::new(Int64Array::from(vec![i64::try_from(left).unwrap_or(i64::MAX)])),
            Arc::new(BooleanArray::from(vec![position.is_called])),
        ];
        let batch = RecordBatch::try_new(self.schema(), columns)?;
        MemTable::try_new(self.schema(), vec![vec![batch]])?.scan(state, projection, filters, limit).await
    }
}
