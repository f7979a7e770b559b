//! Files of the server: compaction, wildcards, validation, progress. What is not one transaction, files, is killed at random
//! moments.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::client::{Client, Error};
use crate::support::server::Server;

/// A folder for files, beside the data directory and gone with it.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("written");
    path
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().display().to_string()).collect();
    names.sort();
    names
}

fn compact(folder: &Path, pattern: &str, more: &str) -> String {
    let (files, into) = (folder.join(pattern), folder.join("all.parquet"));
    let (files, into) = (files.display().to_string().replace('\'', "''"), into.display());
    format!("CALL tidemill.compact_files('{files}', into => '{into}', key => 'id', latest_by => 'ts'{more})")
}

/// The one row a statement gives.
fn row(client: &mut Client, sql: &str) -> Vec<String> {
    let mut rows = client.run(sql).pop().expect("an answer").rows;
    assert_eq!(rows.len(), 1, "{sql}");
    rows.remove(0).into_iter().map(|value| value.unwrap_or("NULL".into())).collect()
}

/// The compacted file as a table of these columns.
fn load(client: &mut Client, folder: &Path, columns: &str) {
    client.run(&format!("DROP TABLE IF EXISTS compacted; CREATE TABLE compacted ({columns})"));
    client.run(&format!("COPY compacted FROM '{}'", folder.join("all.parquet").display()));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(text.as_bytes()).expect("written");
    encoder.finish().expect("packed")
}

#[test]
fn many_files_become_one_with_the_latest_row_of_each_key() {
    let server = Server::start();
    let mut client = server.connect();
    let folder = folder();
    let dir = folder.path();
    put(dir, "a.json", "{\"id\":1,\"ts\":10,\"v\":\"a1\"}\n{\"id\":2,\"ts\":30,\"v\":\"a2\"}\n{\"id\":3,\"ts\":5}\n");
    put(dir, "b.json", "[{\"id\":1,\"ts\":20,\"v\":\"b1\"},\n{\"id\":2,\"ts\":20,\"v\":\"b2\",\"more\":[1,2]}]");
    put(
        dir,
        "c.ndjson.gz",
        gzip("{\"id\":4,\"ts\":1,\"v\":\"c4\"}\n{\"id\":3,\"ts\":5,\"v\":\"tie: the later file\"}\n"),
    );
    let packed = zstd::encode_all(
        &b"{\"id\":3,\"ts\":5,\"v\":\"first\"}\n{\"id\":3,\"ts\":5,\"v\":\"tie: the later line\"}\n"[..],
        1,
    );
    put(dir, "d.ndjson.zst", packed.expect("packed"));
    put(dir, "e.csv", "id,ts,v\n5,1,\"e, 5\"\n4,0,old\n");
    put(dir, ".hidden.json", "{\"id\":1,\"ts\":99}");
    std::fs::create_dir(dir.join("f.json")).expect("made");
    let sql = compact(dir, "*.*", "");
    let answer = client.run(&sql).pop().expect("an answer");
    assert_eq!(answer.columns, ["files", "rows_read", "rows_kept", "bytes", "dead_letters"]);
    assert_eq!(answer.tag, "CALL");
    let values: Vec<&str> = answer.rows[0].iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
    assert_eq!((values[0], values[1], values[2], values[4]), ("5", "11", "5", "0"));
    assert_eq!(values[3], std::fs::metadata(dir.join("all.parquet")).expect("there").len().to_string());
    assert_eq!(names(dir), [".hidden.json", "all.parquet", "f.json"]);
    load(&mut client, dir, "id bigint, ts bigint, v text, more bigint[]");
    let all = "SELECT string_agg(id || ' ' || ts || ' ' || coalesce(v, '-') || coalesce(more::text, ''), '; ' ORDER BY id) FROM compacted";
    let expected = "1 20 b1; 2 30 a2; 3 5 tie: the later line; 4 1 c4; 5 1 e, 5";
    assert_eq!(client.value(all), expected);

    // Again: the file is an input; nothing is new, so nothing happens.
    assert_eq!(row(&mut client, &compact(dir, "*.json", ""))[0], "0");
    // Older rows lose, newer ones win, new columns come.
    put(dir, "a.json", "{\"id\":1,\"ts\":1,\"v\":\"old\"}\n{\"id\":5,\"ts\":1,\"v\":\"tie\",\"extra\":true}");
    let values = row(&mut client, &compact(dir, "a.json", ", delete => false"));
    assert_eq!((&*values[0], &*values[1], &*values[2]), ("1", "7", "5"));
    assert_eq!(names(dir), [".hidden.json", "a.json", "all.parquet", "f.json"]);
    load(&mut client, dir, "id bigint, ts bigint, v text, more bigint[], extra boolean");
    assert_eq!(client.value(all), expected.replace("e, 5", "tie"));
    assert_eq!(client.value("SELECT count(*) FROM compacted WHERE extra"), "1");
    // What was compacted before is older than the file it is in, though it is named again.
    client.run(&compact(dir, "*.json", ""));
    load(&mut client, dir, "id bigint, ts bigint, v text, more bigint[], extra boolean");
    assert_eq!(client.value(all), expected.replace("e, 5", "tie"));
    assert_eq!(names(dir), [".hidden.json", "all.parquet", "f.json"]);
}

