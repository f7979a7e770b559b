//! IN, by itself: what `CREATE SOURCE` made is read into its table, each thing once.
//!
//! ```text
//! Sources (a Job) ── per source that is not paused ──▶ worker: kafka::run │ files::run (folders, object stores)
//!                                                        └─▶ take: documents + receipts, one commit
//! ```
//! Where a source has come to is in its receipts (`statement::ingest::receipts`), which are committed with the rows: a worker
//! reads them when it begins, and never asks Kafka or the files. One worker per source is alive at a time; the next begins when
//! the last has ended. A worker that fails says so in `tidemill.sources` and begins anew after a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, Connector, Object, SourceDef};
use tidemill_udfs::types::json::canonical;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::background::{Job, JobError, Progress, retry_wait};
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::instance::Instance;
use crate::session::Session;
use crate::session::secrets::{HIDDEN, is_secret};
use crate::statement::control::Name;
use crate::statement::ingest::receipts::{self, Receipt};
use crate::statement::ingest::{Format, Ingest, Report, is_lost_race};
use crate::{Error, Result};

/// Messages in Avro to documents.
mod avro;

/// Files of a folder or an object store, each once.
mod files;

/// Messages of a Kafka topic, each once.
pub(crate) mod kafka;

/// How often the catalog is looked at for new and changed sources: comparing one number.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often documents are decoded again where another writer changed the table meanwhile.
const TRIES_MAX: u32 = 20;

/// What a source does, for `tidemill.sources`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// `starting`, `running`, `failed`
    pub(crate) state: &'static str,
    /// Why it failed last, and when.
    pub(crate) last_error: Option<(String, Timestamp)>,
    /// Failures since it last got on.
    pub(crate) retries: u32,
    /// Since it was made.
    pub(crate) totals: Totals,
    /// When it last committed something.
    pub(crate) last_commit_at: Option<Timestamp>,
    /// Of a topic.
    pub(crate) partitions: BTreeMap<i32, Partition>,
    /// Files that cannot be read, until they change.
    pub(crate) failed_files: usize,
}

impl Status {
    /// Messages not yet taken in, of all partitions that are known of.
    pub(crate) fn lag(&self) -> Option<i64> {
        self.partitions
            .values()
            .map(|partition| partition.lag())
            .sum::<Option<i64>>()
            .filter(|_| !self.partitions.is_empty())
    }

    /// `{"0": {"offset": 10, "end": 12, "lag": 2}}`, as jsonb spells it.
    pub(crate) fn partitions_json(&self) -> String {
        let one = |(id, partition): (&i32, &Partition)| {
            let value = json!({ "offset": partition.offset, "end": partition.end, "lag": partition.lag() });
            (id.to_string(), value)
        };
        let all: serde_json::Map<_, _> = self.partitions.iter().map(one).collect();
        let text = serde_json::Value::Object(all).to_string();
        canonical(&text).unwrap_or(text)
    }
}

/// The options of a connector as `tidemill.sources` shows them: no passwords.
pub(crate) fn shown(connector: &Connector) -> Vec<String> {
    match connector {
        Connector::Kafka { brokers, topic, group, latest, settings, avro } => {
            let mut all = vec![format!("brokers={brokers}"), format!("topic={topic}")];
            all.extend(group.iter().map(|group| format!("group={group}")));
            all.push(format!("start={}", if *latest { "latest" } else { "earliest" }));
            all.extend(settings.iter().map(|(name, value)| format!("kafka.{name}={}", shown_value(name, value))));
            if let Some(avro) = avro {
                all.push(format!("confluent={}", avro.confluent));
                all.extend(avro.schema_id.iter().map(|id| format!("schema_id={id}")));
                all.push(format!("schema={}", avro.schema));
            }
            all
        }
        Connector::Files { folder, pattern, every_ms, settle_ms } => {
            let mut all = vec![format!("folder={folder}")];
            all.extend(pattern.iter().map(|pattern| format!("pattern={pattern}")));
            all.push(format!("every={every_ms}ms"));
            all.push(format!("settle={settle_ms}ms"));
            all
        }
        Connector::Objects { url, every_ms, settings } => {
            let mut all = vec![format!("url={url}"), format!("every={every_ms}ms")];
            all.extend(settings.iter().map(|(name, value)| format!("{name}={}", shown_value(name, value))));
            all
        }
    }
}

fn shown_value<'v>(name: &str, value: &'v str) -> &'v str {
    if is_secret(name) { HIDDEN } else { value }
}

/// Counts since the source was made; each receipt has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Rows.
    pub(crate) rows: u64,
    /// Documents that are no rows.
    pub(crate) dead_letters: u64,
    /// Files taken in.
    pub(crate) files: u64,
}

