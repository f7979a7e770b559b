//! DO: statements, conditions and handlers of errors, one after the other in the transaction of the statement.

use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;

use super::control::{Block, Control, Handler, Level, Step};
use super::parse::{self, Parsed, Statement};
use crate::error::SqlState;
use crate::session::{Outcome, Session};
use crate::{Error, Result};

/// The savepoint of a block with handlers: no name that a user can spell without quotes.
const SAVEPOINT: &str = "\u{1}block";

/// Runs a block.
///
/// # Errors
/// Those of its statements that no handler takes; P0001 of RAISE EXCEPTION.
pub(super) async fn run(session: &mut Session, block: &Block, cancel: &CancellationToken) -> Result<()> {
    if block.handlers.is_empty() {
        return steps(session, &block.steps, cancel).await;
    }
    let settings = session.settings.lock().layers().clone();
    let outbox = session.handle.outbox.lock().mark();
    session.open().savepoint(SAVEPOINT.to_owned(), settings, outbox);
    match steps(session, &block.steps, cancel).await {
        Ok(()) => session.open().release(SAVEPOINT),
        Err(error) => {
            let Some(handler) = block.handlers.iter().find(|handler| takes(handler, &error)) else {
                return Err(error);
            };
            let (settings, outbox) = session.open().rollback_to(SAVEPOINT)?;
            session.handle.outbox.lock().back_to(outbox);
            session.settings.lock().restore(settings);
            session.open().release(SAVEPOINT)?;
            steps(session, &handler.steps, cancel).await
        }
    }
}

/// OTHERS takes all but what the user or the server stopped; a class such as `42000` all of its states.
fn takes(handler: &Handler, error: &Error) -> bool {
    // The session ends.
    if error.report().fatal {
        return false;
    }
    let state = error.report().code.code();
    handler.states.iter().any(|wanted| match wanted.as_ref().map(SqlState::code) {
        None => state != SqlState::QUERY_CANCELED.code(),
        Some(wanted) => wanted == state || wanted.ends_with("000") && state[..2] == wanted[..2],
    })
}

async fn steps(session: &mut Session, list: &[Step], cancel: &CancellationToken) -> Result<()> {
    for step in list {
        Box::pin(one(session, step, cancel)).await?;
    }
    Ok(())
}

async fn one(session: &mut Session, step: &Step, cancel: &CancellationToken) -> Result<()> {
    match step {
        Step::Null => Ok(()),
        Step::Block(block) => run(session, block, cancel).await,
        Step::Sql(parsed) => {
            if answers(session, parsed, cancel).await? {
                return Err(Error::new(SqlState::SYNTAX_ERROR, "query has no destination for result data")
                    .hint("If you want to discard the results of a SELECT, use PERFORM instead."));
            }
            Ok(())
        }
        Step::Perform(text) => {
            let parsed = single(&format!("SELECT {text}"))?;
            answers(session, &parsed, cancel).await.map(|_| ())
        }
        Step::Execute(text) => {
            let Some(text) = value(session, text, cancel).await? else {
                return Err(Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, "query string argument of EXECUTE is null"));
            };
            for parsed in parse::parse(&text)? {
                answers(session, &parsed, cancel).await?;
            }
            Ok(())
        }
        Step::If { branches, otherwise } => {
            for (condition, then) in branches {
                let holds = value(session, &format!("({condition})::boolean"), cancel).await?;
                if holds.as_deref() == Some("true") {
                    return steps(session, then, cancel).await;
                }
            }
            steps(session, otherwise, cancel).await
        }
        Step::Raise { level, format, arguments } => {
            let mut values = vec![];
            for argument in arguments {
                values.push(value(session, argument, cancel).await?.unwrap_or_else(|| "<NULL>".to_owned()));
            }
            let message = filled(format, &values);
            match level {
                Level::Exception => Err(Error::new(SqlState::RAISE_EXCEPTION, message)),
                Level::Notice(severity) => {
                    session.notice(severity, SqlState::SUCCESSFUL_COMPLETION, message);
                    Ok(())
                }
            }
        }
    }
}

/// A format of RAISE with its values: `%` is one, `%%` is a percent sign.
fn filled(format: &str, values: &[String]) -> String {
    let mut values = values.iter();
    let mut message = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        message.push_str(before);
        rest = match after.strip_prefix('%') {
            Some(after) => {
                message.push('%');
                after
            }
            None => {
                message.push_str(values.next().map_or("", String::as_str));
                after
            }
        };
    }
    message + rest
}

fn single(text: &str) -> Result<Parsed> {
    let mut all = parse::parse(text)?;
    match (all.pop(), all.is_empty()) {
        (Some(parsed), true) => Ok(parsed),
        _ => Err(Error::new(SqlState::SYNTAX_ERROR, format!("syntax error in \"{text}\""))),
    }
}

async fn started(session: &mut Session, parsed: &Parsed, cancel: &CancellationToken) -> Result<Outcome> {
    if let Statement::Control(control) = &parsed.statement
        && ends_transaction(control)
    {
        return Err(Error::new(SqlState::INVALID_TRANSACTION_TERMINATION, "invalid transaction termination"));
    }
    let prepared = session.parse_inner(Some(parsed.clone()), &[], false)?;
    let portal = session.portal(&prepared, vec![], vec![])?;
    Box::pin(session.run_inner(&portal, cancel)).await
}

/// Runs a statement to its end. True if it gave rows.
async fn answers(session: &mut Session, parsed: &Parsed, cancel: &CancellationToken) -> Result<bool> {
    match started(session, parsed, cancel).await? {
        Outcome::Rows { mut stream, .. } => {
            while stream.try_next().await?.is_some() {}
            Ok(true)
        }
        Outcome::Command(_) | Outcome::Empty => Ok(false),
        Outcome::CopyIn(_) | Outcome::CopyOut(_) => Err(Error::unsupported("cannot COPY to/from client in PL/pgSQL")),
    }
}

fn ends_transaction(control: &Control) -> bool {
    matches!(
        control,
        Control::Begin(..)
            | Control::Commit { .. }
            | Control::Rollback { .. }
            | Control::Savepoint(_)
            | Control::Release(_)
            | Control::RollbackTo(_)
    )
}

/// The value of an expression as text; `None`: NULL, or no row.
async fn value(session: &mut Session, expression: &str, cancel: &CancellationToken) -> Result<Option<String>> {
    let parsed = single(&format!("SELECT ({expression})::text"))?;
    let Outcome::Rows { mut stream, .. } = started(session, &parsed, cancel).await? else {
        return Err(Error::internal("an expression without a value"));
    };
    let mut found = None;
    while let Some(batch) = stream.try_next().await? {
        if found.is_none() && batch.num_rows() > 0 {
            found = ScalarValue::try_from_array(batch.column(0), 0)?.try_as_str().flatten().map(str::to_owned);
        }
    }
    Ok(found)
}
