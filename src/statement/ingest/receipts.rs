//! tidemill.receipts: what was taken in, written in the commit of its rows, so that nothing is taken twice.
//!
//! ```text
//! request with a key   → [Keys::claim] → a receipt is there → the first answer again
//!                                      → none: rows + receipt in one commit → the key is known
//! file, Kafka partition → its source reads its receipts when it starts, and goes on behind them
//! ```
//! A key is looked up in memory. What is in memory follows from the table, which is read once, when the first key of a
//! database comes. Requests with one key take turns: two of them never commit both.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tidemill_catalog::Oid;
use tidemill_catalog::record::Change;
use tidemill_udfs::types::SqlType;
use tidemill_udfs::types::json::canonical;
use tokio_util::sync::CancellationToken;

use super::Report;
use super::replay::{counted, is_there, run};
use super::tables::{self, Table};
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::instance::Instance;
use crate::session::{Outcome, Session};
use crate::{Error, Result};

const NAME: &str = "receipts";

const RECEIPTS: Table<'_> = (
    NAME,
    &[
        ("received_at", SqlType::TimestampTz),
        ("source", SqlType::Text),
        ("source_oid", SqlType::Int8),
        ("key", SqlType::Text),
        ("position", SqlType::Int8),
        ("digest", SqlType::Text),
        ("table_name", SqlType::Text),
        ("table_oid", SqlType::Int8),
        ("report", SqlType::Jsonb),
    ],
);

/// What stands for a source in receipts of requests. Oids begin higher.
pub(crate) const NO_SOURCE: Oid = 0;

/// Characters of an idempotency key; UUIDs and hashes are shorter, and keys are kept in memory.
const KEY_CHARS_MAX: usize = 255;
/// Keys kept in memory per database, 32 bytes each and as much again for the map: 64 MB. One more is refused (507).
const KEYS_MAX: usize = 1_000_000;
/// How long a request waits for another one with the same key. Longer ones are better asked again.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// That something was taken in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Receipt {
    /// `http`, `line protocol`, or the name of a source.
    pub(crate) source: String,
    /// The source; 0: a request.
    pub(crate) source_oid: Oid,
    /// Idempotency key, path of a file, number of a partition.
    pub(crate) key: String,
    /// The next offset of a partition, the bytes of a file.
    pub(crate) position: Option<i64>,
    /// What tells a body or file from another: a hash, an etag.
    pub(crate) digest: String,
    /// Name and oid of the table; line protocol has several.
    pub(crate) table: Option<(String, Oid)>,
    /// What became of it.
    pub(crate) report: Value,
}

/// Adds the changes that add receipts, and the table if there is none yet.
pub(crate) fn append(
    session: &mut Session,
    receipts: &[Receipt],
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let texts = |text: &dyn Fn(&Receipt) -> Option<&str>| -> ArrayRef {
        Arc::new(receipts.iter().map(text).collect::<StringViewArray>())
    };
    let numbers = |number: &dyn Fn(&Receipt) -> Option<i64>| -> ArrayRef {
        Arc::new(receipts.iter().map(number).collect::<Int64Array>())
    };
    let reports = receipts.iter().map(|receipt| Ok(Some(canonical(&receipt.report.to_string())?)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_value(now, receipts.len()).with_timezone("UTC")),
        texts(&|receipt| Some(&receipt.source)),
        numbers(&|receipt| Some(receipt.source_oid.into())),
        texts(&|receipt| Some(&receipt.key)),
        numbers(&|receipt| receipt.position),
        texts(&|receipt| Some(&receipt.digest)),
        texts(&|receipt| receipt.table.as_ref().map(|(name, _)| name.as_str())),
        numbers(&|receipt| receipt.table.as_ref().map(|(_, oid)| (*oid).into())),
        Arc::new(reports.collect::<Result<StringViewArray>>()?),
    ];
    tables::append(session, RECEIPTS, columns, changes)
}

