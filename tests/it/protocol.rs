//! Malformed and hostile bytes: the server answers or hangs up, and lives on. The corners, and a random run of a few
//! seconds with a printed seed; `TIDEMILL_FUZZ_SECONDS=600 cargo test --test it random_bytes` is the long one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::client::{Client, Error};
use crate::support::server::Server;

/// Sends bytes on a new connection, ends the sending side, and reads until the server hangs up.
fn say(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return answer,
            Ok(count) => answer.extend(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the server hangs: {bytes:02x?}"),
            Err(_) => return answer,
        }
    }
}

fn alive(server: &mut Server) {
    assert!(server.is_running(), "the server ended: {}", server.log());
    assert_eq!(server.connect().value("SELECT 1"), "1");
    let log = server.log();
    assert!(!log.contains("panic"), "{log}");
}

fn startup(words: &[i32], rest: &[u8]) -> Vec<u8> {
    [words.iter().flat_map(|word| word.to_be_bytes()).collect(), rest.to_vec()].concat()
}

#[test]
fn malformed_startup() {
    let mut server = Server::start();
    let cases: &[Vec<u8>] = &[
        vec![],
        vec![0],
        vec![0; 4],
        vec![0; 100],
        vec![0xff; 100],
        startup(&[8, 196_608], b""),
        startup(&[9, 196_608], b"\0"),
        startup(&[7, 0], b""),
        startup(&[i32::MAX, 196_608], b"user\0tidemill\0\0"),
        startup(&[-1, 196_608], b"user\0tidemill\0\0"),
        startup(&[10_001, 196_608], &[b'x'; 9993]),
        startup(&[20, 196_608], b"user\0tidemill"),
        startup(&[13, 196_608], b"user\0"),
        startup(&[14, 196_608], b"\xff\xfe\0\xfd\0\0"),
        startup(&[8, 80_877_103], b""),
        startup(&[8, 80_877_103], b"\x16\x03\x01\x00\xff nonsense instead of a handshake"),
        startup(&[8, 80_877_104], b"GSS"),
        startup(&[16, 80_877_102, 1, 2], b""),
        startup(&[12, 80_877_102, 1], b""),
        startup(&[8, 1], b""),
        startup(&[8, 131_072], b""),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    ];
    for case in cases {
        say(server.pg(), case);
    }
    alive(&mut server);
}

/// A session's beginning, to send what comes after it.
fn greeting() -> Vec<u8> {
    let body = b"user\0tidemill\0database\0tidemill\0\0";
    startup(&[i32::try_from(body.len() + 8).unwrap(), 196_608], body)
}

