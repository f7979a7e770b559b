//! Statements over HTTP, TLS on its port, statuses, hostile and slow clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};

use crate::support::server::Server;

/// An answer to a request.
struct Answer {
    status: u16,
    /// Lower case names.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The body has its end.
    complete: bool,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn sqlstate(&self) -> String {
        self.json()["error"]["sqlstate"].as_str().unwrap_or_default().to_owned()
    }
}

/// Reads one answer.
fn read(stream: impl Read) -> Option<Answer> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let status = line()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = vec![];
    while let Some((name, value)) = line()?.split_once(": ") {
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut answer = Answer { status, headers, body: vec![], complete: true };
    if answer.header("transfer-encoding") == "chunked" {
        loop {
            let mut size = String::new();
            let read = reader.read_line(&mut size).unwrap_or(0);
            let Some(size) = (read > 0).then(|| usize::from_str_radix(size.trim(), 16).ok()).flatten() else {
                answer.complete = false;
                break;
            };
            let mut chunk = vec![0; size + 2];
            if reader.read_exact(&mut chunk).is_err() {
                answer.complete = false;
                break;
            }
            answer.body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Ok(length) = answer.header("content-length").parse() {
        answer.body.resize(length, 0);
        answer.complete = reader.read_exact(&mut answer.body).is_ok();
    }
    Some(answer)
}

fn request(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn send(server: &Server, bytes: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(server.http()).expect("a connection");
    // The server may answer and hang up before it has read all.
    let _ = stream.write_all(bytes);
    read(stream)
}

fn post(server: &Server, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
    send(server, &request(path, headers, body.as_ref())).expect("an answer")
}

fn sql(server: &Server, sql: &str) -> Answer {
    post(server, "/v1/sql", "", sql)
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn rows_in_every_form() {
    let server = Server::start();
    let mut client = server.connect();
    client.run(
        "CREATE TABLE t (id int, name text, amount numeric(10,2), at timestamptz, tags text[], doc jsonb, raw bytea)",
    );
    client.run("INSERT INTO t VALUES (1, 'a \"b\"', 1.5, '2026-01-02 03:04:05+00', '{x,NULL}', '{\"k\":[1]}', '\\x00ff'), (2, NULL, 9007199254740993.25 / 1000000000, NULL, '{}', NULL, NULL)");
    let query = "SELECT * FROM t ORDER BY id";
    let answer = sql(&server, query);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{}", answer.text());
    let expected = json!({
        "columns": [
            {"name": "id", "type": "integer"}, {"name": "name", "type": "text"}, {"name": "amount", "type": "numeric(10,2)"},
            {"name": "at", "type": "timestamp with time zone"}, {"name": "tags", "type": "text[]"},
            {"name": "doc", "type": "jsonb"}, {"name": "raw", "type": "bytea"},
        ],
        "rows": [
            [1, "a \"b\"", serde_json::from_str::<Value>("1.50").unwrap(), "2026-01-02T03:04:05+00:00", ["x", null], {"k": [1]}, "\\x00ff"],
            [2, null, 9007199.25, null, [], null, null],
        ],
        "command": "SELECT 2",
    });
    assert_eq!(answer.json(), expected);

    let answer = post(&server, "/v1/sql?format=ndjson", "", query);
    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["tags"], json!(["x", null]));
    assert_eq!(answer.header("content-type"), "application/x-ndjson");

    let answer = post(&server, "/v1/sql", "Accept: text/csv\r\n", query);
    let expected = "id,name,amount,at,tags,doc,raw\n\
        1,\"a \"\"b\"\"\",1.50,2026-01-02 03:04:05+00,\"{x,NULL}\",\"{\"\"k\"\": [1]}\",\\x00ff\n2,,9007199.25,,{},,\n";
    assert_eq!(answer.text(), expected);

    let answer = post(&server, "/v1/sql", "Accept: application/vnd.apache.arrow.stream\r\n", query);
    let batches: Vec<_> = StreamReader::try_new(answer.body.as_slice(), None).expect("a stream").collect();
    let batch = batches.into_iter().next().expect("one").expect("a batch");
    assert_eq!(batch.num_rows(), 2);
    let schema = batch.schema();
    assert_eq!(schema.field(1).data_type(), &DataType::Utf8);
    assert_eq!(schema.field(5).metadata()["tidemill.type"], "jsonb");
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "a \"b\"");
    assert_eq!(batch.column(4).as_list::<i32>().value(0).as_string::<i32>().value(0), "x");

    assert_eq!(post(&server, "/v1/sql", "Accept: text/html\r\n", query).status, 406);
    assert_eq!(post(&server, "/v1/sql?format=xml", "", query).status, 400);
    // Special values, names of objects, none and many columns.
    let answer = sql(
        &server,
        "SELECT 'NaN'::float8, '-infinity'::timestamp, 9223372036854775807, 't'::regclass, 1::oid, '{ \"a\" : 1}'::json",
    );
    let rows = answer.text().split_once("\"rows\":").expect("rows").1;
    assert!(rows.starts_with("[\n[\"NaN\",\"-infinity\",9223372036854775807,\"t\",\"1\",{ \"a\" : 1}]"), "{rows}");
    assert_eq!(sql(&server, "SELECT 1 AS a WHERE false").json()["rows"], json!([]));
    assert_eq!(
        post(&server, "/v1/sql?format=ndjson", "", "SELECT '{\n}'::json AS a, 2 AS a").text(),
        "{\"a\":{ },\"a\":2}\n"
    );
}

#[test]
fn commands_parameters_and_transactions() {
    let server = Server::start();
    let mut client = server.connect();
    assert_eq!(
        sql(&server, "CREATE TABLE t (id int PRIMARY KEY, doc jsonb, tags text[])").json(),
        json!({"command": "CREATE TABLE"})
    );
    let with = |text: &str, parameters: Value| {
        post(&server, "/v1/sql", JSON, json!({"sql": text, "params": parameters}).to_string())
    };
    let insert = "INSERT INTO t VALUES ($1, $2, $3)";
    assert_eq!(with(insert, json!([1, {"a": [1, "x"]}, ["p q", null]])).json(), json!({"command": "INSERT 0 1"}));
    assert_eq!(with(insert, json!([2, null, []])).status, 200);
    let answer = with("SELECT doc, tags FROM t WHERE id = $1", json!([1]));
    assert_eq!(answer.json()["rows"], json!([[{"a": [1, "x"]}, ["p q", null]]]));
    let answer = with("INSERT INTO t VALUES (3, NULL, NULL) RETURNING id", json!([]));
    assert_eq!((&answer.json()["rows"], &answer.json()["command"]), (&json!([[3]]), &json!("INSERT 0 1")));
    for (text, parameters, status, code) in [
        ("SELECT $1::int", json!(["x"]), 422, "22P02"),
        ("SELECT $1::int", json!([]), 422, "42P02"),
        ("SELECT $1::int", json!([1, 2]), 400, "08P01"),
        ("SELECT 1; SELECT 2", json!([1]), 422, "42601"),
    ] {
        let answer = with(text, parameters);
        assert_eq!((answer.status, answer.sqlstate().as_str()), (status, code), "{text}: {}", answer.text());
    }

    // Several are one transaction: all or none.
    let answer =
        sql(&server, "INSERT INTO t (id) VALUES (4); UPDATE t SET tags = '{u}' WHERE id = 4; SELECT count(*) FROM t");
    assert_eq!(answer.json()["rows"], json!([[4]]));
    let answer = sql(&server, "DELETE FROM t WHERE id = 4; INSERT INTO t (id) VALUES (5)");
    assert_eq!(answer.json(), json!({"command": "INSERT 0 1", "commands": ["DELETE 1", "INSERT 0 1"]}));
    assert_eq!(sql(&server, "INSERT INTO t (id) VALUES (6); SELECT 1 / (id - 5) FROM t").sqlstate(), "22012");
    assert_eq!(sql(&server, "INSERT INTO t (id) VALUES (6); SELECT 1; SELECT 2").sqlstate(), "0A000");
    assert_eq!(sql(&server, "BEGIN; INSERT INTO t (id) VALUES (6)").sqlstate(), "25001");
    assert_eq!(sql(&server, "BEGIN; INSERT INTO t (id) VALUES (6); SELECT 1").sqlstate(), "25001");
    assert_eq!(client.value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t"), "1 2 3 5");
    assert_eq!(sql(&server, "BEGIN; INSERT INTO t (id) VALUES (6); COMMIT").json()["command"], "COMMIT");
    assert_eq!(client.value("SELECT count(*) FROM t"), "5");
    let answer = sql(&server, "DROP TABLE IF EXISTS nosuch");
    assert_eq!(answer.json()["notices"][0]["severity"], "NOTICE", "{}", answer.text());
    // Whole statements that make no sense here.
    assert_eq!(sql(&server, "COPY t FROM STDIN").sqlstate(), "0A000");
    assert_eq!(sql(&server, "COPY t TO STDOUT").sqlstate(), "0A000");
    assert_eq!(sql(&server, " -- nothing\n").sqlstate(), "42601");
    // Databases and roles are the Postgres port's.
    client.run("CREATE DATABASE other");
    let place = |path: &str, body: Value| post(&server, path, JSON, body.to_string()).json()["rows"][0][0].clone();
    let query = "SELECT current_database()";
    assert_eq!(place("/v1/sql?database=other", json!({ "sql": query })), "other");
    assert_eq!(place("/v1/sql", json!({ "sql": query, "database": "other" })), "other");
    client.run("CREATE ROLE guest LOGIN PASSWORD 'guest'");
    client.run("ALTER ROLE guest SET statement_timeout = '50ms'");
    let as_guest = |sql: &str| post(&server, "/v1/sql", "Authorization: Bearer guest:guest\r\n", sql);
    assert_eq!((as_guest("DROP TABLE t").status, as_guest("DROP TABLE t").sqlstate()), (403, "42501".into()));
    let answer = as_guest("SELECT pg_sleep(30)");
    assert_eq!((answer.status, answer.sqlstate().as_str()), (408, "57014"));
}

#[test]
fn errors_have_their_status_and_place() {
    let server = Server::start();
    let answer = sql(&server, "SELECT *\nFROM nosuch");
    assert_eq!(answer.status, 404);
    let error = &answer.json()["error"];
    assert_eq!(error["sqlstate"], "42P01");
    assert_eq!(error["message"], "relation \"nosuch\" does not exist");
    assert_eq!(error["position"], 15);
    let answer = sql(&server, "SELECT 1; SELEKT");
    assert_eq!((answer.status, answer.sqlstate().as_str()), (422, "42601"));
    assert_eq!(answer.json()["error"]["position"], 11);
    let json = |body: &str| post(&server, "/v1/sql", JSON, body).status;
    assert_eq!([json("{"), json("[]"), json("{\"sql\":1}"), json("{\"sql\":\"\",\"x\":1}")], [400; 4]);
    assert_eq!(post(&server, "/v1/sql", "Content-Type: text/html\r\n", "SELECT 1").status, 415);
    assert_eq!(post(&server, "/v1/sql", "Content-Encoding: br\r\n", "SELECT 1").status, 415);
    assert_eq!(post(&server, "/v1/sql", "", b"SELECT '\xff'").status, 400);
    assert_eq!(post(&server, "/v1/sql", "", b"SELECT '\0'").status, 400);
    assert_eq!(post(&server, "/v1/sql?database=nosuch", "", "SELECT 1").status, 404);
    assert_eq!(post(&server, "/v1/sql", "", vec![b' '; 17 << 20]).status, 413);
    assert_eq!(post(&server, "/v1/nosuch", "", "").status, 404);
    assert!(server.get("/v1/sql").starts_with("HTTP/1.1 405"));
    // Headers that are too large, or no HTTP at all.
    let huge = request("/v1/sql", &format!("X: {}\r\n", "x".repeat(1 << 20)), b"SELECT 1");
    assert_eq!(send(&server, &huge).map(|answer| answer.status), Some(431));
    assert_eq!(send(&server, b"\x16\x03\x01\x00nonsense\r\n\r\n").map(|answer| answer.status), Some(400));
    // A length that is a lie: too short, and the rest is no request; not a number.
    let short = b"POST /v1/sql HTTP/1.1\r\nHost: t\r\nContent-Length: 8\r\n\r\nSELECT 1 + 1";
    assert_eq!(send(&server, short).map(|answer| answer.status), Some(200));
    let wrong = b"POST /v1/sql HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n\r\nSELECT 1";
    assert_eq!(send(&server, wrong).map(|answer| answer.status), Some(400));
    let two = b"POST /v1/sql HTTP/1.1\r\nHost: t\r\nContent-Length: 8\r\nContent-Length: 9\r\n\r\nSELECT 1";
    assert_eq!(send(&server, two).map(|answer| answer.status), Some(400));
    assert_eq!(sql(&server, "SELECT 1").status, 200);
}

/// What fails after the answer began cannot have a status.
#[test]
fn errors_after_the_beginning_are_seen() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE n (i int)");
    client.run("INSERT INTO n VALUES (1)");
    let query = "SELECT i, 1000 / (299990 - i) FROM generate_series(1, 300000) AS i";
    let answer = sql(&server, query);
    assert_eq!((answer.status, answer.complete), (200, true));
    assert_eq!(answer.json()["error"]["sqlstate"], "22012");
    assert!(answer.json().get("command").is_none());
    for form in ["csv", "arrow", "ndjson"] {
        let answer = post(&server, &format!("/v1/sql?format={form}"), "", query);
        assert_eq!((answer.status, answer.complete), (200, false), "{form}");
        assert!(answer.body.len() > 100_000, "{form}");
    }
    // Before it they have.
    let answer = post(&server, "/v1/sql?format=csv", "", "SELECT 1 / (i - 1) FROM n");
    assert_eq!((answer.status, answer.sqlstate().as_str()), (422, "22012"));
}

#[test]
fn large_results_stream_and_stop_with_their_client() {
    let server = Server::start();
    let mut client = server.connect();
    let query = "SELECT i, repeat('x', 100) AS x FROM generate_series(1, 200000) AS i";
    let answer = post(&server, "/v1/sql?format=arrow", "", query);
    assert!(answer.complete);
    let batches = StreamReader::try_new(answer.body.as_slice(), None).expect("a stream");
    let (mut rows, mut sum) = (0, 0_i64);
    for batch in batches {
        let batch = batch.expect("a batch");
        rows += batch.num_rows();
        let column = datafusion::arrow::compute::cast(batch.column(0), &DataType::Int64).expect("integers");
        sum += column.as_primitive::<Int64Type>().values().iter().sum::<i64>();
        assert_eq!(column.null_count(), 0);
    }
    assert_eq!((rows, sum), (200_000, 20_000_100_000));
    let answer = post(&server, "/v1/sql?format=csv", "", query);
    assert_eq!(answer.text().lines().count(), 200_001);

    // Endless rows: a client that reads a little and leaves ends the statement; so does one that waits and leaves.
    let running = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'http' AND state = 'active'";
    for endless in ["SELECT i FROM generate_series(1, 1000000000000) AS i", "SELECT pg_sleep(1000)"] {
        let mut stream = TcpStream::connect(server.http()).expect("a connection");
        stream.write_all(&request("/v1/sql?format=csv", "", endless.as_bytes())).expect("written");
        let until = |client: &mut crate::support::client::Client, count: &str| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while client.value(running) != count {
                assert!(Instant::now() < deadline, "{endless}: not {count}");
                std::thread::yield_now();
            }
        };
        until(&mut client, "1");
        drop(stream);
        until(&mut client, "0");
    }
    // pg_cancel_backend finds it too.
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| sql(&server, "SELECT pg_sleep(1000)"));
        let cancel = "SELECT count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_stat_activity WHERE application_name = 'http'";
        let deadline = Instant::now() + Duration::from_secs(20);
        while !waiting.is_finished() {
            client.value(cancel);
            assert!(Instant::now() < deadline, "not cancelled");
            std::thread::yield_now();
        }
        let answer = waiting.join().expect("an answer");
        assert_eq!((answer.status, answer.sqlstate().as_str()), (408, "57014"));
    });
}

