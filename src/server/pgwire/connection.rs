//! One client's socket: a read buffer cut into messages, a write buffer of whole answers.
//!
//! Answers collect in the write buffer and go out in one write when the client waits for them, or when
//! [`WRITE_BYTES`] are there: then the sender waits for the socket, which is the back-pressure on every result. While a
//! statement runs [`Connection::watch`] reads on, so that a vanished client is noticed.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::message;
use crate::error::SqlState;
use crate::instance::Instance;
use crate::{Error, Result};

/// Bytes of answers above which they are written out.
pub(super) const WRITE_BYTES: usize = 64 << 10;
/// Smallest and largest room given to one read, bytes.
const READ_BYTES: std::ops::RangeInclusive<usize> = (8 << 10)..=(256 << 10);
/// Bytes a client may send ahead while its statement runs; more stay in the socket.
const AHEAD_BYTES_MAX: usize = 256 << 10;
/// Buffers that grew beyond this are given back when they are empty, bytes.
const KEEP_BYTES_MAX: usize = 1 << 20;
/// What a client's bytes travel on: TCP, TLS, or in tests a pipe.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client said goodbye or is gone.
    Gone,
    /// The client is told why.
    Fatal(Error),
}

/// Why a message's work stopped.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client is told; the connection lives on.
    Statement(Error),
    /// The connection ends.
    End(End),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.report().fatal { Self::End(End::Fatal(error)) } else { Self::Statement(error) }
    }
}

impl From<End> for Failure {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

/// 57014.
pub(super) fn canceled() -> Error {
    Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
}

/// 57P01.
pub(super) fn terminated() -> Error {
    Error::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command").fatal()
}

/// A client's socket and its buffers.
pub(super) struct Connection {
    transport: Box<dyn Transport>,
    input: BytesMut,
    /// Answers not yet written: whole messages only, except while `partial` says where an unfinished one begins.
    pub(super) output: BytesMut,
    /// Where the message now being encoded begins, so that a panic in the encoder leaves whole messages.
    partial: Option<usize>,
    /// Bytes of the present CopyData message not yet taken.
    copy_left: usize,
    read_bytes: usize,
    instance: Arc<Instance>,
}

impl Connection {
    /// A connection on a fresh transport.
    pub(super) fn new(instance: Arc<Instance>, transport: Box<dyn Transport>) -> Self {
        Self {
            transport,
            input: BytesMut::with_capacity(*READ_BYTES.start()),
            output: BytesMut::with_capacity(*READ_BYTES.start()),
            partial: None,
            copy_left: 0,
            read_bytes: *READ_BYTES.start(),
            instance,
        }
    }

    /// Reads once. `Ok(0)`: the client closed. Cancel-safe.
    async fn fill(&mut self) -> io::Result<usize> {
        let room = self.read_bytes;
        if self.input.is_empty() && self.input.capacity() > KEEP_BYTES_MAX {
            self.input = BytesMut::new();
        }
        self.input.reserve(room);
        // `read_buf` would take all of the capacity, however much there is.
        let read = (&mut self.transport).take(room as u64).read_buf(&mut self.input).await?;
        // Bulk senders get large reads, the others do not pay for the memory.
        self.read_bytes =
            if read == room { room * 2 } else { room.min(read * 2) }.clamp(*READ_BYTES.start(), *READ_BYTES.end());
        self.instance.metrics.bytes_received.fetch_add(read as u64, Relaxed);
        Ok(read)
    }

