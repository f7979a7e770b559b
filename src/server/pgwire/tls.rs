//! TLS: the certificate and key of the configuration, read once at start. Fails closed: if they are configured and cannot be used,
//! the server does not start.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Config;
use crate::error::SqlState;
use crate::{Error, Result};

/// TLS as configured.
pub(crate) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    /// The same for HTTP.
    pub(in crate::server) http: TlsAcceptor,
    /// The certificate chain as PEM: what channel binding binds to.
    pub(super) certificate: Vec<u8>,
}

impl Tls {
    /// Reads certificate and key. `None`: not configured.
    ///
    /// # Errors
    /// F0000 if only one of them is configured, or they cannot be read or do not fit.
    pub(crate) fn load(config: &Config) -> Result<Option<Self>> {
        let refuse = |message: String| Error::new(SqlState::CONFIG_FILE_ERROR, message);
        let (certificate, key) = match (&config.tls_certificate, &config.tls_key) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            _ => return Err(refuse("TLS needs both a certificate and a key".into())),
        };
        let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
            refuse(format!("could not load TLS file \"{}\": {error}", path.display()))
        };
        let pem = std::fs::read(certificate).map_err(|error| unreadable(certificate, &error))?;
        let chain = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unreadable(certificate, &error))?;
        if chain.is_empty() {
            return Err(unreadable(certificate, &"it holds no certificate"));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
        let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|error| refuse(format!("could not use the TLS certificate and key: {error}")))?;
        let mut http = server.clone();
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        server.alpn_protocols = vec![b"postgresql".to_vec()];
        let (acceptor, http) = (TlsAcceptor::from(Arc::new(server)), TlsAcceptor::from(Arc::new(http)));
        Ok(Some(Self { acceptor, http, certificate: pem }))
    }
}