#[test]
fn places_and_time_have_limits() {
    let server = Server::start_with(&["--max-http-requests", "2", "--http-idle-timeout", "1s"]);
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int)");
    std::thread::scope(|threads| {
        let busy: Vec<_> = (0..2).map(|_| threads.spawn(|| sql(&server, "SELECT pg_sleep(1000)"))).collect();
        let deadline = Instant::now() + Duration::from_secs(20);
        while client.value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") != "2" {
            assert!(Instant::now() < deadline, "they do not run");
            std::thread::yield_now();
        }
        for path in ["/v1/sql", "/v1/ingest/t", "/write?db=tidemill", "/api/v2/write?bucket=tidemill"] {
            let answer = post(&server, path, "", "SELECT 1");
            assert_eq!((answer.status, answer.header("retry-after")), (429, "1"), "{path}");
        }
        assert!(server.get("/health").starts_with("HTTP/1.1 200"));
        client.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'http'");
        for busy in busy {
            let answer = busy.join().expect("an answer");
            assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{}", answer.text());
        }
    });
    // A body that stops coming is given up, and leaves nothing; so is a head.
    for (path, begin) in [("/v1/ingest/t", "{\"id\":1}\n"), ("/v1/sql", "SELECT"), ("/write?db=tidemill", "x a=1\n")] {
        let mut stream = TcpStream::connect(server.http()).expect("a connection");
        let head = format!("POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n{begin}");
        stream.write_all(head.as_bytes()).expect("written");
        assert_eq!(read(&stream).expect("an answer").status, 408, "{path}");
    }
    assert_eq!(client.value("SELECT count(*) FROM t"), "0");
    let mut stream = TcpStream::connect(server.http()).expect("a connection");
    stream.write_all(b"POST /v1/sql HTTP/1.1\r\nHost:").expect("written");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let mut rest = vec![];
    assert_eq!(stream.read_to_end(&mut rest).expect("the end"), 0);
    assert_eq!(sql(&server, "SELECT 1").status, 200);
}

