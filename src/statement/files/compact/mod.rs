//! `CALL tidemill.compact_files('logs/*.json', into => 'log.parquet', key => 'id', latest_by => 'ts')`: many immutable files
//! become one Parquet file with the latest row of each key.
//!
//! ```text
//! files → sample (types) → decode, a file per thread → latest row per key ─▶ sorted by key → .into.tmp
//!                             │ a type is wider: again      │ no memory: sorted runs, merged
//! .into.tmp → fsync → rename → fsync of the folder → inputs are deleted
//! ```
//! A crash leaves all inputs, or the finished file and some inputs. A file that is there already is an input of the next run.
//! It names the files it was made of ([`Note`]): those of them that are still there are older than it, so running again gives
//! the same.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::file::metadata::{KeyValue, ParquetMetaDataReader};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidemill_udfs::types::{SqlType, TextSettings};
use tokio_util::sync::CancellationToken;

use super::{FileFormat, expand, file_error, require_superuser, shown};
use crate::error::SqlState;
use crate::instance::CopyProgress;
use crate::session::{Column, Outcome, Session};
use crate::statement::call::counted;
use crate::{Error, Result};

mod columns;
mod convert;
mod decode;
mod keep;
mod runs;
mod write;

#[cfg(test)]
mod tests;

use columns::Columns;
use decode::{Pass, Tally};
use keep::{Kept, Ranks};

/// Each pass makes a column wider, and the passes after the first rarely find one that is not wide enough.
const PASSES_MAX: usize = 20;
/// Names of files that a message has.
const FILES_SHOWN: usize = 3;
/// Where a file keeps its [`Note`].
const NOTE: &str = "tidemill.compact_files";

/// One at a time: it uses all cores, and its memory.
static RUNNING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What to do.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// A name with wildcards.
    pub(crate) files: String,
    /// The file to be made.
    pub(crate) into: String,
    /// Columns whose values are those of one row only.
    pub(crate) key: Vec<String>,
    /// The column by which the latest row is known; without it, the last one of the last file.
    pub(crate) latest_by: Option<String>,
    /// Deletes the inputs.
    pub(crate) delete: bool,
    /// What files are, whatever their names say.
    pub(crate) format: Option<FileFormat>,
}

/// The columns of the row it returns.
pub(crate) fn result_columns() -> Vec<Column> {
    ["files", "rows_read", "rows_kept", "bytes", "dead_letters"].map(|name| Column::new(name, SqlType::Int8)).to_vec()
}

/// A file to read.
#[derive(Debug)]
struct Input {
    path: PathBuf,
    format: FileFormat,
    identity: Identity,
    /// Device and number.
    node: (u64, u64),
    /// The file made by an earlier run, which stays.
    is_output: bool,
}

/// A file's name and what changes when it does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Identity {
    name: String,
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

/// What a finished file says about how it was made.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    inputs: BTreeSet<Identity>,
}

/// What was done.
#[derive(Debug, Default)]
struct Report {
    files: u64,
    rows_read: u64,
    rows_kept: u64,
    bytes: u64,
    bad: u64,
    /// To be said to the client.
    warnings: Vec<String>,
}

/// Runs it. Not in a transaction: files know none.
///
/// # Errors
/// 42501, 58P01, 42703 for a column no file has, 42804 for types that no type keeps, 55006, 53100.
pub(crate) async fn compact_files(
    session: &mut Session,
    options: Options,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    super::super::drop::refuse_in_block(session, "CALL tidemill.compact_files")?;
    session.require_writable("CALL tidemill.compact_files")?;
    require_superuser(session, true)?;
    require_superuser(session, false)?;
    let progress = CopyProgress::begin(&session.handle, 0, "COPY FROM", "FILE");
    let scope = session.scope(cancel);
    // A thread goes on when nobody waits for it any more: it looks at this.
    let cancel = cancel.child_token();
    let _cancelled_with_us = cancel.clone().drop_guard();
    let job = Job {
        options,
        runtime: crate::plan::query_runtime(&scope),
        data_dir: session.instance.config.data_dir.clone(),
        threads: session.instance.config.worker_threads(),
        cancel: cancel.clone(),
        progress: Arc::clone(progress.progress()),
    };
    let _turn = tokio::select! {
        turn = RUNNING.lock() => turn,
        () = cancel.cancelled() => return Err(canceled()),
    };
    let report = tokio::task::spawn_blocking(move || job.run())
        .await
        .map_err(|error| Error::internal(format!("compaction panicked: {error}")))??;
    for warning in &report.warnings {
        session.notice("WARNING", SqlState::WARNING, warning.clone());
    }
    let Report { files, rows_read, rows_kept, bytes, bad, .. } = report;
    counted(result_columns(), &[files, rows_read, rows_kept, bytes, bad])
}

/// All that the thread needs.
struct Job {
    options: Options,
    runtime: Arc<RuntimeEnv>,
    data_dir: PathBuf,
    threads: usize,
    cancel: CancellationToken,
    progress: Arc<CopyProgress>,
}

