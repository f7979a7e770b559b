//! The files beneath it all, and a layer that fails, tears and forgets on demand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Result;

/// The file operations storage is made of. [`OsFiles`] is the real one; [`FaultyFiles`] wraps it in tests.
/// Every method blocks. Paths are absolute.
pub trait FileLayer: std::fmt::Debug + Send + Sync + 'static {
    /// Creates a file for appending; it must not exist.
    fn create(&self, path: &Path) -> Result<Box<dyn LogFile>>;
    /// Opens an existing file for appending at `length` after cutting it there.
    fn open_at(&self, path: &Path, length: u64) -> Result<Box<dyn LogFile>>;
    /// The whole file.
    fn read(&self, path: &Path) -> Result<bytes::Bytes>;
    /// Bytes of a file.
    fn read_range(&self, path: &Path, offset: u64, length: usize) -> Result<bytes::Bytes>;
    /// Names and sizes of the files of a folder (not its folders), sorted; empty if there is no such folder.
    fn list(&self, dir: &Path) -> Result<Vec<(PathBuf, u64)>>;
    /// Writes a whole file durably and atomically: temporary name, fsync, rename or link, fsync of the folder.
    /// With `exclusive`, fails with `Conflict`-like `AlreadyExists` if the path exists (put-if-absent).
    fn put(&self, path: &Path, bytes: &[u8], exclusive: bool) -> Result<()>;
    /// Removes a file; no error if it is not there.
    fn remove(&self, path: &Path) -> Result<()>;
    /// Removes a folder and what is in it; no error if it is not there.
    fn remove_dir(&self, path: &Path) -> Result<()>;
    /// Makes a folder and its parents.
    fn create_dir(&self, path: &Path) -> Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> Result<()>;
}

/// A file being appended to.
pub trait LogFile: Send + std::fmt::Debug {
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// fdatasync. After an error the file must not be used again.
    fn sync(&mut self) -> Result<()>;
}

/// The operating system's files.
#[derive(Debug, Default)]
pub struct OsFiles;

/// A layer for tests: see the module doc.
#[derive(Debug)]
pub struct FaultyFiles {
    _inner: Arc<dyn FileLayer>,
}
