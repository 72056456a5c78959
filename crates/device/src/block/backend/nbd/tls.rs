//! TLS to an NBD server, with credentials in a folder whose files have the names that QEMU gives them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::Address;

/// Certificates of those who are trusted to vouch for servers; there has to be one.
const AUTHORITIES: &str = "ca-cert.pem";
/// Our certificate and its key, for servers that want to know their clients. Both, or neither.
const CERTIFICATE: &str = "client-cert.pem";
const KEY: &str = "client-key.pem";

/// Who servers have to be, and who we are.
#[derive(Clone)]
pub struct TlsCredentials {
    config: Arc<ClientConfig>,
    /// The server's name in its certificate, if not that of its host.
    name: Option<ServerName<'static>>,
}

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or holds something else.
    #[error("{}: {what}; expected {AUTHORITIES} and, if the server asks for it, {CERTIFICATE} and {KEY}, as PEM", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Certificate and key are of no use.
    #[error("{}: {source}", .folder.display())]
    Unusable {
        /// Where they are.
        folder: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The server's name is none.
    #[error("{0:?} is no name of a server: expected a DNS name or an IP address")]
    Name(String),
}

impl TlsCredentials {
    /// Reads the credentials in `folder`. The certificate of a server has to be for `name`, or for its host if `None`.
    pub fn load(folder: &Path, name: Option<&str>) -> Result<Self, TlsError> {
        let mut authorities = RootCertStore::empty();
        let path = folder.join(AUTHORITIES);
        for certificate in certificates(&path)? {
            let added = authorities.add(certificate);
            added.map_err(|error| wrong(&path, &error))?;
        }
        let unusable = |source| TlsError::Unusable {
            folder: folder.to_owned(),
            source,
        };
        let provider = Arc::new(default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(authorities);
        let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
        let config = match certificate.exists() || key.exists() {
            true => {
                let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| wrong(&key, &error))?;
                config
                    .with_client_auth_cert(certificates(&certificate)?, secret)
                    .map_err(unusable)?
            }
            false => config.with_no_client_auth(),
        };
        Ok(Self {
            config: Arc::new(config),
            name: name.map(server_name).transpose()?,
        })
    }

    /// A connection to the server at `address` that has not begun.
    pub(super) fn connection(&self, address: &Address) -> io::Result<ClientConnection> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(address.host()).map_err(io::Error::other)?,
        };
        ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)
    }
}

impl fmt::Debug for TlsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsCredentials")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// All certificates of a file, which has at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(certificates) if certificates.is_empty() => Err(wrong(path, &pem::Error::NoItemsFound)),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(path, &error)),
    }
}

fn wrong(path: &Path, error: &dyn fmt::Display) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        what: error.to_string(),
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.into()))
}
