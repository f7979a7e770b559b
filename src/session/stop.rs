//! Stops a running statement: cancel request, pg_terminate_backend, statement_timeout. The token is the statement's; the
//! deadline counts from its start, over execution and streaming alike, and anew when a suspended portal goes on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Outcome, Session};
use crate::error::SqlState;
use crate::{Error, Result};

/// What may stop one statement.
pub(super) struct Stop {
    pub(super) token: CancellationToken,
    deadline: Option<Instant>,
    timeout: Option<Duration>,
    resumed: Arc<AtomicU64>,
}

impl Stop {
    pub(super) fn new(session: &Session) -> Self {
        let token = session.handle.terminate.child_token();
        session.handle.activity.lock().cancel = Some(token.clone());
        let timeout = session.often().statement_timeout.map(Duration::from_millis);
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        Self { token, deadline, timeout, resumed: Arc::clone(&session.resumed) }
    }

    /// Runs a future until it is done, cancelled or late.
    pub(super) async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let late = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(cancelled()),
            result = work => result,
            // Unconstrained: work that uses up the task's budget would keep the timer from being looked at.
            () = tokio::task::unconstrained(late) => {
                self.token.cancel();
                Err(timed_out())
            }
        }
    }

    /// Makes the outcome's stream stop too.
    pub(super) fn watch(self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Rows { stream, columns, tag } => {
                let watched = Watched {
                    stream: Some(stream),
                    cancelled: Box::pin(self.token.clone().cancelled_owned()),
                    deadline: self.deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline))),
                    timeout: self.timeout,
                    seen: self.resumed.load(Ordering::Relaxed),
                    resumed: self.resumed,
                    token: self.token,
                };
                let schema = watched.schema();
                let stream = datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(schema, watched);
                Outcome::Rows { stream: Box::pin(stream), columns, tag }
            }
            Outcome::CopyOut(mut copy) => {
                let token = self.token.clone();
                copy.stream = copy
                    .stream
                    .take_until(token.clone().cancelled_owned())
                    .chain(
                        futures::stream::once(async move {
                            if token.is_cancelled() { Some(Err(cancelled())) } else { None }
                        })
                        .filter_map(|end| async move { end }),
                    )
                    .boxed();
                Outcome::CopyOut(copy)
            }
            other => other,
        }
    }
}

/// 57014 by a cancel request.
pub(super) fn cancelled() -> Error {
    Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
}

fn timed_out() -> Error {
    Error::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
}

/// A stream that ends with an error when its statement is stopped; what computes it is dropped at once.
struct Watched {
    stream: Option<SendableRecordBatchStream>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    deadline: Option<Pin<Box<Sleep>>>,
    timeout: Option<Duration>,
    /// The session's count of portals taken up again, and what it was when this one last ran.
    resumed: Arc<AtomicU64>,
    seen: u64,
    token: CancellationToken,
}

impl Watched {
    fn schema(&self) -> SchemaRef {
        self.stream.as_ref().map(|stream| stream.schema()).expect("asked before it is polled")
    }

    fn stop(&mut self, error: Error) -> Poll<Option<Result<RecordBatch, DataFusionError>>> {
        self.stream = None;
        Poll::Ready(Some(Err(DataFusionError::External(Box::new(error)))))
    }
}

impl Stream for Watched {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.stream.is_none() {
            return Poll::Ready(None);
        }
        if self.cancelled.as_mut().poll(context).is_ready() {
            return self.stop(cancelled());
        }
        let resumed = self.resumed.load(Ordering::Relaxed);
        if resumed != self.seen {
            self.seen = resumed;
            let timeout = self.timeout;
            if let (Some(deadline), Some(timeout)) = (&mut self.deadline, timeout) {
                deadline.as_mut().reset(Instant::now() + timeout);
            }
        }
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
            self.token.cancel();
            return self.stop(timed_out());
        }
        match &mut self.stream {
            Some(stream) => stream.as_mut().poll_next(context),
            None => Poll::Ready(None),
        }
    }
}
