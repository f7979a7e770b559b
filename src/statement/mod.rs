//! WHAT: parsing, then one file per statement that is not a plain query.
//!
//! [`execute`] is the list: it sends each statement that is ours to its file. Each takes the session, applies its changes
//! to the open transaction, and says what to answer.

/// DO.
mod block;

/// CALL.
mod call;

/// COMMENT ON.
mod comment;

/// INSERT … ON CONFLICT.
mod conflict;

/// The syntax trees of statements that are ours.
pub mod control;

/// UNIQUE and FOREIGN KEY.
mod constraint;

/// COPY.
pub(crate) mod copy;

/// The formats of COPY: bytes to rows and back.
pub mod copy_format;

/// DECLARE, FETCH, MOVE, CLOSE.
mod cursor;

/// CREATE, ALTER, DROP DATABASE and SCHEMA.
mod database;

/// DEFAULT.
mod defaults;

/// CREATE and ALTER DOMAIN.
mod domain;

/// DROP, with CASCADE.
mod drop;

/// EXPLAIN.
mod explain;

/// CREATE EXTENSION.
mod extension;

/// Files of the server: wildcards, packed bytes, compaction.
pub(crate) mod files;

/// GRANT, REVOKE, ALTER DEFAULT PRIVILEGES, DROP OWNED, REASSIGN OWNED.
pub mod grant;

/// Documents into a table: rows, new columns, dead letters.
pub(crate) mod ingest;

/// Columns with sequences of their own.
mod identity;

/// CREATE, DROP and ALTER INDEX.
mod index;

/// INSERT.
pub(crate) mod insert;

/// PRIMARY KEY.
pub(crate) mod keys;

/// LIKE in CREATE TABLE.
mod like;

/// VACUUM, ANALYZE, CHECKPOINT, CALL.
mod maintain;

/// MERGE.
pub(crate) mod merge;

/// UPDATE and DELETE.
pub(crate) mod modify;

/// LISTEN, NOTIFY, UNLISTEN.
mod notify;

/// Names to objects, for statements that change them.
pub(crate) mod names;

/// Table options: `WITH (tidemill.…)`.
mod options;

/// Text to statements.
pub mod parse;

/// PREPARE, EXECUTE, DEALLOCATE.
mod prepare;

/// Columns of other types.
pub(crate) mod retype;

/// CREATE, ALTER, DROP ROLE.
mod role;

/// SET, SHOW, RESET, DISCARD.
mod set;

/// CREATE and ALTER SEQUENCE.
mod sequence;

/// Rows on their way into a table: constraints, hot chunks or files.
pub(crate) mod sink;

/// CREATE and ALTER SOURCE.
mod source;

/// CREATE TABLE, ALTER TABLE, TRUNCATE.
pub(crate) mod table;

/// BEGIN, COMMIT, ROLLBACK, SAVEPOINT.
mod transaction;

/// The syntax trees of objects beside tables and views.
pub mod trees;

/// CREATE and ALTER TYPE.
mod user_type;

/// CREATE VIEW.
mod view;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use crate::error::SqlState;
use crate::plan::procedure::Procedure;
use crate::session::{Column, Outcome, Portal, Session};
use crate::{Error, Result};
use control::{Control, CopySource};
use parse::Parsed;

/// The columns a statement of ours returns; `None`: no rows.
pub(crate) fn columns(control: &Control, session: &mut Session) -> Result<Option<Vec<Column>>> {
    Ok(match control {
        Control::Show(name) => Some(vec![Column::new(set::spelled(name), SqlType::Text)]),
        Control::ShowAll => {
            Some(["name", "setting", "description"].map(|name| Column::new(name, SqlType::Text)).to_vec())
        }
        Control::Explain(explain) => Some(vec![explain::column(explain)]),
        Control::Fetch { name, only_move: false, .. } => Some(cursor::columns(session, name)?),
        Control::Execute { name, .. } => session.statement(name)?.columns.clone(),
        Control::Call { name, .. } => call::columns(name),
        _ => None,
    })
}

/// The parameters a statement of ours has: those of the query within it. `types`: what the client declared.
pub(crate) fn parameters(control: &Control, types: &[SqlType], session: &mut Session) -> Vec<SqlType> {
    let inner = match control {
        Control::Explain(explain) => &explain.statement,
        Control::Declare { query, .. } => query,
        Control::Copy(copy) => match &copy.source {
            CopySource::Query(query) => query,
            CopySource::Table { .. } => return vec![],
        },
        Control::Call { arguments, .. } => return call::parameters(arguments.iter().map(|argument| &argument.value)),
        Control::InsertDocuments(insert) => return ingest::insert::parameters(insert, types),
        _ => return vec![],
    };
    session.parse_inner(Some((**inner).clone()), &[], false).map_or_else(|_| vec![], |inner| inner.parameters.clone())
}

