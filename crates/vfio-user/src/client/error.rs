//! Why a client cannot go on.

use std::path::PathBuf;

use ringwright_driver::TransportError;
use ringwright_memory::{MapError, MappingError};
use ringwright_socket::Error;

use crate::message::Command;
use crate::socket::SocketError;

/// What went wrong between the client and its server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens there, or not for us.
    #[error("connecting to {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The connection itself.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The server is gone, or has said what cannot be understood.
    #[error("{0}: the connection has ended")]
    Gone(Command),
    /// The server answered that it did not do what it was asked.
    #[error("{command}: the server refuses: {}", std::io::Error::from_raw_os_error(*errno as i32))]
    Refused {
        /// The command.
        command: Command,
        /// Its reason; 0 if it gives none.
        errno: u32,
    },
    /// The answer does not have the form of one.
    #[error("{0}: the server's answer is no answer to it")]
    Answer(Command),
    /// The server speaks another version of the protocol.
    #[error("the server answers with version {major}.{minor}, which was not proposed")]
    Version {
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// What the server says about itself is no JSON, or not what the text has there.
    #[error("the capabilities of the server: {0}")]
    Capabilities(#[source] serde_json::Error),
    /// The device is not a PCI device.
    #[error("the device is no PCI device")]
    NotPci,
    /// The function is no VIRTIO device.
    #[error("the function is no VIRTIO device")]
    NotVirtio,
    /// The function is a VIRTIO device that cannot be used.
    #[error("the function: {0}")]
    Probe(#[source] TransportError),
    /// The function does not have so many interrupts of a type.
    #[error("the function has {found} interrupts of type {index}, {expected} are wanted")]
    NoInterrupt {
        /// The type.
        index: u32,
        /// How many are wanted.
        expected: u32,
        /// How many there are.
        found: u32,
    },
    /// The state that a migration brings is longer than any is.
    #[error("the state of the device is longer than {0} bytes")]
    State(usize),
    /// Only mappings of files can be shared.
    #[error("the memory region at {0:#x} is no mapping of a file")]
    NotAFile(u64),
    /// There is no region to take back.
    #[error("no memory region starts at {0:#x}")]
    NoRegion(u64),
    /// The size of the memory makes no area.
    #[error("{0} bytes are no area for rings and buffers")]
    NoArea(usize),
    /// Regions of memory overlap.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The memory to share could not be made.
    #[error(transparent)]
    Memory(#[from] MappingError),
    /// The system gave no descriptors or no thread.
    #[error("descriptors and threads: {0}")]
    Resources(#[source] std::io::Error),
}

impl From<ClientError> for TransportError {
    fn from(error: ClientError) -> Self {
        tracing::debug!(%error, "vfio-user client");
        match error {
            ClientError::Gone(_) => Self::Gone,
            ClientError::Socket(SocketError::Stream(Error::TimedOut(_))) => {
                Self::Protocol("no answer in time")
            }
            ClientError::Socket(SocketError::Stream(Error::Os { source, .. })) => {
                Self::Os(source.raw_os_error())
            }
            ClientError::Socket(SocketError::Stream(_)) => Self::Gone,
            ClientError::Connect { source, .. } | ClientError::Resources(source) => {
                Self::Os(source.raw_os_error().unwrap_or_default())
            }
            ClientError::Socket(_)
            | ClientError::Answer(_)
            | ClientError::Version { .. }
            | ClientError::Capabilities(_)
            | ClientError::State(_) => Self::Protocol("a wrong answer"),
            ClientError::Refused { .. } => Self::Protocol("a command was refused"),
            ClientError::Probe(error) => error,
            ClientError::NotVirtio => Self::Unsupported("a device that is no VIRTIO device"),
            ClientError::NotPci => Self::Unsupported("a device that is no PCI device"),
            ClientError::NoInterrupt { .. } => Self::Unsupported("so many interrupts"),
            ClientError::NotAFile(_)
            | ClientError::NoRegion(_)
            | ClientError::NoArea(_)
            | ClientError::Map(_)
            | ClientError::Memory(_) => Self::Unsupported("this memory"),
        }
    }
}
