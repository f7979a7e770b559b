//! COPY FROM STDIN and TO STDOUT.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::BytesMut;
use futures::TryStreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::connection::{CopyInput, End, Failure, canceled, terminated};
use super::message::{self, Message, violation};
use super::reply::{self, Bare};
use crate::error::SqlState;
use crate::session::{CopyIn, CopyOut};
use crate::{Error, Result};

/// Bytes given to the engine at once: large enough that handing over costs nothing, small enough for any cache.
const COPY_BYTES: usize = 256 << 10;

impl Client<'_> {
    /// Takes COPY data from the client; the command tag.
    pub(super) async fn copy_in(&mut self, mut copy: Box<dyn CopyIn>) -> Result<String, Failure> {
        reply::copy_response(&mut self.connection.output, b'G', copy.binary(), copy.columns());
        self.connection.flush_until(&self.handle.terminate).await?;
        let cancel = self.statement_token();
        // The session's own timeout watches its statements, not the waiting for the client's data.
        let deadline =
            self.session.often().statement_timeout.map(|after| Instant::now() + Duration::from_millis(after));
        let mut staged = BytesMut::new();
        loop {
            match self.connection.take_copy_data(&mut staged, COPY_BYTES)? {
                CopyInput::More => self.copy_more(&cancel, deadline).await?,
                CopyInput::Full => self.copy_write(copy.as_mut(), &mut staged, &cancel).await?,
                CopyInput::Other => match self.copy_message(&cancel, deadline).await? {
                    // As PostgreSQL: a client may send these before it knows that it is copying.
                    Message::Flush | Message::Sync => {}
                    Message::CopyDone => {
                        self.copy_write(copy.as_mut(), &mut staged, &cancel).await?;
                        let finish = copy.finish(&mut self.session);
                        let tag = self.connection.guard(&self.handle.terminate, finish).await?;
                        self.report_notices();
                        return Ok(tag);
                    }
                    Message::CopyFail(reason) => {
                        let message = format!("COPY from stdin failed: {reason}");
                        return Err(Error::new(SqlState::QUERY_CANCELED, message).into());
                    }
                    Message::Terminate => return Err(End::Gone.into()),
                    other => return Err(unexpected(&other).into()),
                },
            }
        }
    }

    /// Gives the engine what is staged; waits while it is behind.
    async fn copy_write(
        &mut self,
        copy: &mut dyn CopyIn,
        staged: &mut BytesMut,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        if staged.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::replace(staged, BytesMut::with_capacity(COPY_BYTES)).freeze();
        let write = async {
            tokio::select! {
                biased;
                result = copy.write(bytes) => result,
                () = cancel.cancelled() => Err(canceled()),
            }
        };
        self.connection.guard(&self.handle.terminate, write).await
    }

    /// Reads more of the client's data.
    async fn copy_more(&mut self, cancel: &CancellationToken, deadline: Option<Instant>) -> Result<(), Failure> {
        tokio::select! {
            biased;
            result = self.connection.more() => Ok(result?),
            failure = interrupted(&self.handle.terminate, cancel, deadline) => Err(failure),
        }
    }

    /// The next message that is not data.
    async fn copy_message(
        &mut self,
        cancel: &CancellationToken,
        deadline: Option<Instant>,
    ) -> Result<Message, Failure> {
        let frame = tokio::select! {
            biased;
            frame = self.connection.frame() => frame?,
            failure = interrupted(&self.handle.terminate, cancel, deadline) => return Err(failure),
        };
        Ok(message::message(frame)?)
    }

    /// Sends COPY data to the client; the command tag.
    pub(super) async fn copy_out(&mut self, mut copy: CopyOut) -> Result<String, Failure> {
        reply::copy_response(&mut self.connection.output, b'H', copy.binary, copy.columns);
        let cancel = self.statement_token();
        let mut rows = 0;
        while let Some(chunk) = self.connection.guard(&self.handle.terminate, copy.stream.try_next()).await? {
            let mut start = 0;
            // What follows the last row (a binary trailer, say) is a message of its own.
            for end in chunk.row_ends.iter().copied().chain([chunk.bytes.len()]) {
                let row = chunk.bytes.get(start..end).ok_or_else(|| Error::internal("COPY rows out of order"))?;
                if !row.is_empty() {
                    reply::copy_data(&mut self.connection.output, row);
                    self.connection.relieve(&cancel, &self.handle.terminate).await?;
                }
                start = end;
            }
            rows += chunk.rows;
        }
        reply::bare(&mut self.connection.output, Bare::CopyDone);
        self.report_notices();
        self.instance.metrics.rows_sent.fetch_add(rows, Relaxed);
        Ok(format!("COPY {rows}"))
    }
}

/// Waits until the session is terminated, the statement cancelled, or its time is up.
async fn interrupted(terminate: &CancellationToken, cancel: &CancellationToken, deadline: Option<Instant>) -> Failure {
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = terminate.cancelled() => terminated().into(),
        () = cancel.cancelled() => canceled().into(),
        () = late => {
            Error::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout").into()
        }
    }
}

fn unexpected(message: &Message) -> Error {
    let kind = match message {
        Message::Query(_) => b'Q',
        Message::Parse { .. } => b'P',
        Message::Bind { .. } => b'B',
        Message::Describe(..) => b'D',
        Message::Close(..) => b'C',
        Message::Execute { .. } => b'E',
        Message::FunctionCall => b'F',
        Message::Password(_) => b'p',
        _ => b'?',
    };
    violation(format!("unexpected message type 0x{kind:02X} during COPY from stdin"))
}