impl Job {
    fn run(&self) -> Result<Report> {
        let output = Output::at(&self.options.into)?;
        self.refuse_own(&output.path)?;
        let inputs = self.inputs(&output)?;
        if !inputs.iter().any(|input| !input.is_output) {
            // An earlier run was through, and there is nothing new.
            return Ok(Report::default());
        }
        self.progress.bytes_total.store(inputs.iter().map(|input| input.identity.bytes).sum(), Ordering::Relaxed);
        let temporary = output.temporary()?;
        let report = self.make(&inputs, &temporary.file);
        let (mut report, tallies) = temporary.unless_failed(report)?;
        temporary.publish(&output)?;
        report.bytes = output.path.metadata().map_or(0, |meta| meta.len());
        self.clean_up(&inputs, &tallies, &mut report)?;
        Ok(report)
    }

    /// What to read, the oldest first: what the output was made of, the output, all others; each by name.
    fn inputs(&self, output: &Output) -> Result<Vec<Input>> {
        let earlier = output.earlier()?;
        let paths = match expand(&self.options.files) {
            Err(error) if error.code() == &SqlState::UNDEFINED_FILE && earlier.is_some() => vec![],
            found => found?,
        };
        let mut inputs = vec![];
        for path in paths {
            let input = self.input(path)?;
            if earlier.as_ref().is_none_or(|(earlier, _)| earlier.node != input.node) {
                inputs.push(input);
            }
        }
        let Some((earlier, note)) = earlier else { return Ok(inputs) };
        let (mut all, newer): (Vec<Input>, Vec<Input>) =
            inputs.into_iter().partition(|input| note.inputs.contains(&input.identity));
        all.push(earlier);
        all.extend(newer);
        Ok(all)
    }

    fn input(&self, path: PathBuf) -> Result<Input> {
        let failed = |error: std::io::Error| file_error(&shown(&path), "reading", &error);
        let meta = path.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        if !meta.is_file() {
            let message = format!("\"{}\" is not a regular file", shown(&path));
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        self.refuse_own(&path)?;
        let format = self.options.format.or_else(|| FileFormat::of(&path)).ok_or_else(|| {
            let message = format!("cannot tell the format of file \"{}\" by its name", shown(&path));
            Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .hint("Say format => 'json', 'ndjson', 'csv' or 'parquet'.")
        })?;
        let identity = Identity::of(&path, &meta);
        Ok(Input { identity, format, node: (meta.dev(), meta.ino()), is_output: false, path })
    }

    /// 42501 for what is the server's own.
    fn refuse_own(&self, path: &Path) -> Result<()> {
        let (Ok(own), Ok(path)) = (self.data_dir.canonicalize(), full(path)) else { return Ok(()) };
        if path.starts_with(own) {
            let message = format!("file \"{}\" is in the server's data directory", shown(&path));
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        Ok(())
    }

    /// Writes the latest rows of all inputs.
    fn make(&self, inputs: &[Input], file: &File) -> Result<(Report, Vec<Tally>)> {
        let settings = TextSettings::default();
        let mut columns = Columns::new(&self.options.key);
        decode::sample(inputs, &mut columns, &settings)?;
        let latest_by = self.options.latest_by.as_deref();
        columns.require(latest_by)?;
        let columns = Mutex::new(columns);
        for _ in 0..PASSES_MAX {
            columns.lock().require(latest_by)?;
            let ranks = Arc::new(Ranks::new(&columns.lock(), &self.options.key, latest_by)?);
            let kept = Mutex::new(Kept::new(&self.runtime, &ranks, self.threads));
            self.progress.bytes.store(0, Ordering::Relaxed);
            self.progress.rows.store(0, Ordering::Relaxed);
            let pass = Pass::new(inputs, (&columns, &kept), &ranks, &settings, &self.cancel, &self.progress);
            let Some(tallies) = pass.run(self.threads)? else { continue };
            let schema = columns.lock().schema();
            let latest = kept.into_inner().finish(&schema)?;
            let note = Note { inputs: inputs.iter().map(|input| input.identity.clone()).collect() };
            let note = serde_json::to_string(&note).map_err(|error| Error::internal(error.to_string()))?;
            let note = KeyValue::new(NOTE.to_owned(), note);
            let rows = write::write(file, &schema, latest, (&self.options.key, note), self.threads, &self.cancel)?;
            let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum();
            let report = Report {
                files: inputs.iter().filter(|input| !input.is_output).count() as u64,
                rows_read: sum(|tally| tally.rows),
                rows_kept: rows,
                bad: sum(|tally| tally.bad),
                ..Report::default()
            };
            return Ok((report, tallies));
        }
        Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "the types of the files' columns do not settle"))
    }

