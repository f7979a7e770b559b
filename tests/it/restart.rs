//! Stop, start, second server on the same directory, bad directories, damaged logs: what survives, and what is said.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::server::Server;

#[test]
fn everything_survives_a_restart() {
    check_survival(Server::restart);
}

#[test]
fn everything_survives_a_crash() {
    check_survival(Server::crash_and_restart);
}

fn check_survival(again: fn(Server) -> Server) {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE DATABASE sales");
    client.run("CREATE SCHEMA app");
    client.run("CREATE TABLE app.t (id int NOT NULL, name varchar(10) DEFAULT 'x', at timestamptz, CHECK (id > 0))");
    client.run("COMMENT ON TABLE app.t IS 'a table'");
    client.run("CREATE VIEW app.v AS SELECT id FROM app.t WHERE id > 1");
    client.run("INSERT INTO app.t VALUES (1, 'one', '2024-01-01 00:00:00+00'), (2, DEFAULT, NULL)");
    client.run("CREATE ROLE reader LOGIN");
    client.run("ALTER TABLE app.t ADD COLUMN extra text");
    let oid = client.value("SELECT 'app.t'::regclass::oid");
    drop(client);

    let server = again(server);
    let mut client = server.connect();
    assert_eq!(client.value("SELECT string_agg(id || ':' || name, ',' ORDER BY id) FROM app.t"), "1:one,2:x");
    assert_eq!(client.value("SELECT count(*) FROM app.v"), "1");
    assert_eq!(client.value("SELECT obj_description('app.t'::regclass)"), "a table");
    assert_eq!(client.value("SELECT 'app.t'::regclass::oid"), oid, "oids are stable");
    assert_eq!(client.value("SELECT count(*) FROM pg_database WHERE datname = 'sales'"), "1");
    assert_eq!(client.value("SELECT count(*) FROM pg_roles WHERE rolname = 'reader'"), "1");
    assert_eq!(client.sqlstate("INSERT INTO app.t (id) VALUES (-1)"), "23514", "the check is still there");
    client.run("INSERT INTO app.t (id, extra) VALUES (3, 'new')");
    assert_eq!(client.value("SELECT count(*) FROM app.t"), "3");
}

#[test]
fn a_fresh_directory_is_ready_soon() {
    let began = Instant::now();
    let server = Server::start();
    let mut client = server.connect();
    assert_eq!(client.value("SELECT current_user || ' ' || current_database()"), "tidemill tidemill");
    // The promise is a second; a debug build on a busy machine gets more.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_second_server_on_the_directory_is_refused() {
    let server = Server::start();
    let failure = Server::try_start(server.dir(), &[]).err().expect("refused");
    assert_eq!(failure.status.code(), Some(1));
    assert!(failure.text.contains("is in use by another server"), "{failure}");
    assert!(failure.text.contains("--data-dir"), "a hint: {failure}");
    assert_eq!(server.connect().value("SELECT 1"), "1", "the first one goes on");
}

