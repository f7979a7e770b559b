//! `WITH written AS (INSERT … RETURNING …) …`: statements that change data beside a main one.
//!
//! Each is planned by itself. What it returns stands in the plans after it as a procedure's rows do (`plan/procedure.rs`). All of
//! them and the main statement read one snapshot: changes are held back until the last of them is planned and under way.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::sqlparser::ast::{self, Visit};
use futures::{StreamExt, TryStreamExt};
use tidemill_catalog::Oid;
use tidemill_catalog::record::Change;
use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use super::plan::Made;
use super::portal::PlanKind;
use super::{Outcome, Portal, Session, changes_data};
use crate::error::SqlState;
use crate::plan::access::Accesses;
use crate::plan::{Scope, procedure};
use crate::{Error, Result};

/// A main statement and those that WITH names, planned.
#[derive(Debug)]
pub(super) struct WithPlan {
    writes: Vec<Write>,
    main: PlanKind,
    pub(super) access: Arc<Accesses>,
}

/// One that WITH names.
#[derive(Debug)]
struct Write {
    kind: PlanKind,
    /// What it returns; without columns if it returns nothing.
    schema: SchemaRef,
}

/// Plans one statement that has no such WITH.
type PlanOne<'p> = dyn Fn(&Arc<Scope>, &ast::Statement, &[SqlType]) -> Result<Made> + 'p;

/// The WITH of a statement.
fn with_of(statement: &mut ast::Statement) -> Option<&mut ast::With> {
    match statement {
        ast::Statement::Query(query) => query.with.as_mut(),
        ast::Statement::Insert(insert) => insert.source.as_mut()?.with.as_mut(),
        _ => None,
    }
}

