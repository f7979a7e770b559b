//! Bodies of requests: read as they come, unpacked piece by piece, with an end to waiting.

use std::io::Write;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, header};
use flate2::write::MultiGzDecoder;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::error::{Refusal, SqlState};
use crate::{Error, Result};

/// Bytes of gzip unpacked at once: at most about four megabytes come out of them, however well they were packed.
const GZIP_PIECE_BYTES: usize = 4096;

/// Bytes of zstd unpacked at once: a block of 128 kB takes four at least, so no more than four megabytes either.
const ZSTD_PIECE_BYTES: usize = 128;

/// The largest window of zstd, as a power of two: the 8 MB that RFC 9659 allows for content encodings. It is memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// What the request says.
    ///
    /// # Errors
    /// 415 for another encoding.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self> {
        let given = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match given {
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => {
                let message = format!("content encoding \"{other}\" is not supported");
                Err(Error::refused(Refusal::MediaType, message).hint("Send the body as it is, or as gzip or zstd."))
            }
        }
    }
}

/// A body on its way in.
pub(super) struct Reader {
    stream: BodyDataStream,
    unpacker: Option<Unpacker>,
    /// What came and is not unpacked yet.
    chunk: Bytes,
    /// How long to wait for more.
    idle: Duration,
    stop: CancellationToken,
}

impl Reader {
    /// `idle`: how long to wait for more bytes. `stop`: ends the waiting at once.
    ///
    /// # Errors
    /// 53200 where there is no memory to unpack with.
    pub(super) fn new(body: Body, packing: Packing, idle: Duration, stop: CancellationToken) -> Result<Self> {
        let unpacker = Some(Unpacker::new(packing)?);
        Ok(Self { stream: body.into_data_stream(), unpacker, chunk: Bytes::new(), idle, stop })
    }

    /// The next bytes, unpacked: never none, and bounded. `None` at the end.
    ///
    /// # Errors
    /// 400 for a body that breaks off, 408 for one that does not come, 22P04 for one that is not packed as was said, 57P01.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(unpacker) = &mut self.unpacker {
            if !self.chunk.is_empty() {
                let piece = self.chunk.split_to(unpacker.piece_bytes().min(self.chunk.len()));
                let bytes = unpacker.unpack(piece)?;
                if !bytes.is_empty() {
                    return Ok(Some(bytes));
                }
                continue;
            }
            let more = tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    let message = "terminating connection due to administrator command";
                    return Err(Error::new(SqlState::ADMIN_SHUTDOWN, message));
                }
                more = tokio::time::timeout(self.idle, self.stream.next()) => more,
            };
            let late = |_| {
                let message = format!("no byte of the body came within {:?}", self.idle);
                Error::refused(Refusal::Late, message)
            };
            let broken = |error| Error::refused(Refusal::Malformed, format!("the body cannot be read: {error}"));
            match more.map_err(late)?.transpose().map_err(broken)? {
                Some(chunk) => self.chunk = chunk,
                None => {
                    let rest = self.unpacker.take().map_or(Ok(Bytes::new()), Unpacker::finish)?;
                    return Ok((!rest.is_empty()).then_some(rest));
                }
            }
        }
        Ok(None)
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`Self::next`]; 413 for more than `bytes_max`.
    pub(super) async fn whole(mut self, bytes_max: usize) -> Result<Vec<u8>> {
        let mut whole = vec![];
        while let Some(bytes) = self.next().await? {
            if whole.len() + bytes.len() > bytes_max {
                let message = format!("the body has more than {} MB", bytes_max >> 20);
                return Err(Error::refused(Refusal::TooLarge, message));
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }
}

enum Unpacker {
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

impl Unpacker {
    fn new(packing: Packing) -> Result<Self> {
        let zstd = || {
            let mut decoder = zstd::stream::write::Decoder::new(vec![])?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Ok(Self::Zstd(Box::new(decoder)))
        };
        Ok(match packing {
            Packing::Plain => Self::Plain,
            Packing::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(vec![]))),
            Packing::Zstd => {
                zstd().map_err(|error: std::io::Error| Error::new(SqlState::OUT_OF_MEMORY, error.to_string()))?
            }
        })
    }

    /// How many bytes may be unpacked at once.
    fn piece_bytes(&self) -> usize {
        match self {
            Self::Plain => usize::MAX,
            Self::Gzip(_) => GZIP_PIECE_BYTES,
            Self::Zstd(_) => ZSTD_PIECE_BYTES,
        }
    }

    /// What comes out of a piece.
    fn unpack(&mut self, piece: Bytes) -> Result<Bytes> {
        let unpacked = match self {
            Self::Plain => return Ok(piece),
            Self::Gzip(decoder) => decoder.write_all(&piece).map(|()| std::mem::take(decoder.get_mut())),
            Self::Zstd(decoder) => decoder.write_all(&piece).map(|()| std::mem::take(decoder.get_mut())),
        };
        unpacked.map(Bytes::from).map_err(|error| torn(&error))
    }

    /// What is left at the body's end.
    fn finish(self) -> Result<Bytes> {
        let rest = match self {
            Self::Plain => Ok(vec![]),
            Self::Gzip(decoder) => decoder.finish(),
            Self::Zstd(mut decoder) => decoder.flush().map(|()| decoder.into_inner()),
        };
        rest.map(Bytes::from).map_err(|error| torn(&error))
    }
}

fn torn(error: &std::io::Error) -> Error {
    Error::new(SqlState::BAD_COPY_FILE_FORMAT, format!("the body cannot be unpacked: {error}"))
}
