//! What all sessions share: the open store, memory, sessions now connected, metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use parking_lot::Mutex;
use tidemill_catalog::store::Store;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
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
