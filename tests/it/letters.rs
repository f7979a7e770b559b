//! Dead letters: replay of every format, retention, discarding by condition, and many of them in one request.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::server::Server;

const LETTERS: &str = "SELECT count(*) FROM tidemill.dead_letters";

fn post(server: &Server, path: &str, body: &[u8]) -> Value {
    let (status, answer) = server.post(path, "", body).expect("an answer");
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).expect("JSON")
}

/// What replay says: tried, rows, failed, quarantined.
fn replay(table: &str) -> String {
    format!("SELECT concat_ws(' ', tried, rows, failed, quarantined) FROM tidemill.replay_dead_letters('{table}')")
}

#[test]
fn csv_letters_are_tried_again_with_their_headers() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int, n int, name text)");
    // Two headers, a quote without its end, fields too few and too many, a line end in quotes.
    post(&server, "/v1/ingest/t?format=csv", b"id,n\n1,1\n2,many\n3,30000000000\n");
    post(&server, "/v1/ingest/t?format=csv", b"n,name,id\nx,\"a\nb\",4\ny,\"open,5\nz,short\nw,q,6,7\n8,right,8\n");
    assert_eq!(client.value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t"), "1 8");
    assert_eq!(client.value(LETTERS), "7");
    let raws = "SELECT string_agg(id || ' ' || encode(raw, 'hex'), ',' ORDER BY id) FROM tidemill.dead_letters";
    let before = client.value(raws);
    assert_eq!(client.value(&replay("t")), "7 0 7 0");
    assert_eq!(client.value(raws), before, "those that fail again stay as they came");
    client.run("ALTER TABLE t ALTER COLUMN n TYPE text");
    client.run("BEGIN");
    assert_eq!(client.value(&replay("t")), "7 2 5 0");
    client.run("ROLLBACK");
    assert_eq!(client.value(&replay("t")), "7 2 5 0");
    let rows = "SELECT string_agg(concat_ws('|', id, n, name), ' ' ORDER BY id) FROM t";
    assert_eq!(client.value(rows), "1|1 2|many 3|30000000000 8|8|right");
    let attempts = "SELECT string_agg(DISTINCT attempts || format, ' ') FROM tidemill.dead_letters";
    assert_eq!(client.value(attempts), "2csv");
    let server = server.crash_and_restart();
    let mut client = server.connect();
    assert_eq!(client.value(&replay("t")), "5 0 5 0");
    assert_eq!(client.value(&replay("t")), "5 0 5 5");
    assert_eq!(client.value(&replay("t")), "0 0 0 0");
}

#[test]
fn lines_are_tried_again_with_their_time() {
    let server = Server::start();
    let mut client = server.connect();
    let write = |path: &str, body: &[u8]| server.post(path, "", body).expect("an answer").0;
    let seconds = "/write?db=tidemill&precision=s";
    assert_eq!(write(seconds, b"cpu,host=a usage=1,n=1i 1767225600\n"), 204);
    assert_eq!(
        write(seconds, b"cpu,host=b usage=\"much\" 1767225601\ncpu,host=c n=\"x\"\ncpu,host=\"d n=1.5 1767225602\n"),
        400
    );
    assert_eq!(write("/api/v2/write?bucket=tidemill", b"cpu,host=e usage=\"more\" 1767225603000000000\n"), 422);
    // The only line of a measurement failed: there is no table yet.
    assert_eq!(write(seconds, b"mem,host=a v=1 99999999999999999\n"), 400);
    assert_eq!(client.sqlstate("SELECT * FROM mem"), "42P01");
    assert_eq!(client.value(&replay("cpu")), "4 0 4 0");
    client.run("ALTER TABLE cpu ALTER COLUMN usage TYPE text; ALTER TABLE cpu ALTER COLUMN n TYPE text");
    let received = "SELECT received_at FROM tidemill.dead_letters WHERE convert_from(raw, 'UTF8') LIKE '%host=c%'";
    let received = client.value(received);
    assert_eq!(client.value(&replay("cpu")), "4 4 0 0");
    let rows = "SELECT string_agg(concat_ws('|', host, usage, n, extract(epoch FROM time)::bigint), ' ' ORDER BY host) \
                FROM cpu WHERE host <> 'c'";
    assert_eq!(client.value(rows), "\"d|1.5|1767225602 a|1|1|1767225600 b|much|1767225601 e|more|1767225603");
    assert_eq!(client.value("SELECT time FROM cpu WHERE host = 'c'"), received, "the time it was received");
    client.run("CREATE TABLE mem (host text, v float8, \"time\" timestamptz)");
    client.run("CREATE TABLE other (host text)");
    assert_eq!(client.value(&replay("other")), "0 0 0 0");
    assert_eq!(client.value(&replay("mem")), "1 0 1 0");
    client.run("UPDATE tidemill.dead_letters SET raw = 'mem,host=a v=1 1767225600'");
    assert_eq!(client.value(&replay("mem")), "1 1 0 0");
    assert_eq!(client.value("SELECT host || v || extract(epoch FROM time)::bigint FROM mem"), "a11767225600");
    assert_eq!(client.value(LETTERS), "0");
}

