//! What all sessions share: the open store, memory, sessions now connected, metrics.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use parking_lot::Mutex;
use rand::Rng;
use tidemill_catalog::fault::OsFiles;
use tidemill_catalog::store::{Durability, Store, StoreOptions};
use tidemill_catalog::table::scan::Turns;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::config::{Config, WAL_SEGMENT_BYTES};
use crate::error::SqlState;
use crate::session::notifications::{Hub, Outbox};
use crate::source::Statuses;
use crate::statement::ingest::receipts::Keys;
use crate::telemetry::Metrics;
use crate::{Error, Result};

/// Connections kept free for superusers, so that an administrator can always look.
const SUPERUSER_CONNECTIONS: usize = 3;

/// The running server.
#[derive(Debug)]
pub struct Instance {
    /// Its configuration.
    pub config: Config,
    /// Its data.
    pub store: Arc<Store>,
    /// DataFusion's memory pool, disk manager and caches.
    pub runtime: Arc<RuntimeEnv>,
    /// The threads that compute: queries, and what is ingested. Clients, the log and the background have others.
    pub threads: Threads,
    /// Whose scan goes on next on the threads for queries.
    pub turns: Arc<Turns>,
    /// Its clock.
    pub clock: Clock,
    /// Clients now connected, by process id.
    pub sessions: Mutex<BTreeMap<i32, Arc<SessionHandle>>>,
    /// Counters.
    pub metrics: Metrics,
    /// Held by an ingestion that lost a race for a table's definition, while it tries again: else many could lose for ever.
    pub evolution: tokio::sync::Mutex<()>,
    /// Idempotency keys of requests.
    pub(crate) keys: Keys,
    /// Who listens to notifications.
    pub notifications: Arc<Hub>,
    /// What sources do.
    pub(crate) sources: Statuses,
    /// Cancelled when the server stops.
    pub shutdown: CancellationToken,
    /// When it started.
    pub started_at: Timestamp,
    /// The number of the next transaction that asks for one.
    transactions: AtomicU64,
}

/// Threads apart from those that hear clients, so that nothing that computes can hold these up.
#[derive(Debug, Clone)]
pub struct Threads {
    /// Queries.
    pub queries: tokio::runtime::Handle,
    /// Documents and messages on their way into tables: decoding one request takes longer than many a query, and in one queue
    /// with it each step of the query would wait for several of them.
    pub ingestion: tokio::runtime::Handle,
}

impl From<tokio::runtime::Handle> for Threads {
    /// The same for both.
    fn from(all: tokio::runtime::Handle) -> Self {
        Self { queries: all.clone(), ingestion: all }
    }
}

/// How many memory consumers an out-of-memory error names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

impl Instance {
    /// Opens the data directory and makes what sessions share. Blocking: recovery reads the log.
    ///
    /// # Errors
    /// With a hint that can be acted on: the directory cannot be written, another server has it, its log is damaged.
    pub fn open(config: Config, threads: impl Into<Threads>) -> Result<Arc<Self>> {
        let clock = Clock::default();
        let started_at = clock.now();
        let dir = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
        let options = StoreOptions {
            dir: dir.clone(),
            durability: if config.fsync { Durability::Fsync } else { Durability::Os },
            wal_segment_bytes: WAL_SEGMENT_BYTES,
            wal_bytes_max: config.wal_bytes_max,
            cache_bytes: config.cache_bytes,
            file_retention: config.file_retention,
            repair_wal: config.repair_wal,
        };
        let store = Store::open(options, Arc::new(OsFiles), started_at).map_err(|error| open_error(error, &dir))?;
        // Only now: the store's lock says that no other server spills there.
        let runtime = runtime(&config, &dir.join("tmp"))?;
        let turns = Turns::new(config.worker_threads());
        Ok(Arc::new(Self {
            config,
            store,
            runtime,
            threads: threads.into(),
            turns,
            clock,
            sessions: Mutex::default(),
            metrics: Metrics::default(),
            evolution: tokio::sync::Mutex::default(),
            keys: Keys::default(),
            notifications: Arc::default(),
            sources: Statuses::default(),
            shutdown: CancellationToken::new(),
            started_at,
            // Numbers are not stored: those of a later run are higher as long as no run takes a million of them a second.
            transactions: AtomicU64::new(started_at.cast_unsigned()),
        }))
    }

    /// A transaction's number: higher than those given before.
    pub(crate) fn next_transaction(&self) -> u64 {
        self.transactions.fetch_add(1, Ordering::Relaxed)
    }
}

