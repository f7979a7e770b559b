//! The stream of one partition: reads until the windows of some left rows are whole, then gives those rows out.
//!
//! ```text
//! left    10:04 A   10:05 B   10:09 A            10:04 and 10:05 are ready once a right row after the end of
//! right   …  10:05  10:06                        10:05's window was read
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion_common::{Result, ScalarValue};
use datafusion_execution::RecordBatchStream;
use datafusion_execution::memory_pool::MemoryReservation;
use datafusion_physical_plan::metrics::{BaselineMetrics, Gauge};
use futures::Stream;

use super::Window;
use super::aggregates::Aggregates;
use super::series::Series;
use crate::asof::output::Output;
use crate::asof::rows::{KeptRows, Place};
use crate::asof::side::{Rows, Side};
use crate::keys::{Keys, NO_KEY};

/// Right rows that are aggregated until others have their turn: some milliseconds' worth.
const TURN_ROWS: usize = 1 << 20;

/// What a stream is made of.
pub(super) struct Parts {
    pub(super) left_side: Side,
    pub(super) right_side: Side,
    pub(super) left: Rows,
    pub(super) right: Rows,
    pub(super) keys: Keys,
    pub(super) window: Window,
    /// What the aggregates read of the right rows.
    pub(super) kept: KeptRows,
    pub(super) aggregates: Aggregates,
    pub(super) output: Output,
    pub(super) schema: SchemaRef,
    pub(super) batch_rows: usize,
    pub(super) reservation: MemoryReservation,
    /// The most right rows that were kept at a time.
    pub(super) kept_rows: Gauge,
    pub(super) metrics: BaselineMetrics,
}

/// What the stream needs to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Left,
    Right,
    Again,
    End,
}

/// The stream of one partition.
pub(super) struct WindowStream {
    parts: Parts,
    need: Need,
    right_ended: bool,
    /// The greatest right time read.
    reached: Option<i64>,
    /// By key.
    series: Vec<Series>,
    /// Rows in all of them.
    rows: usize,
    /// Rows that were left when dead ones were dropped last.
    live: usize,
    state_bytes: usize,
    /// Rows aggregated for one left row lately.
    work: usize,
    /// Rows aggregated in this turn.
    turn: usize,
}

