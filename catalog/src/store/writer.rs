//! The one thread that writes: takes what is queued, applies, logs, publishes, answers.
//!
//! Group commit without a delay: while one fsync runs the next group gathers in the queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::Durability;
use super::recent_keys::RecentKeys;
use super::shared::Shared;
use crate::record::Change;
use crate::snapshot::Snapshot;
use crate::wal::{AppendError, Log, Payload};
use crate::{Error, Lsn, Result};

/// Encoded transactions waiting for the log, in units of [`QUEUE_UNIT_BYTES`]: 256 MiB. More wait before the queue.
const QUEUE_UNITS_MAX: u32 = 256 << 10;
const QUEUE_UNIT_BYTES: usize = 1 << 10;

/// A change of the state that is not logged: recovery finds it out from the Delta logs.
pub(super) type Operation = Box<dyn Fn(&mut Snapshot) -> Result<()> + Send>;

enum Job {
    Commit {
        changes: Vec<Change>,
        payload: Payload,
        ack: oneshot::Sender<Result<Lsn>>,
        permit: OwnedSemaphorePermit,
    },
    Internal {
        operation: Operation,
        ack: std::sync::mpsc::SyncSender<Result<()>>,
    },
    /// Makes the log durable up to here.
    Sync {
        ack: std::sync::mpsc::SyncSender<Result<()>>,
    },
}

