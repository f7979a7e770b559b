//! The samples of one column of one series, as far as they matter for the steps to come.
//!
//! ```text
//!  samples        o  |  o  o     o            step      before | from on
//!  forgotten ...  before   after              the last before it is kept, and all after
//!                    step
//! ```

use std::ops::Range;

use arrow::buffer::NullBuffer;

use crate::gapfill::window::Place;

use super::Method;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) time: i64,
    pub(super) place: Place,
}

/// In the order of time, one at each.
#[derive(Debug, Default)]
pub(super) struct Samples {
    samples: Vec<Sample>,
    /// How many of them were passed.
    passed: usize,
}

impl Samples {
    pub(super) fn clear(&mut self) {
        self.samples.clear();
        self.passed = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        self.samples.capacity() * size_of::<Sample>()
    }

    /// Appends the rows of a batch that are not NULL.
    pub(super) fn push(&mut self, times: &[i64], nulls: Option<&NullBuffer>, batch: usize, rows: Range<usize>) {
        match nulls {
            None => rows.for_each(|row| self.push_one(Sample { time: times[row], place: (batch, row) })),
            Some(nulls) => {
                let valid = nulls.slice(rows.start, rows.len());
                for row in valid.valid_indices() {
                    let row = rows.start + row;
                    self.push_one(Sample { time: times[row], place: (batch, row) });
                }
            }
        }
    }

    fn push_one(&mut self, sample: Sample) {
        match self.samples.last_mut() {
            Some(last) if last.time == sample.time => *last = sample,
            _ => self.samples.push(sample),
        }
    }

    /// Passes the samples up to `time`.
    pub(super) fn pass(&mut self, time: i64) {
        let rest = &self.samples[self.passed..];
        self.passed += rest.iter().take_while(|sample| sample.time <= time).count();
    }

    /// The last one passed.
    pub(super) fn before(&self) -> Option<Sample> {
        self.passed.checked_sub(1).map(|last| self.samples[last])
    }

    /// The first one not passed.
    pub(super) fn after(&self) -> Option<Sample> {
        self.samples.get(self.passed).copied()
    }

    /// Forgets those that were passed, but for the last. While most wait still, moving them up would take longer than it is
    /// worth.
    pub(super) fn forget(&mut self) {
        if self.passed > 1 && self.passed >= self.samples.len() / 2 {
            self.samples.drain(..self.passed - 1);
            self.passed = 1;
        }
    }

    /// The last step whose value no row from time `horizon` on can change; all rows before it are here. None if there may be no
    /// such step.
    pub(super) fn known(&self, horizon: i64, method: Method, max_gap: Option<u64>) -> Option<i64> {
        let all = horizon.checked_sub(1)?;
        // One at the horizon itself may be replaced yet.
        let last = self.samples.iter().rev().map(|sample| sample.time).find(|&time| time < horizon);
        // From steps up to here, the horizon is further than samples are used.
        let out_of_reach = max_gap.and_then(|gap| all.checked_sub_unsigned(gap));
        match (method, last) {
            (Method::Locf | Method::None, _) | (Method::Linear, None) => Some(all),
            (Method::Linear, Some(last)) => Some(if out_of_reach.is_some_and(|to| last <= to) { all } else { last }),
            (Method::Next, last) => last.max(out_of_reach),
            (Method::Nearest, last) => {
                // Up to the middle, the last is at least as near as the horizon.
                let middle = last.map(|last| last.saturating_add_unsigned(horizon.abs_diff(last) / 2));
                middle.max(out_of_reach)
            }
        }
    }
}