/// DataFusion's memory pool and spill directory. What an earlier run left in the directory is deleted.
fn runtime(config: &Config, tmp: &Path) -> Result<Arc<RuntimeEnv>> {
    let inaccessible = |error: std::io::Error| {
        Error::new(SqlState::IO_ERROR, format!("could not prepare the directory \"{}\": {error}", tmp.display()))
    };
    if tmp.exists() {
        std::fs::remove_dir_all(tmp).map_err(inaccessible)?;
    }
    std::fs::create_dir_all(tmp).map_err(inaccessible)?;
    // Fair: a query that can spill does so when its share is used up, so one sort does not starve the rest.
    let pool = FairSpillPool::new(usize::try_from(config.memory_bytes).unwrap_or(usize::MAX));
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![PathBuf::from(tmp)]))
        .with_max_temp_directory_size(config.spill_bytes);
    Ok(RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, CONSUMERS_NAMED)))
        .with_disk_manager_builder(disk)
        .build_arc()?)
}

/// What to do about a data directory that does not open.
fn open_error(error: tidemill_catalog::Error, dir: &Path) -> Error {
    use tidemill_catalog::Error as Catalog;
    let hint = match &error {
        Catalog::Locked(_) => "Stop the other server, or choose another directory with --data-dir.".to_owned(),
        Catalog::Io { source, .. } => match source.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                format!(
                    "Make \"{}\" writable for the user that runs the server, or choose another with --data-dir.",
                    dir.display()
                )
            }
            _ => "Choose another directory with --data-dir.".to_owned(),
        },
        Catalog::Corrupt { path, .. }
            if Path::new(path).strip_prefix(dir).is_ok_and(|path| path.starts_with("wal")) =>
        {
            "Restore the directory from a copy; or start once with --repair-wal, which cuts the log at the damage: \
             what was committed after it is lost."
                .to_owned()
        }
        Catalog::Corrupt { .. } => "Restore the directory from a copy.".to_owned(),
        Catalog::DiskFull { .. } => "Free some space on that disk: the server needs it to start.".to_owned(),
        _ => return error.into(),
    };
    Error::from(error).hint(hint)
}

/// A connected client as others see it: pg_stat_activity, cancel requests, pg_terminate_backend.
#[derive(Debug)]
pub struct SessionHandle {
    /// What BackendKeyData calls the process id: unique among connected clients, positive.
    pub pid: i32,
    /// What a cancel request must show.
    pub secret: i32,
    /// When it connected.
    pub started_at: Timestamp,
    /// Its address.
    pub client_address: Option<std::net::SocketAddr>,
    /// Cancelled by pg_terminate_backend and at shutdown: the session ends with 57P01.
    pub terminate: CancellationToken,
    /// What it does now.
    pub activity: Mutex<Activity>,
    /// Notifications of its open transaction.
    pub outbox: Mutex<Outbox>,
}

impl SessionHandle {
    /// For work of the server itself: no client, nobody sees it and it takes no place.
    pub(crate) fn internal(started_at: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            pid: 0,
            secret: 0,
            started_at,
            client_address: None,
            terminate: CancellationToken::new(),
            activity: Mutex::default(),
            outbox: Mutex::default(),
        })
    }
}

/// What a client does now.
#[derive(Debug, Clone, Default)]
pub struct Activity {
    /// Role name.
    pub user: String,
    /// Database name and oid.
    pub database: (String, u32),
    /// application_name
    pub application: String,
    /// active, idle, idle in transaction, idle in transaction (aborted)
    pub state: &'static str,
    /// The running or last statement.
    pub query: String,
    /// When that began.
    pub query_started_at: Timestamp,
    /// When its transaction began.
    pub transaction_started_at: Option<Timestamp>,
    /// When `state` last changed.
    pub state_changed_at: Timestamp,
    /// Cancels the running statement (57014). Replaced for each statement.
    pub cancel: Option<CancellationToken>,
    /// What it has prepared and opened.
    pub listing: Arc<Mutex<Listing>>,
    /// The load it runs: pg_stat_progress_copy.
    pub copy: Option<Arc<CopyProgress>>,
}

/// How far a load of rows has come, as pg_stat_progress_copy shows it.
#[derive(Debug, Default)]
pub struct CopyProgress {
    /// The table; 0: a query, or files.
    pub relation: u32,
    /// `COPY FROM`, `COPY TO`
    pub command: &'static str,
    /// `FILE`, `PIPE`, `CALLBACK`
    pub kind: &'static str,
    /// Bytes read or written.
    pub bytes: Arc<AtomicU64>,
    /// Bytes there are to read; 0: not known.
    pub bytes_total: AtomicU64,
    /// Rows read or written.
    pub rows: AtomicU64,
    /// Rows that WHERE leaves out.
    pub rows_excluded: AtomicU64,
}

/// A load under way; the client is shown without it once this is dropped.
#[derive(Debug)]
pub struct CopyReport {
    handle: Arc<SessionHandle>,
    progress: Arc<CopyProgress>,
}

impl CopyProgress {
    /// A load of the client's begins.
    pub fn begin(handle: &Arc<SessionHandle>, relation: u32, command: &'static str, kind: &'static str) -> CopyReport {
        let progress = Arc::new(Self { relation, command, kind, ..Self::default() });
        handle.activity.lock().copy = Some(Arc::clone(&progress));
        CopyReport { handle: Arc::clone(handle), progress }
    }
}

