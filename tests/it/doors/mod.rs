//! The promise of ingestion, through every door at once: whatever documents come, whenever the server is killed, each document
//! that was acknowledged is one row that says the same or one dead letter with its bytes, and never both or twice. What was
//! not acknowledged is there as a whole request or not at all; what is asked again with a key, files and messages are there
//! once in the end.
//!
//! `TIDEMILL_CRASH_ROUNDS=50` for the long run, `TIDEMILL_TEST_SEED` for another one; both are printed.

/// Random documents.
mod documents;
/// Whether a row says what its document said.
mod equal;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::support::client::{Client, Error};
use crate::support::server::Server;
use documents::Document;
use equal::Table;

/// How long sources may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The tables that all doors lead to.
const TABLES: [&str; 2] = ["a", "b"];
/// Of the run that is always the same.
const SEED: u64 = 4;

/// What is known of documents that went through a door together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// All of them are there.
    Acknowledged,
    /// Refused: none is.
    Refused,
    /// The answer was lost: all or none.
    Unknown,
    /// Files and messages: all of them, when their source has caught up.
    Later,
}

#[derive(Debug)]
struct Batch {
    door: &'static str,
    documents: Vec<Document>,
    fate: Fate,
}

/// A request with a key that has no answer yet.
struct Asked {
    path: String,
    headers: String,
    body: Vec<u8>,
    batch: Batch,
}

/// Where documents come from and what became of them.
struct World {
    ids: AtomicU64,
    batches: Vec<Batch>,
    /// By client.
    asked: Vec<Option<Asked>>,
    inbox: tempfile::TempDir,
    cluster: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
}

#[test]
fn documents_through_any_door_are_there_once() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let rounds = variable("TIDEMILL_CRASH_ROUNDS").unwrap_or(4);
    let seed = variable("TIDEMILL_TEST_SEED").unwrap_or(SEED);
    println!("TIDEMILL_TEST_SEED={seed} TIDEMILL_CRASH_ROUNDS={rounds}");
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("documents", 2, 1).expect("a topic");
    let inbox = tempfile::tempdir().expect("a directory");
    let mut world = World { ids: AtomicU64::new(1), batches: vec![], asked: vec![None, None, None], inbox, cluster };
    let mut server = Server::start();
    let mut client = server.connect();
    let quick = "tidemill.flush_interval = '300ms'";
    client.run(&format!("CREATE TABLE a (id text) WITH (tidemill.evolve = 'add_columns', {quick})"));
    client.run(&format!(
        "CREATE TABLE b (id text PRIMARY KEY, note text DEFAULT 'none') WITH (tidemill.evolve = 'widen', tidemill.nested = 'flatten', {quick})"
    ));
    let brokers = world.cluster.bootstrap_servers();
    client.run(&format!("CREATE SOURCE messages FROM KAFKA (brokers '{brokers}', topic 'documents') INTO a"));
    client.run(&format!(
        "CREATE SOURCE inbox FROM FILES ('{}') (every '50ms', settle '100ms') INTO b",
        world.inbox.path().display()
    ));
    for round in 0..rounds {
        // Later rounds are long enough for a busy machine to answer something.
        let life = Duration::from_millis(random.random_range(200..1500) + 500 * round.min(4));
        let seeds: [u64; 9] = random.random();
        world.live(&server, seeds, life);
        server = server.crash_and_restart();
        world.check(&mut server.connect(), &format!("seed {seed}, round {round}"), false);
    }
    for asked in &mut world.asked {
        if let Some(mut asked) = asked.take() {
            assert!(asked.ask(&server), "nobody kills the server now");
            world.batches.push(asked.batch);
        }
    }
    world.check(&mut server.connect(), &format!("seed {seed}, at the end"), true);
    for door in ["key", "http", "line", "copy", "call", "insert", "file", "kafka"] {
        let is_in = |batch: &&Batch| batch.door == door && batch.fate == Fate::Acknowledged;
        assert!(world.batches.iter().any(|batch| is_in(&batch)), "seed {seed}: nothing came through {door}");
    }
    // In files, compacted, and with all letters tried again it is the same.
    let mut client = server.connect();
    for table in TABLES {
        client.run(&format!("CALL tidemill.flush('{table}')"));
        client.run(&format!("CALL tidemill.replay_dead_letters('{table}')"));
        client.run(&format!("CALL tidemill.compact('{table}')"));
    }
    let server = server.restart();
    world.check(&mut server.connect(), &format!("seed {seed}, compacted and replayed"), true);
}

