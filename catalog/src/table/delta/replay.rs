//! Reading the log: the newest checkpoint, then the commits after it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{APP_PREFIX, DeltaState, LOG_DIR, RemovedFile, action, checkpoint, checkpoint_path, commit_path, corrupt};
use crate::Result;
use crate::fault::FileLayer;
use crate::table::file::{FileEntry, FileIndex};

/// The versions in the log's folder, ascending.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) commits: Vec<u64>,
    pub(super) checkpoints: Vec<u64>,
}

impl Listing {
    pub(super) fn read(files: &dyn FileLayer, dir: &Path) -> Result<Self> {
        let mut listing = Self::default();
        for (path, _) in files.list(&dir.join(LOG_DIR))? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if let Some(version) = name.strip_suffix(".json").and_then(|stem| stem.parse().ok()) {
                listing.commits.push(version);
            } else if let Some(version) = name.strip_suffix(".checkpoint.parquet").and_then(|stem| stem.parse().ok()) {
                listing.checkpoints.push(version);
            }
        }
        listing.commits.sort_unstable();
        listing.checkpoints.sort_unstable();
        Ok(listing)
    }
}

/// The state while it is being read.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) state: DeltaState,
    files: HashMap<String, Arc<FileEntry>>,
    removed: HashMap<String, RemovedFile>,
    /// Statistics as other readers use them, by path; kept only for a checkpoint.
    pub(super) stats: Option<HashMap<String, String>>,
}

impl Replay {
    fn of(mut state: DeltaState) -> Self {
        let files = std::mem::take(&mut state.files).into_iter().map(|file| (file.path.clone(), file)).collect();
        let removed = std::mem::take(&mut state.removed).into_iter().map(|file| (file.path.clone(), file)).collect();
        Self { state, files, removed, stats: None }
    }

    /// The whole log; `None` without one. `for_checkpoint` keeps what only a checkpoint needs.
    pub(super) fn whole(files: &dyn FileLayer, dir: &Path, for_checkpoint: bool) -> Result<Option<Self>> {
        let listing = Listing::read(files, dir)?;
        let log = dir.join(LOG_DIR);
        let mut replay = Self { stats: for_checkpoint.then(HashMap::new), ..Self::default() };
        let mut next = 0;
        if let Some(&version) = listing.checkpoints.last() {
            let path = checkpoint_path(&log, version);
            for action in checkpoint::read(files, &path)? {
                replay.apply(&action, &path)?;
            }
            replay.state.version = version;
            replay.state.checkpoint = Some(version);
            next = version + 1;
        } else if listing.commits.is_empty() {
            return Ok(None);
        }
        replay.commits_from(files, &log, &listing, next)?;
        Ok(Some(replay))
    }

    /// Applies the commits from `first` on; none may be missing.
    fn commits_from(&mut self, files: &dyn FileLayer, log: &Path, listing: &Listing, first: u64) -> Result<()> {
        let later = listing.commits.iter().filter(|&&version| version >= first);
        for (&version, expected) in later.zip(first..) {
            if version != expected {
                return Err(corrupt(&commit_path(log, expected), "this commit is missing"));
            }
            self.commit(files, &commit_path(log, version))?;
            self.state.version = version;
        }
        Ok(())
    }

    fn commit(&mut self, files: &dyn FileLayer, path: &Path) -> Result<()> {
        let bytes = files.read(path)?;
        for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let action: Value = serde_json::from_slice(line).map_err(|error| corrupt(path, error))?;
            self.apply(&action, path)?;
        }
        Ok(())
    }

    fn apply(&mut self, action: &Value, path: &Path) -> Result<()> {
        let Some(action) = action.as_object() else { return Err(corrupt(path, "an action that is not an object")) };
        for (kind, body) in action.iter().filter(|(_, body)| !body.is_null()) {
            match kind.as_str() {
                "add" => self.add(body, path)?,
                "remove" => {
                    let file = action::removed_of(body, path)?;
                    self.files.remove(&file.path);
                    self.removed.insert(file.path.clone(), file);
                }
                "txn" => self.txn(body, path)?,
                "protocol" => self.state.protocol = body.clone(),
                "metaData" => self.state.metadata = body.clone(),
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, body: &Value, path: &Path) -> Result<()> {
        let file = action::file_of(body, path)?;
        if let (Some(stats), Some(text)) = (&mut self.stats, body.get("stats").and_then(Value::as_str)) {
            stats.insert(file.path.clone(), text.to_owned());
        }
        self.removed.remove(&file.path);
        self.files.insert(file.path.clone(), Arc::new(file));
        Ok(())
    }

    fn txn(&mut self, body: &Value, path: &Path) -> Result<()> {
        let app = body.get("appId").and_then(Value::as_str);
        let version = body.get("version").and_then(Value::as_u64);
        let (Some(app), Some(version)) = (app, version) else {
            return Err(corrupt(path, "a txn action without version"));
        };
        self.state.txns.insert(app.to_owned(), version);
        Ok(())
    }

    /// The state, complete.
    pub(super) fn finish(mut self) -> DeltaState {
        let ours = self.state.txns.iter().filter(|(app, _)| app.starts_with(APP_PREFIX));
        self.state.lsn = ours.map(|(_, version)| *version).max().unwrap_or(0);
        self.state.files = FileIndex::new(self.files.into_values().collect()).files;
        self.state.removed = self.removed.into_values().collect();
        self.state.removed.sort_by(|a, b| (a.removed_ms, &a.path).cmp(&(b.removed_ms, &b.path)));
        self.state
    }
}

/// Replays the log of the table in `dir`. `None` if it has none.
///
/// # Errors
/// `Corrupt` for a damaged or incomplete log, or one that another program wrote to; `Io`.
pub fn open(files: &dyn FileLayer, dir: &Path) -> Result<Option<DeltaState>> {
    Ok(Replay::whole(files, dir, false)?.map(Replay::finish))
}

/// Replays what came after `since`.
///
/// # Errors
/// As [`open`].
pub fn open_since(files: &dyn FileLayer, dir: &Path, since: DeltaState) -> Result<DeltaState> {
    let listing = Listing::read(files, dir)?;
    let log = dir.join(LOG_DIR);
    let mut replay = Replay::of(since);
    let next = replay.state.version + 1;
    if listing.commits.first().is_some_and(|&first| first > next) {
        // Cleaned up meanwhile: a checkpoint has it all.
        return open(files, dir)?.ok_or_else(|| corrupt(&log, "the log is gone"));
    }
    replay.commits_from(files, &log, &listing, next)?;
    Ok(replay.finish())
}

/// When a commit was made, milliseconds since the epoch, if it says.
pub(super) fn commit_time(files: &dyn FileLayer, path: &Path) -> Result<Option<i64>> {
    let bytes = files.read(path)?;
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let action: Value = serde_json::from_slice(line).map_err(|error| corrupt(path, error))?;
    Ok(action.get("commitInfo").and_then(|info| info.get("timestamp")).and_then(Value::as_i64))
}
