//! Segment files: their header, and reading them back after a crash.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Payload;
use crate::fault::FileLayer;
use crate::{Error, Lsn, Result};

const MAGIC: &[u8; 8] = b"TMILLWAL";
/// 2: records' headers have a checksum of their own.
const FORMAT: u32 = 2;
/// Bytes of a segment's header.
pub(crate) const HEADER_BYTES: usize = 8 + 4 + 16 + 8 + 8 + 8 + 4;
/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER_BYTES: usize = RECORD_HEADER_CHECKED + 4;
/// Those that the header's own checksum covers, and that precede it.
const RECORD_HEADER_CHECKED: usize = 4 + 4 + 8 + 4;

/// A segment on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// Counts the segments of the log.
    pub(crate) number: u64,
    /// The LSN its first record has or will have.
    pub(crate) first_lsn: Lsn,
    /// Its length, bytes.
    pub(crate) bytes: u64,
}

/// What a segment's header says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) epoch: Uuid,
    pub(crate) number: u64,
    pub(crate) first_lsn: Lsn,
    /// The last record before this segment. Not always `first_lsn - 1`: LSNs are skipped where Delta had more than the log.
    pub(crate) previous_lsn: Lsn,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(self.epoch.as_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.first_lsn.to_le_bytes());
        out.extend_from_slice(&self.previous_lsn.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// `Err` with what is wrong.
    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or("its header is cut off")?;
        if &bytes[..8] != MAGIC {
            return Err("it does not begin as a log segment does".to_owned());
        }
        let format = u32_at(bytes, 8);
        if format != FORMAT {
            return Err(format!("format {format} is of another version"));
        }
        if crc32c::crc32c(&bytes[..HEADER_BYTES - 4]) != u32_at(bytes, HEADER_BYTES - 4) {
            return Err("its header's checksum is wrong".to_owned());
        }
        let epoch = Uuid::from_slice(&bytes[12..28]).map_err(|error| error.to_string())?;
        Ok(Self { epoch, number: u64_at(bytes, 28), first_lsn: u64_at(bytes, 36), previous_lsn: u64_at(bytes, 44) })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The header of a record.
pub(crate) fn record_header(epoch: Uuid, lsn: Lsn, unsynced: u32, payload: &Payload) -> [u8; RECORD_HEADER_BYTES] {
    let before = checksum_before(epoch, lsn, unsynced);
    let checksum = match payload.checksum {
        Some(checksum) => crc32c::crc32c_combine(before, checksum, payload.bytes.len()),
        None => crc32c::crc32c_append(before, &payload.bytes),
    };
    let length = u32::try_from(payload.bytes.len()).expect("encode() bounds the payload");
    let mut header = [0; RECORD_HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..8].copy_from_slice(&checksum.to_le_bytes());
    header[8..16].copy_from_slice(&lsn.to_le_bytes());
    header[16..20].copy_from_slice(&unsynced.to_le_bytes());
    let own = header_checksum(epoch, &header);
    header[RECORD_HEADER_CHECKED..].copy_from_slice(&own.to_le_bytes());
    header
}

/// What a record's header says of itself. In the rows of a torn record there is much that looks like a length and an LSN:
/// that none of it is a record must not take a checksum over megabytes each.
fn header_checksum(epoch: Uuid, header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(epoch.as_bytes()), &header[..RECORD_HEADER_CHECKED])
}

fn checksum_before(epoch: Uuid, lsn: Lsn, unsynced: u32) -> u32 {
    let mut prefix = [0; 28];
    prefix[..16].copy_from_slice(epoch.as_bytes());
    prefix[16..24].copy_from_slice(&lsn.to_le_bytes());
    prefix[24..].copy_from_slice(&unsynced.to_le_bytes());
    crc32c::crc32c(&prefix)
}

/// A whole record found in a segment.
#[derive(Debug)]
struct Found<'a> {
    lsn: Lsn,
    unsynced: u32,
    payload: &'a [u8],
    end: usize,
}

