//! HOW: the only place where DataFusion is configured. Names, types and functions resolve in a [`Scope`]; the
//! [`Planner`] turns syntax trees into plans and plans into streams.

use std::sync::{Arc, OnceLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Column as PlanColumn, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast;
use parking_lot::Mutex;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{ColumnDef, TableDef, UniqueKey, ViewDef, ViewRelation};
use tidemill_catalog::snapshot::{Snapshot, TableState};
use tidemill_udfs::types::{SQL_TYPE_KEY, SqlType, TextSettings};
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::error::{Error, SqlState};
use crate::instance::{Instance, SessionHandle};
use crate::session::Column;
use crate::session::sequences::Sequences;
use crate::session::settings::Settings;

/// What a plan needs of privileges.
pub mod access;
mod apart;
mod apply;
mod arithmetic;
mod asof;
mod cast;
mod clock;
mod constants;
mod context;
mod distinct_on;
mod dml;
/// Domains: casts to them, and what they ask of values.
pub(crate) mod domains;
mod driver;
mod engine;
mod enums;
pub(crate) mod explain;
mod extension;
mod forms;
mod gapfill;
mod interrupt;
mod join_conditions;
mod latest;
mod locate;
mod marker;
mod merge;
mod newest;
mod not_in;
mod pending;
mod prepare;
/// Procedures in FROM.
pub(crate) mod procedure;
mod record;
mod registry;
mod resample;
/// Who may do what.
pub(crate) mod rights;
mod row;
mod run;
mod sequence_row;
mod series;
mod shape;
mod sources;
mod spread;
mod stable_bounds;
mod states;
/// pg_catalog, information_schema, tidemill.*
pub mod system;
mod system_columns;
mod table_functions;
mod told;
mod twins;
mod types;
mod typing;
mod union_order;
/// Types that users made, by name and by oid.
pub(crate) mod user_types;
mod window_join;

pub use context::Resolved;
pub use row::RowProgram;
pub(crate) use run::runtime as query_runtime;
pub use system::split_name;

use access::Accesses;
use context::{Names, Relation};
use engine::Engine;
use typing::{Sight, Typing};

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
    /// What the session knows of sequences.
    pub sequences: Arc<Mutex<Sequences>>,
    /// How values print and parse.
    pub text: Arc<TextSettings>,
    /// The transaction's number, once somebody asked.
    pub transaction: Arc<OnceLock<u64>>,
    /// `now()`: when the transaction began, microseconds since the epoch.
    pub transaction_at: i64,
    /// `statement_timestamp()`.
    pub statement_at: i64,
    /// A table whose hidden row locators (`_tm_unit`, `_tm_row`) are visible: the target of UPDATE or DELETE.
    pub locators: Option<Oid>,
    /// What the data-modifying queries of its WITH return.
    pub written: Vec<SchemaRef>,
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
#[derive(Clone)]
pub struct Plan {
    /// Not yet optimized; `$n` are placeholders.
    pub logical: Arc<LogicalPlan>,
    /// The one row of a query without FROM that depends on nothing but its parameters.
    pub program: Option<Arc<RowProgram>>,
    /// Types of `$1…$n`.
    pub parameters: Vec<SqlType>,
    /// The result's columns.
    pub columns: Vec<Column>,
    /// Tables and views the plan names, by oid: what a view made of it depends on. Views count, not what is in them.
    pub relations: Vec<Oid>,
    /// The privileges that who runs it must have.
    pub access: Arc<Accesses>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("logical", &self.logical)
            .field("parameters", &self.parameters)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// INSERT, planned.
#[derive(Debug, Clone)]
pub struct InsertPlan {
    /// The target.
    pub table: Oid,
    /// Rows with exactly the table's columns, in order, cast as by assignment, defaults filled in.
    pub source: Plan,
    /// Columns whose defaults are computed of each row after the plan, in its order: in the plan's rows they are NULL.
    pub late: Vec<usize>,
    /// The same rows without a plan, where they are VALUES of constants and parameters.
    pub program: Option<Arc<RowProgram>>,
    /// RETURNING's expressions over the table's columns.
    pub returning: Option<Returning>,
    /// What becomes of a row whose key is taken; without, it is an error.
    pub on_conflict: Option<OnConflict>,
}

/// ON CONFLICT.
#[derive(Debug, Clone)]
pub enum OnConflict {
    /// DO NOTHING, where rows have the same of one of these keys.
    Nothing(Vec<UniqueKey>),
    /// DO UPDATE
    Update {
        /// The key that decides.
        key: UniqueKey,
        /// The columns that are assigned.
        places: Vec<usize>,
        /// A projection over the columns of the row that is there and those of the one that was to come: the values of `places`,
        /// cast as by assignment, and the condition, if there is one.
        plan: Plan,
    },
}

impl OnConflict {
    /// The keys that decide.
    pub fn arbiters(&self) -> &[UniqueKey] {
        match self {
            Self::Nothing(keys) => keys,
            Self::Update { key, .. } => std::slice::from_ref(key),
        }
    }
}

/// A column that becomes another type.
pub(crate) struct Conversion<'a> {
    /// Its place.
    pub(crate) at: usize,
    /// The type.
    pub(crate) to: SqlType,
    /// The new value, over the old columns; else the old one, cast as by assignment.
    pub(crate) using: Option<&'a ast::Expr>,
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
    /// Places of the columns that are assigned.
    pub assigned: Vec<usize>,
    /// RETURNING's expressions over the table's columns.
    pub returning: Option<Returning>,
}

/// MERGE, planned.
#[derive(Debug, Clone)]
pub struct MergePlan {
    /// The target.
    pub table: Oid,
    /// Rows `_tm_unit, _tm_row` (NULL where nothing matched), the number of the action in `actions`, from 1, and the new row with
    /// exactly the table's columns.
    pub rows: Plan,
    /// The actions of its clauses.
    pub actions: Vec<MergeAction>,
    /// Positions of the columns that may come to have other values.
    pub assigned: Vec<usize>,
}

/// What a clause of MERGE does with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeAction {
    /// DO NOTHING
    Nothing,
    /// INSERT
    Insert,
    /// UPDATE
    Update,
    /// DELETE
    Delete,
}

