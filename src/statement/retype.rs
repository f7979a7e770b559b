//! Columns of other types: all rows are written again, as PostgreSQL does, so that files hold what the definition says.

use std::sync::Arc;

use datafusion::common::DFSchema;
use futures::TryStreamExt;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, Object, TableDef, Write};
use tidemill_catalog::snapshot::TableState;
use tidemill_udfs::types::SqlType;

use super::control::Expression;
use super::insert::Late;
use super::names::Named;
use super::parse::parse_expression;
use super::sink::{Constraints, RowSink};
use super::table;
use crate::error::SqlState;
use crate::plan::{Conversion, Scope};
use crate::session::Session;
use crate::{Error, Result};

/// ALTER COLUMN … TYPE: changes the definition, and gives the change that writes the rows again.
///
/// # Errors
/// 42804 for a type that values are not cast to by assignment, 0A000 for a column that views or partitions need, the errors
/// of the cast, 23514 and 23505 where new values break a constraint.
pub(super) async fn alter_type(
    session: &mut Session,
    scope: &Arc<Scope>,
    object: &Object,
    def: &mut TableDef,
    at: usize,
    (to, precision, user_type): (&SqlType, Option<u8>, Option<Oid>),
    using: Option<&Expression>,
) -> Result<Option<Write>> {
    let column = &mut def.columns[at];
    let stored = to.stored_with(precision);
    if column.sql_type == stored && column.user_type == user_type && using.is_none() {
        return Ok(None);
    }
    let name = column.name.clone();
    if def.options.partition_by.contains(&name) {
        return Err(Error::unsupported(format!("column \"{name}\" is a partition column: its type cannot be changed")));
    }
    if let Some(view) = view_on(scope, object, &name) {
        return Err(Error::unsupported("cannot alter type of a column used by a view or rule")
            .detail(format!("rule _RETURN on view {view} depends on column \"{name}\"")));
    }
    let (was, default) = (SqlType::of_stored(&column.sql_type)?, column.default.clone());
    column.sql_type = stored;
    column.user_type = user_type;
    column.data_type = to.data_type();
    column.missing_value = None;
    let state = table::state(session, object.oid)?;
    let conversions = vec![Conversion { at, to: to.clone(), using: using.map(|using| &using.ast) }];
    let write = rewrite(session, scope, object, &state, def, &conversions).await?;
    if let Some(default) = default {
        let value = session.planner.expression(scope, &DFSchema::empty(), &parse_expression(&default)?)?;
        session.planner.assignment_cast(scope, value, &was, to, &name).map_err(|error| {
            let message =
                format!("default for column \"{name}\" cannot be cast automatically to type {}", to.plain_name());
            if error.code() == &SqlState::DATATYPE_MISMATCH {
                Error::new(SqlState::DATATYPE_MISMATCH, message)
            } else {
                error
            }
        })?;
    }
    Ok(Some(write))
}