#[test]
fn types_that_disagree_lose_nothing() {
    let server = Server::start();
    let mut client = server.connect();
    let folder = folder();
    let dir = folder.path();
    let filler = |from: usize, value: &str| -> String {
        // More than is looked at for the types at first.
        (from..from + 3000)
            .map(|n| format!("{{\"id\":\"{n}\",\"ts\":{n},\"pad\":\"{:40}\",\"n\":{n}{value}}}\n", ""))
            .collect()
    };
    put(
        dir,
        "1.ndjson",
        format!(
            "{}{}",
            filler(0, ""),
            r#"{"id":"a","ts":1,"zip":"00123","n":1,"f":1,"big":9007199254740993,"when":"2024-01-02","x":1,"y":[1]}"#
        ),
    );
    put(
        dir,
        "2.ndjson",
        format!(
            "{}{}",
            filler(3000, ""),
            r#"{"id":"b","ts":1,"zip":123,"n":2.5,"f":0.1,"big":0.5,"when":"2024-01-02T03:04:05Z","x":{"k":1},"y":["a"]}"#
        ),
    );
    put(
        dir,
        "3.ndjson",
        format!(
            "{}{}",
            filler(6000, ""),
            r#"{"id":"c","ts":1,"zip":true,"n":"3","f":2,"big":1,"when":"soon","x":[2],"y":"z"}"#
        ),
    );
    let values = row(&mut client, &compact(dir, "*.ndjson", ""));
    assert_eq!((&*values[0], &*values[1], &*values[2], &*values[4]), ("3", "9003", "9003", "0"));
    load(
        &mut client,
        dir,
        "id text, ts bigint, zip text, n text, f float8, big numeric, \"when\" text, x jsonb, y jsonb",
    );
    let all = "SELECT string_agg(concat_ws(' ', id, zip, n, f, big, \"when\", x, y), '; ' ORDER BY id) FROM compacted WHERE ts = 1 AND zip IS NOT NULL";
    assert_eq!(
        client.value(all),
        "a 00123 1 1 9007199254740993 2024-01-02 1 [1]; b 123 2.5 0.1 0.5 2024-01-02T03:04:05Z {\"k\": 1} [\"a\"]; c true 3 2 1 soon [2] \"z\""
    );
    assert_eq!(client.value("SELECT count(DISTINCT n) FROM compacted"), "9001");
    // A key may change its type, too: the file of before is read as what it is now.
    put(dir, "4.ndjson", "{\"id\":7,\"ts\":100000,\"n\":1}\n{\"id\":[7],\"ts\":1}\n");
    client.run(&compact(dir, "*.ndjson", ""));
    load(&mut client, dir, "id jsonb, ts bigint, n text");
    assert_eq!(client.value("SELECT count(*) FROM compacted"), "9005");
}

