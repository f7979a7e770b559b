//! EXPLAIN.

use std::sync::Arc;

use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use super::control::{Control, Explain};
use super::parse::Statement;
use super::prepare;
use super::set::rows;
use crate::session::{Column, Outcome, Portal, Session};
use crate::{Error, Result};

/// The one column of its result.
pub(super) fn column(explain: &Explain) -> Column {
    Column::new("QUERY PLAN", if explain.json { SqlType::Json } else { SqlType::Text })
}

pub(super) async fn explain(
    session: &mut Session,
    explain: &Explain,
    portal: &Portal,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    let executed = match &explain.statement.statement {
        Statement::Control(control) => match &**control {
            Control::Execute { name, arguments } => Some(prepare::bound(session, name, arguments, cancel)?),
            _ => None,
        },
        Statement::Sql(_) => None,
    };
    let (prepared, values) = match &executed {
        Some(bound) => (Arc::clone(&bound.prepared), &bound.values),
        None => (session.parse_inner(Some((*explain.statement).clone()), &[], true)?, &portal.values),
    };
    let Some((plan, locators)) = prepared.plan() else {
        return Err(Error::unsupported("EXPLAIN of this statement is not supported")
            .hint("Explain a query, INSERT, UPDATE, DELETE or EXECUTE of one of them."));
    };
    if explain.analyze && prepared.writes() {
        return Err(Error::unsupported("EXPLAIN ANALYZE of a statement that changes data is not supported")
            .hint("Use EXPLAIN without ANALYZE."));
    }
    session.check_access(&plan.access)?;
    let scope = session.scope_for(cancel, locators);
    let planner = Arc::clone(&session.planner);
    let lines = planner.explain(&scope, &plan, values, explain.analyze, explain.verbose, explain.json).await?;
    rows(vec![column(explain)], vec![lines], "EXPLAIN")
}
