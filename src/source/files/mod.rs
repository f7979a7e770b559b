//! A folder whose files are taken in, each once, by path: `CREATE SOURCE … FROM FILES ('dir/*.ndjson') INTO t`.
//!
//! A file is complete when two looks in a row found it unchanged and it is older than the settle time; names that writers use
//! for what they have not finished are left alone. It becomes one commit, whatever its size: rows beyond some tens of megabytes
//! go to Parquet files while it is read. A file that cannot be read is told of in `tidemill.sources` and tried again when it
//! changed, or when the source begins anew; the others are taken in.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use super::{Intake, Totals, Work};
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::statement::files::{FileFormat, chunks, matches};
use crate::statement::ingest::receipts::Receipt;
use crate::statement::ingest::{Format, Ingest, Report};
use crate::{Error, Result};

/// Files of one folder, those taken in included: about 200 bytes of memory each. More fail the source.
const FILES_MAX: usize = 1_000_000;
/// Folders within folders.
const DEPTH_MAX: usize = 16;

/// A file as a look found it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    path: String,
    bytes: u64,
    /// When it was last changed, microseconds since 1970.
    modified: Timestamp,
}

impl Found {
    /// What tells it from another of its name.
    fn digest(&self) -> String {
        format!("{}-{}", self.bytes, self.modified)
    }
}

pub(super) async fn run(
    work: &Work,
    folder: &str,
    pattern: Option<&str>,
    (every, settle): (Duration, Duration),
) -> Result<()> {
    let receipts = work.receipts().await?;
    let mut totals = Totals::of(receipts.values());
    let mut taken: HashMap<String, String> =
        receipts.into_iter().map(|(path, receipt)| (path, receipt.digest)).collect();
    let mut before: HashMap<String, Found> = HashMap::new();
    let mut failed: HashMap<String, Found> = HashMap::new();
    work.note(|status| status.totals = totals);
    let settle = i64::try_from(settle.as_micros()).unwrap_or(i64::MAX);
    while !work.stop.is_cancelled() {
        let found = look(work, folder, pattern).await?;
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
            let is_settled = before.get(&file.path) == Some(&file) && now.saturating_sub(file.modified) >= settle;
            if !is_settled || failed.get(&file.path) == Some(&file) {
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
        failed.retain(|path, file| pending.get(path) == Some(file));
        before = pending;
        work.note(|status| status.failed_files = failed.len());
        work.goes_on();
        tokio::select! {
            () = work.stop.cancelled() => {}
            () = tokio::time::sleep(every) => {}
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

/// The files that are there, by path.
async fn look(work: &Work, folder: &str, pattern: Option<&str>) -> Result<Vec<Found>> {
    let (folder, pattern) = (PathBuf::from(folder), pattern.map(str::to_owned));
    let any_format = work.def.format.is_some();
    let listed = tokio::task::spawn_blocking(move || {
        let mut found = vec![];
        list(&folder, pattern.as_deref(), any_format, 0, &mut found).map(|()| found)
    });
    let mut found = listed.await.map_err(|error| Error::internal(format!("a listing panicked: {error}")))??;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
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
            found.push(Found { path: text.to_owned(), bytes: meta.len(), modified: modified(&meta) });
        }
        if found.len() > FILES_MAX {
            let message = format!("a source reads at most {FILES_MAX} files");
            return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
    }
    Ok(())
}

/// When it was last changed, microseconds since 1970; 0: that is not known.
fn modified(meta: &std::fs::Metadata) -> Timestamp {
    let time = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    time.and_then(|time| i64::try_from(time.as_micros()).ok()).unwrap_or(0)
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// Names that writers, copiers and editors give to what is not complete.
fn is_unfinished(name: &str) -> bool {
    const ENDINGS: &[&str] = &[".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", ".lock", "~"];
    is_hidden(name) || ENDINGS.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending))
}

/// A file on its way into the table.
struct File<'w> {
    work: &'w Work,
    file: &'w Found,
    format: Format,
    totals: Totals,
}

impl<'w> File<'w> {
    fn new(work: &'w Work, file: &'w Found, totals: Totals) -> Self {
        let named = work.def.format.as_deref().and_then(FileFormat::named);
        let format = match named.or_else(|| FileFormat::of(Path::new(&file.path))) {
            Some(FileFormat::Csv) => Format::Csv,
            Some(FileFormat::Lines) => Format::Lines,
            Some(FileFormat::Parquet) => Format::Parquet,
            Some(FileFormat::Json) | None => Format::Json,
        };
        Self { work, file, format, totals }
    }

    /// Nothing changed it while it was read.
    async fn require_unchanged(&self) -> Result<()> {
        let meta = tokio::fs::metadata(&self.file.path).await.map_err(|error| self.failed(&error))?;
        if meta.len() != self.file.bytes || modified(&meta) != self.file.modified {
            return Err(Error::new(SqlState::IO_ERROR, "the file changed while it was read"));
        }
        Ok(())
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => SqlState::UNDEFINED_FILE,
            std::io::ErrorKind::PermissionDenied => SqlState::INSUFFICIENT_PRIVILEGE,
            _ => SqlState::IO_ERROR,
        };
        Error::new(code, format!("could not read the file: {error}"))
    }
}

#[async_trait::async_trait]
impl Intake for File<'_> {
    fn format(&self) -> Format {
        self.format
    }

    fn origin(&self) -> String {
        format!("{} {}", self.work.source.name, self.file.path)
    }

    async fn feed(&self, ingest: &mut Ingest) -> Result<()> {
        let path = Path::new(&self.file.path);
        if self.format == Format::Parquet {
            ingest.take_file(path, &self.work.stop).await?;
            return self.require_unchanged().await;
        }
        let bytes = Arc::default();
        let mut chunks = chunks(path, &bytes);
        while let Some(chunk) = chunks.recv().await {
            if self.work.stop.is_cancelled() {
                return Err(Error::new(SqlState::ADMIN_SHUTDOWN, "the source was stopped"));
            }
            ingest.push(&chunk?).await?;
        }
        if bytes.load(Ordering::Relaxed) != self.file.bytes {
            return Err(Error::new(SqlState::IO_ERROR, "the file changed while it was read"));
        }
        self.require_unchanged().await
    }

    fn receipts(&self, report: &Report) -> Vec<Receipt> {
        let totals = self.totals.with(report, 1);
        let bytes = i64::try_from(self.file.bytes).unwrap_or(i64::MAX);
        vec![self.work.receipt(self.file.path.clone(), bytes, self.file.digest(), totals.report(report))]
    }
}

#[cfg(test)]
mod tests;
