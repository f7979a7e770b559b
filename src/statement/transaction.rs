//! BEGIN, COMMIT, ROLLBACK, SAVEPOINT, SET TRANSACTION.

use super::control::TransactionModes;
use crate::error::SqlState;
use crate::session::{Outcome, Session};
use crate::{Error, Result};

pub(super) fn begin(session: &mut Session, modes: &TransactionModes, tag: &str) -> Result<Outcome> {
    match &mut session.transaction {
        Some(open) if open.explicit => {
            session.notice("WARNING", SqlState::ACTIVE_SQL_TRANSACTION, "there is already a transaction in progress");
        }
        // Earlier statements of the same query string become part of the block, as in PostgreSQL.
        Some(open) => open.explicit = true,
        None => session.open_transaction(true),
    }
    apply_modes(session, modes)?;
    Ok(Outcome::Command(tag.into()))
}

fn apply_modes(session: &mut Session, modes: &TransactionModes) -> Result<()> {
    let open = session.open();
    let (queried, within, was_read_only) = (open.queried, open.has_savepoints(), open.read_only);
    let refuse = |message: &str| Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
    let mut settings = session.settings.lock();
    if let Some(isolation) = modes.isolation {
        if settings.get("transaction_isolation").as_deref() != Some(isolation) {
            if queried {
                return refuse("SET TRANSACTION ISOLATION LEVEL must be called before any query");
            }
            if within {
                return refuse("SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction");
            }
        }
        settings.set("transaction_isolation", isolation, true)?;
    }
    if let Some(deferrable) = modes.deferrable {
        if within {
            return refuse("SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction");
        }
        if queried {
            return refuse("SET TRANSACTION [NOT] DEFERRABLE must be called before any query");
        }
        settings.set("transaction_deferrable", if deferrable { "on" } else { "off" }, true)?;
    }
    if let Some(read_only) = modes.read_only {
        if !read_only && was_read_only && within {
            return refuse("cannot set transaction read-write mode inside a read-only transaction");
        }
        if !read_only && was_read_only && queried {
            return refuse("transaction read-write mode must be set before any query");
        }
        settings.set("transaction_read_only", if read_only { "on" } else { "off" }, true)?;
        drop(settings);
        session.open().read_only = read_only;
    }
    Ok(())
}

/// Modes of a transaction, for the one that AND CHAIN begins.
struct Kept {
    settings: Vec<(&'static str, String)>,
    read_only: bool,
}

impl Kept {
    fn of(session: &mut Session) -> Self {
        let read_only = session.open().read_only;
        let settings = session.settings.lock();
        let names = ["transaction_isolation", "transaction_deferrable", "transaction_read_only"];
        let given = names.into_iter().filter_map(|name| Some((name, settings.given(name)?)));
        Self { settings: given.collect(), read_only }
    }

    fn begin(self, session: &mut Session) -> Result<()> {
        session.open_transaction(true);
        let mut settings = session.settings.lock();
        for (name, value) in self.settings {
            settings.set(name, &value, true)?;
        }
        drop(settings);
        session.open().read_only = self.read_only;
        Ok(())
    }
}

pub(super) fn set_modes(session: &mut Session, modes: &TransactionModes, for_session: bool) -> Result<Outcome> {
    if for_session {
        let mut settings = session.settings.lock();
        if let Some(isolation) = modes.isolation {
            settings.set("default_transaction_isolation", isolation, false)?;
        }
        if let Some(read_only) = modes.read_only {
            settings.set("default_transaction_read_only", if read_only { "on" } else { "off" }, false)?;
        }
        if let Some(deferrable) = modes.deferrable {
            settings.set("default_transaction_deferrable", if deferrable { "on" } else { "off" }, false)?;
        }
    } else if session.transaction.as_ref().is_some_and(|open| open.explicit) {
        apply_modes(session, modes)?;
    } else {
        session.notice(
            "WARNING",
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
            "SET TRANSACTION can only be used in transaction blocks",
        );
    }
    Ok(Outcome::Command("SET".into()))
}

pub(super) async fn commit(session: &mut Session, chain: bool) -> Result<Outcome> {
    let Some(open) = &session.transaction else {
        if chain {
            return Err(chain_error("COMMIT"));
        }
        session.notice("WARNING", SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
        return Ok(Outcome::Command("COMMIT".into()));
    };
    let (failed, explicit) = (open.failed, open.explicit);
    if !explicit && !chain {
        session.notice("WARNING", SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
    }
    let kept = Kept::of(session);
    if failed {
        session.rollback();
    } else {
        session.commit().await?;
    }
    if chain {
        kept.begin(session)?;
    }
    Ok(Outcome::Command(if failed { "ROLLBACK" } else { "COMMIT" }.into()))
}

pub(super) fn rollback(session: &mut Session, chain: bool) -> Result<Outcome> {
    if !session.transaction.as_ref().is_some_and(|open| open.explicit) {
        if chain {
            return Err(chain_error("ROLLBACK"));
        }
        session.notice("WARNING", SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
    }
    let kept = chain.then(|| Kept::of(session));
    session.rollback();
    if let Some(kept) = kept {
        kept.begin(session)?;
    }
    Ok(Outcome::Command("ROLLBACK".into()))
}

fn chain_error(command: &str) -> Error {
    Error::new(
        SqlState::NO_ACTIVE_SQL_TRANSACTION,
        format!("{command} AND CHAIN can only be used in transaction blocks"),
    )
}

/// The explicit transaction: 25P01 outside one.
fn block<'s>(session: &'s mut Session, command: &str) -> Result<&'s mut crate::session::transaction::OpenTransaction> {
    session.transaction.as_mut().filter(|open| open.explicit).ok_or_else(|| {
        Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, format!("{command} can only be used in transaction blocks"))
    })
}

pub(super) fn savepoint(session: &mut Session, name: &str) -> Result<Outcome> {
    let settings = session.settings.lock().layers().clone();
    let outbox = session.handle.outbox.lock().mark();
    block(session, "SAVEPOINT")?.savepoint(name.to_owned(), settings, outbox);
    Ok(Outcome::Command("SAVEPOINT".into()))
}

pub(super) fn release(session: &mut Session, name: &str) -> Result<Outcome> {
    block(session, "RELEASE SAVEPOINT")?.release(name)?;
    Ok(Outcome::Command("RELEASE".into()))
}

pub(super) fn rollback_to(session: &mut Session, name: &str) -> Result<Outcome> {
    let (settings, outbox) = block(session, "ROLLBACK TO SAVEPOINT")?.rollback_to(name)?;
    session.handle.outbox.lock().back_to(outbox);
    session.settings.lock().restore(settings);
    Ok(Outcome::Command("ROLLBACK".into()))
}