#[test]
fn documents_that_are_no_rows_keep_their_file() {
    let server = Server::start();
    let mut client = server.connect();
    let folder = folder();
    let dir = folder.path();
    put(dir, "good.json", "{\"id\":1,\"ts\":1}\n{\"id\":2,\"ts\":1}\n");
    put(dir, "bad.json", "{\"id\":1,\"ts\":2}\n{\"id\":3\n{\"ts\":4}\n{\"id\":null,\"ts\":5}\n{\"id\":\"\u{1}\"}\n");
    let values = row(&mut client, &compact(dir, "*.json", ""));
    assert_eq!((&*values[0], &*values[1], &*values[2], &*values[4]), ("2", "3", "2", "4"));
    assert_eq!(names(dir), ["all.parquet", "bad.json"]);
    let notice = client.notices.pop().expect("a warning");
    assert_eq!((notice.field('S'), notice.code()), ("WARNING", "01000"));
    assert!(
        notice.message().contains("4 documents of 1 files") && notice.message().contains("bad.json, line 2"),
        "{notice:?}"
    );
    // Again: the same.
    let again = row(&mut client, &compact(dir, "*.json", ""));
    assert_eq!((&*again[1], &*again[2], &*again[4]), ("3", "2", "4"));
    load(&mut client, dir, "id bigint, ts bigint");
    assert_eq!(client.value("SELECT string_agg(id || ':' || ts, ' ' ORDER BY id) FROM compacted"), "1:2 2:1");
    put(dir, "bad.json", "{\"id\":3,\"ts\":1}");
    assert_eq!(row(&mut client, &compact(dir, "*.json", ""))[2], "3");
    assert_eq!(names(dir), ["all.parquet"]);
}

#[test]
fn what_cannot_be_compacted_changes_nothing() {
    let server = Server::start();
    let mut client = server.connect();
    let folder = folder();
    let dir = folder.path();
    let hostile = "it's a \"[*]\" ü\n.json";
    put(dir, hostile, "{\"id\":1,\"ts\":1}");
    put(dir, "x.weird", "{\"id\":1,\"ts\":1}");
    std::os::unix::fs::symlink(dir.join("nowhere"), dir.join("dangling.json")).expect("made");
    let before = names(dir);
    assert_eq!(client.sqlstate(&compact(dir, "*.jsonl", "")), "58P01", "an empty pattern");
    assert_eq!(client.sqlstate(&compact(dir, "*.json", "")), "58P01", "a link to nowhere");
    assert_eq!(client.sqlstate(&compact(dir, "*.weird", "")), "22023", "an unknown format");
    assert_eq!(client.sqlstate(&compact(dir, "it*.json", ", key => 'id'")), "42601", "twice");
    assert_eq!(client.sqlstate(&compact(dir, "it*.json", ", nosuch => 1")), "42883");
    assert_eq!(client.sqlstate(&compact(dir, "it*.json", "").replace("'ts'", "'nosuch'")), "42703");
    assert_eq!(client.sqlstate(&compact(dir, "", "")), "42809", "a folder");
    assert_eq!(client.sqlstate(&compact(dir, "it*.json", "").replace("all.parquet", "no/all.parquet")), "58P01");
    assert_eq!(client.sqlstate("CALL tidemill.compact_files('a', into => 'b')"), "22023", "no key");
    let own = compact(server.dir(), "catalog.json", "");
    assert_eq!(client.sqlstate(&own), "42501", "the server's own files");
    client.run("BEGIN");
    assert_eq!(client.sqlstate(&compact(dir, "it*.json", "")), "25001");
    client.run("ROLLBACK");
    client.run("CREATE ROLE guest LOGIN");
    let mut guest = Client::connect(server.pg(), "guest", "tidemill").expect("a session");
    assert_eq!(guest.sqlstate(&compact(dir, "it*.json", "")), "42501");
    assert_eq!(names(dir), before);
    // A broken file among others: nothing is written, nothing deleted.
    put(dir, "good.ndjson", "{\"id\":1,\"ts\":1}");
    put(dir, "torn.ndjson.gz", &gzip(&"{\"id\":1,\"ts\":1}\n".repeat(1000))[..40]);
    assert_eq!(client.sqlstate(&compact(dir, "*.ndjson*", "")), "22P04");
    assert_eq!(names(dir).len(), before.len() + 2);

    // Names with anything in them; a link is read, and only the link is deleted.
    std::os::unix::fs::symlink(dir.join("x.weird"), dir.join("it's a link.json")).expect("made");
    assert_eq!(row(&mut client, &compact(dir, "it's*.json", ""))[..3], ["2", "2", "1"]);
    assert!(dir.join("x.weird").exists() && !dir.join(hostile).exists() && !dir.join("it's a link.json").exists());
}

