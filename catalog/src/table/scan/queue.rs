//! Hands out the pieces of a scan to its partitions.
//!
//! Without a declared order all partitions take from one queue, so none is idle while another has work. With one, each
//! partition has its own queue. A file is opened by whoever comes to it first: its row groups take its place. What a
//! dynamic filter has ruled out meanwhile (TopK, hash joins) is dropped before it is handed out.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion_common::DataFusionError;
use datafusion_common::Result;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr_common::physical_expr::{snapshot_generation, snapshot_physical_expr};
use datafusion_pruning::PruningPredicate;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::metrics::ScanMetrics;
use super::order::Order;
use super::prune;
use super::settle::Settling;
use super::task::{Part, Task};
use super::{Scan, Unit};
use crate::table::reader::FileMeta;

/// A queue of tasks.
#[derive(Debug)]
pub(super) struct Queue {
    scan: Arc<Scan>,
    order: Order,
    /// Filters known when the plan was made.
    fixed: Option<Arc<PruningPredicate>>,
    /// Filters that grow stricter while the query runs, over the table's schema.
    dynamic: Vec<Arc<dyn PhysicalExpr>>,
    settling: Option<Settling>,
    state: Mutex<State>,
    opened: Notify,
}

#[derive(Debug, Default)]
struct State {
    tasks: VecDeque<Task>,
    /// Files being opened by some partition.
    opening: usize,
    /// The dynamic filters' generation that `tasks` were last checked against.
    generation: Option<u64>,
}

/// A file being opened: others wait for its row groups, or for this to be dropped.
struct Opening<'a>(&'a Queue);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.state.lock().opening -= 1;
        self.0.opened.notify_waiters();
    }
}

impl Queue {
    pub(super) fn new(
        scan: &Arc<Scan>,
        order: Order,
        fixed: Option<Arc<PruningPredicate>>,
        dynamic: Vec<Arc<dyn PhysicalExpr>>,
        settling: Option<Settling>,
        tasks: Vec<Task>,
    ) -> Self {
        let state = State { tasks: tasks.into(), ..State::default() };
        Self {
            scan: Arc::clone(scan),
            order,
            fixed,
            dynamic,
            settling,
            state: Mutex::new(state),
            opened: Notify::new(),
        }
    }

    /// The next piece to read; `None` when all are handed out. Cancel-safe.
    pub(super) async fn next(&self, metrics: &ScanMetrics) -> Result<Option<Task>> {
        while let Some(task) = self.pop(metrics).await? {
            let is_settled = match &self.settling {
                Some(settling) => settling.is_settled(&self.scan, &task).await?,
                None => false,
            };
            if !is_settled {
                return Ok(Some(task));
            }
            metrics.pruned.add(1);
        }
        Ok(None)
    }

    async fn pop(&self, metrics: &ScanMetrics) -> Result<Option<Task>> {
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            let file = {
                let mut state = self.state.lock();
                self.drop_ruled_out(&mut state, metrics)?;
                match state.tasks.pop_front() {
                    Some(Task { unit, part: Part::File }) => {
                        state.opening += 1;
                        Some((unit, Opening(self)))
                    }
                    Some(task) => return Ok(Some(task)),
                    None if state.opening == 0 => return Ok(None),
                    None => None,
                }
            };
            match file {
                None => opened.await,
                Some((unit, opening)) => {
                    let meta = self.open(unit).await?;
                    self.put_row_groups(unit, &meta, metrics)?;
                    drop(opening);
                }
            }
        }
    }

    async fn open(&self, unit: usize) -> Result<Arc<FileMeta>> {
        let (Some(access), Unit::File(file)) = (&self.scan.access, &self.scan.units[unit]) else {
            return Err(DataFusionError::Internal("a scan without files has a file".into()));
        };
        if let Some(meta) = access.cache.known_footer(&access.dir.join(&file.path)) {
            return Ok(meta);
        }
        let (access, file) = (access.clone(), Arc::clone(file));
        let read = tokio::task::spawn_blocking(move || access.footer(&file));
        Ok(read.await.map_err(|error| DataFusionError::External(Box::new(error)))??)
    }

    fn put_row_groups(&self, unit: usize, meta: &Arc<FileMeta>, metrics: &ScanMetrics) -> Result<()> {
        let mut groups = Scan::row_groups(unit, meta);
        if let Some(fixed) = &self.fixed {
            self.retain(fixed, &mut groups, metrics)?;
        }
        self.order.arrange(&self.scan, &mut groups);
        let mut state = self.state.lock();
        for group in groups.into_iter().rev() {
            state.tasks.push_front(group);
        }
        // They have not been checked against the dynamic filters.
        state.generation = None;
        Ok(())
    }

    /// Drops what the dynamic filters rule out, if they changed.
    fn drop_ruled_out(&self, state: &mut State, metrics: &ScanMetrics) -> Result<()> {
        if self.dynamic.is_empty() {
            return Ok(());
        }
        let generation: u64 = self.dynamic.iter().map(snapshot_generation).sum();
        if state.generation == Some(generation) {
            return Ok(());
        }
        state.generation = Some(generation);
        let now = self.dynamic.iter().map(|filter| snapshot_physical_expr(Arc::clone(filter)));
        let now = now.collect::<Result<Vec<_>>>()?;
        if let Some(predicate) = prune::predicate(&now, &self.scan.schema) {
            let mut tasks: Vec<Task> = std::mem::take(&mut state.tasks).into();
            self.retain(&predicate, &mut tasks, metrics)?;
            state.tasks = tasks.into();
        }
        Ok(())
    }

    fn retain(&self, predicate: &PruningPredicate, tasks: &mut Vec<Task>, metrics: &ScanMetrics) -> Result<()> {
        let keep = prune::keep(predicate, &self.scan, &tasks.iter().collect::<Vec<_>>())?;
        let before = tasks.len();
        let mut keep = keep.into_iter();
        tasks.retain(|_| keep.next().unwrap_or(true));
        metrics.pruned.add(before - tasks.len());
        Ok(())
    }
}