#[test]
fn large_values_pass_both_ways() {
    let server = Server::start();
    let text = "ü\"\\".repeat(2 << 20);
    let body = json!({ "sql": "SELECT length($1::text), md5($1), $1 AS t", "params": [text] }).to_string();
    let answer = post(&server, "/v1/sql", JSON, body);
    let rows = &answer.json()["rows"];
    assert_eq!((&rows[0][0], rows[0][2].as_str()), (&json!(6 << 20), Some(text.as_str())));
    let body = json!({ "sql": "SELECT $1", "params": ["x".repeat(17 << 20)] }).to_string();
    assert_eq!(post(&server, "/v1/sql", JSON, body).status, 413);
}

/// A request that has begun is answered before the server stops; new ones are not taken.
#[test]
fn requests_end_before_the_server_does() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int)");
    let mut stream = TcpStream::connect(server.http()).expect("a connection");
    let text = b"INSERT INTO t VALUES (1); SELECT pg_sleep(2)";
    stream.write_all(&request("/v1/sql", "", text)).expect("written");
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'http'") != "1" {
        assert!(Instant::now() < deadline, "it does not run");
        std::thread::yield_now();
    }
    server.signal("TERM");
    let answer = read(stream).expect("an answer");
    assert_eq!((answer.status, answer.complete), (200, true), "{}", answer.text());
    assert!(server.wait().success());
    let server = server.crash_and_restart();
    assert_eq!(server.connect().value("SELECT count(*) FROM t"), "1");
}

