//! HOW: the only place where DataFusion is configured. Names, types and functions resolve in a [`Scope`]; the
//! [`Planner`] turns syntax trees into plans and plans into streams.

use std::sync::Arc;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use datafusion::sql::sqlparser::ast;
use parking_lot::Mutex;
use tidemill_catalog::Oid;
use tidemill_catalog::snapshot::{Snapshot, TableState};
use tidemill_udfs::types::{SqlType, TextSettings};
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::instance::{Instance, SessionHandle};
use crate::session::Column;
use crate::session::settings::Settings;

/// pg_catalog, information_schema, tidemill.*
pub mod system;

/// What names and functions of one statement mean: whose they are, and on which snapshot.
pub struct Scope {
    /// The server.
    pub instance: Arc<Instance>,
    /// The client.
    pub handle: Arc<SessionHandle>,
    /// What the statement sees, its own transaction's changes included.
    pub snapshot: Arc<Snapshot>,
    /// The session's temporary tables: an own snapshot, with one schema object [`TEMP_SCHEMA`].
    pub temp: Arc<Snapshot>,
    /// The database of the session.
    pub database: Oid,
    /// Schemas in which unqualified names are looked up, in order, `$user` resolved; pg_temp and pg_catalog come first
    /// implicitly, as in PostgreSQL.
    pub search_path: Vec<String>,
    /// The role whose privileges count (`current_user`).
    pub role: Oid,
    /// The role that logged in (`session_user`).
    pub session_role: Oid,
    /// The session's settings; `set_config` writes to it when executed.
    pub settings: Arc<Mutex<Settings>>,
    /// How values print and parse.
    pub text: Arc<TextSettings>,
    /// `now()`: when the transaction began, microseconds since the epoch.
    pub transaction_at: i64,
    /// `statement_timestamp()`.
    pub statement_at: i64,
    /// A table whose hidden row locators (`_tm_unit`, `_tm_row`) are visible: the target of UPDATE or DELETE.
    pub locators: Option<Oid>,
    /// Cancels the statement.
    pub cancel: CancellationToken,
}

/// The oid of a session's temporary schema in `Scope::temp`. Temporary relations have oids above it.
pub const TEMP_SCHEMA: Oid = 0x8000_0000;

/// The oid of schema `public` is per database; of `pg_catalog` and `information_schema`, PostgreSQL's own.
pub const PG_CATALOG: Oid = 11;
/// See [`PG_CATALOG`].
pub const INFORMATION_SCHEMA: Oid = 13000;

/// A planned statement: good for many executions while the catalog's version stays.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Not yet optimized; `$n` are placeholders.
    pub logical: Arc<LogicalPlan>,
    /// Types of `$1…$n`.
    pub parameters: Vec<SqlType>,
    /// The result's columns.
    pub columns: Vec<Column>,
    /// Tables and views the plan names, by oid: what a view made of it depends on. Views count, not what is in them.
    pub relations: Vec<Oid>,
}

/// INSERT, planned.
#[derive(Debug, Clone)]
pub struct InsertPlan {
    /// The target.
    pub table: Oid,
    /// Rows with exactly the table's columns, in order, cast as by assignment, defaults filled in.
    pub source: Plan,
    /// RETURNING's expressions over the table's columns.
    pub returning: Option<Returning>,
}

/// UPDATE or DELETE, planned: which rows, and what they become.
#[derive(Debug, Clone)]
pub struct ModifyPlan {
    /// The target.
    pub table: Oid,
    /// Rows `_tm_unit, _tm_row` and, for UPDATE, the new row with exactly the table's columns; for DELETE with RETURNING
    /// the old row. A row may come twice if FROM/USING matched it twice: the first counts.
    pub locate: Plan,
    /// True if `locate` has the table's columns after the two locators.
    pub has_rows: bool,
    /// RETURNING's expressions over the table's columns.
    pub returning: Option<Returning>,
}

/// RETURNING: a projection over rows of the target table.
#[derive(Debug, Clone)]
pub struct Returning {
    /// The expressions, over the target's schema.
    pub expressions: Vec<Expr>,
    /// The result's columns.
    pub columns: Vec<Column>,
}

