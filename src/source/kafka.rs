//! A topic whose messages are taken in, each once: `CREATE SOURCE … FROM KAFKA (brokers '…', topic '…') INTO t`.
//!
//! A source reads all partitions itself, by assignment: it is in no group, so nobody can take a partition from it while its rows
//! are on their way. Where each partition is gone on with is in the receipts, committed with the rows; the offsets committed to
//! Kafka afterwards only show others how far it has come. Aborted transactions are not seen (`read_committed`).
//! librdkafka fetches ahead on threads of its own, with memory for its queues by `kafka.queued.max.messages.kbytes`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Map, Value};
use tidemill_catalog::Oid;
use tidemill_catalog::record::{AvroDef, Body, Connector};
use tidemill_udfs::types::SqlType;

use super::avro::{self, Header};
use super::{Intake, Statuses, Totals, Work};
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::instance::Instance;
use crate::statement::ingest::receipts::Receipt;
use crate::statement::ingest::{Format, Ingest, Origin, Report};
use crate::{Error, Result};

/// What columns a table for messages of format raw may have, and of which types. Other columns get their defaults.
pub(crate) const RAW_COLUMNS: &[(&str, &[SqlType])] = &[
    ("value", &[SqlType::Bytea, SqlType::Text]),
    ("key", &[SqlType::Bytea, SqlType::Text]),
    ("timestamp", &[SqlType::TimestampTz, SqlType::Timestamp]),
    ("partition", &[SqlType::Int4, SqlType::Int8]),
    ("offset", &[SqlType::Int8]),
    ("headers", &[SqlType::Jsonb, SqlType::Json]),
];

/// Messages of one commit: enough that the commit's fsync costs little per message.
const BATCH_MESSAGES: usize = 20_000;
/// Their bytes; one message may be larger.
const BATCH_BYTES: usize = 16 << 20;
/// How long a message waits for others of its commit, microseconds.
const BATCH_US: i64 = 200_000;
/// How long the broker is waited for at once. A source stops after this long at most.
const POLL: Duration = Duration::from_millis(100);
/// How long an idle source is silent before it looks whether it was stopped, microseconds.
const IDLE_US: i64 = 300_000;
/// How long a broker may take to answer about the topic.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often new partitions are looked for, microseconds.
const PARTITIONS_US: i64 = 10_000_000;
/// How often the ends of partitions are told, milliseconds.
const STATISTICS_MS: u64 = 1_000;
/// How long nothing but offsets without a message may be behind what was taken in until that is kept, microseconds.
const PASSED_US: i64 = 60_000_000;
/// The same where the source stops: two statistics have said so.
const PASSED_AT_STOP_US: i64 = 2_000_000;
/// Memory for what is fetched ahead, kilobytes.
const QUEUED_KB: u64 = 64 << 10;

/// librdkafka's settings that a source may have: nothing that reads files, runs programs or moves offsets.
const SETTINGS: &[&str] = &[
    "broker.address.family",
    "check.crcs",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.timeout.ms",
    "topic.metadata.refresh.interval.ms",
];

/// # Errors
/// 22023 for settings that librdkafka does not take.
pub(crate) fn check(connector: &Connector) -> Result<()> {
    if let Connector::Kafka { settings, .. } = connector
        && let Some(name) = settings.keys().find(|name| !SETTINGS.contains(&name.as_str()))
    {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("option \"kafka.{name}\" not recognized"))
            .hint(format!("Available settings of librdkafka: {}.", SETTINGS.join(", "))));
    }
    let invalid = |error: KafkaError| {
        let reason = match &error {
            KafkaError::ClientConfig(_, reason, key, value) => format!("{key} = \"{value}\": {reason}"),
            other => other.to_string(),
        };
        Error::new(SqlState::INVALID_PARAMETER_VALUE, "invalid settings of Kafka").detail(format!("{reason}."))
    };
    config(connector, 0).create_native_config().map(drop).map_err(invalid)
}

