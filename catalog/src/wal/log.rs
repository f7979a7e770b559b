//! Appending: groups, rotation, what to do when the disk is full.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use super::Payload;
use super::segment::{HEADER_BYTES, Header, Recovered, Segment, record_header};
use crate::fault::{FileLayer, LogFile};
use crate::{Error, Lsn, Result};

/// Payloads this long are written by themselves, not copied into the group's buffer.
const COPY_BYTES_MAX: usize = 256 << 10;

/// Why a group was not written.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// No space left; the log is as it was before and may be tried again.
    Full(Error),
    /// The log must not be used again.
    Broken(String),
}

/// The end of the log. Owned by the writer thread.
#[derive(Debug)]
pub(crate) struct Log {
    files: Arc<dyn FileLayer>,
    dir: PathBuf,
    epoch: Uuid,
    segment_bytes: u64,
    file: Box<dyn LogFile>,
    /// The segments on disk, the one being written last. Shared with who deletes old ones.
    segments: Arc<Mutex<Vec<Segment>>>,
    /// The last record written.
    written: Lsn,
    /// The last record synced.
    durable: Lsn,
    buffer: Vec<u8>,
}

/// The file of the segment that begins with `first_lsn`.
fn segment_path(dir: &Path, first_lsn: Lsn) -> PathBuf {
    dir.join(format!("{first_lsn:020}.wal"))
}

impl Log {
    /// Continues a recovered log; the next record has LSN `next`.
    ///
    /// # Errors
    /// `DiskFull`, `Io`.
    pub(crate) fn open(
        files: Arc<dyn FileLayer>,
        dir: PathBuf,
        epoch: Uuid,
        segment_bytes: u64,
        recovered: Recovered,
        next: Lsn,
    ) -> Result<Self> {
        let Recovered { mut segments, last_lsn } = recovered;
        let is_gap = next != last_lsn + 1;
        let file = match segments.last() {
            Some(last) if !is_gap => files.open_at(&last.path, last.bytes)?,
            last => {
                let number = last.map_or(1, |last| last.number + 1);
                let (segment, file) =
                    create(files.as_ref(), &dir, Header { epoch, number, first_lsn: next, previous_lsn: last_lsn })?;
                segments.push(segment);
                file
            }
        };
        let segments = Arc::new(Mutex::new(segments));
        let durable = next - 1;
        Ok(Self { files, dir, epoch, segment_bytes, file, segments, written: durable, durable, buffer: Vec::new() })
    }

    /// The segments on disk, the one being written last.
    pub(crate) fn segments(&self) -> &Arc<Mutex<Vec<Segment>>> {
        &self.segments
    }

    /// The last record known to survive a power failure.
    pub(crate) fn durable(&self) -> Lsn {
        self.durable
    }

    /// Writes records with the next LSNs, and syncs them if `sync`.
    pub(crate) fn append(&mut self, payloads: &[&Payload], sync: bool) -> Result<(), AppendError> {
        self.rotate_if_full()?;
        let start = self.active_bytes();
        match self.write_all(payloads) {
            Ok(bytes) => {
                self.written += payloads.len() as u64;
                if let Some(active) = self.segments.lock().last_mut() {
                    active.bytes = start + bytes;
                }
            }
            Err(full @ Error::DiskFull { .. }) => {
                self.cut(start)?;
                return Err(AppendError::Full(full));
            }
            Err(error) => return Err(AppendError::Broken(error.to_string())),
        }
        if sync { self.sync() } else { Ok(()) }
    }

    /// Makes all that was written durable. Never tried again after an error: the kernel may have dropped the pages.
    pub(crate) fn sync(&mut self) -> Result<(), AppendError> {
        if self.durable < self.written {
            self.file.sync().map_err(|error| AppendError::Broken(error.to_string()))?;
            self.durable = self.written;
        }
        Ok(())
    }

    fn active_bytes(&self) -> u64 {
        self.segments.lock().last().map_or(0, |segment| segment.bytes)
    }

    fn write_all(&mut self, payloads: &[&Payload]) -> Result<u64> {
        let mut bytes = 0;
        self.buffer.clear();
        for (lsn, payload) in (self.written + 1..).zip(payloads) {
            let unsynced = u32::try_from(lsn - self.durable).unwrap_or(u32::MAX);
            let header = record_header(self.epoch, lsn, unsynced, payload);
            self.buffer.extend_from_slice(&header);
            bytes += (header.len() + payload.bytes.len()) as u64;
            if payload.bytes.len() < COPY_BYTES_MAX {
                self.buffer.extend_from_slice(&payload.bytes);
                if self.buffer.len() < COPY_BYTES_MAX {
                    continue;
                }
                self.file.write(&self.buffer)?;
            } else {
                self.file.write(&self.buffer)?;
                self.file.write(&payload.bytes)?;
            }
            self.buffer.clear();
        }
        if !self.buffer.is_empty() {
            self.file.write(&self.buffer)?;
        }
        Ok(bytes)
    }

    /// Takes back a group of which only a part was written.
    fn cut(&mut self, length: u64) -> Result<(), AppendError> {
        let path = segment_path_of(&self.segments);
        self.file = self.files.open_at(&path, length).map_err(|error| AppendError::Broken(error.to_string()))?;
        Ok(())
    }

    fn rotate_if_full(&mut self) -> Result<(), AppendError> {
        if self.active_bytes() < self.segment_bytes.max(HEADER_BYTES as u64 + 1) {
            return Ok(());
        }
        self.sync()?;
        let number = self.segments.lock().last().map_or(1, |last| last.number + 1);
        let header = Header { epoch: self.epoch, number, first_lsn: self.written + 1, previous_lsn: self.written };
        match create(self.files.as_ref(), &self.dir, header) {
            Ok((segment, file)) => {
                self.file = file;
                self.segments.lock().push(segment);
                Ok(())
            }
            Err(full @ Error::DiskFull { .. }) => {
                let path = segment_path(&self.dir, header.first_lsn);
                self.files.remove(&path).map_err(|error| AppendError::Broken(error.to_string()))?;
                Err(AppendError::Full(full))
            }
            Err(error) => Err(AppendError::Broken(error.to_string())),
        }
    }
}

fn segment_path_of(segments: &Mutex<Vec<Segment>>) -> PathBuf {
    segments.lock().last().map(|segment| segment.path.clone()).expect("a log has a segment being written")
}

/// Makes a segment durably, header and name, before any record goes into it.
fn create(files: &dyn FileLayer, dir: &Path, header: Header) -> Result<(Segment, Box<dyn LogFile>)> {
    let path = segment_path(dir, header.first_lsn);
    let mut file = files.create(&path)?;
    file.write(&header.encode())?;
    file.sync()?;
    files.sync_dir(dir)?;
    let segment = Segment { path, number: header.number, first_lsn: header.first_lsn, bytes: HEADER_BYTES as u64 };
    Ok((segment, file))
}
