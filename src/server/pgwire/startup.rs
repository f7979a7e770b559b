//! From a fresh socket to a session: TLS, cancel requests, protocol version, login.
//!
//! ```text
//! SSLRequest? → S + TLS, or N      GSSENCRequest? → N      CancelRequest → done
//! StartupMessage → [NegotiateProtocolVersion] → [SASL …] → AuthenticationOk → ParameterStatus… → BackendKeyData
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::auth::{self, Demand, Exchange};
use super::connection::{Connection, End};
use super::message::{self, Startup, violation};
use super::{Shared, reply};
use crate::error::SqlState;
use crate::instance::{Applicant, Registration};
use crate::session::Login;
use crate::{Error, Result};

/// The newest minor version of protocol 3 spoken here: 3.2, whose longer cancel keys we accept and do not send.
const PROTOCOL_MINOR: u16 = 2;

/// A client that may have a session.
pub(super) struct Admitted {
    pub(super) login: Login,
    pub(super) registration: Registration,
}

/// What the startup packet asked for.
struct Request {
    login: Login,
    tls: bool,
}

/// Greets a client, as far as authentication and its place among the clients. `None`: it only wanted to cancel something.
pub(super) async fn admit(
    connection: &mut Connection,
    shared: &Shared,
    peer: SocketAddr,
) -> Result<Option<Admitted>, End> {
    let Some(Request { login, tls }) = negotiate(connection, shared).await? else { return Ok(None) };
    let loopback = peer.ip().to_canonical().is_loopback();
    let catalog = Arc::clone(&shared.instance.store.snapshot().catalog);
    if auth::demand(&catalog, loopback) == Demand::Password {
        let certificate = shared.tls.as_ref().filter(|_| tls).map(|tls| tls.certificate.as_slice());
        let exchange = Exchange::new(&catalog, &login.user, &shared.mock_key, certificate);
        authenticate(connection, exchange).await?;
    }
    let role = auth::may_log_in(&catalog, &login.user).map_err(End::Fatal)?;
    let applicant = Applicant {
        user: login.user.clone(),
        superuser: role.superuser,
        connection_limit: role.connection_limit,
        client_address: Some(peer),
    };
    let registration = Registration::new(&shared.instance, applicant).map_err(End::Fatal)?;
    reply::authentication_ok(&mut connection.output);
    Ok(Some(Admitted { login, registration }))
}

/// Reads startup packets until one asks for a session.
async fn negotiate(connection: &mut Connection, shared: &Shared) -> Result<Option<Request>, End> {
    let (mut tls, mut asked_tls, mut asked_gss) = (false, false, false);
    loop {
        let Some(packet) = connection.startup_packet().await? else { return Err(End::Gone) };
        match message::startup(packet).map_err(End::Fatal)? {
            Startup::Ssl if !asked_tls && !tls => {
                asked_tls = true;
                // What came before the handshake could be a stranger's: it must not be taken for the client's.
                if connection.has_input() {
                    return Err(End::Fatal(violation("received unencrypted data after SSL request").fatal()));
                }
                connection.output.put_u8(if shared.tls.is_some() { b'S' } else { b'N' });
                connection.flush().await?;
                if let Some(settings) = &shared.tls {
                    connection.encrypt(&settings.acceptor).await?;
                    tls = true;
                }
            }
            Startup::Gss if !asked_gss && !tls => {
                asked_gss = true;
                if connection.has_input() {
                    return Err(End::Fatal(
                        violation("received unencrypted data after GSSAPI encryption request").fatal(),
                    ));
                }
                connection.output.put_u8(b'N');
                connection.flush().await?;
            }
            Startup::Ssl | Startup::Gss => {
                return Err(End::Fatal(violation("encryption was already negotiated").fatal()));
            }
            Startup::Cancel { pid, secret } => {
                if let Ok(secret) = <[u8; 4]>::try_from(secret.as_ref()) {
                    shared.instance.cancel(pid, i32::from_be_bytes(secret));
                }
                return Ok(None);
            }
            Startup::Session { minor, parameters } => {
                let unknown: Vec<&str> =
                    parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
                if minor > PROTOCOL_MINOR || !unknown.is_empty() {
                    reply::negotiate(&mut connection.output, minor.min(PROTOCOL_MINOR), &unknown);
                }
                let login = login(parameters).map_err(End::Fatal)?;
                return Ok(Some(Request { login, tls }));
            }
        }
    }
}

/// The startup packet's parameters, sorted out.
///
/// # Errors
/// 28000 without a user, 0A000 for replication, 42601 for options that are not settings.
fn login(parameters: Vec<(String, String)>) -> Result<Login> {
    let mut login = Login { user: String::new(), database: String::new(), parameters: Vec::new() };
    let mut settings = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "user" => login.user = value,
            "database" => login.database = value,
            "options" => login.parameters.extend(options(&value)?),
            "replication" => refuse_replication(&value)?,
            name if name.starts_with("_pq_.") => {}
            _ => settings.push((name, value)),
        }
    }
    // As PostgreSQL does: parameters of their own win over those in `options`.
    login.parameters.append(&mut settings);
    if login.user.is_empty() {
        let message = "no PostgreSQL user name specified in startup packet";
        return Err(Error::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message).fatal());
    }
    if login.database.is_empty() {
        login.database.clone_from(&login.user);
    }
    Ok(login)
}

