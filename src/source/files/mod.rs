//! Files that are taken in, each once, by path or URL: `CREATE SOURCE … FROM FILES ('dir/*.ndjson') INTO t`, `'s3://bucket/dir/'`.
//!
//! A file of the server is complete when two looks in a row found it unchanged and it is older than the settle time; an object
//! appears whole. Names that writers use for what they have not finished are left alone. A file becomes one commit, whatever its
//! size: rows beyond some tens of megabytes go to Parquet files while it is read. A file that cannot be read is told of in
//! `tidemill.sources` and tried again when it changed, or when the source begins anew; the others are taken in.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use tidemill_catalog::record::Connector;

use super::{Totals, Work};
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::statement::files::FileFormat;
use crate::statement::files::object::{Object, Place};
use crate::{Error, Result};

/// Files of the server's folders.
mod folder;

/// A file on its way into the table.
mod intake;

use folder::Folder;
use intake::File;

/// Files of one source, those taken in included: about 200 bytes of memory each. More fail the source.
const FILES_MAX: usize = 1_000_000;

/// A file as a look found it.
#[derive(Clone)]
struct Found {
    /// Path or URL: what it is known by.
    path: String,
    /// `None`: a file of the server.
    object: Option<Box<Object>>,
    bytes: u64,
    /// When it was last changed, microseconds since 1970.
    modified: Timestamp,
}

impl Found {
    /// What tells it from another of its name.
    fn digest(&self) -> String {
        match self.object.as_ref().and_then(|object| object.etag.as_deref()) {
            Some(etag) => format!("{}-{etag}", self.bytes),
            None => format!("{}-{}", self.bytes, self.modified),
        }
    }

    /// The same file, unchanged.
    fn is_same(&self, other: &Self) -> bool {
        self.path == other.path && self.digest() == other.digest()
    }
}

/// Where files are.
enum Origin {
    Folder(Folder),
    Bucket { place: Place, any_format: bool },
}

impl Origin {
    /// The files that are there, by name.
    async fn look(&self) -> Result<Vec<Found>> {
        let (place, any_format) = match self {
            Self::Folder(folder) => return folder.look().await,
            Self::Bucket { place, any_format } => (place, *any_format),
        };
        let (folder, mut found) = (place.folder(), vec![]);
        for object in place.list(FILES_MAX).await? {
            let inner = object.url.strip_prefix(&folder).unwrap_or(&object.url);
            let (folders, name) = inner.rsplit_once('/').unwrap_or(("", inner));
            let is_meant = !is_unfinished(name)
                && !folders.split('/').any(is_hidden)
                && (any_format || FileFormat::of(Path::new(name)).is_some());
            if is_meant {
                let (path, bytes) = (object.url.clone(), object.bytes.unwrap_or(0));
                found.push(Found { path, bytes, modified: object.modified, object: Some(Box::new(object)) });
            }
        }
        Ok(found)
    }

    /// Whether nobody writes to a file any more, seen before as `before`.
    fn is_complete(&self, file: &Found, before: Option<&Found>, now: Timestamp) -> bool {
        match self {
            Self::Folder(folder) => {
                let is_steady = before.is_some_and(|before| before.is_same(file));
                is_steady && now.saturating_sub(file.modified) >= folder.settle_us
            }
            // Objects appear whole.
            Self::Bucket { .. } => true,
        }
    }
}

pub(super) async fn run(work: &Work) -> Result<()> {
    let any_format = work.def.format.is_some();
    let (origin, every_ms) = match &work.def.connector {
        Connector::Files { folder, pattern, every_ms, settle_ms } => {
            (Origin::Folder(Folder::new(folder, pattern.as_deref(), *settle_ms, any_format)), *every_ms)
        }
        Connector::Objects { url, every_ms, settings } => {
            (Origin::Bucket { place: Place::of(url, settings)?, any_format }, *every_ms)
        }
        Connector::Kafka { .. } => return Ok(()),
    };
    let receipts = work.receipts().await?;
    let mut totals = Totals::of(receipts.values());
    let mut taken: HashMap<String, String> =
        receipts.into_iter().map(|(path, receipt)| (path, receipt.digest)).collect();
    let mut before: HashMap<String, Found> = HashMap::new();
    let mut failed: HashMap<String, Found> = HashMap::new();
    work.note(|status| status.totals = totals);
    while !work.stop.is_cancelled() {
        let found = tokio::select! {
            found = origin.look() => found?,
            () = work.stop.cancelled() => return Ok(()),
        };
        if taken.len() + found.len() > 2 * FILES_MAX {
            let message = format!("a source reads at most {FILES_MAX} files");
            return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
        let now = work.instance.clock.now();
        let mut pending = HashMap::new();
        for file in found {
            if let Some(digest) = taken.get_mut(&file.path) {
                if *digest != file.digest() {
                    // Told once; from now on this is what it is like.
                    *digest = file.digest();
                    work.complains(&format!("file \"{}\" was changed after it was taken in", file.path));
                }
                continue;
            }
            let is_failed = failed.get(&file.path).is_some_and(|failed| failed.is_same(&file));
            if is_failed || !origin.is_complete(&file, before.get(&file.path), now) {
                pending.insert(file.path.clone(), file);
                continue;
            }
            if work.stop.is_cancelled() {
                return Ok(());
            }
            let intake = File::new(work, &file, totals);
            match work.take(&intake).await {
                Ok(report) => {
                    totals = totals.with(&report, 1);
                    failed.remove(&file.path);
                    taken.insert(file.path.clone(), file.digest());
                    work.note(|status| status.totals = totals);
                    work.goes_on();
                }
                Err(_) if work.stop.is_cancelled() => return Ok(()),
                Err(error) if is_of_file(&error) => {
                    work.complains(&format!("file \"{}\": {}", file.path, error.report().message));
                    failed.insert(file.path.clone(), file.clone());
                    pending.insert(file.path.clone(), file);
                }
                Err(error) => return Err(error),
            }
        }
        failed.retain(|path, file| pending.get(path).is_some_and(|pending| pending.is_same(file)));
        before = pending;
        work.note(|status| status.failed_files = failed.len());
        work.goes_on();
        tokio::select! {
            () = work.stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(every_ms)) => {}
        }
    }
    Ok(())
}

/// True if another file may do better: what is wrong is in this one.
fn is_of_file(error: &Error) -> bool {
    let class = error.code().code().get(..2).unwrap_or_default();
    let codes = [
        SqlState::IO_ERROR,
        SqlState::UNDEFINED_FILE,
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::CONFIGURATION_LIMIT_EXCEEDED,
        SqlState::PROGRAM_LIMIT_EXCEEDED,
    ];
    class == SqlState::DATA_EXCEPTION.code().get(..2).unwrap_or_default() || codes.contains(error.code())
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// Names that writers, copiers and editors give to what is not complete.
fn is_unfinished(name: &str) -> bool {
    const ENDINGS: &[&str] = &[".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", ".lock", "~"];
    is_hidden(name) || ENDINGS.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending))
}

#[cfg(test)]
mod tests;