/// RETURNING: a projection over rows of the target table.
#[derive(Debug, Clone)]
pub struct Returning {
    /// The expressions, over the target's schema.
    pub expressions: Vec<Expr>,
    /// The result's columns.
    pub columns: Vec<Column>,
    /// Columns after the target's own in the rows it sees: of tables in FROM or USING.
    pub beside: Vec<Arc<datafusion::arrow::datatypes::Field>>,
}

/// Turns syntax trees into plans, and plans into streams. One per session; what it shares is behind `Arc`s.
pub struct Planner {
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
}

impl Planner {
    /// A planner for one session.
    pub fn new(_instance: &Arc<Instance>) -> Self {
        Self { relation_planners: vec![Arc::new(table_functions::TableFunctions)] }
    }

    /// Plans a query (SELECT, VALUES, TABLE, WITH, set operations). `types`: declared parameter types; `Unknown` or
    /// missing ones are inferred as PostgreSQL does, text where nothing says otherwise.
    ///
    /// # Errors
    /// User errors with SQLSTATE and location in the statement's text (42P01, 42703, 42883, 42803, …).
    pub fn query(&self, scope: &Arc<Scope>, query: &ast::Query, types: &[SqlType]) -> Result<Plan> {
        let named = self.named(scope, query.clone(), None).map_err(|error| locate::in_query(error, query))?;
        let mut typing = Typing::new(scope, types);
        let plan = typing.plan(named.plan, &[], false).map_err(|error| locate::in_query(error, query))?;
        let columns = columns(&plan);
        let mut plan = self.finished(scope, plan, columns, typing.parameters, named.relations)?;
        plan.access = Arc::new(named.access);
        // Names of objects are looked up when they are sent.
        if !plan.columns.iter().any(|column| types::is_oid(&column.sql_type)) {
            let schema = plan.logical.schema().as_arrow();
            plan.program = RowProgram::new(scope, &plan.logical, &plan.parameters, schema).map(Arc::new);
        }
        Ok(plan)
    }

    /// Plans INSERT.
    ///
    /// # Errors
    /// As [`Self::query`]; 42601 for a wrong number of values, 42804 for values that do not fit, 42P10 for ON CONFLICT of
    /// other columns than the primary key's.
    pub fn insert(&self, scope: &Arc<Scope>, insert: &ast::Insert, types: &[SqlType]) -> Result<InsertPlan> {
        dml::insert(self, scope, insert, types)
    }

