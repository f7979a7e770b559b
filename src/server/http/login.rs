//! Who asks over HTTP: the same roles and passwords as over the Postgres port, by Basic authentication or a token of both.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use tokio::sync::OwnedSemaphorePermit;

use super::Site;
use crate::error::{Refusal, SqlState};
use crate::instance::{Applicant, Instance, Registration};
use crate::server::pgwire::auth;
use crate::session::{Login, Session};
use crate::{Error, Result};

/// The role and database where the request names none.
const DEFAULT_NAME: &str = "tidemill";

/// Somebody who has shown who they are, with a place among the requests at work.
pub(super) struct Visitor {
    instance: Arc<Instance>,
    applicant: Applicant,
    place: OwnedSemaphorePermit,
}

/// A request's session, and its places among requests and clients; dropping it gives them back.
pub(super) struct Guest {
    pub(super) session: Session,
    pub(super) registration: Registration,
    _place: OwnedSemaphorePermit,
}

impl Visitor {
    /// # Errors
    /// 53300 if too many requests are at work, 57P03 at shutdown, 28P01 without a password or with another one, 28000.
    pub(super) fn admit(site: &Site, given: Option<(String, String)>, peer: SocketAddr) -> Result<Self> {
        let instance = Arc::clone(&site.instance);
        if instance.shutdown.is_cancelled() {
            return Err(Error::new(SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down"));
        }
        let place = Arc::clone(&site.places).try_acquire_owned().map_err(|_| {
            let limit = instance.config.http_requests_max;
            Error::refused(Refusal::Busy, "too many requests at once")
                .hint(format!("Come again later, or start the server with --max-http-requests above {limit}."))
        })?;
        let catalog = Arc::clone(&instance.store.snapshot().catalog);
        let loopback = peer.ip().to_canonical().is_loopback();
        let (user, password) = given.unwrap_or_else(|| (DEFAULT_NAME.to_owned(), String::new()));
        if auth::needs_password(&catalog, loopback) && !auth::is_password(&catalog, &user, &password) {
            let message = format!("password authentication failed for user \"{user}\"");
            return Err(Error::new(SqlState::INVALID_PASSWORD, message));
        }
        let role = auth::may_log_in(&catalog, &user)?;
        let applicant = Applicant {
            superuser: role.superuser,
            connection_limit: role.connection_limit,
            client_address: Some(peer),
            user,
        };
        Ok(Self { instance, applicant, place })
    }

    /// A session in a database. `work` is what others see it do.
    ///
    /// # Errors
    /// 3D000, 53300.
    pub(super) fn enter(self, database: Option<&str>, work: &str) -> Result<Guest> {
        let Self { instance, applicant, place } = self;
        let login = Login {
            database: database.unwrap_or(DEFAULT_NAME).to_owned(),
            user: applicant.user.clone(),
            parameters: vec![("application_name".to_owned(), "http".to_owned())],
        };
        let registration = Registration::new(&instance, applicant)?;
        let now = instance.clock.now();
        {
            let mut activity = registration.handle().activity.lock();
            (activity.state, activity.state_changed_at) = ("active", now);
            (activity.query, activity.query_started_at) = (work.to_owned(), now);
        }
        let session = Session::start(instance, Arc::clone(registration.handle()), login)?;
        Ok(Guest { session, registration, _place: place })
    }
}

/// User and password of the request, by `Basic` or, as InfluxDB's clients and others spell it, `Token user:password` and
/// `Bearer user:password`.
pub(super) fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, given) = value.split_once(' ')?;
    let text = match scheme.to_ascii_lowercase().as_str() {
        "basic" => String::from_utf8(auth::decode_base64(given.trim())?).ok()?,
        "token" | "bearer" => given.trim().to_owned(),
        _ => return None,
    };
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
