//! WHO: one client, its settings, transaction, prepared statements, portals and cursors.
//!
//! The server speaks protocol and calls: [`Session::parse`] → [`Session::bind`] → [`Session::execute`], then
//! [`Session::sync`], at Sync or at the end of a simple query string (which [`Session::begin_simple`] begins).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast;
use parking_lot::Mutex;
use tidemill_catalog::Oid;
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::record::{Body, Change, Object};
use tidemill_catalog::snapshot::{NameClass, Snapshot};
use tidemill_udfs::types::{SqlType, TextSettings};
use tokio_util::sync::CancellationToken;

use crate::error::{Report, SqlState};
use crate::instance::{Instance, ListedStatement, Listing, SessionHandle};
use crate::plan::access::Accesses;
use crate::plan::{Plan, Planner, Scope};
use crate::plan::{procedure, rights};
use crate::statement::control::Control;
use crate::statement::parse::{Parsed, Statement};
use crate::{Error, Result, statement};

/// SQL cursors.
pub(crate) mod cursor;

/// Bind's parameters to values.
mod decode;

/// Plans of statements that are not ours.
mod plan;

/// Prepared statements, portals, outcomes.
mod portal;

/// LISTEN and NOTIFY.
pub mod notifications;

/// What others do not see of statements.
pub(crate) mod secrets;

/// The settings of a session: GUCs, their defaults, units and transaction-local values.
pub mod settings;

/// What a session knows of sequences.
pub mod sequences;

/// INSERTs that differ only in their constants.
mod shape;

/// How a session begins.
mod start;

/// Stops a running statement: cancel request, timeout.
mod stop;

/// Transactions and savepoints.
pub(crate) mod transaction;

/// Data-modifying queries in WITH.
mod with;

pub use portal::{Column, CopyChunk, CopyIn, CopyOut, Outcome, Parameter, Portal, Prepared, RowsTag};

use cursor::Cursor;
use decode::decode_parameter;
use notifications::{Inbox, OutboxMark, Post};
pub(crate) use plan::changes_data;
use plan::{Made, plan_sql};
use portal::{PlanKind, Planned};
use sequences::Sequences;
use settings::{Often, Settings};
use transaction::OpenTransaction;

/// Who logs in, as the startup packet and authentication said.
#[derive(Debug, Clone)]
pub struct Login {
    /// Role name.
    pub user: String,
    /// Database name.
    pub database: String,
    /// Startup parameters other than user and database (`application_name`, `options` already split into settings, …).
    pub parameters: Vec<(String, String)>,
}

/// One client.
pub struct Session {
    /// The server.
    pub instance: Arc<Instance>,
    /// This client as others see it.
    pub handle: Arc<SessionHandle>,
    /// The database's oid.
    pub(crate) database: Oid,
    /// The role that logged in; [`Self::session_role`] may be another meanwhile.
    pub(crate) login_role: Oid,
    pub(crate) settings: Arc<Mutex<Settings>>,
    /// currval, lastval, and numbers taken ahead.
    pub(crate) sequences: Arc<Mutex<Sequences>>,
    pub(crate) planner: Arc<Planner>,
    /// Temporary tables, as committed.
    pub(crate) temp: Arc<Snapshot>,
    /// The next oid of a temporary object.
    temp_oid: AtomicU32,
    pub(crate) transaction: Option<OpenTransaction>,
    pub(crate) statements: HashMap<String, Arc<Prepared>>,
    shapes: shape::Shapes,
    pub(crate) cursors: HashMap<String, Cursor>,
    /// Temporary tables to drop (true) or empty (false) at commit.
    pub(crate) on_commit: HashMap<Oid, bool>,
    notices: Vec<(&'static str, Report)>,
    reported: HashMap<String, String>,
    reported_generation: Option<u64>,
    text: Option<(u64, Arc<TextSettings>)>,
    /// Keeps flush and compaction off the table that the open transaction's UPDATE or DELETE rewrites.
    hold: Option<tidemill_catalog::store::TableHold>,
    /// Statements of the simple query string that are still to run, the present one included.
    simple_left: usize,
    /// The statement that runs is a transaction of its own, which commits before it is answered.
    alone: bool,
    /// The next protocol message is Sync: a statement that changes data may commit before it is answered.
    sync_follows: bool,
    /// Where it hears notifications.
    post: Post,
    /// Counts portals taken up again: their timeouts begin anew.
    resumed: Arc<AtomicU64>,
}

/// ReadyForQuery's status byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`
    Idle,
    /// `T`
    Active,
    /// `E`
    Failed,
}

