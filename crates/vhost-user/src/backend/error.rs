//! What a front-end can do wrong, and what else can end a connection.

use ringwright_device::HostError;
use ringwright_memory::{MapError, MappingError};
use ringwright_socket::Error;
use ringwright_spec::Features;

use crate::message::{ProtocolFeatures, Request};
use crate::socket::SocketError;

/// Why a request was refused, or a connection ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The connection itself.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Listening failed.
    #[error("listening for a front-end: {0}")]
    Listen(#[source] Error),
    /// The request has a number that the protocol does not name.
    #[error("request {0} is not known")]
    UnknownRequest(u32),
    /// A reply came where a request was due.
    #[error("{0}: a reply where a request was expected")]
    UnexpectedReply(Request),
    /// The payload is too short or too long.
    #[error("{request}: a payload of {smallest} to {largest} bytes was expected, {found} found")]
    PayloadSize {
        /// The request.
        request: Request,
        /// Fewest bytes allowed.
        smallest: usize,
        /// Most bytes allowed.
        largest: usize,
        /// Bytes found.
        found: usize,
    },
    /// Too few or too many file descriptors came with the message.
    #[error("{request}: {fewest} to {most} file descriptors were expected, {found} found")]
    DescriptorCount {
        /// The request.
        request: Request,
        /// Fewest allowed.
        fewest: usize,
        /// Most allowed.
        most: usize,
        /// How many came.
        found: usize,
    },
    /// The request belongs to an extension that is not in use.
    #[error("{request}: needs protocol feature {needs}, which is not negotiated")]
    NotNegotiated {
        /// The request.
        request: Request,
        /// The extension.
        needs: ProtocolFeatures,
    },
    /// The request is one that this back-end does not carry out.
    #[error("{0}: not supported")]
    Unsupported(Request),
    /// Protocol features that were not offered.
    #[error("protocol features {0} were not offered")]
    ProtocolFeatures(ProtocolFeatures),
    /// In-band notifications need two other extensions.
    #[error("INBAND_NOTIFICATIONS without BACKEND_REQ and REPLY_ACK")]
    InbandAlone,
    /// Features that were not offered (`drv:core:feature-bits:01`).
    #[error("device features {found:?} were acknowledged, {} are not offered", names(*.found - *.offered))]
    Features {
        /// What is offered.
        offered: Features,
        /// What was acknowledged.
        found: Features,
    },
    /// There is no such virtqueue.
    #[error("{request}: virtqueue {index}, but the device has {count}")]
    NoSuchQueue {
        /// The request.
        request: Request,
        /// The index in it.
        index: u32,
        /// How many virtqueues there are.
        count: usize,
    },
    /// A virtqueue cannot have this size.
    #[error("virtqueue {index}: size {found} is not in 1 to {largest}")]
    QueueSize {
        /// The virtqueue.
        index: u16,
        /// The size in the request.
        found: u32,
        /// The largest it can have.
        largest: u16,
    },
    /// A file descriptor and the flag that says there is none, or neither.
    #[error("{request}: the flag for no file descriptor is {flag}, but {found} came")]
    DescriptorFlag {
        /// The request.
        request: Request,
        /// Whether the message says that there is none.
        flag: bool,
        /// How many came.
        found: usize,
    },
    /// A file descriptor does not work as an event.
    #[error("virtqueue {index}: its file descriptor cannot be used: {source}")]
    EventDescriptor {
        /// The virtqueue.
        index: u16,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An area of a virtqueue lies in no region.
    #[error("virtqueue {index}: no memory region has the {area} area's user address {address:#x}")]
    RingOutsideMemory {
        /// The virtqueue.
        index: u16,
        /// Which area.
        area: &'static str,
        /// Its user address.
        address: u64,
    },
    /// Where the virtqueue goes on cannot be read from it.
    #[error("virtqueue {index}: {source}")]
    RingMemory {
        /// The virtqueue.
        index: u16,
        /// Why.
        source: ringwright_ring::SetupError,
    },
    /// A region cannot be mapped.
    #[error("memory region of {size:#x} bytes at {guest_address:#x}: {source}")]
    Map {
        /// Where the guest sees it.
        guest_address: u64,
        /// Its size in bytes.
        size: u64,
        /// Why not.
        source: MappingError,
    },
    /// The memory to track requests in flight in cannot be mapped.
    #[error("memory of {size:#x} bytes for requests in flight: {source}")]
    MapInflight {
        /// Its size in bytes.
        size: u64,
        /// Why not.
        source: MappingError,
    },
    /// The memory to track requests in flight in is not what it is said to be.
    #[error("memory for requests in flight: {0}")]
    Inflight(&'static str),
    /// The dirty log cannot be mapped.
    #[error("dirty log of {size:#x} bytes: {source}")]
    MapLog {
        /// Its size in bytes.
        size: u64,
        /// Why not.
        source: MappingError,
    },
    /// Writes to a virtqueue's device area would have to be logged where that is not.
    #[error("virtqueue {index}: its device area is to be logged at {found:#x}, but is at {expected:#x}")]
    LogAddress {
        /// The virtqueue.
        index: u16,
        /// Guest address of the device area.
        expected: u64,
        /// The address for the log.
        found: u64,
    },
    /// A state is loaded into a device that works.
    #[error("the device's state cannot be loaded while a vring runs")]
    NotSuspended,
    /// The descriptor for the device's state does not work.
    #[error("the descriptor for the device's state: {0}")]
    StateDescriptor(#[source] std::io::Error),
    /// Vrings are not stopped with requests in flight that nobody knows of.
    #[error("GET_VRING_BASE_INFLIGHT without INFLIGHT_SHMFD")]
    UntrackedBase,
    /// The regions do not fit with each other.
    #[error(transparent)]
    Regions(#[from] MapError),
    /// Not as many regions as file descriptors, or more than fit a message.
    #[error("SET_MEM_TABLE: {regions} regions with {descriptors} file descriptors in {size} bytes")]
    MemoryTable {
        /// Regions announced.
        regions: u32,
        /// File descriptors that came.
        descriptors: usize,
        /// Size of the payload.
        size: usize,
    },
    /// All memory slots are taken.
    #[error("more than {0} memory regions")]
    TooManyRegions(usize),
    /// The region to remove is not there.
    #[error("no memory region of {size:#x} bytes at {guest_address:#x}, user address {user_address:#x}")]
    NoSuchRegion {
        /// Guest address in the request.
        guest_address: u64,
        /// Size in the request.
        size: u64,
        /// User address in the request.
        user_address: u64,
    },
    /// A request has a value that means nothing.
    #[error("{request}: {found:#x} is no {expected}")]
    Value {
        /// The request.
        request: Request,
        /// What the value is for.
        expected: &'static str,
        /// The value.
        found: u64,
    },
    /// The device refused an access to its configuration space.
    #[error("configuration space: {0}")]
    Config(#[from] ringwright_device::ConfigError),
    /// The device, or the threads that run it.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl BackendError {
    /// Whether the front-end simply went away between two messages, or this end was told to stop.
    pub fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Socket(SocketError::Stream(Error::Closed | Error::Stopped))
        )
    }

    /// Whether the message was well formed but cannot be carried out, so that the connection may go on once the
    /// front-end has been told.
    pub(super) fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Socket(_)
                | Self::UnexpectedReply(_)
                | Self::PayloadSize { .. }
                | Self::DescriptorCount { .. }
                | Self::InbandAlone
        )
    }
}

fn names(features: Features) -> String {
    let bits: Vec<String> = features.bits().map(|bit| bit.to_string()).collect();
    format!("bits {}", bits.join(", "))
}