// ---- TLS ----

/// For tests only: made for localhost, signed by itself.
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/localhost.crt");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/localhost.key");

#[test]
fn https_and_http_on_one_port() {
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};
    let server = Server::start_with(&["--tls-certificate", CERTIFICATE, "--tls-key", KEY]);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(CERTIFICATE).expect("a certificate")).expect("a root");
    let config = |protocols: &[&str]| {
        let mut config = ClientConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        std::sync::Arc::new(config)
    };
    let ask = |protocols: &[&str]| {
        let name = "localhost".try_into().expect("a name");
        let client = ClientConnection::new(config(protocols), name).expect("a client");
        let mut stream = StreamOwned::new(client, TcpStream::connect(server.http()).expect("a connection"));
        stream.write_all(&request("/v1/sql", "", b"SELECT 1 AS one")).ok()?;
        read(stream)
    };
    for protocols in [&[][..], &["h2", "http/1.1"], &["http/1.1"]] {
        let answer = ask(protocols).expect("an answer");
        assert_eq!(answer.json()["rows"], json!([[1]]), "{protocols:?}");
    }
    assert!(ask(&["h2"]).is_none(), "nothing in common");
    // This machine may still speak plainly; nonsense and silence harm nobody.
    assert_eq!(sql(&server, "SELECT 1").status, 200);
    let mut noise = TcpStream::connect(server.http()).expect("a connection");
    noise.write_all(b"\x16\x03\x01\x00\x05hello").expect("written");
    let silent = TcpStream::connect(server.http()).expect("a connection");
    assert!(ask(&[]).is_some());
    drop((noise, silent));
}

