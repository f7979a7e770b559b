//! Files that statements read and write, of the server's file system and of object stores: names with wildcards, packed bytes,
//! one row per key of many.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::names;
use crate::error::SqlState;
use crate::session::Session;
use crate::{Error, Result};

/// `CALL tidemill.compact_files(…)`
pub(crate) mod compact;

mod glob;

/// Files of object stores.
pub(crate) mod object;

pub(crate) use glob::{expand, has_wildcard, matches};

/// Bytes read at once.
pub(crate) const READ_BYTES: usize = 1 << 20;
/// Chunks that may wait for whoever takes them.
const CHUNKS_WAITING: usize = 2;

/// How a file's bytes are rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileFormat {
    /// Objects: one on each line, or in arrays.
    Json,
    /// Objects, one on each line.
    Lines,
    /// Comma-separated, with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl FileFormat {
    /// By name, as options spell it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::Lines,
            "csv" => Self::Csv,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }

    /// By the end of a file's name, before `.gz` or `.zst`.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        Self::named(name.rsplit_once('.')?.1)
    }
}

/// 42501 unless a superuser: such a statement reads and writes as the server. `what`: `COPY from a file` and the like.
pub(crate) fn require_superuser(session: &mut Session, from: bool) -> Result<()> {
    let (_, role) = names::current_role(session)?;
    if role.superuser {
        return Ok(());
    }
    let (what, group) = if from { ("from", "pg_read_server_files") } else { ("to", "pg_write_server_files") };
    Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied to COPY {what} a file"))
        .detail(format!("Only roles with privileges of the \"{group}\" role may COPY {what} a file."))
        .hint("Anyone can COPY to stdout or from stdin. psql's \\copy command also works for anyone."))
}

/// A path in a message.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Why a file cannot be opened or read, as PostgreSQL says it.
pub(crate) fn file_error(path: &str, doing: &str, error: &std::io::Error) -> Error {
    let (code, reason) = match error.kind() {
        std::io::ErrorKind::NotFound => (SqlState::UNDEFINED_FILE, "No such file or directory".to_owned()),
        std::io::ErrorKind::PermissionDenied => (SqlState::INSUFFICIENT_PRIVILEGE, "Permission denied".to_owned()),
        std::io::ErrorKind::IsADirectory => {
            return Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{path}\" is a directory"));
        }
        std::io::ErrorKind::StorageFull => (SqlState::DISK_FULL, "No space left on device".to_owned()),
        _ => (SqlState::IO_ERROR, error.to_string()),
    };
    let error = Error::new(code, format!("could not open file \"{path}\" for {doing}: {reason}"));
    if error.code() == &SqlState::UNDEFINED_FILE || error.code() == &SqlState::INSUFFICIENT_PRIVILEGE {
        let (direction, verb) = if doing == "reading" { ("FROM", "read") } else { ("TO", "write") };
        return error.hint(format!(
            "COPY {direction} instructs the server process to {verb} a file. \
             You may want a client-side facility such as psql's \\copy."
        ));
    }
    error
}

/// What a statement reads: a file of the server, or an object.
pub(crate) enum Input {
    File(PathBuf),
    Object(Box<object::Object>),
}

