//! Primary keys and upserts with many clients at once, and after kill -9.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::client::Error;
use crate::support::server::Server;

#[test]
fn of_many_clients_that_insert_a_key_one_has_it() {
    let server = Server::start();
    server.connect().run("CREATE TABLE t (id int PRIMARY KEY, client int)");
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..6 {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                let mut session = server.connect();
                for n in 0..150 {
                    let id = (n * 7 + client) % 150;
                    match session.simple(&format!("INSERT INTO t VALUES ({id}, {client})")) {
                        Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(Error::Db(error)) => assert!(["23505", "40001"].contains(&error.code()), "{error}"),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let mut client = server.connect();
    let counts = client.value("SELECT count(*) || ' ' || count(DISTINCT id) FROM t");
    assert_eq!(counts, "150 150");
    assert_eq!(done.load(Ordering::Relaxed), 150);
}

#[test]
fn no_count_is_lost_in_a_conflict() {
    let server = Server::start();
    server.connect().run("CREATE TABLE t (id int PRIMARY KEY, n int)");
    std::thread::scope(|scope| {
        for client in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut session = server.connect();
                for n in 0..40 {
                    let id = (n + client) % 5;
                    let sql = format!("INSERT INTO t VALUES ({id}, 1) ON CONFLICT (id) DO UPDATE SET n = t.n + 1");
                    while let Err(error) = session.simple(&sql) {
                        assert_eq!(error.code(), "40001");
                    }
                }
            });
        }
    });
    assert_eq!(server.connect().value("SELECT count(*) || ' ' || sum(n) FROM t"), "5 160");
}

#[test]
fn of_two_transactions_that_found_a_key_free_the_first_has_it() {
    let server = Server::start();
    let (mut a, mut b) = (server.connect(), server.connect());
    a.run("CREATE TABLE t (id text PRIMARY KEY, v int)");
    a.run("BEGIN; INSERT INTO t VALUES ('x', 1)");
    b.run("BEGIN; INSERT INTO t VALUES ('x', 2), ('y', 2)");
    a.run("COMMIT");
    assert_eq!(b.sqlstate("COMMIT"), "40001");
    assert_eq!(b.sqlstate("INSERT INTO t VALUES ('x', 3)"), "23505");
    // Other keys are in nobody's way, nor is what was rolled back, nor a key that one transaction wrote twice.
    a.run("BEGIN; INSERT INTO t VALUES ('p', 1); DELETE FROM t WHERE id = 'p'; INSERT INTO t VALUES ('p', 2)");
    b.run("BEGIN; INSERT INTO t VALUES ('q', 2)");
    a.run("COMMIT");
    b.run("COMMIT");
    a.run("BEGIN; INSERT INTO t VALUES ('z', 1)");
    b.run("BEGIN; INSERT INTO t VALUES ('z', 2)");
    a.run("ROLLBACK");
    b.run("COMMIT");
    assert_eq!(a.value("SELECT string_agg(id || v, ' ' ORDER BY id) FROM t"), "p2 q2 x1 z2");
}

#[test]
fn a_document_with_a_key_that_is_taken_is_a_dead_letter() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int PRIMARY KEY, v int)");
    client.run("INSERT INTO t VALUES (1, 1)");
    let body = b"{\"id\": 1, \"v\": 9}\n{\"id\": 2, \"v\": 2}\n{\"id\": 2, \"v\": 3}\n{\"id\": 3, \"v\": 3}\n";
    let (status, answer) = server.post("/v1/ingest/t", "", body).unwrap();
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("\"dead_letters\":2"), "{answer}");
    assert_eq!(client.value("SELECT string_agg(id || ':' || v, ' ' ORDER BY id) FROM t"), "1:1 2:2 3:3");
    let letters = "SELECT string_agg(sqlstate || reason, ' ' ORDER BY received_at) FROM tidemill.dead_letters";
    assert!(client.value(letters).starts_with("23505duplicate key value"));
}

/// Every acknowledged version or a later one is there, whatever was flushed, merged or in flight.
#[test]
fn the_latest_version_survives_crashes() {
    let mut server = Server::start();
    server.connect().run(
        "CREATE TABLE t (id int PRIMARY KEY, version bigint, v bigint) \
         WITH (tidemill.upsert = 'version', tidemill.flush_interval = '200ms')",
    );
    let mut known: BTreeMap<i32, i64> = BTreeMap::new();
    let mut version = 0;
    for round in 0..4 {
        let mut session = server.connect();
        let mut sent: BTreeMap<i32, i64> = BTreeMap::new();
        for step in 0..60 {
            let rows: Vec<(i32, i64)> = (0..20).map(|n| ((step * 13 + n * 7) % 97, version + i64::from(n))).collect();
            version += 20;
            let values: Vec<String> = rows.iter().map(|(id, v)| format!("({id}, {v}, {v})")).collect();
            session.run(&format!("INSERT INTO t VALUES {}", values.join(", ")));
            known.extend(rows);
            if step % 25 == 24 {
                session.run("CALL tidemill.compact('t')");
            }
            if step % 10 == 0 {
                assert_eq!(session.value("SELECT count(*) || ' ' || sum(v) FROM t"), shown(&known));
            }
        }
        // One more is in flight when the server dies.
        let last: Vec<String> = (0..97).map(|id| format!("({id}, {version}, {version})")).collect();
        sent.extend((0..97).map(|id| (id, version)));
        version += 1;
        session.send(b'Q', format!("INSERT INTO t VALUES {}\0", last.join(", ")).as_bytes()).unwrap();
        server = server.crash_and_restart();
        let found = server.connect().value("SELECT count(*) || ' ' || sum(v) FROM t");
        let with_last = {
            let mut all = known.clone();
            all.extend(sent);
            all
        };
        if found == shown(&with_last) {
            known = with_last;
        }
        assert_eq!(found, shown(&known), "round {round}");
    }
}

fn shown(rows: &BTreeMap<i32, i64>) -> String {
    format!("{} {}", rows.len(), rows.values().sum::<i64>())
}
