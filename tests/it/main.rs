//! Tests that need a process: crashes, restarts, many clients, hostile bytes, passwords; and the rules of the source tree.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on panics, and says with which seed"
)]

/// Passwords, and who needs one.
mod auth;
/// Many clients, slow ones, vanished ones; cancel and timeouts.
mod concurrency;
/// kill -9 at random moments: acknowledged rows are there once, others not in part.
mod crash;
/// Random documents through all doors at once, and kills: each is a row or a dead letter, once.
mod doors;
/// Files of the server: compaction, wildcards, validation, progress.
mod files;
/// Statements over HTTP: forms of answers, statuses, limits, TLS.
mod http;
/// Documents over HTTP and COPY: new columns, dead letters, crashes.
mod ingest;
/// Primary keys and upserts.
mod keys;
/// Dead letters: replay, retention, discarding, many at once.
mod letters;
/// LISTEN and NOTIFY between connections.
mod notify;
/// Sequences and unique constraints: many clients, crashes.
mod objects;
/// Who may do what: several logins, HTTP, restarts.
mod privileges;
/// Malformed and hostile bytes: the server answers or hangs up, and lives on.
mod protocol;
/// Networks that cut messages anywhere, and break; long pipelines.
mod proxy;
/// Stop, start, second server on the same directory, bad directories, damaged logs.
mod restart;
/// Files and Kafka messages that are read by themselves: restarts, kills, brokers that go away.
mod sources;
/// Rules of the source tree that no lint holds.
mod tidy;
/// Plans that use the order of time.
mod time_order;
/// Types that users make: oids, documents, crashes.
mod types;
/// What drivers rely on beyond SQL.
mod wire;

#[path = "../support/mod.rs"]
mod support;
