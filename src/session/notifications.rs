//! LISTEN and NOTIFY: what a transaction wants sent, who listens, and what waits to be told to a client.
//!
//! ```text
//! NOTIFY, pg_notify() → Outbox of the session → (commit) Hub → Inbox of each listener → between its statements, client
//! ```
//! Notifications are not stored: who is not connected does not hear them, as in PostgreSQL. A commit with notifications holds
//! the hub's turn until they are in the inboxes, so that all hear them in the order of commits. An inbox is bounded: a client
//! that does not take its notifications loses its connection, and knows by that that it missed some; who sends never waits.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tidemill_catalog::Oid;

use crate::error::SqlState;
use crate::{Error, Result};

/// Bytes of a payload; PostgreSQL's limit.
const PAYLOAD_BYTES_MAX: usize = 8000;
/// Bytes of a channel's name, as of any name.
const CHANNEL_BYTES_MAX: usize = 63;
/// Bytes that one transaction may want sent: they are kept until it commits.
const OUTBOX_BYTES_MAX: usize = 8 << 20;
/// Bytes that may wait for one client: some thousand full payloads.
const INBOX_BYTES_MAX: usize = 32 << 20;
/// Besides its texts, what a notification takes.
const OVERHEAD_BYTES: usize = 64;

/// One notification.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notification {
    /// On which channel.
    pub channel: Arc<str>,
    /// What it says.
    pub payload: Arc<str>,
}

impl Notification {
    /// A notification as NOTIFY and pg_notify() spell it.
    ///
    /// # Errors
    /// 22023 for a name or payload that is empty or too long.
    pub fn new(channel: &str, payload: &str) -> Result<Self> {
        let refuse = |message: &str| Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        if channel.is_empty() {
            return refuse("channel name cannot be empty");
        }
        if channel.len() > CHANNEL_BYTES_MAX {
            return refuse("channel name too long");
        }
        if payload.len() >= PAYLOAD_BYTES_MAX {
            return refuse("payload string too long");
        }
        Ok(Self { channel: channel.into(), payload: payload.into() })
    }

    fn bytes(&self) -> usize {
        self.channel.len() + self.payload.len() + OVERHEAD_BYTES
    }
}

/// What the open transaction wants done when it commits.
#[derive(Debug, Default)]
pub struct Outbox {
    notifications: Vec<Notification>,
    /// The same, to send each only once.
    known: HashSet<Notification>,
    bytes: usize,
    listens: Vec<Listen>,
}

/// LISTEN, UNLISTEN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// To a channel.
    To(String),
    /// Not to that channel any more.
    NotTo(String),
    /// To none.
    ToNone,
}

/// How full an [`Outbox`] was at a savepoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutboxMark {
    notifications: usize,
    listens: usize,
}

impl Outbox {
    /// Takes a notification, unless it is there already.
    ///
    /// # Errors
    /// 54000 when the transaction has too many.
    pub fn notify(&mut self, notification: Notification) -> Result<()> {
        if self.known.contains(&notification) {
            return Ok(());
        }
        if self.bytes + notification.bytes() > OUTBOX_BYTES_MAX {
            return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many notifications in the NOTIFY queue")
                .hint("Commit more often."));
        }
        self.bytes += notification.bytes();
        self.known.insert(notification.clone());
        self.notifications.push(notification);
        Ok(())
    }

    /// LISTEN, UNLISTEN.
    pub fn listen(&mut self, listen: Listen) {
        self.listens.push(listen);
    }

    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.notifications.is_empty() && self.listens.is_empty()
    }

    /// For [`Self::back_to`].
    pub fn mark(&self) -> OutboxMark {
        OutboxMark { notifications: self.notifications.len(), listens: self.listens.len() }
    }

    /// Forgets what came after the mark.
    pub fn back_to(&mut self, mark: OutboxMark) {
        for notification in self.notifications.drain(mark.notifications..) {
            self.bytes -= notification.bytes();
            self.known.remove(&notification);
        }
        self.listens.truncate(mark.listens);
    }
}

/// Who listens to what.
#[derive(Debug, Default)]
pub struct Hub {
    listeners: Mutex<BTreeMap<i32, Listener>>,
    /// Held from the commit of notifications until they are in the inboxes.
    pub(super) turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Listener {
    database: Oid,
    channels: BTreeSet<String>,
    inbox: Arc<Inbox>,
}

/// Notifications that wait for a client.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    /// Something came.
    came: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Each with the sender's process id.
    notifications: VecDeque<(i32, Notification)>,
    bytes: usize,
    overflown: bool,
}

impl Inbox {
    fn push(&self, pid: i32, notification: &Notification) {
        let mut waiting = self.waiting.lock();
        if waiting.overflown {
            return;
        }
        if waiting.bytes + notification.bytes() > INBOX_BYTES_MAX {
            // Some are lost: then the rest is of no use.
            *waiting = Waiting { overflown: true, ..Waiting::default() };
        } else {
            waiting.bytes += notification.bytes();
            waiting.notifications.push_back((pid, notification.clone()));
        }
        drop(waiting);
        self.came.notify_one();
    }

    /// Waits until there is something to take. Cancel-safe.
    pub async fn came(&self) {
        self.came.notified().await;
    }