    /// Deletes the inputs whose rows are all in the file, which is durable now.
    fn clean_up(&self, inputs: &[Input], tallies: &[Tally], report: &mut Report) -> Result<()> {
        let mut folders = BTreeSet::new();
        let mut bad = vec![];
        for (input, tally) in inputs.iter().zip(tallies) {
            if tally.bad > 0 {
                bad.push(tally.first_bad.clone().unwrap_or_else(|| shown(&input.path)));
            }
            if tally.bad > 0 || input.is_output || !self.options.delete {
                continue;
            }
            let unchanged = input.path.metadata().is_ok_and(|meta| Identity::of(&input.path, &meta) == input.identity);
            if !unchanged {
                let message =
                    format!("file \"{}\" was changed while it was read: it is not deleted", shown(&input.path));
                report.warnings.push(message);
                continue;
            }
            match std::fs::remove_file(&input.path) {
                Ok(()) => _ = folders.insert(folder_of(&input.path)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                // The file that was made is complete; another run deletes them.
                Err(error) => {
                    report.warnings.push(format!("file \"{}\" cannot be deleted: {error}", shown(&input.path)));
                }
            }
        }
        if !bad.is_empty() {
            let (count, more) = (bad.len(), if bad.len() > FILES_SHOWN { "; …" } else { "" });
            bad.truncate(FILES_SHOWN);
            let (bad, documents) = (bad.join("; "), report.bad);
            report.warnings.push(format!(
                "{documents} documents of {count} files have no row, and these files are not deleted: {bad}{more}"
            ));
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }
}

impl Identity {
    fn of(path: &Path, meta: &std::fs::Metadata) -> Self {
        let (modified_s, modified_ns) = (meta.mtime(), meta.mtime_nsec());
        Self { name: shown(path), bytes: meta.len(), modified_s, modified_ns }
    }
}

/// The file to be made.
struct Output {
    /// Where a link leads, if it is one.
    path: PathBuf,
}

impl Output {
    fn at(into: &str) -> Result<Self> {
        let path = PathBuf::from(into);
        let failed = |error: std::io::Error| file_error(into, "writing", &error);
        if path.file_name().is_none() || into.ends_with('/') || path.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let path = if path.symlink_metadata().is_ok() { path.canonicalize().map_err(failed)? } else { path };
        if path.exists() && !path.is_file() {
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{into}\" is not a regular file")));
        }
        Ok(Self { path })
    }

    /// The file as an earlier run left it.
    fn earlier(&self) -> Result<Option<(Input, Note)>> {
        let path = self.path.clone();
        let meta = match path.metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            meta => meta.map_err(|error| file_error(&shown(&path), "reading", &error))?,
        };
        let file = File::open(&path).map_err(|error| file_error(&shown(&path), "reading", &error))?;
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(|error| {
            Error::new(SqlState::BAD_COPY_FILE_FORMAT, format!("\"{}\" is not a Parquet file", shown(&path)))
                .detail(error.to_string())
        })?;
        let pairs = metadata.file_metadata().key_value_metadata();
        let note = pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == NOTE)?.value.as_deref());
        let note = note.and_then(|note| serde_json::from_str(note).ok()).unwrap_or_default();
        let (identity, node) = (Identity::of(&path, &meta), (meta.dev(), meta.ino()));
        Ok(Some((Input { path, format: FileFormat::Parquet, identity, node, is_output: true }, note)))
    }

    /// The file under another name, until it is complete. One that a crash left is written over.
    fn temporary(&self) -> Result<Temporary> {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(".tmp");
        let path = self.path.with_file_name(name);
        let failed = |error: std::io::Error| file_error(&shown(&path), "writing", &error);
        if path.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
            let message = format!("\"{}\" is not a regular file", shown(&path));
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another server writes file \"{}\"", shown(&self.path));
                return Err(Error::new(SqlState::OBJECT_IN_USE, message));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        Ok(Temporary { file, path })
    }
}

struct Temporary {
    file: File,
    path: PathBuf,
}

impl Temporary {
    /// Deletes the file if it could not be written.
    fn unless_failed<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            let _ = std::fs::remove_file(&self.path);
        }
        result
    }

    /// Puts the file, durable, in the place of the output.
    fn publish(&self, output: &Output) -> Result<()> {
        let published = self.file.sync_all().and_then(|()| std::fs::rename(&self.path, &output.path));
        self.unless_failed(published.map_err(|error| io_error("written", &error)))?;
        sync_folder(&folder_of(&output.path))
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error("made durable", &error))
}

/// The path without links; of a file that is not there yet, by its folder.
fn full(path: &Path) -> std::io::Result<PathBuf> {
    path.canonicalize().or_else(|_| Ok(folder_of(path).canonicalize()?.join(path.file_name().unwrap_or_default())))
}

fn io_error(done: &str, error: &std::io::Error) -> Error {
    let code = if error.kind() == std::io::ErrorKind::StorageFull { SqlState::DISK_FULL } else { SqlState::IO_ERROR };
    Error::new(code, format!("the compacted file cannot be {done}: {error}"))
}

fn canceled() -> Error {
    Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
}

/// Runs the work on so many threads; what each gives, in order.
fn on_threads<T: Send>(threads: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    if threads <= 1 {
        return Ok(vec![work(0)?]);
    }
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        let ended = running.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>();
        ended.into_iter().map(|ended| ended.map_err(|_| Error::internal("a thread panicked"))?).collect()
    })
}
