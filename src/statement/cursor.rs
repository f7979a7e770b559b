//! DECLARE, FETCH, MOVE, CLOSE.

use datafusion::sql::sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::control::Direction;
use super::parse::{Parsed, Statement};
use crate::error::SqlState;
use crate::instance::ListedCursor;
use crate::session::cursor::Cursor;
use crate::session::{Column, Outcome, Portal, RowsTag, Session};
use crate::{Error, Result};

fn find<'s>(session: &'s Session, name: &str) -> Result<&'s Cursor> {
    session
        .cursors
        .get(name)
        .ok_or_else(|| Error::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist")))
}

/// The columns FETCH from that cursor returns.
pub(super) fn columns(session: &Session, name: &str) -> Result<Vec<Column>> {
    find(session, name).map(|cursor| cursor.columns.clone())
}

#[expect(clippy::too_many_arguments, reason = "they are the clauses of DECLARE")]
pub(super) async fn declare(
    session: &mut Session,
    name: &str,
    binary: bool,
    hold: bool,
    scroll: Option<bool>,
    query: &Parsed,
    portal: &Portal,
    cancel: &CancellationToken,
) -> Result<String> {
    if !hold && !session.transaction.as_ref().is_some_and(|open| open.explicit) {
        return Err(Error::new(
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
            "DECLARE CURSOR can only be used in transaction blocks",
        ));
    }
    if session.cursors.contains_key(name) {
        return Err(Error::new(SqlState::DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists")));
    }
    let is_query = matches!(&query.statement, Statement::Sql(sql)
        if matches!(&**sql, ast::Statement::Query(query) if !crate::session::changes_data(query)));
    if !is_query {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "DECLARE CURSOR must specify a query"));
    }
    let prepared = session.parse_inner(Some(query.clone()), &[], true)?;
    if prepared.changes() {
        return Err(Error::unsupported("DECLARE CURSOR must not contain data-modifying statements in WITH"));
    }
    let inner = session.portal(&prepared, portal.values.clone(), vec![])?;
    // The query outlives this statement: a later cancel request stops the FETCH, not the cursor.
    let own = CancellationToken::new();
    let _ = cancel;
    if binary {
        return Err(Error::unsupported("BINARY cursors are not supported")
            .hint("Ask for binary results in the extended protocol."));
    }
    let Outcome::Rows { stream, columns, .. } = Box::pin(session.run_inner(&inner, &own)).await? else {
        return Err(Error::internal("a query without rows"));
    };
    let pool = std::sync::Arc::clone(&session.instance.runtime.memory_pool);
    let listed = ListedCursor {
        text: std::sync::Arc::clone(&query.text),
        opened_at: session.instance.clock.now(),
        hold,
        scroll: scroll == Some(true),
    };
    let cursor = Cursor::new(columns, listed, stream, &pool);
    session.cursors.insert(name.to_owned(), cursor);
    session.list_cursors();
    Ok("DECLARE CURSOR".into())
}

pub(super) async fn fetch(session: &mut Session, name: &str, direction: Direction, only_move: bool) -> Result<Outcome> {
    let cursor = find(session, name)?;
    if only_move {
        let rows = cursor.skip(direction).await?;
        return Ok(Outcome::Command(format!("MOVE {rows}")));
    }
    Ok(Outcome::Rows {
        stream: cursor.fetch(direction).await?,
        columns: cursor.columns.clone(),
        tag: RowsTag::Counted("FETCH"),
    })
}

pub(super) fn close(session: &mut Session, name: Option<&str>) -> Result<String> {
    match name {
        None => {
            session.cursors.clear();
            session.list_cursors();
            Ok("CLOSE CURSOR ALL".into())
        }
        Some(name) => {
            find(session, name)?;
            session.cursors.remove(name);
            session.list_cursors();
            Ok("CLOSE CURSOR".into())
        }
    }
}
