//! Files of a folder of the server, and of folders within it.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{FILES_MAX, Found, is_hidden, is_unfinished};
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::statement::files::{FileFormat, matches};
use crate::{Error, Result};

/// Folders within folders.
const DEPTH_MAX: usize = 16;

/// See the module.
pub(super) struct Folder {
    folder: PathBuf,
    pattern: Option<String>,
    /// A file that did not change for this long is complete, microseconds.
    pub(super) settle_us: i64,
    /// Names need not tell the format.
    any_format: bool,
}

impl Folder {
    pub(super) fn new(folder: &str, pattern: Option<&str>, settle_ms: u64, any_format: bool) -> Self {
        let settle_us = i64::try_from(settle_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        Self { folder: PathBuf::from(folder), pattern: pattern.map(str::to_owned), settle_us, any_format }
    }

    /// The files that are there, by path.
    pub(super) async fn look(&self) -> Result<Vec<Found>> {
        let (folder, pattern, any_format) = (self.folder.clone(), self.pattern.clone(), self.any_format);
        let listed = tokio::task::spawn_blocking(move || {
            let mut found = vec![];
            list(&folder, pattern.as_deref(), any_format, 0, &mut found).map(|()| found)
        });
        let mut found = listed.await.map_err(|error| Error::internal(format!("a listing panicked: {error}")))??;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }
}

fn list(dir: &Path, pattern: Option<&str>, any_format: bool, depth: usize, found: &mut Vec<Found>) -> Result<()> {
    let failed = |path: &Path, error: &std::io::Error| {
        Error::new(SqlState::IO_ERROR, format!("could not read \"{}\": {error}", path.display()))
    };
    for entry in std::fs::read_dir(dir).map_err(|error| failed(dir, &error))? {
        let path = entry.map_err(|error| failed(dir, &error))?.path();
        // The next look sees what it is, if it is there.
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        // What is not UTF-8 cannot be told of in a receipt.
        let (Some(text), Some(name)) = (path.to_str(), path.file_name().and_then(|name| name.to_str())) else {
            continue;
        };
        if meta.is_dir() {
            if pattern.is_none() && depth < DEPTH_MAX && !is_hidden(name) {
                list(&path, None, any_format, depth + 1, found)?;
            }
            continue;
        }
        let is_meant = meta.is_file()
            && !is_unfinished(name)
            && pattern.is_none_or(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
            && (any_format || FileFormat::of(&path).is_some());
        if is_meant {
            let (path, bytes) = (text.to_owned(), meta.len());
            found.push(Found { path, object: None, bytes, modified: modified(&meta) });
        }
        if found.len() > FILES_MAX {
            let message = format!("a source reads at most {FILES_MAX} files");
            return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
    }
    Ok(())
}

/// When it was last changed, microseconds since 1970; 0: that is not known.
pub(super) fn modified(meta: &std::fs::Metadata) -> Timestamp {
    let time = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    time.and_then(|time| i64::try_from(time.as_micros()).ok()).unwrap_or(0)
}