#[test]
fn a_taken_port_is_named() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let taken = server.pg().to_string();
    let failure = Server::try_start(&dir.path().join("data"), &["--pg-listen", &taken]).err().expect("refused");
    assert_eq!(failure.status.code(), Some(1));
    assert!(failure.text.contains(&taken), "{failure}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    // A file in the way: also refused to root, who may write anywhere.
    let blocked = dir.path().join("file");
    fs::write(&blocked, "in the way").unwrap();
    for path in [blocked.clone(), blocked.join("data")] {
        let failure = Server::try_start(&path, &[]).err().expect("refused");
        assert_eq!(failure.status.code(), Some(1));
        assert!(failure.text.contains(&blocked.display().to_string()), "{failure}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    for (options, expected) in [
        (&["--memory", "1MB"][..], "--memory 1MB is too small"),
        (&["--memory", "lots"], "lots"),
        (&["--tls-key", "key.pem"], "--tls-certificate and --tls-key"),
        (&["--nonsense"], "--nonsense"),
        (&["--config", "/nonexistent.toml"], "/nonexistent.toml"),
    ] {
        let failure = Server::try_start(dir.path(), options).err().expect("refused");
        assert_eq!(failure.status.code(), Some(2), "{failure}");
        assert!(failure.text.contains(expected), "{failure}");
    }
}

#[test]
fn tls_fails_closed() {
    let dir = tempfile::tempdir().unwrap();
    let options = ["--tls-certificate", "/nonexistent.crt", "--tls-key", "/nonexistent.key"];
    let failure = Server::try_start(&dir.path().join("data"), &options).err().expect("refused");
    assert_eq!(failure.status.code(), Some(1));
    assert!(failure.text.contains("/nonexistent.crt"), "{failure}");
}

#[test]
fn a_torn_log_tail_was_never_acknowledged() {
    let mut server = Server::start();
    fill(&server);
    server.kill();
    let segment = last_segment(server.dir());
    let mut bytes = fs::read(&segment).unwrap();
    // Half a record: what a crash in the middle of a write leaves.
    bytes.extend([0x55; 13]);
    fs::write(&segment, bytes).unwrap();
    let server = Server::start_in(server.dir(), &[]);
    assert_eq!(server.connect().value("SELECT count(*) FROM t"), "20");
}

#[test]
fn a_flipped_bit_in_the_log_needs_the_repair_flag() {
    let mut server = Server::start();
    fill(&server);
    server.kill();
    let segment = last_segment(server.dir());
    let mut bytes = fs::read(&segment).unwrap();
    let middle = used(&bytes) / 2;
    bytes[middle] ^= 0x10;
    fs::write(&segment, bytes).unwrap();

    let failure =
        Server::try_start(server.dir(), &[]).err().expect("refused: acknowledged rows would be lost silently");
    assert_eq!(failure.status.code(), Some(1));
    assert!(failure.text.contains("--repair-wal"), "{failure}");
    let repaired = Server::start_in(server.dir(), &["--repair-wal"]);
    let mut client = repaired.connect();
    // Which statement the bit was in depends on the format; the server runs, and has a beginning of what was written.
    if client.value("SELECT count(*) FROM pg_tables WHERE tablename = 't'") == "1" {
        let rows: u32 = client.value("SELECT count(*) FROM t").parse().unwrap();
        assert!(rows < 20, "{rows}");
    }
    client.run("CREATE TABLE after_repair (x int)");
}

/// Twenty acknowledged rows in twenty transactions.
fn fill(server: &Server) {
    let mut client = server.connect();
    client.run("CREATE TABLE t (x int)");
    for x in 0..20 {
        client.run(&format!("INSERT INTO t VALUES ({x})"));
    }
}

fn last_segment(dir: &Path) -> PathBuf {
    let mut segments: Vec<_> = fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    segments.pop().expect("a log segment")
}

/// Bytes before the zeros that a preallocated segment ends with.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn sigterm_ends_in_good_order() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t AS SELECT * FROM generate_series(1, 1000) AS g(x)");
    assert!(server.stop().success());
    // An idle client is told why: 57P01, then the connection ends.
    let message = client.receive().expect("a last message");
    assert_eq!(message.kind, b'E');
    assert!(String::from_utf8_lossy(&message.body).contains("57P01"));
    // Drained: the rows are in files, and the log has nothing to replay but what says so.
    let tables = server.dir().join("tables");
    let parquet =
        walk(&tables).into_iter().any(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    assert!(parquet, "no file in {}", tables.display());
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn health_and_metrics_answer() {
    let server = Server::start();
    server.connect().run("SELECT 1");
    assert!(server.get("/health").starts_with("HTTP/1.1 200"), "{}", server.get("/health"));
    let metrics = server.get("/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("# TYPE tidemill_"), "{metrics}");
    assert!(server.get("/nothing").starts_with("HTTP/1.1 404"));
}
