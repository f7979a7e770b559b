//! What all sessions share: the open store, memory, sessions now connected, metrics.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use parking_lot::Mutex;
use tidemill_catalog::fault::OsFiles;
use tidemill_catalog::store::{Durability, Store, StoreOptions};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, WAL_SEGMENT_BYTES};
use crate::error::{Result, SqlState};
use crate::telemetry::Metrics;

/// The running server.
#[derive(Debug)]
pub struct Instance {
    /// Its configuration.
    pub config: Config,
    /// Its data.
    pub store: Arc<Store>,
    /// DataFusion's memory pool, disk manager and caches.
    pub runtime: Arc<RuntimeEnv>,
    /// Its clock.
    pub clock: Clock,
    /// Clients now connected, by process id.
    pub sessions: Mutex<BTreeMap<i32, Arc<SessionHandle>>>,
    /// Counters.
    pub metrics: Metrics,
    /// Cancelled when the server stops.
    pub shutdown: CancellationToken,
    /// When it started.
    pub started_at: Timestamp,
}

/// How many memory consumers an out-of-memory error names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

impl Instance {
    /// Opens the data directory and makes what sessions share. Blocking: recovery reads the log.
    ///
    /// # Errors
    /// With a hint that can be acted on: the directory cannot be written, another server has it, its log is damaged.
    pub fn open(config: Config) -> Result<Arc<Self>> {
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
        Ok(Arc::new(Self {
            config,
            store,
            runtime,
            clock,
            sessions: Mutex::default(),
            metrics: Metrics::default(),
            shutdown: CancellationToken::new(),
            started_at,
        }))
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
}
