//! Messages of a broker in this process: restarts, brokers that go away, leaders that move, transactions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use super::log::LogBroker;
use super::{PATIENCE, wait_for};
use crate::support::client::Client;
use crate::support::server::Server;

/// A broker in this process.
pub(super) struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Broker {
    pub(super) fn with_topic(topic: &str, partitions: i32) -> Self {
        Self::of(1, topic, partitions)
    }

    fn of(brokers: i32, topic: &str, partitions: i32) -> Self {
        let cluster = MockCluster::new(brokers).expect("a mock cluster");
        cluster.create_topic(topic, partitions, brokers).expect("a topic");
        let producer = producer(&cluster.bootstrap_servers(), &[]);
        Self { cluster, producer }
    }

    pub(super) fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    pub(super) fn send(&self, topic: &str, partition: i32, values: &[&[u8]]) {
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

pub(super) fn create(client: &mut Client, broker: &Broker, topic: &str, rest: &str) {
    create_into(client, broker, topic, rest, "t");
}

fn create_into(client: &mut Client, broker: &Broker, topic: &str, rest: &str, table: &str) {
    let brokers = broker.brokers();
    client.run(&format!("CREATE SOURCE {topic} FROM KAFKA (brokers '{brokers}', topic '{topic}'{rest}) INTO {table}"));
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
    create_into(&mut client, &broker, "lines", ", format csv", "csv");
    wait_for(&mut client, "SELECT string_agg(id || name, ' ' ORDER BY id) FROM csv", "1one 4fo,ur 5five");
    let letters = "SELECT string_agg(byte_offset || ' ' || convert_from(raw, 'UTF8'), ', ' ORDER BY byte_offset) FROM tidemill.dead_letters";
    assert_eq!(client.value(letters), "1 2,\"two, 2 x,three");
    // They are tried again with the columns that the table had; one of them can be read then.
    client.run("ALTER TABLE csv ALTER COLUMN id TYPE text");
    let replay = "SELECT concat_ws(' ', tried, rows, failed) FROM tidemill.replay_dead_letters('csv')";
    assert_eq!(client.value(replay), "2 1 1");
    assert_eq!(client.value("SELECT string_agg(id || name, ' ' ORDER BY id) FROM csv"), "1one 4fo,ur 5five xthree");

    // Bytes that are no text are no document to try again.
    let broker = Broker::with_topic("texts", 1);
    client.run("CREATE TABLE texts (value text)");
    broker.send("texts", 0, &[b"one", b"\xff"]);
    create_into(&mut client, &broker, "texts", ", format raw", "texts");
    let letter = "SELECT encode(raw, 'hex') || ' ' || format FROM tidemill.dead_letters WHERE table_name = 'texts'";
    wait_for(&mut client, letter, "ff raw");
    assert_eq!(client.value("SELECT value FROM texts"), "one");
    assert_eq!(client.value(&replay.replace("csv", "texts")), "0 0 0");
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

/// Partitions get other leaders while messages come: none is lost, none comes twice, the source does not fail.
#[test]
fn leaders_move() {
    let broker = Broker::of(3, "clicks", 2);
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int)");
    create(&mut client, &broker, "clicks", ", kafka.topic.metadata.refresh.interval.ms '500'");
    let mut id = 0;
    for leader in [1, 2, 3, 1, 3] {
        for partition in 0..2 {
            broker.cluster.partition_leader("clicks", partition, Some((leader + partition) % 3 + 1)).expect("it moves");
            let values: Vec<String> = (0..50).map(|n| format!("{{\"id\":{}}}", id + n)).collect();
            broker.send("clicks", partition, &values.iter().map(String::as_bytes).collect::<Vec<_>>());
            id += 50;
        }
        wait_for(&mut client, "SELECT count(*) || ' ' || count(DISTINCT id) FROM t", &format!("{id} {id}"));
    }
    // The leader goes away, and another takes over. (A partition without any leader is more than the mock cluster survives.)
    let leader = |id| broker.cluster.partition_leader("clicks", 0, Some(id)).expect("it moves");
    leader(1);
    broker.cluster.broker_down(1).expect("it goes down");
    leader(2);
    broker.send("clicks", 0, &[format!("{{\"id\":{id}}}").as_bytes()]);
    wait_for(&mut client, "SELECT max(id) FROM t", &id.to_string());
    wait_for(
        &mut client,
        "SELECT state || ' ' || rows || ' ' || dead_letters FROM tidemill.sources",
        &format!("running {} 0", id + 1),
    );
}

/// What librdkafka's transactional producer commits comes once. (The broker of these tests keeps no markers of transactions and
/// hands out aborted messages too: see the next test.)
#[test]
fn transactions_that_commit() {
    let broker = Broker::with_topic("clicks", 1);
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int)");
    create(&mut client, &broker, "clicks", "");
    // It polls for itself, which ending a transaction waits for.
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", broker.brokers())
        .set("transactional.id", "p")
        .create()
        .expect("a producer");
    producer.init_transactions(PATIENCE).expect("transactions");
    for transaction in 0..3 {
        producer.begin_transaction().expect("it begins");
        for n in 0..10 {
            let value = format!("{{\"id\":{}}}", transaction * 10 + n);
            let record: BaseRecord<'_, (), [u8]> = BaseRecord::to("clicks").partition(0).payload(value.as_bytes());
            producer.send(record).map_err(|(error, _)| error).expect("it is queued");
        }
        if transaction == 1 {
            producer.abort_transaction(PATIENCE).expect("it aborts");
        } else {
            producer.commit_transaction(PATIENCE).expect("it commits");
        }
    }
    let committed = "SELECT count(*) || ' ' || count(DISTINCT id) FROM t WHERE id / 10 <> 1";
    wait_for(&mut client, committed, "20 20");
    wait_for(&mut client, "SELECT lag FROM tidemill.sources", "0");
    assert_eq!(client.value("SELECT count(*) - count(DISTINCT id) FROM t"), "0");
}

/// Aborted messages never come, nor those of open transactions; markers and aborted messages do not count as lag; and a source
/// that has taken in all of a topic does not miss what only it passed over when that is deleted.
#[test]
fn transactions_that_abort() {
    let broker = LogBroker::with_topic("clicks");
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int)");
    let value = |id: i32| format!("{{\"id\":{id}}}");
    let send = |producer: i64, ids: &[i32]| {
        let values: Vec<String> = ids.iter().map(|id| value(*id)).collect();
        broker.send_in_transaction(producer, &values.iter().map(String::as_str).collect::<Vec<_>>());
    };
    // One aborts among others that commit, first, last and in between.
    send(1, &[101]);
    broker.abort(1);
    send(1, &[1, 2]);
    send(2, &[102, 103]);
    send(3, &[3]);
    send(2, &[104]);
    broker.commit(1);
    broker.abort(2);
    broker.commit(3);
    broker.send(&[&value(4)]);
    send(2, &[5, 6]);
    broker.commit(2);
    send(2, &[105, 106]);
    broker.abort(2);
    let brokers = broker.brokers();
    client.run(&format!("CREATE SOURCE clicks FROM KAFKA (brokers '{brokers}', topic 'clicks') INTO t"));
    let ids = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM t";
    wait_for(&mut client, ids, "1 2 3 4 5 6");
    let place = "SELECT lag || ' ' || (partitions -> '0' ->> 'offset') || ' ' || rows || ' ' || dead_letters FROM tidemill.sources";
    wait_for(&mut client, place, &format!("0 {} 6 0", broker.end()));

    // What is open is waited for, and what comes behind it.
    send(1, &[7]);
    broker.send(&[&value(8)]);
    send(2, &[107]);
    wait_for(&mut client, "SELECT lag FROM tidemill.sources", "3");
    assert_eq!(client.value(ids), "1 2 3 4 5 6");
    let server = server.crash_and_restart();
    let mut client = server.connect();
    broker.commit(1);
    wait_for(&mut client, ids, "1 2 3 4 5 6 7 8");
    broker.abort(2);
    wait_for(&mut client, place, &format!("0 {} 8 0", broker.end()));

    // It has been so for more than two statistics when the server stops.
    std::thread::sleep(Duration::from_secs(4));
    broker.delete_before(broker.end());
    let server = server.restart();
    let mut client = server.connect();
    wait_for(&mut client, "SELECT state || ' ' || lag FROM tidemill.sources", "running 0");
    broker.send(&[&value(9)]);
    wait_for(&mut client, ids, "1 2 3 4 5 6 7 8 9");
    // What it did not take in is missed.
    client.run("ALTER SOURCE clicks PAUSE");
    wait_for(&mut client, "SELECT state FROM tidemill.sources", "paused");
    broker.send(&[&value(10)]);
    broker.delete_before(broker.end());
    client.run("ALTER SOURCE clicks RESUME");
    let failure = "SELECT state || ' ' || (last_error LIKE '%messages were deleted%') FROM tidemill.sources";
    wait_for(&mut client, failure, "failed true");
}