// ---- OpenAPI ----

/// What is described is there, and nothing else is.
#[test]
fn every_address_is_described() {
    let server = Server::start();
    server.connect().run("CREATE TABLE t (id int)");
    let answer = server.get("/openapi.json");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.contains("application/json"), "{head}");
    let described: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(
        (&described["openapi"], &described["info"]["version"]),
        (&json!("3.1.0"), &json!(env!("CARGO_PKG_VERSION")))
    );
    // The router is made of a list in the source.
    let source = include_str!("../../src/server/http/mod.rs");
    let list = source.split_once("fn addresses()").expect("the list").1.split_once("\n}\n").expect("its end").0;
    let mut known: Vec<&str> = list.split("(\"").skip(1).filter_map(|entry| entry.split('"').next()).collect();
    let paths = described["paths"].as_object().expect("paths");
    let mut told: Vec<&str> = paths.keys().map(String::as_str).collect();
    known.sort_unstable();
    told.sort_unstable();
    assert_eq!(known, told);
    for (path, operations) in paths {
        let path = path.replace("{table}", "t");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            let status = send(&server, request.as_bytes()).expect("an answer").status;
            let is_described = operations.get(method.to_lowercase()).is_some();
            assert_eq!(status != 405, is_described, "{method} {path}: {status}");
            assert_ne!(status, 404, "{method} {path}");
        }
    }
    // References lead somewhere.
    let text = described.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(described.pointer(reference).is_some(), "{reference}");
    }
}

