//! The right rows of one key that windows can still reach, and the window over them.

use std::collections::VecDeque;

use datafusion_expr::Accumulator;

use super::Window;
use crate::asof::rows::Place;

/// The right rows of a key, in the order of time.
#[derive(Default)]
pub(super) struct Series {
    pub(super) rows: VecDeque<(i64, Place)>,
    /// The rows of the last window: what `states` have taken in.
    pub(super) begin: usize,
    pub(super) end: usize,
    /// None if nothing has been taken in.
    pub(super) states: Option<Vec<Box<dyn Accumulator>>>,
}

impl Series {
    /// The rows of the window around a time, not before that of an earlier time.
    pub(super) fn window(&self, window: Window, time: i64, (begin, end): (usize, usize)) -> (usize, usize) {
        let (low, high) = (window.begin(time), window.end(time));
        let first_from = |mut at: usize, reached: &dyn Fn(i64) -> bool| {
            while self.rows.get(at).is_some_and(|(time, _)| !reached(*time)) {
                at += 1;
            }
            at
        };
        let first = first_from(begin, &|time| time >= low);
        let end = first_from(end.max(first), &|time| time > high);
        let is_before = self.rows.get(first).is_none_or(|(time, _)| *time != low);
        (if window.prevailing && is_before { first.saturating_sub(1).max(begin) } else { first }, end)
    }

    /// Drops rows from the front.
    pub(super) fn drop_front(&mut self, count: usize) {
        self.rows.drain(..count);
        if count > self.begin {
            self.states = None;
        }
        self.begin = self.begin.saturating_sub(count);
        self.end = self.end.saturating_sub(count);
        if self.states.is_none() {
            (self.begin, self.end) = (0, 0);
        }
    }

    /// Drops the rows that no window reaches which begins at `low` or later.
    pub(super) fn drop_before(&mut self, low: i64, prevailing: bool) {
        let is_dead = |at: usize| {
            let before = self.rows.get(at).is_some_and(|(time, _)| *time < low);
            before && (!prevailing || self.rows.get(at + 1).is_some_and(|(time, _)| *time <= low))
        };
        let count = (0..self.rows.len()).take_while(|at| is_dead(*at)).count();
        if count > 0 {
            self.drop_front(count);
        }
    }

    /// Memory of what has been taken in.
    pub(super) fn state_bytes(&self) -> usize {
        self.states.iter().flatten().map(|state| state.size()).sum()
    }
}
