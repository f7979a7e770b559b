//! The output of one partition.
//!
//! ```text
//!  window     [ batch 0 ][ batch 1 ]…          position: the next row to be given
//!  grid       the next bucket of the series that nothing was given for
//!
//!  step:      bucket before the row?  → a gap up to the row, or to as much as the output batch has room for
//!             else                    → as many rows as need no gap between them
//! ```
//!
//! Columns collect from both; when the output batch is full they become arrays, and the batches passed are let go. A gap is
//! only ever made as far as the output batch being built.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion_common::{Result, ScalarValue, exec_datafusion_err};
use datafusion_execution::SendableRecordBatchStream;
use datafusion_physical_plan::metrics::{BaselineMetrics, RecordOutput, Time};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use super::Lookup;
use super::column::{Column, Kind};
use super::grid::Grid;
use super::interpolate::Next;
use super::line::{Point, looked_up, number};
use super::window::{Place, Window};

/// An output batch is given early rather than keeping more input batches than this in memory.
const BATCHES_MAX: usize = 16;

pub(super) struct Filling {
    pub(super) input: SendableRecordBatchStream,
    /// Of the output.
    pub(super) schema: SchemaRef,
    pub(super) series: Vec<usize>,
    pub(super) columns: Vec<Column>,
    pub(super) grid: Grid,
    pub(super) window: Window,
    pub(super) batch_rows: usize,
    pub(super) metrics: BaselineMetrics,
    pub(super) state: State,
}

#[derive(Default)]
pub(super) struct State {
    /// The row to be given next.
    batch: usize,
    row: usize,
    /// Its run of rows of one series, in `ends` of its batch.
    run: usize,
    /// Whether the row was passed by the check for a new series.
    checked: bool,
    /// The input is over.
    read: bool,
    /// A series is being filled, and one ever was.
    open: bool,
    opened: bool,
    /// Everything was given.
    finished: bool,
    /// The output batch being built: its rows, and the buckets made.
    rows: usize,
    times: Vec<i64>,
    /// Spent waiting for the input and for what is looked up.
    waited: Time,
}

