//! kill -9 at random moments under concurrent COPY, INSERT, DELETE and flush: every acknowledged row is there once, no
//! unacknowledged transaction is there in part. `TIDEMILL_CRASH_ROUNDS=200` for the long run; the seed is printed.
//!
//! Each worker owns a table and keeps a ledger: what was acknowledged, and the one transaction that was under way when the
//! server died, which may or may not have happened, but only as a whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::client::{Client, Error};
use crate::support::server::Server;

const WORKERS: u64 = 4;
/// A crash comes within this long after the round's start: some before the first commit, some after several flushes.
const LIFE_MS_MAX: u64 = 1500;

/// A group of rows with the same `batch`; its size is what a torn transaction would betray.
type Ledger = BTreeMap<u64, u64>;

/// What a worker knows about its table.
#[derive(Debug, Default)]
struct Worker {
    number: u64,
    acknowledged: Ledger,
    /// The state after the transaction under way, if it happened.
    pending: Option<Ledger>,
    next_batch: u64,
}

#[test]
fn acknowledged_rows_survive_kill_9() {
    let rounds = environment("TIDEMILL_CRASH_ROUNDS").unwrap_or(12);
    let seed = environment("TIDEMILL_TEST_SEED").unwrap_or_else(rand::random);
    println!("TIDEMILL_TEST_SEED={seed} TIDEMILL_CRASH_ROUNDS={rounds}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = Server::start();
    let mut workers: Vec<Worker> = (0..WORKERS).map(|number| Worker { number, ..Worker::default() }).collect();
    for worker in &workers {
        let sql = "(batch bigint, n int, at timestamp, pad text) WITH (tidemill.flush_interval = '200ms')";
        server.connect().run(&format!("CREATE TABLE t{} {sql}", worker.number));
    }
    for round in 0..rounds {
        let life = Duration::from_millis(random.random_range(0..LIFE_MS_MAX));
        let address = server.pg();
        std::thread::scope(|scope| {
            for worker in &mut workers {
                let seed = random.random();
                scope.spawn(move || worker.run(address, &mut StdRng::seed_from_u64(seed)));
            }
            std::thread::sleep(life);
            server.kill();
        });
        server = server.crash_and_restart();
        let mut client = server.connect();
        for worker in &mut workers {
            worker.check(&mut client, &format!("seed {seed}, round {round}"));
        }
    }
    let committed: usize = workers.iter().map(|worker| worker.acknowledged.len()).sum();
    assert!(committed > 0, "nothing was ever committed: the test tested nothing");
}

impl Worker {
    /// Works until the server is gone.
    fn run(&mut self, address: SocketAddr, random: &mut StdRng) {
        let Ok(mut client) = Client::connect(address, "tidemill", "tidemill") else { return };
        while self.transaction(&mut client, random).is_ok() {}
    }

    fn transaction(&mut self, client: &mut Client, random: &mut StdRng) -> Result<(), Error> {
        let table = format!("t{}", self.number);
        let mut after = self.acknowledged.clone();
        let batch = self.next_batch;
        self.next_batch += 1;
        let rows: u64 =
            if random.random_bool(0.2) { random.random_range(1000..5000) } else { random.random_range(1..20) };
        let choice = random.random_range(0..10);
        let victim = after.keys().copied().nth(random.random_range(0..after.len().max(1)));
        match (choice, victim) {
            (0..=3, _) => {
                after.insert(batch, rows);
                self.attempt(after, || client.simple(&insert(&table, batch, rows)).map(drop))
            }
            (4..=6, _) => {
                after.insert(batch, rows);
                let data: String = (0..rows).map(|n| format!("{batch}\t{n}\t2024-01-01 00:00:00\tpad\n")).collect();
                let sql = format!("COPY {table} FROM STDIN");
                self.attempt(after, || client.simple_with_data(&sql, data.as_bytes()).map(drop))
            }
            (7, Some(victim)) => {
                after.remove(&victim);
                self.attempt(after, || client.simple(&format!("DELETE FROM {table} WHERE batch = {victim}")).map(drop))
            }
            (8, Some(victim)) => {
                let half = after.get(&victim).map_or(0, |rows| rows / 2);
                after.insert(victim, half);
                if half == 0 {
                    after.remove(&victim);
                }
                let sql = format!("DELETE FROM {table} WHERE batch = {victim} AND n >= {half}");
                self.attempt(after, || client.simple(&sql).map(drop))
            }
            _ => {
                // Two statements, one transaction: both or none.
                after.insert(batch, rows);
                after.insert(batch + 1_000_000_000, 3);
                let sql = format!(
                    "BEGIN; {}; {}; COMMIT",
                    insert(&table, batch, rows),
                    insert(&table, batch + 1_000_000_000, 3)
                );
                self.attempt(after, || client.simple(&sql).map(drop))
            }
        }
    }

    /// Acknowledged: it happened. A connection that broke: unknown. Any other answer is a bug.
    fn attempt(&mut self, after: Ledger, act: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        self.pending = Some(after.clone());
        match act() {
            Ok(()) => {
                self.acknowledged = after;
                self.pending = None;
                Ok(())
            }
            // Flush and compaction may get in the way of a DELETE: then it did not happen, and the client tries again.
            Err(Error::Db(error)) if error.code() == "40001" => {
                self.pending = None;
                Ok(())
            }
            Err(Error::Db(error)) => panic!("worker {}: {error}", self.number),
            Err(error) => Err(error),
        }
    }

    /// The table is what was acknowledged, or that and all of what was under way; each row once.
    fn check(&mut self, client: &mut Client, when: &str) {
        let table = format!("t{}", self.number);
        let sql = format!("SELECT batch, count(*), count(DISTINCT n), min(n), max(n) FROM {table} GROUP BY batch");
        let mut found = Ledger::new();
        for row in client.run(&sql).pop().expect("an answer").rows {
            let value = |at: usize| row[at].as_ref().expect("not NULL").parse::<u64>().expect("a number");
            let (batch, count) = (value(0), value(1));
            assert_eq!(value(2), count, "{when}: {table} has rows of batch {batch} twice");
            assert_eq!((value(3), value(4)), (0, count - 1), "{when}: {table} has holes in batch {batch}");
            found.insert(batch, count);
        }
        let pending = self.pending.take();
        if found != self.acknowledged {
            let missing: Vec<_> =
                self.acknowledged.iter().filter(|(batch, rows)| found.get(batch) != Some(rows)).collect();
            let extra: Vec<_> =
                found.iter().filter(|(batch, rows)| self.acknowledged.get(batch) != Some(rows)).collect();
            assert_eq!(
                Some(&found),
                pending.as_ref(),
                "{when}: {table}: neither what was acknowledged (missing {missing:?}, extra {extra:?}) nor all that was under way"
            );
        }
        self.acknowledged = found;
    }
}

fn insert(table: &str, batch: u64, rows: u64) -> String {
    format!("INSERT INTO {table} SELECT {batch}, n - 1, '2024-01-01', 'pad' FROM generate_series(1, {rows}) AS g(n)")
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
