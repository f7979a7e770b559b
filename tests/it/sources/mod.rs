//! Sources of files and of Kafka messages: each thing is taken in once, whatever happens to the server and the broker.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::client::Client;
use crate::support::server::Server;

/// Messages in Avro.
mod avro;
/// Kafka.
mod kafka;
/// A log with transactions.
mod log;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is the expected one.
fn wait_for(client: &mut Client, sql: &str, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Tables and columns may be yet to come.
        let found = match client.simple(sql) {
            Ok(answers) => answers.last().and_then(|answer| answer.rows.first()?.first()?.clone()).unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        if found == expected {
            return;
        }
        let state = "SELECT string_agg(name || ' ' || state || ' ' || rows || ' ' || coalesce(last_error, ''), ', ') FROM tidemill.sources";
        assert!(Instant::now() < deadline, "{sql} is {found}, not {expected}; sources: {}", client.value(state));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(text).expect("written");
    encoder.finish().expect("packed")
}

const QUICK: &str = "(every '50ms', settle '100ms')";

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(dir.join(name), bytes).expect("a file");
}

#[test]
fn files_are_taken_in_once() {
    let inbox = tempfile::tempdir().expect("a directory");
    let dir = inbox.path();
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id text, n int) WITH (tidemill.evolve = 'add_columns')");
    write(dir, "a.ndjson", b"{\"id\":\"a\",\"n\":1}\n{\"id\":\"a2\",\"n\":\"many\"}\n");
    write(dir, "b.json", b"[{\"id\":\"b\",\"color\":\"red\"}]");
    write(dir, "c.csv", b"id,n\nc,3\n");
    write(dir, "d.ndjson.gz", &gzip(b"{\"id\":\"d\"}\n"));
    write(dir, "e.ndjson.zst", &zstd::encode_all(&b"{\"id\":\"e\"}\n"[..], 3).expect("packed"));
    std::fs::create_dir(dir.join("deeper")).expect("a directory");
    write(dir, "deeper/f.json", b"{\"id\":\"f\"}");
    write(dir, "unfinished.json.tmp", b"{\"id\":\"tmp\"}");
    write(dir, ".hidden.json", b"{\"id\":\"hidden\"}");
    write(dir, "README.txt", b"nothing to load");
    write(dir, "broken.ndjson.gz", b"not gzip at all");
    client.run(&format!("CREATE SOURCE inbox FROM FILES ('{}/') {QUICK} INTO t", dir.display()));
    let ids = "SELECT string_agg(id || coalesce(n, 0) || coalesce(color, ''), ' ' ORDER BY id) FROM t";
    wait_for(&mut client, "SELECT files FROM tidemill.sources", "6");
    assert_eq!(client.value(ids), "a1 b0red c3 d0 e0 f0");
    assert_eq!(
        client.value("SELECT state || rows || dead_letters || failed_files FROM tidemill.sources"),
        "running611",
        "one broken file does not keep the others"
    );
    assert!(client.value("SELECT last_error FROM tidemill.sources").contains("broken.ndjson.gz"));
    let letter = "SELECT source || ' ' || line FROM tidemill.dead_letters";
    assert_eq!(client.value(letter), format!("inbox {}/a.ndjson 2", dir.display()));

    // Behind a restart nothing comes again, what is new does, and a mended file too.
    let server = server.crash_and_restart();
    let mut client = server.connect();
    write(dir, "broken.ndjson.gz", &gzip(b"{\"id\":\"mended\"}\n"));
    std::fs::rename(dir.join("unfinished.json.tmp"), dir.join("finished.json")).expect("renamed");
    wait_for(&mut client, "SELECT files FROM tidemill.sources", "8");
    assert_eq!(client.value(ids), "a1 b0red c3 d0 e0 f0 mended0 tmp0");
    assert_eq!(
        client.value("SELECT rows || ' ' || dead_letters || ' ' || failed_files FROM tidemill.sources"),
        "8 1 0"
    );
    // A file is known by its path.
    write(dir, "a.ndjson", b"{\"id\":\"again\"}\n");
    wait_for(&mut client, "SELECT count(*) FROM tidemill.sources WHERE last_error LIKE '%was changed after%'", "1");
    assert_eq!(client.value("SELECT count(*) FROM t"), "8");

    client.run("ALTER SOURCE inbox PAUSE");
    wait_for(&mut client, "SELECT state FROM tidemill.sources", "paused");
    client.run("DROP SOURCE inbox");
    assert_eq!(client.value("SELECT count(*) FROM tidemill.sources"), "0");
}

#[test]
fn a_growing_file_is_left_alone() {
    let inbox = tempfile::tempdir().expect("a directory");
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int)");
    let pattern = format!("{}/part-*.ndjson", inbox.path().display());
    client.run(&format!("CREATE SOURCE inbox FROM FILES ('{pattern}') (every '20ms', settle '1h') INTO t"));
    let mut file = std::fs::File::create(inbox.path().join("part-1.ndjson")).expect("a file");
    write(inbox.path(), "other.ndjson", b"{\"id\":1000}");
    let old = std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    write(inbox.path(), "part-0.ndjson", b"{\"id\":1}");
    let complete = std::fs::File::options().write(true).open(inbox.path().join("part-0.ndjson")).expect("a file");
    complete.set_modified(old).expect("a time");
    for id in 10..20 {
        writeln!(file, "{{\"id\":{id}}}").expect("written");
        wait_for(&mut client, "SELECT count(*) FROM t", "1");
        assert_eq!(client.value("SELECT files FROM tidemill.sources"), "1", "the other one grew within the hour");
    }
    file.set_modified(old).expect("a time");
    wait_for(&mut client, "SELECT count(*) FROM t", "11");
    assert_eq!(client.value("SELECT rows || ' ' || dead_letters FROM tidemill.sources"), "11 0");
}

/// Files come while the server is killed: each row is there once in the end.
#[test]
fn files_survive_kills() {
    let seed = std::env::var("TIDEMILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("TIDEMILL_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let inbox = tempfile::tempdir().expect("a directory");
    let mut server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int, file int) WITH (tidemill.flush_interval = '200ms')");
    client.run(&format!("CREATE SOURCE inbox FROM FILES ('{}') {QUICK} INTO t", inbox.path().display()));
    let (mut files, mut rows) = (0, 0_u64);
    for _ in 0..5 {
        for _ in 0..10 {
            let count = random.random_range(1..400);
            let lines: String = (0..count).map(|id| format!("{{\"id\":{id},\"file\":{files}}}\n")).collect();
            write(inbox.path(), &format!("{files}.ndjson"), lines.as_bytes());
            files += 1;
            rows += count;
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..600)));
        server = server.crash_and_restart();
    }
    let mut client = server.connect();
    wait_for(&mut client, "SELECT files FROM tidemill.sources", &files.to_string());
    assert_eq!(client.value("SELECT count(*) FROM t"), rows.to_string());
    assert_eq!(client.value("SELECT count(*) FROM (SELECT DISTINCT id, file FROM t) AS d"), rows.to_string());
    assert_eq!(client.value("SELECT rows FROM tidemill.sources"), rows.to_string());
}