/// Plans a statement of which some WITH changes data; `None` for any other.
pub(super) fn plan(
    scope: &Arc<Scope>,
    statement: &ast::Statement,
    types: &[SqlType],
    plan_one: &PlanOne<'_>,
) -> Result<Option<Made>> {
    let with = match statement {
        ast::Statement::Query(query) => query.with.as_ref(),
        ast::Statement::Insert(insert) => insert.source.as_ref().and_then(|source| source.with.as_ref()),
        _ => None,
    };
    if !with.is_some_and(|with| with.cte_tables.iter().any(|cte| changes_data(&cte.query))) {
        return Ok(None);
    }
    let mut main = statement.clone();
    let Some(with) = with_of(&mut main) else { return Ok(None) };
    let mut scope = Arc::clone(scope);
    let mut types = types.to_vec();
    let mut access = Accesses::default();
    let mut writes: Vec<Write> = vec![];
    for at in 0..with.cte_tables.len() {
        let (before, rest) = with.cte_tables.split_at_mut(at);
        let cte = &mut rest[0];
        if !changes_data(&cte.query) {
            continue;
        }
        let name = cte.alias.name.clone();
        let marker = procedure::written_query(writes.len())?;
        let mut query = std::mem::replace(&mut *cte.query, marker);
        if query.with.is_some() {
            return Err(not_at_top());
        }
        if !before.is_empty() {
            query.with = Some(ast::With { cte_tables: before.to_vec(), ..with.clone_empty() });
        }
        let one = crate::statement::parse::with_inside(ast::Statement::Query(Box::new(query)));
        let (kind, parameters, columns) = plan_one(&scope, &one, &types)?;
        note_types(&mut types, &one, &parameters);
        if columns.is_none() && names_relation(statement, &name) {
            let message = format!("WITH query \"{}\" does not have a RETURNING clause", name.value);
            return Err(Error::unsupported(message));
        }
        let fields = columns.unwrap_or_default();
        let fields: Vec<_> = fields.iter().map(|column| column.sql_type.field(&column.name, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        if let Some(needed) = kind.access() {
            access.extend(needed.as_ref().clone());
        }
        scope = scope.with_written(Arc::clone(&schema));
        writes.push(Write { kind, schema });
    }
    let (kind, parameters, columns) = plan_one(&scope, &main, &types)?;
    note_types(&mut types, &main, &parameters);
    if let Some(needed) = kind.access() {
        access.extend(needed.as_ref().clone());
    }
    let parameters = types.into_iter().map(|known| if known == SqlType::Unknown { SqlType::Text } else { known });
    let plan = WithPlan { writes, main: kind, access: Arc::new(access) };
    Ok(Some((PlanKind::With(Arc::new(plan)), parameters.collect(), columns)))
}

/// The error, unless a query that changes data stands where none may.
pub(super) fn explained(error: Error, statement: &ast::Statement) -> Error {
    let mut queries = Queries { is_top: matches!(statement, ast::Statement::Query(_)) };
    if statement.visit(&mut queries).is_break() { not_at_top() } else { error }
}

/// Stops at a query within the statement that changes data.
struct Queries {
    is_top: bool,
}

impl ast::Visitor for Queries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        let is_top = std::mem::take(&mut self.is_top);
        if !is_top && changes_data(query) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn not_at_top() -> Error {
    Error::unsupported("WITH clause containing a data-modifying statement must be at the top level")
}

trait CloneEmpty {
    /// The same clause without queries.
    fn clone_empty(&self) -> Self;
}

impl CloneEmpty for ast::With {
    fn clone_empty(&self) -> Self {
        Self { with_token: self.with_token.clone(), recursive: self.recursive, cte_tables: vec![] }
    }
}

/// True if a statement has a relation of that name in a FROM.
fn names_relation(statement: &ast::Statement, name: &ast::Ident) -> bool {
    let found = ast::visit_relations(statement, |relation| {
        let is_it = matches!(relation.0.as_slice(), [ast::ObjectNamePart::Identifier(ident)]
            if ident.value.eq_ignore_ascii_case(&name.value));
        if is_it { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found.is_break()
}

/// The parameters that a statement mentions have their types from its plan, for the others.
fn note_types(types: &mut Vec<SqlType>, statement: &ast::Statement, planned: &[SqlType]) {
    let mut mentioned = BTreeSet::new();
    let _ = ast::visit_expressions(statement, |expr| {
        if let ast::Expr::Value(value) = expr
            && let ast::Value::Placeholder(text) = &value.value
            && let Some(number) = text.strip_prefix('$').and_then(|number| number.parse::<usize>().ok())
        {
            mentioned.insert(number);
        }
        ControlFlow::<()>::Continue(())
    });
    for number in mentioned {
        if number > types.len() {
            types.resize(number, SqlType::Unknown);
        }
        if let (Some(known), Some(planned)) =
            (types.get_mut(number.wrapping_sub(1)), planned.get(number.wrapping_sub(1)))
            && *known == SqlType::Unknown
        {
            known.clone_from(planned);
        }
    }
}

impl WithPlan {
    /// A table that one of the statements rewrites.
    pub(super) fn rewritten(&self) -> Option<Oid> {
        self.writes.iter().map(|write| &write.kind).chain([&self.main]).find_map(PlanKind::rewritten)
    }
}

impl Session {
    pub(super) async fn execute_with(
        &mut self,
        plan: &WithPlan,
        portal: &Portal,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        self.require_writable(match &plan.main {
            PlanKind::Insert(_) => "INSERT",
            PlanKind::Modify(_, command) => command,
            PlanKind::Merge(_) => "MERGE",
            PlanKind::Query(_) | PlanKind::With(_) | PlanKind::Other => "SELECT",
        })?;
        self.open().hold_back();
        let result = self.execute_parts(plan, portal, cancel).await;
        let held = self.open().let_go();
        let outcome = result?;
        self.apply(one_rewrite_each(held)?)?;
        Ok(outcome)
    }

    async fn execute_parts(&mut self, plan: &WithPlan, portal: &Portal, cancel: &CancellationToken) -> Result<Outcome> {
        let memory = MemoryConsumer::new("WITH").register(&self.instance.runtime.memory_pool);
        let mut results: Vec<Vec<RecordBatch>> = vec![];
        for write in &plan.writes {
            let kind = write.kind.clone().with_written(&results)?;
            let mut batches = vec![];
            if let Outcome::Rows { mut stream, .. } = Box::pin(self.run_kind(kind, portal, cancel)).await? {
                while let Some(batch) = stream.try_next().await? {
                    memory.try_grow(batch.get_array_memory_size())?;
                    batches.push(shaped(&batch, &write.schema)?);
                }
            }
            results.push(batches);
        }
        let kind = plan.main.clone().with_written(&results)?;
        Ok(match Box::pin(self.run_kind(kind, portal, cancel)).await? {
            // The rows that were returned live as long as the main statement reads them.
            Outcome::Rows { stream, columns, tag } => {
                let schema = stream.schema();
                let rows = stream.map(move |batch| {
                    let _ = &memory;
                    batch
                });
                Outcome::Rows { stream: Box::pin(RecordBatchStreamAdapter::new(schema, rows)), columns, tag }
            }
            other => other,
        })
    }
}

/// Rows with exactly the types that were planned with.
fn shaped(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>();
    let columns = columns.map_err(DataFusionError::from)?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns).map_err(DataFusionError::from)?)
}

/// The changes, if no two of them rewrite the same rows or may both have made a key: all were made on one state.
fn one_rewrite_each(changes: Vec<Change>) -> Result<Vec<Change>> {
    let mut gone: BTreeSet<(Oid, String)> = BTreeSet::new();
    let mut keyed: BTreeSet<Oid> = BTreeSet::new();
    for change in &changes {
        let Change::Write(write) = change else { continue };
        let chunks = write.remove_chunks.iter().map(u64::to_string);
        let twice = chunks.chain(write.remove_files.iter().cloned()).any(|unit| !gone.insert((write.table, unit)));
        if twice || !write.keys.is_empty() && !keyed.insert(write.table) {
            return Err(Error::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "statements of one WITH cannot rewrite rows of the same table",
            )
            .hint("Use several statements in one transaction."));
        }
    }
    Ok(changes)
}