impl Filling {
    pub(super) fn stream(self) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let batches = futures::stream::try_unfold(self, |mut filling| async move {
            let batch = filling.next().await?;
            Ok(batch.map(|batch| (batch, filling)))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let total = Time::new();
        let waited = self.state.waited.value();
        let timer = total.timer();
        while !self.state.finished && self.state.rows < self.batch_rows {
            if self.state.batch >= BATCHES_MAX && self.state.rows > 0 {
                break;
            }
            self.step().await?;
        }
        let batch = if self.state.rows > 0 { Some(self.finish_batch()?) } else { None };
        timer.done();
        let computed = total.value().saturating_sub(self.state.waited.value() - waited);
        self.metrics.elapsed_compute().add_duration(std::time::Duration::from_nanos(computed as u64));
        Ok(batch.record_output(&self.metrics))
    }

    /// Does one thing: reads a batch, begins or ends a series, makes a gap or takes over rows.
    async fn step(&mut self) -> Result<()> {
        let State { batch, row, run, checked, open, .. } = self.state;
        let Some(held) = self.window.get(batch) else {
            return if self.read(false).await? { Ok(()) } else { self.end().await };
        };
        if row == held.rows() {
            self.state.batch += 1;
            (self.state.row, self.state.run, self.state.checked) = (0, 0, false);
            return Ok(());
        }
        if row == held.ends[run] {
            self.state.run += 1;
            self.state.checked = false;
            return Ok(());
        }
        let finish = self.grid.range().finish;
        if !checked && (row > 0 || !held.continues) {
            if open && self.grid.at() < finish {
                return self.gap(None, finish).await;
            }
            self.begin_series();
        }
        self.state.checked = true;
        let limit = self.window.get(batch).map_or(finish, |held| held.times[row].min(finish));
        if self.grid.at() < limit { self.gap(Some((batch, row)), limit).await } else { self.rows().await }
    }

    /// The input is over: fills the last series, or the only one if it has no columns and no rows.
    async fn end(&mut self) -> Result<()> {
        if !self.state.opened && self.series.is_empty() {
            self.begin_series();
        }
        let finish = self.grid.range().finish;
        if self.state.open && self.grid.at() < finish {
            return self.gap(None, finish).await;
        }
        self.state.finished = true;
        Ok(())
    }

    fn begin_series(&mut self) {
        (self.state.open, self.state.opened) = (true, true);
        self.grid.reset();
        self.columns.iter_mut().for_each(Column::begin_series);
    }

    /// Reads the next batch with rows; false at the end. Dropped while it waits, it has changed nothing.
    async fn read(&mut self, ahead: bool) -> Result<bool> {
        while !self.state.read {
            let waited = self.state.waited.clone();
            let timer = waited.timer();
            let batch = self.input.next().await;
            timer.done();
            match batch.transpose()? {
                None => self.state.read = true,
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
                    self.window.push(batch, ahead)?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Makes rows for the buckets before `limit`, as many as there is room for. `next` is the row of the series after them.
    async fn gap(&mut self, next: Option<Place>, limit: i64) -> Result<()> {
        let first = self.grid.is_first();
        for column in 0..self.columns.len() {
            match &self.columns[column].kind {
                Kind::Repeat(repeat) if first => {
                    let lookup = repeat.wanted(false);
                    self.carry(column, lookup, next).await?;
                }
                Kind::Interpolate(line) => {
                    let begun = line.from.is_some();
                    self.find_end(column, next, next, begun, first).await?;
                }
                _ => {}
            }
        }
        let room = self.batch_rows - self.state.rows;
        let made = self.state.times.len();
        self.state.rows += self.grid.take(limit, room, &mut self.state.times)?;
        for column in &mut self.columns {
            column.gap(&self.state.times[made..], next)?;
        }
        Ok(())
    }

    /// Takes over rows up to the next gap, all inside the range or all outside of it.
    async fn rows(&mut self) -> Result<()> {
        let State { batch, row, run, rows, .. } = self.state;
        let Some(held) = self.window.get(batch) else { return Ok(()) };
        let range = self.grid.range();
        let times = &held.times[row..held.ends[run].min(row + self.batch_rows - rows)];
        let inside = range.start <= times[0] && times[0] < range.finish;
        let first = inside && self.grid.is_first() && times[0] == range.start;
        let len = if inside {
            self.grid.pass(times)?
        } else if times[0] < range.start {
            times.iter().position(|&time| time >= range.start).unwrap_or(times.len())
        } else {
            times.iter().position(|&time| time < range.finish).unwrap_or(times.len())
        };
        if inside {
            self.prepare_nulls((batch, row), len, first).await?;
        }
        let Some(held) = self.window.get(batch) else { return Ok(()) };
        for column in &mut self.columns {
            column.rows(held, (batch, row), len, inside)?;
        }
        self.state.row += len;
        self.state.rows += len;
        Ok(())
    }

    /// Finds what the NULLs among rows of the range are filled with, as far as it is not in these rows. `first` says that the
    /// first of them is that of the first bucket.
    async fn prepare_nulls(&mut self, (batch, row): Place, len: usize, first: bool) -> Result<()> {
        for column in 0..self.columns.len() {
            let Some(nulls) = self.window.get(batch).and_then(|held| held.nulls[column].clone()) else { continue };
            let first = first && nulls.is_null(row);
            match &self.columns[column].kind {
                Kind::Repeat(repeat) if first => {
                    let lookup = repeat.wanted(true);
                    self.carry(column, lookup, Some((batch, row))).await?;
                }
                Kind::Interpolate(line) if line.treat_null_as_missing => {
                    let values = nulls.slice(row, len).null_count() < len;
                    let begun = values || line.from.is_some();
                    if first && values && line.from.is_none() {
                        self.find_begin(column, Some((batch, row))).await?;
                    }
                    if nulls.is_null(row + len - 1) {
                        let after = Some((batch, row + len));
                        self.find_end(column, after, Some((batch, row)), begun, first && !values).await?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Looks up what a column carries into the first bucket.
    async fn carry(&mut self, column: usize, lookup: Option<Arc<dyn Lookup>>, row: Option<Place>) -> Result<()> {
        let Some(lookup) = lookup else { return Ok(()) };
        let found = self.look_up(column, &lookup, row).await?;
        if let (Some((_, value)), Kind::Repeat(repeat)) = (found, &mut self.columns[column].kind) {
            repeat.carry(value);
        }
        Ok(())
    }

    /// Looks up where a line begins. `row` is one of the series.
    async fn find_begin(&mut self, column: usize, row: Option<Place>) -> Result<bool> {
        let Kind::Interpolate(line) = &self.columns[column].kind else { return Ok(false) };
        let Some(lookup) = line.prev.clone() else { return Ok(false) };
        let point = self.look_up(column, &lookup, row).await?.map(point).transpose()?;
        if let Kind::Interpolate(line) = &mut self.columns[column].kind {
            line.from = point;
        }
        Ok(point.is_some())
    }

    /// Finds where a line ends: at the next value from `from` on, or at what is looked up after the series' last row. `row` is
    /// one of the series. Only what matters is looked up: without a begin, which `begun` says there will be, no end.
    async fn find_end(
        &mut self,
        column: usize,
        from: Option<Place>,
        row: Option<Place>,
        begun: bool,
        first: bool,
    ) -> Result<()> {
        let next = self.find_next(column, from).await?;
        let broken = matches!(next, Next::Broken);
        let begun = begun || (!broken && first && self.find_begin(column, row).await?);
        let Kind::Interpolate(line) = &mut self.columns[column].kind else { return Ok(()) };
        line.to = match next {
            Next::Point(point) if begun => Some(point),
            Next::End if begun => match (line.after, line.next.clone()) {
                (Some(after), _) => after,
                (None, None) => None,
                (None, Some(lookup)) => {
                    let after = self.look_up(column, &lookup, row).await?.map(point).transpose()?;
                    if let Kind::Interpolate(line) = &mut self.columns[column].kind {
                        (line.after, line.to) = (Some(after), after);
                    }
                    return Ok(());
                }
            },
            Next::Point(_) | Next::Broken | Next::End | Next::Unknown => None,
        };
        Ok(())
    }

    /// What follows in a column from a row on, or from the end of the series; reads ahead if it must.
    async fn find_next(&mut self, column: usize, from: Option<Place>) -> Result<Next> {
        let Some(from) = from else { return Ok(Next::End) };
        loop {
            let end = self.window.get(from.0).map_or(0, |held| held.ends[self.state.run]);
            let Kind::Interpolate(line) = &mut self.columns[column].kind else { return Ok(Next::End) };
            match line.look(&self.window, column, from, end)? {
                Next::Unknown if !self.read(true).await? => return Ok(Next::End),
                Next::Unknown => {}
                next => return Ok(next),
            }
        }
    }

    async fn look_up(
        &mut self,
        column: usize,
        lookup: &Arc<dyn Lookup>,
        row: Option<Place>,
    ) -> Result<Option<(i64, ArrayRef)>> {
        let series = self.series_values(row)?;
        let waited = self.state.waited.clone();
        let timer = waited.timer();
        let sample = lookup.row(&series).await?;
        timer.done();
        looked_up(sample, self.schema.field(column).data_type())
    }

    /// The values of the series' columns, from a row of it or from what its columns repeat.
    fn series_values(&self, row: Option<Place>) -> Result<Vec<ScalarValue>> {
        let value = |&column: &usize| {
            let in_window = |batch: usize| self.window.get(batch).map(|held| held.batch.column(column));
            let cell = match (row, &self.columns[column].kind) {
                (Some((batch, row)), _) => in_window(batch).map(|array| (array, row)),
                (None, Kind::Repeat(repeat)) => repeat.last(in_window),
                (None, _) => None,
            };
            let (array, row) = cell.ok_or_else(|| exec_datafusion_err!("a series without rows"))?;
            ScalarValue::try_from_array(array, row)
        };
        self.series.iter().map(value).collect()
    }

    /// The output batch; lets go of the input that was passed.
    fn finish_batch(&mut self) -> Result<RecordBatch> {
        let passed = self.state.batch.min(self.window.len());
        // Batches read ahead have no rows in it.
        let in_window = |column| self.window.arrays(column, passed + 1);
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter_mut().enumerate() {
            arrays.push(column.finish(&in_window(index), &self.state.times, passed)?);
        }
        if self.columns.iter().any(|column| matches!(column.kind, Kind::Row(_))) {
            // Its columns are NULL where the schema may say that they are not.
            let nullable = super::properties::nullable(&self.schema);
            let rows = RecordBatch::try_new(nullable, arrays.clone())?;
            for (index, column) in self.columns.iter_mut().enumerate() {
                if let Some(array) = column.evaluate(&in_window(index), &rows)? {
                    arrays[index] = array;
                }
            }
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)?;
        self.window.release(passed);
        self.state.batch -= passed;
        self.state.rows = 0;
        self.state.times.clear();
        Ok(batch)
    }
}

fn point((x, value): (i64, ArrayRef)) -> Result<Point> {
    Ok(Point { x, y: number(&value, 0)? })
}
