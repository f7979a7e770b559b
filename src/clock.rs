//! The only reader of the time.

use std::sync::atomic::{AtomicI64, Ordering};

/// Microseconds since the epoch.
pub type Timestamp = i64;

/// The server's clock. Never goes back, also when the machine's clock does.
#[derive(Debug, Default)]
pub struct Clock {
    latest: AtomicI64,
}

impl Clock {
    /// The time, microseconds since the epoch.
    pub fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one reader")]
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |elapsed| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX));
        self.latest.fetch_max(now, Ordering::AcqRel).max(now)
    }
}
