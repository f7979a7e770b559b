//! Names of one statement: relations through the search path, views expanded, functions ours and the system's.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{
    Column, Constraint, Constraints, DFSchema, DataFusionError, ScalarValue, Statistics, TableReference,
};
use datafusion::datasource::{TableType, provider_as_source};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableProviderFilterPushDown,
    TableSource, WindowUDF,
};
use datafusion::physical_plan::ExecutionPlan;
use tidemill_catalog::Oid;
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::record::{Body, Object, ViewDef, ViewRelation};
use tidemill_catalog::sequence::SequenceDef;
use tidemill_catalog::snapshot::{NameClass, Snapshot};
use tidemill_catalog::table::scan::SnapshotTable;
use tidemill_udfs::types::SqlType;

use super::pending::{PendingAggregate, PendingFunction, PendingWindow};
use super::registry::{self, REGISTRY};
use super::sequence_row::{COLUMNS, SequenceRow};
use super::typing::{Sight, Typed, Typing};
use super::{Planner, Scope, TEMP_SCHEMA, access, engine, procedure, rights, system};
use crate::Result;
use crate::error::{Error, SqlState};

/// What a relation name stands for.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// A table or view of the catalog, and the snapshot it is in (the session's own for temporary ones).
    Object(Arc<Object>, Arc<Snapshot>),
    /// A system relation, by schema and name.
    System(String, Arc<dyn TableProvider>),
}

impl Scope {
    /// What a relation name means here.
    ///
    /// # Errors
    /// 42P01 unknown relation, 3F000 unknown schema, 0A000 another database.
    pub fn resolve(self: &Arc<Self>, database: Option<&str>, schema: Option<&str>, name: &str) -> Result<Resolved> {
        let shown = || match schema {
            Some(schema) => format!("{schema}.{name}"),
            None => name.to_owned(),
        };
        if let Some(database) = database {
            let own = self.snapshot.catalog.get(self.database).map_or("", |object| object.name.as_str());
            if database != own {
                return Err(Error::unsupported(format!(
                    "cross-database references are not implemented: \"{database}.{}\"",
                    shown()
                )));
            }
        }
        let missing = || Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", shown()));
        match schema {
            Some(schema) => {
                self.require_usage(schema)?;
                if let Some(found) = self.resolve_in(schema, name) {
                    return Ok(found);
                }
                Err(missing())
            }
            None => {
                if let Some(found) = self.resolve_in("pg_temp", name) {
                    return Ok(found);
                }
                if !self.search_path.iter().any(|schema| schema == "pg_catalog")
                    && let Some(found) = self.resolve_in("pg_catalog", name)
                {
                    return Ok(found);
                }
                self.search_path.iter().find_map(|schema| self.resolve_in(schema, name)).ok_or_else(missing)
            }
        }
    }

    /// 42501 if the role may not look into the schema, should there be one.
    fn require_usage(&self, schema: &str) -> Result<()> {
        let catalog = &self.snapshot.catalog;
        match catalog.find(self.database, NameClass::Schema, schema) {
            Some(object) if !rights::may(catalog, self.role, object, Privileges::USAGE) => Err(rights::denied(object)),
            _ => Ok(()),
        }
    }

    /// The relation of that name in one schema.
    pub fn resolve_in(self: &Arc<Self>, schema: &str, name: &str) -> Option<Resolved> {
        if schema == "pg_temp" || schema.starts_with("pg_temp_") {
            let object = self.temp.catalog.find(TEMP_SCHEMA, NameClass::Relation, name)?;
            return Some(Resolved::Object(Arc::clone(object), Arc::clone(&self.temp)));
        }
        if let Some(parent) = self.snapshot.catalog.find(self.database, NameClass::Schema, schema)
            && let Some(object) = self.snapshot.catalog.find(parent.oid, NameClass::Relation, name)
        {
            return Some(Resolved::Object(Arc::clone(object), Arc::clone(&self.snapshot)));
        }
        system::relation(self, schema, name).map(|provider| Resolved::System(schema.to_owned(), provider))
    }

