//! Who may log in: SCRAM-SHA-256 verifiers, as stored in roles, and the exchange that checks them.
//!
//! pgwire does the cryptography and the SCRAM messages; the rules of who needs a password are here:
//!
//! | the client | while no role has a password | otherwise |
//! |---|---|---|
//! | on this machine (loopback) | let in as any role that may log in | SCRAM |
//! | elsewhere | SCRAM, which nobody can pass | SCRAM |
//!
//! A role that does not exist or has no password gets a mock verifier, so that a stranger cannot tell it from a wrong
//! password.

use bytes::Bytes;
use pgwire::api::auth::sasl::scram::{
    SCRAM_ITERATIONS, ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal, gen_salted_password,
};
use rand::Rng;
use tidemill_catalog::record::{Body, RoleDef};
use tidemill_catalog::snapshot::{Catalog, NameClass};

use super::message::violation;
use crate::error::SqlState;
use crate::{Error, Result};

/// The mechanism every client knows.
pub(super) const SCRAM: &str = "SCRAM-SHA-256";
/// The same, bound to the TLS connection.
pub(super) const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";

const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// A role's name, its definition.
pub(super) fn role<'a>(catalog: &'a Catalog, name: &str) -> Option<&'a RoleDef> {
    match &catalog.find(0, NameClass::Role, name)?.body {
        Body::Role(role) => Some(role),
        _ => None,
    }
}

/// True once any role has a password: from then on every login needs one.
pub(crate) fn any_password(catalog: &Catalog) -> bool {
    catalog.children(0).any(|object| matches!(&object.body, Body::Role(role) if role.password.is_some()))
}

/// What `PASSWORD '…'` of CREATE and ALTER ROLE stores: the verifier of a password, or a verifier as it is.
///
/// # Errors
/// 0A000 for an MD5 hash: it cannot be checked by SCRAM.
pub fn stored_password(password: &str) -> Result<String> {
    if parse_verifier(password).is_some() {
        return Ok(password.to_owned());
    }
    let md5 = password.strip_prefix("md5").is_some_and(|hash| {
        hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    });
    if md5 {
        return Err(Error::unsupported("MD5-encrypted passwords are not supported")
            .hint("Give the password itself or a SCRAM-SHA-256 verifier."));
    }
    let salt: [u8; SALT_BYTES] = rand::rng().random();
    Ok(scram_verifier(password, &salt, SCRAM_ITERATIONS))
}

/// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`, as PostgreSQL stores it.
pub fn scram_verifier(password: &str, salt: &[u8], iterations: usize) -> String {
    let salted = gen_salted_password(password, salt, iterations);
    match ScramSecret::verifier_from_salted_password(salt.to_vec(), salted, iterations) {
        ScramSecret::Verifier { salt, iterations, stored_key, server_key } => format!(
            "{SCRAM}${iterations}:{}${}:{}",
            base64::encode(&salt),
            base64::encode(&stored_key),
            base64::encode(&server_key)
        ),
        ScramSecret::SaltedPassword { .. } => unreachable!("verifier_from_salted_password makes a verifier"),
    }
}

/// A stored verifier's parts; `None` if it is not one.
fn parse_verifier(verifier: &str) -> Option<ScramSecret> {
    let rest = verifier.strip_prefix(SCRAM)?.strip_prefix('$')?;
    let (parameters, keys) = rest.split_once('$')?;
    let (iterations, salt) = parameters.split_once(':')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    let iterations = iterations.parse().ok().filter(|iterations| *iterations > 0)?;
    let (salt, stored_key, server_key) =
        (base64::decode(salt)?, base64::decode(stored_key)?, base64::decode(server_key)?);
    (stored_key.len() == KEY_BYTES && server_key.len() == KEY_BYTES && !salt.is_empty())
        .then_some(ScramSecret::Verifier { salt, iterations, stored_key, server_key })
}

/// A secret that no password fits, the same for the same name while the server runs.
fn mock_verifier(user: &str, key: &[u8; KEY_BYTES]) -> ScramSecret {
    // The derivation of a verifier is a keyed hash, which is all that is needed here.
    let derive = |key: &[u8]| match ScramSecret::verifier_from_salted_password(
        Vec::new(),
        [key, user.as_bytes()].concat(),
        SCRAM_ITERATIONS,
    ) {
        ScramSecret::Verifier { stored_key, .. } => stored_key,
        ScramSecret::SaltedPassword { .. } => unreachable!("verifier_from_salted_password makes a verifier"),
    };
    let salt = derive(key)[..SALT_BYTES].to_vec();
    let random: [u8; KEY_BYTES] = rand::rng().random();
    ScramSecret::Verifier {
        salt,
        iterations: SCRAM_ITERATIONS,
        stored_key: random.to_vec(),
        server_key: random.to_vec(),
    }
}

/// What the login of one client needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// Nothing.
    Nothing,
    /// SCRAM.
    Password,
}

/// Whether a client has to show a password.
pub(super) fn demand(catalog: &Catalog, loopback: bool) -> Demand {
    if loopback && !any_password(catalog) { Demand::Nothing } else { Demand::Password }
}