/// Letters whose rows a constraint refuses are the letters they were before.
#[test]
fn letters_that_fail_a_constraint_are_counted_too() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n < 100))");
    client.run("INSERT INTO t VALUES (1, 1)");
    let body = b"{\"id\": 1, \"n\": 2}\n{\"id\": 2, \"n\": 500}\n";
    let (status, answer) = server.post("/v1/ingest/t", "", body).expect("an answer");
    assert_eq!(status, 200, "{answer}");
    let states = "SELECT string_agg(sqlstate || ' ' || line || ' ' || byte_offset, ', ' ORDER BY sqlstate) FROM tidemill.dead_letters";
    assert_eq!(client.value(states), "23505 1 0, 23514 2 18");
    let ids =
        "SELECT string_agg(id::text || received_at || encode(raw, 'hex'), ' ' ORDER BY id) FROM tidemill.dead_letters";
    let before = client.value(ids);
    for attempt in 1..=4 {
        let quarantined = if attempt == 4 { 2 } else { 0 };
        assert_eq!(client.value(&replay("t")), format!("2 0 2 {quarantined}"));
        assert_eq!(client.value(ids), before);
    }
    assert_eq!(client.value(&replay("t")), "0 0 0 0");
}

#[test]
fn letters_are_discarded_by_table_condition_and_id() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int); CREATE TABLE u (id int)");
    for table in ["t", "u"] {
        let body = b"{\"id\": \"a\"}\n{\"id\": \"b\"}\n{\"id\": \"c\"}\n{\"id\": 30000000000}\n";
        post(&server, &format!("/v1/ingest/{table}"), body);
    }
    assert_eq!(client.value(LETTERS), "8");
    let one = "SELECT id FROM tidemill.dead_letters WHERE table_name = 't' AND line = 2";
    let one = client.value(one);
    client.run(&format!("CALL tidemill.discard_dead_letters('t', 'id = ''{one}''')"));
    assert_eq!(client.value(LETTERS), "7");
    let by_state =
        "SELECT table_name || discarded FROM tidemill.discard_dead_letters('public.t', 'sqlstate = ''22003''')";
    assert_eq!(client.value(by_state), "t1");
    assert_eq!(client.sqlstate("CALL tidemill.discard_dead_letters('t', 'true) OR (true')"), "42601");
    assert_eq!(client.sqlstate("CALL tidemill.discard_dead_letters('nothing')"), "42P01");
    client.run("BEGIN; CALL tidemill.discard_dead_letters('t'); ROLLBACK");
    assert_eq!(
        client.value("SELECT string_agg(table_name || line, ' ' ORDER BY table_name, line) FROM tidemill.dead_letters"),
        "t1 t3 u1 u2 u3 u4"
    );
    client.run("CALL tidemill.discard_dead_letters('t')");
    assert_eq!(client.value(LETTERS), "4");
    // What is read must be what is deleted.
    assert_eq!(client.sqlstate("SELECT * FROM tidemill.replay_dead_letters('u', 'random() < 0.5')"), "0A000");
    assert_eq!(client.sqlstate("CALL tidemill.discard_dead_letters('u', 'random() < 0.5')"), "0A000");
    // The condition is evaluated with the server's rights.
    let other = "EXISTS (SELECT FROM t)";
    assert_eq!(client.sqlstate(&format!("CALL tidemill.discard_dead_letters('u', '{other}')")), "0A000");
    assert_eq!(client.sqlstate(&format!("CALL tidemill.replay_dead_letters('u', 'line IN ({other})')")), "0A000");
    assert_eq!(client.sqlstate("CALL tidemill.replay_dead_letters('u', 'nothing')"), "42703");
    assert_eq!(client.value(LETTERS), "4");
}