    /// The object with that oid, temporary ones included.
    pub(super) fn object(&self, oid: Oid) -> Option<Arc<Object>> {
        let snapshot = if oid >= TEMP_SCHEMA { &self.temp } else { &self.snapshot };
        snapshot.catalog.get(oid).cloned()
    }

    /// The table with that oid, temporary ones included.
    pub fn table(&self, oid: Oid) -> Option<Arc<tidemill_catalog::snapshot::TableState>> {
        let snapshot = if oid >= TEMP_SCHEMA { &self.temp } else { &self.snapshot };
        snapshot.table(oid).map(Arc::clone)
    }

    fn table_provider(&self, oid: Oid, keyed: bool) -> Result<Arc<dyn TableProvider>> {
        self.table_at(oid, self.locators == Some(oid), keyed)
    }

    /// `keyed`: it tells its primary key.
    fn table_at(&self, oid: Oid, locators: bool, keyed: bool) -> Result<Arc<dyn TableProvider>> {
        let state = self
            .table(oid)
            .ok_or_else(|| Error::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {oid} does not exist")))?;
        // A relation of the session may show rows of a table of the catalog: its files are there.
        let store = (state.oid < TEMP_SCHEMA).then(|| Arc::clone(&self.instance.store));
        let places = || state.def.primary_key.iter().map(|name| state.schema.index_of(name).ok()).collect();
        let places: Option<Vec<usize>> = if keyed { places() } else { None };
        let key = places.filter(|places| !places.is_empty());
        let key = key.map(|places| Constraints::new_unverified(vec![Constraint::PrimaryKey(places)]));
        let table = SnapshotTable { store, state, locators };
        Ok(Arc::new(Relation { place: Place::Table(oid), locators, provider: Arc::new(table), key }))
    }

    /// A copy of this scope that differs in one thing.
    fn with(&self, change: impl FnOnce(&mut Self)) -> Arc<Self> {
        let mut copy = Self {
            instance: Arc::clone(&self.instance),
            handle: Arc::clone(&self.handle),
            snapshot: Arc::clone(&self.snapshot),
            temp: Arc::clone(&self.temp),
            database: self.database,
            search_path: self.search_path.clone(),
            role: self.role,
            session_role: self.session_role,
            settings: Arc::clone(&self.settings),
            sequences: Arc::clone(&self.sequences),
            text: Arc::clone(&self.text),
            transaction: Arc::clone(&self.transaction),
            transaction_at: self.transaction_at,
            statement_at: self.statement_at,
            locators: self.locators,
            written: self.written.clone(),
            cancel: self.cancel.clone(),
        };
        change(&mut copy);
        Arc::new(copy)
    }

    /// This scope with other temporary objects.
    pub(crate) fn with_temp(&self, temp: Arc<Snapshot>) -> Arc<Self> {
        self.with(|scope| scope.temp = temp)
    }

    /// This scope with one more data-modifying query of WITH.
    pub(crate) fn with_written(&self, schema: SchemaRef) -> Arc<Self> {
        self.with(|scope| scope.written.push(schema))
    }

    /// This scope with the locators of one table visible (or of none).
    pub(super) fn with_locators(&self, table: Option<Oid>) -> Arc<Self> {
        self.with(|scope| scope.locators = table)
    }
}

/// Where a relation came from, so that it can be found again on another snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A table of the catalog.
    Table(Oid),
    /// A sequence.
    Sequence(Oid),
    /// A system relation.
    System(String, String),
}

/// A relation of a plan: a provider that remembers its place.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) place: Place,
    /// A table read with its rows' places, as the target of UPDATE and DELETE is.
    locators: bool,
    provider: Arc<dyn TableProvider>,
    /// The primary key: what stands beside it in GROUP BY's place needs no mention.
    key: Option<Constraints>,
}

/// A sequence as a relation.
fn sequence(oid: Oid, def: &Arc<SequenceDef>) -> Arc<dyn TableProvider> {
    let provider = Arc::new(SequenceRow::new(def));
    Arc::new(Relation { place: Place::Sequence(oid), locators: false, provider, key: None })
}

/// A relation's columns without its rows: what a plan that is kept holds, so that it keeps no snapshot alive.
#[derive(Debug)]
struct Columns(SchemaRef);

