//! A file layer that fails, tears and forgets on demand.
//!
//! Operations that change something are counted. A test says which of them fails and how, or at which the machine
//! loses power: from there on every call fails, and [`FaultyFiles::crash`] makes the folder look as a disk might after
//! it: bytes and names that were not synced are gone, there in part, or there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{FileLayer, LogFile, io_error};
use crate::{Error, Result};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No space left on device.
    DiskFull,
    /// Input/output error.
    Io,
    /// Only the first bytes are written, then the device is full.
    Tear(usize),
}

/// A layer for tests: see the module doc. Wraps a local folder.
#[derive(Debug)]
pub struct FaultyFiles {
    inner: Arc<dyn FileLayer>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Changing operations so far.
    operations: u64,
    /// fsyncs of files so far.
    syncs: u64,
    /// Writes so far.
    writes: u64,
    fail_write: Option<(u64, Fault)>,
    fail_sync: Option<(u64, Fault)>,
    /// Fail every write from now on (a disk that stays full).
    full: bool,
    /// Lose power at this operation.
    power_off_at: Option<u64>,
    off: bool,
    /// Files with bytes or names that are not durable.
    pending: BTreeMap<PathBuf, Pending>,
}

#[derive(Debug, Clone, Default)]
struct Pending {
    /// Bytes that are durable.
    synced: u64,
    /// Bytes written.
    length: u64,
    /// The name was made and the folder not synced since: what the path held before (`None`: nothing).
    before: Option<Option<bytes::Bytes>>,
}

impl State {
    /// Counts a changing operation; the error if the machine is off.
    fn step(&mut self, path: &Path) -> Result<()> {
        self.operations += 1;
        if self.power_off_at.is_some_and(|at| self.operations >= at) {
            self.off = true;
        }
        self.alive(path)
    }

    fn alive(&self, path: &Path) -> Result<()> {
        if self.off { Err(io_error(path, std::io::Error::other("the power is off"))) } else { Ok(()) }
    }

    fn space(&self, path: &Path) -> Result<()> {
        if self.full { Err(Error::DiskFull { path: path.display().to_string() }) } else { Ok(()) }
    }
}

fn fault_error(path: &Path, fault: Fault) -> Error {
    match fault {
        Fault::Io => io_error(path, std::io::Error::other("injected fault")),
        Fault::DiskFull | Fault::Tear(_) => Error::DiskFull { path: path.display().to_string() },
    }
}

impl FaultyFiles {
    /// A layer that does not fail yet.
    pub fn new(inner: Arc<dyn FileLayer>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// The write after `n` more ones fails.
    pub fn fail_write(&self, n: u64, fault: Fault) {
        let mut state = self.state.lock();
        state.fail_write = Some((state.writes + n + 1, fault));
    }

    /// The fsync of a file after `n` more ones fails.
    pub fn fail_sync(&self, n: u64, fault: Fault) {
        let mut state = self.state.lock();
        state.fail_sync = Some((state.syncs + n + 1, fault));
    }

    /// The disk is full, or no longer.
    pub fn set_full(&self, full: bool) {
        self.state.lock().full = full;
    }

    /// The power fails at the `n`th changing operation from now (1: the next); it and all later calls fail.
    pub fn power_off_after(&self, n: u64) {
        let mut state = self.state.lock();
        state.power_off_at = Some(state.operations + n);
    }

    /// True once the power failed.
    pub fn is_off(&self) -> bool {
        self.state.lock().off
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// fsyncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Makes the disk look as it might after a power failure now, and this layer dead. `seed` decides what survives of
    /// what was not synced.
    pub fn crash(&self, mut seed: u64) {
        let mut state = self.state.lock();
        state.off = true;
        let mut random = move || {
            // xorshift64*: tests print the seed.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        for (path, pending) in std::mem::take(&mut state.pending) {
            if let (Some(before), true) = (&pending.before, random().is_multiple_of(2)) {
                let _ = std::fs::remove_file(&path);
                if let Some(bytes) = before {
                    std::fs::write(&path, bytes).expect("a test folder is writable");
                }
                continue;
            }
            let Ok(mut bytes) = std::fs::read(&path) else { continue };
            let synced = usize::try_from(pending.synced).expect("test files are small");
            let unsynced = bytes.len().saturating_sub(synced);
            if unsynced == 0 {
                continue;
            }
            let kept = usize::try_from(random()).unwrap_or(0) % (unsynced + 1);
            bytes.truncate(synced + kept);
            // Pages may reach the disk in any order: a hole where one did not.
            if kept > 0 && random().is_multiple_of(3) {
                let start = synced + usize::try_from(random()).unwrap_or(0) % kept;
                let end = bytes.len().min(start + 1 + usize::try_from(random()).unwrap_or(0) % kept);
                bytes[start..end].fill(0);
            }
            std::fs::write(&path, bytes).expect("a test folder is writable");
        }
    }
}

#[derive(Debug)]
struct FaultyFile {
    path: PathBuf,
    inner: Box<dyn LogFile>,
    state: Arc<Mutex<State>>,
}

impl LogFile for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut state = self.state.lock();
        state.writes += 1;
        let was_off = state.off;
        let alive = state.step(&self.path);
        if alive.is_err() && !was_off {
            // The power fails while writing: some of it got out.
            let kept = bytes.len() / 2;
            self.inner.write(&bytes[..kept])?;
            state.pending.entry(self.path.clone()).or_default().length += kept as u64;
        }
        alive?;
        state.space(&self.path)?;
        if let Some((at, fault)) = state.fail_write
            && at == state.writes
        {
            if let Fault::Tear(kept) = fault {
                let kept = kept.min(bytes.len());
                self.inner.write(&bytes[..kept])?;
                state.pending.entry(self.path.clone()).or_default().length += kept as u64;
            }
            return Err(fault_error(&self.path, fault));
        }
        self.inner.write(bytes)?;
        state.pending.entry(self.path.clone()).or_default().length += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let mut state = self.state.lock();
        state.syncs += 1;
        state.step(&self.path)?;
        if let Some((at, fault)) = state.fail_sync
            && at == state.syncs
        {
            return Err(fault_error(&self.path, fault));
        }
        if let Some(pending) = state.pending.get_mut(&self.path) {
            pending.synced = pending.length;
        }
        // Not passed on: what a crash keeps is decided here, and tests run faster.
        Ok(())
    }
}