// ---- Columns over HTTP ----

mod columns {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use datafusion::arrow::ipc::writer::{FileWriter, StreamWriter};
    use datafusion::parquet::arrow::ArrowWriter;

    use super::*;

    fn batch(ids: &[i64], amounts: &[&str]) -> RecordBatch {
        let ids = Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef;
        let amounts = Arc::new(StringArray::from(amounts.to_vec())) as ArrayRef;
        RecordBatch::try_from_iter([("id", ids), ("amount", amounts)]).expect("a batch")
    }

    fn parquet(batch: &RecordBatch) -> Vec<u8> {
        let mut writer = ArrowWriter::try_new(vec![], batch.schema(), None).expect("a writer");
        writer.write(batch).expect("written");
        writer.into_inner().expect("ended")
    }

    fn stream(batch: &RecordBatch) -> Vec<u8> {
        let mut writer = StreamWriter::try_new(vec![], &batch.schema()).expect("a writer");
        writer.write(batch).expect("written");
        writer.finish().expect("ended");
        writer.into_inner().expect("ended")
    }

    fn file(batch: &RecordBatch) -> Vec<u8> {
        let mut writer = FileWriter::try_new(vec![], &batch.schema()).expect("a writer");
        writer.write(batch).expect("written");
        writer.finish().expect("ended");
        writer.into_inner().expect("ended")
    }

