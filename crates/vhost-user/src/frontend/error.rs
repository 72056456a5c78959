//! Why a front-end cannot go on.

use std::path::PathBuf;

use ringwright_driver::TransportError;
use ringwright_memory::MappingError;
use ringwright_socket::Error;

use crate::message::Request;
use crate::socket::SocketError;

/// What went wrong between the front-end and its back-end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontendError {
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
    /// The back-end answered that it did not do what it was asked.
    #[error("{request}: the back-end refuses with {code}")]
    Refused {
        /// The request.
        request: Request,
        /// Its answer, which is not 0.
        code: u64,
    },
    /// What came is no answer to the request.
    #[error("{request}: the back-end answered with request {found}, flags {flags:#x}, {size} bytes")]
    Answer {
        /// The request.
        request: Request,
        /// The request in the answer.
        found: Request,
        /// The answer's flags.
        flags: u32,
        /// The size of its payload.
        size: usize,
    },
    /// The back-end refuses an access to the configuration space.
    #[error("the back-end gives no {length} bytes at offset {offset} of the configuration space")]
    Config {
        /// First byte.
        offset: usize,
        /// Number of bytes.
        length: usize,
    },
    /// There is no such virtqueue.
    #[error("the back-end has no virtqueue {0}")]
    NoQueue(u16),
    /// A part of a virtqueue lies outside the shared memory.
    #[error("a virtqueue at {0:#x}, which is not shared with the back-end")]
    NotShared(u64),
    /// The back-end does not have what was asked for.
    #[error("the back-end does not have {0}")]
    Unsupported(&'static str),
    /// Only mappings of files can be shared.
    #[error("the memory region at {0:#x} is no mapping of a file")]
    NotAFile(u64),
    /// The protocol's table has room for 8 regions.
    #[error("{0} memory regions are more than a back-end without CONFIGURE_MEM_SLOTS takes")]
    TooManyRegions(usize),
    /// There is no region to take back.
    #[error("no memory region starts at {0:#x}")]
    NoRegion(u64),
    /// The size of the memory makes no area.
    #[error("{0} bytes are no area for rings and buffers")]
    NoArea(usize),
    /// The memory to share could not be made.
    #[error(transparent)]
    Memory(#[from] MappingError),
    /// The system gave no descriptors.
    #[error("descriptors for events: {0}")]
    Resources(#[source] std::io::Error),
}

impl From<FrontendError> for TransportError {
    fn from(error: FrontendError) -> Self {
        tracing::debug!(%error, "vhost-user front-end");
        match error {
            FrontendError::Socket(SocketError::Stream(Error::Closed | Error::Truncated { .. })) => Self::Gone,
            FrontendError::Socket(SocketError::Stream(Error::Os { source, .. })) => {
                Self::Os(source.raw_os_error())
            }
            FrontendError::Connect { source, .. } | FrontendError::Resources(source) => {
                Self::Os(source.raw_os_error().unwrap_or_default())
            }
            FrontendError::Socket(SocketError::Stream(Error::TimedOut(_))) => {
                Self::Protocol("no answer in time")
            }
            FrontendError::Socket(_) | FrontendError::Answer { .. } => Self::Protocol("a wrong answer"),
            FrontendError::Refused { .. } => Self::Protocol("a request was refused"),
            FrontendError::Config { offset, length } => Self::Config { offset, length },
            FrontendError::NoQueue(index) => Self::NoQueue(index),
            FrontendError::Unsupported(what) => Self::Unsupported(what),
            FrontendError::NotShared(_) => Self::Unsupported("virtqueues outside the shared memory"),
            FrontendError::NotAFile(_)
            | FrontendError::TooManyRegions(_)
            | FrontendError::NoRegion(_)
            | FrontendError::NoArea(_)
            | FrontendError::Memory(_) => Self::Unsupported("this memory"),
        }
    }
}

impl From<Error> for FrontendError {
    fn from(error: Error) -> Self {
        Self::Socket(error.into())
    }
}