#[async_trait]
impl TableProvider for Columns {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        Err(Error::internal("a plan that was not bound to a snapshot").into())
    }
}

impl Relation {
    /// The relation behind a plan's source.
    pub(super) fn of(provider: &dyn TableProvider) -> Option<&Self> {
        (provider as &dyn Any).downcast_ref()
    }

    /// The table's rows, if it is a table of the catalog.
    pub(super) fn state(&self) -> Option<&Arc<tidemill_catalog::snapshot::TableState>> {
        (&*self.provider as &dyn Any).downcast_ref::<SnapshotTable>().map(|table| &table.state)
    }

    /// The same relation without rows.
    pub(super) fn unbound(&self) -> Arc<dyn TableProvider> {
        let provider = Arc::new(Columns(self.provider.schema()));
        Arc::new(Self { place: self.place.clone(), locators: self.locators, provider, key: self.key.clone() })
    }

    /// The same relation as another scope sees it.
    pub(super) fn again(&self, scope: &Arc<Scope>) -> Result<Arc<dyn TableProvider>> {
        match &self.place {
            Place::Table(oid) => {
                // A plan of UPDATE reads its target with locators, wherever it runs.
                scope.table_at(*oid, self.locators, self.key.is_some())
            }
            Place::Sequence(oid) => match scope.object(*oid).map(|object| object.body.clone()) {
                Some(Body::Sequence(def)) => Ok(sequence(*oid, &def)),
                _ => Err(Error::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {oid} does not exist"))),
            },
            Place::System(schema, name) => {
                let provider = system::relation(scope, schema, name).ok_or_else(|| {
                    Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
                })?;
                Ok(Arc::new(Self { place: self.place.clone(), locators: false, provider, key: None }))
            }
        }
    }
}

#[async_trait]
impl TableProvider for Relation {
    fn schema(&self) -> SchemaRef {
        self.provider.schema()
    }

    fn table_type(&self) -> TableType {
        self.provider.table_type()
    }

    fn constraints(&self) -> Option<&Constraints> {
        self.key.as_ref()
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        self.provider.get_logical_plan()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        self.provider.scan(state, projection, filters, limit).await
    }

    async fn scan_with_args<'a>(
        &self,
        state: &dyn Session,
        args: ScanArgs<'a>,
    ) -> datafusion::common::Result<ScanResult> {
        self.provider.scan_with_args(state, args).await
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::common::Result<Vec<TableProviderFilterPushDown>> {
        self.provider.supports_filters_pushdown(filters)
    }

    fn statistics(&self) -> Option<Statistics> {
        self.provider.statistics()
    }
}

/// A view while names are resolved: its plan stands in its place.
struct ViewSource {
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl TableSource for ViewSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

/// Views inside views deeper than this are refused (54001).
const VIEW_DEPTH_MAX: usize = 64;

/// DataFusion's window on a [`Scope`].
pub(super) struct Names<'a> {
    pub(super) planner: &'a Planner,
    pub(super) scope: &'a Arc<Scope>,
    pub(super) view_depth: usize,
    /// The view whose text is planned: what its names stand for.
    pub(super) view: Option<&'a ViewDef>,
    /// The tables and views that were named, each once.
    pub(super) used: std::cell::RefCell<Vec<Oid>>,
    /// The names as written, and what they stand for.
    pub(super) written: std::cell::RefCell<Vec<ViewRelation>>,
    /// Tables tell their primary keys: what follows from one needs no mention in GROUP BY. Only for a statement that lives from
    /// that, as the planner then groups by all of such a table's columns, which asks for the privileges of all.
    pub(super) keyed: std::cell::Cell<bool>,
}

impl<'a> Names<'a> {
    pub(super) fn new(planner: &'a Planner, scope: &'a Arc<Scope>, view_depth: usize) -> Self {
        let (used, written) = (std::cell::RefCell::default(), std::cell::RefCell::default());
        Self { planner, scope, view_depth, view: None, used, written, keyed: std::cell::Cell::new(false) }
    }

    /// What a name of the view's text was bound to when the view was made.
    fn bound(&self, parts: &[&str]) -> Option<&'a ViewRelation> {
        self.view?.relations.iter().find(|relation| relation.name.iter().eq(parts.iter()))
    }

