//! What drivers rely on beyond SQL: values in text and binary, descriptions before execution, implicit transactions, reported
//! settings, the shapes of COPY, logins that fail.

use std::time::Duration;

use crate::support::client::{Client, DbError, Error, Message};
use crate::support::server::Server;

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

fn parse(sql: &str) -> Vec<u8> {
    [text(""), text(sql), vec![0, 0]].concat()
}

/// Bind of the unnamed statement with one parameter; formats are 0 for text, 1 for binary.
fn bind(format: u8, value: &[u8], result_format: u8) -> Vec<u8> {
    let length = i32::try_from(value.len()).unwrap().to_be_bytes();
    [&[0, 0, 0, 1, 0, format, 0, 1], &length[..], value, &[0, 1, 0, result_format]].concat()
}

/// The messages up to ReadyForQuery.
fn until_ready(client: &mut Client) -> Vec<Message> {
    let mut messages = vec![];
    loop {
        let message = client.receive().expect("the server answers");
        let end = message.kind == b'Z';
        messages.push(message);
        if end {
            return messages;
        }
    }
}

fn kinds(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.kind)).collect()
}

/// The only value of the only row.
fn value(messages: &[Message], what: &str) -> Vec<u8> {
    let row = messages.iter().find(|message| message.kind == b'D');
    let row = row.unwrap_or_else(|| {
        let errors = messages.iter().filter(|message| message.kind == b'E');
        panic!("{what}: {:?}", errors.map(|e| String::from_utf8_lossy(&e.body).into_owned()).collect::<Vec<_>>())
    });
    row.body[6..].to_vec()
}

