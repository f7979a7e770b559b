//! The HTTP port's sockets: TLS or not, limits on heads and on time, and a good end.
//!
//! Where the server has a certificate the port speaks TLS. Plain HTTP is then for the machine itself (health checks,
//! Prometheus), whose bytes no network carries; others are told to use https.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Site;
use crate::background;
use crate::server::ACCEPT_PAUSE;

/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a client may still send after the last answer, and how long: a socket closed on unread bytes is reset, and the
/// client may never read the answer.
const LINGER_BYTES: usize = 4 << 20;
/// See [`LINGER_BYTES`].
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

const HTTPS_ONLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 33\r\n\
    Connection: close\r\n\r\nthis port speaks https, not http\n";
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n\
    Retry-After: 1\r\nConnection: close\r\n\r\ntoo many connections\n";

/// The port, and how its sockets are spoken to.
pub(in crate::server) struct Door {
    pub(in crate::server) listener: TcpListener,
    /// TLS, if configured.
    pub(in crate::server) tls: Option<TlsAcceptor>,
}

/// Serves until `stop`; then lets requests that have begun end.
pub(in crate::server) async fn serve(door: Door, site: Site, stop: CancellationToken) {
    let Door { listener, tls } = door;
    let config = &site.instance.config;
    // As the Postgres port: beyond the sessions there are clients that keep a connection for later.
    let sockets = Arc::new(Semaphore::new(config.connections_max.saturating_mul(2).saturating_add(16)));
    let client = Arc::new(Client { site: site.clone(), router: site.router(), tls, stop: stop.clone() });
    let clients = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((mut socket, peer)) => {
                let (client, sockets) = (Arc::clone(&client), Arc::clone(&sockets));
                background::spawn_client(clients.track_future(async move {
                    match sockets.try_acquire_owned() {
                        Ok(_place) => client.greet(socket, peer).await,
                        Err(_) => {
                            let _ = tokio::time::timeout(LINGER_TIMEOUT, socket.write_all(TOO_MANY)).await;
                        }
                    }
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    clients.close();
    clients.wait().await;
}

struct Client {
    site: Site,
    router: axum::Router,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
}

impl Client {
    /// Finds out what the client speaks.
    async fn greet(&self, mut socket: TcpStream, peer: SocketAddr) {
        let _ = socket.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.talk(socket, peer).await };
        let idle = self.site.instance.config.http_idle_timeout;
        let mut first = [0];
        let peeked = tokio::select! {
            () = self.stop.cancelled() => return,
            peeked = tokio::time::timeout(idle, socket.peek(&mut first)) => peeked,
        };
        match peeked {
            Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => match tokio::time::timeout(idle, tls.accept(socket)).await {
                Ok(Ok(socket)) => self.talk(socket, peer).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
            },
            Ok(Ok(1)) if peer.ip().to_canonical().is_loopback() => self.talk(socket, peer).await,
            Ok(Ok(1)) => {
                let _ = socket.write_all(HTTPS_ONLY).await;
                linger(socket).await;
            }
            _ => {}
        }
    }

    /// Requests and answers, until either side has enough.
    async fn talk(&self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr) {
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| -> BoxFuture<'static, _> {
            request.extensions_mut().insert(ConnectInfo(peer));
            Box::pin(router.call(request)) as BoxFuture<'static, Result<Response<Body>, std::convert::Infallible>>
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // From the end of the last request on: also how long a connection may rest.
            .header_read_timeout(self.site.instance.config.http_idle_timeout)
            .serve_connection(TokioIo::new(socket), service);
        let mut stopping = false;
        let ended = loop {
            let ended = std::future::poll_fn(|context| connection.poll_without_shutdown(context));
            tokio::select! {
                biased;
                ended = ended => break ended,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "HTTP connection ends");
        }
        linger(connection.into_parts().io.into_inner()).await;
    }
}

/// Says that no more will come, and takes what the client still sends.
async fn linger(mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    let rest = async {
        socket.shutdown().await?;
        let mut left = LINGER_BYTES;
        let mut buffer = vec![0; 16 << 10];
        while left > 0 {
            match socket.read(&mut buffer).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER_TIMEOUT, rest).await;
}
