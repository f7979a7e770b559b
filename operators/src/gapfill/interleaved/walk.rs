//! The walk through rows in the order of time: finds the gaps, remembers each series' last row, makes the missing rows.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::{Result, internal_err};
use datafusion_execution::memory_pool::MemoryReservation;

use crate::gapfill::Fill;
use crate::gapfill::assemble::detached;
use crate::gapfill::column::{constant, time_array};
use crate::gapfill::line::{Lane, Point, number};
use crate::gapfill::window::{time, times};
use crate::keys::Keys;

/// A row that is kept: its batch, and its place in that.
type Place = (u32, u32);

/// No row.
const NONE: Place = (u32::MAX, u32::MAX);

/// Kept rows are copied together when there are more than this, and more than twice as many as are needed.
const KEPT_ROWS_MAX: usize = 1 << 17;

/// The buckets to be filled: `start`, `start + width`, … before `finish`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buckets {
    pub(super) start: i64,
    pub(super) finish: i64,
    pub(super) width: i64,
}

impl Buckets {
    /// The first bucket after a time.
    fn after(&self, time: i64) -> i64 {
        if time < self.start {
            return self.start;
        }
        let (start, width) = (i128::from(self.start), i128::from(self.width));
        let next = start + ((i128::from(time) - start) / width + 1) * width;
        i64::try_from(next).unwrap_or(i64::MAX)
    }

    fn between(&self, first: i64, limit: i64) -> u64 {
        let span = i128::from(limit) - i128::from(first);
        u64::try_from((span + i128::from(self.width) - 1) / i128::from(self.width)).unwrap_or(0)
    }
}

/// What the walk makes of its rows.
pub(super) struct Plan {
    /// Of the output.
    pub(super) schema: SchemaRef,
    pub(super) fills: Vec<Fill>,
    pub(super) buckets: Buckets,
    /// The columns that are kept: time, the series', those filled from other rows.
    pub(super) kept: Vec<usize>,
    pub(super) series: usize,
}

impl Plan {
    pub(super) fn new(schema: SchemaRef, time: usize, series: &[usize], fills: &[Fill], buckets: Buckets) -> Self {
        let mut kept = vec![time];
        kept.extend_from_slice(series);
        let from_others =
            |index: &usize| matches!(fills[*index], Fill::Series | Fill::Locf { .. } | Fill::Interpolate { .. });
        let others: Vec<usize> = (0..fills.len()).filter(|index| from_others(index) && !kept.contains(index)).collect();
        kept.extend(others);
        Self { schema, fills: fills.to_vec(), buckets, kept, series: series.len() }
    }

    pub(super) fn columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.kept.iter().map(|column| Arc::clone(batch.column(*column))).collect()
    }
}

/// Which gaps the rows that are fed have before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gaps {
    /// None.
    No,
    /// From the row of the series before them.
    Between,
    /// Also from the range's start, if there is none.
    All,
}

/// Buckets of a series without rows, one after the other.
#[derive(Debug)]
struct Gap {
    first: i64,
    count: u64,
    /// A row of the series.
    row: Place,
    from: Place,
    to: Place,
}

/// The first and the last rows of the series, of the kept columns: what other partitions must know of one.
pub(super) struct Ends {
    pub(super) first: Vec<ArrayRef>,
    pub(super) last: Vec<ArrayRef>,
}

pub(super) struct Walk {
    plan: Arc<Plan>,
    keys: Keys,
    numbers: Vec<usize>,
    /// By series: its first and last row, and the bucket after that.
    first: Vec<Place>,
    last: Vec<Place>,
    next: Vec<i64>,
    /// By kept column, then batch.
    kept: Vec<Vec<ArrayRef>>,
    kept_rows: usize,
    kept_bytes: usize,
    gaps: VecDeque<Gap>,
    missing: u64,
    reservation: MemoryReservation,
}

impl Walk {
    pub(super) fn new(plan: Arc<Plan>, reservation: MemoryReservation) -> Result<Self> {
        let types: Vec<DataType> =
            plan.kept[1..=plan.series].iter().map(|column| plan.schema.field(*column).data_type().clone()).collect();
        Ok(Self {
            keys: Keys::new(&types)?,
            numbers: vec![],
            first: vec![],
            last: vec![],
            next: vec![],
            kept: vec![vec![]; plan.kept.len()],
            kept_rows: 0,
            kept_bytes: 0,
            gaps: VecDeque::new(),
            missing: 0,
            reservation,
            plan,
        })
    }