/// The receipts of a source: key, position, digest, report. The newest one of each key.
///
/// # Errors
/// Those of reading.
pub(crate) async fn of_source(session: &mut Session, source: Oid) -> Result<HashMap<String, Receipt>> {
    let mut found: HashMap<String, Receipt> = HashMap::new();
    if !is_there(session, NAME) {
        return Ok(found);
    }
    let sql = format!(
        "SELECT source, key, position, digest, report FROM tidemill.receipts WHERE source_oid = {source} ORDER BY received_at"
    );
    let mut stream = rows(session, &sql).await?;
    while let Some(batch) = stream.try_next().await? {
        let text = |at: usize| batch.column(at).as_string_view();
        let positions = batch.column(2).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let receipt = Receipt {
                source: text(0).value(row).to_owned(),
                source_oid: source,
                key: text(1).value(row).to_owned(),
                position: positions.is_valid(row).then(|| positions.value(row)),
                digest: text(3).value(row).to_owned(),
                table: None,
                report: serde_json::from_str(text(4).value(row)).unwrap_or_default(),
            };
            // A clock that went back must not make an older position the newest.
            let is_older = |known: &Receipt| known.position > receipt.position;
            if !found.get(&receipt.key).is_some_and(is_older) {
                found.insert(receipt.key.clone(), receipt);
            }
        }
    }
    Ok(found)
}

async fn rows(session: &mut Session, sql: &str) -> Result<datafusion::execution::SendableRecordBatchStream> {
    match run(session, sql, &CancellationToken::new()).await? {
        Outcome::Rows { stream, .. } => Ok(stream),
        _ => Err(Error::internal("a query without rows")),
    }
}

/// Deletes receipts that are of no use: keys past their time, positions of partitions that later ones follow, sources that are
/// gone. How many.
///
/// # Errors
/// 40001 if somebody else changed them; the next time tries again.
pub(crate) async fn sweep(session: &mut Session, keys_before: Timestamp) -> Result<u64> {
    if !is_there(session, NAME) {
        return Ok(0);
    }
    let catalog = Arc::clone(&session.open().view().catalog);
    let mut useless = vec![format!("(source_oid = {NO_SOURCE} AND received_at < {})", literal(keys_before))];
    let mut stream = rows(session, "SELECT DISTINCT source_oid FROM tidemill.receipts WHERE source_oid <> 0").await?;
    while let Some(batch) = stream.try_next().await? {
        for source in batch.column(0).as_primitive::<Int64Type>().values() {
            if Oid::try_from(*source).map_or(true, |oid| catalog.get(oid).is_none()) {
                useless.push(format!("source_oid = {source}"));
            }
        }
    }
    let sql = format!(
        "SELECT source_oid, key, max(position) FROM tidemill.receipts WHERE source_oid <> 0 \
         GROUP BY source_oid, key HAVING count(*) > 1 LIMIT {SWEPT_KEYS_MAX}"
    );
    let mut stream = rows(session, &sql).await?;
    while let Some(batch) = stream.try_next().await? {
        let (sources, newest) =
            (batch.column(0).as_primitive::<Int64Type>(), batch.column(2).as_primitive::<Int64Type>());
        let keys = batch.column(1).as_string_view();
        for row in 0..batch.num_rows() {
            let (source, key) = (sources.value(row), keys.value(row).replace('\'', "''"));
            useless.push(format!("(source_oid = {source} AND key = '{key}' AND position < {})", newest.value(row)));
        }
    }
    drop(stream);
    // The statement is to begin a transaction of its own: then it holds the table, and no flush comes between.
    session.rollback();
    let sql = format!("DELETE FROM tidemill.receipts WHERE {}", useless.join(" OR "));
    let outcome = run(session, &sql, &CancellationToken::new()).await?;
    session.commit().await?;
    counted(outcome)
}

/// A time as SQL spells it.
pub(super) fn literal(time: Timestamp) -> String {
    let time = chrono::DateTime::from_timestamp_micros(time).unwrap_or_default();
    format!("TIMESTAMPTZ '{}'", time.format("%Y-%m-%d %H:%M:%S%.6f+00"))
}

/// Partitions whose old positions are deleted in one sweep: a condition each.
const SWEPT_KEYS_MAX: usize = 500;

