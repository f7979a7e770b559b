//! What Parse, Bind and Execute give: prepared statements, portals, outcomes.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use parking_lot::Mutex;
use tidemill_catalog::Oid;
use tidemill_udfs::types::SqlType;

use super::Session;
use super::with::WithPlan;
use crate::Result;
use crate::clock::Timestamp;
use crate::plan::access::Accesses;
use crate::plan::{InsertPlan, MergePlan, ModifyPlan, OnConflict, Plan, procedure};
use crate::statement::parse::Parsed;

/// A prepared statement: parsed, its parameters typed, its result described. Made by [`Session::parse`].
#[derive(Debug)]
pub struct Prepared {
    /// The statement; `None` for an empty query string.
    pub parsed: Option<Parsed>,
    /// Types of `$1…$n`.
    pub parameters: Vec<SqlType>,
    /// Columns of the result; `None`: it returns no rows (NoData).
    pub columns: Option<Vec<Column>>,
    /// When it was prepared, microseconds since the epoch; and whether by SQL's PREPARE: pg_prepared_statements.
    pub prepared_at: Timestamp,
    /// Made by PREPARE.
    pub from_sql: bool,
    /// The types the client declared.
    pub(super) declared: Vec<SqlType>,
    pub(super) planned: Mutex<Planned>,
}

/// A plan and what it is valid for.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) kind: PlanKind,
    /// (catalog version, temporary catalog version, settings generation)
    pub(super) validity: (u64, u64, u64),
    /// As `validity`: when its privileges were last found to suffice.
    pub(super) permitted: Option<(u64, u64, u64)>,
}

#[derive(Debug, Clone)]
pub(super) enum PlanKind {
    Query(Plan),
    Insert(Arc<InsertPlan>),
    Modify(Arc<ModifyPlan>, &'static str),
    Merge(Arc<MergePlan>),
    With(Arc<WithPlan>),
    /// Nothing is planned ahead.
    Other,
}

impl PlanKind {
    /// The table of which it writes files and chunks again.
    pub(super) fn rewritten(&self) -> Option<Oid> {
        match self {
            Self::Modify(plan, _) => Some(plan.table),
            Self::Merge(plan) => Some(plan.table),
            Self::Insert(plan) if matches!(plan.on_conflict, Some(OnConflict::Update { .. })) => Some(plan.table),
            Self::With(plan) => plan.rewritten(),
            _ => None,
        }
    }

    /// The same plan over what data-modifying queries of its WITH returned.
    pub(super) fn with_written(self, results: &[Vec<RecordBatch>]) -> Result<Self> {
        let filled = |plan: &Plan| procedure::with_written(plan.clone(), results);
        Ok(match self {
            Self::Query(plan) => Self::Query(filled(&plan)?),
            Self::Insert(plan) => {
                let source = filled(&plan.source)?;
                Self::Insert(Arc::new(InsertPlan { source, ..plan.as_ref().clone() }))
            }
            Self::Modify(plan, command) => {
                let locate = filled(&plan.locate)?;
                Self::Modify(Arc::new(ModifyPlan { locate, ..plan.as_ref().clone() }), command)
            }
            Self::Merge(plan) => {
                let rows = filled(&plan.rows)?;
                Self::Merge(Arc::new(MergePlan { rows, ..plan.as_ref().clone() }))
            }
            other => other,
        })
    }

    /// The privileges it needs.
    pub(super) fn access(&self) -> Option<Arc<Accesses>> {
        let plan = match self {
            Self::Query(plan) => plan,
            Self::Insert(plan) => &plan.source,
            Self::Modify(plan, _) => &plan.locate,
            Self::Merge(plan) => &plan.rows,
            Self::With(plan) => return Some(Arc::clone(&plan.access)),
            Self::Other => return None,
        };
        Some(Arc::clone(&plan.access))
    }
}

impl Prepared {
    /// The plan of its query part, and the table whose row places it reads.
    pub(crate) fn plan(&self) -> Option<(Plan, Option<Oid>)> {
        match &self.planned.lock().kind {
            PlanKind::Query(plan) => Some((plan.clone(), None)),
            PlanKind::Insert(plan) => Some((plan.source.clone(), None)),
            PlanKind::Modify(plan, _) => Some((plan.locate.clone(), Some(plan.table))),
            PlanKind::Merge(plan) => Some((plan.rows.clone(), Some(plan.table))),
            PlanKind::With(_) | PlanKind::Other => None,
        }
    }

    /// True for INSERT, UPDATE, DELETE and MERGE, within WITH too.
    pub(crate) fn changes(&self) -> bool {
        matches!(self.planned.lock().kind, PlanKind::With(_)) || self.change().is_some()
    }