/// A round of the crash test: files with known rows.
struct Round {
    files: Vec<String>,
    expected: BTreeMap<u64, u64>,
}

impl Round {
    fn new(dir: &Path, random: &mut StdRng) -> Self {
        let mut expected = BTreeMap::new();
        let mut files = vec![];
        for file in 0..random.random_range(1..8) {
            let mut text = String::new();
            for _ in 0..random.random_range(1..4000) {
                let (id, ts) = (random.random_range(0..5000_u64), random.random_range(0..1000_u64));
                let latest = expected.entry(id).or_insert(ts);
                *latest = ts.max(*latest);
                text.push_str(&format!("{{\"id\":{id},\"ts\":{ts},\"v\":\"{id}-{ts}\"}}\n"));
            }
            let name = format!("log{file}.ndjson");
            put(dir, &name, text);
            files.push(name);
        }
        Self { files, expected }
    }
}

#[test]
fn killed_compaction_leaves_inputs_or_output() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = Server::start();
    let (mut finished, mut interrupted) = (0, 0);
    let mut longest = Duration::from_secs(5);
    for round in 0..12 {
        let folder = folder();
        let dir = folder.path();
        let first = Round::new(dir, &mut random);
        let sql = compact(dir, "*.ndjson", "");
        let address = server.pg();
        // The first round tells how long it takes.
        let life = if round == 0 { longest } else { longest.mul_f64(random.random_range(0.0..1.0)) };
        std::thread::scope(|scope| {
            let call = scope.spawn(|| {
                let session = Client::connect(address, "tidemill", "tidemill");
                match session.and_then(|mut client| client.simple(&sql)) {
                    Ok(_) => true,
                    Err(Error::Io(_)) => false,
                    Err(error) => panic!("seed {seed}, round {round}: {error:?}"),
                }
            });
            let began = Instant::now();
            while began.elapsed() < life && !call.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if round == 0 {
                longest = began.elapsed();
            }
            server.kill();
            if call.join().expect("no panic") { finished += 1 } else { interrupted += 1 }
        });
        let left = names(dir);
        let all_inputs = first.files.iter().all(|file| left.contains(file));
        assert!(all_inputs || left.contains(&"all.parquet".to_owned()), "seed {seed}, round {round}: {left:?}");
        server = server.crash_and_restart();
        let mut client = server.connect();
        client.run(&sql);
        assert_eq!(names(dir), ["all.parquet"], "seed {seed}, round {round}");
        load(&mut client, dir, "id bigint, ts bigint, v text");
        let wrong = "SELECT count(*) FROM compacted WHERE v <> id || '-' || ts";
        assert_eq!(client.value(wrong), "0", "seed {seed}, round {round}");
        let found = client.run("SELECT id, ts FROM compacted").pop().expect("an answer").rows;
        let number = |value: &Option<String>| value.as_ref().expect("not NULL").parse::<u64>().expect("a number");
        assert_eq!(found.len(), first.expected.len(), "seed {seed}, round {round}");
        let found: BTreeMap<u64, u64> = found.iter().map(|row| (number(&row[0]), number(&row[1]))).collect();
        assert_eq!(found, first.expected, "seed {seed}, round {round}");
    }
    assert!(finished > 0 && interrupted > 0, "seed {seed}: {finished} finished, {interrupted} interrupted");
}

