//! A scan's turns on a thread that it shares with other queries.

use std::time::{Duration, Instant};

/// A turn: long beside what it costs to change, short beside what people notice. The engine lets others on only after 128 batches,
/// which an aggregation of many columns takes tens of milliseconds for; a light query would wait so long at each of its steps.
const TURN: Duration = Duration::from_millis(1);

/// When the scan's turn began.
#[derive(Debug)]
pub(super) struct Turn {
    since: Instant,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self { since: Instant::now() }
    }

    /// Lets others have the thread if this turn was long. By time, not by work: a scan that looks at much and finds little would
    /// else wait as often as one that gives all to an expensive query.
    pub(super) async fn pass(&mut self) {
        if self.since.elapsed() >= TURN {
            tokio::task::yield_now().await;
            self.since = Instant::now();
        }
    }
}
