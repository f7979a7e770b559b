//! Sequences: numbers that are given once.
//!
//! A [`Counter`] is in memory and shared by all versions of its object, so that neither renames nor rollbacks give a number
//! twice. The log is asked ahead: it says up to where numbers may have been given, and a restart goes on behind that. A
//! `RESTART` begins another generation, with a counter of its own: it counts when its transaction commits, and not if
//! that is rolled back.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{Oid, Result};

/// Numbers that the log is asked for ahead, at first: PostgreSQL's number. It doubles each time they are used up, so that
/// a crash skips about as many as were given.
const AHEAD_MIN: u64 = 32;
/// And at last: one fsync for so many numbers costs nothing.
const AHEAD_MAX: u64 = 65_536;

/// Where a sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The number given last, or the one to be given next.
    pub value: i64,
    /// True if `value` was given.
    pub is_called: bool,
}

/// A sequence's definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceDef {
    /// `smallint`, `integer` or `bigint`.
    pub sql_type: String,
    /// From one number to the next; not 0.
    pub increment: i64,
    /// The least number.
    pub min: i64,
    /// The greatest number.
    pub max: i64,
    /// What RESTART goes back to.
    pub start: i64,
    /// How many numbers a session takes at once.
    pub cache: i64,
    /// Begins anew behind its last number.
    pub cycle: bool,
    /// The table and column it goes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned_by: Option<(Oid, i32)>,
    /// It is the inner part of an identity column.
    #[serde(default)]
    pub is_identity: bool,
    /// Counts RESTARTs.
    pub generation: u64,
    /// Where the generation began.
    pub first: Position,
    /// Where it stands.
    #[serde(skip)]
    pub counter: Counter,
}

/// Up to where numbers of a sequence may have been given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The generation it is about.
    pub generation: u64,
    /// Where a restarted server goes on.
    pub position: Position,
}

/// The marks of all sequences, by oid.
pub type Marks = HashMap<Oid, Mark>;

/// Numbers given at once: `first`, `first + increment`, ….
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: i64,
    /// How many; at least 1.
    pub count: u64,
}

/// Where a sequence stands: see the module doc. Two are always equal, as it is no part of a definition.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<Mutex<State>>);

impl PartialEq for Counter {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Debug, Default)]
struct State {
    /// `None`: as the generation began.
    position: Option<Position>,
    /// Numbers after it that the log knows of.
    left: u64,
    /// The increment by which `left` counts.
    step: i64,
    /// Numbers to ask the log for next time.
    ahead: u64,
    /// The log has the sequence. Before, only the transaction that made it can use it, and its commit tells the log.
    is_logged: bool,
}

/// What came of asking for numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// These.
    Run(Run),
    /// The sequence is at its end, this bound.
    End(i64),
}

impl SequenceDef {
    /// Takes up to `count` numbers, fewer only before the sequence's end. `log` makes a position durable.
    ///
    /// # Errors
    /// Those of `log`; then no number was given.
    pub(crate) fn take(&self, count: u64, log: impl FnOnce(Position) -> Result<()>) -> Result<Taken> {
        let mut state = self.counter.0.lock();
        let at = state.position.unwrap_or(self.first);
        let step = i128::from(self.increment);
        let bound = i128::from(if step > 0 { self.max } else { self.min });
        let is_beyond = |value: i128| if step > 0 { value > bound } else { value < bound };
        let mut first = i128::from(at.value) + if at.is_called { step } else { 0 };
        if is_beyond(first) {
            if !self.cycle {
                return Ok(Taken::End(if step > 0 { self.max } else { self.min }));
            }
            first = i128::from(if step > 0 { self.min } else { self.max });
            state.left = 0;
        }
        let fit = |from: i128| u64::try_from((bound - from) / step).unwrap_or(u64::MAX);
        let count = count.max(1).min(fit(first).saturating_add(1));
        let last = first + step * i128::from(count - 1);
        if state.step != self.increment {
            (state.step, state.left) = (self.increment, 0);
        }
        if state.left >= count {
            state.left -= count;
        } else if state.is_logged {
            let ahead = state.ahead.clamp(AHEAD_MIN, AHEAD_MAX).min(fit(last));
            log(Position { value: narrow(last + step * i128::from(ahead)), is_called: true })?;
            state.left = ahead;
            state.ahead = ahead.saturating_mul(2);
        }
        state.position = Some(Position { value: narrow(last), is_called: true });
        Ok(Taken::Run(Run { first: narrow(first), count }))
    }

    /// Sets the position: setval.
    ///
    /// # Errors
    /// Those of `log`; then nothing was set.
    pub(crate) fn set(&self, position: Position, log: impl FnOnce(Position) -> Result<()>) -> Result<()> {
        let mut state = self.counter.0.lock();
        if state.is_logged {
            log(position)?;
        }
        (state.position, state.left) = (Some(position), 0);
        Ok(())
    }

    /// Where it stands, and how many numbers behind that the log knows of.
    pub fn position(&self) -> (Position, u64) {
        let state = self.counter.0.lock();
        (state.position.unwrap_or(self.first), state.left)
    }

    /// Begins another generation at a position.
    pub fn restart(&mut self, position: Position) {
        self.generation += 1;
        self.first = position;
        self.counter = Counter::default();
    }

