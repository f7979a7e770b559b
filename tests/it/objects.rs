//! Sequences and unique constraints with many clients at once, and after kill -9 and a stop in good order.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::client::Error;
use crate::support::server::Server;

#[test]
fn no_number_is_given_twice() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE SEQUENCE s; CREATE TABLE t (id bigserial, n bigint); CREATE SEQUENCE cached CACHE 20");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let server = &server;
            scope.spawn(move || {
                let mut session = server.connect();
                for _ in 0..40 {
                    session.run("INSERT INTO t (n) VALUES (nextval('s'))");
                    session.run("INSERT INTO t (n) SELECT nextval('s') FROM generate_series(1, 17)");
                    session.run("INSERT INTO t (n) VALUES (-nextval('cached'))");
                }
            });
        }
    });
    let all = client
        .value("SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || count(DISTINCT n) || ' ' || max(id) FROM t");
    assert_eq!(all, "4560 4560 4560 4560");
}

/// Of what was answered before the kill, and of what is given after it, no two numbers are the same.
#[test]
fn no_number_is_given_again_after_a_crash() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE SEQUENCE s; CREATE TABLE t (id serial, w int)");
    client.run("BEGIN; CREATE SEQUENCE young; SELECT nextval('young') FROM generate_series(1, 5); COMMIT");
    let (mut server, stop, mut given) = (server, AtomicBool::new(false), vec![]);
    for round in 0..3 {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|w| {
                    let (mut session, stop) = (server.connect(), &stop);
                    scope.spawn(move || {
                        let mut numbers: Vec<i64> = vec![];
                        while !stop.load(Ordering::Relaxed) {
                            let Ok(answers) = session.simple("SELECT nextval('s')") else { break };
                            numbers.extend(answers[0].rows[0][0].as_ref().and_then(|text| text.parse::<i64>().ok()));
                            let many = format!("INSERT INTO t (w) SELECT {w} FROM generate_series(1, 30)");
                            if session.simple(&many).is_err() {
                                break;
                            }
                        }
                        numbers
                    })
                })
                .collect();
            while server.connect().value("SELECT count(*) FROM t").parse::<i64>().unwrap() < 600 * (round + 1) {}
            server.kill();
            stop.store(true, Ordering::Relaxed);
            given.extend(clients.into_iter().flat_map(|client| client.join().unwrap()));
        });
        server = server.crash_and_restart();
        stop.store(false, Ordering::Relaxed);
        let mut client = server.connect();
        given.push(client.value("SELECT nextval('s')").parse().unwrap());
        client.run("INSERT INTO t (w) VALUES (9)");
        assert_eq!(client.value("SELECT count(*) = count(DISTINCT id) FROM t"), "t");
        assert!(client.value("SELECT nextval('young')").parse::<i64>().unwrap() > 5);
    }
    let count = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), count, "numbers were given twice");
}

#[test]
fn a_stop_in_good_order_skips_no_number() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE SEQUENCE s; SELECT nextval('s') FROM generate_series(1, 3)");
    client.run("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY (START 10), a int UNIQUE)");
    client.run("INSERT INTO t (a) VALUES (1), (2)");
    drop(client);
    let server = server.restart();
    let mut client = server.connect();
    assert_eq!(client.value("SELECT nextval('s')"), "4");
    assert_eq!(client.value("INSERT INTO t (a) VALUES (3) RETURNING id"), "12");
    assert_eq!(client.sqlstate("INSERT INTO t (a) VALUES (3)"), "23505");
    // What a checkpoint has is as good as what the log has.
    client.run("CALL tidemill.checkpoint()");
    client.run("SELECT setval('s', 100)");
    let server = server.crash_and_restart();
    let next = server.connect().value("SELECT nextval('s')").parse::<i64>().unwrap();
    assert!((101..=133).contains(&next), "{next}");
}

#[test]
fn of_many_clients_that_insert_a_unique_value_one_has_it() {
    let server = Server::start();
    server.connect().run("CREATE TABLE t (id serial PRIMARY KEY, a int UNIQUE, b text, c int, UNIQUE (b, c))");
    std::thread::scope(|scope| {
        for client in 0..6 {
            let server = &server;
            scope.spawn(move || {
                let mut session = server.connect();
                for n in 0..80 {
                    let (a, c) = ((n * 7 + client) % 100, (n * 3 + client) % 90);
                    let sql = format!("INSERT INTO t (a, b, c) VALUES ({a}, 'x', {c}), (NULL, NULL, 1)");
                    match session.simple(&sql) {
                        Ok(_) => {}
                        Err(Error::Db(error)) => assert!(["23505", "40001"].contains(&error.code()), "{error}"),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let counts = "SELECT count(a) = count(DISTINCT a) AND count(c) FILTER (WHERE b = 'x') = count(DISTINCT c) FILTER (WHERE b = 'x') AND count(*) = 2 * count(a) FROM t";
    assert_eq!(server.connect().value(counts), "t");
}

#[test]
fn of_two_transactions_that_found_a_value_free_the_first_has_it() {
    let server = Server::start();
    let (mut a, mut b) = (server.connect(), server.connect());
    a.run("CREATE TABLE t (id int PRIMARY KEY, a int UNIQUE, b int UNIQUE)");
    a.run("BEGIN; INSERT INTO t VALUES (1, 1, 1)");
    b.run("BEGIN; INSERT INTO t VALUES (2, 1, 2)");
    a.run("COMMIT");
    assert_eq!(b.sqlstate("COMMIT"), "40001");
    // The same value of another constraint is in nobody's way.
    a.run("BEGIN; INSERT INTO t VALUES (3, 3, 4)");
    b.run("BEGIN; INSERT INTO t VALUES (4, 4, 3)");
    a.run("COMMIT");
    b.run("COMMIT");
    // A constraint that is added meanwhile.
    a.run("ALTER TABLE t DROP CONSTRAINT t_b_key");
    b.run("BEGIN; INSERT INTO t VALUES (5, 5, 3)");
    a.run("ALTER TABLE t ADD UNIQUE (b)");
    assert_eq!(b.sqlstate("COMMIT"), "40001");
    assert_eq!(b.sqlstate("INSERT INTO t VALUES (5, 5, 3)"), "23505");
}
