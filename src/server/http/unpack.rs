//! Compressed bodies, unpacked piece by piece.

use std::io::Write;

use axum::http::{HeaderMap, header};
use flate2::write::MultiGzDecoder;

use crate::error::SqlState;
use crate::{Error, Result};

/// Compressed bytes unpacked at once: at most about four megabytes come out of them, however well they were packed.
const PIECE_BYTES: usize = 4096;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// What the request says.
    ///
    /// # Errors
    /// 0A000 for another encoding.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self> {
        let given = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match given {
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => Err(Error::unsupported(format!("content encoding \"{other}\" is not supported"))
                .hint("Send the body as it is, or as gzip or zstd.")),
        }
    }
}

/// The bytes of a body.
pub(crate) enum Unpacker {
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

impl Unpacker {
    pub(crate) fn new(packing: Packing) -> Result<Self> {
        Ok(match packing {
            Packing::Plain => Self::Plain,
            Packing::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(vec![]))),
            Packing::Zstd => Self::Zstd(Box::new(zstd::stream::write::Decoder::new(vec![]).map_err(|e| torn(&e))?)),
        })
    }

    /// The pieces a chunk of the body is unpacked in.
    pub(crate) fn pieces<'c>(&self, chunk: &'c [u8]) -> std::slice::Chunks<'c, u8> {
        let bytes = if matches!(self, Self::Plain) { usize::MAX } else { PIECE_BYTES };
        chunk.chunks(bytes)
    }

    /// What comes out of a piece.
    ///
    /// # Errors
    /// 22P04 for bytes that are not packed as was said.
    pub(crate) fn unpack<'p>(&mut self, piece: &'p [u8]) -> Result<std::borrow::Cow<'p, [u8]>> {
        Ok(match self {
            Self::Plain => piece.into(),
            Self::Gzip(decoder) => {
                decoder.write_all(piece).map_err(|error| torn(&error))?;
                std::mem::take(decoder.get_mut()).into()
            }
            Self::Zstd(decoder) => {
                decoder.write_all(piece).map_err(|error| torn(&error))?;
                std::mem::take(decoder.get_mut()).into()
            }
        })
    }

    /// What is left at the body's end.
    ///
    /// # Errors
    /// 22P04 for a body that ends too soon.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(vec![]),
            Self::Gzip(decoder) => decoder.finish().map_err(|error| torn(&error)),
            Self::Zstd(mut decoder) => {
                decoder.flush().map_err(|error| torn(&error))?;
                Ok(decoder.into_inner())
            }
        }
    }
}

fn torn(error: &std::io::Error) -> Error {
    Error::new(SqlState::BAD_COPY_FILE_FORMAT, format!("the body cannot be unpacked: {error}"))
}