/// The change that replaces all rows of a state by converted ones.
async fn rewrite(
    session: &mut Session,
    scope: &Arc<Scope>,
    object: &Object,
    state: &Arc<TableState>,
    def: &TableDef,
    conversions: &[Conversion<'_>],
) -> Result<Write> {
    let planner = Arc::clone(&session.planner);
    let plan = planner.converted_rows(scope, &object.name, state, conversions)?;
    let new = Arc::new(def.clone());
    let name = Named::of(session, object.oid);
    let constraints = Constraints::of(&planner, scope, name, &new, session.text_settings())?;
    let mut sink = RowSink::for_definition(session, object.oid, &new, constraints);
    let is_key = |at: usize| def.unique_keys().iter().any(|key| key.columns.contains(&at));
    if conversions.iter().any(|conversion| is_key(conversion.at)) {
        sink.require_unique(session, state)?;
    }
    let physical = planner.physical(scope, &plan, &[]).await?;
    let mut stream = planner.run(scope, physical)?;
    while let Some(batch) = stream.try_next().await? {
        sink.write(batch).await.map_err(|error| broken(error, &object.name))?;
    }
    replaced(session, state, sink).await.map_err(|error| broken(error, &object.name))
}

/// The change that replaces all rows of a table by converted ones.
///
/// # Errors
/// As [`alter_type`].
pub(super) async fn rewrite_as(
    session: &mut Session,
    scope: &Arc<Scope>,
    object: &Object,
    def: &TableDef,
    conversions: &[Conversion<'_>],
) -> Result<Write> {
    let state = table::state(session, object.oid)?;
    rewrite(session, scope, object, &state, def, conversions).await
}

/// The change that gives each row of a table, which has a new column now, its own value of that column's default.
pub(super) async fn fill(
    session: &mut Session,
    scope: &Arc<Scope>,
    object: &Object,
    at: usize,
    nullable: bool,
) -> Result<Write> {
    let state = table::state(session, object.oid)?;
    let planner = Arc::clone(&session.planner);
    let plan = planner.converted_rows(scope, &object.name, &state, &[])?;
    let late = Late::of(session, scope, &state.def, &[at])?;
    let mut def = TableDef::clone(&state.def);
    def.columns[at].nullable = nullable;
    let name = Named::of(session, object.oid);
    let constraints = Constraints::of(&planner, scope, name, &def, session.text_settings())?;
    let mut sink = RowSink::for_definition(session, object.oid, &state.def, constraints);
    let physical = planner.physical(scope, &plan, &[]).await?;
    let mut stream = planner.run(scope, physical)?;
    while let Some(batch) = stream.try_next().await? {
        sink.write(late.fill(batch)?).await.map_err(|error| broken(error, &object.name))?;
    }
    replaced(session, &state, sink).await.map_err(|error| broken(error, &object.name))
}

/// The change that replaces all rows of a state by those of a sink.
async fn replaced(session: &mut Session, state: &TableState, sink: RowSink) -> Result<Write> {
    let mut write = table::removal_of_all(state);
    let added = sink.finish().await?;
    write.add_chunks = added.add_chunks;
    write.add_files = added.add_files;
    write.made_on = Some(session.open().view().lsn);
    write.alone = true;
    Ok(write)
}

/// A constraint that a row of the table breaks now, as PostgreSQL words it.
fn broken(error: Error, table: &str) -> Error {
    let report = error.report();
    match (error.code(), &report.constraint, &report.detail) {
        // That of a domain is of no table.
        (&SqlState::CHECK_VIOLATION, Some(constraint), _) if report.table.is_some() => Error::new(
            SqlState::CHECK_VIOLATION,
            format!("check constraint \"{constraint}\" of relation \"{table}\" is violated by some row"),
        ),
        (&SqlState::UNIQUE_VIOLATION, Some(constraint), Some(detail)) => {
            Error::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{constraint}\""))
                .detail(detail.replace("already exists.", "is duplicated."))
        }
        _ => error,
    }
}

/// The rows of a table with wider columns, for an ingestion that needs these: what is written meanwhile is cast as it comes.
pub(crate) async fn widen(
    session: &mut Session,
    scope: &Arc<Scope>,
    object: &Object,
    def: &TableDef,
    conversions: &[Conversion<'_>],
) -> Result<Write> {
    let state = table::state(session, object.oid)?;
    let mut write = rewrite(session, scope, object, &state, def, conversions).await?;
    write.alone = false;
    Ok(write)
}

/// A view that may read a column: it names it, or all.
fn view_on(scope: &Scope, table: &Object, column: &str) -> Option<String> {
    let objects = scope.snapshot.catalog.objects.values().chain(scope.temp.catalog.objects.values());
    let reads = |object: &&Arc<Object>| match &object.body {
        Body::View(view) => {
            object.depends_on.contains(&table.oid) && (view.query.contains('*') || view.query.contains(column))
        }
        _ => false,
    };
    objects.into_iter().find(reads).map(|object| object.name.clone())
}

/// What puts a changed definition and the rows that go with it into a transaction: the definition first.
pub(super) fn changes(object: Arc<Object>, write: Option<Write>) -> Vec<Change> {
    std::iter::once(Change::Put(object)).chain(write.map(Change::Write)).collect()
}