/// Type oid and modifier of the only column.
fn column(messages: &[Message]) -> (u32, i32) {
    let body = &messages.iter().find(|message| message.kind == b'T').expect("a description").body;
    let name_end = body[2..].iter().position(|byte| *byte == 0).unwrap() + 3;
    let number = |at: usize| i32::from_be_bytes(body[name_end + at..name_end + at + 4].try_into().unwrap());
    (number(6).cast_unsigned(), number(12))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Type, value as text, oid, modifier, value in binary: PostgreSQL 15's.
const VALUES: &[(&str, &str, u32, i32, &str)] = &[
    ("bool", r#"t"#, 16, -1, "01"),
    ("int2", r#"-32768"#, 21, -1, "8000"),
    ("int4", r#"7"#, 23, -1, "00000007"),
    ("int8", r#"-9223372036854775808"#, 20, -1, "8000000000000000"),
    ("float4", r#"1.5"#, 700, -1, "3fc00000"),
    ("float4", r#"NaN"#, 700, -1, "7fc00000"),
    ("float8", r#"-1e-300"#, 701, -1, "81a56e1fc2f8f359"),
    ("float8", r#"Infinity"#, 701, -1, "7ff0000000000000"),
    ("numeric", r#"-12345.6789"#, 1700, -1, "0003000140000004000109291a85"),
    ("numeric", r#"0"#, 1700, -1, "0000000000000000"),
    ("numeric(10,2)", r#"1.50"#, 1700, 655366, "000200000000000200011388"),
    ("numeric", r#"100000000"#, 1700, -1, "00010002000000000001"),
    ("numeric", r#"0.0001"#, 1700, -1, "0001ffff000000040001"),
    ("text", r#"naïve"#, 25, -1, "6e61c3af7665"),
    ("text", r#""#, 25, -1, ""),
    ("varchar(5)", r#"abc"#, 1043, 9, "616263"),
    ("char(4)", r#"ab  "#, 1042, 8, "61622020"),
    ("name", r#"x"#, 19, -1, "78"),
    ("\"char\"", r#"c"#, 18, -1, "63"),
    ("bytea", r#"\x00ff5c"#, 17, -1, "00ff5c"),
    ("date", r#"1999-12-31"#, 1082, -1, "ffffffff"),
    ("date", r#"infinity"#, 1082, -1, "7fffffff"),
    ("time", r#"23:59:59.999999"#, 1083, -1, "000000141dd75fff"),
    ("timestamp", r#"1969-12-31 23:59:59.5"#, 1114, -1, "fffca2fec4c07ee0"),
    ("timestamptz", r#"2024-02-29 12:00:00+00"#, 1184, -1, "0002b582c4781000"),
    ("interval", r#"1 mon -2 days +03:04:05.6"#, 1186, -1, "00000002925e7b00fffffffe00000001"),
    ("uuid", r#"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"#, 2950, -1, "a0eebc999c0b4ef8bb6d6bb9bd380a11"),
    ("json", r#"{"a":  1}"#, 114, -1, "7b2261223a2020317d"),
    ("jsonb", r#"{"a": [1, null]}"#, 3802, -1, "017b2261223a205b312c206e756c6c5d7d"),
    ("oid", r#"4294967295"#, 26, -1, "ffffffff"),
    (
        "int4[]",
        r#"{1,NULL,3}"#,
        1007,
        -1,
        "00000001000000010000001700000003000000010000000400000001ffffffff0000000400000003",
    ),
    ("int4[]", r#"{}"#, 1007, -1, "000000000000000000000017"),
    (
        "text[]",
        r#"{"a b",NULL,""}"#,
        1009,
        -1,
        "000000010000000100000019000000030000000100000003612062ffffffff00000000",
    ),
    (
        "numeric[]",
        r#"{1.5,NULL}"#,
        1231,
        -1,
        "0000000100000001000006a400000002000000010000000c000200000000000100011388ffffffff",
    ),
    (
        "timestamptz[]",
        r#"{"2024-01-01 00:00:00+00"}"#,
        1185,
        -1,
        "0000000100000000000004a00000000100000001000000080002b0d5d4e94000",
    ),
    ("bool[]", r#"{t,f}"#, 1000, -1, "000000010000000000000010000000020000000100000001010000000100"),
    (
        "uuid[]",
        r#"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"#,
        2951,
        -1,
        "000000010000000000000b86000000010000000100000010a0eebc999c0b4ef8bb6d6bb9bd380a11",
    ),
    ("jsonb[]", r#"{"{\"a\": 1}"}"#, 3807, -1, "000000010000000000000eda000000010000000100000009017b2261223a20317d"),
    ("date[]", r#"{2000-01-01}"#, 1182, -1, "00000001000000000000043a00000001000000010000000400000000"),
    ("bytea[]", r#"{"\\x01"}"#, 1001, -1, "00000001000000000000001100000001000000010000000101"),
];

#[test]
fn every_type_travels_in_text_and_binary() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("SET TimeZone = 'UTC'");
    for (sql_type, shown, oid, modifier, binary) in VALUES {
        let mut ask = |format: u8, value: &[u8], result: u8| {
            client.send(b'P', &parse(&format!("SELECT $1::{sql_type}"))).unwrap();
            client.send(b'B', &bind(format, value, result)).unwrap();
            client.send(b'D', b"P\0").unwrap();
            client.send(b'E', &[0; 5]).unwrap();
            client.send(b'S', &[]).unwrap();
            until_ready(&mut client)
        };
        let what = format!("{sql_type} {shown}");
        let messages = ask(0, shown.as_bytes(), 1);
        assert_eq!(hex(&value(&messages, &what)), *binary, "{what}: text in, binary out");
        assert_eq!(column(&messages), (*oid, *modifier), "{what}: description");
        let messages = ask(1, &unhex(binary), 0);
        assert_eq!(String::from_utf8(value(&messages, &what)).unwrap(), *shown, "{what}: binary in, text out");
    }
}

/// A statement, its parameters' type oids, its columns' type oids and modifiers.
type Described = (&'static str, &'static [u32], &'static [(u32, i32)]);

#[test]
fn statements_are_described_before_they_run() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (a int NOT NULL, b varchar(7), c numeric(8,3), d timestamptz[], e text)");
    let cases: &[Described] = &[
        ("SELECT a, b, c, d FROM t", &[], &[(23, -1), (1043, 11), (1700, 524_295), (1185, -1)]),
        ("SELECT a FROM t WHERE e = $1 AND c > $2", &[25, 1700], &[(23, -1)]),
        ("SELECT a + $1, $2 || e FROM t LIMIT $3", &[23, 25, 20], &[(23, -1), (25, -1)]),
        ("INSERT INTO t VALUES ($1, $2, $3, $4)", &[23, 1043, 1700, 1185], &[]),
        ("INSERT INTO t (c, a) VALUES ($1, $2) RETURNING b, a", &[1700, 23], &[(1043, 11), (23, -1)]),
        ("UPDATE t SET b = $1 WHERE a = $2", &[1043, 23], &[]),
        ("DELETE FROM t WHERE a = ANY($1)", &[1007], &[]),
        ("SELECT $1", &[25], &[(25, -1)]),
        ("SELECT sum(a + $1), count(*) FILTER (WHERE a > $2) FROM t", &[23, 23], &[(20, -1), (20, -1)]),
        ("SELECT a % $1 AS m, count(*) FROM t GROUP BY 1 HAVING sum(a + $2) > 0", &[23, 23], &[(23, -1), (20, -1)]),
        ("SELECT $1::regclass", &[2205], &[(2205, -1)]),
        ("SHOW timezone", &[], &[(25, -1)]),
        ("BEGIN", &[], &[]),
        ("", &[], &[]),
    ];
    for (sql, parameters, columns) in cases {
        client.send(b'P', &parse(sql)).unwrap();
        client.send(b'D', b"S\0").unwrap();
        client.send(b'S', &[]).unwrap();
        let messages = until_ready(&mut client);
        let last = if columns.is_empty() { "n" } else { "T" };
        assert_eq!(kinds(&messages), format!("1t{last}Z"), "{sql}: {messages:?}");
        let told: Vec<u32> =
            messages[1].body[2..].chunks(4).map(|oid| u32::from_be_bytes(oid.try_into().unwrap())).collect();
        assert_eq!(told, *parameters, "{sql}: parameters");
        let mut described = vec![];
        let mut rest = messages[2].body.get(2..).unwrap_or_default();
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            let number = |at: usize| i32::from_be_bytes(rest[end + at..end + at + 4].try_into().unwrap());
            described.push((number(7).cast_unsigned(), number(13)));
            rest = &rest[end + 19..];
        }
        assert_eq!(described, *columns, "{sql}: columns");
    }
}

#[test]
fn parameters_stand_in_any_place() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (x int); INSERT INTO t VALUES (1), (2), (3)");
    let cases: &[(&str, &[&str], &str)] = &[
        ("SELECT sum(x + $1::int) FROM t", &["1"], "9"),
        ("SELECT sum(x + $1) + max(x * $2) FROM t", &["1", "10"], "39"),
        ("SELECT string_agg(upper($1), $2) FROM t", &["a", "-"], "A-A-A"),
        ("SELECT x % $1 FROM t GROUP BY 1 ORDER BY count(*) DESC LIMIT $2", &["2", "1"], "1"),
        ("SELECT x % $1 + sum(x + $2) FROM t GROUP BY x % $1 ORDER BY 1 DESC", &["2", "0"], "5"),
        ("SELECT sum(x + $1) OVER (ORDER BY x) FROM t ORDER BY x DESC", &["1"], "9"),
        ("SELECT count(DISTINCT x / $1) FROM t", &["2"], "2"),
        ("SELECT max(y) FROM (SELECT DISTINCT x + $1 AS y FROM t UNION ALL SELECT $2) s", &["1", "7"], "7"),
        ("SELECT $1::regclass", &["public.t"], "t"),
        ("SELECT relname FROM pg_class WHERE oid = $1::regclass", &["\"public\" . \"t\""], "t"),
        ("SELECT $1::regtype::oid", &["character varying"], "1043"),
    ];
    for (sql, parameters, expected) in cases {
        let parameters: Vec<_> = parameters.iter().map(|text| Some(*text)).collect();
        let answer = client.extended(sql, &parameters).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(answer.rows[0][0].as_deref(), Some(*expected), "{sql}");
    }
    let error = client.extended("SELECT $1::regclass", &[Some("nowhere")]).unwrap_err();
    assert_eq!(error.code(), "42P01");
}

#[test]
fn a_cursor_is_a_portal() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("BEGIN; DECLARE c CURSOR FOR SELECT 1 AS a, 'x'::text AS b");
    client.send(b'D', b"Pc\0").unwrap();
    client.send(b'C', b"Pc\0").unwrap();
    client.send(b'D', b"Pc\0").unwrap();
    client.send(b'S', &[]).unwrap();
    assert_eq!(kinds(&until_ready(&mut client)), "T3EZ", "described, closed, gone");
    client.run("ROLLBACK");
}

#[test]
fn the_branches_of_a_union_keep_their_order() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (x int); INSERT INTO t SELECT * FROM generate_series(1, 1000)");
    for _ in 0..20 {
        let sql =
            "SELECT x FROM t WHERE x > 990 UNION ALL SELECT 0 UNION ALL SELECT NULL WHERE true UNION ALL SELECT -1";
        let answer = client.run(sql).remove(0);
        let tail: Vec<_> = answer.rows[10..].iter().map(|row| row[0].as_deref()).collect();
        assert_eq!(tail, [Some("0"), None, Some("-1")]);
    }
}

#[test]
fn subqueries_in_case_run_for_their_branch_only() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (x int); INSERT INTO t VALUES (0), (1), (2)");
    // As asyncpg asks for types: were the subquery run for every row, it would divide by zero.
    let sql = "SELECT string_agg(y::text, ',' ORDER BY x) FROM (SELECT x, CASE WHEN x > 0 THEN \
               (SELECT 10 / o.x + i.x FROM t i WHERE i.x <= o.x ORDER BY i.x DESC LIMIT 1) END AS y FROM t o) s";
    assert_eq!(client.value(sql), "11,7");
    let sql = "SELECT string_agg(y::text, ',' ORDER BY x) FROM (SELECT x, CASE x WHEN 0 THEN -1 ELSE \
               (SELECT max(i.x) FROM t i WHERE i.x < o.x) END AS y FROM t o) s";
    assert_eq!(client.value(sql), "-1,0,1");
}

/// Also down to the columns that are read: only those that somebody asks for.
#[test]
fn latest_on_costs_what_distinct_on_does() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE r (id int, ts timestamptz, k int, l int); INSERT INTO r VALUES (1, now(), 2, 3)");
    let mut aggregation = |sql: &str| -> Vec<String> {
        let answer = client.run(&format!("EXPLAIN (COSTS OFF) {sql}")).remove(0);
        let operator = |line: &str| line.trim().trim_start_matches("->").trim().to_owned();
        let lines = answer.rows.iter().map(|row| operator(row[0].as_deref().unwrap_or_default()));
        lines.skip_while(|line| line != "Aggregate").collect()
    };
    let latest = aggregation("SELECT k, id FROM r LATEST ON ts PARTITION BY k");
    assert!(latest.last().is_some_and(|scan| scan.contains("projection=[id, ts, k]")), "{latest:?}");
    for same in [
        "SELECT k, id FROM r LATEST ON ts PARTITION BY k ORDER BY k",
        "SELECT DISTINCT ON (k) k, id FROM r WHERE ts IS NOT NULL ORDER BY k, ts DESC NULLS LAST",
        "SELECT k, id FROM (SELECT DISTINCT ON (k) * FROM r WHERE ts IS NOT NULL ORDER BY k, ts DESC NULLS LAST) d",
        "SELECT k, id FROM (r LATEST ON ts PARTITION BY k)",
    ] {
        assert_eq!(aggregation(same), latest, "{same}");
    }
}

#[test]
fn a_query_string_is_one_transaction() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (x int)");
    assert_eq!(
        client.sqlstate("INSERT INTO t VALUES (1); SELECT 1 / (x - 1) FROM t; INSERT INTO t VALUES (2)"),
        "22012"
    );
    assert_eq!(client.value("SELECT count(*) FROM t"), "0", "what came before the error is undone");
    assert_eq!(
        client.sqlstate("INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); SELECT * FROM nowhere"),
        "42P01"
    );
    assert_eq!(client.value("SELECT string_agg(x::text, ',') FROM t"), "1", "COMMIT ends the implicit transaction");
    assert_eq!(client.sqlstate("BEGIN; INSERT INTO t VALUES (3); SELECT * FROM nowhere; COMMIT"), "42P01");
    assert_eq!(client.status, 'E', "the explicit transaction waits for its end");
    client.run("ROLLBACK");
    assert_eq!(client.value("SELECT count(*) FROM t"), "1");
}

#[test]
fn changed_settings_are_reported() {
    let server = Server::start();
    let mut client = server.connect();
    let mut reported = |sql: &str| {
        client.parameters.clear();
        client.run(sql);
        client.parameters.clone()
    };
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    assert_eq!(reported("SET TimeZone = 'Europe/Berlin'"), pair("TimeZone", "Europe/Berlin"));
    assert_eq!(reported("SET work_mem = '8MB'"), []);
    assert_eq!(reported("BEGIN; SET LOCAL DateStyle = 'SQL, DMY'"), pair("DateStyle", "SQL, DMY"));
    assert_eq!(reported("ROLLBACK"), pair("DateStyle", "ISO, MDY"));
    assert_eq!(reported("SET application_name = 'me'"), pair("application_name", "me"));
    assert_eq!(reported("RESET ALL").len(), 2, "TimeZone and application_name are as they were");
    assert_eq!(reported("SELECT set_config('application_name', 'you', false)"), pair("application_name", "you"));
    assert_eq!(reported("DISCARD ALL"), pair("application_name", "tests"));
}

#[test]
fn statements_that_tools_send_are_accepted() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (x int)");
    let tags = [
        ("UNLISTEN *", "UNLISTEN"),
        ("UNLISTEN channel", "UNLISTEN"),
        ("CLOSE ALL", "CLOSE CURSOR ALL"),
        ("RESET ALL", "RESET"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "SET"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET"),
        ("SET CONSTRAINTS ALL DEFERRED", "SET CONSTRAINTS"),
        ("SET ROLE tidemill", "SET"),
        ("RESET ROLE", "RESET"),
        ("SET SESSION AUTHORIZATION DEFAULT", "SET"),
        ("SET NAMES 'UTF8'", "SET"),
        ("DISCARD PLANS", "DISCARD PLANS"),
        ("DISCARD ALL", "DISCARD ALL"),
        ("DEALLOCATE ALL", "DEALLOCATE ALL"),
        ("ANALYZE t", "ANALYZE"),
        ("VACUUM t", "VACUUM"),
        ("VACUUM (ANALYZE) t", "VACUUM"),
        ("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; COMMIT", "BEGIN LOCK TABLE COMMIT"),
        ("LOCK TABLE t", "25P01"),
        ("LISTEN channel", "LISTEN"),
        ("NOTIFY channel, 'payload'", "NOTIFY"),
    ];
    for (sql, expected) in tags {
        let told = match client.simple(sql) {
            Ok(answers) => answers.into_iter().map(|answer| answer.tag).collect::<Vec<_>>().join(" "),
            Err(error) => error.code().to_owned(),
        };
        assert_eq!(told, expected, "{sql}");
    }
}

#[test]
fn logins_fail_with_postgresqls_codes() {
    let server = Server::start();
    let login = |parameters: &[(&str, &str)]| match Client::connect_with(server.pg(), parameters) {
        Ok(mut client) => {
            Ok(client.value("SELECT current_setting('search_path') || ' ' || current_setting('application_name')"))
        }
        Err(Error::Db(error)) => Err((error.field('S').to_owned(), error.code().to_owned())),
        Err(error) => panic!("{error}"),
    };
    let fatal = |code: &str| Err(("FATAL".to_owned(), code.to_owned()));
    let user = ("user", "tidemill");
    assert_eq!(login(&[user, ("database", "nowhere")]), fatal("3D000"));
    assert_eq!(login(&[("user", "nobody"), ("database", "tidemill")]), fatal("28000"));
    assert_eq!(login(&[("database", "tidemill")]), fatal("28000"));
    assert_eq!(login(&[user, ("replication", "true")]), fatal("0A000"));
    assert_eq!(login(&[user, ("options", "-c nothing.")]), fatal("42601"));
    assert_eq!(login(&[user, ("options", "-c work_mem=lots")]), fatal("22023"));
    let options = ("options", "-c search_path=a,public --application-name=x");
    assert_eq!(login(&[user, options]), Ok("a,public x".to_owned()));
    assert_eq!(login(&[user, options, ("application_name", "y")]), Ok("a,public y".to_owned()));
}

#[test]
fn a_newer_protocol_is_negotiated() {
    let server = Server::start();
    let mut client = Client::open(server.pg()).unwrap();
    let parameters = b"user\0tidemill\0_pq_.wishes\0on\0\0";
    let length = i32::try_from(parameters.len() + 8).unwrap();
    // Version 3.9.
    client.send_bytes(&[&length.to_be_bytes()[..], &[0, 3, 0, 9], parameters].concat()).unwrap();
    let messages = until_ready(&mut client);
    let negotiate = messages.iter().find(|message| message.kind == b'v').expect("NegotiateProtocolVersion");
    assert_eq!(negotiate.body, [&[0, 3, 0, 2, 0, 0, 0, 1][..], b"_pq_.wishes\0"].concat());
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn binary_copy_is_cut_as_postgresql_cuts_it() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (a int2, b text)");
    let copied = |client: &mut Client, sql: &str| {
        client.send(b'Q', &text(sql)).unwrap();
        let messages = until_ready(client);
        let data = messages.into_iter().filter(|message| message.kind == b'd');
        data.map(|message| hex(&message.body)).collect::<Vec<_>>()
    };
    let header = "5047434f50590aff0d0a000000000000000000";
    assert_eq!(copied(&mut client, "COPY t TO STDOUT (FORMAT binary)"), [format!("{header}ffff")]);
    client.run("INSERT INTO t VALUES (1, 'x'), (2, NULL)");
    let rows = ["000200000002000100000001 78", "000200000002 0002ffffffff", "ffff"].map(|row| row.replace(' ', ""));
    let binary = copied(&mut client, "COPY (SELECT * FROM t ORDER BY a) TO STDOUT (FORMAT binary)");
    assert_eq!(binary, [format!("{header}{}", rows[0]), rows[1].clone(), rows[2].clone()]);
    let data: Vec<u8> = binary.iter().flat_map(|message| unhex(message)).collect();
    // Back in, by the extended protocol.
    let answer = client.extended_with_data("COPY t FROM STDIN (FORMAT binary)", &[], Some(&data)).unwrap();
    assert_eq!(answer.tag, "COPY 2");
    assert_eq!(client.value("SELECT count(*) || ' ' || count(b) FROM t"), "4 2");
}

#[test]
fn copy_is_cancelled() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (x int)");
    client.send(b'Q', &text("COPY t FROM STDIN")).unwrap();
    assert_eq!(client.receive().unwrap().kind, b'G');
    client.send(b'd', b"1\n").unwrap();
    // A request that overtakes the data is for the COPY all the same.
    std::thread::sleep(Duration::from_millis(20));
    Client::cancel_request(server.pg(), client.key).unwrap();
    let error: DbError = match client.answers() {
        Err(Error::Db(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error.code(), "57014");
    client.send(b'd', b"2\n").unwrap();
    client.send(b'c', &[]).unwrap();
    assert_eq!(client.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn hidden_columns_and_names_of_functions() {
    let server = Server::start();
    let mut client = server.connect();
    client
        .run("CREATE TABLE t (x int); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT tableoid AS origin, x FROM t");
    let cases = [
        ("SELECT tableoid = 't'::regclass FROM t", "t"),
        ("SELECT a.tableoid::regclass FROM t a CROSS JOIN pg_class b LIMIT 1", "t"),
        ("SELECT b.tableoid::regclass FROM t a CROSS JOIN pg_class b LIMIT 1", "pg_class"),
        ("SELECT (SELECT c.tableoid::regclass FROM pg_namespace n LIMIT 1) FROM pg_type c LIMIT 1", "pg_type"),
        ("SELECT origin::regclass FROM v", "t"),
        ("WITH t AS (SELECT 7 AS tableoid) SELECT tableoid FROM t", "7"),
        ("SELECT count(*) FROM t WHERE tableoid = 't'::regclass", "1"),
        ("SELECT 'upper(text)'::regprocedure::oid = 'upper(text)'::regprocedure", "t"),
        ("SELECT 'pg_catalog.upper(text)'::regprocedure", "upper(text)"),
        ("SELECT '=(integer,bigint)'::regoperator", "=(integer,bigint)"),
        ("SELECT (information_schema._pg_expandarray(ARRAY[5, 6])).n", "1"),
        ("SELECT (k).x FROM (SELECT information_schema._pg_expandarray(ARRAY[5, 6]) AS k) s", "5"),
        ("SELECT current_schema()", "public"),
        ("SELECT count(*) FROM pg_class WHERE relname LIKE 'pg/_' || 'clas%' ESCAPE '/'", "1"),
    ];
    for (sql, expected) in cases {
        assert_eq!(client.value(sql), expected, "{sql}");
    }
    assert_eq!(client.run("SELECT tableoid FROM t")[0].columns, ["tableoid"]);
    assert_eq!(client.run("SELECT * FROM t")[0].columns, ["x"]);
    assert_eq!(client.run("SELECT NULL::int[], CAST('{}' AS varchar(3)[])")[0].columns, ["int4", "varchar"]);
    let errors = [
        ("SELECT 'upper(nonsense)'::regprocedure", "42704"),
        ("SELECT 'upper(date, date)'::regprocedure", "42883"),
        ("SELECT 'upper'::regprocedure", "22P02"),
        ("SELECT tableoid", "42703"),
        ("SELECT s.tableoid FROM (SELECT 1 AS x) s", "42703"),
    ];
    for (sql, code) in errors {
        assert_eq!(client.sqlstate(sql), code, "{sql}");
    }
}
