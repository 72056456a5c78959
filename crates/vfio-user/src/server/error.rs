//! What a client can do wrong, and what else can end a connection.

use ringwright_memory::{MapError, MappingError};
use ringwright_socket::Error;
use rustix::io::Errno;

use crate::message::Command;
use crate::socket::SocketError;

/// Why a command was refused, or a connection ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The connection itself.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Listening failed.
    #[error("listening for a client: {0}")]
    Listen(#[source] Error),
    /// The command has a number that the text does not name, or is one that servers send.
    #[error("command {0} is not one that a server takes")]
    UnknownCommand(u16),
    /// The first command is VERSION, and no other is.
    #[error("{0}: VERSION is the first command, and only that")]
    Order(Command),
    /// The client speaks another version of the protocol.
    #[error("the client proposes version {major}.{minor}, only version 0 is spoken here")]
    Version {
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// What the client says about itself is no JSON, or not what the text has there.
    #[error("the capabilities of the client: {0}")]
    Capabilities(#[source] serde_json::Error),
    /// The payload is too short, too long, or announces that the answer must be too short.
    #[error("{command}: {expected} bytes were expected, {found} found")]
    PayloadSize {
        /// The command.
        command: Command,
        /// Bytes expected, at least.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Too few or too many file descriptors came with the message.
    #[error("{command}: at most {most} file descriptors were expected, {found} found")]
    DescriptorCount {
        /// The command.
        command: Command,
        /// Most allowed.
        most: usize,
        /// How many came.
        found: usize,
    },
    /// A field has a value that it cannot have.
    #[error("{command}: {field} is {found:#x}")]
    Value {
        /// The command.
        command: Command,
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
    },
    /// An access does not lie in its region, or there is no such region.
    #[error("{count} bytes at offset {offset:#x} are not in region {region}, which has {size:#x} bytes")]
    OutsideRegion {
        /// The region.
        region: u32,
        /// Start of the access.
        offset: u64,
        /// Length of the access in bytes.
        count: u32,
        /// Size of the region in bytes; 0 if there is none.
        size: u64,
    },
    /// A DMA map or unmap with flags that there are not.
    #[error("a DMA map with flags {0:#x}")]
    MapFlags(u32),
    /// A range of DMA addresses that is empty or does not end within 64 bits.
    #[error("{size:#x} bytes at DMA address {address:#x} are no range")]
    Range {
        /// Its first address.
        address: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// A DMA map over an existing one.
    #[error("{size:#x} bytes at DMA address {address:#x} overlap with what is mapped")]
    Overlap {
        /// Its first address.
        address: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// Nothing is mapped there.
    #[error("nothing is mapped in {size:#x} bytes at DMA address {address:#x}")]
    NotMapped {
        /// First address of the range.
        address: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// The range ends in the midst of a map.
    #[error("{size:#x} bytes at DMA address {address:#x} would cut a DMA map in two")]
    PartlyMapped {
        /// First address of the range.
        address: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// More DMA maps than were agreed on.
    #[error("there are as many DMA maps as were agreed on")]
    TooManyMaps,
    /// The memory of a DMA map cannot be mapped.
    #[error("{size:#x} bytes for DMA address {address:#x}: {source}")]
    Map {
        /// Its first address.
        address: u64,
        /// Its size in bytes.
        size: u64,
        /// The reason.
        source: MappingError,
    },
    /// The maps together are no memory. The table of maps keeps them apart, so this does not happen.
    #[error(transparent)]
    Memory(#[from] MapError),
    /// There is no such interrupt type, or not so many interrupts.
    #[error("interrupts {start} to {start}+{count} of type {index} are not there")]
    NoInterrupt {
        /// The type.
        index: u32,
        /// The first interrupt.
        start: u32,
        /// How many.
        count: u32,
    },
    /// A file descriptor cannot be used to signal by.
    #[error("a file descriptor for an interrupt: {0}")]
    Event(#[source] std::io::Error),
    /// The device does not have the feature, or not for what is asked.
    #[error("DEVICE_FEATURE: feature {feature} cannot be {asked}")]
    Feature {
        /// The feature's number.
        feature: u32,
        /// What the client wants with it.
        asked: &'static str,
    },
    /// The device cannot go from one state of a migration to another.
    #[error("no way from migration state {from} to {to}")]
    MigrationState {
        /// The state it is in.
        from: u32,
        /// The state asked for.
        to: u32,
    },
    /// The function cannot do it.
    #[error("{0}")]
    Function(String),
}

impl ServerError {
    /// Whether this is the ordinary end of a connection.
    pub fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Socket(SocketError::Stream(Error::Closed | Error::Stopped))
        )
    }

    /// Whether the client can be told in a reply, after which the connection goes on. Else nobody knows any more where the
    /// next message begins, or what it would mean.
    pub(super) fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Socket(_) | Self::Version { .. } | Self::Capabilities(_)
        )
    }

    /// Whether it is the answer to a question that clients ask to find out what there is.
    pub(super) fn is_expected(&self) -> bool {
        let command = Command::DeviceGetIrqInfo;
        matches!(self, Self::Value { command: asked, .. } if *asked == command)
    }

    /// The errno value that the client is told.
    pub(super) fn errno(&self) -> u32 {
        let errno = match self {
            Self::UnknownCommand(_) => Errno::NOSYS,
            Self::Overlap { .. } => Errno::EXIST,
            Self::NotMapped { .. } => Errno::NOENT,
            Self::TooManyMaps => Errno::NOSPC,
            Self::Map {
                source: MappingError::System { source, .. },
                ..
            } => return source.raw_os_error().unwrap_or(0) as u32,
            Self::Event(source) => return source.raw_os_error().unwrap_or(0) as u32,
            Self::Feature { .. } => Errno::OPNOTSUPP,
            Self::Function(_) => Errno::IO,
            _ => Errno::INVAL,
        };
        errno.raw_os_error() as u32
    }
}