#[test]
fn copy_takes_all_files_of_a_pattern_or_none() {
    let server = Server::start();
    let mut client = server.connect();
    let folder = folder();
    let dir = folder.path();
    put(dir, "b.csv", "id,v\n3,b\n4,\"b\n4\"\n");
    put(dir, "a.csv", "id,v\n1,a\n2,a2");
    put(dir, "c.csv.gz", gzip("id,v\n5,c\n"));
    client.run("CREATE TABLE t (n int DEFAULT 7, id int, v text)");
    let copy = |pattern: &str, rest: &str| {
        format!("COPY t (id, v) FROM '{}' WITH (FORMAT csv, HEADER) {rest}", dir.join(pattern).display())
    };
    assert_eq!(client.run(&copy("*.csv*", "")).pop().expect("an answer").tag, "COPY 5");
    assert_eq!(client.value("SELECT string_agg(id || v || n, ' ' ORDER BY id) FROM t"), "1a7 2a27 3b7 4b\n47 5c7");
    put(dir, "d.csv", "id,v\n6,d\nseven,e\n");
    let Err(Error::Db(error)) = client.simple(&copy("*.csv*", "")) else { panic!("an error") };
    assert_eq!(error.code(), "22P02");
    let place = error.field('W');
    assert!(place.starts_with("COPY t, line 3, column id: \"seven\"") && place.contains("d.csv"), "{place}");
    assert_eq!(client.value("SELECT count(*) FROM t"), "5", "all or none");
    assert_eq!(client.sqlstate(&copy("*.nosuch", "")), "58P01");
    assert_eq!(client.sqlstate(&copy("", "")), "42809");
    assert_eq!(client.run(&copy("[ab].csv", "WHERE id > 1")).pop().expect("an answer").tag, "COPY 3");

    put(dir, "1.ndjson", "{\"id\":1,\"a\":1}\n{\"id\":");
    put(dir, "2.ndjson", "2,\"b\":2}\n{\"id\":3,\"b\":\"x\"}\n{\"id\":4,\"c\":true}");
    client.run("CREATE TABLE events (id int) WITH (tidemill.evolve = 'add_columns')");
    let tag = client.run(&format!("COPY events FROM '{}' (FORMAT ndjson)", dir.join("*.ndjson").display()));
    assert_eq!(tag[0].tag, "COPY 3", "what is cut off in one file does not go on in the next");
    let letters = "SELECT string_agg(split_part(source, '/', -1) || ':' || line, ' ' ORDER BY source, line) FROM tidemill.dead_letters";
    assert_eq!(client.value(letters), "1.ndjson:2 2.ndjson:1");

    let parquet = dir.join("out.parquet");
    let tag = client
        .run(&format!("COPY (SELECT id, v, n::numeric(5,2) AS n, now() AS at FROM t) TO '{}'", parquet.display()));
    assert_eq!(tag[0].tag, "COPY 8");
    client.run("CREATE TABLE again (id int, v text, n numeric(5,2), at timestamptz)");
    client.run(&format!("COPY again FROM '{}' (FORMAT parquet)", dir.join("*.parquet").display()));
    assert_eq!(client.value("SELECT count(*) || ' ' || sum(id) || ' ' || sum(n) FROM again"), "8 24 56.00");
    assert_eq!(client.sqlstate(&format!("COPY (SELECT id, 1/(id - 4) FROM t) TO '{}'", parquet.display())), "22012");
    client.run(&format!("COPY again FROM '{}'", parquet.display()));
    assert_eq!(client.value("SELECT count(*) FROM again"), "16", "the file is as it was before the failed one");
    assert_eq!(client.sqlstate("COPY again FROM STDIN (FORMAT parquet)"), "0A000");
}