impl World {
    /// Documents come through all doors until the server is killed.
    fn live(&mut self, server: &Server, seeds: [u64; 9], life: Duration) {
        let Self { ids, asked, inbox, cluster, .. } = self;
        let ids = &*ids;
        let random = |door: usize| StdRng::seed_from_u64(seeds[door]);
        let brokers = cluster.bootstrap_servers();
        let inbox = inbox.path();
        let until = Instant::now() + life;
        let found: Vec<Vec<Batch>> = std::thread::scope(|scope| {
            let mut doors = vec![
                scope.spawn(move || posts(server, ids, random(0))),
                scope.spawn(move || copies(server, ids, random(1))),
                scope.spawn(move || calls(server, ids, random(2))),
                scope.spawn(move || files(inbox, ids, random(3), until)),
                scope.spawn(move || messages(&brokers, ids, random(4), until)),
                scope.spawn(move || inserts(server, ids, random(8))),
            ];
            for (client, asked) in asked.iter_mut().enumerate() {
                doors.push(scope.spawn(move || keyed(server, ids, random(5 + client), asked)));
            }
            std::thread::sleep(life);
            server.signal("KILL");
            doors.into_iter().map(|door| door.join().expect("a door")).collect()
        });
        self.batches.extend(found.into_iter().flatten());
    }

    /// Compares what is there with what is known; where the answer was lost, what is there is known from now on.
    /// `complete`: sources are waited for.
    fn check(&mut self, client: &mut Client, when: &str, complete: bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut found = Found::read(client);
        while complete && Instant::now() < deadline {
            let later = self.batches.iter().filter(|batch| batch.fate == Fate::Later);
            if later.flat_map(|batch| &batch.documents).all(|document| found.places.contains_key(&document.id)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
            found = Found::read(client);
        }
        for batch in &mut self.batches {
            let count = |document: &&Document| found.places.contains_key(&document.id);
            let there = batch.documents.iter().filter(count).count();
            let all = batch.documents.len();
            let context = || {
                let is_missing = |document: &&Document| !found.places.contains_key(&document.id);
                let missing: Vec<_> = batch.documents.iter().filter(is_missing).collect();
                let (door, fate) = (batch.door, batch.fate);
                format!("{when}: {there} of {all} through {door} ({fate:?}), not {missing:#?}")
            };
            match batch.fate {
                Fate::Acknowledged => assert_eq!(there, all, "{}", context()),
                Fate::Refused => assert_eq!(there, 0, "{}", context()),
                Fate::Unknown => {
                    assert!(there == 0 || there == all, "{}", context());
                    batch.fate = if there == 0 { Fate::Refused } else { Fate::Acknowledged };
                }
                Fate::Later if complete => {
                    assert_eq!(there, all, "{}", context());
                    batch.fate = Fate::Acknowledged;
                }
                Fate::Later => {}
            }
            for document in &batch.documents {
                found.check(document, &format!("{when}, door {}", batch.door));
            }
        }
        let pending: usize = self
            .asked
            .iter()
            .flatten()
            .map(|asked| {
                let count = |document: &&Document| found.places.contains_key(&document.id);
                let there = asked.batch.documents.iter().filter(count).count();
                assert!(there == 0 || there == asked.batch.documents.len(), "{when}: {there} of {:?}", asked.batch);
                there
            })
            .sum();
        let known: usize = self
            .batches
            .iter()
            .flat_map(|batch| &batch.documents)
            .filter(|document| found.places.contains_key(&document.id))
            .count();
        assert_eq!(found.places.len(), known + pending, "{when}: something is there that nobody sent");
    }
}

impl Asked {
    /// Asks until there is an answer. False: the server is gone.
    fn ask(&mut self, server: &Server) -> bool {
        loop {
            match server.post(&self.path, &self.headers, &self.body) {
                // 400, 422: lines that are dead letters.
                Ok((200 | 204, answer)) => {
                    check_counts(&answer, &self.batch);
                    self.batch.fate = Fate::Acknowledged;
                    return true;
                }
                Ok((422, answer)) if answer.contains("partial write") => {
                    self.batch.fate = Fate::Acknowledged;
                    return true;
                }
                Ok((409, _)) => {}
                Ok((status, answer)) => panic!("{} {status} {answer}", self.path),
                Err(_) => return false,
            }
        }
    }
}

/// The answer counts all documents, as rows or dead letters.
fn check_counts(answer: &str, batch: &Batch) {
    if answer.is_empty() {
        return;
    }
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    let count = |name: &str| answer[name].as_u64().expect("a number");
    assert_eq!(count("documents"), batch.documents.len() as u64, "{answer} {batch:?}");
    assert_eq!(count("rows") + count("dead_letters"), count("documents"), "{answer}");
}

fn some(random: &mut StdRng, ids: &AtomicU64, make: impl Fn(&mut StdRng, u64) -> Document) -> Vec<Document> {
    (0..random.random_range(1..25)).map(|_| make(random, ids.fetch_add(1, Ordering::Relaxed))).collect()
}

fn lines(documents: &[Document]) -> Vec<u8> {
    documents.iter().flat_map(|document| [&document.raw[..], b"\n"].concat()).collect()
}

fn table(random: &mut StdRng) -> &'static str {
    TABLES[random.random_range(0..TABLES.len())]
}