impl WindowStream {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            need: Need::Left,
            right_ended: false,
            reached: None,
            series: vec![],
            rows: 0,
            live: 0,
            state_bytes: 0,
            work: 0,
            turn: 0,
        }
    }

    fn poll(&mut self, cx: &mut Context) -> Poll<Option<Result<RecordBatch>>> {
        let elapsed = self.parts.metrics.elapsed_compute().clone();
        loop {
            if let Some(batch) = self.parts.output.next() {
                return Poll::Ready(Some(Ok(batch)));
            }
            if self.turn > TURN_ROWS {
                self.turn = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let read = match self.need {
                Need::Left => Some(ready!(self.parts.left_side.poll(cx)).transpose()?),
                Need::Right => Some(ready!(self.parts.right_side.poll(cx)).transpose()?),
                Need::Again => None,
                Need::End => return Poll::Ready(None),
            };
            let _timer = elapsed.timer();
            match (read, self.need) {
                (None, _) => {}
                (Some(None), Need::Left) => {
                    self.parts.output.finish()?;
                    self.close();
                    continue;
                }
                (Some(None), _) => self.right_ended = true,
                (Some(Some(batch)), Need::Left) => {
                    let parts = &mut self.parts;
                    parts.left_side.load(&batch, &mut parts.keys, &mut parts.left)?;
                }
                (Some(Some(batch)), _) => self.load_right(&batch)?,
            }
            self.need = self.step()?;
            self.parts.reservation.try_resize(self.bytes())?;
        }
    }

    /// Reads no more, and lets go of what fed this stream.
    fn close(&mut self) {
        self.need = Need::End;
        self.parts.left_side.close();
        self.parts.right_side.close();
        self.series = vec![];
    }

    fn bytes(&self) -> usize {
        let queues = self.rows * size_of::<(i64, Place)>() + self.series.capacity() * size_of::<Series>();
        self.parts.kept.bytes() + self.parts.keys.bytes() + queues + self.state_bytes
    }

    fn load_right(&mut self, batch: &RecordBatch) -> Result<()> {
        let parts = &mut self.parts;
        parts.right_side.load(batch, &mut parts.keys, &mut parts.right)?;
        let number = parts.kept.push(parts.aggregates.inputs(batch)?)?;
        self.series.resize_with(parts.keys.len(), Series::default);
        for (row, (time, key)) in (0..).zip(parts.right.values.iter().zip(&parts.right.keys)) {
            if let Some(series) = self.series.get_mut(*key) {
                series.rows.push_back((*time, Place { batch: number, row }));
                self.rows += 1;
            }
            // NULL is last, and the least value: it does not count.
            self.reached = self.reached.max(Some(*time));
        }
        parts.kept_rows.set_max(parts.kept.rows());
        Ok(())
    }

    /// Gives out the left rows that are ready, or some of them.
    fn step(&mut self) -> Result<Need> {
        let left = &self.parts.left;
        if left.is_done() {
            self.drop_dead(None)?;
            return Ok(Need::Left);
        }
        let most = if self.parts.aggregates.recomputes() { TURN_ROWS / (self.work + 1) + 1 } else { usize::MAX };
        let rest = (left.at..left.values.len()).take(most);
        let is_ready = |row: &usize| {
            self.right_ended
                || left.keys[*row] == NO_KEY
                || self.reached.is_some_and(|reached| self.parts.window.end(left.values[*row]) < reached)
        };
        let ready = rest.take_while(is_ready).count();
        if ready == 0 {
            self.drop_dead(Some(self.parts.left.values[self.parts.left.at]))?;
            return Ok(Need::Right);
        }
        self.give(ready)?;
        Ok(Need::Again)
    }

    /// Adds the next left rows to the output: as many of `count` as one turn allows.
    fn give(&mut self, count: usize) -> Result<()> {
        let at = self.parts.left.at;
        let all = self.parts.aggregates.recomputes();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|row| self.parts.left.keys[at + row]);
        // Windows, and the rows that they move over.
        let mut windows: Vec<(usize, usize)> = vec![(0, 0); count];
        let mut stretches: Vec<Stretch> = vec![];
        let mut places: Vec<Place> = vec![];
        for rows in order.chunk_by(|a, b| self.parts.left.keys[at + a] == self.parts.left.keys[at + b]) {
            let key = self.parts.left.keys[at + rows[0]];
            let Some(series) = self.series.get(key) else { continue };
            let mut last = (series.begin, series.end);
            for row in rows {
                last = series.window(self.parts.window, self.parts.left.values[at + row], last);
                windows[*row] = last;
            }
            let stretch = Stretch::new(series, windows[rows[0]].0, last, all, places.len());
            places.extend(stretch.rows().map(|row| series.rows[row].1));
            stretches.push(stretch);
        }
        let mut work = 0;
        let fits = windows.iter().take_while(|(begin, end)| {
            work += end - begin;
            work <= TURN_ROWS
        });
        let fits = fits.count().max(1);
        if all && fits < count {
            return self.give(fits);
        }
        let columns = self.parts.kept.gather(&places)?;
        let empty = self.parts.aggregates.empty();
        let mut values: Vec<Vec<ScalarValue>> = empty.iter().map(|value| vec![value.clone(); count]).collect();
        let mut stretches = stretches.into_iter();
        for rows in order.chunk_by(|a, b| self.parts.left.keys[at + a] == self.parts.left.keys[at + b]) {
            let key = self.parts.left.keys[at + rows[0]];
            let Some(series) = self.series.get_mut(key) else { continue };
            let Some(stretch) = stretches.next() else { continue };
            self.state_bytes -= series.state_bytes();
            for (nth, row) in rows.iter().enumerate() {
                let (begin, end) = windows[*row];
                slide(&self.parts.aggregates, series, &stretch, &columns, (begin, end))?;
                if begin == end {
                    continue;
                }
                let previous = nth.checked_sub(1).map(|nth| rows[nth]);
                if let Some(previous) = previous.filter(|previous| windows[*previous] == (begin, end)) {
                    values.iter_mut().for_each(|column| column[*row] = column[previous].clone());
                    continue;
                }
                let states = series.states.as_deref_mut().unwrap_or_default();
                let found = self.parts.aggregates.values(states, || stretch.slice(&columns, begin, end))?;
                values.iter_mut().zip(found).for_each(|(column, value)| column[*row] = value);
            }
            let passed = series.begin;
            series.drop_front(passed);
            self.rows -= passed;
            self.state_bytes += series.state_bytes();
        }
        let columns = values.into_iter().map(ScalarValue::iter_to_array).collect::<Result<Vec<ArrayRef>>>()?;
        if let Some(batch) = &self.parts.left.batch {
            self.parts.output.push(batch.slice(at, count).columns(), &columns, count)?;
        }
        self.parts.left.at += count;
        self.work = work.div_ceil(count);
        self.turn += if all { work } else { places.len() } + count;
        Ok(())
    }

    /// Drops right rows that no window reaches any more, if there are enough to be worth it. `next`: the time of the next
    /// left row, if it is known.
    fn drop_dead(&mut self, next: Option<i64>) -> Result<()> {
        let enough = (4 * self.parts.batch_rows).max(2 * self.live);
        if self.parts.kept.rows().max(self.rows) < enough {
            return Ok(());
        }
        let last = self.parts.left.values.last().copied();
        if let Some(time) = next.or(last) {
            let low = self.parts.window.begin(time);
            for series in &mut self.series {
                let before = series.rows.len();
                let bytes = series.state_bytes();
                series.drop_before(low, self.parts.window.prevailing);
                self.rows -= before - series.rows.len();
                self.state_bytes -= bytes - series.state_bytes();
            }
        }
        self.live = self.rows;
        let places = self.series.iter_mut().flat_map(|series| series.rows.iter_mut().map(|(_, place)| place));
        self.parts.kept.compact(u32::MAX, places)
    }
}

