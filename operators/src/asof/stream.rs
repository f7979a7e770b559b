//! The stream of one partition: reads what the walk asks for, and gives out what it joined.
//!
//! ```text
//! step -> Left:   read a left batch             step -> Again: give out what is ready, then step
//! step -> Right:  read a right batch            step -> End:   no more rows come out
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;
use datafusion_execution::RecordBatchStream;
use datafusion_execution::memory_pool::MemoryReservation;
use datafusion_physical_plan::metrics::{BaselineMetrics, Gauge};
use futures::Stream;

use super::output::Output;
use super::rows::{KeptRows, Place};
use super::scale::Scale;
use super::side::{Rows, Side};
use crate::keys::Keys;

/// What a walk needs to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Left,
    Right,
    Again,
    End,
}

/// A walk through both inputs in the order of time.
pub(super) trait Walk {
    /// Goes as far as the batches at hand allow.
    fn step(&mut self, join: &mut Join) -> Result<Need>;

    /// Memory held besides that of `Join`.
    fn bytes(&self) -> usize {
        0
    }
}

/// The latest right row of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latest {
    pub(super) value: i64,
    pub(super) place: Place,
}

impl Latest {
    pub(super) const NONE: Self = Self { value: 0, place: Place::NONE };
}

/// What both walks share.
pub(super) struct Join {
    pub(super) left_side: Side,
    pub(super) right_side: Side,
    pub(super) left: Rows,
    pub(super) right: Rows,
    pub(super) left_ended: bool,
    pub(super) right_ended: bool,
    pub(super) keys: Keys,
    /// By key. Keys of which no right row was read may be beyond its end.
    pub(super) latest: Vec<Latest>,
    pub(super) right_kept: KeptRows,
    /// The number of the right batch being walked through.
    pub(super) right_batch: u32,
    pub(super) scale: Scale,
    pub(super) tolerance: Option<u64>,
    pub(super) output: Output,
    pub(super) batch_rows: usize,
    pub(super) reservation: MemoryReservation,
    /// The most right rows that were kept at a time.
    pub(super) kept_rows: Gauge,
}

impl Join {
    /// Whether so many right rows are kept that dead ones are worth removing: at most a third of what was read since is
    /// copied. Above 1, `factor` puts it off.
    pub(super) fn is_compaction_due(&self, factor: usize) -> bool {
        // The batch being walked through stays in any case.
        let current = if self.right.is_done() { 0 } else { self.right.values.len() };
        let enough = (4 * self.batch_rows).max(3 * self.latest.len());
        self.right_kept.rows().saturating_sub(current) >= factor * enough
    }

    /// Removes the right rows that no key refers to. Neither do places besides `latest` and `others` survive.
    pub(super) fn compact<'a>(&'a mut self, others: impl Iterator<Item = &'a mut Latest>) -> Result<()> {
        let live = self.latest.iter_mut().chain(others).map(|latest| &mut latest.place);
        if self.right.is_done() {
            self.right_kept.compact(self.right_batch + 1, live)
        } else {
            self.right_kept.compact(self.right_batch, live)?;
            self.right_batch = 1;
            Ok(())
        }
    }

    fn load_left(&mut self, batch: Option<RecordBatch>) -> Result<()> {
        let Some(batch) = batch else {
            self.left_ended = true;
            return Ok(());
        };
        self.left_side.load(&batch, &mut self.keys, &mut self.left)
    }

    fn load_right(&mut self, batch: Option<RecordBatch>) -> Result<()> {
        let Some(batch) = batch else {
            self.right_ended = true;
            return Ok(());
        };
        self.right_side.load(&batch, &mut self.keys, &mut self.right)?;
        self.latest.resize(self.keys.len(), Latest::NONE);
        if let Some(batch) = self.right.batch.take() {
            self.right_batch = self.right_kept.push(batch)?;
        }
        self.kept_rows.set_max(self.right_kept.rows());
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.right_kept.bytes() + self.keys.bytes() + self.latest.capacity() * size_of::<Latest>()
    }
}

/// The stream of one partition.
pub(super) struct AsofStream<W> {
    join: Join,
    walk: W,
    need: Need,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

impl<W: Walk> AsofStream<W> {
    pub(super) fn new(join: Join, walk: W, schema: SchemaRef, metrics: BaselineMetrics) -> Self {
        Self { join, walk, need: Need::Left, schema, metrics }
    }

    fn poll(&mut self, cx: &mut Context) -> Poll<Option<Result<RecordBatch>>> {
        let elapsed = self.metrics.elapsed_compute().clone();
        loop {
            if let Some(batch) = self.join.output.next() {
                return Poll::Ready(Some(Ok(batch)));
            }
            let read = match self.need {
                Need::Left => Some(ready!(self.join.left_side.poll(cx)).transpose()?),
                Need::Right => Some(ready!(self.join.right_side.poll(cx)).transpose()?),
                Need::Again => None,
                Need::End => return Poll::Ready(None),
            };
            let _timer = elapsed.timer();
            if let Some(batch) = read {
                match self.need {
                    Need::Left => self.join.load_left(batch)?,
                    _ => self.join.load_right(batch)?,
                }
                self.join.reservation.try_resize(self.join.bytes() + self.walk.bytes())?;
            }
            self.need = self.walk.step(&mut self.join)?;
            if self.need == Need::End {
                self.join.output.finish()?;
                self.close();
            }
        }
    }

    /// Reads no more, and lets go of what fed this stream.
    fn close(&mut self) {
        self.need = Need::End;
        self.join.left_side.close();
        self.join.right_side.close();
    }
}

impl<W: Walk + Unpin> Stream for AsofStream<W> {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Option<Self::Item>> {
        let poll = self.poll(cx);
        if let Poll::Ready(Some(Err(_))) = &poll {
            self.close();
        }
        self.metrics.record_poll(poll)
    }
}

impl<W: Walk + Unpin> RecordBatchStream for AsofStream<W> {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}