/// Whether a client of another protocol has to show a password.
pub(in crate::server) fn needs_password(catalog: &Catalog, loopback: bool) -> bool {
    demand(catalog, loopback) == Demand::Password
}

/// Whether it is the role's password. Takes as long for a role that does not exist.
pub(in crate::server) fn is_password(catalog: &Catalog, user: &str, password: &str) -> bool {
    let stored = role(catalog, user).and_then(|role| role.password.as_deref());
    let Some(ScramSecret::Verifier { salt, iterations, .. }) = stored.and_then(parse_verifier) else {
        let _ = scram_verifier(password, &[0; SALT_BYTES], SCRAM_ITERATIONS);
        return false;
    };
    stored == Some(scram_verifier(password, &salt, iterations).as_str())
}

/// What Basic authentication carries.
pub(in crate::server) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    base64::decode(text)
}

/// Checks that a role may log in, after it showed its password (or needed none).
///
/// # Errors
/// 28000.
pub(in crate::server) fn may_log_in<'a>(catalog: &'a Catalog, user: &str) -> Result<&'a RoleDef> {
    let refuse = |message: String| Error::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message).fatal();
    let role = role(catalog, user).ok_or_else(|| refuse(format!("role \"{user}\" does not exist")))?;
    if role.login { Ok(role) } else { Err(refuse(format!("role \"{user}\" is not permitted to log in"))) }
}

/// One client's SCRAM exchange.
pub(super) struct Exchange {
    user: String,
    secret: Option<ScramSecret>,
    server: ScramServerAuth,
    waiting: Option<ScramServerAuthWaitingForClientFinal>,
}

impl Exchange {
    /// For `user`. `mock_key`: random, the same while the server runs. `certificate`: the server's, in PEM, on a TLS
    /// connection: offers channel binding.
    pub(super) fn new(catalog: &Catalog, user: &str, mock_key: &[u8; KEY_BYTES], certificate: Option<&[u8]>) -> Self {
        let stored = role(catalog, user).and_then(|role| parse_verifier(role.password.as_deref()?));
        let mut server = ScramServerAuth::new();
        if let Some(certificate) = certificate
            && let Err(error) = server.configure_certificate(certificate)
        {
            tracing::debug!(%error, "no channel binding with this certificate");
        }
        let secret = Some(stored.unwrap_or_else(|| mock_verifier(user, mock_key)));
        Self { user: user.to_owned(), secret, server, waiting: None }
    }

    /// The mechanisms offered.
    pub(super) fn mechanisms(&self) -> &'static [&'static str] {
        if self.server.supports_channel_binding() { &[SCRAM_PLUS, SCRAM] } else { &[SCRAM] }
    }

    /// The client's first message; the server's first.
    ///
    /// # Errors
    /// 08P01 for a malformed message or a mechanism not offered.
    pub(super) fn first(&mut self, mechanism: &str, data: &Bytes) -> Result<String> {
        if !self.mechanisms().contains(&mechanism) {
            return Err(violation("client selected an invalid SASL authentication mechanism").fatal());
        }
        // The mechanism and the flag in the message must agree, else the binding would not be checked.
        if (mechanism == SCRAM_PLUS) != data.starts_with(b"p=") {
            return Err(malformed());
        }
        let secret = self.secret.take().ok_or_else(malformed)?;
        let (answer, waiting) =
            self.server.on_client_first_message_with_secret(data, secret).map_err(|_| malformed())?;
        self.waiting = Some(waiting);
        Ok(answer)
    }

    /// The client's last message; the server's last.
    ///
    /// # Errors
    /// 28P01 for a wrong password.
    pub(super) fn last(&mut self, data: &Bytes) -> Result<String> {
        let waiting = self.waiting.take().ok_or_else(malformed)?;
        waiting.on_client_final_message(data).map_err(|_| {
            let message = format!("password authentication failed for user \"{}\"", self.user);
            Error::new(SqlState::INVALID_PASSWORD, message).fatal()
        })
    }
}

fn malformed() -> Error {
    violation("malformed SCRAM message").fatal()
}

/// Base64 with padding, as verifiers are spelled.
mod base64 {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    pub(super) fn encode(bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for chunk in bytes.chunks(3) {
            let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
            let group = byte(0) << 16 | byte(1) << 8 | byte(2);
            for position in 0..4 {
                let digit = usize::try_from(group >> (18 - 6 * position) & 63).expect("six bits");
                text.push(if position > chunk.len() { '=' } else { char::from(ALPHABET[digit]) });
            }
        }
        text
    }

    pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
        let digits = text.trim_end_matches('=');
        if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
            return None;
        }
        let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
        let (mut group, mut bits) = (0u32, 0);
        for digit in digits.bytes() {
            let value = ALPHABET.iter().position(|letter| *letter == digit)?;
            group = group << 6 | u32::try_from(value).expect("six bits");
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                bytes.push(u8::try_from(group >> bits & 255).expect("eight bits"));
            }
        }
        // Bits left over must be zero, else two texts would mean the same bytes.
        (group & ((1 << bits) - 1) == 0).then_some(bytes)
    }
}

#[cfg(test)]
mod tests;
