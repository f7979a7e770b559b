//! The table that COPY FROM fills: which columns come, what the others get, which rows are left out.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::PhysicalExpr;
use tidemill_catalog::record::{Body, Change, ColumnDef, Object, TableDef};
use tidemill_udfs::types::SqlType;

use super::super::control::Expression;
use super::super::sink::RowSink;
use crate::error::SqlState;
use crate::instance::CopyProgress;
use crate::plan::Scope;
use crate::plan::access::Accesses;
use crate::session::Session;
use crate::{Error, Result};

/// The table COPY fills: which columns come, what the others get, which rows are left out.
pub(super) struct Target {
    sink: RowSink,
    pub(super) def: Arc<TableDef>,
    /// Columns that come, in the order of the data: index in the table, name, type.
    pub(super) given: Vec<(usize, String, SqlType)>,
    /// Values of columns that do not come, by their index in the table.
    defaults: Vec<(usize, Arc<dyn PhysicalExpr>)>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    rows: u64,
    progress: Arc<CopyProgress>,
}

impl Target {
    pub(super) fn new(
        session: &mut Session,
        scope: &Arc<Scope>,
        object: &Object,
        columns: &[String],
        filter: Option<&Expression>,
        progress: &Arc<CopyProgress>,
    ) -> Result<Self> {
        let Body::Table(def) = &object.body else { return Err(Error::internal("COPY into what is no table")) };
        let (oid, name) = (object.oid, object.name.as_str());
        let mut given = vec![];
        for column in columns {
            let Some(at) = def.columns.iter().position(|candidate| candidate.name == *column) else {
                return Err(Error::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{column}\" of relation \"{name}\" does not exist"),
                ));
            };
            if given.iter().any(|(other, _, _)| *other == at) {
                return Err(Error::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column \"{column}\" specified more than once"),
                ));
            }
            given.push((at, column.clone(), SqlType::of_stored(&def.columns[at].sql_type)?));
        }
        if columns.is_empty() {
            for (at, column) in def.columns.iter().enumerate() {
                given.push((at, column.name.clone(), SqlType::of_stored(&column.sql_type)?));
            }
        }
        let mut defaults = vec![];
        for (at, column) in def.columns.iter().enumerate() {
            if !given.iter().any(|(index, _, _)| *index == at) {
                defaults.push((at, default_value(session, scope, column)?));
            }
        }
        let mut access = Accesses::default();
        access.insert(oid, given.iter().map(|(at, _, _)| def.columns[*at].id));
        let filter = match filter {
            Some(filter) => {
                let schema = DFSchema::try_from_qualified_schema(name, &def.schema())?;
                let condition = session.planner.expression(scope, &schema, &filter.ast)?;
                let read = condition.column_refs().into_iter().filter_map(|column| def.column(&column.name));
                access.select(oid, None, read.map(|column| column.id));
                Some(session.planner.physical_expression(scope, &schema, condition)?)
            }
            None => None,
        };
        session.check_access(&access)?;
        let (sink, def, progress) = (RowSink::new(session, oid, scope)?, Arc::clone(def), Arc::clone(progress));
        Ok(Self { sink, def, given, defaults, filter, rows: 0, progress })
    }

    /// Takes arrays for the given columns.
    pub(super) async fn write(&mut self, arrays: &[ArrayRef], rows: usize) -> Result<()> {
        let schema = self.def.schema();
        let empty = RecordBatch::try_new_with_options(
            Arc::new(datafusion::arrow::datatypes::Schema::empty()),
            vec![],
            &datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows)),
        )
        .map_err(DataFusionError::from)?;
        let mut all: Vec<Option<ArrayRef>> = vec![None; self.def.columns.len()];
        for ((at, _, _), array) in self.given.iter().zip(arrays) {
            all[*at] = Some(Arc::clone(array));
        }
        for (at, default) in &self.defaults {
            all[*at] = Some(default.evaluate(&empty)?.into_array(rows)?);
        }
        let all: Option<Vec<_>> = all.into_iter().collect();
        let all = all.ok_or_else(|| Error::internal("a column without a value"))?;
        let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let mut batch = RecordBatch::try_new(Arc::new(datafusion::arrow::datatypes::Schema::new(fields)), all)
            .map_err(DataFusionError::from)?;
        if let Some(filter) = &self.filter {
            let keep = filter.evaluate(&batch)?.into_array(rows)?;
            let keep = datafusion::arrow::array::AsArray::as_boolean(&keep);
            batch = datafusion::arrow::compute::filter_record_batch(&batch, keep).map_err(DataFusionError::from)?;
        }
        let kept = batch.num_rows();
        self.rows += kept as u64;
        self.progress.rows.fetch_add(kept as u64, Relaxed);
        self.progress.rows_excluded.fetch_add((rows - kept) as u64, Relaxed);
        self.sink.write(batch).await
    }

    /// The change that adds the rows, and how many they are.
    pub(super) async fn finish(self) -> Result<(Change, u64)> {
        Ok((Change::Write(self.sink.finish().await?), self.rows))
    }
}

/// The value of a column that does not come.
pub(in super::super) fn default_value(
    session: &mut Session,
    scope: &Arc<Scope>,
    column: &ColumnDef,
) -> Result<Arc<dyn PhysicalExpr>> {
    let value = session.planner.column_default(scope, column)?;
    session.planner.physical_expression(scope, &DFSchema::empty(), value)
}