fn config(connector: &Connector, source: Oid) -> ClientConfig {
    let mut config = ClientConfig::new();
    let Connector::Kafka { brokers, group, settings, .. } = connector else { return config };
    config.set("client.id", "tidemill").set("queued.max.messages.kbytes", QUEUED_KB.to_string());
    for (name, value) in settings {
        config.set(name, value);
    }
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", group.clone().unwrap_or_else(|| format!("tidemill-{source}")))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("allow.auto.create.topics", "false")
        // Messages that are gone before they were taken in are told of, not skipped.
        .set("auto.offset.reset", "error")
        .set("statistics.interval.ms", STATISTICS_MS.to_string())
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// Hears what librdkafka says beside messages.
struct Context {
    instance: Arc<Instance>,
    source: Oid,
    topic: String,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Errors come to whoever polls as well.
        tracing::debug!(?level, facility, "{message}");
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        let Statuses(all) = &self.instance.sources;
        let mut all = all.lock();
        let Some(status) = all.get_mut(&self.source) else { return };
        for partition in topic.partitions.values().filter(|partition| partition.partition >= 0) {
            // Negative: not known.
            let end = partition.hi_offset.max(partition.ls_offset);
            if let Some(known) = status.partitions.get_mut(&partition.partition) {
                known.begin = Some(partition.lo_offset).filter(|offset| *offset >= 0).or(known.begin);
                known.end = Some(end).filter(|offset| *offset >= 0).or(known.end);
                // It comes in the order of messages: those before it are with the reader.
                known.read = Some(partition.next_offset).filter(|offset| *offset >= 0 && partition.fetchq_cnt == 0);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "{reason}");
    }
}

impl ConsumerContext for Context {}

type Client = BaseConsumer<Context>;

pub(super) async fn run(work: &Work) -> Result<()> {
    let Connector::Kafka { topic, latest, avro, .. } = &work.def.connector else { return Ok(()) };
    let avro = avro.as_ref().map(messages).transpose()?;
    let receipts = work.receipts().await?;
    let totals = Totals::of(receipts.values());
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for (key, receipt) in &receipts {
        if let (Ok(partition), Some(position)) = (key.parse(), receipt.position) {
            next.insert(partition, position);
        }
    }
    // Known before the broker answers, and if it never does.
    work.note(|status| {
        status.totals = totals;
        // What an earlier reader had read when it failed is read again.
        status.partitions.values_mut().for_each(|partition| partition.read = None);
        for (id, next) in &next {
            status.partitions.entry(*id).or_default().offset = Some(*next);
        }
    });
    let context = Context { instance: Arc::clone(&work.instance), source: work.source.oid, topic: topic.clone() };
    let config = config(&work.def.connector, work.source.oid);
    let client: Client = config.create_with_context(context).map_err(|error| failed(&error))?;
    let (client, assigned, passed) = (Some(Arc::new(client)), vec![], BTreeMap::new());
    let mut reader = Reader { work, topic, client, next, assigned, passed, totals, avro };
    let result = reader.read(*latest && receipts.is_empty()).await;
    // Closing waits for the broker.
    if let Some(client) = reader.client.take() {
        let _ = tokio::task::spawn_blocking(move || drop(client)).await;
    }
    result
}

/// What reads messages in Avro.
///
/// # Errors
/// 22023 for a schema that is none.
pub(crate) fn messages(def: &AvroDef) -> Result<avro::Messages> {
    let header = if def.confluent { Header::Confluent(def.schema_id) } else { Header::None };
    avro::Messages::new(&def.schema, header)
}

/// A Kafka error for people.
fn failed(error: &KafkaError) -> Error {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) {
        return Error::new(SqlState::DATA_CORRUPTED, "messages were deleted from the topic before they were taken in")
            .detail(error.to_string())
            .hint("DROP and CREATE the source to begin with the messages that are there.");
    }
    Error::new(SqlState::CONNECTION_FAILURE, format!("Kafka: {error}"))
}

struct Reader<'w> {
    work: &'w Work,
    topic: &'w str,
    client: Option<Arc<Client>>,
    /// The next offset of partitions of which something was committed.
    next: BTreeMap<i32, i64>,
    assigned: Vec<i32>,
    /// Up to where partitions have no more messages for us behind what was committed, and since when that is so.
    passed: BTreeMap<i32, (i64, Timestamp)>,
    totals: Totals,
    avro: Option<avro::Messages>,
}

