//! A disk that an NBD server exports: another program, or another machine.
//!
//! One connection serves all queues, on a thread of its own. When it is lost, what is outstanding is sent again on the next
//! one: no request was answered, so none that was carried out before does harm by being carried out again.

mod address;
mod channel;
mod command;
mod connection;
mod handshake;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(test)]
mod tls_tests;
mod wire;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringwright_spec::block::SECTOR_SIZE;

pub use self::address::{Address, AddressError};
use self::channel::Channel;
use self::connection::Connection;
use self::handshake::{Export, go, greet, start_tls};
pub use self::tls::{TlsCredentials, TlsError};
use super::crew::CrewLane;
use super::{Backend, Lane};

/// How long connecting may take, and then the handshake as a whole.
const PATIENCE: Duration = Duration::from_secs(10);

/// How an export is used.
#[derive(Clone, Debug)]
pub struct NbdOptions {
    /// For reading only, also if the server lets it be written.
    pub read_only: bool,
    /// For how long a server that has gone away is looked for before outstanding requests fail. It is looked for after that,
    /// too.
    pub reconnect: Duration,
    /// Whom to speak TLS with, and as whom; without these credentials none is spoken.
    pub tls: Option<TlsCredentials>,
}

impl Default for NbdOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            reconnect: Duration::from_secs(60),
            tls: None,
        }
    }
}

/// Why an export cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// The server is not there, or does not serve it.
    #[error("{address}: {source}")]
    Connect {
        /// The export.
        address: String,
        /// What has happened.
        source: io::Error,
    },
    /// The address asks for TLS.
    #[error(
        "{0}: TLS needs credentials: a folder with ca-cert.pem and, if the server asks for it, client-cert.pem and client-key.pem"
    )]
    NoCredentials(String),
    /// It may be read, but not written.
    #[error("{0}: the server does not let it be written; serve it read-only")]
    ReadOnly(String),
    /// It has no content, or no whole number of sectors.
    #[error("{address}: an export of {size} bytes, which is no whole number of 512-byte sectors, or none")]
    Size {
        /// The export.
        address: String,
        /// Its size in bytes.
        size: u64,
    },
}

/// Keeps a disk's content with an NBD server.
pub struct Nbd {
    address: Address,
    read_only: bool,
    minimum: u32,
    connection: Arc<Connection>,
}

impl Nbd {
    /// Connects to the server, and stays connected. A name is looked up now; when the connection is lost, the server is looked
    /// for at the addresses that it had, which a program may have made the only ones that it can reach.
    pub fn connect(address: Address, options: NbdOptions) -> Result<Self, NbdError> {
        let failed = |source| NbdError::Connect {
            address: address.to_string(),
            source,
        };
        if address.tls && options.tls.is_none() {
            return Err(NbdError::NoCredentials(address.to_string()));
        }
        let (channel, export) = connect(&address, options.tls.as_ref()).map_err(failed)?;
        if export.has(Export::READ_ONLY) && !options.read_only {
            return Err(NbdError::ReadOnly(address.to_string()));
        }
        if export.size == 0 || !export.size.is_multiple_of(SECTOR_SIZE) {
            return Err(NbdError::Size {
                address: address.to_string(),
                size: export.size,
            });
        }
        let read_only = options.read_only;
        let connection = Connection::new(address.clone(), channel, export, options).map_err(failed)?;
        Ok(Self {
            address,
            read_only,
            minimum: export.minimum,
            connection: Arc::new(connection),
        })
    }
}

impl Backend for Nbd {
    fn capacity(&self) -> u64 {
        self.connection.size()
    }

    fn on_change(&self, tell: Box<dyn Fn() + Send + Sync>) {
        self.connection.on_change(tell);
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn block_size(&self) -> u32 {
        self.minimum.max(SECTOR_SIZE as u32)
    }

    fn lane(self: Arc<Self>, _depth: u16) -> io::Result<Box<dyn Lane>> {
        self.connection.start()?;
        Ok(Box::new(CrewLane::new(self.connection.clone())?))
    }
}

impl fmt::Debug for Nbd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nbd")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A connection that takes requests, and what it is to.
fn connect(address: &Address, tls: Option<&TlsCredentials>) -> io::Result<(Channel, Export)> {
    let silence = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} seconds", PATIENCE.as_secs()),
        ),
        _ => error,
    };
    let stream = address.connect(PATIENCE).map_err(silence)?;
    let mut stream = stream.until(Instant::now() + PATIENCE);
    greet(&mut stream).map_err(silence)?;
    let Some(tls) = tls else {
        let export = go(&mut stream, &address.export).map_err(silence)?;
        return Ok((Channel::Plain(stream.into_nonblocking()?), export));
    };
    start_tls(&mut stream).map_err(silence)?;
    let mut connection = tls.connection(address)?;
    let mut encrypted = rustls::Stream::new(&mut connection, &mut stream);
    let export = go(&mut encrypted, &address.export).map_err(silence)?;
    Ok((Channel::encrypted(stream.into_nonblocking()?, connection), export))
}