/// Runs a statement that is ours.
pub(crate) async fn execute(
    session: &mut Session,
    control: &Control,
    parsed: &Parsed,
    portal: &Portal,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    let tag = match control {
        // These decide themselves about the transaction.
        Control::Begin(modes, tag) => return transaction::begin(session, modes, tag),
        Control::Commit { chain } => return transaction::commit(session, *chain).await,
        Control::Rollback { chain } => return transaction::rollback(session, *chain),
        Control::Savepoint(name) => return transaction::savepoint(session, name),
        Control::Release(name) => return transaction::release(session, name),
        Control::RollbackTo(name) => return transaction::rollback_to(session, name),
        Control::SetTransaction { modes, session: for_session } => {
            return transaction::set_modes(session, modes, *for_session);
        }
        Control::Refused { what } => return Err(Error::unsupported(format!("{what} is not supported"))),
        _ => {
            session.ensure_transaction();
            match control {
                Control::Set { name, value, local } => set::set(session, name, value.as_deref(), *local)?,
                Control::Show(name) => return set::show(session, name),
                Control::ShowAll => return set::show_all(session),
                Control::Reset(name) => set::set(session, name, None, false).map(|_| "RESET".to_owned())?,
                Control::ResetAll => set::reset_all(session),
                Control::Discard(what) => set::discard(session, *what)?,
                Control::Prepare { name, types, statement } => prepare::prepare(session, name, types, statement)?,
                Control::Execute { name, arguments } => {
                    return prepare::execute(session, name, arguments, cancel).await;
                }
                Control::Deallocate(name) => prepare::deallocate(session, name.as_deref())?,
                Control::Declare { name, binary, hold, scroll, query } => {
                    cursor::declare(session, name, *binary, *hold, *scroll, query, portal, cancel).await?
                }
                Control::Fetch { name, direction, only_move } => {
                    return cursor::fetch(session, name, *direction, *only_move).await;
                }
                Control::Close(name) => cursor::close(session, name.as_deref())?,
                Control::Explain(explain) => return explain::explain(session, explain, portal, cancel).await,
                Control::Copy(copy) => return copy::copy(session, copy, portal, cancel).await,
                Control::CreateTable(create) => table::create(session, create, parsed, cancel).await?,
                Control::CreateView(create) => view::create(session, create, cancel)?,
                Control::CreateIndex(create) => index::create(session, create, cancel).await?,
                Control::Reindex { kind, name } => index::reindex(session, *kind, name.as_ref())?,
                Control::AlterTable { name, if_exists, kind: trees::RelationKind::Index, actions } => {
                    index::alter(session, name, *if_exists, actions)?
                }
                Control::DropRelation { kind: trees::RelationKind::Index, names, if_exists, .. } => {
                    index::drop(session, names, *if_exists)?
                }
                Control::AlterTable { name, if_exists, kind, actions } => {
                    table::alter(session, name, *if_exists, *kind, actions, cancel).await?
                }
                Control::CreateSequence(create) => sequence::create(session, create)?,
                Control::AlterSequence { name, if_exists, options } => {
                    sequence::alter(session, name, *if_exists, options)?
                }
                Control::CreateDomain(create) => domain::create(session, create, cancel)?,
                Control::CreateEnum { name, labels } => user_type::create(session, name, labels)?,
                Control::AlterType { word, name, action } => {
                    user_type::alter(session, word, name, action, cancel).await?
                }
                Control::DropType { word, names, if_exists, cascade } => {
                    drop::types(session, word, names, *if_exists, *cascade)?
                }
                Control::DropRelation { kind, names, if_exists, cascade } => {
                    drop::relations(session, *kind, names, *if_exists, *cascade)?
                }
                Control::Truncate { names, restart } => table::truncate(session, names, *restart)?,
                Control::CreateSchema { name, if_not_exists, owner } => {
                    database::create_schema(session, name, *if_not_exists, owner.as_deref())?
                }
                Control::DropSchema { names, if_exists, cascade } => {
                    drop::schemas(session, names, *if_exists, *cascade)?
                }
                Control::AlterSchema { name, action } => database::alter_schema(session, name, action)?,
                Control::CreateDatabase { name, owner } => database::create(session, name, owner.as_deref())?,
                Control::DropDatabase { name, if_exists } => drop::database(session, name, *if_exists)?,
                Control::AlterDatabase { name, action } => database::alter(session, name, action)?,
                Control::Comment { target, comment } => comment::comment(session, target, comment.as_deref())?,
                Control::CreateRole { name, options, if_not_exists } => {
                    role::create(session, name, options, *if_not_exists)?
                }
                Control::AlterRole { name, action } => role::alter(session, name, action)?,
                Control::DropRole { names, if_exists } => drop::roles(session, names, *if_exists)?,
                Control::CreateExtension { name, if_not_exists } => extension::create(session, name, *if_not_exists)?,
                Control::DropExtension { names, if_exists } => extension::drop(session, names, *if_exists)?,
                Control::CreateSource(create) => source::create(session, create)?,
                Control::AlterSource { name, if_exists, action } => source::alter(session, name, *if_exists, action)?,
                Control::DropSource { names, if_exists, cascade } => {
                    drop::sources(session, names, *if_exists, *cascade)?
                }
                Control::Grant(statement) => grant::grant(session, statement)?,
                Control::GrantRole(statement) => grant::grant_role(session, statement)?,
                Control::AlterDefaults(statement) => grant::alter_defaults(session, statement)?,
                Control::DropOwned { roles, cascade } => grant::drop_owned(session, roles, *cascade)?,
                Control::ReassignOwned { roles, to } => grant::reassign_owned(session, roles, to)?,
                Control::Listen(channel) => notify::listen(session, channel)?,
                Control::Unlisten(channel) => notify::unlisten(session, channel.as_deref())?,
                Control::Notify { channel, payload } => notify::notify(session, channel, payload)?,
                Control::SetConstraints(names) => constraint::set(session, names)?,
                Control::Lock { names, mode } => maintain::lock(session, names, *mode)?,
                Control::Maintain { command, full, tables } => {
                    maintain::maintain(session, command, *full, tables).await?
                }
                Control::Do(body) => {
                    session.has_steps();
                    // Positions are those of the body, which the client did not send as a statement.
                    block::run(session, body, cancel).await.map_err(Error::without_location)?;
                    "DO".to_owned()
                }
                Control::Call { name, arguments } => {
                    return call::call(session, name, arguments, portal, cancel).await;
                }
                Control::InsertDocuments(insert) => ingest::insert::insert(session, insert, portal, cancel).await?,
                Control::Begin(..)
                | Control::Commit { .. }
                | Control::Rollback { .. }
                | Control::Savepoint(_)
                | Control::Release(_)
                | Control::RollbackTo(_)
                | Control::SetTransaction { .. }
                | Control::Refused { .. } => unreachable!("handled above"),
            }
        }
    };
    Ok(Outcome::Command(tag))
}

