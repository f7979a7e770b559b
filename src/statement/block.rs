//! DO: statements, conditions and handlers of errors, one after the other in the transaction of the statement.

use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;

use super::control::{Block, Control, Handler, Level, Located, Raise, RaiseOption, Raised, Step};
use super::parse::block::{condition, is_code};
use super::parse::{self, Parsed, Statement};
use crate::error::SqlState;
use crate::session::{Outcome, Session};
use crate::{Error, Result};

/// The savepoint of a block with handlers: no name that a user can spell without quotes.
const SAVEPOINT: &str = "\u{1}block";

/// Runs a block.
///
/// # Errors
/// Those of its statements that no handler takes; those of RAISE.
pub(super) async fn run(session: &mut Session, block: &Block, cancel: &CancellationToken) -> Result<()> {
    within(session, block, None, cancel).await
}

/// As [`run`]. `caught`: the error whose handler the block is in.
async fn within(
    session: &mut Session,
    block: &Block,
    caught: Option<&Error>,
    cancel: &CancellationToken,
) -> Result<()> {
    if block.handlers.is_empty() {
        return steps(session, &block.steps, caught, cancel).await;
    }
    let settings = session.settings.lock().layers().clone();
    let outbox = session.handle.outbox.lock().mark();
    session.open().savepoint(SAVEPOINT.to_owned(), settings, outbox);
    match steps(session, &block.steps, caught, cancel).await {
        Ok(()) => session.open().release(SAVEPOINT),
        Err(error) => {
            let Some(handler) = block.handlers.iter().find(|handler| takes(handler, &error)) else {
                return Err(error);
            };
            let (settings, outbox) = session.open().rollback_to(SAVEPOINT)?;
            session.handle.outbox.lock().back_to(outbox);
            session.settings.lock().restore(settings);
            session.open().release(SAVEPOINT)?;
            steps(session, &handler.steps, Some(&error), cancel).await
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

async fn steps(
    session: &mut Session,
    list: &[Located],
    caught: Option<&Error>,
    cancel: &CancellationToken,
) -> Result<()> {
    for Located { line, step } in list {
        match step {
            Step::Null => {}
            Step::Block(block) => Box::pin(within(session, block, caught, cancel)).await?,
            Step::If { branches, otherwise } => {
                let mut chosen = otherwise;
                for (condition, then) in branches {
                    let holds = value(session, condition, "boolean", cancel).await;
                    if holds.map_err(|error| traced(error, *line, "IF"))?.as_deref() == Some("true") {
                        chosen = then;
                        break;
                    }
                }
                Box::pin(steps(session, chosen, caught, cancel)).await?;
            }
            Step::Raise(Raise { raised: Raised::Nothing, options, .. }) if options.is_empty() => {
                let outside = "RAISE without parameters cannot be used outside an exception handler";
                return Err(caught.cloned().unwrap_or_else(|| {
                    traced(
                        Error::new(SqlState::STACKED_DIAGNOSTICS_ACCESSED_WITHOUT_ACTIVE_HANDLER, outside),
                        *line,
                        "RAISE",
                    )
                }));
            }
            Step::Raise(raise) => {
                let (state, report) = match raised(session, raise, cancel).await {
                    Ok(error) => (raise.level, traced(error, *line, "RAISE").routine("exec_stmt_raise")),
                    Err(error) => (Level::Exception, traced(error, *line, "RAISE")),
                };
                match state {
                    Level::Exception => return Err(report),
                    Level::Notice(severity) => session.notice_with(severity, report),
                }
            }
            Step::Sql(parsed) => {
                let done = answers(session, parsed, cancel).await.and_then(|rows| match rows {
                    false => Ok(()),
                    true => Err(Error::new(SqlState::SYNTAX_ERROR, "query has no destination for result data")
                        .hint("If you want to discard the results of a SELECT, use PERFORM instead.")),
                });
                done.map_err(|error| traced(error, *line, "SQL statement"))?;
            }
            Step::Perform(text) => {
                let done = run_text(session, &format!("SELECT {text}"), cancel).await;
                done.map_err(|error| traced(error, *line, "PERFORM"))?;
            }
            Step::Execute(text) => {
                let done = match value(session, text, "text", cancel).await {
                    Ok(Some(text)) => run_text(session, &text, cancel).await,
                    Ok(None) => {
                        let message = "query string argument of EXECUTE is null";
                        Err(Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, message))
                    }
                    Err(error) => Err(error),
                };
                done.map_err(|error| traced(error, *line, "EXECUTE"))?;
            }
        }
    }
    Ok(())
}

/// An error with the place in the block where it arose, as PL/pgSQL tells it.
fn traced(mut error: Error, line: u64, kind: &str) -> Error {
    let report = error.report_mut();
    let place = format!("PL/pgSQL function inline_code_block line {line} at {kind}");
    report.context = Some(match report.context.take() {
        Some(inner) => format!("{inner}\n{place}"),
        None => place,
    });
    error
}

/// An error of a statement within: its position is one of that statement's text, not of the client's.
fn inner(mut error: Error, text: &str) -> Error {
    error = error.resolve(text);
    let report = error.report_mut();
    let place = report.offset.take().map(|offset| text[..text.floor_char_boundary(offset)].chars().count() + 1);
    match place.or(report.position.take()) {
        Some(position) => report.inner = Some((position, text.to_owned())),
        None => {
            let within = format!("SQL statement \"{text}\"");
            report.context = Some(report.context.take().map_or(within.clone(), |known| format!("{known}\n{within}")));
        }
    }
    error
}

/// What RAISE says.
async fn raised(session: &mut Session, raise: &Raise, cancel: &CancellationToken) -> Result<Error> {
    let default = match raise.level {
        Level::Exception => SqlState::RAISE_EXCEPTION,
        Level::Notice("WARNING") => SqlState::WARNING,
        Level::Notice(_) => SqlState::SUCCESSFUL_COMPLETION,
    };
    let mut message = None;
    let mut error = Error::new(default, "");
    match &raise.raised {
        Raised::Nothing => {}
        Raised::Condition(state, _) => error.report_mut().code = state.clone(),
        Raised::Format(format, arguments) => {
            let mut values = vec![];
            for argument in arguments {
                values.push(value(session, argument, "text", cancel).await?.unwrap_or_else(|| "<NULL>".to_owned()));
            }
            message = Some(filled(format, &values));
        }
    }
    let mut given = vec![];
    for (option, expression) in &raise.options {
        let Some(text) = value(session, expression, "text", cancel).await? else {
            return Err(Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, "RAISE statement option cannot be null"));
        };
        let again = match option {
            RaiseOption::Message => message.is_some(),
            RaiseOption::Errcode => matches!(raise.raised, Raised::Condition(..)),
            _ => false,
        };
        if again || given.contains(option) {
            let word = RaiseOption::ALL.iter().find(|(_, known)| known == option).map_or("", |(word, _)| word);
            let text = format!("RAISE option already specified: {word}");
            return Err(Error::new(SqlState::SYNTAX_ERROR, text));
        }
        given.push(*option);
        let report = error.report_mut();
        match option {
            RaiseOption::Errcode if is_code(&text) => report.code = SqlState::from_code(&text),
            RaiseOption::Errcode => report.code = condition(&text)?,
            RaiseOption::Message => message = Some(text),
            RaiseOption::Detail => report.detail = Some(text),
            RaiseOption::Hint => report.hint = Some(text),
            RaiseOption::Column => report.column = Some(text),
            RaiseOption::Constraint => report.constraint = Some(text),
            RaiseOption::Datatype => report.data_type = Some(text),
            RaiseOption::Table => report.table = Some(text),
            RaiseOption::Schema => report.schema = Some(text),
        }
    }
    let report = error.report_mut();
    report.message = message.unwrap_or_else(|| match &raise.raised {
        Raised::Condition(_, name) => name.clone(),
        _ => report.code.code().to_owned(),
    });
    Ok(error)
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

/// Runs the statements of a text.
async fn run_text(session: &mut Session, text: &str, cancel: &CancellationToken) -> Result<()> {
    for parsed in parse::parse(text).map_err(|error| inner(error, text))? {
        answers(session, &parsed, cancel).await?;
    }
    Ok(())
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

async fn answered(session: &mut Session, parsed: &Parsed, cancel: &CancellationToken) -> Result<bool> {
    match started(session, parsed, cancel).await? {
        Outcome::Rows { mut stream, .. } => {
            while stream.try_next().await?.is_some() {}
            Ok(true)
        }
        Outcome::Command(_) | Outcome::Empty => Ok(false),
        Outcome::CopyIn(_) | Outcome::CopyOut(_) => Err(Error::unsupported("cannot COPY to/from client in PL/pgSQL")),
    }
}

/// Runs a statement to its end. True if it gave rows.
async fn answers(session: &mut Session, parsed: &Parsed, cancel: &CancellationToken) -> Result<bool> {
    answered(session, parsed, cancel).await.map_err(|error| inner(error, &parsed.text))
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

/// The value of an expression, cast to that type, as text; `None`: NULL, or no row.
async fn value(
    session: &mut Session,
    expression: &str,
    sql_type: &str,
    cancel: &CancellationToken,
) -> Result<Option<String>> {
    let evaluated = evaluated(session, &format!("SELECT (({expression})::{sql_type})::text"), cancel).await;
    evaluated.map_err(|mut error| {
        error = error.without_location();
        let report = error.report_mut();
        report.position = None;
        report.context = Some(format!("SQL expression \"{expression}\""));
        error
    })
}

async fn evaluated(session: &mut Session, text: &str, cancel: &CancellationToken) -> Result<Option<String>> {
    let mut all = parse::parse(text)?;
    let (Some(parsed), true) = (all.pop(), all.is_empty()) else {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "query returned no result set"));
    };
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
