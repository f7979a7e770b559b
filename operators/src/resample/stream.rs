//! The output of one partition.
//!
//! ```text
//!  rows of the series    ....................|  horizon: the time of the last row read
//!  steps                 made made made |       known: what no later row can change, in any column
//!
//!  while the output batch is not full:   steps known?       → make their rows
//!                                        rows of the series → its samples, and a later horizon
//!                                        rows of another    → the series has ended: all of its steps are known
//! ```
//!
//! Before more is read, batches that no column needs any more are let go.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion_common::Result;
use datafusion_execution::SendableRecordBatchStream;
use datafusion_execution::memory_pool::MemoryReservation;
use datafusion_physical_plan::metrics::{BaselineMetrics, RecordOutput};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use super::column::{Column, INVENTED, KNOWN};
use super::grid::Grid;
use super::input::Input;
use super::picks::Picks;
use crate::gapfill::column::time_array;
use crate::gapfill::window::Place;

pub(super) struct Resampling {
    pub(super) source: SendableRecordBatchStream,
    /// Of the output.
    pub(super) schema: SchemaRef,
    pub(super) series: Vec<Picks>,
    pub(super) columns: Vec<Column>,
    pub(super) grid: Grid,
    pub(super) input: Input,
    pub(super) batch_rows: usize,
    pub(super) metrics: BaselineMetrics,
    /// For the samples; batches have their own.
    pub(super) reservation: MemoryReservation,
    pub(super) state: State,
}

#[derive(Default)]
pub(super) struct State {
    /// The batch whose rows are to be taken next, and which of its runs of rows of one series.
    batch: usize,
    run: usize,
    /// The source is over.
    read: bool,
    /// A series was begun, and all of its rows were taken.
    open: bool,
    ended: bool,
    /// The first row of the series, and the time of the last one taken.
    first: Place,
    horizon: i64,
    /// The output batch being built: its steps, and for each what its columns said.
    steps: Vec<i64>,
    flags: Vec<u8>,
}

impl Resampling {
    pub(super) fn stream(self) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let batches = futures::stream::try_unfold(self, |mut resampling| async move {
            let batch = resampling.next().await?;
            Ok(batch.map(|batch| (batch, resampling)))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let elapsed = self.metrics.elapsed_compute().clone();
        loop {
            let timer = elapsed.timer();
            let wants_more = self.advance()?;
            if !wants_more {
                let batch = if self.state.steps.is_empty() { None } else { Some(self.finish_batch()?) };
                timer.done();
                return Ok(batch.record_output(&self.metrics));
            }
            self.release()?;
            timer.done();
            match self.source.next().await.transpose()? {
                None => self.state.read = true,
                Some(batch) => self.input.push(batch)?,
            }
        }
    }

    /// Makes rows until the output batch is full or all is made; true if the next batch must be read for it.
    fn advance(&mut self) -> Result<bool> {
        while self.state.steps.len() < self.batch_rows {
            if self.state.open && self.make()? {
                continue;
            }
            let run = self.state.run;
            let rows = self.input.get(self.state.batch).map(|held| {
                let start = if run == 0 { 0 } else { held.ends[run - 1] };
                (start..held.ends[run], run == 0 && held.continues)
            });
            match rows {
                None if !self.state.read => return Ok(true),
                Some((rows, true)) => self.take(rows)?,
                _ if self.state.open && !self.state.ended => self.state.ended = true,
                Some((rows, false)) => {
                    self.begin_series(rows.start)?;
                    self.take(rows)?;
                }
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    fn begin_series(&mut self, row: usize) -> Result<()> {
        (self.state.open, self.state.ended) = (true, false);
        self.state.first = (self.state.batch, row);
        self.columns.iter_mut().for_each(Column::begin_series);
        match self.input.get(self.state.batch) {
            Some(held) => self.grid.begin(held.times[row]),
            None => Ok(()),
        }
    }

    /// Takes the samples from the next rows.
    fn take(&mut self, rows: std::ops::Range<usize>) -> Result<()> {
        let Some(held) = self.input.get(self.state.batch) else { return Ok(()) };
        self.state.horizon = held.times[rows.end - 1];
        let is_last = rows.end == held.rows();
        // After the last step, rows are only skipped.
        if self.grid.at().is_some() {
            for column in &mut self.columns {
                column.push(&self.input, self.state.batch, rows.clone());
            }
            self.reservation.try_resize(self.columns.iter().map(Column::bytes).sum())?;
        }
        self.state.run += 1;
        if is_last {
            (self.state.batch, self.state.run) = (self.state.batch + 1, 0);
        }
        Ok(())
    }

    /// The last step of the series that is decided in all columns.
    fn known(&self) -> Option<i64> {
        let State { ended, horizon, .. } = self.state;
        match (ended, self.grid.has_finish()) {
            (true, true) => Some(i64::MAX),
            (true, false) => Some(horizon),
            (false, _) => {
                let all = horizon.checked_sub(1);
                self.columns.iter().map(|column| column.known(horizon)).fold(all, std::cmp::min)
            }
        }
    }

    /// Makes the rows of steps that are known, as many as there is room for; false if there are none.
    fn make(&mut self) -> Result<bool> {
        let (Some(at), Some(known)) = (self.grid.at(), self.known()) else { return Ok(false) };
        if known < at {
            return Ok(false);
        }
        let State { steps, flags, first, .. } = &mut self.state;
        let made = steps.len();
        self.grid.take(known, self.batch_rows - made, steps)?;
        flags.resize(steps.len(), 0);
        for column in &mut self.columns {
            column.fill(&self.input, &steps[made..], &mut flags[made..])?;
        }
        for column in &mut self.series {
            column.pick(&self.input, *first, steps.len() - made);
        }
        Ok(true)
    }

    /// Lets go of the batches that nothing is needed of.
    fn release(&mut self) -> Result<()> {
        let step = self.grid.at();
        let needed = self.columns.iter_mut().filter_map(|column| column.forget(step));
        let to = needed.fold(self.state.batch, usize::min);
        if to == self.input.first() {
            return Ok(());
        }
        for column in &mut self.columns {
            column.settle(&self.input)?;
            column.carry(&self.input, to)?;
        }
        for column in &mut self.series {
            column.settle(&self.input)?;
            column.carry(&self.input, self.state.first, to)?;
        }
        self.input.release(to);
        Ok(())
    }

    fn finish_batch(&mut self) -> Result<RecordBatch> {
        let State { steps, flags, .. } = &mut self.state;
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for column in &mut self.series {
            arrays.push(column.finish(&self.input)?);
        }
        arrays.push(time_array(steps, self.schema.field(arrays.len()).data_type())?);
        for column in &mut self.columns {
            arrays.push(column.finish(&self.input)?);
        }
        let filled = |flags: &u8| flags & INVENTED != 0 || flags & KNOWN == 0;
        arrays.push(Arc::new(BooleanArray::from(flags.iter().map(filled).collect::<Vec<bool>>())));
        steps.clear();
        flags.clear();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)?;
        self.release()?;
        Ok(batch)
    }
}
