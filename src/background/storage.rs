//! Flush, compact and checkpoint: each asks the store what is due (a pure function decides), and does it on a thread of its
//! own, which may block and gives way to those that clients wait for.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tidemill_catalog::store::{Store, Work};
use tidemill_catalog::{Error, Lsn};

use super::{Haste, Job, JobError, Progress};
use crate::clock::Timestamp;
use crate::config::WAL_SEGMENT_BYTES;
use crate::instance::Instance;

/// How often the store is asked for flushes: a fraction of the smallest useful flush interval; asking is cheap.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// How often for compactions: they wait for several files anyway.
const COMPACT_EVERY: Duration = Duration::from_secs(2);
/// How often the log is shortened and dead files removed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// A start with more log than this, about a second's replay, shortens it at once: a server that dies soon after each start
/// must not have more to replay each time.
const CATCH_UP_BYTES: u64 = 2 * WAL_SEGMENT_BYTES;
/// After work was done there may be more: only yield to others.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Hot rows to files.
pub(super) struct Flush {
    instance: Arc<Instance>,
}

/// Small files to large, sorted ones.
pub(super) struct Compact {
    instance: Arc<Instance>,
}

/// Catalog file, Delta checkpoints, log and file clean-up.
pub(super) struct Checkpoint {
    instance: Arc<Instance>,
    /// The log's end when the last checkpoint was made: nothing new, nothing to do.
    last: Option<Lsn>,
    /// The start had much to replay, and the next would again.
    catches_up: bool,
}

impl Flush {
    pub(super) fn new(instance: &Arc<Instance>) -> Self {
        Self { instance: Arc::clone(instance) }
    }
}

impl Compact {
    pub(super) fn new(instance: &Arc<Instance>) -> Self {
        Self { instance: Arc::clone(instance) }
    }
}

impl Checkpoint {
    pub(super) fn new(instance: &Arc<Instance>) -> Self {
        let catches_up = instance.store.wal_status().bytes > CATCH_UP_BYTES;
        Self { instance: Arc::clone(instance), last: None, catches_up }
    }

    async fn checkpoint(&mut self, now: Timestamp) -> Result<(), JobError> {
        let lsn = self.instance.store.snapshot().lsn;
        blocking(&self.instance, "checkpoint", Haste::Background, move |store| store.checkpoint(now)).await?;
        self.last = Some(lsn);
        self.instance.metrics.checkpoints.fetch_add(1, Relaxed);
        Ok(())
    }
}

#[async_trait::async_trait]
impl Job for Flush {
    fn name(&self) -> &'static str {
        "flush"
    }

    fn next(&self, last: Progress) -> Duration {
        if last == Progress::Worked { AT_ONCE } else { FLUSH_EVERY }
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Progress, JobError> {
        let Some(table) = due(&self.instance, now, |work| match work {
            Work::Flush(table) => Some(*table),
            _ => None,
        }) else {
            return Ok(Progress::Idle);
        };
        let haste = if self.instance.store.is_pressed() { Haste::Foreground } else { Haste::Background };
        blocking(&self.instance, "flush", haste, move |store| store.flush(table, now)).await?;
        self.instance.metrics.flushes.fetch_add(1, Relaxed);
        tracing::debug!(table, "flushed");
        Ok(Progress::Worked)
    }

    /// So that the next start has nothing to replay and other readers see everything.
    async fn drain(&mut self, now: Timestamp) -> Result<(), JobError> {
        flush_all(&self.instance, now).await
    }
}

#[async_trait::async_trait]
impl Job for Compact {
    fn name(&self) -> &'static str {
        "compact"
    }

    fn next(&self, last: Progress) -> Duration {
        if last == Progress::Worked { AT_ONCE } else { COMPACT_EVERY }
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Progress, JobError> {
        let Some(table) = due(&self.instance, now, |work| match work {
            Work::Compact(table) => Some(*table),
            _ => None,
        }) else {
            return Ok(Progress::Idle);
        };
        blocking(&self.instance, "compact", Haste::Background, move |store| match store.compact(table, false, now) {
            // A DELETE or UPDATE took the files first: it is still due, against the new files.
            Err(Error::Conflict { .. }) => Ok(()),
            result => result,
        })
        .await?;
        self.instance.metrics.compactions.fetch_add(1, Relaxed);
        tracing::debug!(table, "compacted");
        Ok(Progress::Worked)
    }
}

#[async_trait::async_trait]
impl Job for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn next(&self, _: Progress) -> Duration {
        if self.catches_up { AT_ONCE } else { CHECKPOINT_EVERY }
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Progress, JobError> {
        if self.catches_up {
            flush_all(&self.instance, now).await?;
            self.catches_up = false;
        }
        let asked = due(&self.instance, now, |work| matches!(work, Work::Checkpoint(_)).then_some(())).is_some();
        if !asked && self.last == Some(self.instance.store.snapshot().lsn) {
            return Ok(Progress::Idle);
        }
        self.checkpoint(now).await?;
        Ok(Progress::Worked)
    }

    async fn drain(&mut self, now: Timestamp) -> Result<(), JobError> {
        self.checkpoint(now).await
    }
}

/// Writes every table's hot rows.
async fn flush_all(instance: &Instance, now: Timestamp) -> Result<(), JobError> {
    let snapshot = instance.store.snapshot();
    let hot = snapshot.tables.values().filter(|table| !table.chunks.is_empty() || table.published.lsn < snapshot.lsn);
    let mut tables = hot.map(|table| table.oid).collect::<Vec<_>>();
    tables.sort_unstable();
    drop(snapshot);
    for table in tables {
        blocking(instance, "flush", Haste::Foreground, move |store| store.flush(table, now)).await?;
    }
    Ok(())
}

/// The most urgent piece of due work that `choose` takes.
fn due<T>(instance: &Instance, now: Timestamp, choose: impl FnMut(&Work) -> Option<T>) -> Option<T> {
    instance.store.due(now).iter().find_map(choose)
}

/// Runs blocking storage work on a thread of its own. Dropping the future lets the work finish unobserved.
async fn blocking(
    instance: &Instance,
    name: &'static str,
    haste: Haste,
    work: impl FnOnce(&Store) -> Result<(), Error> + Send + 'static,
) -> Result<(), JobError> {
    let store = Arc::clone(&instance.store);
    let result = super::on_thread(name, haste, move || work(&store)).await?;
    match result {
        // The table was dropped meanwhile: nothing left to do.
        Err(Error::NotFound { .. }) => Ok(()),
        result => {
            if result.is_err() {
                instance.metrics.background_failures.fetch_add(1, Relaxed);
            }
            Ok(result?)
        }
    }
}