/// A random request over HTTP.
fn request(random: &mut StdRng, ids: &AtomicU64) -> (&'static str, String, Vec<u8>, Vec<Document>) {
    let table = table(random);
    if random.random_bool(0.3) {
        let documents = some(random, ids, |random, id| Document::line(random, id, table));
        return ("line", "/api/v2/write?bucket=tidemill".to_owned(), lines(&documents), documents);
    }
    let documents = some(random, ids, Document::json);
    let is_array = documents.iter().all(|document| document.says.is_some()) && random.random();
    let body = if is_array {
        let all: Vec<&[u8]> = documents.iter().map(|document| document.raw.as_slice()).collect();
        [b"[", all.join(&b",\n"[..]).as_slice(), b"]"].concat()
    } else {
        lines(&documents)
    };
    let format = if is_array { "json" } else { "ndjson" };
    ("http", format!("/v1/ingest/{table}?format={format}"), body, documents)
}

/// Requests whose answers may be lost.
fn posts(server: &Server, ids: &AtomicU64, mut random: StdRng) -> Vec<Batch> {
    let mut batches = vec![];
    loop {
        let (door, path, body, documents) = request(&mut random, ids);
        let mut batch = Batch { door, documents, fate: Fate::Unknown };
        match server.post(&path, "", &body) {
            Ok((200 | 204, answer)) => {
                check_counts(&answer, &batch);
                batch.fate = Fate::Acknowledged;
            }
            Ok((422, answer)) if answer.contains("partial write") => batch.fate = Fate::Acknowledged,
            Ok((409, _)) => batch.fate = Fate::Refused,
            Ok((status, answer)) => panic!("{path} {status} {answer}"),
            Err(_) => {
                batches.push(batch);
                return batches;
            }
        }
        batches.push(batch);
    }
}

/// Requests that are sent until they are answered.
fn keyed(server: &Server, ids: &AtomicU64, mut random: StdRng, asked: &mut Option<Asked>) -> Vec<Batch> {
    let mut batches = vec![];
    loop {
        let next = asked.get_or_insert_with(|| {
            let (_, path, body, documents) = request(&mut random, ids);
            let headers = format!("Idempotency-Key: {}\r\n", documents[0].id);
            Asked { path, headers, body, batch: Batch { door: "key", documents, fate: Fate::Unknown } }
        });
        if !next.ask(server) {
            return batches;
        }
        batches.extend(asked.take().map(|asked| asked.batch));
    }
}