/// The record at `at`, if a whole one with an LSN in `lsns` is there.
fn record_at(bytes: &[u8], at: usize, epoch: Uuid, lsns: std::ops::RangeInclusive<Lsn>) -> Option<Found<'_>> {
    let header = bytes.get(at..at.checked_add(RECORD_HEADER_BYTES)?)?;
    let lsn = u64_at(header, 8);
    if !lsns.contains(&lsn) {
        return None;
    }
    if header_checksum(epoch, header) != u32_at(header, RECORD_HEADER_CHECKED) {
        return None;
    }
    let (length, unsynced) = (u32_at(header, 0) as usize, u32_at(header, 16));
    let start = at + RECORD_HEADER_BYTES;
    let payload = bytes.get(start..start.checked_add(length)?)?;
    let checksum = crc32c::crc32c_append(checksum_before(epoch, lsn, unsynced), payload);
    (checksum == u32_at(header, 4)).then_some(Found { lsn, unsynced, payload, end: start + length })
}

/// True if a later record proves that the one with LSN `expected`, unreadable at `at`, was durable.
fn is_damage(bytes: &[u8], at: usize, epoch: Uuid, expected: Lsn) -> bool {
    let mut at = at + 1;
    while at + RECORD_HEADER_BYTES <= bytes.len() {
        let possible = expected + 1..=expected + (bytes.len() - at) as u64;
        match record_at(bytes, at, epoch, possible) {
            Some(found) if found.lsn - u64::from(found.unsynced) >= expected => return true,
            Some(found) => at = found.end,
            None => at += 1,
        }
    }
    false
}

/// The log as recovery found it.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The segments, oldest first; the last one is to be continued.
    pub(crate) segments: Vec<Segment>,
    /// The last record.
    pub(crate) last_lsn: Lsn,
}

/// Where and what to recover.
#[derive(Debug)]
pub(crate) struct Recovery<'a> {
    pub(crate) files: &'a dyn FileLayer,
    pub(crate) dir: &'a Path,
    pub(crate) epoch: Uuid,
    /// Records up to this one are not needed: segments that hold only such are not even read.
    pub(crate) start: Lsn,
    /// Cut the log at damage instead of giving up.
    pub(crate) repair: bool,
}