    /// Plans UPDATE; `with`: the queries WITH names before it.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn update(
        &self,
        scope: &Arc<Scope>,
        update: &ast::Update,
        with: Option<&ast::With>,
        types: &[SqlType],
    ) -> Result<ModifyPlan> {
        dml::update(self, scope, update, with, types)
    }

    /// Plans DELETE; `with`: the queries WITH names before it.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn delete(
        &self,
        scope: &Arc<Scope>,
        delete: &ast::Delete,
        with: Option<&ast::With>,
        types: &[SqlType],
    ) -> Result<ModifyPlan> {
        dml::delete(self, scope, delete, with, types)
    }

    /// Plans MERGE; `with`: the queries WITH names before it.
    ///
    /// # Errors
    /// As [`Self::query`]; 42601 for a clause that can never apply.
    pub fn merge(
        &self,
        scope: &Arc<Scope>,
        merge: &ast::Merge,
        with: Option<&ast::With>,
        types: &[SqlType],
    ) -> Result<MergePlan> {
        merge::merge(self, scope, merge, with, types)
    }

    /// Plans one expression over rows of a schema: DEFAULT, CHECK, EXECUTE's arguments. A bare string literal, NULL or
    /// parameter keeps its unknown type, for [`Self::assignment_cast`].
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn expression(&self, scope: &Arc<Scope>, schema: &DFSchema, expression: &ast::Expr) -> Result<Expr> {
        let mut typing = Typing::new(scope, &[]);
        Ok(self.typed_expression(scope, schema, expression, &mut typing)?.expr)
    }

    /// The type of an expression that [`Self::expression`] made.
    ///
    /// # Errors
    /// XX000 for an expression from elsewhere.
    pub fn type_of(&self, expression: &Expr, schema: &DFSchema) -> Result<SqlType> {
        typing::type_of(expression, schema)
    }

    /// A cast as by assignment (INSERT, UPDATE, DEFAULT): varchar(n) checks its length, numeric rounds, unknown becomes typed.
    ///
    /// # Errors
    /// 42804 if the types do not assign, 22P02 and its kin for a bad literal.
    pub fn assignment_cast(
        &self,
        scope: &Arc<Scope>,
        value: Expr,
        from: &SqlType,
        to: &SqlType,
        column: &str,
    ) -> Result<Expr> {
        let mut typing = Typing::new(scope, &[]);
        let data_type = typing::data_type_of(&value).unwrap_or_else(|| from.data_type());
        let value = typing::Typed::new(value, from.clone(), data_type);
        Ok(typing.assign(value, to, to.data_type(), column)?.expr)
    }

    /// The plan with object identifiers (regclass, regtype, …) as the names they print as, in the columns that go to the
    /// client as text. `formats`: as in [`crate::session::Portal`].
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn displayed(&self, scope: &Arc<Scope>, plan: Plan, formats: &[i16]) -> Result<Plan> {
        let is_named = |sql_type: &SqlType| types::is_oid(sql_type) && !matches!(sql_type, SqlType::Oid | SqlType::Xid);
        if !plan.columns.iter().any(|column| is_named(&column.sql_type)) {
            return Ok(plan);
        }
        let schema = Arc::clone(plan.logical.schema());
        let exprs = schema
            .iter()
            .zip(&plan.columns)
            .enumerate()
            .map(|(at, ((relation, field), column))| {
                let expr = Expr::Column(PlanColumn::from((relation, field)));
                let format = if formats.len() == 1 { formats[0] } else { formats.get(at).copied().unwrap_or(0) };
                if format != 0 || !is_named(&column.sql_type) {
                    return Ok(expr);
                }
                let text = SqlType::Text;
                let data_type = text.data_type();
                let cast = cast::call(scope, expr, &column.sql_type, &text, &data_type, cast::Mode::Implicit)?;
                Ok(cast.alias_qualified(relation.cloned(), field.name()))
            })
            .collect::<Result<Vec<_>>>()?;
        let logical = LogicalPlanBuilder::from(plan.logical.as_ref().clone()).project(exprs)?.build()?;
        Ok(Plan { logical: Arc::new(logical), program: None, ..plan })
    }

    /// The rows of a table's state, which has the definition `old`, with some columns converted.
    ///
    /// # Errors
    /// 42804 for a type that values are not cast to by assignment.
    pub(crate) fn converted_rows(
        &self,
        scope: &Arc<Scope>,
        table: &str,
        state: &Arc<TableState>,
        conversions: &[Conversion<'_>],
    ) -> Result<Plan> {
        states::converted_rows(self, scope, table, state, conversions)
    }

    /// The text of a key that several rows of a state have, if the columns of the key in `def` were one.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) async fn repeated_key(
        &self,
        scope: &Arc<Scope>,
        table: &str,
        state: &Arc<TableState>,
        def: &TableDef,
    ) -> Result<Option<Vec<String>>> {
        states::repeated_key(self, scope, table, state, def).await
    }

    /// The expressions of a plan that is one projection over what it does not read, with values for parameters, and the schema
    /// of their rows.
    ///
    /// # Errors
    /// XX000 for another plan.
    pub(crate) fn bound_projection(
        &self,
        scope: &Arc<Scope>,
        plan: &Plan,
        parameters: &[ScalarValue],
    ) -> Result<(Vec<Expr>, DFSchema)> {
        match run::bound(scope, plan, parameters)? {
            LogicalPlan::Projection(projection) => {
                let exprs = projection.expr.into_iter().map(Expr::unalias).collect();
                Ok((exprs, projection.input.schema().as_ref().clone()))
            }
            other => Err(Error::internal(format!("no projection: {}", other.display()))),
        }
    }

    /// Optimizes, substitutes parameters, and makes the physical plan on the scope's snapshot.
    ///
    /// # Errors
    /// 0A000 for what the engine cannot do; errors of constant expressions.
    pub async fn physical(
        &self,
        scope: &Arc<Scope>,
        plan: &Plan,
        parameters: &[ScalarValue],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let engine = Engine::new(scope, Arc::clone(&scope.instance.runtime));
        let logical = run::bound(scope, plan, parameters)?;
        if run::is_constant(&logical) {
            return run::constant(&engine, &logical);
        }
        Ok(apply::physical(&engine, logical).await?)
    }

    /// Runs a physical plan as one stream that stops when the scope's token is cancelled (57014) and keeps to the query's
    /// memory limit (53200).
    ///
    /// # Errors
    /// Of the plan's start; later ones come from the stream.
    pub fn run(&self, scope: &Arc<Scope>, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
        run::stream(scope, plan)
    }

    /// An expression over rows of a schema as the engine evaluates it.
    ///
    /// # Errors
    /// Of constant parts of the expression.
    pub fn physical_expression(
        &self,
        scope: &Arc<Scope>,
        schema: &DFSchema,
        expression: Expr,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let engine = Engine::new(scope, Arc::clone(&scope.instance.runtime));
        Ok(engine.expression(expression, schema)?)
    }

    /// What a column gets where no value is given, of the column's type: over no columns.
    ///
    /// # Errors
    /// Of its text.
    pub(crate) fn column_default(&self, scope: &Arc<Scope>, column: &ColumnDef) -> Result<Expr> {
        let mut typing = Typing::new(scope, &[]);
        Ok(dml::default_value(self, scope, column, &mut typing)?.expr)
    }

    /// Evaluates a constant expression (no columns) to one value.
    ///
    /// # Errors
    /// Of the evaluation.
    pub fn evaluate(&self, scope: &Arc<Scope>, expression: &Expr) -> Result<ScalarValue> {
        if let Expr::Literal(value, _) = expression {
            return Ok(value.clone());
        }
        Ok(Engine::new(scope, Arc::clone(&scope.instance.runtime)).value(expression)?)
    }

    /// True if a condition is false for some row of a table.
    ///
    /// # Errors
    /// Of planning and evaluating the condition.
    pub async fn any_row_violates(
        &self,
        scope: &Arc<Scope>,
        state: &Arc<TableState>,
        condition: &ast::Expr,
    ) -> Result<bool> {
        states::any_row_violates(self, scope, state, condition).await
    }

    /// EXPLAIN: the lines of its one column, `QUERY PLAN`. With `analyze` the plan runs, its rows are dropped.
    ///
    /// # Errors
    /// As [`Self::physical`], and of the run.
    pub(crate) async fn explain(
        &self,
        scope: &Arc<Scope>,
        plan: &Plan,
        parameters: &[ScalarValue],
        options: explain::Options,
    ) -> Result<Vec<String>> {
        explain::explain(self, scope, plan, parameters, options).await
    }

    fn finished(
        &self,
        scope: &Arc<Scope>,
        plan: LogicalPlan,
        columns: Vec<Column>,
        parameters: Vec<SqlType>,
        relations: Vec<Oid>,
    ) -> Result<Plan> {
        let parameters = parameters
            .into_iter()
            .map(|parameter| if parameter == SqlType::Unknown { SqlType::Text } else { parameter })
            .collect();
        // LATEST ON is of the left rows of a WINDOW JOIN, and of the rows of an ASOF JOIN.
        let plan = window_join::rewrite(scope, plan)?;
        let plan = latest::rewrite(plan)?;
        let plan = asof::rewrite(scope, plan)?;
        let plan = resample::rewrite(scope, plan)?;
        let plan = gapfill::rewrite(scope, plan)?;
        let plan = apart::rewrite(plan)?;
        // A plan may be kept for long: it must not keep this statement's snapshot.
        let plan = run::unbound(plan)?;
        let access = Arc::default();
        Ok(Plan { logical: Arc::new(plan), program: None, parameters, columns, relations, access })
    }

    /// The query with names resolved, not yet typed. `is_own`: which of its items are the statement's and not the server's;
    /// `None`: all.
    fn named(&self, scope: &Arc<Scope>, query: ast::Query, is_own: Option<&dyn Fn(usize) -> bool>) -> Result<Named> {
        let names = Names::new(self, scope, 0);
        let plan = resolved(&names, query)?;
        let mut access = Accesses::default();
        access.of_plan(&plan, is_own.unwrap_or(&|_| true));
        Ok(Named { plan, relations: names.used.take(), access })
    }

    /// What the names in a view's query stand for, now that it is made.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn view_relations(&self, scope: &Arc<Scope>, query: &ast::Query) -> Result<Vec<ViewRelation>> {
        let names = Names::new(self, scope, 0);
        resolved(&names, query.clone())?;
        Ok(names.written.take())
    }

    /// True if a view's query still has a meaning.
    pub fn view_stands(&self, scope: &Arc<Scope>, view: &ViewDef) -> bool {
        Names::new(self, scope, 0).view_plan(view).is_ok()
    }

    fn typed_expression(
        &self,
        scope: &Arc<Scope>,
        schema: &DFSchema,
        expression: &ast::Expr,
        typing: &mut Typing,
    ) -> Result<typing::Typed> {
        let mut prepared = expression.clone();
        prepare::expression(&mut prepared)?;
        domains::casts(scope, &mut prepared)?;
        let names = Names::new(self, scope, 0);
        let planner = SqlToRel::new(&names);
        let locate = |error: Error| locate::in_expression(error, expression);
        let expr =
            planner.sql_to_expr(prepared, schema, &mut PlannerContext::new()).map_err(|error| locate(error.into()))?;
        let outer = typing.access.of_expression(&expr);
        typing.outer_columns.extend(outer);
        typing.expression(expr, &Sight { schema, outer: &[] }).map_err(locate)
    }

    /// A view's query with the view's column names, names resolved as at its creation.
    fn view(&self, scope: &Arc<Scope>, view: &ViewDef, depth: usize) -> Result<LogicalPlan> {
        let query = crate::statement::parse::parse_query(&view.query).map_err(Error::without_location)?;
        let names = Names { view: Some(view), ..Names::new(self, scope, depth) };
        let plan = resolved(&names, query).map_err(Error::without_location)?;
        let schema = Arc::clone(plan.schema());
        let fields: Vec<_> = schema.iter().collect();
        let unchanged = fields.len() == view.columns.len();
        let exprs = view
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                // A `*` in the query may mean more columns by now: then they are found by name.
                let found = if unchanged {
                    fields.get(at)
                } else {
                    fields.iter().find(|(_, field)| prepare::shown(field.name()) == column.physical_name)
                };
                let (relation, field) = *found.ok_or_else(|| {
                    let message = format!("column \"{}\" of a view's query does not exist any more", column.name);
                    Error::new(SqlState::UNDEFINED_COLUMN, message)
                })?;
                Ok(Expr::Column(PlanColumn::from((relation, field))).alias(&column.name))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
    }
}