impl Session {
    /// ReadyForQuery's status.
    pub fn status(&self) -> TransactionStatus {
        match &self.transaction {
            Some(open) if open.explicit && open.failed => TransactionStatus::Failed,
            Some(open) if open.explicit => TransactionStatus::Active,
            _ => TransactionStatus::Idle,
        }
    }

    /// Notices raised since the last call, oldest first: the server sends them before the next response.
    pub fn take_notices(&mut self) -> Vec<(&'static str, Report)> {
        std::mem::take(&mut self.notices)
    }

    /// Where notifications for the client wait. They may be sent between statements, while no transaction is open.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.post.inbox
    }

    /// Raises a notice: `NOTICE`, `WARNING` or `INFO`.
    pub(crate) fn notice(&mut self, severity: &'static str, code: SqlState, message: impl Into<String>) {
        self.notice_with(severity, Error::new(code, message));
    }

    /// As [`Self::notice`], with all that an error can say.
    pub(crate) fn notice_with(&mut self, severity: &'static str, said: Error) {
        let wanted = self.settings.lock().get("client_min_messages").unwrap_or_default();
        let least = match wanted.as_str() {
            "error" | "fatal" | "panic" => 4,
            "warning" => 3,
            "notice" => 2,
            "log" => 1,
            _ => 0,
        };
        let rank = match severity {
            "DEBUG" => 0,
            "LOG" => 1,
            "NOTICE" => 2,
            "WARNING" => 3,
            // INFO comes always.
            _ => 5,
        };
        if rank >= least {
            self.notices.push((severity, said.report().clone()));
        }
    }

    /// Raises a notice that objects are dropped with what they depend on.
    pub(crate) fn notice_cascade(&mut self, objects: &[String]) {
        let message = match objects {
            [one] => format!("drop cascades to {one}"),
            many => format!("drop cascades to {} other objects", many.len()),
        };
        let before = self.notices.len();
        self.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
        if let ([_, _, ..], Some((_, report))) = (objects, self.notices.get_mut(before)) {
            let lines: Vec<_> = objects.iter().map(|object| format!("drop cascades to {object}")).collect();
            report.detail = Some(lines.join("\n"));
        }
    }

    /// Reported settings that changed since the last call (all of them after [`Self::start`]): ParameterStatus.
    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        if self.reported_generation == Some(self.settings.lock().generation) {
            return vec![];
        }
        self.refresh_superuser();
        let settings = self.settings.lock();
        self.reported_generation = Some(settings.generation);
        let changed: Vec<_> =
            settings.reported().filter(|(name, value)| self.reported.get(name) != Some(value)).collect();
        for (name, value) in &changed {
            if name == "application_name" {
                self.handle.activity.lock().application.clone_from(value);
            }
            self.reported.insert(name.clone(), value.clone());
        }
        changed
    }

    /// Settings that every statement asks for.
    pub fn often(&self) -> Often {
        self.settings.lock().often()
    }

    /// How values print for this session now.
    pub fn text_settings(&mut self) -> Arc<TextSettings> {
        let now = self.transaction.as_ref().map_or_else(|| self.instance.clock.now(), |open| open.started_at);
        let settings = self.settings.lock();
        match &self.text {
            Some((generation, text)) if *generation == settings.generation && text.now_us == now => Arc::clone(text),
            // Only the time moved: reading the settings again would cost more than most small statements.
            Some((generation, text)) if *generation == settings.generation => {
                let text = Arc::new(TextSettings { now_us: now, ..TextSettings::clone(text) });
                self.text = Some((settings.generation, Arc::clone(&text)));
                text
            }
            _ => {
                let text = Arc::new(settings.text(now));
                self.text = Some((settings.generation, Arc::clone(&text)));
                text
            }
        }
    }

    /// The role whose privileges count: SET ROLE's, else [`Self::session_role`]. One that is gone has no privileges.
    pub(crate) fn current_role(&self, snapshot: &Snapshot) -> Oid {
        let role = self.settings.lock().get("role").unwrap_or_default();
        if role == "none" {
            return self.session_role(snapshot);
        }
        snapshot.catalog.find(0, NameClass::Role, &role).map_or(0, |role| role.oid)
    }

    /// `session_user`: SET SESSION AUTHORIZATION's role, else the one that logged in.
    pub(crate) fn session_role(&self, snapshot: &Snapshot) -> Oid {
        match self.settings.lock().given("session_authorization") {
            Some(name) => snapshot.catalog.find(0, NameClass::Role, &name).map_or(0, |role| role.oid),
            None => self.login_role,
        }
    }

    /// The schemas in which names are looked up: those of the search path that the role may use.
    pub(crate) fn search_path(&self, snapshot: &Snapshot, role: Oid) -> Vec<String> {
        let catalog = &snapshot.catalog;
        let name = catalog.get(role).map_or_else(String::new, |role| role.name.clone());
        let mut path = self.settings.lock().search_path(&name);
        if !rights::is_superuser(catalog, role) {
            path.retain(|name| {
                let schema = catalog.find(self.database, NameClass::Schema, name);
                schema.is_none_or(|schema| rights::may(catalog, role, schema, Privileges::USAGE))
            });
        }
        path
    }

    /// 42501 unless the current role has the privileges that a plan or statement needs.
    pub(crate) fn check_access(&mut self, access: &Accesses) -> Result<()> {
        if access.is_empty() {
            return Ok(());
        }
        let open = self.open();
        let (snapshot, temp) = (Arc::clone(open.view()), Arc::clone(open.temp_view()));
        access.check(&snapshot.catalog, &temp.catalog, self.current_role(&snapshot))
    }

    /// Keeps `is_superuser` what it says of the current role.
    pub(crate) fn refresh_superuser(&mut self) {
        let snapshot = match &self.transaction {
            Some(open) => Arc::clone(open.view()),
            None => self.instance.store.snapshot(),
        };
        let now = if rights::is_superuser(&snapshot.catalog, self.current_role(&snapshot)) { "on" } else { "off" };
        let mut settings = self.settings.lock();
        if settings.get("is_superuser").as_deref() != Some(now) {
            settings.set_fact("is_superuser", now);
        }
    }

    /// What names mean to the next statement.
    pub(crate) fn scope(&mut self, cancel: &CancellationToken) -> Arc<Scope> {
        self.scope_for(cancel, None)
    }

    pub(crate) fn scope_for(&mut self, cancel: &CancellationToken, locators: Option<Oid>) -> Arc<Scope> {
        let text = self.text_settings();
        let statement_at = self.handle.activity.lock().query_started_at;
        let (snapshot, temp, transaction, transaction_at, statement_at) = match &self.transaction {
            Some(open) => {
                let (main, temp) = (Arc::clone(open.view()), Arc::clone(open.temp_view()));
                (main, temp, Arc::clone(&open.number), open.started_at, statement_at)
            }
            // A statement alone is its own transaction.
            None => {
                let (main, temp) = (self.instance.store.snapshot(), Arc::clone(&self.temp));
                (main, temp, Arc::default(), text.now_us, text.now_us)
            }
        };
        let role = self.current_role(&snapshot);
        let session_role = self.session_role(&snapshot);
        let search_path = self.search_path(&snapshot, role);
        Arc::new(Scope {
            instance: Arc::clone(&self.instance),
            handle: Arc::clone(&self.handle),
            snapshot,
            temp,
            database: self.database,
            search_path,
            role,
            session_role,
            settings: Arc::clone(&self.settings),
            sequences: Arc::clone(&self.sequences),
            text,
            transaction,
            transaction_at,
            statement_at,
            locators,
            written: vec![],
            cancel: cancel.clone(),
        })
    }

    /// The type with that oid, one that users made included.
    pub fn type_with(&mut self, oid: u32) -> Option<SqlType> {
        SqlType::from_oid(oid, -1).or_else(|| self.scope(&CancellationToken::new()).type_with(oid))
    }

    /// Prepares one statement. `types`: what the client declared; missing or `Unknown` ones are inferred.
    pub async fn parse(&mut self, statement: Option<Parsed>, types: &[SqlType]) -> Result<Arc<Prepared>> {
        let result = self.parse_inner(statement, types, false);
        if result.is_err() {
            self.fail();
        }
        result
    }

    pub(crate) fn parse_inner(
        &mut self,
        statement: Option<Parsed>,
        types: &[SqlType],
        from_sql: bool,
    ) -> Result<Arc<Prepared>> {
        if let Some(parsed) = &statement {
            self.check_not_failed(&parsed.statement)?;
        }
        let (kind, parameters, columns) = match &statement {
            None => (PlanKind::Other, vec![], None),
            Some(parsed) => self.plan(parsed, types).map_err(|error| placed(error, parsed))?,
        };
        Ok(Arc::new(Prepared {
            parsed: statement,
            parameters,
            columns,
            prepared_at: self.instance.clock.now(),
            from_sql,
            declared: types.to_vec(),
            planned: Mutex::new(Planned { kind, validity: self.validity(), permitted: None }),
        }))
    }

    /// What plans depend on besides rows.
    fn validity(&self) -> (u64, u64, u64) {
        let generation = self.settings.lock().generation;
        match &self.transaction {
            Some(open) => (open.view().catalog.version, open.temp_view().catalog.version, generation),
            None => (self.instance.store.snapshot().catalog.version, self.temp.catalog.version, generation),
        }
    }

    fn plan(&mut self, parsed: &Parsed, types: &[SqlType]) -> Result<Made> {
        let sql = match &parsed.statement {
            Statement::Control(control) => {
                return Ok((
                    PlanKind::Other,
                    statement::parameters(control, types, self),
                    statement::columns(control, self)?,
                ));
            }
            Statement::Sql(sql) => sql,
        };
        let scope = self.scope(&CancellationToken::new());
        let planner = Arc::clone(&self.planner);
        let plan_one =
            |scope: &Arc<Scope>, sql: &ast::Statement, types: &[SqlType]| plan_sql(&planner, scope, sql, types);
        match with::plan(&scope, sql, types, &plan_one)? {
            Some(made) => Ok(made),
            None => plan_sql(&planner, &scope, sql, types).map_err(|error| with::explained(error, sql)),
        }
    }

    /// Stores a prepared statement under a name ("" is the unnamed one): 42P05 if a named one exists.
    pub fn store_statement(&mut self, name: &str, prepared: Arc<Prepared>) -> Result<()> {
        if !name.is_empty() && self.statements.contains_key(name) {
            self.fail();
            return Err(Error::new(
                SqlState::DUPLICATE_PSTATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        if !name.is_empty() {
            let listed = ListedStatement {
                text: prepared.parsed.as_ref().map_or_else(|| Arc::from(""), |parsed| Arc::clone(&parsed.text)),
                prepared_at: prepared.prepared_at,
                parameters: prepared.parameters.iter().map(SqlType::oid).collect(),
                from_sql: prepared.from_sql,
            };
            self.listing().lock().statements.insert(name.to_owned(), listed);
        }
        self.statements.insert(name.to_owned(), prepared);
        Ok(())
    }

    /// The prepared statement of that name: 26000 if there is none.
    pub fn statement(&self, name: &str) -> Result<Arc<Prepared>> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            Error::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    /// Close (statement): no error if there is none.
    pub fn close_statement(&mut self, name: &str) {
        if self.statements.remove(name).is_some() && !name.is_empty() {
            self.listing().lock().statements.remove(name);
        }
    }

    /// Closes all prepared statements.
    pub(crate) fn close_statements(&mut self) {
        self.statements.clear();
        self.listing().lock().statements.clear();
    }

    fn listing(&self) -> Arc<Mutex<Listing>> {
        Arc::clone(&self.handle.activity.lock().listing)
    }

    /// Tells pg_cursors of the cursors now open.
    pub(crate) fn list_cursors(&self) {
        let cursors = self.cursors.iter().map(|(name, cursor)| (name.clone(), cursor.listed.clone())).collect();
        self.listing().lock().cursors = cursors;
    }

    /// Tells that a suspended portal goes on: the time it stood still does not count for its timeout.
    pub fn resume(&self) {
        self.resumed.fetch_add(1, Ordering::Relaxed);
    }

    /// Binds values: 08P01 for a wrong number, 22P02/22P03 for a bad value.
    pub fn bind(
        &mut self,
        prepared: &Arc<Prepared>,
        parameters: Vec<Parameter>,
        result_formats: Vec<i16>,
    ) -> Result<Portal> {
        let result = self.bind_inner(prepared, &parameters, result_formats);
        if result.is_err() {
            self.fail();
        }
        result
    }

    fn bind_inner(
        &mut self,
        prepared: &Arc<Prepared>,
        parameters: &[Parameter],
        result_formats: Vec<i16>,
    ) -> Result<Portal> {
        if let Some(parsed) = &prepared.parsed {
            self.check_not_failed(&parsed.statement)?;
        }
        if parameters.len() != prepared.parameters.len() {
            return Err(Error::new(
                SqlState::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {} parameters, but prepared statement \"\" requires {}",
                    parameters.len(),
                    prepared.parameters.len()
                ),
            ));
        }
        let deeper = decode::with_dimensions(&prepared.parameters, parameters);
        let prepared = match (&deeper, &prepared.parsed) {
            (Some(types), Some(parsed)) => &self.parse_inner(Some(parsed.clone()), types, false)?,
            _ => prepared,
        };
        let text = self.text_settings();
        // Objects may come by name.
        let named = prepared.parameters.iter().any(decode::may_be_name);
        let scope = named.then(|| self.scope(&CancellationToken::new()));
        let values = prepared
            .parameters
            .iter()
            .zip(parameters)
            .enumerate()
            .map(|(at, (sql_type, parameter))| {
                decode_parameter(sql_type, parameter, &text, scope.as_deref()).map_err(|mut error| {
                    error.report_mut().context = Some(format!("unnamed portal parameter ${}", at + 1));
                    error
                })
            })
            .collect::<Result<Vec<_>>>()?;
        self.portal(prepared, values, result_formats)
    }

    /// A portal with values already decoded; plans anew if the catalog changed since the statement was prepared.
    pub(crate) fn portal(
        &mut self,
        prepared: &Arc<Prepared>,
        values: Vec<ScalarValue>,
        result_formats: Vec<i16>,
    ) -> Result<Portal> {
        if let Some(parsed) = &prepared.parsed
            && prepared.planned.lock().validity != self.validity()
        {
            let (kind, parameters, columns) = self
                .plan(parsed, if prepared.declared.is_empty() { &prepared.parameters } else { &prepared.declared })
                .map_err(|error| placed(error, parsed))?;
            if columns != prepared.columns || parameters != prepared.parameters {
                // pgjdbc and asyncpg know by the routine that they may prepare the statement again.
                let error = Error::new(SqlState::FEATURE_NOT_SUPPORTED, "cached plan must not change result type");
                return Err(error.routine("RevalidateCachedQuery"));
            }
            *prepared.planned.lock() = Planned { kind, validity: self.validity(), permitted: None };
        }
        Ok(Portal { prepared: Arc::clone(prepared), result_formats, columns: prepared.columns.clone(), values })
    }

    /// Begins a simple query string of `statements` statements: several form one implicit transaction.
    pub fn begin_simple(&mut self, statements: usize) {
        self.simple_left = statements;
    }

    /// Tells before [`Self::execute`] that the client's next message is Sync: then a change commits before its answer.
    pub fn expect_sync(&mut self) {
        self.sync_follows = true;
    }

    /// Runs a portal from its beginning. The transaction state moves as PostgreSQL's does; an error marks the transaction
    /// failed. The caller keeps the outcome while it suspends the portal (max_rows).
    pub async fn execute(&mut self, portal: &Portal) -> Result<Outcome> {
        let last = std::mem::take(&mut self.sync_follows) || self.simple_left == 1;
        let alone = last && self.transaction.is_none();
        self.alone = alone;
        self.simple_left = self.simple_left.saturating_sub(1);
        for attempt in 0.. {
            let result = self.execute_once(portal, last).await;
            match result {
                // Another transaction got there first. Alone, the statement has seen nothing that binds it: try again.
                Err(error)
                    if alone && attempt < RETRIES_MAX && error.code() == &SqlState::T_R_SERIALIZATION_FAILURE =>
                {
                    self.rollback();
                    tokio::time::sleep(Duration::from_millis(1 << attempt)).await;
                }
                Err(error) => {
                    self.fail();
                    return Err(match &portal.prepared.parsed {
                        Some(parsed) => placed(error, parsed),
                        None => error,
                    });
                }
                ok => return ok,
            }
        }
        unreachable!("the loop returns")
    }

    async fn execute_once(&mut self, portal: &Portal, last: bool) -> Result<Outcome> {
        let Some(parsed) = &portal.prepared.parsed else { return Ok(Outcome::Empty) };
        self.check_not_failed(&parsed.statement)?;
        let stop = stop::Stop::new(self);
        let outcome = {
            let work = std::pin::pin!(self.dispatch(portal, parsed, &stop.token));
            stop.guard(work).await?
        };
        let outcome = stop.watch(outcome);
        // Streams read a snapshot and need no transaction: all but COPY IN is done. But rows may still end in an error,
        // which takes back what statements before it in the same transaction did.
        let unsure = matches!(outcome, Outcome::Rows { tag: RowsTag::Counted(_), .. } | Outcome::CopyOut(_))
            && self.transaction.as_ref().is_some_and(|open| open.has_changes());
        if last
            && !unsure
            && !matches!(outcome, Outcome::CopyIn(_))
            && self.transaction.as_ref().is_some_and(|open| !open.explicit)
        {
            self.commit().await?;
        }
        Ok(outcome)
    }

    /// Runs a portal as part of a statement that already runs (EXECUTE, DECLARE, CREATE TABLE AS).
    pub(crate) async fn run_inner(&mut self, portal: &Portal, cancel: &CancellationToken) -> Result<Outcome> {
        match &portal.prepared.parsed {
            Some(parsed) => self.dispatch(portal, parsed, cancel).await,
            None => Ok(Outcome::Empty),
        }
    }

    /// The portal is a statement of the server's: it runs whatever the current role may do.
    pub(crate) fn permit(&mut self, portal: &Portal) {
        self.ensure_transaction();
        portal.prepared.planned.lock().permitted = Some(self.validity());
    }

    async fn dispatch(&mut self, portal: &Portal, parsed: &Parsed, cancel: &CancellationToken) -> Result<Outcome> {
        if let Statement::Control(control) = &parsed.statement {
            // Boxed, as the others below: a future as large as the largest statement would be moved for the smallest.
            return Box::pin(statement::execute(self, control, parsed, portal, cancel)).await;
        }
        let (kind, permitted) = {
            let planned = portal.prepared.planned.lock();
            (planned.kind.clone(), planned.permitted)
        };
        if let Some(table) =
            kind.rewritten().filter(|table| self.transaction.is_none() && !transaction::is_temporary(*table))
        {
            // Before the snapshot: then only other statements can be in the way, not the server's own work.
            self.hold = Some(self.instance.store.hold(table).await);
        }
        self.ensure_transaction();
        // As long as neither objects nor settings change, who may once may again.
        let validity = self.validity();
        if permitted != Some(validity) {
            if let Some(access) = kind.access() {
                self.check_access(&access)?;
            }
            portal.prepared.planned.lock().permitted = Some(validity);
        }
        self.run_kind(kind, portal, cancel).await
    }

    async fn run_kind(&mut self, kind: PlanKind, portal: &Portal, cancel: &CancellationToken) -> Result<Outcome> {
        self.open().queried = true;
        match kind {
            PlanKind::With(plan) => Box::pin(self.execute_with(&plan, portal, cancel)).await,
            PlanKind::Query(plan) if plan.program.is_some() => self.constant_row(plan, &portal.values, cancel),
            PlanKind::Query(plan) => Box::pin(self.query(plan, portal, cancel)).await,
            PlanKind::Insert(plan) => match &plan.program {
                Some(program) if plan.returning.is_none() => {
                    statement::insert::values(self, plan.table, program, &portal.values, cancel).await
                }
                _ => Box::pin(statement::insert::execute(self, &plan, &portal.values, cancel)).await,
            },
            PlanKind::Modify(plan, command) => {
                let scope = self.scope_for(cancel, Some(plan.table));
                Box::pin(statement::modify::execute(self, &scope, &plan, command, &portal.values)).await
            }
            PlanKind::Merge(plan) => {
                let scope = self.scope_for(cancel, Some(plan.table));
                Box::pin(statement::merge::execute(self, &scope, &plan, &portal.values)).await
            }
            PlanKind::Other => Err(Error::internal("a statement without a plan")),
        }
    }

    /// A query without FROM whose row depends on nothing but its parameters.
    fn constant_row(&mut self, plan: Plan, values: &[ScalarValue], cancel: &CancellationToken) -> Result<Outcome> {
        let program = plan.program.as_ref().ok_or_else(|| Error::internal("no program"))?;
        let transaction_at = self.open().started_at;
        let statement_at = self.handle.activity.lock().query_started_at;
        let scope = program.has_numbers().then(|| self.scope(cancel));
        let batch = program.evaluate(values, transaction_at, statement_at, scope.as_deref())?;
        let schema = batch.schema();
        let rows = futures::stream::iter([Ok(batch)]);
        Ok(Outcome::Rows {
            stream: Box::pin(datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(schema, rows)),
            columns: plan.columns,
            tag: RowsTag::Counted("SELECT"),
        })
    }

    async fn query(&mut self, plan: Plan, portal: &Portal, cancel: &CancellationToken) -> Result<Outcome> {
        let plan = self.with_procedures(plan, cancel).await?;
        let scope = self.scope(cancel);
        let planner = Arc::clone(&self.planner);
        let plan = planner.displayed(&scope, plan, &portal.result_formats)?;
        let physical = planner.physical(&scope, &plan, &portal.values).await?;
        Ok(Outcome::Rows {
            stream: planner.run(&scope, physical)?,
            columns: plan.columns,
            tag: RowsTag::Counted("SELECT"),
        })
    }

    /// The plan with what its procedures gave in their place.
    async fn with_procedures(&mut self, plan: Plan, cancel: &CancellationToken) -> Result<Plan> {
        let calls = procedure::calls(&plan)?;
        if calls.is_empty() {
            return Ok(plan);
        }
        let mut results = vec![];
        for call in &calls {
            results.push(Box::pin(statement::procedure(self, call, cancel)).await?);
        }
        procedure::with_results(plan, results)
    }

    /// In a failed transaction only its end is heard: 25P02.
    fn check_not_failed(&self, statement: &Statement) -> Result<()> {
        let ends = matches!(
            statement,
            Statement::Control(control)
                if matches!(control.as_ref(), Control::Commit { .. } | Control::Rollback { .. } | Control::RollbackTo(_))
        );
        if !ends && self.transaction.as_ref().is_some_and(|open| open.failed) {
            return Err(aborted());
        }
        Ok(())
    }

    /// Opens an implicit transaction if none is open.
    pub(crate) fn ensure_transaction(&mut self) {
        if self.transaction.is_none() {
            self.open_transaction(false);
        }
    }

    pub(crate) fn open_transaction(&mut self, explicit: bool) {
        // now() is when the statement came, as statement_timestamp() is.
        let now = match self.handle.activity.lock().query_started_at {
            0 => self.instance.clock.now(),
            started => started,
        };
        let mut settings = self.settings.lock();
        let read_only = settings.often().read_only;
        let mut open = OpenTransaction::new(
            self.instance.store.snapshot(),
            Arc::clone(&self.temp),
            explicit,
            now,
            settings.layers().clone(),
        );
        open.read_only = read_only;
        self.transaction = Some(open);
        self.handle.activity.lock().transaction_started_at = Some(now);
    }

    /// The open transaction; [`Self::ensure_transaction`] came before.
    pub(crate) fn open(&mut self) -> &mut OpenTransaction {
        self.ensure_transaction();
        self.transaction.as_mut().expect("just ensured")
    }

    /// Applies changes to the open transaction.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> Result<()> {
        self.open().apply(changes)
    }

    /// As [`Self::apply`], for the last change of a statement: where that is a transaction of its own, nobody would see what
    /// applying it gives before it commits.
    pub(crate) fn apply_last(&mut self, changes: Vec<Change>) -> Result<()> {
        if self.alone { self.open().apply_unseen(changes) } else { self.apply(changes) }
    }

    /// The statement has statements in it, and each sees what those before it did: see [`Self::apply_last`].
    pub(crate) fn has_steps(&mut self) {
        self.alone = false;
    }

    /// 25006 in a read-only transaction.
    pub(crate) fn require_writable(&mut self, command: &str) -> Result<()> {
        if self.open().read_only {
            return Err(Error::new(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {command} in a read-only transaction"),
            ));
        }
        Ok(())
    }

    /// A fresh oid for a temporary or permanent object.
    pub(crate) fn fresh_oid(&self, temporary: bool) -> Oid {
        if temporary { self.temp_oid.fetch_add(1, Ordering::Relaxed) } else { self.instance.store.next_oid() }
    }

    /// A statement failed after [`Self::execute`] returned (in its stream, or in the protocol): marks the transaction.
    pub fn fail(&mut self) {
        self.simple_left = 0;
        self.sync_follows = false;
        match &mut self.transaction {
            Some(open) if open.explicit => open.failed = true,
            Some(_) => self.rollback(),
            // A query of pg_notify() may fail after its transaction is over.
            None => self.handle.outbox.lock().back_to(OutboxMark::default()),
        }
    }

    /// Commits the implicit transaction, if no explicit one is open: at the end of a simple query string, and at Sync.
    pub async fn sync(&mut self) -> Result<()> {
        self.simple_left = 0;
        self.sync_follows = false;
        match &self.transaction {
            Some(open) if open.explicit => Ok(()),
            Some(_) => self.commit().await,
            None => {
                // A query of pg_notify() sends while it is read.
                let outbox = std::mem::take(&mut *self.handle.outbox.lock());
                if !outbox.is_empty() {
                    self.post.publish(self.database, outbox);
                }
                Ok(())
            }
        }
    }

    /// Commits the open transaction. On error it is rolled back.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        self.apply_on_commit()?;
        let Some(open) = self.transaction.take() else { return Ok(()) };
        let before = open.settings.clone();
        let (changes, temp) = open.finish();
        let outbox = std::mem::take(&mut *self.handle.outbox.lock());
        let hub = Arc::clone(&self.instance.notifications);
        let turn = if outbox.is_empty() { None } else { Some(hub.turn.lock().await) };
        let result = if changes.is_empty() { Ok(0) } else { self.instance.store.commit(changes).await };
        match result {
            Ok(_) => {
                if turn.is_some() {
                    self.post.publish(self.database, outbox);
                }
                drop(turn);
                self.temp = temp;
                self.settings.lock().end_transaction();
            }
            Err(error) => {
                self.settings.lock().restore(before);
                self.settings.lock().end_transaction();
                self.end_transaction(false);
                return Err(error.into());
            }
        }
        self.end_transaction(true);
        Ok(())
    }

    /// ON COMMIT DROP and ON COMMIT DELETE ROWS.
    fn apply_on_commit(&mut self) -> Result<()> {
        if self.on_commit.is_empty() || self.transaction.is_none() {
            return Ok(());
        }
        let temp = Arc::clone(self.open().temp_view());
        let mut changes = vec![];
        self.on_commit.retain(|oid, drop| {
            if *drop && temp.catalog.get(*oid).is_some() {
                changes.push(Change::Remove(*oid));
                let owned = |object: &&Arc<Object>| match &object.body {
                    Body::Sequence(def) => def.owned_by.is_some_and(|(table, _)| table == *oid),
                    _ => false,
                };
                let owned = temp.catalog.objects.values().filter(owned);
                changes.extend(owned.map(|sequence| Change::Remove(sequence.oid)));
            } else if let Some(table) = temp.table(*oid) {
                changes.push(Change::Write(statement::table::removal_of_all(table)));
            }
            !*drop && temp.catalog.get(*oid).is_some()
        });
        if changes.is_empty() { Ok(()) } else { self.apply(changes) }
    }

    /// Forgets the open transaction's changes.
    pub(crate) fn rollback(&mut self) {
        self.handle.outbox.lock().back_to(OutboxMark::default());
        if let Some(open) = self.transaction.take() {
            let mut settings = self.settings.lock();
            settings.restore(open.settings);
            settings.end_transaction();
        }
        self.end_transaction(false);
    }

    fn end_transaction(&mut self, committed: bool) {
        // A cursor WITH HOLD reads its own snapshot: it outlives a commit, not the rollback of what declared it.
        if !self.cursors.is_empty() {
            self.cursors.retain(|_, cursor| {
                let keep = cursor.held || (cursor.hold && committed);
                cursor.held = keep;
                keep
            });
            self.list_cursors();
        }
        self.hold = None;
        self.handle.activity.lock().transaction_started_at = None;
    }

    /// The columns of a cursor that DECLARE made.
    pub fn cursor_columns(&self, name: &str) -> Option<&[Column]> {
        self.cursors.get(name).map(|cursor| cursor.columns.as_slice())
    }

    /// Closes a cursor that DECLARE made, if there is one.
    pub fn close_cursor(&mut self, name: &str) {
        self.cursors.remove(name);
    }

    /// Ends the session: rolls back, drops temporary tables.
    pub fn end(mut self) {
        self.rollback();
    }
}

/// Times a lone statement is tried again after another transaction got there first.
const RETRIES_MAX: u32 = 8;

/// 25P02
pub fn aborted() -> Error {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    Error::new(SqlState::IN_FAILED_SQL_TRANSACTION, message)
}

/// Turns a byte offset in the statement into a character position in the client's text.
fn placed(error: Error, parsed: &Parsed) -> Error {
    let mut error = error.resolve(&parsed.text);
    let report = error.report_mut();
    if let (Some(offset), None) = (report.offset.take(), report.position) {
        let before = parsed.text.get(..offset.min(parsed.text.len())).unwrap_or(&parsed.text);
        report.position = Some(parsed.offset + before.chars().count() + 1);
    }
    error
}