impl Input {
    /// What it is called in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => shown(path),
            Self::Object(object) => object.url.clone(),
        }
    }

    /// Its bytes as it is stored; 0 where that is not known yet.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::File(path) => path.metadata().map_or(0, |meta| meta.len()),
            Self::Object(object) => object.bytes.unwrap_or(0),
        }
    }

    /// Its bytes, unpacked, read while others are taken; what is read of it is added to `bytes`.
    pub(crate) fn chunks(&self, bytes: &Arc<AtomicU64>) -> mpsc::Receiver<Result<Bytes>> {
        match self {
            Self::File(path) => chunks(path, bytes),
            Self::Object(object) => object.chunks(bytes),
        }
    }
}

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    /// As the end of a name says.
    fn of(path: &Path) -> Self {
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        match extension.as_deref().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// A file's bytes, unpacked where its name ends in `.gz` or `.zst`. Blocking.
pub(crate) struct Unpacked {
    path: String,
    reader: Box<dyn Read + Send>,
    /// Why the bytes ended before they were unpacked.
    failure: Failure,
}

/// Counts the bytes of the file that were read.
struct Counted {
    file: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Unpacked {
    /// Opens a file; what is read of it is added to `bytes`.
    ///
    /// # Errors
    /// 58P01, 42501, 42809 for a folder.
    pub(crate) fn open(path: &Path, bytes: &Arc<AtomicU64>) -> Result<Self> {
        let failed = |error: std::io::Error| file_error(&shown(path), "reading", &error);
        if path.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let file = Counted { file: File::open(path).map_err(failed)?, bytes: Arc::clone(bytes) };
        Self::of(shown(path), Packing::of(path), file)
    }

    fn of(path: String, packing: Packing, packed: impl Read + Send + 'static) -> Result<Self> {
        let reader: Box<dyn Read + Send> = match packing {
            Packing::None => Box::new(packed),
            Packing::Gzip => Box::new(MultiGzDecoder::new(std::io::BufReader::with_capacity(READ_BYTES / 8, packed))),
            Packing::Zstd => Box::new(
                zstd::stream::read::Decoder::new(packed).map_err(|error| file_error(&path, "reading", &error))?,
            ),
        };
        Ok(Self { path, reader, failure: Arc::default() })
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// 58030, and those of an object's store; 22P04 for bytes that are not packed as the name says.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        use std::io::ErrorKind as Kind;
        loop {
            let read = self.reader.read(buffer);
            if read.is_err()
                && let Some(error) = self.failure.lock().take()
            {
                return Err(error);
            }
            match read {
                Err(error) if error.kind() == Kind::Interrupted => {}
                Err(error) if matches!(error.kind(), Kind::InvalidData | Kind::InvalidInput | Kind::UnexpectedEof) => {
                    let message = format!("file \"{}\" cannot be unpacked: {error}", self.path);
                    return Err(Error::new(SqlState::BAD_COPY_FILE_FORMAT, message));
                }
                // What zstd says about bytes that are not its own has no kind.
                Err(error) if error.raw_os_error().is_none() => {
                    let message = format!("file \"{}\" cannot be unpacked: {error}", self.path);
                    return Err(Error::new(SqlState::BAD_COPY_FILE_FORMAT, message));
                }
                result => return result.map_err(|error| file_error(&self.path, "reading", &error)),
            }
        }
    }
}

/// A file's bytes, read by a thread of its own while others are taken.
pub(crate) fn chunks(path: &Path, bytes: &Arc<AtomicU64>) -> mpsc::Receiver<Result<Bytes>> {
    let (path, bytes) = (path.to_owned(), Arc::clone(bytes));
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    read_all(move || Unpacked::open(&path, &bytes), sender);
    receiver
}

/// Packed bytes that come, unpacked by a thread of its own as the end of the name says.
fn unpack(name: &str, packed: mpsc::Receiver<Result<Bytes>>, taken: mpsc::Sender<Result<Bytes>>) {
    let (name, packing) = (name.to_owned(), Packing::of(Path::new(name)));
    let failure = Arc::default();
    let received = Received { packed, rest: Bytes::new(), failure: Arc::clone(&failure) };
    let open = move || {
        let mut file = Unpacked::of(name, packing, received)?;
        file.failure = failure;
        Ok(file)
    };
    read_all(open, taken);
}

fn read_all(open: impl FnOnce() -> Result<Unpacked> + Send + 'static, sender: mpsc::Sender<Result<Bytes>>) {
    tokio::task::spawn_blocking(move || {
        let mut file = match open() {
            Ok(file) => file,
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        loop {
            let mut buffer = BytesMut::zeroed(READ_BYTES);
            let chunk = match file.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    buffer.truncate(read);
                    Ok(buffer.freeze())
                }
                Err(error) => Err(error),
            };
            let is_last = chunk.is_err();
            // Nobody takes them any more, or there will be none.
            if sender.blocking_send(chunk).is_err() || is_last {
                return;
            }
        }
    });
}

/// Bytes that come, for a reader that blocks.
struct Received {
    packed: mpsc::Receiver<Result<Bytes>>,
    rest: Bytes,
    /// Why there are no more: what readers pass on is an error without its code.
    failure: Failure,
}

type Failure = Arc<Mutex<Option<Error>>>;

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.rest.is_empty() {
            match self.packed.blocking_recv() {
                None => return Ok(0),
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => {
                    *self.failure.lock() = Some(error);
                    return Err(std::io::Error::other("the bytes end with an error"));
                }
            }
        }
        let length = self.rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}