    /// Reads until `whole` tells the length of what is at the beginning of the input and that much is there; cuts it off.
    /// `None`: the client closed. Cancel-safe.
    async fn cut(&mut self, whole: impl Fn(&[u8]) -> Result<Option<usize>>) -> Result<Option<Bytes>, End> {
        loop {
            if self.skip_copy_data()
                && let Some(length) = whole(&self.input).map_err(End::Fatal)?
                && self.input.len() >= length
            {
                return Ok(Some(self.input.split_to(length).freeze()));
            }
            match self.fill().await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }

    /// The next startup packet.
    pub(super) async fn startup_packet(&mut self) -> Result<Option<Bytes>, End> {
        self.cut(message::startup_length).await
    }

    /// The next message's frame; the client's end if it closed. Cancel-safe.
    pub(super) async fn frame(&mut self) -> Result<Bytes, End> {
        self.cut(message::length).await?.ok_or(End::Gone)
    }

    /// The next message's frame if it is here already.
    pub(super) fn buffered_frame(&mut self) -> Result<Option<Bytes>, End> {
        if !self.skip_copy_data() {
            return Ok(None);
        }
        match message::length(&self.input).map_err(End::Fatal)? {
            Some(length) if self.input.len() >= length => Ok(Some(self.input.split_to(length).freeze())),
            _ => Ok(None),
        }
    }

    /// The type byte of the next message, if it is here.
    pub(super) fn peek(&self) -> Option<u8> {
        self.input.first().copied().filter(|_| self.copy_left == 0)
    }

    /// True if the client sent more than was cut off.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Ends when the client is gone. Meanwhile takes what it sends, up to a limit. Cancel-safe.
    async fn watch(&mut self) {
        loop {
            if self.input.len() >= AHEAD_BYTES_MAX {
                return std::future::pending().await;
            }
            match self.fill().await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Writes all answers out. Cancel-safe: what was not written stays.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        while !self.output.is_empty() {
            match self.transport.write_buf(&mut self.output).await {
                Ok(0) | Err(_) => return Err(End::Gone),
                Ok(written) => {
                    self.instance.metrics.bytes_sent.fetch_add(written as u64, Relaxed);
                }
            }
        }
        if self.output.capacity() > KEEP_BYTES_MAX {
            self.output = BytesMut::with_capacity(WRITE_BYTES);
        }
        self.transport.flush().await.map_err(|_| End::Gone)
    }

    /// As [`Self::flush`], unless the session is terminated while the client does not read.
    pub(super) async fn flush_until(&mut self, terminate: &CancellationToken) -> Result<(), End> {
        tokio::select! {
            biased;
            result = self.flush() => result,
            () = terminate.cancelled() => Err(End::Fatal(terminated())),
        }
    }

    /// Writes the answers out if there are many; waits for the client to take them, unless the statement (`cancel`) or
    /// the session (`terminate`) is stopped meanwhile.
    pub(super) async fn relieve(
        &mut self,
        cancel: &CancellationToken,
        terminate: &CancellationToken,
    ) -> Result<(), Failure> {
        if self.output.len() < WRITE_BYTES {
            return Ok(());
        }
        tokio::select! {
            biased;
            result = self.flush() => Ok(result?),
            () = terminate.cancelled() => Err(terminated().into()),
            () = cancel.cancelled() => Err(canceled().into()),
        }
    }

    /// Encodes a message or several: if `encode` panics or fails, none of it stays in the output.
    pub(super) fn encode<T>(&mut self, encode: impl FnOnce(&mut BytesMut) -> Result<T>) -> Result<T> {
        let start = self.output.len();
        self.partial = Some(start);
        let result = encode(&mut self.output);
        if result.is_err() {
            self.output.truncate(start);
        }
        self.partial = None;
        result
    }

    /// After a panic: drops the unfinished message.
    pub(super) fn recover(&mut self) {
        if let Some(start) = self.partial.take() {
            self.output.truncate(start);
        }
    }

    /// Closes our side. With `wait`, takes what the client still sends until it closes its own: a socket closed on
    /// unread bytes is reset, and the client may lose our last answer.
    pub(super) async fn close(&mut self, wait: bool) {
        if self.transport.shutdown().await.is_err() || !wait {
            return;
        }
        let mut taken = 0;
        while let Ok(read @ 1..) = self.fill().await {
            self.input.clear();
            taken += read;
            if taken > KEEP_BYTES_MAX {
                return;
            }
        }
    }

    /// Runs `work` until it ends, the client is gone, or the session is terminated. Cancel requests and timeouts are the
    /// session's: they end `work` with an error.
    pub(super) async fn guard<T>(
        &mut self,
        terminate: &CancellationToken,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            result = work => match result {
                Err(_) if terminate.is_cancelled() => Err(terminated().into()),
                result => Ok(result?),
            },
            () = terminate.cancelled() => Err(terminated().into()),
            // Unconstrained: a busy statement uses up the task's budget, and then the socket would never be looked at.
            () = tokio::task::unconstrained(self.watch()) => Err(End::Gone.into()),
        }
    }

    /// Turns the connection into TLS; nothing may be buffered.
    pub(super) async fn encrypt(&mut self, acceptor: &TlsAcceptor) -> Result<(), End> {
        let plain = std::mem::replace(&mut self.transport, Box::new(tokio::io::empty()));
        match acceptor.accept(plain).await {
            Ok(encrypted) => {
                self.transport = Box::new(encrypted);
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, "TLS handshake failed");
                Err(End::Gone)
            }
        }
    }

    /// Moves COPY data that is already here to `staged`, whole messages or not, until `staged` holds `bytes_max`.
    pub(super) fn take_copy_data(&mut self, staged: &mut BytesMut, bytes_max: usize) -> Result<CopyInput, End> {
        loop {
            if staged.len() >= bytes_max {
                return Ok(CopyInput::Full);
            }
            if self.copy_left > 0 {
                let length = self.copy_left.min(self.input.len()).min(bytes_max - staged.len());
                staged.extend_from_slice(&self.input[..length]);
                self.input.advance(length);
                self.copy_left -= length;
                if self.copy_left > 0 && self.input.is_empty() {
                    return Ok(CopyInput::More);
                }
                continue;
            }
            match (self.input.first(), message::length(&self.input).map_err(End::Fatal)?) {
                (None | Some(b'd'), None) => return Ok(CopyInput::More),
                (Some(b'd'), Some(length)) => {
                    self.input.advance(5);
                    self.copy_left = length - 5;
                }
                _ => return Ok(CopyInput::Other),
            }
        }
    }

    /// Reads more; the client's end if it closed. Cancel-safe.
    pub(super) async fn more(&mut self) -> Result<(), End> {
        match self.fill().await {
            Ok(0) | Err(_) => Err(End::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// Drops what is left of a COPY data message that was given up in its middle; false: more of it is to come.
    fn skip_copy_data(&mut self) -> bool {
        let length = self.copy_left.min(self.input.len());
        self.input.advance(length);
        self.copy_left -= length;
        self.copy_left == 0
    }
}

/// What [`Connection::take_copy_data`] stopped at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyInput {
    /// As many bytes as asked for are there.
    Full,
    /// The socket must be read.
    More,
    /// Another message comes next.
    Other,
}
