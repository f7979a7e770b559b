//! Files of the server's file system that statements read: names with wildcards, packed bytes, one row per key of many.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use tokio::sync::mpsc;

use super::names;
use crate::error::SqlState;
use crate::session::Session;
use crate::{Error, Result};

/// `CALL tidemill.compact_files(…)`
pub(crate) mod compact;

mod glob;

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

/// A file's bytes, unpacked where its name ends in `.gz` or `.zst`. Blocking.
pub(crate) struct Unpacked {
    path: String,
    reader: Box<dyn Read + Send>,
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
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        let reader: Box<dyn Read + Send> = match extension.as_deref().and_then(|extension| extension.to_str()) {
            Some("gz") => Box::new(MultiGzDecoder::new(std::io::BufReader::with_capacity(READ_BYTES / 8, file))),
            Some("zst") => Box::new(zstd::stream::read::Decoder::new(file).map_err(failed)?),
            _ => Box::new(file),
        };
        Ok(Self { path: shown(path), reader })
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// 58030; 22P04 for bytes that are not packed as the name says.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        use std::io::ErrorKind as Kind;
        loop {
            match self.reader.read(buffer) {
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
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    let (path, bytes) = (path.to_owned(), Arc::clone(bytes));
    tokio::task::spawn_blocking(move || {
        let mut file = match Unpacked::open(&path, &bytes) {
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
    receiver
}
