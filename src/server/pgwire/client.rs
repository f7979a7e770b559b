//! The loop of one client: the next message, what it asks for, the answer.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, End, Failure, terminated};
use super::extended::Bound;
use super::message::{self, Message, violation};
use super::reply;
use crate::error::SqlState;
use crate::instance::{Instance, SessionHandle};
use crate::session::secrets::without_secrets;
use crate::session::{Outcome, Session, TransactionStatus};
use crate::{Error, Result};

/// Bytes of a statement's text that pg_stat_activity shows.
const QUERY_BYTES_KEPT: usize = 8 << 10;

/// One client with a session.
pub(super) struct Client<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) session: Session,
    pub(super) instance: Arc<Instance>,
    pub(super) handle: Arc<SessionHandle>,
    /// Portals made by Bind.
    pub(super) portals: HashMap<String, Bound>,
    /// After an error in the extended protocol: nothing is heard until Sync.
    skipping: bool,
    /// ReadyForQuery was sent, and nothing came since.
    ready: bool,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        connection: &'a mut Connection,
        session: Session,
        handle: Arc<SessionHandle>,
        instance: Arc<Instance>,
    ) -> Self {
        Self { connection, session, instance, handle, portals: HashMap::new(), skipping: false, ready: false }
    }

    /// Serves the client until it leaves or is made to. Its last answer may still be in the connection's output.
    pub(super) async fn run(mut self) {
        self.report_parameters();
        reply::backend_key(&mut self.connection.output, self.handle.pid, self.handle.secret);
        let end = match self.finish().await {
            Err(end) => end,
            Ok(()) => loop {
                let frame = match self.next().await {
                    Ok(frame) => frame,
                    Err(end) => break end,
                };
                // A bug in one statement must not take the server down, nor go on in a session it may have broken.
                let work = if matches!(frame.first(), Some(b'B' | b'D' | b'C')) {
                    std::panic::catch_unwind(AssertUnwindSafe(|| self.dispatch_now(frame)))
                } else {
                    AssertUnwindSafe(Box::pin(self.dispatch(frame))).catch_unwind().await
                };
                match work {
                    Ok(Ok(())) => {}
                    Ok(Err(end)) => break end,
                    Err(panic) => break self.panicked(panic.as_ref()),
                }
            },
        };
        if let End::Fatal(error) = end {
            self.instance.metrics.error(error.code());
            tracing::info!(pid = self.handle.pid, code = error.code().code(), %error, "session ends");
            reply::error(&mut self.connection.output, error.report(), true);
        }
        // Streams first: what they compute stops now.
        self.portals.clear();
        let session = self.session;
        if std::panic::catch_unwind(AssertUnwindSafe(move || session.end())).is_err() {
            tracing::error!(pid = self.handle.pid, "panic at the end of a session");
        }
    }

    fn panicked(&mut self, panic: &(dyn std::any::Any + Send)) -> End {
        let what = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let what = what.unwrap_or("unknown panic");
        let query = self.handle.activity.lock().query.clone();
        tracing::error!(pid = self.handle.pid, what, query, "statement panicked");
        self.instance.metrics.panics.fetch_add(1, Relaxed);
        self.connection.recover();
        End::Fatal(Error::internal(format!("internal error: {what}")).fatal())
    }

    /// The token of the statement that runs; one that is never cancelled if the session made none.
    pub(super) fn statement_token(&self) -> CancellationToken {
        self.handle.activity.lock().cancel.clone().unwrap_or_default()
    }

    /// A suspended portal goes on: cancel requests are for it again.
    pub(super) fn resume(&mut self, text: &str, cancel: &CancellationToken) {
        self.work(text);
        self.session.resume();
        self.handle.activity.lock().cancel = Some(cancel.clone());
    }

    /// Waits for the next message: also for shutdown, pg_terminate_backend, idle timeouts.
    async fn next(&mut self) -> Result<Bytes, End> {
        let leave = |client: &Self| {
            client.handle.terminate.is_cancelled() || (client.ready && client.instance.shutdown.is_cancelled())
        };
        if leave(self) {
            return Err(End::Fatal(terminated()));
        }
        if let Some(frame) = self.connection.buffered_frame()? {
            self.ready = false;
            return Ok(frame);
        }
        if self.skipping {
            // As PostgreSQL: an error is not kept until Sync.
            self.connection.flush_until(&self.handle.terminate).await?;
        }
        let timeout = if self.ready { self.idle_timeout() } else { None };
        let idle = async {
            match timeout {
                Some((after, error)) => {
                    tokio::time::sleep(after).await;
                    error
                }
                None => std::future::pending().await,
            }
        };
        let mut idle = std::pin::pin!(idle);
        let inbox = Arc::clone(self.session.inbox());
        // In a transaction, and before the client has its ReadyForQuery, notifications wait.
        let hears = self.ready && self.session.status() == TransactionStatus::Idle;
        loop {
            tokio::select! {
                biased;
                frame = self.connection.frame() => {
                    self.ready = false;
                    return frame;
                }
                () = self.handle.terminate.cancelled() => return Err(End::Fatal(terminated())),
                () = self.instance.shutdown.cancelled() => return Err(End::Fatal(terminated())),
                () = inbox.came(), if hears => {
                    self.report_notifications()?;
                    self.connection.flush_until(&self.handle.terminate).await?;
                }
                error = &mut idle => return Err(End::Fatal(error)),
            }
        }
    }

    /// Notifications that wait for the client.
    fn report_notifications(&mut self) -> Result<(), End> {
        for (pid, notification) in self.session.inbox().take().map_err(End::Fatal)? {
            let (channel, payload) = (&notification.channel, &notification.payload);
            reply::notification(&mut self.connection.output, pid, channel, payload);
        }
        Ok(())
    }

    /// How long the client may do nothing now, and what it is told then.
    fn idle_timeout(&self) -> Option<(Duration, Error)> {
        let often = self.session.often();
        let (after, code, message) = match self.session.status() {
            TransactionStatus::Idle => (
                often.idle_session_timeout,
                SqlState::IDLE_SESSION_TIMEOUT,
                "terminating connection due to idle-session timeout",
            ),
            TransactionStatus::Active | TransactionStatus::Failed => (
                often.idle_in_transaction_session_timeout,
                SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                "terminating connection due to idle-in-transaction timeout",
            ),
        };
        Some((Duration::from_millis(after?), Error::new(code, message).fatal()))
    }

    /// Does what one message asks for.
    async fn dispatch(&mut self, frame: Bytes) -> Result<(), End> {
        let kind = frame.first().copied().unwrap_or_default();
        if self.skipping && !matches!(kind, b'S' | b'X') {
            return Ok(());
        }
        let result = match message::message(frame) {
            Ok(message) => self.handle(message).await,
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(()) => Ok(()),
            Err(Failure::End(end)) => Err(end),
            Err(Failure::Statement(error)) => {
                self.failed(&error);
                if matches!(kind, b'P' | b'E' | b'H' | b'S') {
                    self.skipping = true;
                    Ok(())
                } else {
                    self.finish().await
                }
            }
        }
    }

    /// Does what a message asks for that waits for nothing: Bind, Describe, Close.
    fn dispatch_now(&mut self, frame: Bytes) -> Result<(), End> {
        if self.skipping {
            return Ok(());
        }
        let result = message::message(frame).map_err(Failure::from).and_then(|message| match message {
            Message::Bind { portal, statement, formats, values, result_formats } => {
                self.bind(portal, &statement, &formats, values, result_formats)
            }
            Message::Describe(target, name) => self.describe(target, &name),
            Message::Close(target, name) => {
                self.close(target, &name);
                Ok(())
            }
            _ => Err(Error::internal("a message of another kind").into()),
        });
        match result {
            Err(Failure::End(end)) => Err(end),
            Err(Failure::Statement(error)) => {
                self.failed(&error);
                self.skipping = true;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn failed(&mut self, error: &Error) {
        self.session.fail();
        self.report_notices();
        self.report(error);
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Query(sql) => self.query(&sql).await?,
            Message::Parse { name, query, types } => self.parse(&name, &query, &types).await?,
            Message::Execute { portal, rows_max } => self.execute(portal, rows_max).await?,
            Message::Flush => self.connection.flush_until(&self.handle.terminate).await?,
            Message::Sync => {
                self.skipping = false;
                self.finish().await?;
            }
            // A COPY that failed before its client knew: the data is still coming.
            Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => {}
            Message::FunctionCall => return Err(Error::unsupported("function calls are not supported").into()),
            Message::Terminate => return Err(End::Gone.into()),
            Message::Password(_) => return Err(violation("invalid frontend message type 112").fatal().into()),
            Message::Bind { .. } | Message::Describe(..) | Message::Close(..) => {
                return Err(Error::internal("a message of another kind").into());
            }
        }
        Ok(())
    }

    /// The end of a cycle: commits what is implicit, says how things stand, and that the next query may come.
    pub(super) async fn finish(&mut self) -> Result<(), End> {
        // Not guarded: a commit that began is not given up half way.
        if let Err(error) = self.session.sync().await {
            if error.report().fatal {
                return Err(End::Fatal(error));
            }
            self.session.fail();
            self.report(&error);
        }
        let status = self.session.status();
        if status == TransactionStatus::Idle {
            self.portals.clear();
        }
        self.report_notices();
        self.report_parameters();
        if status == TransactionStatus::Idle {
            self.report_notifications()?;
        }
        reply::ready(&mut self.connection.output, status);
        self.rest(status);
        self.connection.flush_until(&self.handle.terminate).await?;
        self.ready = true;
        Ok(())
    }

    /// An ErrorResponse.
    fn report(&mut self, error: &Error) {
        self.instance.metrics.error(error.code());
        if error.code() == &SqlState::INTERNAL_ERROR {
            tracing::error!(pid = self.handle.pid, %error, "internal error");
        } else {
            tracing::debug!(pid = self.handle.pid, code = error.code().code(), %error, "statement failed");
        }
        reply::error(&mut self.connection.output, error.report(), false);
    }

    /// Notices that statements raised.
    pub(super) fn report_notices(&mut self) {
        for (severity, report) in self.session.take_notices() {
            reply::notice(&mut self.connection.output, severity, &report);
        }
    }

    /// Settings that changed and that clients are told of.
    fn report_parameters(&mut self) {
        for (name, value) in self.session.take_parameter_changes() {
            reply::parameter_status(&mut self.connection.output, &name, &value);
        }
    }

    /// CommandComplete.
    pub(super) fn complete(&mut self, tag: &str) {
        self.instance.metrics.statement(tag);
        reply::complete(&mut self.connection.output, tag);
    }

    /// Runs a portal from its beginning, watching the client.
    pub(super) async fn start(&mut self, portal: &crate::session::Portal) -> Result<Outcome, Failure> {
        // Pinned here: handed on by value it would be copied at each step, and it is large.
        let outcome = {
            let work = std::pin::pin!(self.session.execute(portal));
            self.connection.guard(&self.handle.terminate, work).await
        };
        self.report_notices();
        outcome
    }

    /// Others see that a statement begins.
    pub(super) fn work(&mut self, text: &str) {
        let now = self.instance.clock.now();
        let mut activity = self.handle.activity.lock();
        if activity.state != "active" {
            activity.state = "active";
            activity.state_changed_at = now;
        }
        activity.query_started_at = now;
        activity.query.clear();
        let shown = without_secrets(&text[..text.floor_char_boundary(QUERY_BYTES_KEPT)]);
        activity.query.push_str(&shown);
    }

    /// Others see that the client's next statement is awaited.
    fn rest(&self, status: TransactionStatus) {
        let mut activity = self.handle.activity.lock();
        activity.cancel = None;
        activity.state_changed_at = self.instance.clock.now();
        activity.state = match status {
            TransactionStatus::Idle => "idle",
            TransactionStatus::Active => "idle in transaction",
            TransactionStatus::Failed => "idle in transaction (aborted)",
        };
    }
}