#[test]
fn letters_end_with_their_time() {
    let server = Server::start_with(&["--dead-letter-retention", "4s"]);
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int) WITH (tidemill.flush_interval = '200ms')");
    post(&server, "/v1/ingest/t", b"{\"id\": 1}\n{\"id\": \"x\"}\n");
    assert_eq!(client.value(LETTERS), "1");
    let deadline = Instant::now() + Duration::from_secs(60);
    while client.value(LETTERS) != "0" {
        assert!(Instant::now() < deadline, "the letter is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(client.value("SELECT count(*) FROM t"), "1");
}

/// More letters in one request than fit the memory that is meant for them: they are written while they come.
#[test]
fn many_letters_need_little_memory() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int)");
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let letter = format!("{{\"id\": \"{}\"}}\n", "x".repeat(2 << 20));
    let send = |letters: usize| {
        let body = format!("{{\"id\": 1}}\n{}", letter.repeat(letters));
        let answer = post(&server, "/v1/ingest/t?format=ndjson", body.as_bytes());
        assert_eq!((answer["rows"].as_u64(), answer["dead_letters"].as_u64()), (Some(1), Some(letters as u64)));
        peak()
    };
    if let (Some(few), Some(many)) = (send(80), send(240)) {
        let grown_mb = (many - few) >> 10;
        assert!(grown_mb < 160, "480 MB of letters needed {grown_mb} MB more than 160 MB of them");
    }
    let server = server.crash_and_restart();
    let mut client = server.connect();
    let counted = "SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || min(length(raw)) FROM tidemill.dead_letters";
    assert_eq!(client.value(counted), format!("320 320 {}", (2 << 20) + 10));
    assert_eq!(client.value("SELECT count(*) FROM t"), "2");
    // Each of them is there to be tried again, and then gone.
    client.run("ALTER TABLE t ALTER COLUMN id TYPE text");
    assert_eq!(client.value(&replay("t")), "320 320 0 0");
    assert_eq!(client.value(LETTERS), "0");
}

/// A million names: those that can be columns are, the others are in `_rest`, none is lost.
#[test]
fn a_million_distinct_keys() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int) WITH (tidemill.evolve = 'add_columns')");
    let (documents, keys) = (100_u32, 10_000_u32);
    let document = |number: u32| {
        let members: String = (0..keys).map(|key| format!(",\"k{}\":1", number * keys + key)).collect();
        format!("{{\"id\":{number}{members}}}\n")
    };
    let body: String = (0..documents).map(document).collect();
    let answer = post(&server, "/v1/ingest/t?format=ndjson", body.as_bytes());
    assert_eq!((answer["rows"].as_u64(), answer["dead_letters"].as_u64()), (Some(100), Some(0)));
    let columns = answer["new_columns"].as_array().expect("columns").len();
    let rest = client.run("SELECT _rest FROM t WHERE _rest IS NOT NULL").pop().expect("an answer").rows;
    let names = rest.iter().flat_map(|row| {
        let object: Value = serde_json::from_str(row[0].as_deref().expect("not NULL")).expect("JSON");
        object.as_object().expect("an object").keys().cloned().collect::<Vec<_>>()
    });
    let names: std::collections::HashSet<String> = names.collect();
    // All columns but `_rest` itself hold one value.
    assert_eq!(names.len(), (documents * keys) as usize - (columns - 1));
    assert_eq!(columns, 1_599);
}