/// Jobs on their way to the writer thread. Async callers wait for room, blocking ones (background work, few) do not.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    room: Arc<Semaphore>,
    poison: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    is_closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("jobs", &self.jobs.len()).field("is_closed", &self.is_closed).finish()
    }
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            ready: Condvar::new(),
            room: Arc::new(Semaphore::new(QUEUE_UNITS_MAX as usize)),
            poison: watch::Sender::new(None),
        }
    }

    /// Queues a transaction and waits until it is durable and visible.
    pub(super) async fn commit(&self, changes: Vec<Change>, payload: Payload) -> Result<Lsn> {
        let units = u32::try_from(payload.bytes.len() / QUEUE_UNIT_BYTES + 1).unwrap_or(u32::MAX).min(QUEUE_UNITS_MAX);
        let permit = Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| self.stopped())?;
        let (ack, answer) = oneshot::channel();
        self.push(Job::Commit { changes, payload, ack, permit })?;
        answer.await.map_err(|_| self.stopped())?
    }

    /// Queues a change that is not logged and waits for it. Blocking.
    pub(super) fn run(&self, operation: Operation) -> Result<()> {
        let (ack, answer) = std::sync::mpsc::sync_channel(1);
        self.push(Job::Internal { operation, ack })?;
        answer.recv().map_err(|_| self.stopped())?
    }

    /// Makes everything committed so far durable. Blocking; at once where commits are synced anyway.
    pub(super) fn sync(&self) -> Result<()> {
        let (ack, answer) = std::sync::mpsc::sync_channel(1);
        self.push(Job::Sync { ack })?;
        answer.recv().map_err(|_| self.stopped())?
    }

    pub(super) async fn poisoned(&self) -> String {
        let mut poison = self.poison.subscribe();
        loop {
            if let Some(reason) = &*poison.borrow_and_update() {
                return reason.clone();
            }
            if poison.changed().await.is_err() {
                // The sender lives in self: unreachable, and waiting is right if it were not.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Refuses everything from now on.
    pub(super) fn poison(&self, reason: &str) {
        tracing::error!(reason, "the log failed; nothing more is acknowledged");
        self.poison.send_if_modified(|poison| {
            let is_first = poison.is_none();
            poison.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }

    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.ready.notify_all();
    }

    fn push(&self, job: Job) -> Result<()> {
        if self.poison.borrow().is_some() {
            return Err(self.stopped());
        }
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(self.stopped());
        }
        state.jobs.push(job);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    fn stopped(&self) -> Error {
        Error::Poisoned(self.poison.borrow().clone().unwrap_or_else(|| "the store is closed".to_owned()))
    }

    /// All jobs that wait; waits for one. `None` when closed and empty.
    fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.state.lock();
        while state.jobs.is_empty() {
            if state.is_closed {
                return None;
            }
            self.ready.wait(&mut state);
        }
        Some(std::mem::take(&mut state.jobs))
    }
}

/// Starts the writer thread. It ends when the queue is closed and empty.
pub(super) fn spawn(shared: Arc<Shared>, log: Log) -> Result<JoinHandle<()>> {
    let dir = shared.options.dir.clone();
    let mut writer = Writer { shared, log, keys: RecentKeys::default() };
    std::thread::Builder::new()
        .name("wal-writer".to_owned())
        .spawn(move || writer.run())
        .map_err(|source| Error::Io { path: dir.display().to_string(), source })
}

struct Writer {
    shared: Arc<Shared>,
    log: Log,
    keys: RecentKeys,
}

/// A job that was applied to the state about to be published.
enum Accepted {
    Commit {
        lsn: Lsn,
        changes: Vec<Change>,
        payload: Payload,
        ack: oneshot::Sender<Result<Lsn>>,
        permit: OwnedSemaphorePermit,
    },
    Internal {
        operation: Operation,
        ack: std::sync::mpsc::SyncSender<Result<()>>,
    },
    Sync {
        ack: std::sync::mpsc::SyncSender<Result<()>>,
    },
}

impl Writer {
    fn run(&mut self) {
        // A panic in here must not leave clients waiting on a server that looks alive.
        struct PoisonOnPanic(Arc<Shared>);
        impl Drop for PoisonOnPanic {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.queue.poison("the writer thread panicked");
                    self.0.queue.close();
                    // Dropping a job tells who waits for it.
                    self.0.queue.state.lock().jobs.clear();
                }
            }
        }
        let _guard = PoisonOnPanic(Arc::clone(&self.shared));
        while let Some(jobs) = self.shared.queue.take() {
            self.group(jobs);
        }
    }

    /// Commits a group: all of its transactions that apply, with one fsync.
    fn group(&mut self, jobs: Vec<Job>) {
        let mut state = Snapshot::clone(&self.shared.snapshot.read());
        state.now_us = self.shared.now_us.load(Ordering::Acquire);
        self.keys.forget_after(state.lsn);
        let accepted = apply(&mut state, &mut self.keys, jobs);
        if accepted.is_empty() {
            return;
        }
        let payloads: Vec<&Payload> = accepted
            .iter()
            .filter_map(|job| if let Accepted::Commit { payload, .. } = job { Some(payload) } else { None })
            .collect();
        let commits = payloads.len();
        let is_sync_wanted = accepted.iter().any(|job| matches!(job, Accepted::Sync { .. }));
        let is_synced = self.shared.options.durability == Durability::Fsync || is_sync_wanted;
        let written = if self.shared.queue.poison.borrow().is_some() {
            Err(AppendError::Broken(String::new()))
        } else if commits > 0 {
            self.log.append(&payloads, is_synced)
        } else if is_synced {
            self.log.sync()
        } else {
            Ok(())
        };
        match written {
            Ok(()) => {
                if commits > 0 && is_synced {
                    self.shared.syncs.fetch_add(1, Ordering::Relaxed);
                }
                self.publish(state, accepted, commits);
            }
            Err(AppendError::Full(error)) => self.retry(accepted, commits, error),
            Err(AppendError::Broken(reason)) => {
                self.shared.queue.poison(&reason);
                let stopped = || self.shared.queue.stopped();
                answer(accepted, |_| Err(stopped()));
            }
        }
    }

    fn publish(&mut self, state: Snapshot, accepted: Vec<Accepted>, commits: usize) {
        self.shared.garbage.lock().note_drops(&accepted_changes(&accepted), &self.shared.snapshot.read(), state.now_us);
        let durable = match self.shared.options.durability {
            Durability::Fsync => state.lsn,
            Durability::Os => self.log.durable(),
        };
        let state = Arc::new(state);
        let before = std::mem::replace(&mut *self.shared.snapshot.write(), state);
        self.shared.durable_lsn.store(durable, Ordering::Release);
        self.shared.commits.fetch_add(commits as u64, Ordering::Relaxed);
        answer(accepted, Ok);
        // Outside the lock: it may be the last owner of many rows.
        drop(before);
    }

    /// The disk is full. One transaction of the group may be too large where the others are not: one by one.
    fn retry(&mut self, accepted: Vec<Accepted>, commits: usize, error: Error) {
        let path = match error {
            Error::DiskFull { path } => path,
            other => other.to_string(),
        };
        tracing::warn!(path, commits, "no space left for the log");
        for job in accepted {
            match job {
                Accepted::Commit { ack, .. } if commits == 1 => {
                    let _ = ack.send(Err(Error::DiskFull { path: path.clone() }));
                }
                Accepted::Commit { changes, payload, ack, permit, .. } => {
                    self.group(vec![Job::Commit { changes, payload, ack, permit }]);
                }
                Accepted::Internal { operation, ack } => self.group(vec![Job::Internal { operation, ack }]),
                Accepted::Sync { ack } => self.group(vec![Job::Sync { ack }]),
            }
        }
    }
}

