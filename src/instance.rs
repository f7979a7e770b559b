//! What all sessions share: the open store, memory, sessions now connected, metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use parking_lot::Mutex;
use rand::Rng;
use tidemill_catalog::store::Store;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::error::SqlState;
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
