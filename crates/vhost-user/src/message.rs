//! The protocol's words: header, requests, protocol features, payloads. Shapes only, no behaviour.
//!
//! Source: `docs/interop/vhost-user.rst` of QEMU, "Vhost-user Protocol". All numbers are in the byte order of the
//! machine, since both ends run on it.

#[macro_use]
mod named;

mod feature;
mod payload;
mod request;

pub use feature::{LOG_ALL, PROTOCOL_FEATURES, ProtocolFeatures};
pub use payload::{
    Config, DeviceState, Inflight, Iotlb, Log, MemoryRegion, MemoryTable, SharedMemoryMap, SharedObject,
    SingleRegion, VringAddress, VringArea, VringState,
};
pub use request::{BackendRequest, Request, Rule};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Longest payload accepted: the longest the text defines (shared memory configuration, 2056 bytes), with room.
pub const MAX_PAYLOAD: usize = 4096;

/// Most file descriptors accepted with one message ("at most 8 descriptors in each message").
pub const MAX_DESCRIPTORS: usize = 8;

/// Most regions of one [`MemoryTable`] ("region0 ... region7").
pub const MAX_TABLE_REGIONS: usize = 8;

/// What stands before every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// Number of the request.
    pub request: u32,
    /// [`Header::VERSION`], with [`Header::REPLY`] and [`Header::NEED_REPLY`].
    pub flags: u32,
    /// Size of the payload in bytes.
    pub size: u32,
}

impl Header {
    /// The two bits of the protocol's version, of which there is one.
    pub const VERSION_MASK: u32 = 0b11;
    /// The version.
    pub const VERSION: u32 = 1;
    /// This message answers a request.
    pub const REPLY: u32 = 1 << 2;
    /// The sender wants to know how it went (`REPLY_ACK`).
    pub const NEED_REPLY: u32 = 1 << 3;

    /// Whether the sender asked for an answer.
    pub fn need_reply(&self) -> bool {
        self.flags & Self::NEED_REPLY != 0
    }

    /// Whether this message is an answer.
    pub fn is_reply(&self) -> bool {
        self.flags & Self::REPLY != 0
    }
}

const _: () = assert!(size_of::<Header>() == 12);