    /// Takes rows, as their kept columns, that follow those taken before in time.
    pub(super) fn feed(&mut self, columns: Vec<ArrayRef>, gaps: Gaps) -> Result<()> {
        let times = times(&columns[0])?;
        self.number(&columns[1..=self.plan.series], times.len())?;
        let batch = u32::try_from(self.kept[0].len()).unwrap_or(u32::MAX);
        let buckets = self.plan.buckets;
        for (row, (&time, &series)) in (0..).zip(times.iter().zip(&self.numbers)) {
            let here = (batch, row);
            let (from, next) = (self.last[series], self.next[series]);
            let wanted = match gaps {
                Gaps::No => false,
                Gaps::Between => from != NONE,
                Gaps::All => true,
            };
            let limit = time.min(buckets.finish);
            if next < limit && wanted {
                let count = buckets.between(next, limit);
                self.missing = self.missing.saturating_add(count);
                self.gaps.push_back(Gap { first: next, count, row: here, from, to: here });
            }
            if from == NONE {
                self.first[series] = here;
            }
            self.last[series] = here;
            // Most rows are the very next bucket: no division.
            self.next[series] = if time == next { time.saturating_add(buckets.width) } else { buckets.after(time) };
        }
        self.kept_rows += times.len();
        for (kept, column) in self.kept.iter_mut().zip(columns) {
            self.kept_bytes += column.get_array_memory_size();
            kept.push(column);
        }
        self.account()
    }

    /// The number of each row's series.
    fn number(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        // NULL is the series 0.
        self.keys.intern_nulls(keys, rows, &mut self.numbers)?;
        let count = self.keys.len() + 1;
        self.first.resize(count, NONE);
        self.last.resize(count, NONE);
        self.next.resize(count, self.plan.buckets.start);
        Ok(())
    }

    fn account(&mut self) -> Result<()> {
        let series = self.first.capacity() * (2 * size_of::<Place>() + size_of::<i64>());
        let gaps = self.gaps.capacity() * size_of::<Gap>();
        self.reservation.try_resize(self.keys.bytes() + series + gaps + self.kept_bytes)
    }

    /// The buckets after the last row of each series are gaps.
    pub(super) fn finish(&mut self) {
        let buckets = self.plan.buckets;
        for (series, &last) in self.last.iter().enumerate() {
            let first = self.next[series];
            if last != NONE && first < buckets.finish {
                let count = buckets.between(first, buckets.finish);
                self.missing = self.missing.saturating_add(count);
                self.gaps.push_back(Gap { first, count, row: last, from: last, to: NONE });
            }
        }
    }

    /// Rows to be made.
    pub(super) fn missing(&self) -> u64 {
        self.missing
    }

    /// Whether the rows to be made should be made now, since rows are kept for them.
    pub(super) fn is_full(&self) -> bool {
        self.kept_rows > KEPT_ROWS_MAX.max(4 * self.first.len())
    }

    /// Copies the rows that are needed, if many are kept that are not. There must be no gaps left.
    pub(super) fn compact(&mut self) -> Result<()> {
        debug_assert!(self.gaps.is_empty());
        if !self.is_full() {
            return Ok(());
        }
        let Ends { first, last } = self.ends()?;
        let mut row = 0..;
        for (at, last) in self.last.iter_mut().enumerate().filter(|(_, last)| **last != NONE) {
            let row = row.next().unwrap_or(u32::MAX);
            (self.first[at], *last) = ((0, row), (1, row));
        }
        self.kept = first.into_iter().zip(last).map(|(first, last)| vec![first, last]).collect();
        self.kept_rows = 0;
        self.kept_bytes = self.kept.iter().flatten().map(|array| array.get_array_memory_size()).sum();
        self.account()
    }