/// Turns syntax trees into plans, and plans into streams. One per session; what it shares is behind `Arc`s.
pub struct Planner {}

impl Planner {
    /// A planner for one session.
    pub fn new(instance: &Arc<Instance>) -> Self {
        let _ = instance;
        Self {}
    }

    /// Plans a query (SELECT, VALUES, TABLE, WITH, set operations). `types`: declared parameter types; `Unknown` or
    /// missing ones are inferred as PostgreSQL does, text where nothing says otherwise.
    ///
    /// # Errors
    /// User errors with SQLSTATE and offset in the statement's text (42P01, 42703, 42883, 42803, …).
    pub fn query(&self, scope: &Arc<Scope>, query: &ast::Query, types: &[SqlType]) -> Result<Plan> {
        let _ = (scope, query, types);
        todo!()
    }

    /// Plans INSERT.
    pub fn insert(&self, scope: &Arc<Scope>, insert: &ast::Insert, types: &[SqlType]) -> Result<InsertPlan> {
        let _ = (scope, insert, types);
        todo!()
    }

    /// Plans UPDATE.
    pub fn update(&self, scope: &Arc<Scope>, update: &ast::Update, types: &[SqlType]) -> Result<ModifyPlan> {
        let _ = (scope, update, types);
        todo!()
    }

    /// Plans DELETE.
    pub fn delete(&self, scope: &Arc<Scope>, delete: &ast::Delete, types: &[SqlType]) -> Result<ModifyPlan> {
        let _ = (scope, delete, types);
        todo!()
    }

    /// Plans one expression over rows of a schema: DEFAULT, CHECK, EXECUTE's arguments.
    pub fn expression(&self, scope: &Arc<Scope>, schema: &DFSchema, expression: &ast::Expr) -> Result<Expr> {
        let _ = (scope, schema, expression);
        todo!()
    }

    /// A cast as by assignment (INSERT, UPDATE, DEFAULT): varchar(n) checks its length, numeric rounds, unknown becomes typed.
    pub fn assignment_cast(
        &self,
        scope: &Arc<Scope>,
        value: Expr,
        from: &SqlType,
        to: &SqlType,
        column: &str,
    ) -> Result<Expr> {
        let _ = (scope, value, from, to, column);
        todo!()
    }

    /// Optimizes, substitutes parameters, and makes the physical plan on the scope's snapshot.
    pub async fn physical(
        &self,
        scope: &Arc<Scope>,
        plan: &Plan,
        parameters: &[ScalarValue],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let _ = (scope, plan, parameters);
        todo!()
    }

    /// Runs a physical plan as one stream that stops when the scope's token is cancelled (57014) and keeps to the query's
    /// memory limit (53200).
    pub fn run(&self, scope: &Arc<Scope>, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
        let _ = (scope, plan);
        todo!()
    }

    /// Evaluates a constant expression (no columns) to one value.
    pub fn evaluate(&self, scope: &Arc<Scope>, expression: &Expr) -> Result<ScalarValue> {
        let _ = (scope, expression);
        todo!()
    }

    /// The SQL type of an expression made by [`Self::expression`].
    pub fn type_of(&self, expression: &Expr, schema: &DFSchema) -> Result<SqlType> {
        let _ = (expression, schema);
        todo!()
    }

    /// A physical expression over batches of a schema (by position), for CHECK, RETURNING and COPY's defaults.
    pub fn physical_expression(
        &self,
        scope: &Arc<Scope>,
        schema: &DFSchema,
        expression: Expr,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let _ = (scope, schema, expression);
        todo!()
    }

    /// True if a condition is false for some row of a table.
    pub async fn any_row_violates(
        &self,
        scope: &Arc<Scope>,
        table: &Arc<TableState>,
        condition: &ast::Expr,
    ) -> Result<bool> {
        let _ = (scope, table, condition);
        todo!()
    }

    /// EXPLAIN's lines: one text for JSON.
    pub async fn explain(
        &self,
        scope: &Arc<Scope>,
        plan: &Plan,
        parameters: &[ScalarValue],
        analyze: bool,
        verbose: bool,
        json: bool,
    ) -> Result<Vec<String>> {
        let _ = (scope, plan, parameters, analyze, verbose, json);
        todo!()
    }
}
