//! Sources of files and of Kafka messages: each thing is taken in once, whatever happens to the server and the broker.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use crate::support::client::Client;
use crate::support::server::Server;

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

/// A broker in this process.
struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Broker {
    fn with_topic(topic: &str, partitions: i32) -> Self {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic(topic, partitions, 1).expect("a topic");
        let producer = producer(&cluster.bootstrap_servers(), &[]);
        Self { cluster, producer }
    }

    fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    fn send(&self, topic: &str, partition: i32, values: &[&[u8]]) {
        for value in values {
            let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(topic).partition(partition).payload(value);
            self.producer.send(record).map_err(|(error, _)| error).expect("it is queued");
        }
        self.producer.flush(PATIENCE).expect("it is sent");
    }
}

fn producer(brokers: &str, settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().expect("a producer")
}

fn create(client: &mut Client, broker: &Broker, topic: &str, rest: &str) {
    let brokers = broker.brokers();
    client.run(&format!("CREATE SOURCE {topic} FROM KAFKA (brokers '{brokers}', topic '{topic}'{rest}) INTO t"));
}

#[test]
fn messages_are_taken_in_once() {
    let broker = Broker::with_topic("clicks", 3);
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id text, n int) WITH (tidemill.evolve = 'add_columns')");
    broker.send("clicks", 0, &[br#"{"id":"a","n":1}"#, b"{\"id\":\n\"b\",\"color\":\"red\"}"]);
    broker.send("clicks", 1, &[br#"{"id":"c","n":"#, b"", br#"{"id":"d","n":"x"}"#, br#"{"id":"e","n":5}"#]);
    create(&mut client, &broker, "clicks", ", format json");
    let ids = "SELECT string_agg(id || coalesce(n, 0) || coalesce(color, ''), ' ' ORDER BY id) FROM t";
    wait_for(&mut client, ids, "a1 b0red e5");
    // Poison goes to the dead letters with its place, and the partition goes on.
    let letters = "SELECT string_agg(source || ':' || byte_offset || ' ' || sqlstate, ', ' ORDER BY byte_offset) FROM tidemill.dead_letters";
    assert_eq!(client.value(letters), "clicks/1:0 22P02, clicks/1:1 22P02, clicks/1:2 22P02");
    wait_for(&mut client, "SELECT lag FROM tidemill.sources", "0");
    assert_eq!(
        client.value("SELECT kind || ' ' || \"table\" || ' ' || state || ' ' || rows || ' ' || dead_letters FROM tidemill.sources"),
        "kafka public.t running 3 3"
    );
    let offsets = "SELECT (partitions -> '0' ->> 'offset') || (partitions -> '1' ->> 'offset') FROM tidemill.sources";
    assert_eq!(client.value(offsets), "24");

    broker.send("clicks", 2, &[br#"{"id":"f"}"#]);
    wait_for(&mut client, "SELECT count(*) FROM t", "4");
    let server = server.restart();
    let mut client = server.connect();
    broker.send("clicks", 0, &[br#"{"id":"g"}"#]);
    wait_for(&mut client, ids, "a1 b0red e5 f0 g0");
    let server = server.crash_and_restart();
    let mut client = server.connect();
    broker.send("clicks", 1, &[br#"{"id":"h"}"#]);
    wait_for(&mut client, ids, "a1 b0red e5 f0 g0 h0");
    assert_eq!(client.value("SELECT rows || ' ' || dead_letters FROM tidemill.sources"), "6 3");

    client.run("ALTER SOURCE clicks PAUSE");
    broker.send("clicks", 1, &[br#"{"id":"i"}"#]);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(client.value("SELECT state || count(t.id) FROM tidemill.sources, t GROUP BY state"), "paused6");
    client.run("ALTER SOURCE clicks RESUME");
    wait_for(&mut client, "SELECT count(*) FROM t", "7");
}

#[test]
fn raw_messages_and_csv_and_the_end_of_a_topic() {
    let broker = Broker::with_topic("raw", 1);
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (value bytea, key text, \"offset\" bigint, partition int, \"timestamp\" timestamptz, headers jsonb, seen int DEFAULT 7)");
    broker.send("raw", 0, &[b"before"]);
    create(&mut client, &broker, "raw", ", format raw, start latest");
    wait_for(&mut client, "SELECT state || (partitions -> '0' ->> 'offset') FROM tidemill.sources", "running1");
    let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("x") });
    let record =
        BaseRecord::to("raw").payload(b"\x00\xff".as_slice()).key("k").timestamp(1_767_225_600_000).headers(headers);
    broker.producer.send(record).map_err(|(error, _)| error).expect("it is queued");
    broker.producer.flush(PATIENCE).expect("it is sent");
    let row = "SELECT encode(value, 'hex') || key || \"offset\" || partition || (\"timestamp\" AT TIME ZONE 'UTC') || headers::text || seen FROM t";
    wait_for(&mut client, "SELECT count(*) FROM t", "1");
    assert_eq!(client.value(row), "00ffk102026-01-01 00:00:00{\"h\": \"x\"}7");
    // Where it began is known also if nothing was taken in.
    client.run("DROP SOURCE raw");
    client.run("TRUNCATE t");
    create(&mut client, &broker, "raw", ", format raw, start latest");
    wait_for(&mut client, "SELECT state || (partitions -> '0' ->> 'offset') FROM tidemill.sources", "running2");
    client.run("ALTER SOURCE raw PAUSE");
    broker.send("raw", 0, &[b"while paused"]);
    let server = server.crash_and_restart();
    let mut client = server.connect();
    client.run("ALTER SOURCE raw RESUME");
    wait_for(&mut client, "SELECT string_agg(convert_from(value, 'UTF8'), ' ') FROM t", "while paused");

    let broker = Broker::with_topic("lines", 1);
    client.run("CREATE TABLE csv (id int, name text)");
    broker.send("lines", 0, &[b"1,one\n", b"2,\"two", b"x,three", b"4,\"fo,ur\"\r\n5,five"]);
    let brokers = broker.brokers();
    client.run(&format!("CREATE SOURCE lines FROM KAFKA (brokers '{brokers}', topic 'lines', format csv) INTO csv"));
    wait_for(&mut client, "SELECT string_agg(id || name, ' ' ORDER BY id) FROM csv", "1one 4fo,ur 5five");
    let letters = "SELECT string_agg(byte_offset || ' ' || convert_from(raw, 'UTF8'), ', ' ORDER BY byte_offset) FROM tidemill.dead_letters";
    assert_eq!(client.value(letters), "1 2,\"two, 2 x,three");
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let broker = Broker::with_topic("clicks", 1);
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int)");
    broker.send("clicks", 0, &[br#"{"id":1}"#]);
    broker.cluster.broker_down(1).expect("it goes down");
    create(&mut client, &broker, "clicks", ", kafka.reconnect.backoff.max.ms '200'");
    wait_for(
        &mut client,
        "SELECT state || (retries > 0) || (last_error LIKE 'Kafka: %') FROM tidemill.sources",
        "failedtruetrue",
    );
    broker.cluster.broker_up(1).expect("it comes up");
    wait_for(&mut client, "SELECT count(*) FROM t", "1");
    broker.cluster.broker_down(1).expect("it goes down");
    wait_for(&mut client, "SELECT state FROM tidemill.sources", "failed");
    broker.cluster.broker_up(1).expect("it comes up");
    broker.send("clicks", 0, &[br#"{"id":2}"#, br#"{"id":3}"#]);
    wait_for(&mut client, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM t", "1 2 3");
    wait_for(&mut client, "SELECT state || retries FROM tidemill.sources", "running0");
    // A topic that is not there is no reason to give up.
    client.run("CREATE SOURCE other FROM KAFKA (brokers '127.0.0.1:1', topic 'x') INTO t");
    wait_for(&mut client, "SELECT state FROM tidemill.sources WHERE name = 'other'", "failed");
    assert_eq!(client.value("SELECT state FROM tidemill.sources WHERE name = 'clicks'"), "running");
}

/// Another consumer in the same group takes nothing away, and two sources read the whole topic each.
#[test]
fn groups_do_not_matter() {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let broker = Broker::with_topic("clicks", 4);
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int)");
    let send = |from: i32| {
        for partition in 0..4 {
            let values: Vec<String> = (0..25).map(|n| format!("{{\"id\":{}}}", from + partition * 25 + n)).collect();
            broker.send("clicks", partition, &values.iter().map(String::as_bytes).collect::<Vec<_>>());
        }
    };
    send(0);
    create(&mut client, &broker, "clicks", ", group 'g'");
    wait_for(&mut client, "SELECT count(*) FROM t", "100");
    let other: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.brokers())
        .set("group.id", "g")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    other.subscribe(&["clicks"]).expect("it joins");
    send(100);
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        drop(other.poll(Duration::from_millis(50)));
    }
    send(200);
    client.run("CREATE TABLE u (id int)");
    let brokers = broker.brokers();
    client.run(&format!("CREATE SOURCE second FROM KAFKA (brokers '{brokers}', topic 'clicks', group 'g') INTO u"));
    for table in ["t", "u"] {
        wait_for(&mut client, &format!("SELECT count(*) || ' ' || count(DISTINCT id) FROM {table}"), "300 300");
    }
}

/// Messages come while the server is killed: each is there once in the end, and each dead letter too.
#[test]
fn messages_survive_kills() {
    let seed = std::env::var("TIDEMILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("TIDEMILL_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let broker = Broker::with_topic("clicks", 3);
    let mut server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int) WITH (tidemill.flush_interval = '200ms', tidemill.evolve = 'add_columns')");
    create(&mut client, &broker, "clicks", "");
    let (mut id, mut poison) = (0_u32, 0_u32);
    for round in 0..6 {
        for _ in 0..random.random_range(1..5) {
            let mut batches: BTreeMap<i32, Vec<String>> = BTreeMap::new();
            for _ in 0..random.random_range(1..2000) {
                let message = if random.random_bool(0.01) {
                    poison += 1;
                    "{poison".to_owned()
                } else {
                    id += 1;
                    format!("{{\"id\":{},\"c{round}\":1}}", id - 1)
                };
                batches.entry(random.random_range(0..3)).or_default().push(message);
            }
            for (partition, values) in &batches {
                broker.send("clicks", *partition, &values.iter().map(String::as_bytes).collect::<Vec<_>>());
            }
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..900)));
        server = server.crash_and_restart();
    }
    let mut client = server.connect();
    let counted = format!("{id} {id} {}", id - 1);
    wait_for(&mut client, "SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || max(id) FROM t", &counted);
    wait_for(&mut client, "SELECT count(*) FROM tidemill.dead_letters", &poison.to_string());
    let places = "SELECT count(*) FROM (SELECT DISTINCT source, byte_offset FROM tidemill.dead_letters) AS d";
    assert_eq!(client.value(places), poison.to_string());
    // The restarted source may not have read its receipts yet.
    let totals = "SELECT rows || ' ' || dead_letters FROM tidemill.sources";
    wait_for(&mut client, totals, &format!("{id} {poison}"));
}
