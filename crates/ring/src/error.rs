//! What the other end can do wrong, and what can be wrong with a virtqueue's set-up.

use core::fmt;

use ringwright_memory::Fault;

/// The two virtqueue formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Split virtqueues (section 2.7).
    Split,
    /// Packed virtqueues (section 2.8), `VIRTIO_F_RING_PACKED`.
    Packed,
}

/// What the other end did wrong, in which format. Unless the [`kind`](Self::kind) says that it was this end's own
/// mistake, the queue is broken from then on: it takes nothing more and keeps giving the same error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingError {
    /// What is wrong.
    pub kind: Violation,
    /// The format of the virtqueue.
    pub format: Format,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.clause() {
            Some(clause) => write!(f, "{} ({clause})", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl core::error::Error for RingError {}

/// The ways to break the rules of a virtqueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The available index went back, or ahead by more than the queue size.
    #[error("available index {found} after {taken} of a queue of {size}")]
    AvailableIndex {
        /// The index that was found.
        found: u16,
        /// The index up to which buffers were taken.
        taken: u16,
        /// Queue size.
        size: u16,
    },
    /// The available ring, or a descriptor's `next`, names a descriptor that does not exist.
    #[error("descriptor {index} of a table of {size}")]
    DescriptorIndex {
        /// The index that was found.
        index: u16,
        /// Number of descriptors in the table.
        size: u32,
    },
    /// A chain has more descriptors than the queue, or loops.
    #[error("a chain of more than {limit} descriptors")]
    ChainTooLong {
        /// How many there may be.
        limit: u16,
    },
    /// A chain describes more than 2^32 bytes.
    #[error("a chain of {length:#x} bytes, more than 2^32")]
    ChainTooLarge {
        /// Sum of the lengths.
        length: u64,
    },
    /// A chain's segments do not fit this end's limit, because its buffers cross many memory regions.
    #[error("a chain in more than {limit} pieces of memory")]
    TooManySegments {
        /// How many there may be.
        limit: usize,
    },
    /// A device-readable element comes after a device-writable one.
    #[error("a device-readable element after a device-writable one")]
    ReadableAfterWritable,
    /// A descriptor refers to an indirect table, but `VIRTIO_F_INDIRECT_DESC` was not negotiated.
    #[error("an indirect descriptor without VIRTIO_F_INDIRECT_DESC")]
    IndirectNotNegotiated,
    /// A descriptor within an indirect table refers to another table.
    #[error("an indirect descriptor within an indirect table")]
    NestedIndirect,
    /// A descriptor that refers to an indirect table is linked with others by NEXT (split: with a following one;
    /// packed: with any).
    #[error("an indirect descriptor linked by NEXT")]
    IndirectWithNext,
    /// The length of an indirect table is 0 or not a multiple of 16.
    #[error("an indirect table of {length} bytes")]
    IndirectLength {
        /// Length of the table in bytes.
        length: u32,
    },
    /// A buffer was made available that still is in use.
    #[error("buffer {id} made available while in use")]
    InUse {
        /// Its id (split: index of its first descriptor).
        id: u16,
    },
    /// A buffer id that is not below the queue size.
    #[error("buffer id {id} in a queue of {size}")]
    BufferId {
        /// The id that was found.
        id: u16,
        /// Queue size.
        size: u16,
    },
    /// More descriptors were made available than the queue has.
    #[error("more descriptors available than the queue of {size} has")]
    Overrun {
        /// Queue size.
        size: u16,
    },
    /// An address of a buffer or an indirect table is not (usable) memory.
    #[error("{0}")]
    Address(#[from] Fault),
    /// A part of the virtqueue is no longer to be had where the platform now translates its address to.
    #[error("{0}")]
    Part(SetupError),
    /// The used index went back, or ahead of what was made available.
    #[error("used index {found} after {taken} with {in_flight} buffers in flight")]
    UsedIndex {
        /// The index that was found.
        found: u16,
        /// The index up to which used buffers were taken.
        taken: u16,
        /// Number of buffers that the device has.
        in_flight: u16,
    },
    /// The device used a buffer that it does not have.
    #[error("used buffer {id}, which the device does not have")]
    UsedId {
        /// The id that was found.
        id: u32,
    },
    /// The device says it wrote more bytes than the buffer's device-writable part has.
    #[error("{written} bytes written into {writable} of buffer {id}")]
    UsedLength {
        /// The buffer's id.
        id: u16,
        /// Bytes that the device says it wrote.
        written: u32,
        /// Length of the device-writable part.
        writable: u64,
    },
    /// This end completed a buffer that it does not have. The queue goes on.
    #[error("completed buffer {id}, which is not in flight")]
    NotInFlight {
        /// The id given.
        id: u16,
    },
    /// This end completed a buffer with more bytes than fit into it. The queue goes on and the buffer stays in flight.
    #[error("completed buffer {id} with {written} bytes written into {writable}")]
    WrittenTooLong {
        /// The id given.
        id: u16,
        /// Bytes given.
        written: u32,
        /// Length of the device-writable part.
        writable: u64,
    },
}

impl RingError {
    /// The clause of the document that was broken, where one says it in so many words.
    pub fn clause(&self) -> Option<&'static str> {
        use Format::{Packed, Split};
        Some(match (self.kind, self.format) {
            (Violation::AvailableIndex { .. }, _) => "drv:split:the-virtqueue-available-ring:01",
            (Violation::ChainTooLong { .. }, Split) => "drv:split:indirect-descriptors:03",
            (Violation::ChainTooLong { .. }, Packed) => "drv:packed:scatter-gather-support:02",
            (Violation::ChainTooLarge { .. }, Split) => "drv:split:the-virtqueue-descriptor-table:01",
            (Violation::ReadableAfterWritable, Split) => "drv:split:message-framing:01",
            (Violation::ReadableAfterWritable, Packed) => "drv:packed:scatter-gather-support:03",
            (Violation::IndirectNotNegotiated, Split) => "drv:split:indirect-descriptors:01",
            (Violation::IndirectNotNegotiated, Packed) => "drv:packed:indirect-descriptors:01",
            (Violation::NestedIndirect, _) => "drv:split:indirect-descriptors:02",
            (Violation::IndirectWithNext, Split) => "drv:split:indirect-descriptors:04",
            (Violation::IndirectWithNext, Packed) => "drv:packed:indirect-descriptors:04",
            (Violation::InUse { .. } | Violation::Overrun { .. }, Packed) => {
                "drv:packed:the-virtqueue-descriptor-table:01"
            }
            (Violation::TooManySegments { .. }, Split) => "dev:split:message-framing:02",
            (Violation::TooManySegments { .. }, Packed) => "dev:packed:scatter-gather-support:02",
            (Violation::UsedId { .. }, Packed) => "dev:packed:the-virtqueue-descriptor-table:02",
            (Violation::UsedLength { .. } | Violation::WrittenTooLong { .. }, Split) => {
                "dev:split:the-virtqueue-used-ring:02"
            }
            _ => return None,
        })
    }
}

/// Why a virtqueue cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The queue size is illegal for the format.
    #[error(
        "queue size {size} is not {}",
        if *.packed { "1 to 32768" } else { "a power of 2 up to 32768" }
    )]
    Size {
        /// The size given.
        size: u16,
        /// Whether the format is packed.
        packed: bool,
    },
    /// A part is not aligned as the format asks (`drv:split:virtqueues:01`, `drv:packed:packed-virtqueues:01`).
    #[error("virtqueue part at {address:#x} is not aligned to {align} bytes")]
    Misaligned {
        /// Address of the part.
        address: u64,
        /// Alignment asked for, in bytes.
        align: u64,
    },
    /// A part is not in (contiguous, accessible) memory.
    #[error("virtqueue part: {0}")]
    Address(#[from] Fault),
    /// A state that no virtqueue of this size and format can have.
    #[error("next available {next_available} and next used {next_used} do not fit a queue of {size}")]
    State {
        /// Next available index or offset.
        next_available: u16,
        /// Next used index or offset.
        next_used: u16,
        /// Queue size.
        size: u16,
    },
    /// The memory in which buffers in flight are tracked is not what a device end leaves there.
    #[error("the tracking of buffers in flight: {0}")]
    Inflight(&'static str),
    /// The area has no room for the virtqueue.
    #[error("no room for {length} bytes of virtqueue")]
    NoRoom {
        /// Bytes asked for.
        length: u64,
    },
    /// Packed virtqueues have one byte order and one layout: they do not exist on legacy interfaces.
    #[error("a packed virtqueue on a legacy interface")]
    LegacyPacked,
}