    /// The columns of a relation by the names it has here; `None` if there is no such relation.
    pub(super) fn columns_of(&self, parts: &[String]) -> Option<Vec<String>> {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if let Some(relation) = self.bound(&parts) {
            let object = self.scope.object(relation.oid)?;
            let known = numbered(&object);
            let kept = relation.columns.iter().filter(|(id, _)| known.iter().any(|(other, _)| other == id));
            return Some(kept.map(|(_, name)| name.clone()).collect());
        }
        if let [name] = parts.as_slice()
            && let Some(written) = procedure::written(self.scope, name)
        {
            return Some(written.schema.fields().iter().map(|field| field.name().clone()).collect());
        }
        let (database, schema, name) = match parts.as_slice() {
            [name] => (None, None, *name),
            [schema, name] => (None, Some(*schema), *name),
            [database, schema, name] => (Some(*database), Some(*schema), *name),
            _ => return None,
        };
        match self.scope.resolve(database, schema, name).ok()? {
            Resolved::Object(object, _) => Some(numbered(&object).into_iter().map(|(_, name)| name).collect()),
            Resolved::System(_, provider) => {
                Some(provider.schema().fields().iter().map(|field| field.name().clone()).collect())
            }
        }
    }

    fn view(&self, oid: Oid, view: &ViewDef) -> Result<Arc<dyn TableSource>> {
        if self.view_depth >= VIEW_DEPTH_MAX {
            return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded"));
        }
        let plan = LogicalPlanBuilder::from(self.view_plan(view)?).alias(access::view_alias(oid))?.build()?;
        let schema = Arc::clone(plan.schema().inner());
        Ok(Arc::new(ViewSource { plan, schema }))
    }

    /// A view's query with names resolved.
    pub(super) fn view_plan(&self, view: &ViewDef) -> Result<LogicalPlan> {
        let scope = self.scope.with(|scope| {
            scope.search_path.clone_from(&view.search_path);
            scope.locators = None;
        });
        self.planner.view(&scope, view, self.view_depth + 1)
    }

    /// Arguments of a function in FROM as values with their types.
    fn constants(&self, args: Vec<Expr>) -> Result<Vec<(ScalarValue, SqlType)>> {
        let schema = DFSchema::empty();
        let mut typing = Typing::new(self.scope, &[]);
        args.into_iter()
            .map(|arg| {
                let value = typing.expression(arg, &Sight { schema: &schema, outer: &[] })?;
                Ok((self.planner.evaluate(self.scope, &value.expr)?, value.sql_type))
            })
            .collect()
    }

    fn object_source(&self, object: &Object) -> Result<Arc<dyn TableSource>> {
        let mut used = self.used.borrow_mut();
        if !used.contains(&object.oid) {
            used.push(object.oid);
        }
        drop(used);
        match &object.body {
            Body::Table(_) => Ok(provider_as_source(self.scope.table_provider(object.oid, self.keyed.get())?)),
            Body::View(view) => self.view(object.oid, view),
            Body::Sequence(def) => Ok(provider_as_source(sequence(object.oid, def))),
            _ => Err(Error::internal("a relation that is neither table nor view")),
        }
    }

    /// A relation with the columns, and under the names, that it had when the view was made.
    fn bound_source(&self, name: &TableReference, relation: &ViewRelation) -> Result<Arc<dyn TableSource>> {
        let object = self.scope.object(relation.oid).ok_or_else(|| {
            let message = format!("relation \"{}\" does not exist", relation.name.join("."));
            Error::new(SqlState::UNDEFINED_TABLE, message)
        })?;
        let source = self.object_source(&object)?;
        let known = numbered(&object);
        if known == relation.columns {
            return Ok(source);
        }
        let exprs: Vec<Expr> = relation
            .columns
            .iter()
            .filter_map(|(id, then)| {
                let (_, now) = known.iter().find(|(other, _)| other == id)?;
                Some(Expr::Column(Column::new_unqualified(now)).alias(then))
            })
            .collect();
        let plan =
            LogicalPlanBuilder::scan(name.clone(), source, None)?.project(exprs)?.alias(access::RENAMED)?.build()?;
        let schema = Arc::clone(plan.schema().inner());
        Ok(Arc::new(ViewSource { plan, schema }))
    }

