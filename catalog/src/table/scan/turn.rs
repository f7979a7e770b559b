//! Scans' turns on the threads for queries: who has had little goes before who has had much.
//!
//! A light query beside heavy ones would wait for a millisecond of each of them at each of its steps. So a scan that computes for
//! longer than a turn asks for the next, and of those that wait the one with the least deadline gets it: now and a part of
//! what its statement has had so far. It is a multilevel feedback queue (Corbató, Daggett, Daley, "An experimental time-sharing
//! system", 1962) without levels; as the part is bounded, everybody gets a turn in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A turn: long beside what it costs to change, short beside what people notice. The engine lets others on only after 128 batches,
/// which an aggregation of many columns takes tens of milliseconds for.
const TURN: Duration = Duration::from_millis(1);

/// After so long a turn may be taken from who has it: nobody reads its stream (an idle cursor), or what reads it takes long.
const LEASE: Duration = Duration::from_millis(2);

/// How much of what a statement has had its next turn is put off by: an eighth.
const PUT_OFF: u32 = 8;

/// And at most: one that has had much still gets its sixteenth of a thread beside many that are new.
const PUT_OFF_MAX: Duration = Duration::from_millis(16);

/// What a turn counts for at most. Time in which a client does not read is no work.
const COUNTED_MAX: Duration = Duration::from_millis(10);

/// The turns of all scans on the same threads.
#[derive(Debug)]
pub struct Turns {
    at_once: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    running: Vec<Lease>,
    /// By deadline, then by who came first.
    waiting: BTreeMap<(Instant, u64), oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Lease {
    id: u64,
    since: Instant,
}

impl Turns {
    /// Turns on so many threads.
    pub fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self { at_once: threads.max(1), state: Mutex::default() })
    }

    /// Goes on with the turn `id` if nobody waits.
    fn go_on(&self, id: u64, now: Instant) -> bool {
        let mut state = self.state.lock();
        let nobody = state.waiting.is_empty();
        match state.running.iter_mut().find(|lease| lease.id == id) {
            Some(lease) if nobody => {
                lease.since = now;
                true
            }
            _ => false,
        }
    }

    /// Ends `ended` and asks for a turn: its number, and what is told when it begins.
    fn ask(&self, ended: Option<u64>, deadline: Instant, now: Instant) -> (u64, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        state.waiting.insert((deadline, id), sender);
        state.end(ended);
        state.grant(self.at_once, now);
        (id, receiver)
    }

    fn end(&self, id: u64) {
        let mut state = self.state.lock();
        state.end(Some(id));
        state.grant(self.at_once, Instant::now());
    }

    /// Gives turns that nobody goes on with to those who wait.
    fn reclaim(&self, now: Instant) {
        self.state.lock().grant(self.at_once, now);
    }
}

impl State {
    fn end(&mut self, id: Option<u64>) {
        self.running.retain(|lease| Some(lease.id) != id);
    }

    fn grant(&mut self, at_once: usize, now: Instant) {
        while !self.waiting.is_empty() {
            if self.running.len() >= at_once {
                let over = self.running.iter().position(|lease| now.saturating_duration_since(lease.since) >= LEASE);
                let Some(over) = over else { return };
                self.running.swap_remove(over);
            }
            // Who does not wait any more gets none.
            if let Some(((_, id), sender)) = self.waiting.pop_first()
                && sender.send(()).is_ok()
            {
                self.running.push(Lease { id, since: now });
            }
        }
    }
}

/// What the scans of one statement have had: a `SessionConfig` extension. Without it they only let others have the thread.
#[derive(Debug)]
pub struct Effort {
    turns: Arc<Turns>,
    spent_us: AtomicU64,
}

impl Effort {
    /// Nothing yet.
    pub fn new(turns: &Arc<Turns>) -> Arc<Self> {
        Arc::new(Self { turns: Arc::clone(turns), spent_us: AtomicU64::new(0) })
    }

    fn count(&self, turn: Duration) {
        let us = u64::try_from(turn.min(COUNTED_MAX).as_micros()).unwrap_or_default();
        self.spent_us.fetch_add(us, Ordering::Relaxed);
    }

