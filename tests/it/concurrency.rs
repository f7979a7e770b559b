//! Many clients, slow ones, vanished ones; cancel and timeouts. Waiting is polling with a deadline, never a fixed sleep.

use std::io::{Read, Write};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Error};
use crate::support::server::Server;

/// A statement that runs until somebody stops it: the join never ends in a test's time, and streams nothing before.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 1000000) b";

/// Polls until `probe` says yes.
fn wait_until(what: &str, mut probe: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !probe() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sessions that run something, other than the one that asks.
fn active(client: &mut Client) -> String {
    client.value("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()")
}

#[test]
fn two_hundred_connections_at_once() {
    let server = Server::start();
    server.connect().run("CREATE TABLE t (client int, n int)");
    let start = Barrier::new(200);
    std::thread::scope(|scope| {
        for client in 0..200 {
            let (start, server) = (&start, &server);
            scope.spawn(move || {
                let mut session = server.connect();
                start.wait();
                session.run(&format!("INSERT INTO t VALUES ({client}, 1)"));
                assert_eq!(session.value("SELECT 40 + 2"), "42");
                session.run(&format!("INSERT INTO t VALUES ({client}, 2)"));
                assert_eq!(session.value(&format!("SELECT count(*) FROM t WHERE client = {client}")), "2");
            });
        }
    });
    let mut client = server.connect();
    assert_eq!(client.value("SELECT count(*) || ' ' || count(DISTINCT client) FROM t"), "400 200");
    wait_until("all sessions are gone", || {
        client.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") == "1"
    });
}

#[test]
fn one_connection_too_many_is_refused() {
    let server = Server::start_with(&["--max-connections", "5"]);
    let mut held: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    match Client::connect(server.pg(), "tidemill", "tidemill") {
        Err(Error::Db(error)) => {
            assert_eq!(error.code(), "53300");
            assert_eq!(error.field('S'), "FATAL");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(held[0].value("SELECT 1"), "1");
    drop(held.pop());
    wait_until("the slot is free again", || Client::connect(server.pg(), "tidemill", "tidemill").is_ok());
}

#[test]
fn a_cancel_request_stops_the_statement() {
    let server = Server::start();
    let mut client = server.connect();
    let key = client.key;
    let mut watcher = server.connect();
    client.send(b'Q', &[ENDLESS.as_bytes(), b"\0"].concat()).unwrap();
    wait_until("the statement runs", || active(&mut watcher) == "1");
    // A wrong secret is ignored.
    Client::cancel_request(server.pg(), (key.0, key.1 ^ 1)).unwrap();
    assert_eq!(active(&mut watcher), "1");
    Client::cancel_request(server.pg(), key).unwrap();
    let error = client.answers().expect_err("cancelled");
    assert_eq!(error.code(), "57014");
    assert!(error.to_string().contains("canceling statement due to user request"), "{error}");
    assert_eq!(client.value("SELECT 1"), "1", "the session goes on");
    // A cancel request that comes too late hits nothing.
    Client::cancel_request(server.pg(), key).unwrap();
    assert_eq!(client.value("SELECT 2"), "2");
}

#[test]
fn pg_cancel_and_pg_terminate() {
    let server = Server::start();
    let mut client = server.connect();
    let mut watcher = server.connect();
    let pid = client.key.0;
    client.send(b'Q', &[ENDLESS.as_bytes(), b"\0"].concat()).unwrap();
    wait_until("the statement runs", || active(&mut watcher) == "1");
    assert_eq!(watcher.value(&format!("SELECT pg_cancel_backend({pid})")), "t");
    assert_eq!(client.answers().expect_err("cancelled").code(), "57014");
    assert_eq!(watcher.value(&format!("SELECT pg_terminate_backend({pid})")), "t");
    assert_eq!(client.simple("SELECT 1").expect_err("terminated").code(), "57P01");
}

/// A join that makes billions of rows of one batch, or rejects as many pairs, had a thread for itself until it was through:
/// two of them, and no client was heard any more. One that asyncpg had given up did that to a CI run.
#[test]
fn joins_without_end_hold_nobody_up() {
    const JOINS: &[&str] = &[
        "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 1000000000) b",
        // Rejects every pair.
        "SELECT count(*) FROM generate_series(1, 100000) a(a) JOIN generate_series(1, 1000000000) b(b) ON a.a + b.b < 0",
        // The same with one key that all rows have.
        "SELECT count(*) FROM (SELECT a % 1 AS k, a FROM generate_series(1, 100000) a) a \
         JOIN (SELECT b % 1 AS k, b FROM generate_series(1, 1000000000) b) b ON a.k = b.k AND a.a + b.b < 0",
    ];
    let server = Server::start_with(&["--threads", "2"]);
    let mut watcher = server.connect();
    let mut clients: Vec<Client> = JOINS.iter().chain(JOINS).map(|_| server.connect()).collect();
    for (client, sql) in clients.iter_mut().zip(JOINS.iter().chain(JOINS)) {
        client.send(b'Q', &[sql.as_bytes(), b"\0"].concat()).unwrap();
    }
    wait_until("all run", || active(&mut watcher) == clients.len().to_string());
    for n in 0..20 {
        let sql = format!("SELECT count(*) FROM generate_series(1, {n}) a, generate_series(1, {n}) b");
        assert_eq!(watcher.value(&sql), (n * n).to_string(), "others have their turn");
        assert_eq!(server.connect().value("SELECT 1"), "1", "new clients are heard");
    }
    for client in &clients {
        Client::cancel_request(server.pg(), client.key).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.answers().expect_err("cancelled").code(), "57014");
        assert_eq!(client.value("SELECT count(*) FROM generate_series(1, 10)"), "10", "the session goes on");
    }
    let mut last = u64::MAX;
    wait_until("nothing computes any more", || std::mem::replace(&mut last, server.cpu_ticks()) == last);
}

#[test]
fn statement_timeout_stops_the_statement() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("SET statement_timeout = '200ms'");
    let error = client.simple(ENDLESS).expect_err("too slow");
    assert_eq!(error.code(), "57014");
    assert!(error.to_string().contains("canceling statement due to statement timeout"), "{error}");
    client.run("SET statement_timeout = 0");
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn idle_timeouts_end_the_session() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("SET idle_in_transaction_session_timeout = '200ms'; BEGIN");
    assert_eq!(client.answers().expect_err("idle in a transaction").code(), "25P03");
    let mut client = server.connect();
    client.run("SET idle_session_timeout = '200ms'");
    assert_eq!(client.answers().expect_err("idle").code(), "57P05");
}

#[test]
fn a_vanished_client_stops_its_statement() {
    let server = Server::start();
    let mut watcher = server.connect();
    let mut client = server.connect();
    client.send(b'Q', &[ENDLESS.as_bytes(), b"\0"].concat()).unwrap();
    wait_until("the statement runs", || active(&mut watcher) == "1");
    drop(client);
    wait_until("the statement ended", || active(&mut watcher) == "0");
}

#[test]
fn a_client_that_stops_reading_does_not_fill_the_memory() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.run("SET client_min_messages = warning");
    let before = resident_bytes(server.pid());
    // About 2 GB of text, of which the client reads nothing for a while.
    let sql = "SELECT repeat('x', 1000) FROM generate_series(1, 2000000)\0";
    client.send(b'Q', sql.as_bytes()).unwrap();
    let mut other = server.connect();
    for _ in 0..20 {
        assert_eq!(other.value("SELECT 1"), "1", "others are served");
        std::thread::sleep(Duration::from_millis(50));
    }
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    assert!(grown < 256 << 20, "the server holds {} MB of an unread result", grown >> 20);
    // The rest can be had: it reads on, then leaves in the middle.
    let mut chunk = vec![0; 1 << 20];
    client.stream().read_exact(&mut chunk).unwrap();
    drop(client);
    wait_until("the statement ended", || active(&mut other) == "0");
    assert!(server.is_running());
}