/// A procedure in FROM: does its work, and gives its row.
///
/// # Errors
/// Those of the work.
pub(crate) async fn procedure(
    session: &mut Session,
    call: &Procedure,
    cancel: &CancellationToken,
) -> Result<RecordBatch> {
    let text = |at: usize| match call.arguments.get(at) {
        None | Some(ScalarValue::Null) => Ok(None),
        Some(ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text)) => Ok(text.clone()),
        Some(other) => Err(Error::new(
            SqlState::DATATYPE_MISMATCH,
            format!("argument {} of {} must be text, not {}", at + 1, call.name, other.data_type()),
        )),
    };
    session.require_writable("INSERT")?;
    let table = text(0)?.ok_or_else(|| {
        let message = format!("the table of {} must not be null", call.name);
        Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, message)
    })?;
    let parts = table.split('.').map(|part| part.trim_matches('"').to_owned()).collect();
    let name = control::Name { parts, offset: 0 };
    let number =
        |number: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![i64::try_from(number).unwrap_or(i64::MAX)])) };
    let columns: Vec<ArrayRef> = match call.name {
        "replay_dead_letters" => {
            let done = ingest::replay(session, &name, text(1)?.as_deref(), cancel).await?;
            vec![
                Arc::new(StringViewArray::from(vec![done.table.as_str()])),
                number(done.tried),
                number(done.rows),
                number(done.failed),
                number(done.quarantined),
            ]
        }
        "discard_dead_letters" => {
            let discarded = ingest::discard(session, &name, text(1)?.as_deref(), cancel).await?;
            vec![Arc::new(StringViewArray::from(vec![name.last()])), number(discarded)]
        }
        other => return Err(Error::internal(format!("no procedure {other}"))),
    };
    RecordBatch::try_new(Arc::clone(&call.schema), columns).map_err(|error| DataFusionError::from(error).into())
}
