//! Types that users make: over the wire's binary form, with documents, beside other clients, after kill -9.

use std::time::Duration;

use crate::support::client::{Error, Message};
use crate::support::server::Server;

const MOOD: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')";

/// Oids of the parameters, and of the columns, that the server describes a statement with.
fn described(messages: &[Message]) -> (Vec<u32>, Vec<u32>) {
    let body = |kind: u8| messages.iter().find(|message| message.kind == kind).map(|message| &message.body[..]);
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    let parameters = body(b't').unwrap()[2..].chunks(4).map(number).collect();
    let mut columns = vec![];
    let mut rest = &body(b'T').unwrap()[2..];
    while !rest.is_empty() {
        let name_end = rest.iter().position(|byte| *byte == 0).unwrap() + 1;
        columns.push(number(&rest[name_end + 6..]));
        rest = &rest[name_end + 18..];
    }
    (parameters, columns)
}

#[test]
fn labels_are_parameters_and_results_of_the_types_oid() {
    let server = Server::start();
    let mut client = server.connect();
    client.run(MOOD);
    client.run("CREATE TABLE t (m mood, a mood[])");
    let oids = client.value("SELECT oid || ' ' || typarray FROM pg_type WHERE typname = 'mood'");
    let (oid, array) = oids.split_once(' ').unwrap();
    let oids: Vec<u32> = vec![oid.parse().unwrap(), array.parse().unwrap()];

    // Types inferred, then declared by the client; values in binary both ways.
    for declared in [vec![], oids.clone()] {
        let sql = b"\0INSERT INTO t VALUES ($1, $2) RETURNING m, a\0";
        let count = u16::try_from(declared.len()).unwrap().to_be_bytes();
        let types: Vec<u8> = declared.iter().flat_map(|oid: &u32| oid.to_be_bytes()).collect();
        client.send(b'P', &[&sql[..], &count, &types].concat()).unwrap();
        client.send(b'D', b"S\0").unwrap();
        let one =
            [&1_u32.to_be_bytes()[..], &[0; 4], &oids[0].to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3], b"sad"];
        let value = one.concat();
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        let bind = [&b"\0\0\0\x01\0\x01\0\x02\0\0\0\x02ok"[..], &length, &value, b"\0\x01\0\x01"].concat();
        client.send(b'B', &bind).unwrap();
        client.send(b'E', b"\0\0\0\0\0").unwrap();
        client.send(b'S', b"").unwrap();
        let mut messages = vec![];
        while messages.last().is_none_or(|message: &Message| message.kind != b'Z') {
            messages.push(client.receive().unwrap());
        }
        assert_eq!(described(&messages), (oids.clone(), oids.clone()), "{declared:?}");
        let row = &messages.iter().find(|message| message.kind == b'D').expect("a row").body;
        assert_eq!(row[2..], [&b"\0\0\0\x02ok"[..], &length, &value].concat());
    }
    assert_eq!(client.value("SELECT count(*) FROM t WHERE m = 'ok' AND a = '{sad}'"), "2");
    let wrong = client.extended("SELECT $1::mood", &[Some("x")]);
    assert!(matches!(wrong, Err(Error::Db(error)) if error.code() == "22P02"));
}

#[test]
fn a_document_with_what_is_no_label_is_a_dead_letter() {
    let server = Server::start();
    let mut client = server.connect();
    client.run(MOOD);
    client.run("CREATE TABLE t (id int, m mood, a mood[])");
    let body = br#"{"id":1,"m":"ok","a":["sad","happy"]}
{"id":2,"m":"x"}
{"id":3,"m":7}
{"id":4,"m":null,"a":["y"]}
{"id":5,"m":"sad"}"#;
    let (status, answer) = server.post("/v1/ingest/t", "", body).unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        client.value("SELECT string_agg(id || m::text || coalesce(a::text, '-'), ' ' ORDER BY m) FROM t"),
        "5sad- 1ok{sad,happy}"
    );
    let letters = "SELECT string_agg(sqlstate || ' ' || column_name || ' ' || line, ', ' ORDER BY line) FROM tidemill.dead_letters";
    assert_eq!(client.value(letters), "22P02 m 2, 22P02 m 3, 22P02 a 4");
    client.run("ALTER TYPE mood ADD VALUE 'x' BEFORE 'ok'; CALL tidemill.replay_dead_letters('t')");
    assert_eq!(client.value("SELECT string_agg(id::text, ' ' ORDER BY m) FROM t"), "5 2 1");
}