    /// The notifications so far, oldest first, each with the sender's process id.
    ///
    /// # Errors
    /// 53400 (fatal) if there were too many.
    pub fn take(&self) -> Result<VecDeque<(i32, Notification)>> {
        let mut waiting = self.waiting.lock();
        if waiting.overflown {
            return Err(Error::new(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                "terminating connection because its notifications were not read",
            )
            .detail(format!("More than {} MB of notifications waited for this client.", INBOX_BYTES_MAX >> 20))
            .hint("Do not stay in a transaction for long while listening.")
            .fatal());
        }
        waiting.bytes = 0;
        Ok(std::mem::take(&mut waiting.notifications))
    }
}

impl Hub {
    /// Does what a committed transaction of the client wanted. `inbox`: the client's.
    pub(super) fn publish(&self, pid: i32, database: Oid, inbox: &Arc<Inbox>, outbox: Outbox) {
        let mut listeners = self.listeners.lock();
        for listen in outbox.listens {
            match listen {
                Listen::To(channel) => {
                    let listener = listeners.entry(pid).or_insert_with(|| Listener {
                        database,
                        channels: BTreeSet::new(),
                        inbox: Arc::clone(inbox),
                    });
                    listener.channels.insert(channel);
                }
                Listen::NotTo(channel) => {
                    if let Some(listener) = listeners.get_mut(&pid) {
                        listener.channels.remove(&channel);
                    }
                }
                Listen::ToNone => {
                    listeners.remove(&pid);
                }
            }
        }
        for notification in &outbox.notifications {
            let hears = |listener: &&Listener| {
                listener.database == database && listener.channels.contains(&*notification.channel)
            };
            for listener in listeners.values().filter(hears) {
                listener.inbox.push(pid, notification);
            }
        }
    }

    /// The channels that a client listens to.
    pub fn channels(&self, pid: i32) -> Vec<String> {
        self.listeners.lock().get(&pid).map_or_else(Vec::new, |listener| listener.channels.iter().cloned().collect())
    }

    /// How full the fullest inbox is, 0 to 1.
    pub fn usage(&self) -> f64 {
        let fullest = self.listeners.lock().values().map(|listener| listener.inbox.waiting.lock().bytes).max();
        fullest.unwrap_or(0) as f64 / INBOX_BYTES_MAX as f64
    }

    /// A client leaves.
    pub(super) fn leave(&self, pid: i32) {
        self.listeners.lock().remove(&pid);
    }
}

/// A client's part of it; it listens no more once this is dropped.
#[derive(Debug)]
pub(super) struct Post {
    hub: Arc<Hub>,
    pid: i32,
    pub(super) inbox: Arc<Inbox>,
}

impl Post {
    pub(super) fn new(hub: &Arc<Hub>, pid: i32) -> Self {
        Self { hub: Arc::clone(hub), pid, inbox: Arc::default() }
    }

    pub(super) fn publish(&self, database: Oid, outbox: Outbox) {
        self.hub.publish(self.pid, database, &self.inbox, outbox);
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.hub.leave(self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(payload: &str) -> Notification {
        Notification::new("c", payload).unwrap()
    }

    fn payloads(inbox: &Inbox) -> Vec<String> {
        inbox.take().unwrap().into_iter().map(|(_, notification)| notification.payload.to_string()).collect()
    }

    #[test]
    fn a_transaction_sends_each_once_and_forgets_what_it_rolled_back() {
        let mut outbox = Outbox::default();
        outbox.notify(notification("1")).unwrap();
        let mark = outbox.mark();
        outbox.notify(notification("1")).unwrap();
        outbox.notify(notification("2")).unwrap();
        outbox.listen(Listen::ToNone);
        outbox.back_to(mark);
        outbox.notify(notification("2")).unwrap();
        outbox.listen(Listen::To("c".into()));
        let (hub, inbox) = (Hub::default(), Arc::default());
        hub.publish(1, 5, &inbox, outbox);
        assert_eq!(payloads(&inbox), ["1", "2"]);
    }

    #[test]
    fn databases_and_channels_are_apart() {
        let (hub, here, there) = (Hub::default(), Arc::default(), Arc::default());
        let listening = || Outbox { listens: vec![Listen::To("c".into())], ..Outbox::default() };
        hub.publish(1, 5, &here, listening());
        hub.publish(2, 6, &there, listening());
        let mut outbox = Outbox::default();
        outbox.notify(notification("x")).unwrap();
        outbox.notify(Notification::new("d", "y").unwrap()).unwrap();
        hub.publish(3, 5, &Arc::default(), outbox);
        assert_eq!(payloads(&here), ["x"]);
        assert_eq!(payloads(&there), [""; 0]);
        assert_eq!(hub.channels(1), ["c"]);
        hub.leave(1);
        assert_eq!(hub.channels(1), [""; 0]);
    }

    #[test]
    fn a_full_inbox_is_an_error_and_takes_no_memory() {
        let inbox = Inbox::default();
        let long = notification(&"x".repeat(PAYLOAD_BYTES_MAX - 1));
        for _ in 0..=INBOX_BYTES_MAX / long.bytes() {
            inbox.push(1, &long);
        }
        assert_eq!(inbox.waiting.lock().bytes, 0);
        assert!(inbox.take().unwrap_err().report().fatal);
    }

    #[test]
    fn names_and_payloads_have_limits() {
        assert!(Notification::new("", "").is_err());
        assert!(Notification::new(&"c".repeat(64), "").is_err());
        assert!(Notification::new("c", &"x".repeat(8000)).is_err());
        Notification::new(&"c".repeat(63), &"x".repeat(7999)).unwrap();
    }
}