/// Idempotency keys known and in work.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By database.
    known: HashMap<Oid, Known>,
    /// Whose turn it is.
    turns: HashMap<Hash, Arc<tokio::sync::Mutex<()>>>,
}

/// The keys of one database.
#[derive(Debug, Default)]
struct Known {
    /// Its table has been read, and nothing is in doubt since.
    is_complete: bool,
    /// When each was committed.
    keys: HashMap<Hash, Timestamp>,
}

/// Of what the key is about, and the key: half of a BLAKE3 hash, without chance of two being equal.
type Hash = [u8; 16];

fn hash(about: Oid, key: &str) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&about.to_le_bytes());
    hasher.update(key.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    half
}

/// What an earlier request with the key was answered.
#[derive(Debug, Clone)]
pub(crate) struct Earlier {
    /// Of its body.
    pub(crate) digest: String,
    /// What became of it.
    pub(crate) report: Report,
    /// Why its first dead letter is one, of lines.
    pub(crate) reason: Option<String>,
}

/// The turn of one request with a key. Dropping it lets the next one in.
pub(crate) struct Claim {
    instance: Arc<Instance>,
    database: Oid,
    hash: Hash,
    turn: Option<(Arc<tokio::sync::Mutex<()>>, tokio::sync::OwnedMutexGuard<()>)>,
    /// A commit was begun, and its end is not known yet.
    in_doubt: bool,
    /// The table the key is for; the database's oid for line protocol.
    pub(crate) about: Oid,
    /// The key.
    pub(crate) key: String,
    /// The receipt of an earlier request with the key.
    pub(crate) earlier: Option<Earlier>,
}

