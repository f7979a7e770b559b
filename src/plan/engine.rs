//! DataFusion for one statement: its rules and settings are shared by all, its time, time zone and scope are the
//! statement's. Light: a statement that takes tens of microseconds makes one.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::{CatalogProviderList, Session};
use datafusion::common::alias::AliasGenerator;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions, TableOptions};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, internal_err};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::registry::ExtensionTypeRegistryRef;
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, WindowUDF};
use datafusion::optimizer::{Optimizer, OptimizerConfig};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use tidemill_catalog::table::scan::{Effort, Turns};

use super::Scope;
use super::constants;
use super::distinct_on::DistinctOnFirstRow;
use super::driver::{self, DriverProbes};
use super::extension;
use super::gapfill::Interleave;
use super::interrupt::Interrupts;
use super::join_conditions::KeptConditions;
use super::newest::NewestFirst;
use super::registry::REGISTRY;
use super::spread::SortAfterSpread;
use super::stable_bounds::StableBounds;

/// The statement as functions see it when they run.
#[derive(Clone, Default)]
pub(super) struct StatementOptions {
    pub(super) scope: Option<Arc<Scope>>,
}

impl fmt::Debug for StatementOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatementOptions")
    }
}

impl ConfigExtension for StatementOptions {
    const PREFIX: &'static str = "tidemill";
}

impl ExtensionOptions for StatementOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _value: &str) -> Result<()> {
        internal_err!("{key} is not set by name")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        vec![]
    }
}

/// Rules, functions and settings, made once.
static TEMPLATE: LazyLock<SessionState> = LazyLock::new(template);

fn template() -> SessionState {
    let mut config = SessionConfig::new().with_information_schema(false).with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    // Metadata that says the SQL type does not survive in physical plans, and need not.
    options.execution.skip_physical_aggregate_schema_check = true;
    // An ASOF JOIN reads in the order of time: rows that have it are spread by key without losing it.
    options.optimizer.prefer_existing_sort = true;
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.collect_spans = true;
    options.sql_parser.default_null_ordering = "nulls_max".into();
    options.sql_parser.enable_ident_normalization = true;
    // ORDER BY in a subquery means something to array_agg and to people.
    options.sql_parser.enable_subquery_sort_elimination = false;
    let mut rules = Optimizer::new().rules;
    let place = rules.iter().position(|rule| rule.name() == "replace_distinct_aggregate").unwrap_or(0);
    rules.insert(place, Arc::new(DistinctOnFirstRow));
    let pushed = rules.iter().position(|rule| rule.name() == "push_down_filter").unwrap_or(rules.len());
    rules.insert(pushed, Arc::new(StableBounds));
    let crossed = rules.iter().position(|rule| rule.name() == "eliminate_cross_join").unwrap_or(0);
    rules.insert(crossed, Arc::new(KeptConditions));
    let mut physical_rules = PhysicalOptimizer::new().rules;
    physical_rules.push(Arc::new(Interleave));
    physical_rules.push(Arc::new(NewestFirst));
    physical_rules.push(Arc::new(SortAfterSpread));
    physical_rules.push(Arc::new(DriverProbes));
    physical_rules.push(Arc::new(Interrupts));
    SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rules(rules)
        .with_physical_optimizer_rules(physical_rules)
        .with_query_planner(extension::query_planner())
        .with_scalar_functions(REGISTRY.scalars())
        .with_aggregate_functions(REGISTRY.aggregates())
        .with_window_functions(REGISTRY.windows())
        .build()
}

/// The machine's cores: asking the system takes longer than planning.
static CORES: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

/// The settings that hold for every statement.
pub(super) fn options() -> &'static Arc<ConfigOptions> {
    TEMPLATE.config_options()
}

/// DataFusion for one statement.
#[derive(Clone)]
pub(super) struct Engine {
    config: SessionConfig,
    props: ExecutionProps,
    runtime: Arc<RuntimeEnv>,
    table_options: TableOptions,
    turns: Arc<Turns>,
}

impl Engine {
    pub(super) fn new(scope: &Arc<Scope>, runtime: Arc<RuntimeEnv>) -> Self {
        Self::with(scope, runtime, Some(Arc::clone(scope)))
    }

    /// For what outlives the statement: functions find no scope.
    pub(super) fn detached(scope: &Arc<Scope>) -> Self {
        Self::with(scope, Arc::clone(&scope.instance.runtime), None)
    }

    /// The same for a question about the catalog.
    pub(super) fn about_catalog(&self) -> Self {
        let mut engine = self.clone();
        driver::set(engine.config.options_mut());
        engine.props.config_options = Some(Arc::clone(engine.config.options()));
        engine
    }