impl Reader<'_> {
    fn client(&self) -> Result<Arc<Client>> {
        self.client.clone().ok_or_else(|| Error::internal("the client is closed"))
    }

    async fn read(&mut self, at_end: bool) -> Result<()> {
        let clock = &self.work.instance.clock;
        let mut looked_at = self.find_partitions(at_end).await?;
        while !self.work.stop.is_cancelled() {
            if clock.now() - looked_at > PARTITIONS_US {
                looked_at = self.find_partitions(false).await?;
            }
            let (client, instance, stop) = (self.client()?, Arc::clone(&self.work.instance), self.work.stop.clone());
            let is_raw = self.is_raw();
            let gather = move || gather(&client, &instance, is_raw, &|| stop.is_cancelled());
            let gathered = tokio::task::spawn_blocking(gather).await;
            let (messages, error) = gathered.map_err(|error| Error::internal(format!("a reader panicked: {error}")))?;
            let is_idle = messages.is_empty() && error.is_none();
            self.take(messages).await?;
            match error {
                Some(error) => return Err(failed(&error)),
                None => self.work.goes_on(),
            }
            if is_idle {
                self.pass_over();
                self.keep_passed(PASSED_US).await?;
            } else {
                self.passed.clear();
            }
        }
        self.keep_passed(PASSED_AT_STOP_US).await
    }

    /// Offsets without a message for us, after all messages were taken in: markers of transactions, what was aborted or compacted.
    fn pass_over(&mut self) {
        let (now, passed) = (self.work.instance.clock.now(), &mut self.passed);
        self.work.note(|status| {
            for (id, partition) in &mut status.partitions {
                let Some(read) = partition.read.filter(|read| partition.offset.is_none_or(|offset| offset <= *read))
                else {
                    continue;
                };
                partition.offset = Some(read);
                let known = passed.entry(*id).or_insert((read, now));
                if known.0 != read {
                    *known = (read, now);
                }
            }
        });
    }

    /// Keeps what was passed over for so long: else the source would ask for deleted messages in the end, and fail though it
    /// missed none.
    async fn keep_passed(&mut self, us: i64) -> Result<()> {
        let now = self.work.instance.clock.now();
        let is_new = |id: &i32, offset: i64| self.next.get(id).is_none_or(|next| *next < offset);
        let kept = self.passed.iter().filter(|(id, (offset, since))| now - since >= us && is_new(id, *offset));
        let kept: BTreeMap<i32, i64> = kept.map(|(id, (offset, _))| (*id, *offset)).collect();
        self.keep(kept).await
    }

    /// Keeps where partitions are gone on with, without messages.
    async fn keep(&mut self, next: BTreeMap<i32, i64>) -> Result<()> {
        if next.is_empty() {
            return Ok(());
        }
        let kept = Batch { work: self.work, messages: vec![], next, totals: self.totals, columns: None, avro: None };
        self.work.take(&kept).await?;
        self.next.extend(kept.next);
        Ok(())
    }

    fn is_raw(&self) -> bool {
        self.work.def.format.as_deref() == Some("raw")
    }

    /// Assigns the topic's partitions that are new. `at_end`: the source starts for the first time, behind what is there; where
    /// that is, is committed first, so that a restart does not begin behind more.
    async fn find_partitions(&mut self, at_end: bool) -> Result<Timestamp> {
        let (client, topic) = (self.client()?, self.topic.to_owned());
        let assigned = self.assigned.clone();
        let ask = move || -> Result<Vec<(i32, Option<i64>)>, KafkaError> {
            let metadata = client.fetch_metadata(Some(&topic), ANSWER_TIMEOUT)?;
            let found = metadata.topics().first().filter(|found| found.name() == topic);
            if let Some(error) = found.and_then(|found| found.error()) {
                return Err(KafkaError::MetadataFetch(error.into()));
            }
            let all = found.map(|found| found.partitions()).unwrap_or_default();
            if all.is_empty() {
                return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
            }
            let new = all.iter().map(|partition| partition.id()).filter(|id| !assigned.contains(id));
            new.map(|id| {
                let end = if at_end { Some(client.fetch_watermarks(&topic, id, ANSWER_TIMEOUT)?.1) } else { None };
                Ok((id, end))
            })
            .collect()
        };
        let asked = tokio::task::spawn_blocking(ask).await;
        let new = asked.map_err(|error| Error::internal(format!("a question panicked: {error}")))?;
        let new = new.map_err(|error| failed(&error))?;
        let ends: BTreeMap<i32, i64> = new.iter().filter_map(|(id, end)| Some((*id, (*end)?))).collect();
        self.keep(ends).await?;
        let mut assignment = TopicPartitionList::new();
        for (id, _) in &new {
            let offset = self.next.get(id).map_or(Offset::Beginning, |next| Offset::Offset(*next));
            assignment.add_partition_offset(self.topic, *id, offset).map_err(|error| failed(&error))?;
            self.assigned.push(*id);
        }
        if !new.is_empty() {
            self.client()?.incremental_assign(&assignment).map_err(|error| failed(&error))?;
        }
        let (next, totals) = (self.next.clone(), self.totals);
        self.work.note(|status| {
            status.totals = totals;
            for (id, _) in &new {
                status.partitions.entry(*id).or_default().offset = next.get(id).copied();
            }
        });
        Ok(self.work.instance.clock.now())
    }

    async fn take(&mut self, mut messages: Vec<Taken>) -> Result<()> {
        // What was committed before must not come again, whatever the broker sends.
        messages.retain(|message| self.next.get(&message.partition).is_none_or(|next| message.offset >= *next));
        if messages.is_empty() {
            return Ok(());
        }
        let mut next = BTreeMap::new();
        for message in &messages {
            let after = next.entry(message.partition).or_insert(message.offset + 1);
            *after = message.offset.saturating_add(1).max(*after);
        }
        let columns = if self.is_raw() { Some(raw_columns(self.work)?) } else { None };
        let (totals, avro) = (self.totals, self.avro.as_ref());
        let batch = Batch { work: self.work, messages, next, totals, columns, avro };
        let report = self.work.take(&batch).await?;
        self.totals = self.totals.with(&report, 0);
        let (totals, next) = (self.totals, batch.next);
        self.work.note(|status| {
            status.totals = totals;
            for (id, next) in &next {
                status.partitions.entry(*id).or_default().offset = Some(*next);
            }
        });
        let mut shown = TopicPartitionList::new();
        for (id, next) in &next {
            shown.add_partition_offset(self.topic, *id, Offset::Offset(*next)).map_err(|error| failed(&error))?;
        }
        self.next.extend(next);
        // For others to see; a broker that does not take it keeps nobody from going on.
        if let Err(error) = self.client()?.commit(&shown, CommitMode::Async) {
            tracing::debug!(%error, "offsets not shown to Kafka");
        }
        Ok(())
    }
}

