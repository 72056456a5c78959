//! What can go wrong with an address, a range or a set of regions.

use core::fmt;

/// What an access does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Memory is only read.
    Read,
    /// Memory is only written.
    Write,
    /// Memory is read and written, as a packed virtqueue's descriptor area is.
    ReadWrite,
}

impl Access {
    /// Whether the access reads.
    pub fn reads(self) -> bool {
        self != Access::Write
    }

    /// Whether the access writes.
    pub fn writes(self) -> bool {
        self != Access::Read
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::ReadWrite => "read and write",
        })
    }
}

/// Why an address range does not resolve to memory. All addresses are as the other end gave them, except where said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The range does not end within 64 bits.
    #[error("{length:#x} bytes at {address:#x} run past the end of the address space")]
    Overflow {
        /// First address of the range.
        address: u64,
        /// Length of the range in bytes.
        length: u64,
    },
    /// No region covers an address of the range.
    #[error("no memory at {address:#x}")]
    Unmapped {
        /// First guest-physical address without memory.
        address: u64,
    },
    /// Memory is there, but not for this access.
    #[error("memory at {address:#x} does not allow {access}")]
    Denied {
        /// First address that does not allow it.
        address: u64,
        /// The access that was tried.
        access: Access,
    },
    /// The translation knows nothing about an address (an IOTLB miss). The access may succeed once whoever keeps
    /// the translation has been asked.
    #[error("no translation of {address:#x} for {access}")]
    Miss {
        /// First address without a translation.
        address: u64,
        /// The access that was tried.
        access: Access,
    },
    /// The range is not one contiguous piece of host memory, where one is needed.
    #[error("{length:#x} bytes at {address:#x} are not contiguous in memory")]
    Split {
        /// First address of the range.
        address: u64,
        /// Length of the range in bytes.
        length: u64,
    },
    /// The range falls into more segments than the [`Sink`](crate::Sink) takes.
    #[error("{length:#x} bytes at {address:#x} fall into too many segments")]
    TooManySegments {
        /// First address of the range.
        address: u64,
        /// Length of the range in bytes.
        length: u64,
    },
}

/// Why a set of regions is not a [`Memory`](crate::Memory).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// A region has no bytes.
    #[error("the region at {address:#x} is empty")]
    Empty {
        /// Guest address of the region.
        address: u64,
    },
    /// A region does not end within 64 bits.
    #[error("the region of {length:#x} bytes at {address:#x} runs past the end of the address space")]
    Overflow {
        /// Guest address of the region.
        address: u64,
        /// Length of the region in bytes.
        length: u64,
    },
    /// Two regions claim the same address.
    #[error("the regions at {first:#x} and {second:#x} overlap")]
    Overlap {
        /// Guest address of the lower region.
        first: u64,
        /// Guest address of the higher region, within the lower one.
        second: u64,
    },
    /// No region starts at this address.
    #[error("no region starts at {address:#x}")]
    NotFound {
        /// The address that was given.
        address: u64,
    },
}

/// A range that does not lie within the view it was asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes at offset {offset} do not fit in {available} bytes")]
pub struct OutOfBounds {
    /// First byte of the range.
    pub offset: usize,
    /// Length of the range in bytes.
    pub length: usize,
    /// Length of the view in bytes.
    pub available: usize,
}
