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
use tidemill_udfs::types::SqlType;

use super::Plan;
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
    let mut results = results.into_iter();
    let logical = plan.logical.as_ref().clone().transform_down_with_subqueries(|node| {
        let (Some(_), LogicalPlan::TableScan(mut scan)) = (of(&node)?, node.clone()) else {
            return Ok(Transformed::no(node));
        };
        if let Some(batch) = results.next() {
            scan.source = provider_as_source(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?));
        }
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(Plan { logical: Arc::new(logical.data), program: None, ..plan })
}
