//! Who asks over HTTP: the same roles and passwords as over the Postgres port, by Basic authentication or a token of both.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};

use crate::error::SqlState;
use crate::instance::{Applicant, Instance, Registration};
use crate::server::pgwire::auth;
use crate::session::{Login, Session};
use crate::{Error, Result};

/// The role and database where the request names none.
const DEFAULT_NAME: &str = "tidemill";

/// A session for the request, and its place among the clients.
///
/// # Errors
/// 28P01 without a password or with another one, 28000, 3D000, 53300.
pub(super) fn login(
    instance: &Arc<Instance>,
    given: Option<(String, String)>,
    database: Option<&str>,
    peer: SocketAddr,
) -> Result<(Registration, Session)> {
    let catalog = Arc::clone(&instance.store.snapshot().catalog);
    let loopback = peer.ip().to_canonical().is_loopback();
    let (user, password) = given.unwrap_or_else(|| (DEFAULT_NAME.to_owned(), String::new()));
    if auth::needs_password(&catalog, loopback) && !auth::is_password(&catalog, &user, &password) {
        let message = format!("password authentication failed for user \"{user}\"");
        return Err(Error::new(SqlState::INVALID_PASSWORD, message));
    }
    let role = auth::may_log_in(&catalog, &user)?;
    let applicant = Applicant {
        user: user.clone(),
        superuser: role.superuser,
        connection_limit: role.connection_limit,
        client_address: Some(peer),
    };
    let registration = Registration::new(instance, applicant)?;
    let login = Login {
        database: database.unwrap_or(DEFAULT_NAME).to_owned(),
        user,
        parameters: vec![("application_name".to_owned(), "http".to_owned())],
    };
    let session = Session::start(Arc::clone(instance), Arc::clone(registration.handle()), login)?;
    Ok((registration, session))
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
