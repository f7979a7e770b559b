//! The Postgres wire protocol, version 3: one task per client.
//!
//! ```text
//! socket → connection (buffers) → message (parse) → client (loop) → simple | extended → session
//!                               ← reply, encode   ←              ← rows, copy
//! ```
//!
//! pgwire gives SCRAM; messages are read and written here, because they come from strangers, and because rows and COPY
//! data are most of the work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Shared;
use crate::error::SqlState;
use crate::session::Session;
use crate::{Error, Result};

/// Who may log in: SCRAM verifiers and the rules.
pub mod auth;
mod client;
mod connection;
mod copy;
/// Batches to DataRow messages.
pub mod encode;
mod extended;
mod message;
mod reply;
mod rows;
pub(super) mod simple;
mod startup;
/// TLS.
pub(crate) mod tls;

use client::Client;
use connection::{Connection, End, Transport};
use startup::Admitted;

/// A client must be logged in within this time. PostgreSQL's authentication_timeout.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that is told goodbye has this long to take it.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves one client until it leaves. `full`: there are so many that it is turned away.
pub(super) async fn serve(shared: Arc<Shared>, socket: TcpStream, peer: SocketAddr, full: bool) {
    // Answers are written whole: waiting for more to send would only delay them.
    let _ = socket.set_nodelay(true);
    talk(&shared, Box::new(socket), peer, full).await;
}

/// As [`serve`], on any transport.
async fn talk(shared: &Shared, transport: Box<dyn Transport>, peer: SocketAddr, full: bool) {
    let instance = &shared.instance;
    let mut connection = Connection::new(Arc::clone(instance), transport);
    let began = if full {
        let message = "sorry, too many clients already";
        Err(End::Fatal(Error::new(SqlState::TOO_MANY_CONNECTIONS, message).fatal()))
    } else {
        let begin = Box::pin(tokio::time::timeout(STARTUP_TIMEOUT, begin(&mut connection, shared, peer)));
        tokio::select! {
            biased;
            () = instance.shutdown.cancelled() => Err(End::Fatal(
                Error::new(SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down").fatal(),
            )),
            began = begin => began.unwrap_or(Err(End::Gone)),
        }
    };
    match began {
        Ok(None) => {}
        Ok(Some((session, admitted))) => {
            instance.metrics.connections.fetch_add(1, Relaxed);
            let handle = Arc::clone(admitted.registration.handle());
            tracing::debug!(pid = handle.pid, %peer, user = admitted.login.user, "client connected");
            Box::pin(Client::new(&mut connection, session, Arc::clone(&handle), Arc::clone(instance)).run()).await;
            // Only now is its place free: what it ran has ended.
            drop(admitted);
            tracing::debug!(pid = handle.pid, "client left");
        }
        Err(End::Gone) => {}
        Err(End::Fatal(error)) => {
            instance.metrics.connections_refused.fetch_add(1, Relaxed);
            instance.metrics.error(error.code());
            tracing::info!(%peer, code = error.code().code(), %error, "client refused");
            // Nothing that was prepared for a session that does not begin.
            connection.output.clear();
            reply::error(&mut connection.output, error.report(), true);
        }
    }
    let goodbye = async {
        let _ = connection.flush().await;
        // Not at shutdown: idle clients would hold it up.
        connection.close(!instance.shutdown.is_cancelled()).await;
    };
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await;
}

/// Greets a client and begins its session. `None`: it wanted none.
async fn begin(
    connection: &mut Connection,
    shared: &Shared,
    peer: SocketAddr,
) -> Result<Option<(Session, Admitted)>, End> {
    let Some(admitted) = startup::admit(connection, shared, peer).await? else { return Ok(None) };
    let handle = Arc::clone(admitted.registration.handle());
    let session = Session::start(Arc::clone(&shared.instance), handle, admitted.login.clone()).map_err(End::Fatal)?;
    Ok(Some((session, admitted)))
}

#[cfg(test)]
mod tests;