#[test]
fn rows_appear_once_they_are_valid() {
    let server = Server::start();
    let mut client = server.connect();
    let mut other = server.connect();
    client.run("CREATE TABLE t (id int, amount int); INSERT INTO t VALUES (1, 5)");
    let copy =
        |query: &str| format!("COPY t FROM STDIN WITH (FORMAT csv, staging, validate '{}')", query.replace('\'', "''"));
    let negative = copy("SELECT * FROM staged WHERE amount < 0 ORDER BY id");
    let Err(Error::Db(error)) = client.simple_with_data(&negative, b"2,3\n3,-1\n4,\n5,-7\n") else {
        panic!("an error")
    };
    assert_eq!(error.code(), "23514");
    assert_eq!(error.field('D'), "The query gives 2 rows (id, amount): (3, -1), (5, -7).");
    assert_eq!(client.value("SELECT count(*) FROM t"), "1");
    client.simple_with_data(&negative, b"2,3\n3,1\n").expect("valid");
    assert_eq!(client.notices.pop().expect("a notice").message(), "2 rows were validated");
    assert_eq!(client.value("SELECT count(*) FROM t"), "3");
    // The table itself, with the new rows.
    let double = copy("SELECT id, count(*) FROM t WHERE id IN (SELECT id FROM staged) GROUP BY id HAVING count(*) > 1");
    let Err(Error::Db(error)) = client.simple_with_data(&double, b"9,1\n3,1\n") else { panic!("an error") };
    assert_eq!((error.code(), error.field('D')), ("23514", "The query gives 1 rows (id, count): (3, 2)."));
    // What is wrong with the query is said before there is data.
    for (query, code) in [
        ("SELEC", "42601"),
        ("SELECT nosuch FROM staged", "42703"),
        ("SELECT 1; SELECT 2", "42601"),
        ("DELETE FROM t", "42601"),
        ("", "42601"),
    ] {
        assert_eq!(client.sqlstate(&copy(query)), code, "{query}");
    }
    assert_eq!(client.sqlstate("COPY t FROM STDIN (staging false, validate 'SELECT 1')"), "22023");
    // In a transaction: others see nothing before its end, and a savepoint takes back what failed.
    client.run("BEGIN; SAVEPOINT s");
    assert!(client.simple_with_data(&negative, b"10,-1\n").is_err());
    client.run("ROLLBACK TO s");
    client.simple_with_data(&negative, b"10,1\n").expect("valid");
    assert_eq!(other.value("SELECT count(*) FROM t"), "3");
    client.run("COMMIT");
    assert_eq!(other.value("SELECT count(*) FROM t"), "4");
    // Documents, whose columns are new; and rows enough for files.
    client.run("CREATE TABLE events (id int) WITH (tidemill.evolve = 'add_columns')");
    let documents = "COPY events FROM STDIN (FORMAT ndjson, validate 'SELECT id FROM staged WHERE id < 0')";
    assert!(client.simple_with_data(documents, b"{\"id\":1,\"a\":1}\n{\"id\":-1}\n").is_err());
    assert_eq!(client.sqlstate("SELECT a FROM events"), "42703");
    client.simple_with_data(documents, b"{\"id\":1,\"a\":1}\n{\"id\":2,\"b\":{}}\n").expect("valid");
    assert_eq!(client.value("SELECT sum(id) FROM events"), "3");
    // Of an upsert table: every row that comes, and the table's latest.
    client.run("CREATE TABLE latest (id int PRIMARY KEY, v int) WITH (tidemill.upsert = 'v'); INSERT INTO latest VALUES (1, 5)");
    let upsert = |query: &str| format!("COPY latest FROM STDIN (FORMAT csv, validate '{query}')");
    let versions = upsert("SELECT (SELECT sum(v) FROM staged), (SELECT sum(v) FROM latest)");
    let Err(Error::Db(error)) = client.simple_with_data(&versions, b"1,4\n1,7\n2,1\n") else { panic!("an error") };
    assert!(error.field('D').ends_with(": (12, 8)."), "{}", error.field('D'));
    assert_eq!(client.value("SELECT sum(v) FROM latest"), "5");
    client.simple_with_data(&upsert("SELECT 1 FROM staged WHERE v < 0"), b"1,4\n1,7\n2,1\n").expect("valid");
    assert_eq!(client.value("SELECT sum(v) FROM latest"), "8");
    let many: String = (0..150_000).map(|n| format!("{n},{}{}\n", n % 1000, "0".repeat(n % 4))).collect();
    client.run("CREATE TABLE large (id int, pad text)");
    let pads: String = (0..150_000).map(|n| format!("{n},{n:400}\n")).collect();
    let copy = "COPY large FROM STDIN (FORMAT csv, validate 'SELECT id FROM staged WHERE id = 140000')";
    let Err(Error::Db(error)) = client.simple_with_data(copy, pads.as_bytes()) else { panic!("an error") };
    assert_eq!(error.field('D'), "The query gives 1 rows (id): (140000).");
    assert_eq!(client.value("SELECT count(*) FROM large"), "0");
    client
        .simple_with_data(
            "COPY t FROM STDIN (FORMAT csv, validate 'SELECT id FROM staged WHERE id < 0')",
            many.as_bytes(),
        )
        .expect("valid");
    assert_eq!(client.value("SELECT count(*) FROM t"), "150004");
}