    const PARQUET: &str = "Content-Type: application/vnd.apache.parquet\r\n";
    const STREAM: &str = "Content-Type: application/vnd.apache.arrow.stream\r\n";
    const FILE: &str = "Content-Type: application/vnd.apache.arrow.file\r\n";

    #[test]
    fn parquet_and_arrow_become_rows() {
        let server = Server::start_with(&["--max-upload", "1MB"]);
        let mut client = server.connect();
        client.run("CREATE TABLE t (id int NOT NULL CHECK (id < 100), amount numeric(10,2), note text DEFAULT 'none')");
        let input = batch(&[1, 2, 3_000_000_000, 500], &["1.50", "many", "3", "4"]);
        let count = |answer: &Answer| {
            let answer = answer.json();
            ["documents", "rows", "dead_letters"].map(|name| answer[name].as_u64().expect("a count"))
        };
        for (headers, body) in [(PARQUET, parquet(&input)), (STREAM, stream(&input)), (FILE, file(&input))] {
            let answer = post(&server, "/v1/ingest/t", headers, &body);
            assert_eq!(answer.status, 200, "{headers}{}", answer.text());
            assert_eq!(count(&answer), [4, 1, 3], "{headers}");
            // Cut off, or something else: nothing of it is there.
            for wrong in [&body[..body.len() - 9], b"no columns at all", b""] {
                let answer = post(&server, "/v1/ingest/t", headers, wrong);
                let state = (answer.status, answer.sqlstate());
                // A stream may lack its last mark.
                let whole = headers == STREAM && wrong.len() > 100 && answer.status == 200;
                assert!(state == (422, "22P04".into()) || whole, "{headers}{} {}", wrong.len(), answer.text());
            }
        }
        let packed = zstd::encode_all(parquet(&batch(&[9], &["9"])).as_slice(), 3).expect("packed");
        assert_eq!(post(&server, "/v1/ingest/t", &format!("{PARQUET}Content-Encoding: zstd\r\n"), &packed).status, 200);
        assert_eq!(
            client.value(
                "SELECT string_agg(id || ' ' || amount || ' ' || note, ', ' ORDER BY id DESC) FROM t WHERE id > 1"
            ),
            "9 9.00 none"
        );
        let letters = "SELECT string_agg(l, ', ' ORDER BY l) FROM (SELECT DISTINCT sqlstate || ' ' || coalesce(column_name, '?') AS l FROM tidemill.dead_letters) AS d";
        assert_eq!(client.value(letters), "22003 id, 22P02 amount, 23514 ?");
        // They are documents, so they can be tried again.
        client.run("ALTER TABLE t DROP CONSTRAINT t_id_check");
        client.run("CALL tidemill.replay_dead_letters('t')");
        assert_eq!(client.value("SELECT count(*) FROM t WHERE id = 500"), "3");

        // A column that the table does not have: refused, unless it evolves.
        let more = |id: i64| {
            let extra = Arc::new(StringArray::from(vec!["red"])) as ArrayRef;
            RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![id])) as ArrayRef), ("color", extra)])
                .expect("a batch")
        };
        let answer = post(&server, "/v1/ingest/t", STREAM, stream(&more(10)));
        assert_eq!((answer.status, answer.sqlstate().as_str()), (422, "42703"), "{}", answer.text());
        client.run("ALTER TABLE t SET (tidemill.evolve = 'add_columns')");
        for (headers, body) in [(STREAM, stream(&more(10))), (PARQUET, parquet(&more(11)))] {
            assert_eq!(post(&server, "/v1/ingest/t", headers, body).status, 200);
        }
        assert_eq!(
            client.value("SELECT string_agg(id || color, ' ' ORDER BY id) FROM t WHERE color IS NOT NULL"),
            "10red 11red"
        );
        assert_eq!(client.value("SELECT data_type || ' ' || sample FROM tidemill.schema_changes"), "text red");

        // Limits: on disk for Parquet; nothing is left there.
        let random: Vec<u8> = (0..2 << 20).map(|_| rand::random()).collect();
        assert_eq!(post(&server, "/v1/ingest/t", PARQUET, random).status, 413);
        let bomb = zstd::encode_all(vec![0_u8; 64 << 20].as_slice(), 3).expect("packed");
        assert!(bomb.len() < 64 << 10);
        assert_eq!(post(&server, "/v1/ingest/t", &format!("{PARQUET}Content-Encoding: zstd\r\n"), &bomb).status, 413);
        let left = std::fs::read_dir(server.dir().join("tmp")).expect("the directory").filter_map(Result::ok);
        let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("upload")).collect();
        assert!(left.is_empty(), "{left:?}");
        // Of another kind than said.
        assert_eq!(post(&server, "/v1/ingest/t", STREAM, parquet(&input)).status, 422);
        assert_eq!(post(&server, "/v1/ingest/t", PARQUET, stream(&input)).status, 422);
        assert_eq!(post(&server, "/v1/ingest/nosuch", PARQUET, parquet(&input)).status, 404);
        assert_eq!(sql(&server, "SELECT 1").status, 200);
    }

    /// What one server gives, another takes.
    #[test]
    fn answers_in_arrow_are_bodies_too() {
        let server = Server::start();
        let mut client = server.connect();
        let columns = "id uuid, n numeric, p numeric(12,3), t timestamptz, d date, i interval, j jsonb, a text[], b bytea, f float4, o boolean";
        client.run(&format!("CREATE TABLE a ({columns})"));
        client.run("CREATE TABLE b (id uuid) WITH (tidemill.evolve = 'add_columns')");
        client.run("INSERT INTO a VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1.25, 1.125, '2026-01-01 00:00:00.000001+00', '2024-02-29', '1 mon 2 days 03:00', '{\"k\": [1, \"x\"]}', '{a,NULL,\"b c\"}', '\\x00ff', 0.1, true), (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)");
        let answer = post(&server, "/v1/sql?format=arrow", "", "SELECT * FROM a");
        let answer = post(&server, "/v1/ingest/b", STREAM, &answer.body);
        assert_eq!((answer.status, &answer.json()["rows"]), (200, &json!(2)), "{}", answer.text());
        let types = |table: &str| {
            format!(
                "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = '{table}'"
            )
        };
        assert_eq!(client.value(&types("b")), client.value(&types("a")));
        assert_eq!(client.value("SELECT count(*) FROM (SELECT * FROM a EXCEPT ALL SELECT * FROM b) AS d"), "0");
    }
}