    /// What INSERT, UPDATE, DELETE and MERGE do to which table.
    pub(crate) fn change(&self) -> Option<(&'static str, Oid)> {
        match &self.planned.lock().kind {
            PlanKind::Insert(plan) => Some(("Insert", plan.table)),
            PlanKind::Modify(plan, "DELETE") => Some(("Delete", plan.table)),
            PlanKind::Modify(plan, _) => Some(("Update", plan.table)),
            PlanKind::Merge(plan) => Some(("Merge", plan.table)),
            PlanKind::Query(_) | PlanKind::With(_) | PlanKind::Other => None,
        }
    }

    /// The relations its query reads, by oid; views by their own.
    pub(crate) fn relations(&self) -> Vec<Oid> {
        self.plan().map_or_else(Vec::new, |(plan, _)| plan.relations)
    }
}

/// A result column, as RowDescription tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub sql_type: SqlType,
    /// The digits of a second that a column of a type of time keeps.
    pub precision: Option<u8>,
    /// The table it comes from; 0: none.
    pub table_oid: u32,
    /// Its number there; 0: none.
    pub attribute: i16,
}

impl Column {
    /// A column that comes from no table.
    pub fn new(name: impl Into<String>, sql_type: SqlType) -> Self {
        Self { name: name.into(), sql_type, precision: None, table_oid: 0, attribute: 0 }
    }
}

/// A parameter's value as Bind sent it.
#[derive(Debug, Clone)]
pub enum Parameter {
    /// NULL.
    Null,
    /// Text format.
    Text(bytes::Bytes),
    /// Binary format.
    Binary(bytes::Bytes),
}

/// A bound statement, ready to run or running.
pub struct Portal {
    /// The statement.
    pub prepared: Arc<Prepared>,
    /// The requested format of each result column: empty: all text; one: for all; else one per column. 0 text, 1 binary.
    pub result_formats: Vec<i16>,
    /// Columns of its result: as the prepared ones, or as the plan at Bind has them.
    pub columns: Option<Vec<Column>>,
    pub(crate) values: Vec<ScalarValue>,
}

/// What executing gives. Streams hold no borrow of the session and end with an error when the statement is cancelled.
pub enum Outcome {
    /// Rows. When the stream ended the tag is `SELECT n` etc. by [`RowsTag`].
    Rows {
        /// Batches whose columns fit `columns` by position.
        stream: SendableRecordBatchStream,
        /// The columns.
        columns: Vec<Column>,
        /// How the command tag is made.
        tag: RowsTag,
    },
    /// No rows: the tag.
    Command(String),
    /// COPY FROM STDIN: the server sends CopyInResponse, then feeds it.
    CopyIn(Box<dyn CopyIn>),
    /// COPY TO STDOUT: the server sends CopyOutResponse, then CopyData for each item, then `COPY n`.
    CopyOut(CopyOut),
    /// EmptyQueryResponse.
    Empty,
}

/// How a row-returning statement's command tag is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowsTag {
    /// The word, then the number of rows sent: `SELECT 5`, `FETCH 5`.
    Counted(&'static str),
    /// The whole tag, known before: `INSERT 0 5` with RETURNING, `EXPLAIN`, `SHOW`.
    Fixed(String),
}

/// Receives COPY data.
#[async_trait::async_trait]
pub trait CopyIn: Send {
    /// True for the binary format.
    fn binary(&self) -> bool;
    /// Number of columns.
    fn columns(&self) -> usize;
    /// Takes bytes as they come, cut anywhere. Waits while the engine is behind (back-pressure).
    async fn write(&mut self, bytes: bytes::Bytes) -> Result<()>;
    /// CopyDone: puts the rows into the session's transaction (durable when that commits); the command tag.
    async fn finish(self: Box<Self>, session: &mut Session) -> Result<String>;
    // CopyFail or a vanished client: drop it.
}

/// Gives COPY data.
pub struct CopyOut {
    /// True for the binary format.
    pub binary: bool,
    /// Number of columns.
    pub columns: usize,
    /// Chunks of rows.
    pub stream: futures::stream::BoxStream<'static, Result<CopyChunk>>,
}

/// Some rows of COPY output.
#[derive(Debug, Clone)]
pub struct CopyChunk {
    /// The bytes.
    pub bytes: bytes::Bytes,
    /// Where each row ends in `bytes`: psql and drivers expect one CopyData per row.
    pub row_ends: Vec<usize>,
    /// How many of them count as rows (a header line does not).
    pub rows: u64,
}

impl CopyChunk {
    /// The same rows, the first of them after `prefix`.
    pub(crate) fn after(self, prefix: &[u8]) -> Self {
        let bytes = [prefix, &self.bytes[..]].concat().into();
        let row_ends = self.row_ends.into_iter().map(|end| end + prefix.len()).collect();
        Self { bytes, row_ends, rows: self.rows }
    }
}
