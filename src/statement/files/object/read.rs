//! An object's bytes, unpacked where its name says so, or on disk where a reader goes to and fro.
//!
//! Objects are read in ranges, each a request of its own that is repeated when it fails: a reader that is slower than the store
//! keeps no connection waiting, and memory is two ranges. All ranges are of the same object or it is an error. A file at
//! `https://` comes in one answer, since many servers have no ranges.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::{GetOptions, GetRange, ObjectStoreExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::super::{CHUNKS_WAITING, Packing, READ_BYTES, file_error, unpack};
use super::{Kind, Object, failed};
use crate::background;
use crate::config::{ByteSize, Config};
use crate::error::SqlState;
use crate::{Error, Result};

/// Bytes of one request: some tens of milliseconds at the speed of a store, and within the 30 seconds that a request may take at
/// 140 kB/s.
const RANGE_BYTES: u64 = 4 << 20;
/// Requests under way: the next range comes while one is taken.
const RANGES_AHEAD: usize = 2;
/// How long a server at `https://` may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// True if both are known and differ, however they are quoted.
fn is_other(a: Option<&str>, b: Option<&str>) -> bool {
    let plain = |etag: &str| etag.trim_start_matches("W/").trim_matches('"').to_owned();
    matches!((a.map(plain), b.map(plain)), (Some(a), Some(b)) if a != b)
}

impl Object {
    /// Its bytes in pieces of at most some megabytes, as they are stored.
    fn pieces(&self) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        let object = self.clone();
        let ranged = self.bucket.kind != Kind::Http;
        let ranges = match self.bytes.filter(|_| ranged) {
            Some(bytes) => (0..bytes)
                .step_by(usize::try_from(RANGE_BYTES).unwrap_or(usize::MAX))
                .map(move |start| start..(start + RANGE_BYTES).min(bytes))
                .collect::<Vec<_>>(),
            None => vec![],
        };
        let of_ranges = {
            let object = object.clone();
            futures::stream::iter(ranges)
                .map(move |range| {
                    let object = object.clone();
                    async move { object.range(range).await }
                })
                .buffered(RANGES_AHEAD)
        };
        let whole = async move { if ranged { Ok(futures::stream::empty().boxed()) } else { object.whole().await } };
        of_ranges.chain(futures::stream::once(whole).try_flatten())
    }

    async fn range(&self, range: Range<u64>) -> Result<Bytes> {
        let failed = |error: object_store::Error| failed(&self.url, "reading", &error);
        let wanted = range.end - range.start;
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let got = self.bucket.store.get_opts(&self.path, options).await.map_err(failed)?;
        let is_same = Some(got.meta.size) == self.bytes && !is_other(got.meta.e_tag.as_deref(), self.etag.as_deref());
        let bytes = if is_same { got.bytes().await.map_err(failed)? } else { Bytes::new() };
        if bytes.len() as u64 != wanted {
            return Err(Error::new(SqlState::IO_ERROR, format!("\"{}\" changed while it was read", self.url)));
        }
        Ok(bytes)
    }

    async fn whole(self) -> Result<futures::stream::BoxStream<'static, Result<Bytes>>> {
        let silent = |url: &str| {
            let message = format!("could not read \"{url}\": the server was silent for {} s", SILENCE_MAX.as_secs());
            Error::new(SqlState::CONNECTION_FAILURE, message)
        };
        let got = tokio::time::timeout(SILENCE_MAX, self.bucket.store.get(&self.path)).await;
        let got = got.map_err(|_| silent(&self.url))?.map_err(|error| failed(&self.url, "reading", &error))?;
        let stream = got.into_stream();
        Ok(futures::stream::try_unfold((stream, self.url), move |(mut stream, url)| async move {
            let next = tokio::time::timeout(SILENCE_MAX, stream.try_next()).await.map_err(|_| silent(&url))?;
            let next = next.map_err(|error| failed(&url, "reading", &error))?;
            Ok(next.map(|bytes| (bytes, (stream, url))))
        })
        .boxed())
    }

    /// Its bytes, unpacked, read by a task of its own while others are taken; what is read of it is added to `bytes`.
    pub(crate) fn chunks(&self, bytes: &Arc<AtomicU64>) -> mpsc::Receiver<Result<Bytes>> {
        let (taken, receiver) = mpsc::channel(CHUNKS_WAITING);
        let watched = taken.clone();
        let sender = match Packing::of(Path::new(&self.url)) {
            Packing::None => taken,
            Packing::Gzip | Packing::Zstd => {
                let (sender, packed) = mpsc::channel(CHUNKS_WAITING);
                unpack(&self.url, packed, taken);
                sender
            }
        };
        let work = send(self.pieces(), sender, Arc::clone(bytes));
        background::spawn("object", async move {
            tokio::select! {
                () = work => {}
                // Nobody takes them any more, however long the store takes to answer.
                () = watched.closed() => {}
            }
        });
        receiver
    }

    /// The object as a file of the server, as it is stored. Parquet is read column by column, from its end: on disk that takes the
    /// memory of some pages, where ranges of the object would take that of all columns of a row group; and COPY takes all columns
    /// anyway.
    ///
    /// # Errors
    /// Those of the store; 54000 for more than the server keeps, 53100.
    pub(crate) async fn download(&self, config: &Config, bytes: &AtomicU64) -> Result<Download> {
        let too_large = || {
            let message = format!("\"{}\" has more than {}", self.url, ByteSize::new(config.upload_bytes_max));
            Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
                .hint("Start the server with a larger --max-upload, or write smaller files.")
        };
        if self.bytes.is_some_and(|bytes| bytes > config.upload_bytes_max) {
            return Err(too_large());
        }
        let download = Download::new(config);
        let failed = |error: std::io::Error| file_error(&download.path.display().to_string(), "writing", &error);
        let mut file = tokio::fs::File::create_new(&download.path).await.map_err(failed)?;
        let (mut pieces, mut written) = (Box::pin(self.pieces()), 0);
        while let Some(piece) = pieces.try_next().await? {
            written += piece.len() as u64;
            if written > config.upload_bytes_max {
                return Err(too_large());
            }
            file.write_all(&piece).await.map_err(failed)?;
            bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        file.flush().await.map_err(failed)?;
        Ok(download)
    }
}

/// Sends pieces on, cut to the size of chunks, until they end or one is an error.
async fn send(
    pieces: impl Stream<Item = Result<Bytes>> + Send,
    sender: mpsc::Sender<Result<Bytes>>,
    bytes: Arc<AtomicU64>,
) {
    let mut pieces = std::pin::pin!(pieces);
    while let Some(piece) = pieces.next().await {
        let mut piece = match piece {
            Ok(piece) => piece,
            Err(error) => return drop(sender.send(Err(error)).await),
        };
        while !piece.is_empty() {
            let chunk = piece.split_to(piece.len().min(READ_BYTES));
            bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if sender.send(Ok(chunk)).await.is_err() {
                return;
            }
        }
    }
}

/// A file in the directory that is emptied at every start; deleted when dropped.
pub(crate) struct Download {
    pub(crate) path: PathBuf,
}

impl Download {
    /// A name for one: the file is yet to be made.
    pub(crate) fn new(config: &Config) -> Self {
        Self { path: config.data_dir.join("tmp").join(format!("object-{}", Uuid::now_v7())) }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "could not delete a download");
        }
    }
}
