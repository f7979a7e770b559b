//! VACUUM, ANALYZE, CHECKPOINT, LOCK, and the procedures of CALL.

use std::sync::Arc;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::sql::sqlparser::ast;
use tidemill_catalog::Oid;
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::store::Store;
use tokio_util::sync::CancellationToken;

use super::control::{LockMode, Name};
use super::{ingest, names};
use crate::error::SqlState;
use crate::session::Session;
use crate::session::transaction::is_temporary;
use crate::{Error, Result};

/// LOCK TABLE: writers of the same rows conflict at commit, so there is nothing to hold; the names are checked.
pub(super) fn lock(session: &mut Session, tables: &[Name], mode: LockMode) -> Result<String> {
    if !session.transaction.as_ref().is_some_and(|open| open.explicit) {
        return Err(Error::new(
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
            "LOCK TABLE can only be used in transaction blocks",
        ));
    }
    for name in tables {
        let object = names::relation(session, name)?;
        names::require_any(
            session,
            &object,
            match mode {
                LockMode::AccessShare => Privileges::SELECT,
                LockMode::RowExclusive => Privileges::of("awdD"),
                LockMode::Exclusive => Privileges::of("wdD"),
            },
        )?;
    }
    Ok("LOCK TABLE".into())
}

pub(super) async fn maintain(
    session: &mut Session,
    command: &'static str,
    full: bool,
    tables: &[Name],
) -> Result<String> {
    if command != "ANALYZE" {
        super::drop::refuse_in_block(session, command)?;
    }
    match command {
        "VACUUM" | "CLUSTER" => {
            let oids = named_or_all(session, tables)?;
            blocking(session, move |store, now| {
                for oid in oids {
                    store.flush(oid, now)?;
                    store.compact(oid, full, now)?;
                    store.flush(oid, now)?;
                }
                Ok(())
            })
            .await?;
        }
        "CHECKPOINT" => {
            let oids = named_or_all(session, &[])?;
            blocking(session, move |store, now| {
                for oid in oids {
                    store.flush(oid, now)?;
                }
                store.checkpoint(now)
            })
            .await?;
        }
        // Statistics are exact at every commit: there is nothing to gather.
        "ANALYZE" => {
            for name in tables {
                names::relation(session, name)?;
            }
        }
        _ => session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, "there are no indexes to rebuild"),
    }
    Ok(command.to_owned())
}

fn named_or_all(session: &mut Session, tables: &[Name]) -> Result<Vec<Oid>> {
    if tables.is_empty() {
        let mut oids: Vec<_> = session.open().view().tables.values().map(|table| table.oid).collect();
        oids.sort_unstable();
        return Ok(oids);
    }
    let mut oids = vec![];
    for name in tables {
        let (object, _) = names::table(session, name)?;
        names::require_owner(session, &object)?;
        if !is_temporary(object.oid) {
            oids.push(object.oid);
        }
    }
    Ok(oids)
}

/// Runs storage work off the async threads.
async fn blocking(
    session: &Session,
    work: impl FnOnce(&Store, i64) -> tidemill_catalog::Result<()> + Send + 'static,
) -> Result<()> {
    let store = Arc::clone(&session.instance.store);
    let now = session.instance.clock.now();
    tokio::task::spawn_blocking(move || work(&store, now))
        .await
        .map_err(|error| Error::internal(format!("a maintenance thread panicked: {error}")))??;
    Ok(())
}

/// `tidemill.flush([table])`, `tidemill.compact(table)`, `tidemill.checkpoint()`
pub(super) async fn call(
    session: &mut Session,
    name: &Name,
    arguments: &[ast::Expr],
    cancel: &CancellationToken,
) -> Result<String> {
    let scope = session.scope(cancel);
    let planner = Arc::clone(&session.planner);
    let mut texts = vec![];
    for argument in arguments {
        let value = planner.expression(&scope, &DFSchema::empty(), argument)?;
        match planner.evaluate(&scope, &value)? {
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
                texts.push(text);
            }
            other => {
                return Err(Error::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!("the arguments of {name} must be texts, not {other}"),
                ));
            }
        }
    }
    let named = |text: &String| {
        let parts = text.split('.').map(|part| part.trim_matches('"').to_owned()).collect();
        Name { parts, offset: name.offset }
    };
    let tables: Vec<Name> = texts.iter().map(named).collect();
    let qualified: Vec<_> = name.parts.iter().map(String::as_str).collect();
    match qualified.as_slice() {
        ["tidemill", "flush"] => {
            super::drop::refuse_in_block(session, "CALL tidemill.flush")?;
            let oids = named_or_all(session, &tables)?;
            blocking(session, move |store, now| oids.into_iter().try_for_each(|oid| store.flush(oid, now))).await?;
        }
        ["tidemill", "compact"] if !tables.is_empty() => {
            super::drop::refuse_in_block(session, "CALL tidemill.compact")?;
            let oids = named_or_all(session, &tables)?;
            blocking(session, move |store, now| {
                oids.into_iter().try_for_each(|oid| {
                    store.flush(oid, now)?;
                    store.compact(oid, true, now)?;
                    store.flush(oid, now)
                })
            })
            .await?;
        }
        ["tidemill", "checkpoint"] => {
            maintain(session, "CHECKPOINT", false, &[]).await?;
        }
        ["tidemill", "replay_dead_letters"] if (1..=2).contains(&texts.len()) => {
            ingest::replay(session, &named(&texts[0]), texts.get(1).map(String::as_str), cancel).await?;
        }
        ["tidemill", "discard_dead_letters"] if (1..=2).contains(&texts.len()) => {
            session.require_writable("DELETE")?;
            ingest::discard(session, &named(&texts[0]), texts.get(1).map(String::as_str), cancel).await?;
        }
        _ => {
            return Err(Error::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("procedure {name}({}) does not exist", vec!["unknown"; arguments.len()].join(", ")),
            )
            .hint(
                "The procedures are tidemill.flush(table), tidemill.compact(table), tidemill.checkpoint(), \
                 tidemill.replay_dead_letters(table, condition), tidemill.discard_dead_letters(table, condition), \
                 tidemill.ingest(table, documents) and tidemill.compact_files(files, into, key, latest_by).",
            )
            .at(name.offset));
        }
    }
    Ok("CALL".into())
}
