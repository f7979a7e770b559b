//! LATER: flush, compact, checkpoint. Every piece of background work is a [`Job`]: the same start, tick, drain and stop
//! for all of them. This module is the only one that spawns; tasks have names.
//!
//! ```text
//! Supervisor::start ─▶ per job: wait next() │ tick() │ wait │ tick() … ─▶ Supervisor::stop: drain() in the order of all()
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::clock::Timestamp;
use crate::config::THREAD_STACK_BYTES;
use crate::instance::Instance;

/// Old dead letters.
mod letters;

/// Old receipts.
mod receipts;

/// Flush, compact and checkpoint: what the store says is due.
mod storage;

/// Starts a task. With [`spawn_client`] the only caller of `tokio::spawn`; `name` is on every log line the task writes.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    tokio::spawn(future.instrument(tracing::info_span!("task", name)))
}

/// Starts the task of a client, which names itself on its log lines: a span would be entered for each of its messages.
pub fn spawn_client<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "as above")]
    tokio::spawn(future)
}

/// Whether somebody waits for a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// It gives way: of a busy processor it has a tenth, of an idle one all.
    Background,
    /// A stream that comes anyway: beside somebody who waits for an answer it has a third of what that one has.
    Ingestion,
    /// It has its share.
    Foreground,
}

impl Haste {
    /// By how much the system's niceness of its threads is higher. On Linux each step takes a fifth of a thread's weight.
    #[cfg(target_os = "linux")]
    fn niceness(self) -> std::ffi::c_int {
        match self {
            Self::Background => 10,
            Self::Ingestion => 5,
            Self::Foreground => 0,
        }
    }
}

/// Runs `work`, which blocks, on a new thread: one of a pool could not be given its priority back.
///
/// # Errors
/// There is no thread to be had, or `work` panicked.
async fn on_thread<T: Send + 'static>(
    name: &str,
    haste: Haste,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobError> {
    let (sender, done) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let run = move || {
        // The work may start tasks.
        let _runtime = runtime.enter();
        give_way(haste);
        // Nobody waits any more: the work was done all the same.
        let _ = sender.send(work());
    };
    std::thread::Builder::new().name(name.to_owned()).stack_size(THREAD_STACK_BYTES).spawn(run)?;
    Ok(done.await.map_err(|_| format!("the thread \"{name}\" panicked"))?)
}

/// Gives this thread its priority, for good: it can only be lowered.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "only Linux has a niceness of threads"))]
pub fn give_way(haste: Haste) {
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "no crate of our tree has this call with the features it is built with")]
    // SAFETY: it takes a number. On Linux it is about the calling thread alone; where it fails nothing changes.
    unsafe {
        let _ = libc::nice(haste.niceness());
    }
}

/// What a tick found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing was due.
    Idle,
    /// Something was done; there may be more.
    Worked,
}

/// Why a tick failed. It is logged, and the job tries again later.
pub type JobError = Box<dyn std::error::Error + Send + Sync>;

/// A kind of background work.
#[async_trait::async_trait]
pub trait Job: Send {
    /// For logs and the task's name.
    fn name(&self) -> &'static str;

    /// Time until the next tick, given what the last one found.
    fn next(&self, last: Progress) -> Duration;

    /// One bounded piece of work. Cancel-safe: may be dropped at any await.
    ///
    /// # Errors
    /// What went wrong; the next tick tries again.
    async fn tick(&mut self, now: Timestamp) -> Result<Progress, JobError>;

    /// Last chance before exit.
    ///
    /// # Errors
    /// What went wrong; the server ends all the same.
    async fn drain(&mut self, now: Timestamp) -> Result<(), JobError> {
        let _ = now;
        Ok(())
    }
}

/// The background jobs, in the order in which they are drained: what brings rows, rows into files, then what the files make obsolete.
pub fn all(instance: &Arc<Instance>) -> Vec<Box<dyn Job>> {
    vec![
        Box::new(crate::source::Sources::new(instance)),
        Box::new(receipts::Receipts::new(instance)),
        Box::new(letters::Letters::new(instance)),
        Box::new(storage::Compact::new(instance)),
        Box::new(storage::Flush::new(instance)),
        Box::new(storage::Checkpoint::new(instance)),
    ]
}

/// The wait after a failed tick; doubles with each failure in a row, so that a full disk does not fill the log too.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// See [`RETRY_MIN`].
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Tells the time to the jobs.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The running jobs.
pub struct Supervisor {
    now: Now,
    stop: CancellationToken,
    jobs: Vec<(&'static str, JoinHandle<Box<dyn Job>>)>,
}

impl Supervisor {
    /// Starts the jobs.
    pub fn start(now: Now, jobs: Vec<Box<dyn Job>>) -> Self {
        let stop = CancellationToken::new();
        let jobs = jobs
            .into_iter()
            .map(|job| (job.name(), spawn(job.name(), run(job, Arc::clone(&now), stop.clone()))))
            .collect();
        Self { now, stop, jobs }
    }

    /// Stops the jobs after the tick they are in, then drains them one after the other.
    pub async fn stop(self) {
        self.stop.cancel();
        let mut stopped = Vec::new();
        for (name, task) in self.jobs {
            match task.await {
                Ok(job) => stopped.push(job),
                Err(error) => tracing::error!(job = name, %error, "job did not stop cleanly"),
            }
        }
        for mut job in stopped {
            if let Err(error) = job.drain((self.now)()).await {
                tracing::error!(job = job.name(), error, "job could not finish its work");
            }
        }
    }
}

/// Ticks a job until told to stop; gives it back for draining.
async fn run(mut job: Box<dyn Job>, now: Now, stop: CancellationToken) -> Box<dyn Job> {
    let mut wait = job.next(Progress::Idle);
    let mut failures = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return job,
            () = tokio::time::sleep(wait) => {}
        }
        // Not inside the select: a tick that has begun is finished, its errors are seen.
        wait = match job.tick(now()).await {
            Ok(progress) => {
                failures = 0;
                job.next(progress)
            }
            Err(error) => {
                let wait = retry_wait(failures);
                failures = failures.saturating_add(1);
                tracing::warn!(job = job.name(), error, retry_in = ?wait, "background job failed");
                wait
            }
        };
    }
}

/// The wait after a failure that `earlier` failures came before.
pub(crate) fn retry_wait(earlier: u32) -> Duration {
    RETRY_MIN.saturating_mul(2_u32.saturating_pow(earlier)).min(RETRY_MAX)
}

#[cfg(test)]
mod tests;
