//! LISTEN and NOTIFY between connections: when, in what order, and to whom.

use std::time::Duration;

use crate::support::client::Client;
use crate::support::server::Server;

/// The next notification: who sent it, its channel and payload. Waits for it.
fn next(client: &mut Client) -> (i32, String, String) {
    loop {
        let message = client.receive().expect("a message");
        if message.kind == b'A' {
            return notification(&message.body);
        }
    }
}

fn notification(body: &[u8]) -> (i32, String, String) {
    let pid = i32::from_be_bytes(body[..4].try_into().unwrap());
    let mut texts = body[4..].split(|byte| *byte == 0).map(|text| String::from_utf8(text.to_vec()).unwrap());
    (pid, texts.next().unwrap(), texts.next().unwrap())
}

fn payloads(client: &mut Client, count: usize) -> Vec<String> {
    (0..count).map(|_| next(client).2).collect()
}

/// Runs a statement: the kinds of messages that come before ReadyForQuery.
fn kinds(client: &mut Client, sql: &str) -> String {
    client.send(b'Q', format!("{sql}\0").as_bytes()).expect("sent");
    let mut kinds = String::new();
    loop {
        let message = client.receive().expect("a message");
        if message.kind == b'Z' {
            return kinds;
        }
        kinds.push(message.kind as char);
    }
}

fn is_silent(client: &mut Client) -> bool {
    client.stream().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let silent = client.receive().is_err();
    client.stream().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    silent
}

#[test]
fn notifications_come_while_idle_at_commit_and_in_order() {
    let server = Server::start();
    let (mut listener, mut sender) = (server.connect(), server.connect());
    let pid: i32 = sender.value("SELECT pg_backend_pid()").parse().unwrap();
    listener.run("LISTEN news");
    assert_eq!(listener.value("SELECT pg_listening_channels()"), "news");
    sender.run("NOTIFY news, 'hello'");
    assert_eq!(next(&mut listener), (pid, "news".into(), "hello".into()));
    sender.run("NOTIFY news");
    assert_eq!(next(&mut listener), (pid, "news".into(), String::new()));
    sender.run("NOTIFY other, 'nobody hears it'");
    sender.run("BEGIN");
    sender.run("NOTIFY news, '1'");
    sender.run("SELECT pg_notify('news', '2')");
    sender.run("NOTIFY news, '1'");
    sender.run("SAVEPOINT s");
    sender.run("NOTIFY news, 'lost'");
    sender.run("ROLLBACK TO s");
    sender.run("NOTIFY news, '3'");
    assert!(is_silent(&mut listener), "nothing before the commit");
    sender.run("COMMIT");
    assert_eq!(payloads(&mut listener, 3), ["1", "2", "3"]);
    sender.run("BEGIN; NOTIFY news, 'x'; ROLLBACK");
    sender.run("SELECT pg_notify('news', n::text) FROM generate_series(1, 3) n");
    assert_eq!(payloads(&mut listener, 3), ["1", "2", "3"]);
    assert!(is_silent(&mut listener));
}

#[test]
fn a_listener_in_a_transaction_hears_later() {
    let server = Server::start();
    let (mut listener, mut sender) = (server.connect(), server.connect());
    listener.run("LISTEN news");
    listener.run("BEGIN");
    sender.run("NOTIFY news, 'x'");
    assert!(is_silent(&mut listener));
    assert_eq!(kinds(&mut listener, "SELECT 1"), "TDC", "none between the messages of a statement");
    assert_eq!(kinds(&mut listener, "COMMIT"), "CA", "after the statement, before the next may come");
    // Its own too, in the transaction that begins to listen.
    assert_eq!(kinds(&mut listener, "NOTIFY news"), "CA");
    assert_eq!(kinds(&mut listener, "BEGIN; LISTEN more; NOTIFY more; COMMIT"), "CCCCA");
    assert_eq!(kinds(&mut listener, "BEGIN; LISTEN third; ROLLBACK"), "CCC");
    assert_eq!(kinds(&mut listener, "NOTIFY third"), "C");
    assert_eq!(kinds(&mut listener, "UNLISTEN more"), "C");
    assert_eq!(kinds(&mut listener, "NOTIFY more"), "C");
    assert_eq!(kinds(&mut listener, "DISCARD ALL"), "C");
    assert_eq!(kinds(&mut listener, "NOTIFY news"), "C");
    assert_eq!(listener.sqlstate("SELECT pg_notify('', 'x')"), "22023");
    assert_eq!(listener.sqlstate("SELECT pg_notify(repeat('c', 64), 'x')"), "22023");
    assert_eq!(listener.sqlstate("SELECT pg_notify('c', repeat('x', 8000))"), "22023");
    assert_eq!(listener.value("SELECT pg_notification_queue_usage()"), "0");
}

#[test]
fn databases_are_apart() {
    let server = Server::start();
    let mut admin = server.connect();
    admin.run("CREATE DATABASE other");
    let mut there = Client::connect(server.pg(), "tidemill", "other").unwrap();
    there.run("LISTEN news");
    admin.run("LISTEN news");
    assert_eq!(kinds(&mut admin, "NOTIFY news"), "CA");
    assert!(is_silent(&mut there));
}

#[test]
fn many_senders_are_heard_in_the_order_of_their_commits() {
    let server = Server::start();
    let mut listeners = [server.connect(), server.connect()];
    let mut admin = server.connect();
    admin.run("CREATE TABLE t (sender int, n int)");
    for listener in &mut listeners {
        listener.run("LISTEN news");
    }
    const SENDERS: usize = 4;
    const EACH: usize = 25;
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let mut client = server.connect();
            scope.spawn(move || {
                for n in 0..EACH {
                    client.run(&format!(
                        "BEGIN; INSERT INTO t VALUES ({sender}, {n}); NOTIFY news, '{sender}:{n}'; COMMIT"
                    ));
                }
            });
        }
    });
    let [first, second] = listeners.map(|mut listener| payloads(&mut listener, SENDERS * EACH));
    assert_eq!(first, second, "all hear the same order");
    for sender in 0..SENDERS {
        let own: Vec<_> = first.iter().filter(|payload| payload.starts_with(&format!("{sender}:"))).collect();
        assert!(own.iter().enumerate().all(|(n, payload)| **payload == format!("{sender}:{n}")), "{own:?}");
    }
    // What is told of is there.
    assert_eq!(admin.value("SELECT count(*) FROM t"), (SENDERS * EACH).to_string());
}

#[test]
fn a_listener_that_does_not_listen_is_let_go() {
    let server = Server::start();
    let (mut listener, mut sender) = (server.connect(), server.connect());
    listener.run("LISTEN news");
    listener.run("BEGIN");
    // 40 MB, none of which is a repetition.
    for round in 0..10 {
        sender.run(&format!(
            "SELECT count(pg_notify('news', repeat('x', 7900) || n || '-{round}')) FROM generate_series(1, 512) n"
        ));
    }
    assert_eq!(sender.value("SELECT 1"), "1", "who sends does not wait");
    let answer = listener.simple("COMMIT");
    let lost = answer.is_err() || listener.simple("SELECT 1").is_err();
    assert!(lost, "it must know that it missed some");
    let mut again = server.connect();
    again.run("LISTEN news");
    sender.run("NOTIFY news, 'x'");
    assert_eq!(next(&mut again).2, "x");
}