fn refuse_replication(value: &str) -> Result<()> {
    match value.to_ascii_lowercase().as_str() {
        "false" | "off" | "no" | "0" | "f" | "n" => Ok(()),
        "true" | "on" | "yes" | "1" | "t" | "y" | "database" => {
            Err(Error::unsupported("replication connections are not supported").fatal())
        }
        _ => {
            let message = format!("invalid value for parameter \"replication\": \"{value}\"");
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\".")
                .fatal())
        }
    }
}

/// Settings in a command line: `-c name=value --name=value`. A backslash takes the next character as it is.
fn options(line: &str) -> Result<Vec<(String, String)>> {
    let refuse = |word: &str| {
        let message = format!("invalid command-line argument for server process: {word}");
        Error::new(SqlState::SYNTAX_ERROR, message).fatal()
    };
    let setting = |text: &str, word: &str| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.replace('-', "_"), value.to_owned())),
        _ => Err(refuse(word)),
    };
    let mut words = split_words(line).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        settings.push(if word == "-c" {
            let next = words.next().ok_or_else(|| refuse(&word))?;
            setting(&next, &next)?
        } else if let Some(text) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            setting(text, &word)?
        } else {
            return Err(refuse(&word));
        });
    }
    Ok(settings)
}

fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            character if character.is_ascii_whitespace() => words.extend(word.take()),
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// The SASL exchange.
async fn authenticate(connection: &mut Connection, mut exchange: Exchange) -> Result<(), End> {
    reply::sasl(&mut connection.output, exchange.mechanisms());
    connection.flush().await?;
    let (mechanism, data) = message::sasl_initial(password(connection).await?).map_err(End::Fatal)?;
    let data = match data {
        Some(data) => data,
        None => {
            // The mechanism alone: the data comes when we ask.
            reply::sasl_data(&mut connection.output, "", false);
            connection.flush().await?;
            password(connection).await?
        }
    };
    let first = exchange.first(&mechanism, &data).map_err(End::Fatal)?;
    reply::sasl_data(&mut connection.output, &first, false);
    connection.flush().await?;
    let last = exchange.last(&password(connection).await?).map_err(End::Fatal)?;
    reply::sasl_data(&mut connection.output, &last, true);
    Ok(())
}

/// The body of the next message, which must be a password or SASL message.
async fn password(connection: &mut Connection) -> Result<Bytes, End> {
    let frame = connection.frame().await?;
    match message::message(frame).map_err(End::Fatal)? {
        message::Message::Password(body) => Ok(body),
        _ => Err(End::Fatal(violation("expected SASL response").fatal())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_settings() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let cases: [(&str, Vec<(String, String)>); 6] = [
            ("", vec![]),
            ("  -c a=b  ", vec![pair("a", "b")]),
            ("-ca=b --work-mem=1MB", vec![pair("a", "b"), pair("work_mem", "1MB")]),
            ("-c search_path=a\\ b,c", vec![pair("search_path", "a b,c")]),
            ("-c a=x\\\\y -c b=", vec![pair("a", "x\\y"), pair("b", "")]),
            ("-c statement_timeout=5min\t-c geqo=off", vec![pair("statement_timeout", "5min"), pair("geqo", "off")]),
        ];
        for (line, expected) in cases {
            assert_eq!(options(line).unwrap(), expected, "{line}");
        }
        for line in ["-c", "-c a", "a=b", "-x", "--", "-c =b", "-"] {
            assert_eq!(options(line).unwrap_err().code().code(), "42601", "{line}");
        }
    }

    #[test]
    fn parameters_are_sorted_out() {
        let packet = |list: &[(&str, &str)]| {
            login(list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let found = packet(&[
            ("user", "me"),
            ("TimeZone", "UTC"),
            ("replication", "false"),
            ("options", "-c TimeZone=CET"),
            ("_pq_.x", "1"),
        ])
        .unwrap();
        assert_eq!((found.user.as_str(), found.database.as_str()), ("me", "me"));
        let names: Vec<_> = found.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(names, [("TimeZone", "CET"), ("TimeZone", "UTC")], "the packet's own parameter wins");
        for (list, code) in [
            (&[("database", "d")][..], "28000"),
            (&[("user", "me"), ("replication", "database")], "0A000"),
            (&[("user", "me"), ("replication", "maybe")], "22023"),
        ] {
            let error = packet(list).unwrap_err();
            assert!(error.report().fatal);
            assert_eq!(error.code().code(), code, "{list:?}");
        }
    }
}