/// What was answered is there after the kill, with the same oids; labels in files are those that the type has now.
#[test]
fn types_outlive_a_crash() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.run(MOOD);
    client.run("CREATE TABLE t (id int, m mood DEFAULT 'ok', a mood[])");
    client.run("INSERT INTO t SELECT i, (enum_range(NULL::mood))[1 + i % 3], ARRAY['sad', 'happy']::mood[] FROM generate_series(1, 9) i");
    client.run("VACUUM t");
    client.run("ALTER TYPE mood ADD VALUE 'fine' AFTER 'ok'");
    client.run("INSERT INTO t (id, m) VALUES (10, 'fine')");
    client.run("ALTER TYPE mood RENAME VALUE 'happy' TO 'glad'");
    client.run("BEGIN; CREATE TYPE lost AS ENUM ('a'); ALTER TYPE mood ADD VALUE 'lost'");
    let all = "SELECT string_agg(m || coalesce(a::text, ''), ' ' ORDER BY m, id) FROM t";
    let expected = "sad{sad,glad} sad{sad,glad} sad{sad,glad} ok{sad,glad} ok{sad,glad} ok{sad,glad} fine glad{sad,glad} glad{sad,glad} glad{sad,glad}";
    let oids =
        "SELECT string_agg(oid || ' ' || typname, ' ' ORDER BY oid) FROM pg_type WHERE typname ~ '^_?(mood|lost)$'";
    let known = server.connect().value(oids);
    for round in 0..3 {
        server = if round == 1 { server.restart() } else { server.crash_and_restart() };
        let mut client = server.connect();
        assert_eq!(client.value(all), expected, "round {round}");
        assert_eq!(client.value(oids), known);
        assert_eq!(client.value("SELECT enum_range(NULL::mood)"), "{sad,ok,fine,glad}");
        assert_eq!(client.sqlstate("SELECT 'a'::lost"), "42704");
        assert_eq!(client.sqlstate("INSERT INTO t VALUES (1, 'happy')"), "22P02");
        if round == 0 {
            client.run("CALL tidemill.checkpoint()");
        }
    }
    // A new object gets none of the oids that parts of the type have.
    let mut client = server.connect();
    client.run("CREATE TYPE later AS ENUM ('a', 'b')");
    let used = "SELECT count(*) = count(DISTINCT oid) FROM (SELECT oid FROM pg_enum UNION ALL SELECT oid FROM pg_type WHERE oid > 16383) x";
    assert_eq!(client.value(used), "t");
    client.run("DROP TYPE mood CASCADE");
    let server = server.crash_and_restart();
    assert_eq!(server.connect().value("SELECT count(id) || (SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0)::text FROM t"), "101");
}

/// Tables that are made while others change the type know it as it is.
#[test]
fn tables_and_labels_made_at_once_agree() {
    let server = Server::start();
    let mut client = server.connect();
    client.run(MOOD);
    let made = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..3)
            .map(|maker| {
                let server = &server;
                scope.spawn(move || {
                    let mut session = server.connect();
                    let mut made = vec![];
                    for n in 0..12 {
                        // Each table that comes in between makes the other's change begin again: it must come to its end.
                        std::thread::sleep(Duration::from_millis(20));
                        let name = format!("t{maker}_{n}");
                        match session.simple(&format!("CREATE TABLE {name} (m mood)")) {
                            Ok(_) => made.push(name),
                            Err(Error::Db(error)) => assert_eq!(error.code(), "40001", "{error}"),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    made
                })
            })
            .collect();
        for n in 0..15 {
            let add = format!("ALTER TYPE mood ADD VALUE 'n{n}'");
            while let Err(error) = client.simple(&add) {
                assert!(matches!(&error, Error::Db(error) if error.code() == "40001"), "{error}");
            }
        }
        makers.into_iter().flat_map(|maker| maker.join().unwrap()).collect::<Vec<_>>()
    });
    let server = server.crash_and_restart();
    let mut client = server.connect();
    for name in &made {
        client.run(&format!("INSERT INTO {name} VALUES ('n14'), ('sad')"));
        assert_eq!(client.value(&format!("SELECT max(m) FROM {name}")), "n14");
    }
}