impl FileLayer for FaultyFiles {
    fn create(&self, path: &Path) -> Result<Box<dyn LogFile>> {
        let mut state = self.state.lock();
        state.step(path)?;
        state.space(path)?;
        let inner = self.inner.create(path)?;
        state.pending.insert(path.to_owned(), Pending { before: Some(None), ..Pending::default() });
        Ok(Box::new(FaultyFile { path: path.to_owned(), inner, state: Arc::clone(&self.state) }))
    }

    fn open_at(&self, path: &Path, length: u64) -> Result<Box<dyn LogFile>> {
        let mut state = self.state.lock();
        state.step(path)?;
        let inner = self.inner.open_at(path, length)?;
        let pending = state.pending.entry(path.to_owned()).or_default();
        pending.synced = if pending.length == 0 { length } else { pending.synced.min(length) };
        pending.length = length;
        Ok(Box::new(FaultyFile { path: path.to_owned(), inner, state: Arc::clone(&self.state) }))
    }

    fn read(&self, path: &Path) -> Result<bytes::Bytes> {
        self.state.lock().alive(path)?;
        self.inner.read(path)
    }

    fn read_range(&self, path: &Path, offset: u64, length: usize) -> Result<bytes::Bytes> {
        self.state.lock().alive(path)?;
        self.inner.read_range(path, offset, length)
    }

    fn read_range_at_once(&self, path: &Path, offset: u64, length: usize) -> Option<bytes::Bytes> {
        self.state.lock().alive(path).ok()?;
        self.inner.read_range_at_once(path, offset, length)
    }

    fn list(&self, dir: &Path) -> Result<Vec<(PathBuf, u64)>> {
        self.state.lock().alive(dir)?;
        self.inner.list(dir)
    }

    fn list_dirs(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        self.state.lock().alive(dir)?;
        self.inner.list_dirs(dir)
    }

    /// Three steps that may each be the last: write the temporary file, name it, sync the folder.
    fn put(&self, path: &Path, bytes: &[u8], exclusive: bool) -> Result<()> {
        let mut state = self.state.lock();
        let was_off = state.off;
        state.writes += 1;
        state.syncs += 1;
        if let Err(error) = state.step(path) {
            if !was_off {
                let temporary = super::temporary_path(path);
                std::fs::write(&temporary, &bytes[..bytes.len() / 2]).map_err(|source| io_error(&temporary, source))?;
            }
            return Err(error);
        }
        state.space(path)?;
        let scripted = [
            state.fail_write.filter(|(at, _)| *at == state.writes),
            state.fail_sync.filter(|(at, _)| *at == state.syncs),
        ];
        if let Some((_, fault)) = scripted.into_iter().flatten().next() {
            return Err(fault_error(path, fault));
        }
        state.step(path)?;
        let before = self.inner.read(path).ok();
        name_bytes(path, bytes, exclusive).map_err(|source| io_error(path, source))?;
        if let Err(error) = state.step(path) {
            let length = bytes.len() as u64;
            state.pending.insert(path.to_owned(), Pending { synced: length, length, before: Some(before) });
            return Err(error);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut state = self.state.lock();
        state.step(path)?;
        if let Ok(before) = self.inner.read(path) {
            // Until the folder is synced the name may come back.
            state.pending.insert(path.to_owned(), Pending { before: Some(Some(before)), ..Pending::default() });
        }
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        let mut state = self.state.lock();
        state.step(path)?;
        state.pending.retain(|file, _| !file.starts_with(path));
        self.inner.remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        let mut state = self.state.lock();
        state.step(path)?;
        std::fs::create_dir_all(path).map_err(|source| io_error(path, source))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let mut state = self.state.lock();
        state.step(path)?;
        for (file, pending) in &mut state.pending {
            if file.parent() == Some(path) {
                pending.before = None;
            }
        }
        Ok(())
    }
}

/// `put` without an fsync.
fn name_bytes(path: &Path, bytes: &[u8], exclusive: bool) -> std::io::Result<()> {
    let temporary = super::temporary_path(path);
    std::fs::write(&temporary, bytes)?;
    if exclusive {
        let linked = std::fs::hard_link(&temporary, path);
        std::fs::remove_file(&temporary)?;
        linked
    } else {
        std::fs::rename(&temporary, path)
    }
}
