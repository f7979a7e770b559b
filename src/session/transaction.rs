//! The transaction of a session: one snapshot, private changes on top, savepoints.
//!
//! Permanent and temporary objects have a catalog transaction each; a change goes to the one its oid belongs to.

use std::sync::{Arc, OnceLock};

use tidemill_catalog::Oid;
use tidemill_catalog::record::Change;
use tidemill_catalog::snapshot::Snapshot;
use tidemill_catalog::transaction::{Savepoint, Transaction};

use super::notifications::OutboxMark;
use super::settings::Layers;
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::plan::TEMP_SCHEMA;
use crate::{Error, Result};

/// An open transaction, begun by BEGIN or by a statement.
pub(crate) struct OpenTransaction {
    main: Transaction,
    temp: Transaction,
    /// BEGIN was said: it lasts until COMMIT or ROLLBACK.
    pub(crate) explicit: bool,
    /// A statement failed: only ROLLBACK (TO) and COMMIT are heard.
    pub(crate) failed: bool,
    /// READ ONLY
    pub(crate) read_only: bool,
    /// A query has run in it: its modes stay as they are.
    pub(crate) queried: bool,
    /// `txid_current()`, once somebody asked.
    pub(crate) number: Arc<OnceLock<u64>>,
    /// `now()`
    pub(crate) started_at: Timestamp,
    /// What a rollback restores.
    pub(crate) settings: Layers,
    savepoints: Vec<Mark>,
    /// Changes of a statement with several parts, which must not see each other.
    held_back: Option<Vec<Change>>,
}

struct Mark {
    name: String,
    main: Savepoint,
    temp: Savepoint,
    settings: Layers,
    outbox: OutboxMark,
    read_only: bool,
}

impl OpenTransaction {
    /// Begins on a snapshot of permanent objects and the session's temporary ones.
    pub(crate) fn new(
        main: Arc<Snapshot>,
        temp: Arc<Snapshot>,
        explicit: bool,
        started_at: Timestamp,
        settings: Layers,
    ) -> Self {
        Self {
            main: Transaction::new(main),
            temp: Transaction::new(temp),
            explicit,
            failed: false,
            read_only: false,
            queried: false,
            number: Arc::default(),
            started_at,
            settings,
            savepoints: vec![],
            held_back: None,
        }
    }

    /// Changes are only collected from now on.
    pub(crate) fn hold_back(&mut self) {
        self.held_back = Some(vec![]);
    }

    /// Ends [`Self::hold_back`]: the changes since.
    pub(crate) fn let_go(&mut self) -> Vec<Change> {
        self.held_back.take().unwrap_or_default()
    }

    /// What it sees of the permanent objects.
    pub(crate) fn view(&self) -> &Arc<Snapshot> {
        self.main.view()
    }

    /// What it sees of the temporary objects.
    pub(crate) fn temp_view(&self) -> &Arc<Snapshot> {
        self.temp.view()
    }

    /// True if something was changed, permanent or temporary.
    pub(crate) fn has_changes(&self) -> bool {
        !self.main.is_empty() || !self.temp.is_empty()
    }

    /// Applies changes privately, each to the side its oid belongs to.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> Result<()> {
        if let Some(held) = &mut self.held_back {
            held.extend(changes);
            return Ok(());
        }
        let (temp, main): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| is_temporary(target(change)));
        if !main.is_empty() {
            self.main.apply(main)?;
        }
        if !temp.is_empty() {
            self.temp.apply(temp)?;
        }
        Ok(())
    }

    /// As [`Self::apply`], without looking at what the changes give; conflicts show at commit.
    pub(crate) fn apply_unseen(&mut self, changes: Vec<Change>) -> Result<()> {
        if self.held_back.is_some() || changes.iter().any(|change| is_temporary(target(change))) {
            return self.apply(changes);
        }
        Ok(self.main.apply_unseen(changes)?)
    }

    /// True after a SAVEPOINT that is not released.
    pub(crate) fn has_savepoints(&self) -> bool {
        !self.savepoints.is_empty()
    }

    /// SAVEPOINT: a later one of the same name hides the earlier.
    pub(crate) fn savepoint(&mut self, name: String, settings: Layers, outbox: OutboxMark) {
        let read_only = self.read_only;
        self.savepoints.push(Mark {
            read_only,
            name,
            main: self.main.savepoint(),
            temp: self.temp.savepoint(),
            settings,
            outbox,
        });
    }

    /// RELEASE: forgets it and those after it, keeps the changes.
    pub(crate) fn release(&mut self, name: &str) -> Result<()> {
        let at = self.find(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    /// ROLLBACK TO: forgets the changes after it, keeps it. The settings to restore, and the notifications to keep.
    pub(crate) fn rollback_to(&mut self, name: &str) -> Result<(Layers, OutboxMark)> {
        let at = self.find(name)?;
        self.savepoints.truncate(at + 1);
        let mark = &self.savepoints[at];
        self.main.rollback_to(&mark.main);
        self.temp.rollback_to(&mark.temp);
        self.failed = false;
        self.read_only = mark.read_only;
        Ok((mark.settings.clone(), mark.outbox))
    }

    fn find(&self, name: &str) -> Result<usize> {
        self.savepoints.iter().rposition(|mark| mark.name == name).ok_or_else(|| {
            Error::new(SqlState::S_E_INVALID_SPECIFICATION, format!("savepoint \"{name}\" does not exist"))
        })
    }

    /// The changes for the log, and the temporary objects as they are to be.
    pub(crate) fn finish(self) -> (Vec<Change>, Arc<Snapshot>) {
        let temp = Arc::clone(self.temp.view());
        (self.main.into_changes(), temp)
    }
}

/// True for the temporary schema and what is in it.
pub(crate) fn is_temporary(oid: Oid) -> bool {
    oid >= TEMP_SCHEMA
}

fn target(change: &Change) -> Oid {
    match change {
        Change::Put(object) => object.oid,
        Change::Remove(oid) | Change::Expect(oid, _) | Change::ExpectUsers(oid, _) | Change::Sequence(oid, _) => *oid,
        Change::Write(write) => write.table,
    }
}