/// Runs statements until the connection breaks.
fn statements(
    server: &Server,
    mut next: impl FnMut() -> Vec<Document>,
    mut run: impl FnMut(&mut Client, &[Document]) -> Result<(), Error>,
    door: &'static str,
) -> Vec<Batch> {
    let mut batches = vec![];
    let Ok(mut client) = Client::connect(server.pg(), "tidemill", "tidemill") else { return batches };
    loop {
        let mut batch = Batch { door, documents: next(), fate: Fate::Unknown };
        let result = run(&mut client, &batch.documents);
        match result {
            Ok(()) => batch.fate = Fate::Acknowledged,
            // Others changed the table meanwhile.
            Err(Error::Db(error)) if ["40001", "42P07", "42P06"].contains(&error.code()) => batch.fate = Fate::Refused,
            Err(Error::Db(error)) => panic!("{door}: {error}"),
            Err(Error::Io(_)) => {
                batches.push(batch);
                return batches;
            }
        }
        batches.push(batch);
    }
}

fn copies(server: &Server, ids: &AtomicU64, mut random: StdRng) -> Vec<Batch> {
    let mut choice = StdRng::seed_from_u64(random.random());
    let run = |client: &mut Client, documents: &[Document]| {
        let sql = format!("COPY {} FROM STDIN (FORMAT ndjson)", table(&mut choice));
        client.simple_with_data(&sql, &lines(documents)).map(drop)
    };
    statements(server, || some(&mut random, ids, Document::json), run, "copy")
}

fn calls(server: &Server, ids: &AtomicU64, mut random: StdRng) -> Vec<Batch> {
    let mut choice = StdRng::seed_from_u64(random.random());
    let run = |client: &mut Client, documents: &[Document]| {
        let text = String::from_utf8(lines(documents)).expect("texts");
        let sql = format!("CALL tidemill.ingest('{}', $1, format => 'ndjson')", table(&mut choice));
        client.extended(&sql, &[Some(&text)]).map(drop)
    };
    statements(server, || some(&mut random, ids, Document::text), run, "call")
}

fn inserts(server: &Server, ids: &AtomicU64, mut random: StdRng) -> Vec<Batch> {
    let mut choice = StdRng::seed_from_u64(random.random());
    let run = |client: &mut Client, documents: &[Document]| {
        let texts: Vec<&str> =
            documents.iter().map(|document| std::str::from_utf8(&document.raw).expect("a text")).collect();
        let parameters: Vec<String> = (1..=texts.len()).map(|number| format!("${number}")).collect();
        // As JSON a malformed text may be several documents: one and what is behind it, elements of an array.
        let format = if documents.iter().all(|document| document.says.is_some()) { "JSON" } else { "NDJSON" };
        let sql = format!("INSERT INTO {} FORMAT {format} {}", table(&mut choice), parameters.join(", "));
        client.extended(&sql, &texts.iter().map(|text| Some(*text)).collect::<Vec<_>>()).map(drop)
    };
    statements(server, || some(&mut random, ids, Document::text), run, "insert")
}

fn files(inbox: &Path, ids: &AtomicU64, mut random: StdRng, until: Instant) -> Vec<Batch> {
    let mut batches = vec![];
    while Instant::now() < until {
        let documents = some(&mut random, ids, Document::json);
        let name = documents[0].id;
        let temporary = inbox.join(format!("{name}.tmp"));
        std::fs::write(&temporary, lines(&documents)).expect("written");
        std::fs::rename(&temporary, inbox.join(format!("{name}.ndjson"))).expect("renamed");
        batches.push(Batch { door: "file", documents, fate: Fate::Later });
        std::thread::sleep(Duration::from_millis(random.random_range(0..200)));
    }
    batches
}

