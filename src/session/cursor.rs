//! SQL cursors: DECLARE, FETCH, MOVE, CLOSE.
//!
//! A cursor is a running query that stands still between fetches; it holds at most one batch. With SCROLL it keeps the
//! rows it has passed (within the query memory limit), since the engine does not run backward.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

use super::Column;
use crate::error::SqlState;
use crate::instance::ListedCursor;
use crate::statement::control::Direction;
use crate::{Error, Result};

/// An open cursor.
pub(crate) struct Cursor {
    /// Its columns.
    pub(crate) columns: Vec<Column>,
    /// WITH HOLD
    pub(crate) hold: bool,
    /// WITH HOLD, and its transaction has committed.
    pub(crate) held: bool,
    /// How pg_cursors shows it.
    pub(crate) listed: ListedCursor,
    state: Arc<tokio::sync::Mutex<State>>,
}

/// Where a cursor stands. `position` counts rows from 1; 0 is before the first.
struct State {
    schema: SchemaRef,
    rest: Option<SendableRecordBatchStream>,
    /// Rows read from the query and not yet forgotten; the first is row `forgotten` + 1.
    kept: Vec<RecordBatch>,
    forgotten: usize,
    read: usize,
    position: usize,
    keep_all: bool,
    memory: MemoryReservation,
}

impl Cursor {
    /// A cursor before its first row.
    pub(crate) fn new(
        columns: Vec<Column>,
        listed: ListedCursor,
        stream: SendableRecordBatchStream,
        pool: &Arc<dyn MemoryPool>,
    ) -> Self {
        let state = State {
            schema: stream.schema(),
            rest: Some(stream),
            kept: vec![],
            forgotten: 0,
            read: 0,
            position: 0,
            keep_all: listed.scroll,
            memory: MemoryConsumer::new("cursor").register(pool),
        };
        Self { columns, hold: listed.hold, held: false, listed, state: Arc::new(tokio::sync::Mutex::new(state)) }
    }

    /// The rows of a FETCH as a stream: read from the query as they are sent.
    pub(crate) async fn fetch(&self, direction: Direction) -> Result<SendableRecordBatchStream> {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let schema = Arc::clone(&state.schema);
        if let Direction::Forward(count @ 1..) = direction {
            let left = usize::try_from(count).unwrap_or(usize::MAX);
            let rows = futures::stream::try_unfold((state, left), |(mut state, left)| async move {
                if left == 0 {
                    return Ok(None);
                }
                let Some(batch) = state.next_rows(left).await? else { return Ok(None) };
                let left = left - batch.num_rows();
                Ok(Some((batch, (state, left))))
            });
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)));
        }
        if direction == Direction::All {
            let rows = futures::stream::try_unfold(state, |mut state| async move {
                Ok(state.next_rows(usize::MAX).await?.map(|batch| (batch, state)))
            });
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)));
        }
        let batches = state.jump(direction).await?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches.into_iter().map(Ok)))))
    }

    /// MOVE: as FETCH, but only counts.
    pub(crate) async fn skip(&self, direction: Direction) -> Result<u64> {
        let mut stream = self.fetch(direction).await?;
        let mut rows = 0;
        while let Some(batch) = stream.try_next().await? {
            rows += batch.num_rows() as u64;
        }
        Ok(rows)
    }
}

impl State {
    /// The next rows in order, at most `most`; `None` at the end, which the cursor then stands behind.
    async fn next_rows(&mut self, most: usize) -> Result<Option<RecordBatch>, DataFusionError> {
        if self.position >= self.read && !self.read_more().await? {
            self.position = self.read + 1;
            return Ok(None);
        }
        let mut start = self.forgotten;
        for batch in &self.kept {
            if self.position < start + batch.num_rows() {
                let from = self.position - start;
                let rows = most.min(batch.num_rows() - from);
                let slice = batch.slice(from, rows);
                self.position += rows;
                self.forget();
                return Ok(Some(slice));
            }
            start += batch.num_rows();
        }
        Ok(None)
    }

    /// Reads one more batch of the query; false at its end.
    async fn read_more(&mut self) -> Result<bool, DataFusionError> {
        while let Some(stream) = &mut self.rest {
            match stream.next().await {
                Some(batch) => {
                    let batch = batch?;
                    if batch.num_rows() == 0 {
                        continue;
                    }
                    if self.keep_all {
                        self.memory.try_grow(batch.get_array_memory_size())?;
                    }
                    self.read += batch.num_rows();
                    self.kept.push(batch);
                    return Ok(true);
                }
                None => self.rest = None,
            }
        }
        Ok(false)
    }

    /// Lets go of batches that cannot be asked for again; the current row's stays.
    fn forget(&mut self) {
        if self.keep_all {
            return;
        }
        while let [first, _, ..] = self.kept.as_slice()
            && self.forgotten + first.num_rows() < self.position
        {
            self.forgotten += first.num_rows();
            self.kept.remove(0);
        }
    }

    /// Every direction but plain forward. Rows come in the order fetched.
    async fn jump(&mut self, direction: Direction) -> Result<Vec<RecordBatch>> {
        let position = i64::try_from(self.position).unwrap_or(i64::MAX);
        match direction {
            Direction::Forward(count) if count < 0 => {
                let mut rows = vec![];
                for step in 1..=count.unsigned_abs() {
                    let target = position - i64::try_from(step).unwrap_or(i64::MAX);
                    match self.at(target.max(0)).await? {
                        Some(row) => rows.push(row),
                        None => break,
                    }
                }
                Ok(rows)
            }
            Direction::BackwardAll => {
                let mut rows = vec![];
                while self.position > 1 {
                    let target = i64::try_from(self.position - 1).unwrap_or(i64::MAX);
                    rows.extend(self.at(target).await?);
                }
                self.at(0).await?;
                Ok(rows)
            }
            Direction::Forward(_) => Ok(self.at(position).await?.into_iter().collect()),
            Direction::Relative(by) => Ok(self.at(position.saturating_add(by).max(0)).await?.into_iter().collect()),
            Direction::First => Ok(self.at(1).await?.into_iter().collect()),
            Direction::Absolute(to) if to >= 0 => Ok(self.at(to).await?.into_iter().collect()),
            Direction::Last | Direction::Absolute(_) => {
                while self.read_more().await? {}
                let from_end = if let Direction::Absolute(to) = direction { to.unsigned_abs() } else { 1 };
                let target =
                    i64::try_from(self.read).unwrap_or(i64::MAX) + 1 - i64::try_from(from_end).unwrap_or(i64::MAX);
                Ok(self.at(target.max(0)).await?.into_iter().collect())
            }
            Direction::All => Ok(vec![]),
        }
    }

    /// Moves to a row (0: before the first) and gives it, `None` before the first and behind the last.
    async fn at(&mut self, target: i64) -> Result<Option<RecordBatch>> {
        let target = usize::try_from(target).unwrap_or(0);
        let backward = target < self.position || (target == self.position && target > 0 && target <= self.forgotten);
        if backward && !self.keep_all {
            return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "cursor can only scan forward")
                .hint("Declare it with SCROLL option to enable backward scan."));
        }
        while self.read < target {
            if !self.read_more().await? {
                self.position = self.read + 1;
                return Ok(None);
            }
            if !self.keep_all {
                self.position = self.read.min(target);
                self.forget();
            }
        }
        self.position = target;
        let mut start = self.forgotten;
        for batch in &self.kept {
            if target > start && target <= start + batch.num_rows() {
                return Ok(Some(batch.slice(target - start - 1, 1)));
            }
            start += batch.num_rows();
        }
        Ok(None)
    }
}
