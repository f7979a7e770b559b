//! LATER: flush, compact, checkpoint. The only place that spawns tasks.

use std::future::Future;

use tokio::task::JoinHandle;
use tracing::Instrument;

/// Runs a future as a task of its own; `name` tells it in logs.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    tokio::spawn(future.instrument(tracing::debug_span!("task", name)))
}
