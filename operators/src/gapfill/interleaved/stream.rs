//! The output of one partition, and what partitions tell each other at their end.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion_common::Result;
use datafusion_execution::SendableRecordBatchStream;
use datafusion_execution::memory_pool::MemoryReservation;
use datafusion_physical_plan::metrics::{BaselineMetrics, RecordOutput};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use parking_lot::Mutex;

use super::walk::{Ends, Gaps, Plan, Walk};

/// The ends of the partitions that have ended.
#[derive(Default)]
pub(super) struct Shared {
    ends: Mutex<Vec<Option<Ends>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub(super) fn new(partitions: usize) -> Self {
        Self { ends: Mutex::new((0..partitions).map(|_| None).collect()) }
    }

    /// A partition has ended; all ends, if it was the last to do so. Nobody waits for another.
    fn ended(&self, partition: usize, ends: Ends) -> Option<Vec<Ends>> {
        let mut all = self.ends.lock();
        all[partition] = Some(ends);
        if all.iter().all(Option::is_some) { Some(all.drain(..).flatten().collect()) } else { None }
    }
}

pub(super) struct Filling {
    pub(super) input: SendableRecordBatchStream,
    pub(super) plan: Arc<Plan>,
    pub(super) walk: Walk,
    pub(super) memory: MemoryReservation,
    pub(super) shared: Arc<Shared>,
    pub(super) partition: usize,
    pub(super) batch_rows: usize,
    pub(super) metrics: BaselineMetrics,
}

/// What comes next.
enum Step {
    /// Rows of the input.
    Read,
    /// These rows, after the gaps before them, if many are waiting.
    Pass(RecordBatch),
    /// The gaps within the partition.
    Last,
    /// The gaps between partitions.
    Between,
    End,
}

impl Filling {
    pub(super) fn stream(self) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.plan.schema);
        let batches = futures::stream::try_unfold((self, Step::Read), |(mut filling, mut step)| async move {
            loop {
                let (batch, next) = filling.step(step).await?;
                step = next;
                match (batch, &step) {
                    (Some(batch), _) => {
                        return Ok(Some((batch.record_output(&filling.metrics), (filling, step))));
                    }
                    (None, Step::End) => return Ok(None),
                    (None, _) => {}
                }
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }

    async fn step(&mut self, step: Step) -> Result<(Option<RecordBatch>, Step)> {
        let elapsed = self.metrics.elapsed_compute().clone();
        Ok(match step {
            Step::Read => match self.input.next().await.transpose()? {
                None => (None, Step::Last),
                Some(batch) if batch.num_rows() == 0 => (None, Step::Read),
                Some(batch) => {
                    let _timer = elapsed.timer();
                    // Nothing is before the first partition.
                    let gaps = if self.partition == 0 { Gaps::All } else { Gaps::Between };
                    self.walk.feed(self.plan.columns(&batch), gaps)?;
                    (None, Step::Pass(batch))
                }
            },
            Step::Pass(batch) => {
                let _timer = elapsed.timer();
                let missing = self.walk.missing();
                if missing >= self.batch_rows as u64 || missing > 0 && self.walk.is_full() {
                    return Ok((Some(self.walk.make(self.batch_rows)?), Step::Pass(batch)));
                }
                if missing == 0 {
                    self.walk.compact()?;
                }
                let batch = RecordBatch::try_new(Arc::clone(&self.plan.schema), batch.columns().to_vec())?;
                (Some(batch), Step::Read)
            }
            Step::Last if self.walk.missing() == 0 => {
                let _timer = elapsed.timer();
                match self.shared.ended(self.partition, self.walk.ends()?) {
                    Some(ends) => {
                        self.walk = self.between(ends)?;
                        (None, Step::Between)
                    }
                    None => (None, Step::End),
                }
            }
            Step::Between if self.walk.missing() == 0 => (None, Step::End),
            Step::Last | Step::Between => {
                let _timer = elapsed.timer();
                (Some(self.walk.make(self.batch_rows)?), step)
            }
            Step::End => (None, Step::End),
        })
    }

    /// The walk over the ends of all partitions.
    fn between(&self, ends: Vec<Ends>) -> Result<Walk> {
        let mut walk = Walk::new(Arc::clone(&self.plan), self.memory.new_empty())?;
        for (partition, Ends { first, last }) in ends.into_iter().enumerate() {
            walk.feed(first, if partition == 0 { Gaps::No } else { Gaps::All })?;
            walk.feed(last, Gaps::No)?;
        }
        walk.finish();
        Ok(walk)
    }
}