/// A message that was read.
struct Taken {
    partition: i32,
    offset: i64,
    value: Option<Vec<u8>>,
    /// What only raw messages show.
    raw: Option<Raw>,
}

struct Raw {
    /// Milliseconds since 1970.
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Taken {
    fn of(message: &BorrowedMessage<'_>, is_raw: bool) -> Self {
        let raw = is_raw.then(|| Raw {
            timestamp: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            headers: message.headers().map_or_else(Vec::new, |headers| {
                let one = |header: rdkafka::message::Header<'_, &[u8]>| {
                    (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
                };
                headers.iter().map(one).collect()
            }),
        });
        let value = message.payload().map(<[u8]>::to_vec);
        Self { partition: message.partition(), offset: message.offset(), value, raw }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// Messages for one commit; none after some time without. What went wrong behind them. Blocking.
fn gather(
    client: &Client,
    instance: &Instance,
    is_raw: bool,
    is_stopped: &dyn Fn() -> bool,
) -> (Vec<Taken>, Option<KafkaError>) {
    let begin = instance.clock.now();
    let (mut messages, mut bytes, mut first_at) = (vec![], 0, begin);
    loop {
        match client.poll(POLL) {
            Some(Ok(message)) => {
                if messages.is_empty() {
                    first_at = instance.clock.now();
                }
                let message = Taken::of(&message, is_raw);
                bytes += message.bytes();
                messages.push(message);
            }
            Some(Err(error)) if is_passing(&error) => tracing::debug!(%error, "Kafka"),
            Some(Err(error)) => return (messages, Some(error)),
            None => {}
        }
        let now = instance.clock.now();
        let waited = if messages.is_empty() { now - begin > IDLE_US } else { now - first_at > BATCH_US };
        // A clock that went back.
        let is_odd = now < begin;
        if waited || is_odd || messages.len() >= BATCH_MESSAGES || bytes >= BATCH_BYTES || is_stopped() {
            return (messages, None);
        }
    }
}

/// One of several brokers is away, or what it said is tried again by librdkafka.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::OperationTimedOut
                | Code::PartitionEOF
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::RequestTimedOut
        )
    )
}

