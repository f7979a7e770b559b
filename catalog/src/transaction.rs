//! Changes private to one session until they commit.

use std::sync::Arc;

use crate::Result;
use crate::record::Change;
use crate::snapshot::Snapshot;
use crate::store::with_physical_rows;

/// Changes from which on a transaction keeps its own list of chunks short: a few are not worth merging twice.
const COALESCE_FROM: usize = 16;

/// A transaction: the snapshot it began on, and its own changes on top. Dropping it forgets the changes (files it wrote
/// are orphans that vacuum removes).
#[derive(Debug, Clone)]
pub struct Transaction {
    base: Arc<Snapshot>,
    view: Arc<Snapshot>,
    changes: Vec<Change>,
}

/// A point a transaction can return to.
#[derive(Debug, Clone)]
pub struct Savepoint {
    view: Arc<Snapshot>,
    changes: usize,
}

impl Transaction {
    /// Begins on a snapshot.
    pub fn new(base: Arc<Snapshot>) -> Self {
        Self { view: Arc::clone(&base), base, changes: Vec::new() }
    }

    /// What the transaction began on.
    pub fn base(&self) -> &Arc<Snapshot> {
        &self.base
    }

    /// What the transaction sees: the snapshot with its own changes.
    pub fn view(&self) -> &Arc<Snapshot> {
        &self.view
    }

    /// True if it changed nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Applies changes to the private view, all or none.
    ///
    /// # Errors
    /// As [`Snapshot::apply`].
    pub fn apply(&mut self, changes: Vec<Change>) -> Result<()> {
        let changes = with_physical_rows(&self.view, changes)?;
        self.view = Arc::new(if self.changes.len() < COALESCE_FROM {
            let mut next = Snapshot::clone(&self.view);
            next.apply_uncoalesced(&changes, self.base.lsn)?;
            next
        } else {
            self.view.apply(&changes, self.base.lsn)?
        });
        self.changes.extend(changes);
        Ok(())
    }

    /// Takes changes without applying them to the private view: the last ones before the commit, which finds conflicts.
    ///
    /// # Errors
    /// `Invalid` for rows that are not the table's.
    pub fn apply_unseen(&mut self, changes: Vec<Change>) -> Result<()> {
        let changes = with_physical_rows(&self.view, changes)?;
        self.changes.extend(changes);
        Ok(())
    }

    /// Marks a point to return to.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint { view: Arc::clone(&self.view), changes: self.changes.len() }
    }

    /// Forgets everything since the savepoint.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        self.view = Arc::clone(&savepoint.view);
        self.changes.truncate(savepoint.changes);
    }

    /// The changes, for `Store::commit`.
    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }
}