    /// The first and the last row of each series.
    pub(super) fn ends(&self) -> Result<Ends> {
        let rows = |places: &[Place]| -> Result<Vec<ArrayRef>> {
            let places: Vec<_> = places.iter().filter(|place| **place != NONE).map(|place| wide(*place)).collect();
            let column = |(column, arrays): (usize, &Vec<ArrayRef>)| match arrays.as_slice() {
                [] => Ok(new_null_array(self.plan.schema.field(self.plan.kept[column]).data_type(), 0)),
                arrays => {
                    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
                    Ok(detached(interleave(&arrays, &places)?))
                }
            };
            self.kept.iter().enumerate().map(column).collect()
        };
        Ok(Ends { first: rows(&self.first)?, last: rows(&self.last)? })
    }

    /// Makes at most so many rows of the gaps.
    pub(super) fn make(&mut self, max: usize) -> Result<RecordBatch> {
        let mut times = vec![];
        let mut runs: Vec<Run> = vec![];
        while times.len() < max {
            let Some(gap) = self.gaps.front_mut() else { break };
            let len = usize::try_from(gap.count).unwrap_or(usize::MAX).min(max - times.len());
            let width = self.plan.buckets.width;
            for _ in 0..len {
                times.push(gap.first);
                gap.first = gap.first.saturating_add(width);
            }
            gap.count -= len as u64;
            runs.push(Run { len, row: gap.row, from: gap.from, to: gap.to });
            if gap.count == 0 {
                self.gaps.pop_front();
            }
        }
        self.missing -= times.len() as u64;
        let arrays = (0..self.plan.fills.len()).map(|column| self.made(column, &times, &runs));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.plan.schema), arrays)?)
    }

    fn made(&self, column: usize, times: &[i64], runs: &[Run]) -> Result<ArrayRef> {
        let data_type = self.plan.schema.field(column).data_type();
        let kept = || match self.plan.kept.iter().position(|kept| *kept == column) {
            Some(at) => Ok(&self.kept[at]),
            None => internal_err!("column {column} is not kept"),
        };
        match &self.plan.fills[column] {
            Fill::Time => time_array(times, data_type),
            Fill::Null => Ok(new_null_array(data_type, times.len())),
            Fill::Value(value) => constant(value)?.to_array_of_size(times.len()),
            Fill::Series => repeated(kept()?, runs, |run| run.row),
            Fill::Locf { .. } => repeated(kept()?, runs, |run| run.from),
            Fill::Interpolate { .. } => lines(kept()?, data_type, times, runs, &self.kept[0]),
            Fill::Row(row) => internal_err!("{row} is not filled here"),
        }
    }
}

/// A piece of a gap.
struct Run {
    len: usize,
    row: Place,
    from: Place,
    to: Place,
}

fn wide((batch, row): Place) -> (usize, usize) {
    (batch as usize, row as usize)
}

/// The values at places, each as often as its run is long.
fn repeated(arrays: &[ArrayRef], runs: &[Run], place: impl Fn(&Run) -> Place) -> Result<ArrayRef> {
    let null = runs.iter().any(|run| place(run) == NONE).then(|| new_null_array(arrays[0].data_type(), 1));
    let sources: Vec<&dyn Array> = arrays.iter().chain(&null).map(AsRef::as_ref).collect();
    let mut places = Vec::with_capacity(runs.iter().map(|run| run.len).sum());
    for run in runs {
        let at = match place(run) {
            NONE => (arrays.len(), 0),
            place => wide(place),
        };
        places.extend(std::iter::repeat_n(at, run.len));
    }
    Ok(detached(interleave(&sources, &places)?))
}

fn lines(values: &[ArrayRef], data_type: &DataType, times: &[i64], runs: &[Run], at: &[ArrayRef]) -> Result<ArrayRef> {
    let point = |place: Place| -> Result<Option<Point>> {
        if place == NONE {
            return Ok(None);
        }
        let (batch, row) = wide(place);
        let values = &values[batch];
        if values.is_null(row) {
            return Ok(None);
        }
        Ok(Some(Point { x: time(&at[batch], row)?, y: number(values, row)? }))
    };
    let mut lane = Lane::new(data_type.clone());
    let mut done = 0;
    for run in runs {
        let line = point(run.from)?.zip(point(run.to)?);
        lane.fill(&times[done..done + run.len], line)?;
        done += run.len;
    }
    lane.finish()
}
