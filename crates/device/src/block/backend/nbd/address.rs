//! Where an NBD export is.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use super::handshake::Stream;

/// The port that IANA has assigned to NBD.
const PORT: u16 = 10809;

/// An export of an NBD server, as a URI says it: `nbd://HOST[:PORT]/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`; `nbds` in place
/// of `nbd` asks for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub(super) place: Place,
    /// Empty for the server's default.
    pub(super) export: String,
    /// What the host's name stands for, once it was looked up.
    found: OnceLock<Vec<SocketAddr>>,
    /// Only with TLS.
    pub(super) tls: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// A URI that names no NBD export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It begins with something else.
    #[error("{0}: expected nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH")]
    Scheme(String),
    /// The host is missing.
    #[error("{0}: expected a host: nbd://HOST[:PORT]/EXPORT")]
    NoHost(String),
    /// The port is no port.
    #[error("{uri}: {port:?} is no port: expected a number from 1 to 65535")]
    Port {
        /// The URI.
        uri: String,
        /// What stands in place of the port.
        port: String,
    },
    /// The socket is missing.
    #[error("{0}: expected the server's socket: nbd+unix:///EXPORT?socket=PATH")]
    NoSocket(String),
    /// Something after a percent sign is not two hexadecimal digits of UTF-8.
    #[error("{0}: a % is followed by two hexadecimal digits, and the result is UTF-8")]
    Escape(String),
    /// The export's name is longer than the protocol allows.
    #[error("the name of an export has at most 4096 bytes")]
    TooLong,
}

impl Address {
    /// Whether a text is meant to be such a URI.
    pub fn is_meant(text: &str) -> bool {
        ["nbd:", "nbds:", "nbd+unix:", "nbds+unix:"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
    }

    /// The TCP port of the server; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match self.place {
            Place::Tcp { port, .. } => Some(port),
            Place::Unix(_) => None,
        }
    }

    /// The host that the server is on.
    pub(super) fn host(&self) -> &str {
        match &self.place {
            Place::Tcp { host, .. } => host,
            Place::Unix(_) => "localhost",
        }
    }

    /// Connects. The host is looked up the first time only. Each try takes at most `timeout`.
    pub(super) fn connect(&self, timeout: Duration) -> io::Result<Stream> {
        match &self.place {
            Place::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path)?)),
            Place::Tcp { host, port } => {
                let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
                let found = match self.found.get() {
                    Some(found) => found,
                    None => {
                        let found = (host.as_str(), *port).to_socket_addrs()?.collect();
                        self.found.get_or_init(|| found)
                    }
                };
                for address in found {
                    outcome = TcpStream::connect_timeout(address, timeout);
                    if outcome.is_ok() {
                        break;
                    }
                }
                let stream = outcome?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(uri: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = uri
            .split_once("://")
            .ok_or_else(|| AddressError::Scheme(uri.into()))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let decoded = |text: &str| decode(text).ok_or_else(|| AddressError::Escape(uri.into()));
        let export = decoded(path)?;
        if export.len() > 4096 {
            return Err(AddressError::TooLong);
        }
        let place = match scheme {
            "nbd" | "nbds" => {
                // The colons of an IPv6 address are in brackets.
                let (host, port) = match authority.rsplit_once(':') {
                    Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
                    _ => (authority, None),
                };
                let host = host.trim_start_matches('[').trim_end_matches(']');
                if host.is_empty() {
                    return Err(AddressError::NoHost(uri.into()));
                }
                let port = match port {
                    None => PORT,
                    Some(port) => {
                        let number = port.parse().ok().filter(|port| *port != 0);
                        number.ok_or_else(|| AddressError::Port {
                            uri: uri.into(),
                            port: port.into(),
                        })?
                    }
                };
                Place::Tcp {
                    host: decoded(host)?,
                    port,
                }
            }
            "nbd+unix" | "nbds+unix" => {
                let socket = query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix("socket="))
                    .filter(|socket| !socket.is_empty())
                    .ok_or_else(|| AddressError::NoSocket(uri.into()))?;
                Place::Unix(decoded(socket)?.into())
            }
            _ => return Err(AddressError::Scheme(uri.into())),
        };
        let tls = scheme.starts_with("nbds");
        Ok(Self {
            place,
            export,
            found: OnceLock::new(),
            tls,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, export) = (if self.tls { "nbds" } else { "nbd" }, &self.export);
        match &self.place {
            Place::Tcp { host, port } if host.contains(':') => {
                write!(f, "{scheme}://[{host}]:{port}/{export}")
            }
            Place::Tcp { host, port } => write!(f, "{scheme}://{host}:{port}/{export}"),
            Place::Unix(path) => write!(f, "{scheme}+unix:///{export}?socket={}", path.display()),
        }
    }
}

/// Replaces what is written by percent signs.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        bytes.push((digit(0)? << 4 | digit(1)?) as u8);
        rest = after.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, export: &str) -> Address {
        Address {
            place: Place::Tcp {
                host: host.into(),
                port,
            },
            export: export.into(),
            found: OnceLock::new(),
            tls: false,
        }
    }

    #[test]
    fn addresses_as_people_write_them() {
        for (uri, expected) in [
            ("nbd://host", tcp("host", 10809, "")),
            ("nbd://host/", tcp("host", 10809, "")),
            ("nbd://host:1234/a/b%20c", tcp("host", 1234, "a/b c")),
            ("nbd://[::1]/x", tcp("::1", 10809, "x")),
            ("nbd://[::1]:99/x", tcp("::1", 99, "x")),
        ] {
            let address: Address = uri.parse().unwrap();
            assert_eq!(address, expected, "{uri}");
            assert_eq!(
                address.to_string().replace("b c", "b%20c").parse().as_ref(),
                Ok(&expected)
            );
            let encrypted: Address = uri.replace("nbd", "nbds").parse().unwrap();
            assert_eq!(
                encrypted,
                Address {
                    tls: true,
                    ..expected
                }
            );
            assert!(encrypted.to_string().starts_with("nbds://"));
        }
        let unix: Address = "nbd+unix:///disk?socket=/tmp/a%2Bb".parse().unwrap();
        assert_eq!(
            (unix.place, unix.export.as_str()),
            (Place::Unix("/tmp/a+b".into()), "disk")
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is_expected() {
        for (uri, part) in [
            ("disk.img", "expected nbd://"),
            ("http://host/", "expected nbd://"),
            ("nbds:///x", "expected a host"),
            ("nbd:///x", "expected a host"),
            ("nbd://host:0/", "no port"),
            ("nbd://host:x/", "no port"),
            ("nbd+unix:///x", "?socket="),
            ("nbd+unix:///x?socket=", "?socket="),
            ("nbd://host/%2", "hexadecimal"),
            ("nbd://host/%ff", "UTF-8"),
        ] {
            let error = uri.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(part), "{uri}: {error}");
        }
        let long = format!("nbd://host/{}", "x".repeat(5000));
        assert_eq!(long.parse::<Address>(), Err(AddressError::TooLong));
    }
}
