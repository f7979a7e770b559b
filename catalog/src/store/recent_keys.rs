//! Keys that transactions wrote lately: two that found the same key free cannot both have it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::record::{Change, NewlyWritten};
use crate::table::keys::Digest;
use crate::{Error, Lsn, Oid, Result};

/// Digests kept, 64 MB; a transaction that is older than what was forgotten is in conflict.
const DIGESTS_MAX: usize = if cfg!(test) { 50 } else { 4 << 20 };

/// What one transaction wrote of one table.
#[derive(Debug)]
struct Written {
    lsn: Lsn,
    table: Oid,
    /// Of which key.
    index: Oid,
    /// Sorted; `None`: any.
    digests: Option<Arc<[Digest]>>,
}

/// The keys of the last transactions, oldest first.
#[derive(Debug, Default)]
pub(super) struct RecentKeys {
    written: VecDeque<Written>,
    digests: usize,
    /// The last LSN that was forgotten of each table.
    forgotten: HashMap<Oid, Lsn>,
}

impl RecentKeys {
    /// # Errors
    /// `Conflict` if a key that one of the changes writes was written by another transaction after it was found free.
    pub(super) fn check(&self, changes: &[Change]) -> Result<()> {
        changes.iter().flat_map(keys_of).try_for_each(|(table, keys)| self.check_one(table, keys))
    }

    fn check_one(&self, table: Oid, keys: &NewlyWritten) -> Result<()> {
        let conflict = || {
            let detail = "another transaction wrote a row with the same key".to_owned();
            Err(Error::Conflict { oid: table, detail })
        };
        if self.forgotten.get(&table).is_some_and(|lsn| *lsn > keys.since) {
            return conflict();
        }
        let later = self.written.iter().rev().take_while(|written| written.lsn > keys.since);
        for written in later.filter(|written| written.table == table && written.index == keys.index) {
            match (&written.digests, &keys.digests) {
                (Some(theirs), Some(ours)) if !intersect(theirs, ours) => {}
                _ => return conflict(),
            }
        }
        Ok(())
    }

    /// Remembers what a transaction wrote.
    pub(super) fn note(&mut self, changes: &[Change], lsn: Lsn) {
        for (table, keys) in changes.iter().flat_map(keys_of) {
            self.digests += keys.digests.as_ref().map_or(0, |digests| digests.len());
            self.written.push_back(Written { lsn, table, index: keys.index, digests: keys.digests.clone() });
        }
        while self.digests > DIGESTS_MAX
            && let Some(oldest) = self.written.pop_front()
        {
            self.digests -= oldest.digests.map_or(0, |digests| digests.len());
            self.forgotten.insert(oldest.table, oldest.lsn);
        }
    }

    /// Forgets transactions that were not committed after all.
    pub(super) fn forget_after(&mut self, lsn: Lsn) {
        while self.written.back().is_some_and(|written| written.lsn > lsn) {
            if let Some(written) = self.written.pop_back() {
                self.digests -= written.digests.map_or(0, |digests| digests.len());
            }
        }
    }
}

fn keys_of(change: &Change) -> impl Iterator<Item = (Oid, &NewlyWritten)> {
    let write = if let Change::Write(write) = change { Some(write) } else { None };
    write.into_iter().flat_map(|write| write.keys.iter().map(|keys| (write.table, keys)))
}

/// True if two sorted lists have an element in common.
fn intersect(a: &[Digest], b: &[Digest]) -> bool {
    let (few, many) = if a.len() < b.len() { (a, b) } else { (b, a) };
    if few.len() * 16 < many.len() {
        return few.iter().any(|digest| many.binary_search(digest).is_ok());
    }
    let few: HashSet<&Digest> = few.iter().collect();
    many.iter().any(|digest| few.contains(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Write;

    fn change(since: Lsn, digests: &[Digest]) -> Vec<Change> {
        of_index(0, since, digests)
    }

    fn of_index(index: Oid, since: Lsn, digests: &[Digest]) -> Vec<Change> {
        let keys = vec![NewlyWritten { index, since, digests: Some(digests.into()) }];
        vec![Change::Write(Write { table: 7, keys, ..Write::default() })]
    }

    #[test]
    fn keys_of_different_constraints_do_not_meet() {
        let mut keys = RecentKeys::default();
        keys.note(&of_index(8, 4, &[1, 2, 3]), 5);
        assert!(keys.check(&of_index(9, 4, &[3])).is_ok());
        assert!(keys.check(&of_index(8, 4, &[3])).is_err());
    }

    #[test]
    fn the_second_to_write_a_key_is_in_conflict() {
        let mut keys = RecentKeys::default();
        keys.note(&change(4, &[1, 2, 3]), 5);
        assert!(keys.check(&change(4, &[3, 9])).is_err());
        assert!(keys.check(&change(5, &[3, 9])).is_ok(), "it saw them");
        assert!(keys.check(&change(4, &[4, 9])).is_ok());
        let many: Vec<Digest> = (3..40).collect();
        assert!(keys.check(&change(4, &many)).is_err());
        assert!(keys.check(&change(4, &many[1..])).is_ok());
        keys.forget_after(4);
        assert!(keys.check(&change(4, &[3])).is_ok(), "that was not committed");
    }

    #[test]
    fn who_is_older_than_what_is_known_is_in_conflict() {
        let mut keys = RecentKeys::default();
        for lsn in 1..20 {
            keys.note(&change(lsn - 1, &(0..10).map(|n| Digest::from(lsn) * 100 + n).collect::<Vec<_>>()), lsn);
        }
        assert!(keys.check(&change(3, &[5])).is_err());
        assert!(keys.check(&change(18, &[5])).is_ok());
    }
}
