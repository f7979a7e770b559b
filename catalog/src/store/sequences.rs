//! Numbers of sequences, and what the log is told of them.

use std::sync::Arc;

use super::Store;
use crate::record::{Body, Change};
use crate::sequence::{Mark, Position, SequenceDef, Taken};
use crate::{Oid, Result, wal};

/// Calls what blocks, once.
pub type Wait = fn(&mut dyn FnMut());

impl Store {
    /// Takes up to `count` numbers of a sequence, fewer only before its end. What is given is durable: no restart gives it
    /// again. Now and then that takes an fsync: `wait` calls what blocks, wherever that may.
    ///
    /// # Errors
    /// `DiskFull`, `Poisoned`.
    pub fn take_numbers(&self, oid: Oid, def: &SequenceDef, count: u64, wait: Wait) -> Result<Taken> {
        def.take(count, |position| self.log_position(oid, def, position, wait))
    }

    /// Sets where a sequence stands, durably; `wait` as in [`Store::take_numbers`].
    ///
    /// # Errors
    /// `DiskFull`, `Poisoned`.
    pub fn set_position(&self, oid: Oid, def: &SequenceDef, position: Position, wait: Wait) -> Result<()> {
        def.set(position, |position| self.log_position(oid, def, position, wait))
    }

    fn log_position(&self, oid: Oid, def: &SequenceDef, position: Position, wait: Wait) -> Result<()> {
        let changes = vec![Change::Sequence(oid, Mark { generation: def.generation, position })];
        let payload = wal::record::encode(&changes)?;
        let mut commit = Some(self.shared.queue.commit(changes, payload));
        let mut committed = Ok(0);
        wait(&mut || {
            if let Some(commit) = commit.take() {
                committed = futures::executor::block_on(commit);
            }
        });
        committed.map(|_| ())
    }

    /// Tells the log exactly where all sequences stand, so that a restart skips no numbers: for a stop in good order.
    /// Blocking.
    ///
    /// # Errors
    /// `DiskFull`, `Poisoned`.
    pub fn settle_sequences(&self) -> Result<()> {
        let snapshot = self.snapshot();
        let (mut changes, mut guards) = (vec![], vec![]);
        for object in snapshot.catalog.objects.values() {
            if let Body::Sequence(def) = &object.body
                && let Some((mark, guard)) = def.settle()
            {
                changes.push(Change::Sequence(object.oid, mark));
                guards.push(guard);
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let payload = wal::record::encode(&changes)?;
        futures::executor::block_on(self.shared.queue.commit(changes, payload)).map(|_| ())
    }
}

/// The changes, and with them where sequences stand that the log does not know yet; and those sequences.
pub(super) fn begin_logging(mut changes: Vec<Change>) -> (Vec<Change>, Vec<Arc<SequenceDef>>) {
    let mut begun = vec![];
    for at in 0..changes.len() {
        let Change::Put(object) = &changes[at] else { continue };
        let Body::Sequence(def) = &object.body else { continue };
        if let Some(mark) = def.begin_logging() {
            begun.push(Arc::clone(def));
            let mark = Change::Sequence(object.oid, mark);
            changes.push(mark);
        }
    }
    (changes, begun)
}