/// True for types whose values `=` compares.
pub(crate) fn comparable(left: &SqlType, right: &SqlType) -> bool {
    types::common_type(left, right).is_some()
}

/// A query with names resolved, not yet typed.
struct Named {
    plan: LogicalPlan,
    /// As in [`Plan`].
    relations: Vec<Oid>,
    access: Accesses,
}

/// The query with names resolved, not yet typed.
fn resolved(names: &Names<'_>, mut query: ast::Query) -> Result<LogicalPlan> {
    sources::query(names, &mut query)?;
    prepare::query(&mut query)?;
    domains::casts(names.scope, &mut query)?;
    let planned = |query| -> Result<LogicalPlan> {
        Ok(SqlToRel::new(names).sql_statement_to_plan(ast::Statement::Query(Box::new(query)))?)
    };
    match planned(query.clone()) {
        Err(error) if *error.code() == SqlState::GROUPING_ERROR => {
            names.keyed.set(true);
            let again = planned(query);
            names.keyed.set(false);
            again
        }
        first => first,
    }
}

/// The columns of a typed plan's result.
fn columns(plan: &LogicalPlan) -> Vec<Column> {
    let schema: &DFSchemaRef = plan.schema();
    schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let sql_type = SqlType::of_field(field);
            // oid::regclass changes nothing but the type, and is no column of the table any more.
            let origin = origin(plan, index).filter(|origin| origin.2.oid() == sql_type.oid());
            let (table_oid, attribute, _) = origin.unwrap_or((0, 0, SqlType::Unknown));
            let precision = field.metadata().get(SQL_TYPE_KEY).and_then(|stored| SqlType::stored_precision(stored));
            Column { name: prepare::shown(field.name()).to_owned(), sql_type, precision, table_oid, attribute }
        })
        .collect()
}