/// A column that is a number in one batch and text in the next: what does not fit is kept, and fits once the column is text.
#[test]
fn a_column_that_changes_its_mind() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int) WITH (tidemill.evolve = 'widen')");
    let counts = |body: &str| {
        let answer = post(&server, "/v1/ingest/t?format=ndjson", body.as_bytes());
        (answer["rows"].as_u64().expect("rows"), answer["dead_letters"].as_u64().expect("letters"))
    };
    assert_eq!(counts("{\"id\":1,\"v\":1}\n"), (1, 0));
    assert_eq!(counts("{\"id\":2,\"v\":\"two\"}\n{\"id\":3,\"v\":3}\n"), (1, 1));
    assert_eq!(counts("{\"id\":4,\"v\":4.5}\n"), (1, 0));
    assert_eq!(counts("{\"id\":5,\"v\":{\"x\":1}}\n{\"id\":6,\"v\":[1]}\n"), (0, 2));
    client.run("ALTER TABLE t ALTER COLUMN v TYPE text");
    assert_eq!(client.value(&replay("t")), "3 3 0 0");
    let rows = "SELECT string_agg(id || '=' || v, ' ' ORDER BY id) FROM t";
    assert_eq!(client.value(rows), "1=1 2=two 3=3 4=4.5 5={\"x\":1} 6=[1]");
}

/// Bodies that end too early, plain and packed, leave nothing: no rows, no letters, no columns; and the key is free.
#[test]
fn a_body_cut_off_in_the_middle() {
    use std::io::Write;
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int) WITH (tidemill.evolve = 'add_columns')");
    let lines = "{\"id\":1,\"new\":1}\n{\"id\":\"x\"}\n".repeat(1000);
    let packed = zstd::encode_all(lines.as_bytes(), 3).expect("packed");
    for (headers, body) in [("", lines.as_bytes()), ("Content-Encoding: zstd\r\n", &packed)] {
        let mut stream = std::net::TcpStream::connect(server.http()).expect("a connection");
        let length = body.len();
        let head = format!(
            "POST /v1/ingest/t HTTP/1.1\r\nHost: t\r\nIdempotency-Key: k\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("written");
        stream.write_all(&body[..length / 2]).expect("written");
        drop(stream);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let answer = loop {
        // The requests that were cut off have the key until the server notices.
        match server.post("/v1/ingest/t", "Idempotency-Key: k\r\n", b"{\"id\":7}\n").expect("an answer") {
            (409, _) if Instant::now() < deadline => {}
            answer => break answer,
        }
    };
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert!(answer.1.contains("\"rows\":1") && !answer.1.contains("replayed"), "{}", answer.1);
    assert_eq!(client.value("SELECT string_agg(id::text, ' ') FROM t"), "7");
    assert_eq!(client.sqlstate("SELECT new FROM t"), "42703");
    assert_eq!(client.sqlstate(LETTERS), "42P01");
}

#[test]
fn documents_in_an_insert() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int, name text DEFAULT 'none') WITH (tidemill.evolve = 'add_columns')");
    let answer = client.extended(
        "INSERT INTO t FORMAT JSON $1, $2",
        &[Some(r#"[{"id": 1, "name": "a"}, {"id": 2}]"#), Some(r#"{"id": 3, "fresh": true}"#)],
    );
    assert_eq!(answer.expect("an answer").tag, "INSERT 0 3");
    assert_eq!(client.notices.last().expect("a notice").message(), "new columns of table \"t\": \"fresh\" boolean");
    client.notices.clear();
    let answers = client.run("INSERT INTO t FORMAT NDJSON '{\"id\": 4}\n{\"id\": \"x\"}', '{broken', '{\"id\": 5}'");
    assert_eq!(answers[0].tag, "INSERT 0 2");
    assert_eq!(client.notices.last().expect("a notice").message(), "2 documents are in tidemill.dead_letters");
    let rows = "SELECT string_agg(concat_ws('|', id, name, fresh), ' ' ORDER BY id) FROM t";
    assert_eq!(client.value(rows), "1|a 2|none 3|none|t 4|none 5|none");
    let error = client.extended("INSERT INTO t FORMAT JSON $1", &[None]).expect_err("NULL is no document");
    assert_eq!(error.code(), "22004");
}