fn messages(brokers: &str, ids: &AtomicU64, mut random: StdRng, until: Instant) -> Vec<Batch> {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a producer");
    let mut batches = vec![];
    while Instant::now() < until {
        let documents = some(&mut random, ids, Document::json);
        for document in &documents {
            let partition = random.random_range(0..2);
            let record: BaseRecord<'_, (), [u8]> =
                BaseRecord::to("documents").partition(partition).payload(&document.raw);
            producer.send(record).map_err(|(error, _)| error).expect("it is queued");
        }
        producer.flush(PATIENCE).expect("it is sent");
        batches.push(Batch { door: "kafka", documents, fate: Fate::Later });
        std::thread::sleep(Duration::from_millis(random.random_range(0..200)));
    }
    batches
}

/// What is there.
struct Found {
    tables: Vec<(Table, Vec<Vec<Option<String>>>)>,
    letters: Vec<Vec<u8>>,
    /// By id; an id that is there twice is told at once.
    places: HashMap<u64, Place>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Row { table: usize, row: usize },
    Letter(usize),
}

impl Found {
    /// Reads all, in one snapshot.
    fn read(client: &mut Client) -> Self {
        client.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        let is_there = |client: &mut Client, name: &str| {
            let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'tidemill'";
            client.value(&format!("{tables} AND table_name = '{name}'")) == "1"
        };
        let mut found = Self { tables: vec![], letters: vec![], places: HashMap::new() };
        let mut fields: BTreeMap<(String, String), String> = BTreeMap::new();
        if is_there(client, "schema_changes") {
            let sql = "SELECT table_name, field, column_name FROM tidemill.schema_changes WHERE change = 'ADD COLUMN'";
            for mut row in client.run(sql).pop().expect("an answer").rows {
                let mut text = || row.remove(0).expect("not NULL");
                fields.insert((text(), text()), text());
            }
        }
        for (number, name) in TABLES.iter().enumerate() {
            let answer = client.run(&format!("SELECT * FROM {name}")).pop().expect("an answer");
            let at = |column: &str| answer.columns.iter().position(|other| other == column);
            let of_table = fields.iter().filter(|((table, _), column)| table == name && *column != "_rest");
            let by_field = of_table.filter_map(|((_, field), column)| Some((field.clone(), at(column)?))).collect();
            let id = at("id").expect("a column id");
            for (row, values) in answer.rows.iter().enumerate() {
                let place = Place::Row { table: number, row };
                found.put(
                    values[id].as_ref().and_then(|id| documents::id_of(id.as_bytes())),
                    place,
                    &format!("{values:?}"),
                );
            }
            let table = Table { columns: answer.columns, types: answer.types, by_field };
            found.tables.push((table, answer.rows));
        }
        if is_there(client, "dead_letters") {
            for row in client
                .run("SELECT encode(raw, 'hex'), reason FROM tidemill.dead_letters")
                .pop()
                .expect("an answer")
                .rows
            {
                let raw = bytes(row[0].as_ref().expect("not NULL"));
                found.put(documents::id_of(&raw), Place::Letter(found.letters.len()), &format!("{row:?}"));
                found.letters.push(raw);
            }
        }
        client.run("COMMIT");
        found
    }

    fn put(&mut self, id: Option<u64>, place: Place, what: &str) {
        let id = id.unwrap_or_else(|| panic!("a document without its id: {what}"));
        if let Some(other) = self.places.insert(id, place) {
            panic!("document {id} is there twice: {other:?}, {place:?} {what}");
        }
    }

    /// A row says what the document said; a letter has its bytes.
    fn check(&self, document: &Document, when: &str) {
        match (self.places.get(&document.id), &document.says) {
            (None, _) => {}
            (Some(Place::Letter(letter)), _) => {
                let (found, sent) =
                    (String::from_utf8_lossy(&self.letters[*letter]), String::from_utf8_lossy(&document.raw));
                assert_eq!(found.trim(), sent.trim(), "{when}");
            }
            (Some(Place::Row { table, row }), Some(says)) => {
                let (table, rows) = &self.tables[*table];
                if let Some(fault) = table.fault(&rows[*row], says) {
                    panic!("{when}: {} became another row: {fault}", String::from_utf8_lossy(&document.raw));
                }
            }
            (Some(place), None) => panic!("{when}: {document:?} is at {place:?}"),
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}
