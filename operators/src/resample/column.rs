//! One column of values: what it has at each step.
//!
//! ```text
//!  samples       o                 o           between two samples the steps are one run:
//!  steps       |    |    |    |    |    |      linear  on the line       nearest  left left right
//!                   '--- run --'   exact       locf    left              next     right
//! ```

use arrow::array::ArrayRef;
use datafusion_common::{Result, internal_datafusion_err};

use super::Method;
use super::input::Input;
use super::picks::Picks;
use super::samples::{Sample, Samples};
use crate::gapfill::line::{Lane, Point, number};

/// Of a row: it has a value, and one that was not measured.
pub(super) const KNOWN: u8 = 1;
pub(super) const INVENTED: u8 = 2;

#[derive(Debug)]
pub(super) struct Column {
    method: Method,
    max_gap: Option<u64>,
    samples: Samples,
    picks: Picks,
    /// Where the values of lines are collected; other methods pick theirs.
    lane: Option<Lane>,
}

impl Column {
    pub(super) fn new(picks: Picks, method: Method, max_gap: Option<u64>) -> Self {
        let lane = (method == Method::Linear).then(|| Lane::new(picks.data_type().clone()));
        Self { method, max_gap, samples: Samples::default(), picks, lane }
    }

    pub(super) fn begin_series(&mut self) {
        self.samples.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        self.samples.bytes()
    }

    /// Adds the samples among rows of the series.
    pub(super) fn push(&mut self, input: &Input, batch: usize, rows: std::ops::Range<usize>) {
        if let Some(held) = input.get(batch) {
            self.samples.push(&held.times, held.nulls[self.picks.index()].as_ref(), batch, rows);
        }
    }

    /// The last step that is decided; see [`Samples::known`].
    pub(super) fn known(&self, horizon: i64) -> Option<i64> {
        self.samples.known(horizon, self.method, self.max_gap)
    }

    /// Makes the values at these steps, which are decided; `flags` are of their rows.
    pub(super) fn fill(&mut self, input: &Input, steps: &[i64], flags: &mut [u8]) -> Result<()> {
        let mut at = 0;
        while at < steps.len() {
            self.samples.pass(steps[at]);
            let (before, after) = (self.samples.before(), self.samples.after());
            if let Some(sample) = before.filter(|sample| sample.time == steps[at]) {
                self.exact(input, sample)?;
                flags[at] |= KNOWN;
                at += 1;
                continue;
            }
            let run = &steps[at..];
            let len = after.and_then(|after| run.iter().position(|&step| step >= after.time)).unwrap_or(run.len());
            self.between(input, before, after, &run[..len], &mut flags[at..at + len])?;
            at += len;
        }
        Ok(())
    }

    fn exact(&mut self, input: &Input, sample: Sample) -> Result<()> {
        match &mut self.lane {
            Some(lane) => lane.push(point(&self.picks, input, sample)?.y)?,
            None => self.picks.pick(input, sample.place, 1),
        }
        Ok(())
    }

    fn between(
        &mut self,
        input: &Input,
        before: Option<Sample>,
        after: Option<Sample>,
        steps: &[i64],
        flags: &mut [u8],
    ) -> Result<()> {
        let max_gap = self.max_gap;
        let near = |a: i64, b: i64| max_gap.is_none_or(|max_gap| a.abs_diff(b) <= max_gap);
        let invented = |flags: &mut [u8]| flags.iter_mut().for_each(|flags| *flags |= KNOWN | INVENTED);
        if let Some(lane) = &mut self.lane {
            let Some((from, to)) = before.zip(after).filter(|(from, to)| near(from.time, to.time)) else {
                return lane.fill(steps, None);
            };
            invented(flags);
            let line = (point(&self.picks, input, from)?, point(&self.picks, input, to)?);
            return lane.fill(steps, Some(line));
        }
        let (before, after) = match self.method {
            Method::Locf => (before, None),
            Method::Next => (None, after),
            Method::Nearest => (before, after),
            Method::Linear | Method::None => (None, None),
        };
        let middle = match (before, after) {
            (Some(before), Some(after)) => {
                steps.partition_point(|step| step.abs_diff(before.time) <= after.time.abs_diff(*step))
            }
            (Some(_), None) => steps.len(),
            (None, _) => 0,
        };
        let left = before.map_or(0, |before| steps[..middle].partition_point(|step| near(*step, before.time)));
        let right = after.map_or(0, |after| steps.len() - steps.partition_point(|step| !near(*step, after.time)));
        // Those before the middle are not for the sample after, near as it may be.
        let right = right.min(steps.len() - middle);
        if let Some(before) = before {
            self.picks.pick(input, before.place, left);
        }
        self.picks.nulls(steps.len() - left - right);
        if let Some(after) = after {
            self.picks.pick(input, after.place, right);
        }
        invented(&mut flags[..left]);
        invented(&mut flags[steps.len() - right..]);
        Ok(())
    }

    /// Forgets the samples that no step from `step` on can need, and says in which batch the first is that one may. The last
    /// before it is in no batch that is needed; [`Column::carry`] keeps it.
    pub(super) fn forget(&mut self, step: Option<i64>) -> Option<usize> {
        let Some(step) = step else {
            self.samples.clear();
            return None;
        };
        self.samples.pass(step);
        self.samples.forget();
        self.samples.after().map(|sample| sample.place.0)
    }

    pub(super) fn settle(&mut self, input: &Input) -> Result<()> {
        self.picks.settle(input)
    }

    /// Keeps what is still needed of the batches before number `to`.
    pub(super) fn carry(&mut self, input: &Input, to: usize) -> Result<()> {
        self.samples.before().map_or(Ok(()), |before| self.picks.carry(input, before.place, to))
    }

    /// The column of the output batch.
    pub(super) fn finish(&mut self, input: &Input) -> Result<ArrayRef> {
        match &mut self.lane {
            Some(lane) => lane.finish(),
            None => self.picks.finish(input),
        }
    }
}

fn point(picks: &Picks, input: &Input, sample: Sample) -> Result<Point> {
    let (array, row) = picks.cell(input, sample.place).ok_or_else(|| internal_datafusion_err!("a sample is gone"))?;
    Ok(Point { x: sample.time, y: number(array, row)? })
}