/// The table, number and type of the column that an output column is.
fn origin(plan: &LogicalPlan, index: usize) -> Option<(Oid, i16, SqlType)> {
    let below = |input: &LogicalPlan, column: &PlanColumn| {
        let index = input.schema().maybe_index_of_column(column)?;
        origin(input, index)
    };
    match plan {
        LogicalPlan::Projection(projection) => {
            let mut expr = projection.expr.get(index)?;
            while let Expr::Alias(alias) = expr {
                expr = &alias.expr;
            }
            match expr {
                Expr::Column(column) => below(&projection.input, column),
                _ => None,
            }
        }
        LogicalPlan::SubqueryAlias(alias) => origin(&alias.input, index),
        LogicalPlan::Filter(filter) => origin(&filter.input, index),
        LogicalPlan::Sort(sort) => origin(&sort.input, index),
        LogicalPlan::Limit(limit) => origin(&limit.input, index),
        LogicalPlan::Distinct(datafusion::logical_expr::Distinct::All(input)) => origin(input, index),
        LogicalPlan::Window(window) if index < window.input.schema().fields().len() => origin(&window.input, index),
        LogicalPlan::Unnest(unnest) => {
            let below = *unnest.dependency_indices.get(index)?;
            let is_spread = unnest.list_type_columns.iter().any(|(column, _)| *column == below)
                || unnest.struct_type_columns.contains(&below);
            if is_spread { None } else { origin(&unnest.input, below) }
        }
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(index)? {
            Expr::Column(column) => below(&aggregate.input, column),
            _ => None,
        },
        LogicalPlan::Join(join) => {
            let (relation, field) = join.schema.qualified_field(index);
            let column = PlanColumn::from((relation, field));
            below(&join.left, &column).or_else(|| below(&join.right, &column))
        }
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok()?;
            let relation = Relation::of(provider.as_ref())?;
            let field = scan.projected_schema.field(index);
            let (oid, number) = match &relation.place {
                context::Place::Table(oid) => {
                    (*oid, i16::try_from(relation.state()?.def.column(field.name())?.id).ok()?)
                }
                context::Place::System(schema, table) => system::attribute(schema, table, field.name())?,
                context::Place::Sequence(oid) => {
                    (*oid, i16::try_from(scan.source.schema().index_of(field.name()).ok()? + 1).ok()?)
                }
            };
            Some((oid, number, SqlType::of_field(field)))
        }
        _ => None,
    }
}