    fn with(scope: &Arc<Scope>, runtime: Arc<RuntimeEnv>, seen: Option<Arc<Scope>>) -> Self {
        let mut config = TEMPLATE.config().clone();
        let threads = scope.instance.config.threads;
        let options = config.options_mut();
        options.execution.target_partitions = if threads == 0 { *CORES } else { threads };
        options.execution.time_zone = Some(scope.text.time_zone.name().to_owned());
        options.extensions.insert(StatementOptions { scope: seen });
        let props = ExecutionProps {
            query_execution_start_time: DateTime::<Utc>::from_timestamp_micros(scope.transaction_at),
            alias_generator: Arc::new(AliasGenerator::new()),
            config_options: Some(Arc::clone(config.options())),
            var_providers: None,
        };
        let turns = Arc::clone(&scope.instance.turns);
        Self { config, props, runtime, table_options: TableOptions::default(), turns }
    }

    /// Analyzes and optimizes.
    pub(super) fn optimized(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let options = self.config.options();
        let plan = TEMPLATE.analyzer().execute_and_check(plan, options, |_, _| {})?;
        let plan = TEMPLATE.optimizer().optimize(plan, self, |_, _| {})?;
        constants::check(self, &plan)?;
        Ok(plan)
    }

    /// The physical plan of an optimized one.
    pub(super) async fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        TEMPLATE.query_planner().create_physical_plan(plan, self).await
    }

    /// An expression over rows of a schema, ready to be evaluated.
    pub(super) fn expression(&self, expr: Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        let context = datafusion::logical_expr::simplify::SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(Arc::clone(self.config.options()))
            .with_query_execution_start_time(self.props.query_execution_start_time)
            .build();
        let simplifier = datafusion::optimizer::simplify_expressions::ExprSimplifier::new(context);
        let expr = simplifier.coerce(expr, schema)?;
        let expr = simplifier.simplify(expr)?;
        create_physical_expr(&expr, schema, &self.props, &PhysicalPlanningContext::default())
    }

    /// What an expression without columns is.
    pub(super) fn value(&self, expr: &Expr) -> Result<ScalarValue> {
        if let Expr::Literal(value, _) = expr {
            return Ok(value.clone());
        }
        let expr = self.expression(expr.clone(), &DFSchema::empty())?;
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
        ScalarValue::try_from_array(&expr.evaluate(&row)?.into_array(1)?, 0)
    }

    /// The statement, where it is known.
    pub(super) fn scope(&self) -> Option<&Arc<Scope>> {
        self.config.options().extensions.get::<StatementOptions>()?.scope.as_ref()
    }

    pub(super) fn task(&self) -> Arc<TaskContext> {
        Arc::new(TaskContext::new(
            None,
            String::new(),
            self.config.clone().with_extension(Effort::new(&self.turns)),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            Arc::clone(&self.runtime),
        ))
    }
}

impl OptimizerConfig for Engine {
    fn query_execution_start_time(&self) -> Option<DateTime<Utc>> {
        self.props.query_execution_start_time
    }

    fn alias_generator(&self) -> &Arc<AliasGenerator> {
        &self.props.alias_generator
    }

    fn options(&self) -> Arc<ConfigOptions> {
        Arc::clone(self.config.options())
    }

    fn function_registry(&self) -> Option<&dyn datafusion::execution::FunctionRegistry> {
        Some(&*TEMPLATE)
    }
}

#[async_trait]
impl Session for Engine {
    fn session_id(&self) -> &str {
        ""
    }

    fn config(&self) -> &SessionConfig {
        &self.config
    }

    fn catalog_list(&self) -> Arc<dyn CatalogProviderList> {
        Arc::clone(TEMPLATE.catalog_list())
    }

    fn optimize(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        self.optimized(plan.clone())
    }

    fn physical_optimizers(&self) -> &[Arc<dyn PhysicalOptimizerRule + Send + Sync>] {
        TEMPLATE.physical_optimizers()
    }

    async fn create_physical_plan(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.optimized(plan.clone())?;
        self.physical(&plan).await
    }

    fn create_physical_expr(&self, expr: Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        self.expression(expr, schema)
    }

    fn scalar_functions(&self) -> &HashMap<String, Arc<ScalarUDF>> {
        TEMPLATE.scalar_functions()
    }

    fn higher_order_functions(&self) -> &HashMap<String, Arc<HigherOrderUDF>> {
        TEMPLATE.higher_order_functions()
    }

    fn aggregate_functions(&self) -> &HashMap<String, Arc<AggregateUDF>> {
        TEMPLATE.aggregate_functions()
    }

    fn window_functions(&self) -> &HashMap<String, Arc<WindowUDF>> {
        TEMPLATE.window_functions()
    }

    fn extension_type_registry(&self) -> &ExtensionTypeRegistryRef {
        Session::extension_type_registry(&*TEMPLATE)
    }

    fn runtime_env(&self) -> &Arc<RuntimeEnv> {
        &self.runtime
    }

    fn execution_props(&self) -> &ExecutionProps {
        &self.props
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_options(&self) -> &TableOptions {
        &self.table_options
    }

    fn table_options_mut(&mut self) -> &mut TableOptions {
        &mut self.table_options
    }

    fn task_ctx(&self) -> Arc<TaskContext> {
        self.task()
    }
}

/// An error of ours inside DataFusion.
impl From<crate::Error> for DataFusionError {
    fn from(error: crate::Error) -> Self {
        Self::External(Box::new(error))
    }
}