impl Claim {
    /// Takes the key's turn. The session's transaction is over afterwards.
    ///
    /// # Errors
    /// 22023 for a key that is none, 40001 where another request with it takes too long, 53400 if there are too many keys.
    pub(crate) async fn new(session: &mut Session, about: Oid, key: &str) -> Result<Self> {
        let length = key.chars().count();
        if length == 0 || length > KEY_CHARS_MAX || key.chars().any(char::is_control) {
            let message = format!("an idempotency key has 1 to {KEY_CHARS_MAX} printable characters");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let instance = Arc::clone(&session.instance);
        let hash = hash(about, key);
        let lock = Arc::clone(instance.keys.state.lock().turns.entry(hash).or_default());
        let mut claim = Self {
            instance,
            database: session.database,
            hash,
            turn: None,
            in_doubt: false,
            about,
            key: key.to_owned(),
            earlier: None,
        };
        let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&lock).lock_owned()).await;
        let guard = turn.map_err(|_| {
            let message = "another request with this idempotency key is still running";
            Error::new(SqlState::T_R_SERIALIZATION_FAILURE, message).hint("Ask again later.")
        });
        match guard {
            Ok(guard) => claim.turn = Some((lock, guard)),
            Err(error) => {
                drop(lock);
                return Err(error);
            }
        }
        // A snapshot taken before would not have what was waited for.
        session.rollback();
        claim.read_keys(session).await?;
        claim.earlier = claim.find(session).await?;
        session.rollback();
        Ok(claim)
    }

    /// Reads the table's keys, the first time in this database.
    async fn read_keys(&self, session: &mut Session) -> Result<()> {
        if self.instance.keys.state.lock().known.get(&self.database).is_some_and(|known| known.is_complete) {
            return Ok(());
        }
        // Whoever commits a key meanwhile adds it to what is read: it is in one of the two.
        let mut found = HashMap::new();
        if is_there(session, NAME) {
            let sql = format!(
                "SELECT coalesce(table_oid, {}), key, received_at FROM tidemill.receipts WHERE source_oid = {NO_SOURCE}",
                self.database
            );
            let mut stream = rows(session, &sql).await?;
            while let Some(batch) = stream.try_next().await? {
                let (tables, keys) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string_view());
                let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
                for row in 0..batch.num_rows() {
                    let about = Oid::try_from(tables.value(row)).unwrap_or(NO_SOURCE);
                    found.insert(self::hash(about, keys.value(row)), times.value(row));
                }
            }
        }
        let mut state = self.instance.keys.state.lock();
        let known = state.known.entry(self.database).or_default();
        known.keys.extend(found);
        known.is_complete = true;
        Ok(())
    }

    /// The receipt of the key, if it is younger than the retention.
    async fn find(&self, session: &mut Session) -> Result<Option<Earlier>> {
        let known = {
            let state = self.instance.keys.state.lock();
            let known = state.known.get(&self.database);
            let found = known.and_then(|known| known.keys.get(&self.hash)).copied();
            if found.is_none() && known.is_some_and(|known| known.keys.len() >= KEYS_MAX) {
                let message = format!("there are {KEYS_MAX} idempotency keys");
                return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
                    .hint("Shorten --idempotency-retention, or send larger requests."));
            }
            found
        };
        let oldest = oldest(&self.instance);
        let Some(received_at) = known.filter(|time| *time >= oldest) else { return Ok(None) };
        let key = self.key.replace('\'', "''");
        let sql = format!(
            "SELECT digest, report FROM tidemill.receipts WHERE source_oid = {NO_SOURCE} AND key = '{key}' \
             AND coalesce(table_oid, {}) = {} \
             AND received_at = {}",
            self.database,
            self.about,
            literal(received_at)
        );
        let mut stream = rows(session, &sql).await?;
        while let Some(batch) = stream.try_next().await? {
            if batch.num_rows() > 0 {
                let digest = batch.column(0).as_string_view().value(0).to_owned();
                let (report, reason) = report_of(batch.column(1).as_string_view().value(0))?;
                return Ok(Some(Earlier { digest, report, reason }));
            }
        }
        // Somebody deleted it.
        Ok(None)
    }

    /// A commit of the key's receipt begins.
    pub(crate) fn begin_commit(&mut self) {
        self.in_doubt = true;
    }

    /// It failed: the key is still free.
    pub(crate) fn failed(&mut self) {
        self.in_doubt = false;
    }

    /// It is durable, with that time.
    pub(crate) fn committed(&mut self, received_at: Timestamp) {
        let mut state = self.instance.keys.state.lock();
        state.known.entry(self.database).or_default().keys.insert(self.hash, received_at);
        self.in_doubt = false;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.instance.keys.state.lock();
        if self.in_doubt {
            // It may have been committed: the table knows.
            state.known.entry(self.database).or_default().is_complete = false;
        }
        self.turn = None;
        // The map's and nobody else's.
        if state.turns.get(&self.hash).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            state.turns.remove(&self.hash);
        }
    }
}

/// Keys from before may be used again.
pub(crate) fn oldest(instance: &Instance) -> Timestamp {
    let retention = i64::try_from(instance.config.idempotency_retention.as_micros()).unwrap_or(i64::MAX);
    instance.clock.now().saturating_sub(retention)
}

/// Forgets keys from before.
pub(crate) fn forget(instance: &Instance, before: Timestamp) {
    for known in instance.keys.state.lock().known.values_mut() {
        known.keys.retain(|_, time| *time >= before);
    }
}

/// A report as it is kept, with the reason of the first dead letter.
pub(crate) fn report_value(report: &Report, reason: Option<&str>) -> Value {
    json!({
        "documents": report.documents,
        "rows": report.rows,
        "dead_letters": report.dead_letters,
        "new_columns": report.new_columns,
        "widened_columns": report.widened_columns,
        "reason": reason,
    })
}

fn report_of(text: &str) -> Result<(Report, Option<String>)> {
    let value: Value = serde_json::from_str(text).map_err(|error| Error::internal(format!("a receipt: {error}")))?;
    let count = |name: &str| value[name].as_u64().unwrap_or(0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let columns = |name: &str| {
        let all = value[name].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().map(|column| (text(&column[0]), text(&column[1]))).collect()
    };
    let report = Report {
        documents: count("documents"),
        rows: count("rows"),
        dead_letters: count("dead_letters"),
        new_columns: columns("new_columns"),
        widened_columns: columns("widened_columns"),
    };
    Ok((report, value["reason"].as_str().map(str::to_owned)))
}
