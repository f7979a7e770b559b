//! The files beneath it all: [`OsFiles`], the operating system's, and for tests [`FaultyFiles`], which fails, tears and
//! forgets on demand.
//!
//! Rules of durability, the same for both: bytes written are durable after `LogFile::sync`, names after `sync_dir` of
//! their folder; `put` does all of it. A power failure may keep any part of what was not synced.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

mod faulty;
pub use faulty::{Fault, FaultyFiles};

/// The file operations storage is made of. [`OsFiles`] is the real one; [`FaultyFiles`] wraps it in tests.
/// Every method blocks. Paths are absolute. A missing file is `Io` with `ErrorKind::NotFound`, a full disk `DiskFull`.
pub trait FileLayer: std::fmt::Debug + Send + Sync + 'static {
    /// Creates a file for appending; it must not exist (`AlreadyExists`). Its name is durable after `sync_dir`.
    fn create(&self, path: &Path) -> Result<Box<dyn LogFile>>;
    /// Opens an existing file for appending at `length` after cutting it there.
    fn open_at(&self, path: &Path, length: u64) -> Result<Box<dyn LogFile>>;
    /// The whole file.
    fn read(&self, path: &Path) -> Result<bytes::Bytes>;
    /// Bytes of a file; an error if the file ends before `offset + length`.
    fn read_range(&self, path: &Path, offset: u64, length: usize) -> Result<bytes::Bytes>;
    /// As `read_range`, but without waiting for a disk: `None` if that would be needed, or on any error.
    fn read_range_at_once(&self, path: &Path, offset: u64, length: usize) -> Option<bytes::Bytes>;
    /// Full paths and sizes of the files of a folder (not its folders), sorted; empty if there is no such folder.
    fn list(&self, dir: &Path) -> Result<Vec<(PathBuf, u64)>>;
    /// Full paths of the folders of a folder, sorted; empty if there is no such folder.
    fn list_dirs(&self, dir: &Path) -> Result<Vec<PathBuf>>;
    /// Writes a whole file durably and atomically: temporary name, fsync, rename or link, fsync of the folder.
    /// With `exclusive`, fails with `AlreadyExists` if the path exists (put-if-absent).
    fn put(&self, path: &Path, bytes: &[u8], exclusive: bool) -> Result<()>;
    /// Removes a file; no error if it is not there. Durable after `sync_dir`.
    fn remove(&self, path: &Path) -> Result<()>;
    /// Removes a folder and what is in it; no error if it is not there.
    fn remove_dir(&self, path: &Path) -> Result<()>;
    /// Makes a folder and its parents, durably; no error if it is there.
    fn create_dir(&self, path: &Path) -> Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> Result<()>;
}

/// A file being appended to.
pub trait LogFile: Send + std::fmt::Debug {
    /// Appends bytes. After an error an unknown part of them may be in the file.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// fdatasync. After an error the file must not be used again.
    fn sync(&mut self) -> Result<()>;
}

/// The extension of half-written files: whoever finds one from an earlier run may delete it.
pub const TEMPORARY_EXTENSION: &str = "tmp";

/// This crate's error for an error of the system.
pub(crate) fn io_error(path: &Path, source: std::io::Error) -> Error {
    let path = path.display().to_string();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::DiskFull { path },
        ErrorKind::AlreadyExists => Error::AlreadyExists { kind: "file", name: path },
        _ => Error::Io { path, source },
    }
}

/// True if the file or folder is not there.
pub(crate) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// The operating system's files.
#[derive(Debug, Default)]
pub struct OsFiles;

#[derive(Debug)]
struct OsFile {
    path: PathBuf,
    file: File,
}

impl LogFile for OsFile {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|source| io_error(&self.path, source))
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|source| io_error(&self.path, source))
    }
}

/// A name beside `path` that no other writer has.
fn temporary_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{TEMPORARY_EXTENSION}", uuid::Uuid::new_v4().simple()))
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|source| io_error(path, source))
}

impl FileLayer for OsFiles {
    fn create(&self, path: &Path) -> Result<Box<dyn LogFile>> {
        let file =
            OpenOptions::new().append(true).create_new(true).open(path).map_err(|source| io_error(path, source))?;
        Ok(Box::new(OsFile { path: path.to_owned(), file }))
    }

    fn open_at(&self, path: &Path, length: u64) -> Result<Box<dyn LogFile>> {
        let open = || {
            let file = OpenOptions::new().append(true).open(path)?;
            if file.metadata()?.len() < length {
                return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the file is shorter than its known length"));
            }
            file.set_len(length)?;
            Ok(file)
        };
        let file = open().map_err(|source| io_error(path, source))?;
        Ok(Box::new(OsFile { path: path.to_owned(), file }))
    }

    fn read(&self, path: &Path) -> Result<bytes::Bytes> {
        fs::read(path).map(Into::into).map_err(|source| io_error(path, source))
    }

    fn read_range(&self, path: &Path, offset: u64, length: usize) -> Result<bytes::Bytes> {
        let read = || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = vec![0; length];
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        read().map(Into::into).map_err(|source| io_error(path, source))
    }

    #[cfg(target_os = "linux")]
    fn read_range_at_once(&self, path: &Path, offset: u64, length: usize) -> Option<bytes::Bytes> {
        use rustix::io::{ReadWriteFlags, preadv2};
        let file = File::open(path).ok()?;
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            let rest = &mut [std::io::IoSliceMut::new(&mut bytes[done..])];
            match preadv2(&file, rest, offset + done as u64, ReadWriteFlags::NOWAIT) {
                Ok(read) if read > 0 => done += read,
                _ => return None,
            }
        }
        Some(bytes.into())
    }

    #[cfg(not(target_os = "linux"))]
    fn read_range_at_once(&self, _: &Path, _: u64, _: usize) -> Option<bytes::Bytes> {
        None
    }

    fn list(&self, dir: &Path) -> Result<Vec<(PathBuf, u64)>> {
        let mut found = Vec::new();
        for entry in entries(dir)? {
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed between the two calls.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(source) => return Err(io_error(&entry.path(), source)),
            };
            if metadata.is_file() {
                found.push((entry.path(), metadata.len()));
            }
        }
        found.sort();
        Ok(found)
    }

    fn list_dirs(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in entries(dir)? {
            if entry.file_type().map_err(|source| io_error(&entry.path(), source))?.is_dir() {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }

    fn put(&self, path: &Path, bytes: &[u8], exclusive: bool) -> Result<()> {
        let temporary = temporary_path(path);
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            if exclusive { fs::hard_link(&temporary, path) } else { fs::rename(&temporary, path) }
        };
        let written = write().map_err(|source| io_error(path, source));
        if exclusive || written.is_err() {
            // Best effort: a left-over is deleted at the next start.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        path.parent().map_or(Ok(()), sync_directory)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(path, error)),
            _ => Ok(()),
        }
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(path, error)),
            _ => Ok(()),
        }
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.create_dir(parent)?;
        }
        match fs::create_dir(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io_error(path, error)),
            _ => {}
        }
        path.parent().map_or(Ok(()), sync_directory)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        sync_directory(path)
    }
}

fn entries(dir: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        result => result.and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(|source| io_error(dir, source)),
    }
}