fn message(kind: u8, length: i32, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

#[test]
fn malformed_messages() {
    let mut server = Server::start();
    let cases: &[Vec<u8>] = &[
        message(b'Q', 0, b""),
        message(b'Q', 3, b""),
        message(b'Q', 4, b""),
        message(b'Q', -1, b"SELECT 1\0"),
        message(b'Q', i32::MAX, b"SELECT 1\0"),
        message(b'Q', 9, b"\xff\xfe\xfd\xfc\0"),
        message(b'Q', 12, b"SELECT 1"),
        message(b'P', 4, b""),
        message(b'P', 6, b"\0\0"),
        message(b'P', 8, b"\0\0\x7f\xff"),
        message(b'B', 4, b""),
        message(b'B', 10, b"\0\0\0\0\0\0"),
        message(b'B', 12, b"\0\0\0\0\x7f\xff\0\0"),
        message(b'B', 16, b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0"),
        message(b'D', 6, b"X\0"),
        message(b'D', 5, b"S"),
        message(b'E', 9, b"none\0"),
        message(b'E', 4, b""),
        message(b'C', 6, b"Q\0"),
        message(b'F', 14, b"\0\0\0\x01\0\0\0\0\0\0"),
        message(b'd', 8, b"data"),
        message(b'c', 4, b""),
        message(b'f', 4, b""),
        message(b'p', 9, b"pass\0"),
        message(0, 4, b""),
        message(0xff, 4, b""),
        message(b'~', 100, b"short"),
    ];
    for case in cases {
        // Followed by Sync and Terminate, as a client that does not notice would.
        say(server.pg(), &[greeting(), case.clone(), message(b'S', 4, b""), message(b'X', 4, b"")].concat());
    }
    alive(&mut server);
}

#[test]
fn random_bytes() {
    let mut server = Server::start();
    let seed =
        std::env::var("TIDEMILL_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random::<u64>);
    let seconds = std::env::var("TIDEMILL_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let mut random = StdRng::seed_from_u64(seed);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while Instant::now() < deadline {
        let bytes = hostile(&mut random);
        let address = server.pg();
        let result = std::panic::catch_unwind(|| say(address, &bytes));
        assert!(result.is_ok() && server.is_running(), "TIDEMILL_TEST_SEED={seed}, round {rounds}: {bytes:02x?}");
        rounds += 1;
    }
    alive(&mut server);
}

/// A beginning that gets past the door, then messages that are nearly right.
fn hostile(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = if random.random_bool(0.8) { greeting() } else { Vec::new() };
    for _ in 0..random.random_range(0..8) {
        let kind = *b"QPBDECSHFdcfpX\x00\xff".get(random.random_range(0..16)).expect("in range");
        let body: Vec<u8> = match random.random_range(0..4) {
            0 => (0..random.random_range(0..200)).map(|_| random.random()).collect(),
            1 => b"SELECT $1::int, 'x' FROM generate_series(1,3)\0\0\0".to_vec(),
            2 => b"\0\0\0\0\0\0\0\0\0\0".to_vec(),
            _ => b"COPY (SELECT 1) TO STDOUT\0".to_vec(),
        };
        let right = i32::try_from(body.len() + 4).expect("short");
        let length = match random.random_range(0..10) {
            0 => random.random(),
            1 => right + 1,
            2 => right - 1,
            _ => right,
        };
        bytes.extend(message(kind, length, &body));
    }
    // Now and then a byte is damaged on the way.
    if !bytes.is_empty() && random.random_bool(0.3) {
        let at = random.random_range(0..bytes.len());
        bytes[at] = random.random();
    }
    bytes
}

#[test]
fn an_error_skips_to_sync() {
    let server = Server::start();
    let mut client = server.connect();
    assert!(client.extended("SELECT 1 +", &[]).is_err());
    assert_eq!(client.status, 'I');
    assert_eq!(client.extended("SELECT $1::int + 1", &[Some("41")]).unwrap().rows, [[Some("42".to_owned())]]);
    // Pipelined: the error of the first statement is the only answer until its Sync; the second batch works.
    client.run("CREATE TABLE t (x int)");
    let parse = |sql: &str| [b"\0", sql.as_bytes(), b"\0\0\0"].concat();
    for sql in ["INSERT INTO t VALUES (1)", "SELECT 1/0", "INSERT INTO t VALUES (2)"] {
        client.send(b'P', &parse(sql)).unwrap();
        client.send(b'B', &[0; 8]).unwrap();
        client.send(b'E', &[0; 5]).unwrap();
    }
    client.send(b'S', &[]).unwrap();
    assert_eq!(client.answers().expect_err("division by zero").code(), "22012");
    assert_eq!(client.value("SELECT count(*) FROM t"), "0", "one implicit transaction until Sync");
}

#[test]
fn portals_suspend_and_resume() {
    let server = Server::start();
    let mut client = server.connect();
    let sql = b"\0SELECT * FROM generate_series(1, 5)\0\0\0";
    client.run("BEGIN");
    client.send(b'P', sql).unwrap();
    client.send(b'B', &[0; 8]).unwrap();
    let execute = |rows: u8| [0, 0, 0, 0, rows];
    for rows in [2, 2, 2] {
        client.send(b'E', &execute(rows)).unwrap();
    }
    client.send(b'S', &[]).unwrap();
    let mut kinds = String::new();
    loop {
        let message = client.receive().unwrap();
        kinds.push(char::from(message.kind));
        if message.kind == b'Z' {
            break;
        }
    }
    // Parse, Bind, two rows suspended, two rows suspended, one row complete.
    assert_eq!(kinds, "12DDsDDsDCZ");
    client.run("COMMIT");
}

#[test]
fn startup_parameters_are_reported() {
    let server = Server::start();
    let parameters = [
        ("user", "tidemill"),
        ("database", "tidemill"),
        ("application_name", "me"),
        ("options", "-c DateStyle=German"),
    ];
    let client = Client::connect_with(server.pg(), &parameters).unwrap();
    let reported = |name: &str| {
        let found = client.parameters.iter().rev().find(|(key, _)| key == name);
        found.unwrap_or_else(|| panic!("{name} is not reported: {:?}", client.parameters)).1.clone()
    };
    assert_eq!(reported("application_name"), "me");
    assert_eq!(reported("DateStyle"), "German, DMY");
    assert_eq!(reported("server_encoding"), "UTF8");
    assert_eq!(reported("client_encoding"), "UTF8");
    assert_eq!(reported("integer_datetimes"), "on");
    assert_eq!(reported("standard_conforming_strings"), "on");
    assert!(reported("server_version").starts_with("15"));
    assert!(client.key.0 > 0, "BackendKeyData");
}

/// pgjdbc and asyncpg prepare a statement again where its plan was of other columns: they know the error by its routine.
#[test]
fn a_plan_of_other_columns_names_its_routine() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (a int)");
    client.send(b'P', b"s\0SELECT * FROM t\0\0\0").unwrap();
    client.send(b'S', &[]).unwrap();
    client.answers().unwrap();
    client.run("ALTER TABLE t ADD COLUMN b text");
    client.send(b'B', b"\0s\0\0\0\0\0\0\0").unwrap();
    client.send(b'S', &[]).unwrap();
    let Err(Error::Db(error)) = client.answers() else { panic!("an error") };
    assert_eq!((error.code(), error.field('R')), ("0A000", "RevalidateCachedQuery"));
    assert!(error.field('F').ends_with(".rs") && error.field('L').parse::<u32>().is_ok(), "{error:?}");
}

/// The portal that failed is still there for PostgreSQL, which says that the transaction is over.
#[test]
fn a_failed_portal_asked_again() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("BEGIN");
    client.send(b'P', b"\0SELECT 1 / (g - 2) FROM generate_series(1, 3) g\0\0\0").unwrap();
    client.send(b'B', b"p\0\0\0\0\0\0\0\0").unwrap();
    client.send(b'E', b"p\0\0\0\0\0").unwrap();
    client.send(b'S', &[]).unwrap();
    assert_eq!(client.answers().expect_err("division by zero").code(), "22012");
    client.send(b'E', b"p\0\0\0\0\0").unwrap();
    client.send(b'S', &[]).unwrap();
    assert_eq!(client.answers().expect_err("the transaction failed").code(), "25P02");
    client.run("ROLLBACK");
    client.send(b'E', b"p\0\0\0\0\0").unwrap();
    client.send(b'S', &[]).unwrap();
    assert_eq!(client.answers().expect_err("no such portal").code(), "34000");
}

/// Where in a block an error arose, in which statement of it, and what RAISE adds to a notice.
#[test]
fn errors_in_do_say_where() {
    let server = Server::start();
    let mut client = server.connect();
    let mut fails = |sql: &str| match client.simple(sql) {
        Err(Error::Db(error)) => error,
        other => panic!("{sql}: {other:?}"),
    };
    let error = fails("DO $$\nBEGIN\n  PERFORM 1;\n  INSERT INTO nope VALUES (1);\nEND $$");
    assert_eq!((error.code(), error.field('P')), ("42P01", ""));
    assert_eq!((error.field('p'), error.field('q')), ("13", "INSERT INTO nope VALUES (1)"));
    assert_eq!(error.field('W'), "PL/pgSQL function inline_code_block line 4 at SQL statement");
    let error = fails("DO $$ BEGIN IF 1/0 = 1 THEN NULL; END IF; END $$");
    assert_eq!(error.field('W'), "SQL expression \"1/0 = 1\"\nPL/pgSQL function inline_code_block line 1 at IF");
    let error = fails("DO $$ BEGIN PERFORM 1/0; END $$");
    assert_eq!(error.field('W'), "SQL statement \"SELECT 1/0\"\nPL/pgSQL function inline_code_block line 1 at PERFORM");
    let error =
        fails("DO $$ BEGIN RAISE 'x' USING TABLE = 't', COLUMN = 'c', DATATYPE = 'd', CONSTRAINT = 'k'; END $$");
    assert_eq!("tcdn".chars().map(|code| error.field(code)).collect::<String>(), "tcdk");
    assert_eq!(
        (error.field('R'), error.field('W')),
        ("exec_stmt_raise", "PL/pgSQL function inline_code_block line 1 at RAISE")
    );
    client.notices.clear();
    client.run("DO $$ BEGIN RAISE WARNING 'w'; RAISE DEBUG 'd'; RAISE INFO 'i' USING HINT = 'h'; END $$");
    let said: Vec<_> = client
        .notices
        .iter()
        .map(|notice| format!("{} {} {}", notice.field('S'), notice.code(), notice.field('H')))
        .collect();
    assert_eq!(said, ["WARNING 01000 ", "INFO 00000 h"]);
}

/// Mappers send thousands of rows in one statement, each value with a cast. It took time by the square of them.
#[test]
fn an_insert_of_all_the_parameters_there_may_be() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE wide (at timestamptz, n int, v float8)");
    let rows: Vec<String> = (0..21_845)
        .map(|row| {
            format!("(${}::text::timestamptz, ${}::int + 1, ${}::float8)", row * 3 + 1, row * 3 + 2, row * 3 + 3)
        })
        .collect();
    let values: Vec<Option<&str>> = ["2024-01-01Z", "41", "0.5"].into_iter().cycle().take(65_535).map(Some).collect();
    let answer = client.extended(&format!("INSERT INTO wide VALUES {}", rows.join(", ")), &values).unwrap();
    assert_eq!(answer.tag, "INSERT 0 21845");
    assert_eq!(client.value("SELECT count(*) FILTER (WHERE n = 42 AND v = 0.5) FROM wide"), "21845");
    let values: Vec<String> = (1..=32_767).map(|number| format!("${number}")).collect();
    let ones: Vec<Option<&str>> = vec![Some("1"); values.len()];
    let answer = client.extended(&format!("SELECT cardinality(ARRAY[{}])", values.join(",")), &ones).unwrap();
    assert_eq!(answer.rows, [[Some("32767".to_owned())]]);
}
