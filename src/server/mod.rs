//! IN/OUT: bytes to requests and back. Knows no tables.
//!
//! [`run`] opens both ports and serves until `instance.shutdown` is cancelled. Then, in this order: no new clients; idle ones are
//! told 57P01; running statements and requests end or, after `drain_timeout`, are ended; HTTP answers until the last client is gone.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rand::Rng;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::SqlState;
use crate::instance::Instance;
use crate::{Error, Result, background};

/// HTTP.
pub mod http;

/// The Postgres wire protocol.
pub mod pgwire;

/// Pause after a failed accept (too many open files, say), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for clients to leave once they were told to.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that may be waiting to be accepted.
const BACKLOG: u32 = 1024;

/// What all connections share.
struct Shared {
    instance: Arc<Instance>,
    /// TLS, if configured.
    tls: Option<pgwire::tls::Tls>,
    /// Makes the mock verifiers of roles that do not exist.
    mock_key: [u8; 32],
}

/// The server with its ports open.
pub struct Server {
    shared: Arc<Shared>,
    pg: TcpListener,
    http: TcpListener,
}

/// Opens both ports and serves until `instance.shutdown` is cancelled.
///
/// # Errors
/// As [`Server::bind`] and [`Server::serve`].
pub async fn run(instance: Arc<Instance>) -> Result<()> {
    Server::bind(instance)?.serve().await
}

impl Server {
    /// Opens both ports; clients wait until [`Self::serve`].
    ///
    /// # Errors
    /// If a port cannot be opened, the certificate or key cannot be read, or the server would be open to the network
    /// without a password.
    pub fn bind(instance: Arc<Instance>) -> Result<Self> {
        let config = &instance.config;
        let tls = pgwire::tls::Tls::load(config)?;
        if !is_loopback(config.pg_listen) && !pgwire::auth::any_password(&instance.store.snapshot().catalog) {
            return Err(Error::new(
                SqlState::CONFIG_FILE_ERROR,
                format!("will not listen on {} while no role has a password", config.pg_listen),
            )
            .hint(
                "Start on a loopback address first and set one: ALTER ROLE tidemill PASSWORD '…'. \
                 From then on every login needs a password.",
            ));
        }
        let (pg, http) = (listen(config.pg_listen)?, listen(config.http_listen)?);
        let shared = Arc::new(Shared { tls, mock_key: rand::rng().random(), instance });
        Ok(Self { shared, pg, http })
    }

    /// The address of the Postgres port, also when the configuration said port 0.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn pg_address(&self) -> Result<SocketAddr> {
        self.pg.local_addr().map_err(|error| Error::internal(error.to_string()))
    }

    /// The address of the HTTP port.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn http_address(&self) -> Result<SocketAddr> {
        self.http.local_addr().map_err(|error| Error::internal(error.to_string()))
    }

    /// Serves until `instance.shutdown` is cancelled, then lets clients finish and returns.
    ///
    /// # Errors
    /// If the write-ahead log failed: the process must be restarted.
    pub async fn serve(self) -> Result<()> {
        let Self { shared, pg, http } = self;
        let instance = Arc::clone(&shared.instance);
        let failure = Arc::new(OnceLock::new());
        let http_stop = CancellationToken::new();
        let (clients, requests) = (TaskTracker::new(), TaskTracker::new());
        let site = http::Site::new(Arc::clone(&instance), Arc::clone(&failure), requests.clone());
        let door = http::Door { listener: http, tls: shared.tls.as_ref().map(|tls| tls.http.clone()) };
        let http = background::spawn("http", http::serve(door, site, http_stop.clone()));
        let watch = background::spawn("log watch", watch_log(Arc::clone(&instance), Arc::clone(&failure)));

        accept(&shared, &pg, &clients).await;
        drop(pg);
        drain(&instance, [&clients, &requests]).await;

        watch.abort();
        http_stop.cancel();
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, http).await;
        match failure.get() {
            Some(failure) => Err(Error::new(SqlState::IO_ERROR, format!("write-ahead log failed: {failure}"))),
            None => Ok(()),
        }
    }
}

/// Stops the server if its log fails.
async fn watch_log(instance: Arc<Instance>, failure: Arc<OnceLock<String>>) {
    let message = instance.store.poisoned().await;
    tracing::error!(%message, "write-ahead log failed, stopping");
    let _ = failure.set(message);
    instance.shutdown.cancel();
}

/// Accepts clients until shutdown.
async fn accept(shared: &Arc<Shared>, listener: &TcpListener, clients: &TaskTracker) {
    let instance = &shared.instance;
    // Beyond the sessions there are clients logging in and cancel requests; PostgreSQL allows twice as many, too.
    let sockets_max = instance.config.connections_max.saturating_mul(2).saturating_add(16);
    loop {
        let accepted = tokio::select! {
            biased;
            () = instance.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let shared = Arc::clone(shared);
                let full = clients.len() >= sockets_max;
                let client = clients.track_future(pgwire::serve(shared, socket, peer, full));
                background::spawn_client(client);
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Waits for clients to leave and requests to end: idle clients do at once, busy ones after their statement, all when the
/// time is up.
async fn drain(instance: &Instance, tasks: [&TaskTracker; 2]) {
    let all = || futures::future::join_all(tasks.map(TaskTracker::wait));
    for tasks in tasks {
        tasks.close();
    }
    let drained = tokio::time::timeout(instance.config.drain_timeout, all()).await.is_ok();
    if !drained {
        let handles: Vec<_> = instance.sessions.lock().values().map(Arc::clone).collect();
        tracing::info!(statements = handles.len(), "ending statements that run too long");
        for handle in handles {
            handle.terminate.cancel();
        }
        if tokio::time::timeout(LEAVE_TIMEOUT, all()).await.is_err() {
            let clients = tasks.map(TaskTracker::len).iter().sum::<usize>();
            tracing::warn!(clients, "clients are left behind");
        }
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        // Clients that vanished without a word are noticed; accepted sockets inherit it.
        socket.set_keepalive(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|error: std::io::Error| {
        Error::new(SqlState::IO_ERROR, format!("could not listen on {address}: {error}"))
            .hint("Is another server already running on that port? If not, wait a few seconds and retry.")
    })
}
