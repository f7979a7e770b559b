//! Documents over HTTP and COPY: every document is a row or a dead letter, once, whatever happens.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::support::client::Client;
use crate::support::server::Server;

const EVENTS: &str = "CREATE TABLE events (id text PRIMARY KEY, ts timestamptz) WITH (tidemill.evolve = 'add_columns')";

fn post(server: &Server, table: &str, body: &[u8]) -> Value {
    let (status, answer) = server.post(&format!("/v1/ingest/{table}"), "", body).expect("an answer");
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).expect("JSON")
}

fn counts(answer: &Value) -> (u64, u64, u64) {
    let count = |name: &str| answer[name].as_u64().expect(name);
    (count("documents"), count("rows"), count("dead_letters"))
}

#[test]
fn new_fields_become_columns_and_what_does_not_fit_a_dead_letter() {
    let server = Server::start();
    let mut client = server.connect();
    client.run(EVENTS);
    let answer = post(
        &server,
        "events",
        br#"{"id":"a","ts":"2026-01-01T00:00:00Z","amount":12}
{"id":"b","ts":"yesterday's","amount":13}
{"id":"c","amount":"many","who":{"name":"x"}}
{"id":"d","who":{"name":"y"}}
{broken
"#,
    );
    assert_eq!(counts(&answer), (5, 2, 3));
    let columns = r#"[{"name":"amount","type":"bigint"},{"name":"who","type":"jsonb"}]"#;
    assert_eq!(answer["new_columns"].to_string(), columns);
    assert_eq!(
        client.value(
            "SELECT string_agg(id || coalesce(amount, 0) || coalesce(who ->> 'name', '-'), ' ' ORDER BY id) FROM events"
        ),
        "a12- d0y"
    );
    let letters = "SELECT string_agg(sqlstate || ' ' || coalesce(column_name, '?') || ' ' || line, ', ' ORDER BY line) FROM tidemill.dead_letters";
    assert_eq!(client.value(letters), "22007 ts 2, 22P02 amount 3, 22P02 ? 5");
    let raw = "SELECT convert_from(raw, 'UTF8') FROM tidemill.dead_letters WHERE line = 2";
    assert_eq!(client.value(raw), r#"{"id":"b","ts":"yesterday's","amount":13}"#);
    let changes = "SELECT string_agg(column_name || ' ' || data_type || ' ' || sample, ', ' ORDER BY column_name) FROM tidemill.schema_changes";
    assert_eq!(client.value(changes), r#"amount bigint 12, who jsonb {"name":"y"}"#);

    let server = server.crash_and_restart();
    let mut client = server.connect();
    assert_eq!(client.value("SELECT count(*) FROM events"), "2");
    assert_eq!(client.value("SELECT count(*) FROM tidemill.dead_letters"), "3");
    assert_eq!(counts(&post(&server, "events", br#"[{"id":"e","amount":1},{"id":"f","amount":{}}]"#)), (2, 1, 1));
}

#[test]
fn dead_letters_become_rows_once_the_table_takes_them() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int NOT NULL CHECK (id < 100), name text DEFAULT 'none')");
    let answer =
        post(&server, "t", b"{\"id\":1}\n{\"id\":2,\"color\":\"red\"}\n{\"id\":null}\n{\"id\":500}\n{\"id\":\"x\"}");
    assert_eq!(counts(&answer), (5, 1, 4));
    assert_eq!(client.value("SELECT name FROM t"), "none");
    let states = "SELECT string_agg(sqlstate || ' ' || attempts, ', ' ORDER BY sqlstate) FROM tidemill.dead_letters";
    assert_eq!(client.value(states), "22P02 0, 23502 0, 23514 0, 42703 0");
    client.run("ALTER TABLE t SET (tidemill.evolve = 'add_columns')");
    client.run("ALTER TABLE t ALTER COLUMN id DROP NOT NULL");
    client.run("CALL tidemill.replay_dead_letters('t')");
    assert_eq!(
        client.value("SELECT string_agg(coalesce(id::text, '-') || coalesce(color, ''), ' ' ORDER BY id) FROM t"),
        "1 2red -"
    );
    let failed = "SELECT count(*) FROM tidemill.dead_letters";
    assert_eq!(client.value(failed), "2");
    client.run("BEGIN");
    client.run("CALL tidemill.replay_dead_letters('t')");
    client.run("ROLLBACK");
    client.run("CALL tidemill.replay_dead_letters('t')");
    assert_eq!(client.value("SELECT count(*) FROM t"), "3", "each once");
    assert_eq!(client.value("SELECT max(attempts) FROM tidemill.dead_letters"), "2");
    // What is malformed in one letter does not reach the next, and letters stay as they came.
    assert_eq!(counts(&post(&server, "t", b"[{\"id\":7,\n\"nose\":{\"x\" 1}},\n{\"id\":800}]")), (2, 0, 2));
    let raws = "SELECT string_agg(encode(raw, 'hex'), ' ' ORDER BY id) FROM tidemill.dead_letters";
    let before = client.value(raws);
    client.run("ALTER TABLE t DROP CONSTRAINT t_id_check");
    client.run("CALL tidemill.replay_dead_letters('t')");
    assert_eq!(client.value("SELECT count(*) FROM t WHERE id IN (500, 800)"), "2");
    let after = client.value(raws);
    assert!(before.contains("0a") && after.split(' ').all(|raw| before.contains(raw)), "{before} {after}");
    client.run("CALL tidemill.discard_dead_letters('t')");
    assert_eq!(client.value(failed), "0");
    assert_eq!(client.sqlstate("CALL tidemill.replay_dead_letters('nosuch')"), "42P01");
}

#[test]
fn line_protocol_makes_its_tables() {
    let server = Server::start();
    let mut client = server.connect();
    let lines = b"cpu,host=a,region=eu usage=12.5,cores=4i,up=t 1767225600000000000\ncpu,host=b usage=1 1767225601000000000\nmem,host=a free=1u,note=\"a \\\"b\\\"\" 1767225600000000000\n";
    let write = |path: &str, headers: &str, body: &[u8]| server.post(path, headers, body).expect("an answer");
    assert_eq!(write("/api/v2/write?org=o&bucket=tidemill", "", lines), (204, String::new()));
    assert_eq!(
        client.value("SELECT string_agg(host || usage || coalesce(cores, 0), ' ' ORDER BY time) FROM cpu"),
        "a12.54 b10"
    );
    assert_eq!(client.value("SELECT note || ' ' || time FROM mem"), "a \"b\" 2026-01-01 00:00:00+00");
    assert_eq!(write("/write?db=tidemill&precision=s", "", b"cpu,host=c usage=2,extra=1i 1767225700\n").0, 204);
    assert_eq!(client.value("SELECT extra || ' ' || time FROM cpu WHERE host = 'c'"), "1 2026-01-01 00:01:40+00");
    // A value of another type than its column's is dropped, the rest is written.
    let (status, answer) = write("/write?db=tidemill", "", b"cpu,host=d usage=\"x\"\ncpu,host=e usage=3\nnonsense\n");
    assert_eq!(status, 400);
    assert!(answer.contains("partial write") && answer.contains("dropped=2"), "{answer}");
    let (status, answer) = write("/api/v2/write?bucket=tidemill", "", b"nonsense\n");
    assert_eq!(status, 422);
    assert!(answer.contains("unprocessable entity") && answer.contains("dropped=1"), "{answer}");
    assert_eq!(client.value("SELECT count(*) FROM cpu"), "4");
    assert_eq!(client.value("SELECT count(*) FROM tidemill.dead_letters WHERE format = 'line'"), "3");
    assert_eq!(write("/api/v2/write?bucket=nosuch", "", lines).0, 404);
    assert_eq!(write("/write?db=tidemill&precision=x", "", lines).0, 400);
    client.run("ALTER ROLE tidemill PASSWORD 'secret'");
    assert_eq!(write("/api/v2/write?bucket=tidemill", "", lines).0, 401);
    assert_eq!(write("/api/v2/write?bucket=tidemill", "Authorization: Token tidemill:secret\r\n", lines).0, 204);
    assert_eq!(write("/write?db=tidemill&u=tidemill&p=secret", "", lines).0, 204);
    client.run("CREATE ROLE guest LOGIN PASSWORD 'guest'");
    let fresh = "/write?db=tidemill&u=guest&p=guest";
    assert_eq!(write(fresh, "", b"fresh a=1\n").0, 403, "who may not make tables makes none");
    assert_eq!(client.sqlstate("SELECT * FROM fresh"), "42P01");
    assert!(server.get("/ping").starts_with("HTTP/1.1 204"));
}

#[test]
fn packed_bodies_are_unpacked() {
    let server = Server::start();
    let mut client = server.connect();
    client.run(EVENTS);
    let post = |encoding: &str, body: &[u8]| {
        server.post("/v1/ingest/events", &format!("Content-Encoding: {encoding}\r\n"), body).expect("an answer").0
    };
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
        encoder.write_all(text).expect("written");
        encoder.finish().expect("packed")
    };
    let one = gzip(b"{\"id\":\"gzip\"}\n");
    let two = gzip(b"{\"id\":\"more\"}\n");
    assert_eq!(post("gzip", &[one.clone(), two].concat()), 200, "members follow each other");
    assert_eq!(post("zstd", &zstd::encode_all(&b"{\"id\":\"zstd\"}"[..], 3).expect("packed")), 200);
    assert_eq!(client.value("SELECT string_agg(id, ' ' ORDER BY id) FROM events"), "gzip more zstd");
    assert_eq!(post("gzip", &one[..one.len() - 5]), 422, "cut off");
    assert_eq!(post("gzip", b"{\"id\":\"plain\"}"), 422);
    // 70 MB of nothing: unpacked in pieces, one dead letter.
    let bomb = gzip(&[b"{\"id\":\"bomb\",\"x\":\"".as_slice(), &vec![b' '; 70 << 20], b"\"}\n"].concat());
    assert!(bomb.len() < 1 << 20);
    assert_eq!(post("gzip", &bomb), 200);
    assert_eq!(client.value("SELECT sqlstate FROM tidemill.dead_letters"), "54000");
    assert_eq!(client.value("SELECT count(*) FROM events"), "3");
}

#[test]
fn copy_takes_documents_too() {
    let server = Server::start();
    let mut client = server.connect();
    client.run(EVENTS);
    let answers = client
        .simple_with_data("COPY events FROM STDIN (FORMAT ndjson)", b"{\"id\":\"a\",\"n\":1}\n[]\n{\"id\":\"b\"}\n");
    answers.expect("a COPY");
    assert_eq!(client.value("SELECT string_agg(id || coalesce(n, 0), ' ' ORDER BY id) FROM events"), "a1 b0");
    assert_eq!(client.value("SELECT count(*) FROM tidemill.dead_letters WHERE source = 'copy'"), "1");
    client.run("BEGIN");
    client
        .simple_with_data("COPY events FROM STDIN (FORMAT json)", b"[{\"id\":\"c\",\"fresh\":true}]")
        .expect("a COPY");
    client.run("ROLLBACK");
    assert_eq!(client.sqlstate("SELECT fresh FROM events"), "42703", "columns come and go with their rows");
    assert_eq!(client.sqlstate("COPY events (id) FROM STDIN (FORMAT json)"), "0A000");
}

#[test]
fn writers_add_columns_at_the_same_time() {
    let server = Server::start();
    server.connect().run(EVENTS);
    std::thread::scope(|threads| {
        for writer in 0..4 {
            let server = &server;
            threads.spawn(move || {
                for round in 0..5 {
                    let body = format!(
                        "{{\"id\":\"{writer}-{round}\",\"both\":{round},\"w{writer}_{round}\":true}}\n{{\"id\":\"{writer}-{round}b\"}}"
                    );
                    assert_eq!(counts(&post(server, "events", body.as_bytes())), (2, 2, 0));
                }
            });
        }
    });
    let mut client = server.connect();
    assert_eq!(client.value("SELECT count(*) FROM events"), "40");
    assert_eq!(client.value("SELECT count(both) FROM events"), "20");
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'events'";
    assert_eq!(client.value(columns), "23");
    assert_eq!(client.value("SELECT count(*) FROM tidemill.schema_changes"), "21");
}

#[test]
fn a_request_that_cannot_be_served_says_why() {
    let server = Server::start();
    let mut client = server.connect();
    client.run(EVENTS);
    let status = |path: &str, headers: &str| server.post(path, headers, b"{\"id\":\"a\"}").expect("an answer").0;
    assert_eq!(status("/v1/ingest/nosuch", ""), 404);
    assert_eq!(status("/v1/ingest/events?database=nosuch", ""), 404);
    assert_eq!(status("/v1/ingest/events", "Content-Type: text/html\r\n"), 415);
    assert_eq!(status("/v1/ingest/events", "Content-Encoding: br\r\n"), 415);
    assert_eq!(status("/v1/ingest/pg_catalog.pg_class", ""), 403);
    // A body that is cut off leaves nothing.
    let mut stream = TcpStream::connect(server.http()).expect("a connection");
    let head = "POST /v1/ingest/events HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n{\"id\":\"cut\",\"x\":1}\n";
    stream.write_all(head.as_bytes()).expect("written");
    drop(stream);
    assert_eq!(client.value("SELECT count(*) FROM events"), "0");
    client.run("ALTER ROLE tidemill PASSWORD 'secret'");
    assert_eq!(status("/v1/ingest/events", ""), 401);
    // tidemill:secret, tidemill:guess
    assert_eq!(status("/v1/ingest/events", "Authorization: Basic dGlkZW1pbGw6c2VjcmV0\r\n"), 200);
    assert_eq!(status("/v1/ingest/events", "Authorization: Basic dGlkZW1pbGw6Z3Vlc3M=\r\n"), 401);
}

const KEY: &str = "Idempotency-Key: 8e03978e-40d5-43dd-bc93-6894a57f9324\r\n";

/// A retry after a lost answer adds nothing and gets the first answer, also behind a crash.
#[test]
fn a_key_is_taken_in_once() {
    let server = Server::start();
    let mut client = server.connect();
    client.run(EVENTS);
    client.run("CREATE TABLE other (id text)");
    let body = b"{\"id\":\"a\",\"amount\":1}\n{\"id\":\"b\",\"amount\":\"x\"}\n";
    let send = |server: &Server, path: &str, headers: &str, body: &[u8]| {
        let (status, answer) = server.post(path, headers, body).expect("an answer");
        (status, serde_json::from_str::<Value>(&answer).expect("JSON"))
    };
    let (status, first) = send(&server, "/v1/ingest/events", KEY, body);
    assert_eq!((status, counts(&first)), (200, (2, 1, 1)));
    assert!(first.get("replayed").is_none());
    let check = |server: &Server| {
        let (status, again) = send(server, "/v1/ingest/events", KEY, body);
        assert_eq!((status, counts(&again), &again["replayed"]), (200, (2, 1, 1), &Value::Bool(true)));
        assert_eq!(again["new_columns"], first["new_columns"]);
        let mut client = server.connect();
        assert_eq!(client.value("SELECT count(*) FROM events"), "1");
        assert_eq!(client.value("SELECT count(*) FROM tidemill.dead_letters"), "1");
    };
    check(&server);
    // Packed otherwise it is the same body.
    let packed = zstd::encode_all(&body[..], 3).expect("packed");
    let (status, again) = send(&server, "/v1/ingest/events", &format!("{KEY}Content-Encoding: zstd\r\n"), &packed);
    assert_eq!((status, &again["replayed"]), (200, &Value::Bool(true)));
    let (status, other) = send(&server, "/v1/ingest/events", KEY, b"{\"id\":\"c\"}");
    assert_eq!(status, 422, "{other}");
    assert!(other["error"]["message"].as_str().is_some_and(|text| text.contains("another body")), "{other}");
    // A key is about one table.
    let (status, answer) = send(&server, "/v1/ingest/other", KEY, b"{\"id\":\"c\"}");
    assert_eq!((status, counts(&answer)), (200, (1, 1, 0)));
    // What failed is not taken in: the key is free.
    let fresh = "Idempotency-Key: fresh\r\n";
    assert_eq!(send(&server, "/v1/ingest/events", &format!("{fresh}Content-Encoding: gzip\r\n"), body).0, 422);
    let (status, answer) = send(&server, "/v1/ingest/other", fresh, b"{\"id\":\"d\"}");
    assert_eq!((status, answer.get("replayed")), (200, None));
    assert_eq!(send(&server, "/v1/ingest/events", "Idempotency-Key: \r\n", body).0, 422);
    assert_eq!(send(&server, "/v1/ingest/events", &format!("Idempotency-Key: {}\r\n", "x".repeat(256)), body).0, 422);
    let server = server.crash_and_restart();
    check(&server);
    let server = server.restart();
    check(&server);
    let mut client = server.connect();
    let receipts = "SELECT string_agg(source || ' ' || table_name || ' ' || (report ->> 'rows'), ', ' ORDER BY table_name, key) FROM tidemill.receipts";
    assert_eq!(client.value(receipts), "http events 1, http other 1, http other 1");
    // Line protocol too.
    for _ in 0..2 {
        let write = "/api/v2/write?bucket=tidemill";
        assert_eq!(server.post(write, KEY, b"cpu,host=a usage=1 1\n").expect("an answer").0, 204);
    }
    assert_eq!(client.value("SELECT count(*) FROM cpu"), "1");
}

#[test]
fn of_requests_with_one_key_at_once_one_wins() {
    let server = Server::start();
    server.connect().run(EVENTS);
    for round in 0..5 {
        let headers = format!("Idempotency-Key: round {round}\r\n");
        let answers: Vec<Value> = std::thread::scope(|threads| {
            let one = || {
                let body = format!("{{\"id\":\"{round}\",\"c{round}\":1}}\n");
                let (status, answer) = server.post("/v1/ingest/events", &headers, body.as_bytes()).expect("an answer");
                assert_eq!(status, 200, "{answer}");
                serde_json::from_str(&answer).expect("JSON")
            };
            let all: Vec<_> = (0..6).map(|_| threads.spawn(one)).collect();
            all.into_iter().map(|thread| thread.join().expect("an answer")).collect()
        });
        assert_eq!(answers.iter().filter(|answer| answer.get("replayed").is_none()).count(), 1);
        assert!(answers.iter().all(|answer| counts(answer) == (1, 1, 0)));
    }
    let mut client = server.connect();
    assert_eq!(client.value("SELECT count(*) FROM events"), "5");
    assert_eq!(client.value("SELECT count(*) FROM tidemill.receipts"), "5");
}

#[test]
fn keys_end_with_their_time() {
    let server = Server::start_with(&["--idempotency-retention", "5s"]);
    let mut client = server.connect();
    client.run("CREATE TABLE t (id text)");
    let send = || server.post("/v1/ingest/t", KEY, b"{\"id\":\"a\"}").expect("an answer");
    assert!(!send().1.contains("replayed"));
    assert!(send().1.contains("replayed"));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while client.value("SELECT count(*) FROM tidemill.receipts") != "0" {
        assert!(std::time::Instant::now() < deadline, "the receipt is still there");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(!send().1.contains("replayed"));
    assert_eq!(client.value("SELECT count(*) FROM t"), "2");
}

/// Clients that send each batch until it is answered, while the server is killed: each batch is there once.
#[test]
fn keys_survive_kills() {
    let seed: u64 =
        std::env::var("TIDEMILL_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("TIDEMILL_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = Server::start();
    server.connect().run(EVENTS);
    // Of each client: the batch that has no answer yet.
    let mut pending = [0_u64; 3];
    for _ in 0..4 {
        std::thread::scope(|threads| {
            for (client, batch) in pending.iter_mut().enumerate() {
                let server = &server;
                threads.spawn(move || {
                    loop {
                        let headers = format!("Idempotency-Key: {client}-{batch}\r\n");
                        let lines: String = (0..3).map(|n| format!("{{\"id\":\"{client}-{batch}-{n}\"}}\n")).collect();
                        match server.post("/v1/ingest/events", &headers, lines.as_bytes()) {
                            Ok((200, _)) => *batch += 1,
                            Ok((status, answer)) => panic!("{status} {answer}"),
                            Err(_) => return,
                        }
                    }
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(random.random_range(200..800)));
            server.signal("KILL");
        });
        server = server.crash_and_restart();
    }
    for (client, batch) in pending.iter().enumerate() {
        let headers = format!("Idempotency-Key: {client}-{batch}\r\n");
        let lines: String = (0..3).map(|n| format!("{{\"id\":\"{client}-{batch}-{n}\"}}\n")).collect();
        assert_eq!(server.post("/v1/ingest/events", &headers, lines.as_bytes()).expect("an answer").0, 200);
    }
    let expected = pending.iter().map(|batch| 3 * (batch + 1)).sum::<u64>();
    let mut client = server.connect();
    assert_eq!(
        client.value("SELECT count(*) || ' ' || count(DISTINCT id) FROM events"),
        format!("{expected} {expected}")
    );
}

#[test]
fn hostile_documents_are_rows_or_dead_letters() {
    let server = Server::start();
    let mut client = server.connect();
    client.run(EVENTS);
    let long = format!("{{\"id\":\"long\",\"text\":\"{}\"}}", "x".repeat(10 << 20));
    let deep = format!("{{\"id\":\"deep\",\"d\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let many: String = (0..3000).map(|n| format!(",\"c{n}\":{n}")).collect();
    let wide = format!("{{\"id\":\"wide\"{many}}}");
    let documents: Vec<&[u8]> = vec![
        br#"{"id":"empty name","":1}"#,
        br#"{"id":"proto","__proto__":{"a":1},"constructor":2}"#,
        "{\"id\":\"emoji\",\"😀\":\"😀\"}".as_bytes(),
        br#"{"id":"nan","n":NaN}"#,
        br#"{"id":"twice","k":1,"k":2}"#,
        br#"{"id":"large","e":1e400,"i":123456789012345678901234567890}"#,
        b"{\"id\":\"latin1 \xe9\"}",
        br#"{"id":"null \u0000"}"#,
        br#"{"id":"half \ud83d"}"#,
        br#"{"id":"Case","K":1,"ts":null}"#,
        br#"{"id":"quote","a\"b":1,"; DROP TABLE events":2}"#,
        br#"[1,2]"#,
        br#""text""#,
        br#"{"id":"int","v":1}"#,
        br#"{"id":"text","v":"x"}"#,
        long.as_bytes(),
        deep.as_bytes(),
        wide.as_bytes(),
    ];
    let mut body = documents.join(&b'\n');
    body.push(b'\n');
    let (seen, rows, dead) = counts(&post(&server, "events", &body));
    assert_eq!((seen, rows + dead), (documents.len() as u64, documents.len() as u64));
    assert_eq!(client.value("SELECT count(*) FROM events"), rows.to_string());
    assert_eq!(client.value("SELECT count(*) FROM tidemill.dead_letters"), dead.to_string());
    assert_eq!(client.value("SELECT length(text) FROM events WHERE id = 'long'"), (10 << 20).to_string());
    assert_eq!(client.value("SELECT k FROM events WHERE id = 'twice'"), "2");
    assert_eq!(client.value("SELECT _rest ->> 'c2999' FROM events WHERE id = 'wide'"), "2999");
}

/// Batches of random documents from several clients while the server is killed: what was answered is there once, row by row
/// and letter by letter; what was not is there as a whole or not at all.
#[test]
fn answered_documents_survive_kills() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let rounds = variable("TIDEMILL_CRASH_ROUNDS").unwrap_or(3);
    let seed = variable("TIDEMILL_TEST_SEED").unwrap_or_else(rand::random);
    println!("TIDEMILL_TEST_SEED={seed} TIDEMILL_CRASH_ROUNDS={rounds}");
    let mut server = Server::start();
    server.connect().run(EVENTS);
    let mut answered: Vec<(String, u64, u64)> = vec![];
    for round in 0..rounds {
        std::thread::scope(|threads| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let server = &server;
                    threads.spawn(move || write_batches(server, seed, round, writer))
                })
                .collect();
            // The last rounds are long enough for a busy machine to answer something.
            let pause = StdRng::seed_from_u64(seed ^ round).random_range(200..900) + 1_000 * round;
            std::thread::sleep(std::time::Duration::from_millis(pause));
            server.signal("KILL");
            answered.extend(writers.into_iter().flat_map(|writer| writer.join().expect("a writer")));
        });
        server = server.crash_and_restart();
        check(&mut server.connect(), &answered, seed);
    }
    assert!(!answered.is_empty(), "seed {seed}: nothing was answered");
}

fn write_batches(server: &Server, seed: u64, round: u64, writer: u64) -> Vec<(String, u64, u64)> {
    let mut random = StdRng::seed_from_u64(seed ^ (round << 8) ^ (writer << 40));
    let mut answered = vec![];
    for number in 0.. {
        let batch = format!("{round}-{writer}-{number}");
        let documents = (0..random.random_range(1..30)).map(|at| match random.random_range(0..6) {
            0 => format!("{{\"id\":\"{batch}/{at}\",\"batch\":\"{batch}\",\"ts\":\"no time {batch} \"}}\n"),
            1 => format!("{{\"id\":\"{batch}/{at}\",\"batch\":\"{batch}\",\"f{}\":1}}\n", random.random_range(0..40)),
            _ => format!("{{\"id\":\"{batch}/{at}\",\"batch\":\"{batch}\"}}\n"),
        });
        let body: String = documents.collect();
        let Ok((200, answer)) = server.post("/v1/ingest/events", "", body.as_bytes()) else { return answered };
        let Ok(answer) = serde_json::from_str::<Value>(&answer) else { return answered };
        let (_, rows, dead) = counts(&answer);
        answered.push((batch, rows, dead));
    }
    answered
}

fn check(client: &mut Client, answered: &[(String, u64, u64)], seed: u64) {
    let mut found = |sql: &str| -> HashMap<String, String> {
        let all = client.value(&format!(
            "SELECT coalesce(string_agg(batch || ' ' || n, ';'), '') FROM ({sql} GROUP BY batch) AS b"
        ));
        all.split(';').filter_map(|batch| batch.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    };
    let rows = found("SELECT batch, count(*) || ' ' || count(DISTINCT id) AS n FROM events");
    let letters = found(
        "SELECT split_part(split_part(convert_from(raw, 'UTF8'), 'no time ', 2), ' ', 1) AS batch, count(*) AS n FROM tidemill.dead_letters",
    );
    for (batch, expected, dead) in answered {
        let none = |count: u64| (count > 0).then_some(count);
        assert_eq!(rows.get(batch).cloned(), none(*expected).map(|n| format!("{n} {n}")), "seed {seed}, batch {batch}");
        assert_eq!(letters.get(batch).cloned(), none(*dead).map(|n| n.to_string()), "seed {seed}, batch {batch}");
    }
}

#[test]
fn columns_become_wider_where_a_document_needs_it() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE w (id int, n int, f real, at date DEFAULT '2020-01-01') WITH (tidemill.evolve = 'widen')");
    client.run("INSERT INTO w VALUES (1, 10, 1.5, '2026-01-01')");
    client.run("CALL tidemill.flush('w')");
    client.run("INSERT INTO w VALUES (2, 20, 2.5, '2026-01-02')");
    let body = b"{\"id\": 3, \"n\": 5000000000}\n{\"id\": 4, \"f\": 1e300, \"at\": \"2026-01-03T04:05:06Z\"}\n{\"id\": 5, \"n\": \"no\"}\n";
    let (status, answer) = server.post("/v1/ingest/w", "", body).unwrap();
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("\"rows\":2") && answer.contains("\"dead_letters\":1"), "{answer}");
    assert!(answer.contains(r#"{"name":"n","type":"bigint"}"#), "{answer}");
    let types =
        "SELECT string_agg(pg_typeof(n) || ',' || pg_typeof(f) || ',' || pg_typeof(at), ' ') FROM w WHERE id = 1";
    assert_eq!(client.value(types), "bigint,double precision,timestamp with time zone");
    let rows = "SELECT string_agg(concat_ws('|', id, n, f, at), ' ' ORDER BY id) FROM w";
    let widened = "1|10|1.5|2026-01-01 00:00:00+00 2|20|2.5|2026-01-02 00:00:00+00 \
                   3|5000000000|2020-01-01 00:00:00+00 4|1e+300|2026-01-03 04:05:06+00";
    assert_eq!(client.value(rows), widened);
    let changes = "SELECT string_agg(change || ' ' || column_name || ' ' || data_type, ', ' ORDER BY column_name) \
                   FROM tidemill.schema_changes";
    let changed = "ALTER COLUMN TYPE at timestamp with time zone, ALTER COLUMN TYPE f double precision, \
                   ALTER COLUMN TYPE n bigint";
    assert_eq!(client.value(changes), changed);
    // Who was in a transaction on the old types has lost the race.
    let mut other = server.connect();
    other.run("BEGIN; INSERT INTO w VALUES (6, 6)");
    let (status, answer) = server.post("/v1/ingest/w", "", b"{\"id\": 7, \"n\": 1.25}").unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(other.sqlstate("COMMIT"), "40001");
    assert_eq!(
        client.value("SELECT string_agg(n::text, ' ' ORDER BY id) FROM w WHERE id IN (3, 7)"),
        "5000000000 1.25"
    );
    let server = server.crash_and_restart();
    let mut client = server.connect();
    assert_eq!(client.value("SELECT count(*) || ' ' || sum(n) FROM w"), "5 5000000031.25");
    client.run("CALL tidemill.flush('w'); CALL tidemill.compact('w')");
    assert_eq!(client.value("SELECT count(*) || ' ' || sum(n) FROM w"), "5 5000000031.25");
}

/// Many writers at once, some of which need wider columns: every document is a row.
#[test]
fn writers_that_widen_at_once_lose_nothing() {
    let server = Server::start();
    server.connect().run("CREATE TABLE w (id int, n smallint) WITH (tidemill.evolve = 'widen')");
    std::thread::scope(|scope| {
        for client in 0..4_i64 {
            let server = &server;
            scope.spawn(move || {
                for request in 0..12_i64 {
                    let value = match (client + request) % 4 {
                        0 => "7".to_owned(),
                        1 => "70000".to_owned(),
                        2 => "7000000000".to_owned(),
                        _ => "0.5".to_owned(),
                    };
                    let body = format!("{{\"id\": {}, \"n\": {value}}}", client * 100 + request);
                    let (status, answer) = server.post("/v1/ingest/w", "", body.as_bytes()).unwrap();
                    assert_eq!(status, 200, "{answer}");
                    assert!(answer.contains("\"rows\":1"), "{answer}");
                }
            });
        }
    });
    let mut client = server.connect();
    let wanted = 12.0 * (7.0 + 70_000.0 + 7_000_000_000.0 + 0.5);
    assert_eq!(client.value("SELECT count(*) || ' ' || sum(n)::float8 FROM w"), format!("48 {wanted}"));
}

#[test]
fn letters_are_tried_again_in_a_query() {
    let server = Server::start();
    let mut client = server.connect();
    client.run(EVENTS);
    client.run("ALTER TABLE events ADD COLUMN amount int");
    let body = br#"{"id": "a", "amount": "1.5"}
{"id": "b", "amount": "2.5"}
{"id": "c", "amount": "x"}
"#;
    let (status, answer) = server.post("/v1/ingest/events", "", body).unwrap();
    assert_eq!(status, 200, "{answer}");
    let replay = |arguments: &str| {
        let columns = "concat_ws(' ', table_name, tried, rows, failed, quarantined)";
        format!("SELECT {columns} FROM tidemill.replay_dead_letters({arguments})")
    };
    // What is only shown does nothing.
    client.run(&format!("EXPLAIN {}", replay("'events'")));
    client.run("ALTER TABLE events ALTER COLUMN amount TYPE numeric(12,2)");
    assert_eq!(client.sqlstate(&replay("'events', 'nothing = 1'")), "42703");
    assert_eq!(client.sqlstate(&replay("'events', 'true) OR (true'")), "42601");
    assert_eq!(client.sqlstate(&replay("'events', '1; DROP TABLE events'")), "42601");
    assert_eq!(client.sqlstate(&replay("'nothing'")), "42P01");
    assert_eq!(client.value(&replay("'events', 'position(''2.5'' in reason) > 0'")), "events 1 1 0 0");
    assert_eq!(client.value(&replay("'events'")), "events 2 1 1 0");
    assert_eq!(client.value("SELECT string_agg(id || amount, ' ' ORDER BY id) FROM events"), "a1.50 b2.50");
    for attempt in 2..=4 {
        let quarantined = u8::from(attempt == 4);
        assert_eq!(client.value(&replay("'events'")), format!("events 1 0 1 {quarantined}"));
    }
    assert_eq!(client.value(&replay("'events'")), "events 0 0 0 0");
    assert!(server.get("/metrics").contains("tidemill_dead_letters_quarantined_total 1"));
    // Rolled back, nothing was tried.
    client.run("UPDATE tidemill.dead_letters SET attempts = 0");
    client.run("BEGIN");
    assert_eq!(client.value(&replay("'events'")), "events 1 0 1 0");
    client.run("ROLLBACK");
    assert_eq!(client.value("SELECT attempts FROM tidemill.dead_letters"), "0");
}

#[test]
fn nothing_is_taken_in_that_would_be_a_dead_letter_too_many() {
    let server = Server::start_with(&["--dead-letters", "1MB"]);
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int)");
    let wrong = format!("{{\"id\": \"{}\"}}\n", "x".repeat(500_000));
    let mut statuses = vec![];
    for _ in 0..4 {
        let body = format!("{{\"id\": 1}}\n{wrong}");
        statuses.push(server.post("/v1/ingest/t", "", body.as_bytes()).unwrap().0);
    }
    assert_eq!((statuses[0], statuses[3]), (200, 507), "{statuses:?}");
    let taken = statuses.iter().filter(|status| **status == 200).count().to_string();
    assert_eq!(client.value("SELECT count(*) FROM t"), taken);
    assert_eq!(client.value("SELECT count(*) FROM tidemill.dead_letters"), taken);
    assert_eq!(server.post("/v1/ingest/t", "", b"{\"id\": 2}").unwrap().0, 200, "what is right still comes in");
    client.run("CALL tidemill.discard_dead_letters('t')");
    assert_eq!(server.post("/v1/ingest/t", "", wrong.as_bytes()).unwrap().0, 200);
}