/// Which raw columns the table has, and whether they are bytes.
fn raw_columns(work: &Work) -> Result<HashMap<&'static str, bool>> {
    let snapshot = work.instance.store.snapshot();
    let Some(Body::Table(def)) = snapshot.catalog.get(work.def.table).map(|object| &object.body) else {
        return Err(Error::new(SqlState::UNDEFINED_TABLE, "the source's table was dropped"));
    };
    let mut found = HashMap::new();
    for (name, _) in RAW_COLUMNS {
        if let Some(column) = def.column(name) {
            found.insert(*name, SqlType::of_stored(&column.sql_type)? == SqlType::Bytea);
        }
    }
    Ok(found)
}

/// Messages of one commit.
struct Batch<'w> {
    work: &'w Work,
    messages: Vec<Taken>,
    /// The offsets behind them.
    next: BTreeMap<i32, i64>,
    totals: Totals,
    /// For raw messages.
    columns: Option<HashMap<&'static str, bool>>,
    /// For messages in Avro.
    avro: Option<&'w avro::Messages>,
}

#[async_trait::async_trait]
impl Intake for Batch<'_> {
    fn format(&self) -> Format {
        if self.work.def.format.as_deref() == Some("csv") { Format::Csv } else { Format::Lines }
    }

    fn origin(&self) -> String {
        self.work.source.name.clone()
    }

    async fn feed(&self, ingest: &mut Ingest) -> Result<()> {
        if let Some(avro) = self.avro {
            ingest.announce(&avro.types);
        }
        ingest.begin_messages().await?;
        let mut sources: HashMap<i32, Arc<str>> = HashMap::new();
        for message in &self.messages {
            let source = sources
                .entry(message.partition)
                .or_insert_with(|| format!("{}/{}", self.work.source.name, message.partition).into());
            let origin = Origin { source: Arc::clone(source), offset: message.offset };
            let value = message.value.as_deref();
            if let (Some(columns), Some(raw)) = (&self.columns, &message.raw) {
                match raw_document(columns, message, raw) {
                    Ok(document) => ingest.message(document.to_string().as_bytes(), origin).await?,
                    Err(error) => ingest.refuse_as("raw", value.unwrap_or_default(), &error, origin).await?,
                }
            } else if let (Some(avro), Some(value)) = (self.avro, value) {
                match avro.document(value) {
                    Ok(document) => ingest.message(&document, origin).await?,
                    Err(error) => ingest.refuse_as("avro", value, &error, origin).await?,
                }
            } else {
                ingest.message(value.unwrap_or_default(), origin).await?;
            }
        }
        Ok(())
    }

    fn receipts(&self, report: &Report) -> Vec<Receipt> {
        let totals = self.totals.with(report, 0);
        let receipt =
            |(id, next): (&i32, &i64)| self.work.receipt(id.to_string(), *next, String::new(), totals.report(report));
        self.next.iter().map(receipt).collect()
    }
}

/// The document that says what a raw message is.
fn raw_document(columns: &HashMap<&'static str, bool>, message: &Taken, raw: &Raw) -> Result<Value> {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| {
        if columns.contains_key(name) && !value.is_null() {
            document.insert(name.to_owned(), value);
        }
    };
    put("value", bytes(columns.get("value") == Some(&true), message.value.as_deref())?);
    put("key", bytes(columns.get("key") == Some(&true), raw.key.as_deref())?);
    put("partition", message.partition.into());
    put("offset", message.offset.into());
    let time = raw.timestamp.and_then(chrono::DateTime::from_timestamp_millis);
    put("timestamp", time.map_or(Value::Null, |time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string().into()));
    let mut headers = Map::new();
    for (name, value) in &raw.headers {
        let text = value.as_ref().map_or(Value::Null, |value| String::from_utf8_lossy(value).into());
        // A header may come several times.
        match headers.get_mut(name) {
            Some(Value::Array(all)) => all.push(text),
            Some(one) => *one = vec![one.take(), text].into(),
            None => drop(headers.insert(name.clone(), text)),
        }
    }
    put("headers", headers.into());
    Ok(document.into())
}

fn bytes(is_bytea: bool, bytes: Option<&[u8]>) -> Result<Value> {
    let Some(bytes) = bytes else { return Ok(Value::Null) };
    if is_bytea {
        use std::fmt::Write;
        let mut hex = String::with_capacity(2 + 2 * bytes.len());
        hex.push_str("\\x");
        for byte in bytes {
            let _ = write!(hex, "{byte:02x}");
        }
        return Ok(hex.into());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\"")
    })?;
    Ok(text.into())
}