impl Recovery<'_> {
    /// Hands every record above `start` to `apply`, in order, and cuts off a torn tail.
    ///
    /// # Errors
    /// `Corrupt` with file, offset and what to do; what `apply` says.
    pub(crate) fn run(&self, apply: &mut dyn FnMut(Lsn, &[u8]) -> Result<()>) -> Result<Recovered> {
        let mut segments = self.list()?;
        self.drop_unfinished(&mut segments)?;
        let needed = segments.iter().rposition(|segment| segment.first_lsn <= self.start + 1).unwrap_or(0);
        if let Some(first) = segments.get(needed)
            && first.first_lsn > self.start + 1
        {
            let detail =
                format!("the log begins at {}, and records from {} on are needed", first.first_lsn, self.start + 1);
            return self.corrupt(&first.path, 0, &detail);
        }
        let mut last_lsn = self.start;
        let mut index = needed;
        while index < segments.len() {
            let is_last = index + 1 == segments.len();
            let previous = (index > needed).then_some(last_lsn);
            match self.read_segment(&mut segments[index], previous, is_last, apply)? {
                Outcome::Whole(lsn) => last_lsn = lsn,
                Outcome::Cut(lsn) => {
                    last_lsn = lsn;
                    self.set_aside(segments.drain(index + 1..))?;
                }
                Outcome::Unreadable => self.set_aside(segments.drain(index..))?,
            }
            index += 1;
        }
        Ok(Recovered { segments, last_lsn })
    }

    fn list(&self) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for (path, bytes) in self.files.list(self.dir)? {
            if path.extension().is_some_and(|extension| extension == "wal")
                && let Some(first_lsn) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
            {
                segments.push(Segment { path, number: 0, first_lsn, bytes });
            }
        }
        segments.sort_by_key(|segment| segment.first_lsn);
        Ok(segments)
    }

    /// Removes a last segment that was being made when the power failed: nothing was acknowledged from it.
    fn drop_unfinished(&self, segments: &mut Vec<Segment>) -> Result<()> {
        let Some(last) = segments.last() else { return Ok(()) };
        // The header is synced before the first record is written.
        let bytes = self.files.read(&last.path)?;
        if bytes.len() > HEADER_BYTES || Header::decode(&bytes).is_ok() {
            return Ok(());
        }
        tracing::warn!(path = %last.path.display(), "removing a log segment that was never finished");
        self.files.remove(&last.path)?;
        self.files.sync_dir(self.dir)?;
        segments.pop();
        Ok(())
    }

    fn read_segment(
        &self,
        segment: &mut Segment,
        previous: Option<Lsn>,
        is_last: bool,
        apply: &mut dyn FnMut(Lsn, &[u8]) -> Result<()>,
    ) -> Result<Outcome> {
        let bytes = self.files.read(&segment.path)?;
        let header = match Header::decode(&bytes) {
            Ok(header) => header,
            Err(_) if self.repair => return Ok(Outcome::Unreadable),
            Err(detail) => return self.corrupt(&segment.path, 0, &detail),
        };
        if header.epoch != self.epoch {
            return self.corrupt(&segment.path, 0, "it belongs to another data directory");
        }
        if let Some(previous) = previous
            && header.previous_lsn != previous
        {
            if self.repair {
                return Ok(Outcome::Unreadable);
            }
            let detail = format!("it continues {}, but the log before it ends at {previous}", header.previous_lsn);
            return self.corrupt(&segment.path, 0, &detail);
        }
        segment.number = header.number;
        let mut lsn = header.previous_lsn;
        let mut expected = header.first_lsn;
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            let Some(found) = record_at(&bytes, at, self.epoch, expected..=expected) else {
                self.cut(segment, &bytes, at, expected, is_last)?;
                return Ok(Outcome::Cut(lsn));
            };
            if found.lsn > self.start {
                apply(found.lsn, found.payload).map_err(|error| match error {
                    Error::Invalid(detail) | Error::Conflict { detail, .. } => Error::Corrupt {
                        path: segment.path.display().to_string(),
                        detail: format!("the record with LSN {} at offset {at} cannot be applied: {detail}", found.lsn),
                    },
                    error => error,
                })?;
            }
            lsn = found.lsn;
            expected = found.lsn + 1;
            at = found.end;
        }
        segment.bytes = bytes.len() as u64;
        Ok(Outcome::Whole(lsn))
    }

    /// Cuts the segment at `at`: silently only what cannot have been acknowledged.
    fn cut(&self, segment: &mut Segment, bytes: &[u8], at: usize, expected: Lsn, is_last: bool) -> Result<()> {
        let is_torn = is_last && !is_damage(bytes, at, self.epoch, expected);
        if !is_torn {
            if !self.repair {
                let detail = format!("the record with LSN {expected} is not what was written");
                return self.corrupt(&segment.path, at, &detail);
            }
            self.keep_aside(&segment.path, at, &bytes[at..])?;
        }
        let (path, bytes) = (segment.path.display(), bytes.len() - at);
        tracing::warn!(%path, offset = at, bytes, lsn = expected, torn = is_torn, "cutting the end of the log");
        segment.bytes = at as u64;
        // Durably: bytes that came back could look like records that follow new ones.
        self.files.open_at(&segment.path, segment.bytes)?.sync()
    }

    fn keep_aside(&self, path: &Path, at: usize, bytes: &[u8]) -> Result<()> {
        let aside = path.with_extension(format!("damaged-{at}"));
        tracing::warn!(path = %aside.display(), bytes = bytes.len(), "keeping a damaged part of the log");
        self.files.put(&aside, bytes, false)
    }

    fn set_aside(&self, segments: impl Iterator<Item = Segment>) -> Result<()> {
        for segment in segments {
            let bytes = self.files.read(&segment.path)?;
            self.keep_aside(&segment.path, 0, &bytes)?;
            self.files.remove(&segment.path)?;
        }
        self.files.sync_dir(self.dir)
    }

    fn corrupt<T>(&self, path: &Path, at: usize, detail: &str) -> Result<T> {
        let path = path.display().to_string();
        let hint = "start with --repair-wal to cut the log there; what follows is lost, and kept in a file beside it";
        Err(Error::Corrupt { path, detail: format!("at offset {at}: {detail}; {hint}") })
    }
}

/// How a segment ended.
enum Outcome {
    /// Whole, after this record (or the one before the segment).
    Whole(Lsn),
    /// Cut after this record.
    Cut(Lsn),
    /// Nothing of it can be used, and repair is asked for.
    Unreadable,
}
