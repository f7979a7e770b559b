//! Room for hot rows: who writes faster than flushes carry away waits here, so that memory has a limit.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::snapshot::Snapshot;
use crate::{Error, Result};

/// Hot rows may take this much at least, however small the log is allowed to be: 1 GiB.
const BYTES_MAX_LEAST: u64 = 1 << 30;

/// See the module doc.
#[derive(Debug)]
pub(super) struct HotRoom {
    bytes_max: u64,
    /// About: writers add what they write, each flush counts anew.
    bytes: AtomicU64,
    /// Why the last flush failed, if it did: then nobody waits for the next.
    failure: Mutex<Option<String>>,
    changed: Notify,
}

impl HotRoom {
    pub(super) fn new(snapshot: &Snapshot, wal_bytes_max: u64) -> Self {
        let room = Self {
            bytes_max: wal_bytes_max.saturating_mul(2).max(BYTES_MAX_LEAST),
            bytes: AtomicU64::new(0),
            failure: Mutex::default(),
            changed: Notify::new(),
        };
        room.count(snapshot);
        room
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// `OutOfResources` if there is none and the last flush failed.
    pub(super) async fn wait(&self) -> Result<()> {
        loop {
            let changed = self.changed.notified();
            if self.bytes.load(Ordering::Acquire) < self.bytes_max {
                return Ok(());
            }
            if let Some(failure) = &*self.failure.lock() {
                return Err(Error::OutOfResources(format!(
                    "{} bytes of rows wait to be written to files, which failed: {failure}",
                    self.bytes.load(Ordering::Acquire)
                )));
            }
            changed.await;
        }
    }

    /// Half of it is taken: flushes must be quick now, or writers will wait.
    pub(super) fn is_scarce(&self) -> bool {
        self.bytes.load(Ordering::Acquire) > self.bytes_max / 2
    }

    /// Someone wrote this much.
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::AcqRel);
    }

    /// Counts what there is.
    pub(super) fn count(&self, snapshot: &Snapshot) {
        let bytes = snapshot.tables.values().map(|table| table.hot_bytes() as u64).sum();
        self.bytes.store(bytes, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Tells those who wait how a flush went.
    pub(super) fn note_flush(&self, result: &Result<()>) {
        *self.failure.lock() = result.as_ref().err().map(ToString::to_string);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::future::{Either, select};

    use super::*;

    #[test]
    fn writers_wait_for_room_unless_flushes_fail() {
        let room = HotRoom::new(&Snapshot::default(), 0);
        block_on(room.wait()).unwrap();
        assert!(!room.is_scarce());
        room.add(1 << 30);
        assert!(room.is_scarce());
        let is_waiting = |room: &HotRoom| {
            let wait = std::pin::pin!(room.wait());
            matches!(block_on(select(wait, futures::future::ready(()))), Either::Right(_))
        };
        assert!(is_waiting(&room));
        room.note_flush(&Err(Error::Invalid("broken".to_owned())));
        assert!(block_on(room.wait()).unwrap_err().to_string().ends_with("which failed: broken"));
        room.note_flush(&Ok(()));
        assert!(is_waiting(&room));
        room.count(&Snapshot::default());
        block_on(room.wait()).unwrap();
    }
}