impl CopyReport {
    /// What to count.
    pub fn progress(&self) -> &Arc<CopyProgress> {
        &self.progress
    }
}

impl Drop for CopyReport {
    fn drop(&mut self) {
        let mut activity = self.handle.activity.lock();
        // A later load may have begun.
        if activity.copy.as_ref().is_some_and(|copy| Arc::ptr_eq(copy, &self.progress)) {
            activity.copy = None;
        }
    }
}

/// Prepared statements and cursors of one client, as pg_prepared_statements and pg_cursors show them to it.
#[derive(Debug, Default)]
pub struct Listing {
    /// By name.
    pub statements: BTreeMap<String, ListedStatement>,
    /// By name.
    pub cursors: BTreeMap<String, ListedCursor>,
}

/// A prepared statement.
#[derive(Debug, Clone)]
pub struct ListedStatement {
    /// Its text.
    pub text: Arc<str>,
    /// When it was prepared.
    pub prepared_at: Timestamp,
    /// Oids of its parameters' types.
    pub parameters: Vec<u32>,
    /// By PREPARE, not by the protocol.
    pub from_sql: bool,
}

/// An open cursor.
#[derive(Debug, Clone)]
pub struct ListedCursor {
    /// The text of DECLARE.
    pub text: Arc<str>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// WITH HOLD
    pub hold: bool,
    /// SCROLL
    pub scroll: bool,
}

/// A client's place among the connected ones; dropping it gives the place back.
#[derive(Debug)]
pub struct Registration {
    instance: Arc<Instance>,
    handle: Arc<SessionHandle>,
}

/// Who asks for a place among the connected clients.
#[derive(Debug, Clone)]
pub struct Applicant {
    /// Role name.
    pub user: String,
    /// May use the reserved places, and has no limit of its own.
    pub superuser: bool,
    /// Connections this role may have at once; negative: no limit.
    pub connection_limit: i32,
    /// Where it connects from.
    pub client_address: Option<std::net::SocketAddr>,
}

impl Registration {
    /// Takes a place among the connected clients.
    ///
    /// # Errors
    /// 53300 if there is none.
    pub fn new(instance: &Arc<Instance>, applicant: Applicant) -> Result<Self> {
        let refuse = |message: String| Err(Error::new(SqlState::TOO_MANY_CONNECTIONS, message).fatal());
        let now = instance.clock.now();
        let mut sessions = instance.sessions.lock();
        let places = instance.config.connections_max;
        if sessions.len() >= places {
            return refuse("sorry, too many clients already".into());
        }
        if !applicant.superuser {
            if sessions.len() + SUPERUSER_CONNECTIONS.min(places - 1) >= places {
                return refuse(
                    "remaining connection slots are reserved for non-replication superuser connections".into(),
                );
            }
            let own = || sessions.values().filter(|session| session.activity.lock().user == applicant.user).count();
            if let Ok(limit) = usize::try_from(applicant.connection_limit)
                && own() >= limit
            {
                return refuse(format!("too many connections for role \"{}\"", applicant.user));
            }
        }
        let mut random = rand::rng();
        // Not reused at once, as a counter would be after a restart: a late pg_terminate_backend must not hit another client.
        let pid = std::iter::repeat_with(|| random.random_range(1..=i32::MAX >> 9))
            .find(|pid| !sessions.contains_key(pid))
            .expect("there are far fewer connections than numbers");
        let handle = Arc::new(SessionHandle {
            pid,
            secret: random.random(),
            started_at: now,
            client_address: applicant.client_address,
            terminate: CancellationToken::new(),
            activity: Mutex::new(Activity {
                user: applicant.user,
                state: "idle",
                state_changed_at: now,
                query_started_at: now,
                ..Activity::default()
            }),
            outbox: Mutex::default(),
        });
        sessions.insert(pid, Arc::clone(&handle));
        drop(sessions);
        Ok(Self { instance: Arc::clone(instance), handle })
    }

    /// The client as others see it.
    pub fn handle(&self) -> &Arc<SessionHandle> {
        &self.handle
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.instance.sessions.lock().remove(&self.handle.pid);
    }
}

impl SessionHandle {
    /// Cancels the running statement (57014); false: there is none.
    pub fn cancel(&self) -> bool {
        match &self.activity.lock().cancel {
            Some(token) => {
                token.cancel();
                true
            }
            None => false,
        }
    }
}

impl Instance {
    /// A cancel request: stops the statement of the client with that process id, if the secret is its own. Says nothing, so
    /// that secrets cannot be tried out.
    pub fn cancel(&self, pid: i32, secret: i32) {
        let session = self.sessions.lock().get(&pid).map(Arc::clone);
        if let Some(session) = session.filter(|session| session.secret == secret) {
            session.cancel();
        }
    }
}
