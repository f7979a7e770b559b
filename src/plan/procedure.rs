//! Procedures in FROM: `SELECT * FROM tidemill.replay_dead_letters('events')`. What they do they do once, when the query runs:
//! the session calls them and puts what they give in their place. EXPLAIN and Describe call nothing.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::{MemTable, provider_as_source, source_as_provider};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::sql::sqlparser::ast;
use tidemill_udfs::types::SqlType;

use super::{Plan, Scope};
use crate::Result;

/// A procedure that gives rows.
struct Known {
    name: &'static str,
    /// How many it takes.
    arguments: std::ops::RangeInclusive<usize>,
    columns: &'static [(&'static str, SqlType)],
}

const PROCEDURES: &[Known] = &[
    Known {
        name: "replay_dead_letters",
        arguments: 1..=2,
        columns: &[
            ("table_name", SqlType::Text),
            ("tried", SqlType::Int8),
            ("rows", SqlType::Int8),
            ("failed", SqlType::Int8),
            ("quarantined", SqlType::Int8),
        ],
    },
    Known {
        name: "discard_dead_letters",
        arguments: 1..=2,
        columns: &[("table_name", SqlType::Text), ("discarded", SqlType::Int8)],
    },
];

/// A call in a plan.
#[derive(Debug, Clone)]
pub(crate) struct Procedure {
    /// Which.
    pub(crate) name: &'static str,
    /// Its arguments.
    pub(crate) arguments: Vec<ScalarValue>,
    /// Its columns.
    pub(crate) schema: SchemaRef,
}

#[async_trait]
impl TableProvider for Procedure {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    /// Of a plan that is only shown.
    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        Ok(Arc::new(EmptyExec::new(schema)))
    }
}

/// The name of a relation that is what a data-modifying WITH query returned, before its number.
const WRITTEN: &str = "\u{2}written ";

/// The relation that stands for what the data-modifying WITH query of that number returns, if the name is one's.
pub(super) fn written(scope: &Scope, name: &str) -> Option<Arc<Procedure>> {
    let number: usize = name.strip_prefix(WRITTEN)?.parse().ok()?;
    let schema = Arc::clone(scope.written.get(number)?);
    let arguments = vec![ScalarValue::UInt64(u64::try_from(number).ok())];
    Some(Arc::new(Procedure { name: "written", arguments, schema }))
}

/// `SELECT * FROM` that relation.
pub(crate) fn written_query(number: usize) -> Result<ast::Query> {
    crate::statement::parse::parse_query(&format!("SELECT * FROM \"{WRITTEN}{number}\""))
}

/// The plan over what data-modifying WITH queries returned, by their numbers.
pub(crate) fn with_written(plan: Plan, results: &[Vec<RecordBatch>]) -> Result<Plan> {
    let of_call = |call: &Procedure| match call.arguments.as_slice() {
        [ScalarValue::UInt64(Some(number))] => {
            usize::try_from(*number).ok().and_then(|number| results.get(number)).cloned().unwrap_or_default()
        }
        _ => vec![],
    };
    let calls = calls(&plan)?;
    if calls.is_empty() {
        return Ok(plan);
    }
    with_batches(plan, calls.iter().map(of_call).collect())
}

/// The procedure of that name.
pub(super) fn find(name: &str, arguments: &[(ScalarValue, SqlType)]) -> Option<Arc<dyn TableProvider>> {
    let is_it = |known: &&Known| known.name == name && known.arguments.contains(&arguments.len());
    let Known { name, columns, .. } = PROCEDURES.iter().find(is_it)?;
    let schema = Schema::new(columns.iter().map(|(name, sql_type)| sql_type.field(name, true)).collect::<Vec<_>>());
    let arguments = arguments.iter().map(|(value, _)| value.clone()).collect();
    Some(Arc::new(Procedure { name, arguments, schema: Arc::new(schema) }))
}

fn of(plan: &LogicalPlan) -> datafusion::common::Result<Option<Procedure>> {
    let LogicalPlan::TableScan(scan) = plan else { return Ok(None) };
    Ok(source_as_provider(&scan.source)?.downcast_ref::<Procedure>().cloned())
}

/// The calls in a plan, in the order in which [`with_results`] wants what they give.
pub(crate) fn calls(plan: &Plan) -> Result<Vec<Procedure>> {
    let mut calls = vec![];
    plan.logical.apply_with_subqueries(|node| {
        calls.extend(of(node)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(calls)
}

/// The plan over what the calls gave.
pub(crate) fn with_results(plan: Plan, results: Vec<RecordBatch>) -> Result<Plan> {
    with_batches(plan, results.into_iter().map(|batch| vec![batch]).collect())
}

fn with_batches(plan: Plan, results: Vec<Vec<RecordBatch>>) -> Result<Plan> {
    let mut results = results.into_iter();
    let logical = plan.logical.as_ref().clone().transform_down_with_subqueries(|node| {
        let (Some(call), LogicalPlan::TableScan(mut scan)) = (of(&node)?, node.clone()) else {
            return Ok(Transformed::no(node));
        };
        if let Some(batches) = results.next() {
            let schema = batches.first().map_or(call.schema, RecordBatch::schema);
            scan.source = provider_as_source(Arc::new(MemTable::try_new(schema, vec![batches])?));
        }
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(Plan { logical: Arc::new(logical.data), program: None, ..plan })
}
