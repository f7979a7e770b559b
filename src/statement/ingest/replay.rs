//! Dead letters once more: `SELECT * FROM tidemill.replay_dead_letters('events')`, `CALL tidemill.discard_dead_letters('events')`.
//!
//! In one transaction all letters of the table are read, decoded as documents again and deleted; those that fail again are
//! written anew, with one more attempt. So a letter becomes a row once, whatever happens.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use datafusion::sql::sqlparser::ast;
use futures::TryStreamExt;
use tidemill_catalog::acl::Privileges;
use tokio_util::sync::CancellationToken;

use super::super::control::Name;
use super::super::{names, parse};
use super::letters::{self, Sent};
use super::{Format, Ingest};
use crate::error::SqlState;
use crate::session::{Outcome, Session};
use crate::{Error, Result};

/// A letter that failed more often is left alone, until somebody sets its attempts back.
pub(super) const ATTEMPTS_MAX: i32 = 3;

/// What became of letters that were tried again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replayed {
    /// The table.
    pub(crate) table: String,
    /// All.
    pub(crate) tried: u64,
    /// Those that are rows now.
    pub(crate) rows: u64,
    /// Those that failed for the last time: they are left alone from now on.
    pub(crate) quarantined: u64,
}

/// Tries dead letters of a table again: all, or those for which `filter` is true, a condition over tidemill.dead_letters.
///
/// # Errors
/// 42P01, those of the condition; 40001 if the table or its letters were changed meanwhile.
pub(crate) async fn replay(
    session: &mut Session,
    table: &Name,
    filter: Option<&str>,
    cancel: &CancellationToken,
) -> Result<Replayed> {
    let (object, _) = names::table(session, table)?;
    let nothing = Replayed { table: object.name.clone(), ..Replayed::default() };
    if !has_letters(session)? {
        return none(session, nothing);
    }
    let mut of_table = format!("table_oid = {} AND attempts <= {ATTEMPTS_MAX} AND format = 'json'", object.oid);
    if let Some(filter) = filter {
        // One expression, and nothing behind it. It is evaluated with the server's rights: on letters of this table only.
        let condition = parse::parse_expression(filter).map_err(Error::without_location)?;
        if has_subquery(&condition) {
            return Err(Error::unsupported("a subquery in the condition of replay_dead_letters is not supported"));
        }
        of_table = format!("{of_table} AND ({filter}\n)");
    }
    let mut ingest = Ingest::begin(session, table, Format::Lines, "replay", cancel)?;
    let sql = format!(
        "SELECT id, received_at, source, attempts, raw FROM tidemill.dead_letters WHERE {of_table} ORDER BY id"
    );
    let Outcome::Rows { mut stream, .. } = run(session, &sql, cancel).await? else {
        return Err(Error::internal("a query without rows"));
    };
    let mut offset = 0;
    let mut letters = 0_u64;
    while let Some(batch) = stream.try_next().await? {
        let (ids, sources) = (batch.column(0).as_string_view(), batch.column(2).as_string_view());
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        let (attempts, raws) = (batch.column(3).as_primitive::<Int32Type>(), batch.column(4).as_binary_view());
        for row in 0..batch.num_rows() {
            let raw = raws.value(row);
            // A line each: what is wrong with a letter must not reach the next. Between tokens a space is as good as a line's
            // end, and within strings neither is JSON.
            let has_lines = raw.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
            let line: Vec<u8> =
                raw.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
            let sent = Sent {
                offset,
                raw: has_lines.then(|| raw.to_vec()),
                id: Some(ids.value(row).to_owned()),
                received_at: Some(times.value(row)),
                source: sources.value(row).into(),
                place: None,
                attempts: attempts.value(row) + 1,
            };
            ingest.target.letters.next(sent);
            ingest.push(&line).await?;
            ingest.push(b"\n").await?;
            offset += line.len() as u64 + 1;
            letters += 1;
        }
    }
    drop(stream);
    if letters == 0 {
        return none(session, nothing);
    }
    run(session, &format!("DELETE FROM tidemill.dead_letters WHERE {of_table}"), cancel).await?;
    ingest.drain_all().await?;
    let quarantined = ingest.target.letters.quarantined(ATTEMPTS_MAX);
    let report = ingest.finish(session).await?;
    let message = format!("{} of {letters} dead letters of table \"{}\" became rows", report.rows, object.name);
    session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
    if quarantined > 0 {
        session.instance.metrics.dead_letters_quarantined.fetch_add(quarantined, Ordering::Relaxed);
        let message = format!(
            "{quarantined} dead letters of table \"{}\" failed more than {ATTEMPTS_MAX} times and are not tried again",
            object.name
        );
        session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
    }
    Ok(Replayed { tried: letters, rows: report.rows, quarantined, ..nothing })
}

/// Deletes all dead letters of a table.
///
/// # Errors
/// 42P01; 40001 if its letters were changed meanwhile.
pub(crate) async fn discard(session: &mut Session, table: &Name, cancel: &CancellationToken) -> Result<()> {
    let (object, _) = names::table(session, table)?;
    names::require(session, &object, Privileges::DELETE)?;
    if !has_letters(session)? {
        return none(session, Replayed { table: object.name.clone(), ..Replayed::default() }).map(|_| ());
    }
    let sql = format!("DELETE FROM tidemill.dead_letters WHERE table_oid = {}", object.oid);
    run(session, &sql, cancel).await.map(|_| ())
}

fn has_subquery(condition: &ast::Expr) -> bool {
    let found = ast::visit_expressions(condition, |expr| match expr {
        ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } => ControlFlow::Break(()),
        ast::Expr::AnyOp { right, .. } | ast::Expr::AllOp { right, .. }
            if matches!(right.as_ref(), ast::Expr::Subquery(_)) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    let queries = ast::visit_relations(condition, |_| ControlFlow::<()>::Break(()));
    found.is_break() || queries.is_break()
}

fn has_letters(session: &mut Session) -> Result<bool> {
    Ok(is_there(session, "dead_letters"))
}

/// True if the database has that table of ours.
pub(super) fn is_there(session: &mut Session, table: &str) -> bool {
    let name = Name { parts: vec![letters::SCHEMA.to_owned(), table.to_owned()], offset: 0 };
    matches!(names::find_relation(session, &name), Ok(Some(_)))
}

fn none(session: &mut Session, nothing: Replayed) -> Result<Replayed> {
    let message = format!("table \"{}\" has no dead letters to be tried again", nothing.table);
    session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
    Ok(nothing)
}

/// Runs a statement of ours in the session's transaction, whatever its role may do.
pub(super) async fn run(session: &mut Session, sql: &str, cancel: &CancellationToken) -> Result<Outcome> {
    let parsed = parse::parse(sql)?.into_iter().next();
    let prepared = session.parse_inner(parsed, &[], true)?;
    // Values as they are, not as a client would see them.
    let portal = session.portal(&prepared, vec![], vec![1])?;
    session.permit(&portal);
    Box::pin(session.run_inner(&portal, cancel)).await
}
