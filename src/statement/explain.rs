//! EXPLAIN.

use std::sync::Arc;

use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use super::control::Explain;
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
    let prepared = session.parse_inner(Some((*explain.statement).clone()), &[], true)?;
    let Some((plan, locators)) = prepared.plan() else {
        return Err(Error::unsupported("EXPLAIN of this statement is not supported")
            .hint("Explain a query, INSERT, UPDATE or DELETE."));
    };
    if explain.analyze && prepared.writes() {
        return Err(Error::unsupported("EXPLAIN ANALYZE of a statement that changes data is not supported")
            .hint("Use EXPLAIN without ANALYZE."));
    }
    session.check_access(&plan.access)?;
    let scope = session.scope_for(cancel, locators);
    let planner = Arc::clone(&session.planner);
    let lines = planner.explain(&scope, &plan, &portal.values, explain.analyze, explain.verbose, explain.json).await?;
    rows(vec![column(explain)], vec![lines], "EXPLAIN")
}