#[test]
fn progress_of_loads_is_shown() {
    let server = Server::start();
    let mut client = server.connect();
    let mut other = server.connect();
    client.run("CREATE TABLE t (id int)");
    client.send(b'Q', b"COPY t FROM STDIN WHERE id > 2\0").expect("sent");
    while client.receive().expect("a message").kind != b'G' {}
    let data: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    client.send(b'd', data.as_bytes()).expect("sent");
    let shown = "SELECT concat_ws(' ', pid, datname, (SELECT relname FROM pg_class WHERE oid = relid), command, type, bytes_total, tuples_excluded, tuples_processed > 0, bytes_processed > 0) FROM pg_stat_progress_copy";
    let expected = format!("{} tidemill t COPY FROM PIPE 0 2 t t", client.key.0);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let rows = other.run(shown).pop().expect("an answer").rows;
        if rows.first().is_some_and(|row| row[0].as_deref() == Some(&expected)) {
            break;
        }
        assert!(Instant::now() < deadline, "{rows:?}, not {expected}");
        std::thread::sleep(Duration::from_millis(5));
    }
    other.run("CREATE ROLE guest LOGIN");
    let mut guest = Client::connect(server.pg(), "guest", "tidemill").expect("a session");
    assert_eq!(guest.value("SELECT datname || coalesce(command, '-') FROM pg_stat_progress_copy"), "tidemill-");
    client.send(b'c', b"").expect("sent");
    while client.receive().expect("a message").kind != b'Z' {}
    assert_eq!(other.value("SELECT count(*) FROM pg_stat_progress_copy"), "0");
    assert_eq!(other.value("SELECT count(*) FROM t"), "299998");
}

#[test]
fn documents_come_in_through_call() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE events (id int) WITH (tidemill.evolve = 'add_columns')");
    let values = row(&mut client, r#"CALL tidemill.ingest('events', '{"id": 1, "new": true}')"#);
    assert_eq!(values, ["1", "1", "0"]);
    client.run("BEGIN");
    let sql = "CALL tidemill.ingest('public.events', $1)";
    let answer = client.extended(sql, &[Some(r#"[{"id": 2, "it's": "\"x\""}, {"id": "no"}]"#)]).expect("an answer");
    assert_eq!(answer.rows, [[Some("2".to_owned()), Some("1".to_owned()), Some("1".to_owned())]]);
    assert_eq!(client.value("SELECT count(*) FROM events"), "2", "in the transaction");
    client.run("ROLLBACK");
    assert_eq!(client.value("SELECT count(*) FROM events"), "1");
    assert_eq!(client.sqlstate("SELECT \"it's\" FROM events"), "42703", "the column went with it");
    client.run("CALL tidemill.ingest(documents => E'id,new\\n3,false\\n', \"table\" => 'events', format => 'csv')");
    assert_eq!(client.value("SELECT string_agg(id || ':' || new, ' ' ORDER BY id) FROM events"), "1:true 3:false");
    assert_eq!(client.sqlstate("CALL tidemill.ingest('nosuch', '{}')"), "42P01");
    assert_eq!(client.sqlstate("CALL tidemill.ingest('events')"), "22023");
    assert_eq!(client.sqlstate("CALL tidemill.ingest('events', 1)"), "42804");
    assert_eq!(client.sqlstate("CALL tidemill.flush(nosuch => 1)"), "42883");
}
