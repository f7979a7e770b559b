//! One partition's batches.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::{BatchCoalescer, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;
use datafusion_execution::SendableRecordBatchStream;
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;

use super::Scan;
use super::filter::{Filter, Selected};
use super::metrics::ScanMetrics;
use super::queue::Queue;
use super::read::{Block, TaskReader};
use super::turn::{Effort, Turn};
use crate::table::adapt::batch_of;
use crate::table::reader::BLOCK_ROWS;

/// What a partition needs to run.
pub(super) struct Partition {
    pub(super) scan: Arc<Scan>,
    pub(super) schema: SchemaRef,
    pub(super) projection: Arc<[usize]>,
    pub(super) filter: Option<Filter>,
    pub(super) queue: Arc<Queue>,
    /// Emit each piece's rows last to first.
    pub(super) reversed: bool,
    pub(super) fetch: Option<usize>,
    pub(super) effort: Option<Arc<Effort>>,
    pub(super) metrics: ScanMetrics,
}

/// The state between two batches.
struct Running {
    partition: Partition,
    reader: Option<TaskReader>,
    coalescer: BatchCoalescer,
    ready: VecDeque<RecordBatch>,
    remaining: usize,
    done: bool,
    turn: Turn,
}

impl Partition {
    /// The partition's batches: at most [`BLOCK_ROWS`] rows each. Dropping the stream stops the work.
    pub(super) fn stream(mut self) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let running = Running {
            coalescer: BatchCoalescer::new(Arc::clone(&schema), BLOCK_ROWS),
            turn: Turn::new(self.effort.take()),
            remaining: self.fetch.unwrap_or(usize::MAX),
            partition: self,
            reader: None,
            ready: VecDeque::new(),
            done: false,
        };
        let batches = futures::stream::try_unfold(running, |mut running| async move {
            let batch = running.next().await?;
            Ok(batch.map(|batch| (batch, running)))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

impl Running {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.remaining == 0 {
                return Ok(None);
            }
            if let Some(batch) = self.ready.pop_front() {
                let rows = batch.num_rows().min(self.remaining);
                self.remaining -= rows;
                self.partition.metrics.baseline.record_output(rows);
                return Ok(Some(if rows < batch.num_rows() { batch.slice(0, rows) } else { batch }));
            }
            if self.done {
                return Ok(None);
            }
            self.turn.pass().await;
            self.advance().await?;
        }
    }

    /// Reads a block, or opens the next piece, or ends.
    async fn advance(&mut self) -> Result<()> {
        let partition = &self.partition;
        let elapsed = partition.metrics.baseline.elapsed_compute().clone();
        match &mut self.reader {
            Some(reader) => {
                let _timer = elapsed.timer();
                if partition.reversed {
                    let mut blocks = vec![];
                    while let Some(block) = reader.next()? {
                        blocks.push(block);
                    }
                    self.reader = None;
                    for block in blocks.into_iter().rev() {
                        self.emit(block)?;
                    }
                } else {
                    match reader.next()? {
                        Some(block) => self.emit(block)?,
                        None => self.reader = None,
                    }
                }
            }
            None => match self.turn.without(partition.queue.next(&partition.metrics)).await? {
                None => {
                    self.coalescer.finish_buffered_batch()?;
                    self.collect();
                    self.done = true;
                }
                Some(task) => {
                    let filter = partition.filter.as_ref();
                    let last_rows = partition.reversed.then_some(self.remaining);
                    let (scan, projection) = (&partition.scan, &partition.projection);
                    self.reader =
                        TaskReader::open(scan, projection, filter, last_rows, task, &mut self.turn, &partition.metrics)
                            .await?;
                }
            },
        }
        Ok(())
    }

    /// Passes whole blocks on as they are, and gathers the rest into full batches.
    fn emit(&mut self, block: Block) -> Result<()> {
        let Block { columns, rows, selected } = block;
        let schema = Arc::clone(&self.partition.schema);
        if schema.fields().is_empty() {
            let rows = match &selected {
                Selected::None => 0,
                Selected::All => rows,
                Selected::Some(mask) => mask.true_count(),
            };
            self.ready.push_back(batch_of(schema, columns, rows)?);
            return Ok(());
        }
        let mut batch = batch_of(schema, columns, rows)?;
        if self.partition.reversed {
            if let Selected::Some(mask) = &selected {
                batch = arrow::compute::filter_record_batch(&batch, mask)?;
            }
            let backwards = UInt64Array::from_iter_values((0..batch.num_rows() as u64).rev());
            self.ready.push_back(take_record_batch(&batch, &backwards)?);
            return Ok(());
        }
        match selected {
            Selected::None => {}
            Selected::All => {
                // Keep the order of rows: what was gathered before goes first.
                self.coalescer.finish_buffered_batch()?;
                self.collect();
                self.ready.push_back(batch);
            }
            Selected::Some(mask) => {
                self.coalescer.push_batch_with_filter(batch, &mask)?;
                self.collect();
            }
        }
        Ok(())
    }

    fn collect(&mut self) {
        while let Some(batch) = self.coalescer.next_completed_batch() {
            self.ready.push_back(batch);
        }
    }
}