    /// From now on the log is told. What it must be told now, if it did not know the sequence.
    pub(crate) fn begin_logging(&self) -> Option<Mark> {
        let mut state = self.counter.0.lock();
        if std::mem::replace(&mut state.is_logged, true) {
            return None;
        }
        state.left = 0;
        Some(Mark { generation: self.generation, position: state.position.unwrap_or(self.first) })
    }

    /// The log does not have it after all.
    pub(crate) fn end_logging(&self) {
        self.counter.0.lock().is_logged = false;
    }

    /// Goes on where the log says.
    pub(crate) fn recover(&self, mark: Option<&Mark>) {
        let mut state = self.counter.0.lock();
        state.position = mark.filter(|mark| mark.generation == self.generation).map(|mark| mark.position);
        (state.left, state.is_logged) = (0, true);
    }

    /// The mark that says exactly where it stands, if the one that the log has is ahead; numbers given later are told anew.
    /// None is given while the guard lives.
    pub(crate) fn settle(&self) -> Option<(Mark, impl Drop + '_)> {
        let mut state = self.counter.0.lock();
        if !state.is_logged || state.left == 0 {
            return None;
        }
        state.left = 0;
        let mark = Mark { generation: self.generation, position: state.position.unwrap_or(self.first) };
        Some((mark, state))
    }
}

/// A number between bounds that fit.
fn narrow(value: i128) -> i64 {
    i64::try_from(value).expect("it is between the sequence's bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(increment: i64, min: i64, max: i64, cycle: bool) -> SequenceDef {
        let start = if increment > 0 { min } else { max };
        SequenceDef {
            sql_type: "bigint".to_owned(),
            increment,
            min,
            max,
            start,
            cache: 1,
            cycle,
            owned_by: None,
            is_identity: false,
            generation: 1,
            first: Position { value: start, is_called: false },
            counter: Counter::default(),
        }
    }

    /// All numbers of several takes; what the log was told of must lie at or behind each.
    fn taken(def: &SequenceDef, counts: &[u64]) -> Vec<i64> {
        let mut all = vec![];
        for count in counts {
            let Taken::Run(run) = def.take(*count, |_| Ok(())).unwrap() else { continue };
            let at = |at: u64| i128::from(run.first) + i128::from(def.increment) * i128::from(at);
            all.extend((0..run.count).map(|index| narrow(at(index))));
        }
        all
    }

    #[test]
    fn numbers_come_in_order_to_the_end() {
        assert_eq!(taken(&sequence(1, 1, 5, false), &[1, 2, 9, 1]), [1, 2, 3, 4, 5]);
        assert_eq!(taken(&sequence(-2, -5, -1, false), &[2, 2, 1]), [-1, -3, -5]);
        assert_eq!(taken(&sequence(3, 1, 5, true), &[5, 5, 1]), [1, 4, 1, 4, 1]);
        let (low, high) = (sequence(i64::MAX, i64::MIN, i64::MAX, false), sequence(1, i64::MAX - 1, i64::MAX, false));
        assert_eq!(taken(&low, &[9]), [i64::MIN, -1, i64::MAX - 1]);
        assert_eq!(taken(&high, &[1, 1, 1]), [i64::MAX - 1, i64::MAX]);
    }

    #[test]
    fn a_restart_never_gives_a_number_again() {
        let def = sequence(1, 1, i64::MAX, false);
        assert_eq!(def.begin_logging(), Some(Mark { generation: 1, position: def.first }));
        let mut logged = def.first;
        let (mut asked, mut last) = (0, 0);
        for round in 0..2000_u64 {
            let Taken::Run(run) = def
                .take(1 + round % 7, |position| {
                    logged = position;
                    asked += 1;
                    Ok(())
                })
                .unwrap()
            else {
                panic!("no end")
            };
            assert_eq!(run.first, last + 1);
            last = run.first + i64::try_from(run.count).unwrap() - 1;
            assert!(logged.is_called && logged.value >= last, "{logged:?} {last}");
        }
        assert!(asked < 20, "{asked}");
        let again = sequence(1, 1, i64::MAX, false);
        again.recover(Some(&Mark { generation: 1, position: logged }));
        assert_eq!(taken(&again, &[1]), [logged.value + 1]);
    }

    #[test]
    fn what_the_log_refused_was_not_given() {
        let def = sequence(1, 1, 10, false);
        def.begin_logging();
        let refuse = |_: Position| Err(crate::Error::Poisoned(String::new()));
        assert!(def.take(3, refuse).is_err());
        assert_eq!(taken(&def, &[1]), [1]);
    }

    #[test]
    fn another_generation_is_apart() {
        let def = sequence(1, 1, 10, false);
        def.begin_logging();
        assert_eq!(taken(&def, &[3]), [1, 2, 3]);
        let mut next = def.clone();
        next.restart(Position { value: 1, is_called: false });
        assert_eq!(taken(&next, &[1]), [1]);
        assert_eq!(taken(&def, &[1]), [4]);
        // A mark of another generation is not about this one.
        next.recover(Some(&Mark { generation: 1, position: Position { value: 9, is_called: true } }));
        assert_eq!(taken(&next, &[1]), [1]);
    }
}