/// Applies jobs one after the other; those that fail are answered and left out.
fn apply(state: &mut Snapshot, keys: &mut RecentKeys, jobs: Vec<Job>) -> Vec<Accepted> {
    // Applied in place: a copy for each would copy the tables' lists of chunks each time.
    let base = state.clone();
    let mut accepted = Vec::with_capacity(jobs.len());
    for job in jobs {
        match job {
            Job::Commit { changes, payload, ack, permit } => {
                let lsn = state.lsn + 1;
                let applied = keys.check(&changes).and_then(|()| state.apply_in_place(&changes, lsn));
                if applied.is_ok() {
                    keys.note(&changes, lsn);
                }
                match applied {
                    Ok(()) => accepted.push(Accepted::Commit { lsn, changes, payload, ack, permit }),
                    Err(error) => {
                        // The client may be gone: nobody to tell.
                        drop(ack.send(Err(error)));
                        again(state, &base, &accepted);
                    }
                }
            }
            Job::Internal { operation, ack } => match operation(state) {
                Ok(()) => accepted.push(Accepted::Internal { operation, ack }),
                Err(error) => {
                    drop(ack.send(Err(error)));
                    again(state, &base, &accepted);
                }
            },
            Job::Sync { ack } => accepted.push(Accepted::Sync { ack }),
        }
    }
    accepted
}

/// The state after the accepted jobs: what a failed one left is not a state.
fn again(state: &mut Snapshot, base: &Snapshot, accepted: &[Accepted]) {
    *state = base.clone();
    for job in accepted {
        let result = match job {
            Accepted::Commit { lsn, changes, .. } => state.apply_in_place(changes, *lsn),
            Accepted::Internal { operation, .. } => operation(state),
            Accepted::Sync { .. } => Ok(()),
        };
        result.expect("it applied to the same state before");
    }
}

fn accepted_changes(accepted: &[Accepted]) -> Vec<(Lsn, &[Change])> {
    accepted
        .iter()
        .filter_map(|job| match job {
            Accepted::Commit { lsn, changes, .. } => Some((*lsn, changes.as_slice())),
            _ => None,
        })
        .collect()
}

fn answer(accepted: Vec<Accepted>, result: impl Fn(Lsn) -> Result<Lsn>) {
    for job in accepted {
        // A client that is gone is not told.
        match job {
            Accepted::Commit { lsn, ack, .. } => drop(ack.send(result(lsn))),
            Accepted::Internal { ack, .. } | Accepted::Sync { ack } => drop(ack.send(result(0).map(|_| ()))),
        }
    }
}