    fn source(&self, name: &TableReference) -> Result<Arc<dyn TableSource>> {
        let parts: Vec<&str> = name.catalog().into_iter().chain(name.schema()).chain([name.table()]).collect();
        if let Some(relation) = self.bound(&parts) {
            return self.bound_source(name, relation);
        }
        if let ([_], Some(written)) = (parts.as_slice(), procedure::written(self.scope, name.table())) {
            return Ok(provider_as_source(written));
        }
        match self.scope.resolve(name.catalog(), name.schema(), name.table())? {
            Resolved::System(schema, provider) => {
                let place = Place::System(schema, name.table().to_owned());
                Ok(provider_as_source(Arc::new(Relation { place, locators: false, provider, key: None })))
            }
            Resolved::Object(object, _) => {
                let name = parts.into_iter().map(str::to_owned).collect();
                let relation = ViewRelation { name, oid: object.oid, columns: numbered(&object) };
                let mut written = self.written.borrow_mut();
                if !written.contains(&relation) {
                    written.push(relation);
                }
                drop(written);
                self.object_source(&object)
            }
        }
    }
}

/// A relation's columns by number and name.
fn numbered(object: &Object) -> Vec<(i32, String)> {
    let columns = match &object.body {
        Body::Table(def) => &def.columns,
        Body::View(view) => &view.columns,
        Body::Sequence(_) => {
            return (1..).zip(COLUMNS).map(|(number, (name, _))| (number, name.to_owned())).collect();
        }
        _ => return vec![],
    };
    columns.iter().map(|column| (column.id, column.name.clone())).collect()
}

impl ContextProvider for Names<'_> {
    fn get_table_source(&self, name: TableReference) -> datafusion::common::Result<Arc<dyn TableSource>> {
        self.source(&name).map_err(DataFusionError::from)
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> datafusion::common::Result<Arc<dyn TableSource>> {
        let args = self.constants(args).map_err(DataFusionError::from)?;
        if name == "generate_series" {
            return super::series::table(self.scope, &args).map(provider_as_source).map_err(DataFusionError::from);
        }
        let args: Vec<(ScalarValue, SqlType)> = args
            .into_iter()
            .map(|(value, sql_type)| match (value, sql_type) {
                (ScalarValue::Utf8(text), SqlType::Unknown) => (ScalarValue::Utf8View(text), SqlType::Text),
                (_, SqlType::Unknown) => (ScalarValue::Utf8View(None), SqlType::Text),
                typed => typed,
            })
            .collect();
        if let Some(procedure) = procedure::find(name, &args) {
            return Ok(provider_as_source(procedure));
        }
        let literals: Vec<Expr> = args.iter().map(|(value, _)| Expr::Literal(value.clone(), None)).collect();
        match system::table_function(self.scope, name, &literals).map_err(DataFusionError::from)? {
            Some(provider) => Ok(provider_as_source(provider)),
            None => {
                let args: Vec<_> = args.into_iter().map(|(value, sql_type)| Typed::literal(value, sql_type)).collect();
                Err(super::typing::undefined_function(name, &args).into())
            }
        }
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> datafusion::common::Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &REGISTRY.planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.planner.relation_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(super::types::Types(Arc::clone(self.scope))))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if let Some(function) = super::record::function(name).or_else(|| super::domains::function(name)) {
            return Some(PendingFunction::udf(name, Some(function)));
        }
        let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
        if matches!(name, "unnest" | "unnest_outer") {
            return None;
        }
        let found = system::function(self.scope, name).or_else(|| registry::scalar(name));
        if found.is_none() && (registry::aggregate(name).is_some() || registry::window(name).is_some()) {
            return None;
        }
        Some(PendingFunction::udf(name, found))
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        registry::aggregate(name).map(PendingAggregate::udf)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        registry::window(name).map(PendingWindow::udf)
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        engine::options()
    }

    fn udf_names(&self) -> Vec<String> {
        vec![]
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        vec![]
    }

    fn udaf_names(&self) -> Vec<String> {
        vec![]
    }

    fn udwf_names(&self) -> Vec<String> {
        vec![]
    }
}