/// Resident memory of a process, bytes; 0 where the system has no /proc.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[test]
fn a_query_above_the_limit_gets_53200() {
    let mut server = Server::start_with(&["--memory", "64MB", "--spill", "1MB"]);
    let mut client = server.connect();
    let sql = "SELECT count(*) FROM (SELECT x, md5(x::text) AS m FROM generate_series(1, 3000000) AS g(x) ORDER BY m) AS s \
               WHERE m > '0' GROUP BY m ORDER BY 1 LIMIT 1";
    let error = client.simple(sql).expect_err("more than there is");
    assert!(["53200", "53400", "53100"].contains(&error.code()), "{error}");
    assert_eq!(client.value("SELECT count(*) FROM generate_series(1, 1000)"), "1000", "the server lives on");
    assert!(server.is_running());
}

#[test]
fn the_first_to_commit_wins() {
    let server = Server::start();
    let (mut one, mut two) = (server.connect(), server.connect());
    one.run("CREATE TABLE t (id int, v int); INSERT INTO t VALUES (1, 0)");
    one.run("CREATE TABLE u (id int)");
    one.run("BEGIN; INSERT INTO u VALUES (1)");
    assert_eq!(two.value("SELECT count(*) FROM u"), "0", "not committed yet");
    two.run("BEGIN");
    assert_eq!(two.value("SELECT count(*) FROM u"), "0");
    one.run("COMMIT");
    two.run("COMMIT");
    assert_eq!(two.value("SELECT count(*) FROM u"), "1");
    // Many updates of one row at once: each either happens or says 40001, and none is lost.
    let done = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut session = server.connect();
                for _ in 0..5 {
                    match session.simple("UPDATE t SET v = v + 1 WHERE id = 1") {
                        Ok(_) => drop(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
                        Err(error) => assert_eq!(error.code(), "40001", "{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(one.value("SELECT v FROM t"), done.into_inner().to_string());
}

#[test]
fn copy_of_a_client_that_vanishes_leaves_nothing() {
    let server = Server::start();
    let mut watcher = server.connect();
    watcher.run("CREATE TABLE t (x int)");
    let mut client = server.connect();
    client.send(b'Q', b"COPY t FROM STDIN\0").unwrap();
    assert_eq!(client.receive().unwrap().kind, b'G');
    for x in 0..1000 {
        client.send(b'd', format!("{x}\n").as_bytes()).unwrap();
    }
    client.stream().flush().unwrap();
    drop(client);
    wait_until("the session is gone", || active(&mut watcher) == "0");
    assert_eq!(watcher.value("SELECT count(*) FROM t"), "0");
}
