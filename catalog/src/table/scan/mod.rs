//! A table at a snapshot as DataFusion reads it.
//!
//! ```text
//! SnapshotTable (TableProvider) → TableScanExec (plan: projection, filters, order, statistics)
//!    execute → queue of tasks (file → row groups, hot rows), pruned → stream: filter first, then the other columns
//! ```
//! The scan applies its filters exactly, so no filter stands above it, and sorts and limits reach it.

use std::sync::Arc;

use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion_common::tree_node::TreeNode;
use datafusion_common::{DFSchema, Result, Statistics};
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr, split_conjunction};
use datafusion_physical_plan::ExecutionPlan;
use datafusion_session::{Session, TableProvider};

use crate::hot::HotChunk;
use crate::snapshot::TableState;
use crate::store::Store;
use crate::table::file::FileEntry;
use crate::table::latest::{self, Replaced};

mod exec;
mod filter;
mod metrics;
mod order;
mod prune;
mod queue;
mod ranges;
mod read;
mod settle;
pub(crate) mod source;
mod statistics;
mod stream;
mod task;
mod turn;

pub use exec::TableScanExec;
pub use settle::Settled;
use source::FileAccess;
pub use turn::{Effort, Turns};

/// Hidden column: which file or chunk a row is in (Int32 index into [`SnapshotTable::units`]).
pub const UNIT_COLUMN: &str = "_tm_unit";
/// Hidden column: the row's number in its file or chunk (Int64).
pub const ROW_COLUMN: &str = "_tm_row";

/// A table at a snapshot: a DataFusion `TableProvider`.
#[derive(Debug)]
pub struct SnapshotTable {
    /// The open data directory (none for temporary tables, which have no files).
    pub store: Option<Arc<Store>>,
    /// The rows.
    pub state: Arc<TableState>,
    /// Expose [`UNIT_COLUMN`] and [`ROW_COLUMN`] after the table's own columns: for DELETE and UPDATE.
    pub locators: bool,
}

/// What a table's rows are in.
#[derive(Debug, Clone)]
pub enum Unit {
    /// A Parquet file.
    File(Arc<FileEntry>),
    /// Rows not yet in files.
    Chunk(Arc<HotChunk>),
}

/// What a scan reads from.
#[derive(Debug)]
pub(crate) struct Scan {
    access: Option<FileAccess>,
    state: Arc<TableState>,
    pub(crate) units: Vec<Unit>,
    /// For each unit the rows that a later version of their key replaced; empty if the table keeps all rows.
    pub(crate) replaced: Vec<Option<BooleanBuffer>>,
    /// The table's columns, then the locators.
    schema: SchemaRef,
}

impl Scan {
    pub(crate) fn new(access: Option<FileAccess>, state: &Arc<TableState>) -> Self {
        let (units, schema) = (source::units(state), with_locators(&state.schema));
        Self { access, state: Arc::clone(state), units, replaced: vec![], schema }
    }

    /// The rows of a unit that were replaced.
    fn replaced(&self, unit: usize) -> Option<&BooleanBuffer> {
        self.replaced.get(unit)?.as_ref()
    }

    /// A column of the table by its name now.
    fn column_index(&self, name: &str) -> Option<usize> {
        self.state.def.columns.iter().position(|column| column.name == name)
    }

    fn unit_rows(&self, unit: usize) -> u64 {
        match &self.units[unit] {
            Unit::File(file) => file.rows,
            Unit::Chunk(chunk) => chunk.batch.num_rows() as u64,
        }
    }

    /// A scan over this table: see [`TableScanExec`].
    pub(crate) fn plan(
        self: Arc<Self>,
        projection: &[usize],
        filters: &[Arc<dyn PhysicalExpr>],
        limit: Option<usize>,
        partitions: usize,
    ) -> Result<TableScanExec> {
        let conjuncts = filters.iter().flat_map(split_conjunction).map(Arc::clone).collect();
        TableScanExec::try_new(self, projection, conjuncts, limit, partitions)
    }
}

fn with_locators(schema: &SchemaRef) -> SchemaRef {
    let own = schema.fields().iter().map(Arc::clone);
    let locators = [Field::new(UNIT_COLUMN, DataType::Int32, false), Field::new(ROW_COLUMN, DataType::Int64, false)];
    Arc::new(Schema::new(own.chain(locators.into_iter().map(Arc::new)).collect::<Vec<_>>()))
}

impl SnapshotTable {
    /// What [`UNIT_COLUMN`] counts: files in index order, then hot chunks, oldest first.
    pub fn units(&self) -> Vec<Unit> {
        source::units(&self.state)
    }

    fn access(&self) -> Option<FileAccess> {
        self.store.as_ref().map(|store| store.access(self.state.oid))
    }

    fn source(&self) -> Scan {
        Scan::new(self.access(), &self.state)
    }

    /// What a scan of the rows that count reads from.
    pub(crate) async fn latest_scan(&self) -> crate::Result<Scan> {
        let mut scan = self.source();
        if let Some(replaced) = self.replaced().await? {
            scan.replaced = scan.units.iter().map(|unit| replaced.of_unit(unit)).collect();
        }
        Ok(scan)
    }

    /// Whether files that this table is to have, its state has them already, repeat a key of a row of theirs or another: the
    /// file and row of one that does.
    ///
    /// # Errors
    /// Those of reading keys.
    pub async fn duplicate_in_files(&self, new: &[Arc<FileEntry>]) -> crate::Result<Option<(Unit, usize)>> {
        let Some(access) = self.access() else { return Ok(None) };
        let paths = new.iter().map(|file| file.path.as_str()).collect();
        latest::duplicate_in_files(&access, &self.state, &paths).await
    }

    /// Which rows were replaced by later versions of their keys; `None` if the table keeps all rows.
    ///
    /// # Errors
    /// Those of reading keys.
    pub async fn replaced(&self) -> crate::Result<Option<Arc<Replaced>>> {
        if self.state.def.version_column().is_none() {
            return Ok(None);
        }
        match &self.store {
            Some(store) => {
                latest::replaced(&store.access(self.state.oid), &self.state, || store.snapshot()).await.map(Some)
            }
            None => latest::replaced_hot(&self.state).await.map(Some),
        }
    }
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        if self.locators { with_locators(&self.state.schema) } else { Arc::clone(&self.state.schema) }
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        let mut statistics = statistics::of_table(&self.source()).ok()?;
        statistics.column_statistics.truncate(self.schema().fields().len());
        // Which rows were replaced is not known yet.
        Some(if self.state.def.version_column().is_some() { statistics.to_inexact() } else { statistics })
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match is_applicable(filter)? {
            true => Ok(TableProviderFilterPushDown::Exact),
            false => Ok(TableProviderFilterPushDown::Unsupported),
        };
        filters.iter().map(support).collect()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = TableProvider::schema(self);
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let names = DFSchema::try_from(schema.as_ref().clone())?;
        let filters = filters
            .iter()
            .map(|filter| {
                create_physical_expr(filter, &names, state.execution_props(), &PhysicalPlanningContext::default())
            })
            .collect::<Result<Vec<_>>>()?;
        let partitions = state.config().target_partitions();
        let scan = Arc::new(self.latest_scan().await?);
        Ok(Arc::new(scan.plan(projection.unwrap_or(&all), &filters, limit, partitions)?))
    }
}

/// True if a filter's value depends on the row alone.
fn is_applicable(filter: &Expr) -> Result<bool> {
    let depends = filter.exists(|node| {
        Ok(matches!(
            node,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(_, _)
        ))
    })?;
    Ok(!depends && !filter.is_volatile())
}

#[cfg(test)]
mod tests;