impl Totals {
    /// The newest of some receipts.
    fn of<'r>(receipts: impl Iterator<Item = &'r Receipt>) -> Self {
        let count = |receipt: &Receipt, name: &str| receipt.report[name].as_u64().unwrap_or(0);
        receipts.fold(Self::default(), |most, receipt| Self {
            rows: most.rows.max(count(receipt, "rows_total")),
            dead_letters: most.dead_letters.max(count(receipt, "dead_letters_total")),
            files: most.files.max(count(receipt, "files_total")),
        })
    }

    fn with(self, report: &Report, files: u64) -> Self {
        Self {
            rows: self.rows + report.rows,
            dead_letters: self.dead_letters + report.dead_letters,
            files: self.files + files,
        }
    }

    /// The report as a receipt keeps it.
    fn report(self, report: &Report) -> serde_json::Value {
        let mut value = receipts::report_value(report, None);
        value["rows_total"] = self.rows.into();
        value["dead_letters_total"] = self.dead_letters.into();
        value["files_total"] = self.files.into();
        value
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Partition {
    /// The next offset: everything before it is committed.
    pub(crate) offset: Option<i64>,
    /// The oldest message that the broker has, and where the partition ends, as it last said.
    pub(crate) begin: Option<i64>,
    /// See `begin`.
    pub(crate) end: Option<i64>,
    /// Where the reader goes on, if all that it has read was handed on.
    pub(crate) read: Option<i64>,
}

impl Partition {
    /// Messages not yet taken in.
    pub(crate) fn lag(self) -> Option<i64> {
        Some((self.end? - self.offset.or(self.begin).unwrap_or(0)).max(0))
    }
}

/// What all sources do, by oid.
#[derive(Debug, Default)]
pub(crate) struct Statuses(Mutex<HashMap<Oid, Status>>);

impl Statuses {
    /// What one does; `None`: it has not begun since the server started.
    pub(crate) fn get(&self, source: Oid) -> Option<Status> {
        self.0.lock().get(&source).cloned()
    }
}

/// One worker's source.
pub(crate) struct Work {
    instance: Arc<Instance>,
    source: Arc<Object>,
    def: SourceDef,
    stop: CancellationToken,
}

impl Work {
    /// Changes what is told of the source.
    fn note(&self, change: impl FnOnce(&mut Status)) {
        change(self.instance.sources.0.lock().entry(self.source.oid).or_default());
    }

    /// It gets on.
    fn goes_on(&self) {
        self.note(|status| {
            status.state = "running";
            status.retries = 0;
        });
    }

    /// Something is wrong that does not keep it from going on.
    fn complains(&self, message: &str) {
        let now = self.instance.clock.now();
        self.note(|status| status.last_error = Some((message.to_owned(), now)));
        tracing::warn!(source = self.source.name, "{message}");
    }

    /// True if the source was dropped or altered since the worker began.
    fn is_outdated(&self) -> bool {
        let snapshot = self.instance.store.snapshot();
        snapshot.catalog.get(self.source.oid).is_none_or(|source| source.version != self.source.version)
    }

    /// A session with the owner's rights.
    fn session(&self) -> Result<Session> {
        let catalog = Arc::clone(&self.instance.store.snapshot().catalog);
        let database = catalog.get(self.source.parent).map_or(0, |schema| schema.parent);
        Session::internal(&self.instance, database, self.source.owner)
    }

    /// The table under the name it has now.
    fn table(&self, session: &mut Session) -> Result<Name> {
        let catalog = Arc::clone(&session.open().view().catalog);
        let table = catalog.get(self.def.table);
        let schema = table.and_then(|table| catalog.get(table.parent));
        let (Some(table), Some(schema)) = (table, schema) else {
            return Err(Error::new(SqlState::UNDEFINED_TABLE, "the source's table was dropped"));
        };
        Ok(Name { parts: vec![schema.name.clone(), table.name.clone()], offset: 0 })
    }

    /// What was taken in so far, by key.
    async fn receipts(&self) -> Result<HashMap<String, Receipt>> {
        let mut session = self.session()?;
        let found = receipts::of_source(&mut session, self.source.oid).await;
        session.end();
        found
    }

    /// Takes something in: its rows, dead letters, new columns and receipts in one commit, or nothing.
    ///
    /// # Errors
    /// Those of reading and writing. What is wrong with a document is none.
    async fn take(&self, intake: &dyn Intake) -> Result<Report> {
        let mut turn = None;
        let mut tries = 1;
        loop {
            let mut session = self.session()?;
            let result = self.take_once(intake, &mut session).await;
            session.end();
            match result {
                Err(error) if is_lost_race(&error) && tries < TRIES_MAX && !self.is_outdated() => {
                    tries += 1;
                    if turn.is_none() {
                        turn = Some(self.instance.evolution.lock().await);
                    }
                }
                Ok(report) => {
                    let now = self.instance.clock.now();
                    self.note(|status| status.last_commit_at = Some(now));
                    return Ok(report);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn take_once(&self, intake: &dyn Intake, session: &mut Session) -> Result<Report> {
        let table = self.table(session)?;
        let mut ingest = Ingest::begin(session, &table, intake.format(), &intake.origin(), &self.stop)?;
        intake.feed(&mut ingest).await?;
        let report = ingest.finish(session).await?;
        let now = self.instance.clock.now();
        // A source that was dropped or altered meanwhile commits nothing more.
        let mut changes = vec![Change::Expect(self.source.oid, self.source.version)];
        let mut receipts = intake.receipts(&report);
        for receipt in &mut receipts {
            receipt.table = Some((table.last().to_owned(), self.def.table));
        }
        receipts::append(session, &receipts, now, &mut changes)?;
        session.apply(changes)?;
        session.commit().await?;
        Ok(report)
    }

    /// A receipt; the table it is for is added when it is written.
    fn receipt(&self, key: String, position: i64, digest: String, report: serde_json::Value) -> Receipt {
        Receipt {
            source: self.source.name.clone(),
            source_oid: self.source.oid,
            key,
            position: Some(position),
            digest,
            table: None,
            report,
        }
    }
}

/// What is taken in with one commit. Asked again from the beginning where the commit lost a race.
#[async_trait::async_trait]
trait Intake: Sync {
    fn format(&self) -> Format;

    /// Where it comes from, for dead letters.
    fn origin(&self) -> String;

    async fn feed(&self, ingest: &mut Ingest) -> Result<()>;

    /// What says that it was taken in.
    fn receipts(&self, report: &Report) -> Vec<Receipt>;
}

/// Works until told to stop.
async fn work(work: Work) {
    work.note(|status| status.state = "starting");
    loop {
        let result = match &work.def.connector {
            Connector::Kafka { .. } => kafka::run(&work).await,
            Connector::Files { .. } | Connector::Objects { .. } => files::run(&work).await,
        };
        let error = match result {
            // Also before it is told to stop: it has nothing more to do.
            _ if work.stop.is_cancelled() || work.is_outdated() => return,
            Ok(()) => return,
            Err(error) => error,
        };
        let mut wait = Duration::ZERO;
        let report = error.report();
        let message = match &report.detail {
            Some(detail) => format!("{}: {detail}", report.message),
            None => report.message.clone(),
        };
        work.complains(&message);
        work.note(|status| {
            wait = retry_wait(status.retries);
            status.state = "failed";
            status.retries = status.retries.saturating_add(1);
        });
        work.instance.metrics.background_failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tokio::select! {
            () = work.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Starts and stops workers as sources come, change and go.
pub(crate) struct Sources {
    instance: Arc<Instance>,
    running: HashMap<Oid, Running>,
    /// The catalog's version for which nothing is left to do.
    settled: Option<u64>,
}

struct Running {
    version: u64,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Sources {
    pub(crate) fn new(instance: &Arc<Instance>) -> Self {
        Self { instance: Arc::clone(instance), running: HashMap::new(), settled: None }
    }

    fn start(&self, source: &Arc<Object>, def: &SourceDef) -> Running {
        let stop = CancellationToken::new();
        let job = Work {
            instance: Arc::clone(&self.instance),
            source: Arc::clone(source),
            def: def.clone(),
            stop: stop.clone(),
        };
        // Decoding computes; clients and the log have threads of their own.
        let task = self.instance.threads.ingestion.spawn(work(job));
        Running { version: source.version, stop, task }
    }
}

#[async_trait::async_trait]
impl Job for Sources {
    fn name(&self) -> &'static str {
        "sources"
    }

    fn next(&self, _: Progress) -> Duration {
        LOOK_EVERY
    }

    async fn tick(&mut self, _: Timestamp) -> Result<Progress, JobError> {
        let catalog = Arc::clone(&self.instance.store.snapshot().catalog);
        let ended = self.running.values().any(|running| running.task.is_finished());
        if self.settled == Some(catalog.version) && !ended {
            return Ok(Progress::Idle);
        }
        let mut wanted: HashMap<Oid, (&Arc<Object>, &SourceDef)> = HashMap::new();
        for object in catalog.objects.values() {
            if let Body::Source(def) = &object.body
                && !def.paused
            {
                wanted.insert(object.oid, (object, def));
            }
        }
        self.running.retain(|oid, running| {
            if wanted.get(oid).is_none_or(|(object, _)| object.version != running.version) {
                running.stop.cancel();
            }
            !running.task.is_finished()
        });
        // The next worker of a source begins when the last has ended: two would take the same things.
        let settled = self.running.values().all(|running| !running.stop.is_cancelled());
        for (oid, (object, def)) in wanted {
            if !self.running.contains_key(&oid) {
                let running = self.start(object, def);
                self.running.insert(oid, running);
            }
        }
        self.instance.sources.0.lock().retain(|oid, _| catalog.get(*oid).is_some());
        self.settled = settled.then_some(catalog.version);
        Ok(Progress::Worked)
    }

    async fn drain(&mut self, _: Timestamp) -> Result<(), JobError> {
        for running in self.running.values() {
            running.stop.cancel();
        }
        for (_, running) in self.running.drain() {
            running.task.await?;
        }
        Ok(())
    }
}
