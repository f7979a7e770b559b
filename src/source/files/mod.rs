//! A folder whose files are taken in, each once, by path: `CREATE SOURCE … FROM FILES ('dir/*.ndjson') INTO t`.
//!
//! A file is complete when two looks in a row found it unchanged and it is older than the settle time; names that writers use
//! for what they have not finished are left alone. It becomes one commit, whatever its size: rows beyond some tens of megabytes
//! go to Parquet files while it is read. A file that cannot be read is told of in `tidemill.sources` and tried again when it
//! changed, or when the source begins anew; the others are taken in.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tokio::io::AsyncReadExt;

use super::{Intake, Totals, Work};
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::server::http::unpack::{Packing, Unpacker};
use crate::statement::ingest::receipts::Receipt;
use crate::statement::ingest::{Format, Ingest, Report};
use crate::{Error, Result};

/// Files of one folder, those taken in included: about 200 bytes of memory each. More fail the source.
const FILES_MAX: usize = 1_000_000;
/// Folders within folders.
const DEPTH_MAX: usize = 16;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

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
            && pattern.is_none_or(|pattern| is_like(name, pattern))
            && (any_format || format_of(name).is_some());
        if is_meant {
            let modified = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let modified = modified.and_then(|time| i64::try_from(time.as_micros()).ok()).unwrap_or(0);
            found.push(Found { path: text.to_owned(), bytes: meta.len(), modified });
        }
        if found.len() > FILES_MAX {
            let message = format!("a source reads at most {FILES_MAX} files");
            return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
    }
    Ok(())
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// Names that writers, copiers and editors give to what is not complete.
fn is_unfinished(name: &str) -> bool {
    const ENDINGS: &[&str] = &[".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", ".lock", "~"];
    is_hidden(name) || ENDINGS.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending))
}

/// `*` stands for any characters, `?` for one.
fn is_like(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) = (name.chars().collect(), pattern.chars().collect());
    let (mut at, mut next) = (0, 0);
    // Where the last star was, and what it stood for so far.
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(next) {
            Some('*') => {
                star = Some((next, at));
                next += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == name[at] => {
                at += 1;
                next += 1;
            }
            _ => {
                let Some((place, used)) = star else { return false };
                star = Some((place, used + 1));
                at = used + 1;
                next = place + 1;
            }
        }
    }
    pattern[next..].iter().all(|rest| *rest == '*')
}

/// How a file is packed, and its name without the ending that says so.
fn packing_of(name: &str) -> (Packing, &str) {
    let endings = [(".gz", Packing::Gzip), (".gzip", Packing::Gzip), (".zst", Packing::Zstd), (".zstd", Packing::Zstd)];
    let found = endings.into_iter().find_map(|(ending, packing)| Some((packing, name.strip_suffix(ending)?)));
    found.unwrap_or((Packing::Plain, name))
}

/// How a file is written, as its name says.
fn format_of(name: &str) -> Option<Format> {
    let (_, name) = packing_of(name);
    match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "json" => Some(Format::Json),
        "ndjson" | "jsonl" => Some(Format::Lines),
        "csv" => Some(Format::Csv),
        _ => None,
    }
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
        let format = match work.def.format.as_deref() {
            Some("csv") => Format::Csv,
            Some("ndjson") => Format::Lines,
            Some(_) => Format::Json,
            None => format_of(&file.path).unwrap_or(Format::Json),
        };
        Self { work, file, format, totals }
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
        let mut file = tokio::fs::File::open(&self.file.path).await.map_err(|error| self.failed(&error))?;
        let mut unpacker = Unpacker::new(packing_of(&self.file.path).0)?;
        let mut buffer = vec![0; READ_BYTES];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut buffer).await.map_err(|error| self.failed(&error))?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            for piece in unpacker.pieces(&buffer[..read]) {
                if self.work.stop.is_cancelled() {
                    return Err(Error::new(SqlState::ADMIN_SHUTDOWN, "the source was stopped"));
                }
                ingest.push(&unpacker.unpack(piece)?).await?;
            }
        }
        let meta = tokio::fs::metadata(&self.file.path).await.map_err(|error| self.failed(&error))?;
        let modified = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = modified.and_then(|time| i64::try_from(time.as_micros()).ok()).unwrap_or(0);
        if bytes != self.file.bytes || meta.len() != bytes || modified != self.file.modified {
            return Err(Error::new(SqlState::IO_ERROR, "the file changed while it was read"));
        }
        ingest.push(&unpacker.finish()?).await
    }

    fn receipts(&self, report: &Report) -> Vec<Receipt> {
        let totals = self.totals.with(report, 1);
        let bytes = i64::try_from(self.file.bytes).unwrap_or(i64::MAX);
        vec![self.work.receipt(self.file.path.clone(), bytes, self.file.digest(), totals.report(report))]
    }
}

#[cfg(test)]
mod tests;