/// Moves what slides to a window.
fn slide(
    aggregates: &Aggregates,
    series: &mut Series,
    stretch: &Stretch,
    columns: &[ArrayRef],
    (begin, end): (usize, usize),
) -> Result<()> {
    if begin >= series.end {
        // Nothing in common with what was taken in.
        series.states = None;
    }
    let (from, taken) = match &series.states {
        Some(_) => (series.begin, series.end),
        None => (begin, begin),
    };
    if begin < end {
        let states = match &mut series.states {
            Some(states) => states,
            none => none.insert(aggregates.states()?),
        };
        if from < begin {
            aggregates.remove(states, &stretch.slice(columns, from, begin))?;
        }
        if taken < end {
            aggregates.add(states, &stretch.slice(columns, taken, end))?;
        }
    }
    (series.begin, series.end) = (begin, end);
    Ok(())
}

/// The rows of a series that its windows move over, among the gathered ones.
struct Stretch {
    /// Rows that leave windows, or all.
    from: usize,
    until: usize,
    /// Rows that come in.
    more_from: usize,
    more_until: usize,
    /// Where the first is.
    offset: usize,
}

impl Stretch {
    fn new(series: &Series, begin: usize, last: (usize, usize), all: bool, offset: usize) -> Self {
        let (from, taken) = match &series.states {
            Some(_) if begin < series.end => (series.begin, series.end),
            _ => (begin, begin),
        };
        let until = if all { last.1 } else { last.0.min(last.1) };
        let until = until.max(from);
        let more_from = taken.max(until);
        Self { from, until, more_from, more_until: last.1.max(more_from), offset }
    }

    fn rows(&self) -> impl Iterator<Item = usize> + use<> {
        (self.from..self.until).chain(self.more_from..self.more_until)
    }

    /// Rows that are all in one of the two parts, or in both where those meet.
    fn slice(&self, columns: &[ArrayRef], begin: usize, end: usize) -> Vec<ArrayRef> {
        let place = if begin < self.until || self.more_from == self.until {
            begin - self.from
        } else {
            begin - self.more_from + self.until - self.from
        };
        columns.iter().map(|column| column.slice(self.offset + place, end - begin)).collect()
    }
}

impl Stream for WindowStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Option<Self::Item>> {
        let poll = self.poll(cx);
        if let Poll::Ready(Some(Err(_))) = &poll {
            self.close();
        }
        self.parts.metrics.record_poll(poll)
    }
}

impl RecordBatchStream for WindowStream {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.parts.schema)
    }
}
