//! EXPLAIN.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use super::control::{Control, Explain};
use super::parse::Statement;
use super::prepare;
use super::set::rows;
use crate::plan::explain::{Change, Options};
use crate::session::{Column, Outcome, Portal, Prepared, Session};
use crate::{Error, Result};

/// The one column of its result.
pub(super) fn column(explain: &Explain) -> Column {
    Column::new("QUERY PLAN", if explain.json { SqlType::Json } else { SqlType::Text })
}

/// Runs a statement that changes data: the microseconds that it took.
async fn timed(
    session: &mut Session,
    prepared: &Arc<Prepared>,
    values: &[ScalarValue],
    cancel: &CancellationToken,
) -> Result<i64> {
    let began = session.instance.clock.now();
    let portal = session.portal(prepared, values.to_vec(), vec![])?;
    if let Outcome::Rows { mut stream, .. } = Box::pin(session.run_inner(&portal, cancel)).await? {
        while stream.try_next().await?.is_some() {}
    }
    Ok(session.instance.clock.now() - began)
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
    session.check_access(&plan.access)?;
    let &Explain { analyze, verbose, costs, json, .. } = explain;
    let mut options = Options { analyze, verbose, costs, json, change: None };
    if let Some((operation, table)) = prepared.change() {
        let took = if analyze { Some(timed(session, &prepared, values, cancel).await?) } else { None };
        options = Options { analyze: false, change: Some(Change { operation, table, took }), ..options };
    }
    let scope = session.scope_for(cancel, locators);
    let planner = Arc::clone(&session.planner);
    let lines = planner.explain(&scope, &plan, values, options).await?;
    rows(vec![column(explain)], vec![lines], "EXPLAIN")
}