    /// When the next turn is due that is asked for now.
    fn deadline(&self, now: Instant) -> Instant {
        let spent = Duration::from_micros(self.spent_us.load(Ordering::Relaxed));
        now + (spent / PUT_OFF).min(PUT_OFF_MAX)
    }
}

/// The turns of one partition.
#[derive(Debug)]
pub(super) struct Turn {
    effort: Option<Arc<Effort>>,
    since: Instant,
    /// None in the first millisecond: most scans need no more.
    id: Option<u64>,
}

impl Turn {
    pub(super) fn new(effort: Option<Arc<Effort>>) -> Self {
        Self { effort, since: Instant::now(), id: None }
    }

    /// Lets others go on if this turn was long. By time, not by work: a scan that looks at much and finds little would
    /// else wait as often as one that gives all to an expensive query.
    pub(super) async fn pass(&mut self) {
        let now = Instant::now();
        let had = now - self.since;
        if had < TURN {
            return;
        }
        let waits = self.effort.as_ref().and_then(|effort| {
            effort.count(had);
            if self.id.is_some_and(|id| effort.turns.go_on(id, now)) {
                return None;
            }
            let (id, granted) = effort.turns.ask(self.id.take(), effort.deadline(now), now);
            self.id = Some(id);
            Some((Arc::clone(effort), granted))
        });
        tokio::task::yield_now().await;
        if let Some((effort, mut granted)) = waits {
            while tokio::time::timeout(LEASE, &mut granted).await.is_err() {
                effort.turns.reclaim(Instant::now());
            }
        }
        self.since = Instant::now();
    }

    /// Waits for something other than the processor, without a turn.
    pub(super) async fn without<T>(&mut self, wait: impl Future<Output = T>) -> T {
        self.end();
        let done = wait.await;
        self.since = Instant::now();
        done
    }

    fn end(&mut self) {
        if let (Some(effort), Some(id)) = (&self.effort, self.id.take()) {
            effort.count(self.since.elapsed());
            effort.turns.end(id);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_granted(receiver: &mut oneshot::Receiver<()>) -> bool {
        receiver.try_recv().is_ok()
    }

    #[test]
    fn who_has_had_little_goes_first_and_who_has_had_much_in_the_end() {
        let (turns, begin) = (Turns::new(1), Instant::now());
        let heavy = Effort::new(&turns);
        for _ in 0..1000 {
            heavy.count(TURN);
        }
        let (mut running, _) = turns.ask(None, begin, begin);
        let (_, mut of_heavy) = turns.ask(None, heavy.deadline(begin), begin);
        // New ones keep coming.
        for waited in 1..16 {
            let now = begin + TURN * waited;
            assert!(!turns.go_on(running, now), "somebody waits");
            let (light, mut granted) = turns.ask(Some(running), Effort::new(&turns).deadline(now), now);
            assert!(is_granted(&mut granted) && !is_granted(&mut of_heavy));
            running = light;
        }
        let now = begin + PUT_OFF_MAX;
        let (_, mut of_light) = turns.ask(Some(running), Effort::new(&turns).deadline(now), now);
        assert!(is_granted(&mut of_heavy) && !is_granted(&mut of_light));
    }

    #[test]
    fn a_turn_that_nobody_goes_on_with_is_given_to_others() {
        let (turns, begin) = (Turns::new(2), Instant::now());
        let (idle, _) = turns.ask(None, begin, begin);
        let (busy, _busy) = turns.ask(None, begin, begin);
        let (_, mut third) = turns.ask(None, begin, begin);
        let later = begin + LEASE;
        assert!(!turns.go_on(busy, later), "somebody waits");
        turns.reclaim(begin + TURN);
        assert!(!is_granted(&mut third));
        turns.reclaim(later);
        assert!(is_granted(&mut third));
        assert!(!turns.go_on(idle, later));
    }

    #[test]
    fn who_does_not_wait_any_more_is_passed_over() {
        let (turns, begin) = (Turns::new(1), Instant::now());
        let (first, _first) = turns.ask(None, begin, begin);
        let (_, gone) = turns.ask(None, begin, begin);
        let (last, mut waits) = turns.ask(None, begin, begin);
        drop(gone);
        turns.end(first);
        assert!(is_granted(&mut waits));
        assert!(turns.go_on(last, begin));
    }
}
