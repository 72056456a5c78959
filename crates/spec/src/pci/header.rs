//! What the document takes from \[PCI\] and \[PCIe\]: the header of a function's configuration space, and the standard
//! capabilities that virtio functions have. Offsets are in bytes, all fields little-endian.

/// Bytes of configuration space that every function has.
pub const CONVENTIONAL_SIZE: usize = 256;
/// Bytes of configuration space that PCI Express functions have.
pub const EXPRESS_SIZE: usize = 4096;

/// Vendor ID, 16 bits.
pub const VENDOR_ID: usize = 0x00;
/// Device ID, 16 bits.
pub const DEVICE_ID: usize = 0x02;
/// Command, 16 bits; see [`command`].
pub const COMMAND: usize = 0x04;
/// Status, 16 bits; see [`status`].
pub const STATUS: usize = 0x06;
/// Revision ID, 8 bits.
pub const REVISION_ID: usize = 0x08;
/// Class Code, 24 bits: programming interface, sub-class, base class.
pub const CLASS_CODE: usize = 0x09;
/// Header Type, 8 bits: 0 for what is no bridge; bit 7 says that the device has more functions than this.
pub const HEADER_TYPE: usize = 0x0e;
/// The first of six Base Address registers of 32 bits.
pub const BAR0: usize = 0x10;
/// Subsystem Vendor ID, 16 bits.
pub const SUBSYSTEM_VENDOR_ID: usize = 0x2c;
/// Subsystem ID, 16 bits; the document's PCI Subsystem Device ID.
pub const SUBSYSTEM_ID: usize = 0x2e;
/// Offset of the first capability, 8 bits.
pub const CAPABILITIES: usize = 0x34;
/// Interrupt Line, 8 bits, for software to remember where the pin leads to.
pub const INTERRUPT_LINE: usize = 0x3c;
/// Interrupt Pin, 8 bits: 1 to 4 for INTA# to INTD#, 0 for none.
pub const INTERRUPT_PIN: usize = 0x3d;
/// End of the header, and the first offset that a capability can have.
pub const SIZE: usize = 0x40;

/// Bits of [`COMMAND`].
pub mod command {
    /// The function answers in I/O space.
    pub const IO: u16 = 1 << 0;
    /// The function answers in memory space.
    pub const MEMORY: u16 = 1 << 1;
    /// The function may access memory, and send messages as interrupts.
    pub const BUS_MASTER: u16 = 1 << 2;
    /// Parity errors are answered.
    pub const PARITY: u16 = 1 << 6;
    /// System errors are reported.
    pub const SERR: u16 = 1 << 8;
    /// The function does not assert its INTx# pin.
    pub const INTX_DISABLE: u16 = 1 << 10;
}

/// Bits of [`STATUS`].
pub mod status {
    /// An INTx# interrupt is pending, whether or not it is disabled.
    pub const INTERRUPT: u16 = 1 << 3;
    /// There is a list of capabilities.
    pub const CAPABILITIES: u16 = 1 << 4;
}

/// Bits of a Base Address register.
pub mod bar {
    /// I/O space, else memory space.
    pub const IO: u32 = 1 << 0;
    /// Memory space: bits that say how wide the address is.
    pub const MEMORY_WIDTH: u32 = 3 << 1;
    /// Value of [`MEMORY_WIDTH`]: the address has 64 bits, and takes the next register as well.
    pub const MEMORY_64: u32 = 2 << 1;
    /// Memory space: reads have no side effects.
    pub const PREFETCHABLE: u32 = 1 << 3;
    /// Bits of an I/O register that are no address.
    pub const IO_FLAGS: u32 = 0x3;
    /// Bits of a memory register that are no address.
    pub const MEMORY_FLAGS: u32 = 0xf;
}

/// Ids of capabilities; a vendor-specific one is [`CAP_ID_VNDR`](super::CAP_ID_VNDR).
pub mod capability {
    /// Power management; see [`power_management`](super::power_management).
    pub const POWER_MANAGEMENT: u8 = 0x01;
    /// PCI Express; see [`express`](super::express).
    pub const EXPRESS: u8 = 0x10;
    /// MSI-X; see [`msix`](super::msix).
    pub const MSIX: u8 = 0x11;
    /// Advanced features of conventional functions; see [`advanced_features`](super::advanced_features).
    pub const ADVANCED_FEATURES: u8 = 0x13;
    /// Extended capability: single root I/O virtualization; see [`sr_iov`](super::sr_iov).
    pub const SR_IOV: u16 = 0x10;
}

/// Power management capability; offsets from its start.
pub mod power_management {
    /// Bytes of it.
    pub const SIZE: usize = 8;
    /// Power Management Capabilities, 16 bits: in bits 0 to 2 the version.
    pub const CAPABILITIES: usize = 2;
    /// Power Management Control/Status, 16 bits.
    pub const CONTROL: usize = 4;
    /// Bits of [`CONTROL`]: the power state, D0 or D3hot.
    pub const POWER_STATE: u16 = 0x3;
    /// Value of [`POWER_STATE`]: D3hot.
    pub const D3_HOT: u16 = 3;
    /// Bit of [`CONTROL`]: leaving D3hot does not reset the function.
    pub const NO_SOFT_RESET: u16 = 1 << 3;
}

/// PCI Express capability; offsets from its start.
pub mod express {
    /// Bytes of version 2.
    pub const SIZE: usize = 0x3c;
    /// Capabilities, 16 bits: the version in bits 0 to 3, the type of the function in bits 4 to 7.
    pub const CAPABILITIES: usize = 2;
    /// Type of a root complex integrated endpoint.
    pub const INTEGRATED_ENDPOINT: u16 = 9;
    /// Device Capabilities, 32 bits.
    pub const DEVICE_CAPABILITIES: usize = 4;
    /// Bit of [`DEVICE_CAPABILITIES`]: role-based error reporting.
    pub const ROLE_BASED_ERRORS: u32 = 1 << 15;
    /// Bit of [`DEVICE_CAPABILITIES`]: the function can be reset by [`INITIATE_RESET`].
    pub const FUNCTION_RESET: u32 = 1 << 28;
    /// Device Control, 16 bits.
    pub const DEVICE_CONTROL: usize = 8;
    /// Bit of [`DEVICE_CONTROL`]: written, it resets the function; it reads as 0.
    pub const INITIATE_RESET: u16 = 1 << 15;
}

/// Advanced features capability; offsets from its start.
pub mod advanced_features {
    /// Bytes of it.
    pub const SIZE: usize = 6;
    /// Length of it, 8 bits.
    pub const LENGTH: usize = 2;
    /// Capabilities, 8 bits.
    pub const CAPABILITIES: usize = 3;
    /// Bit of [`CAPABILITIES`]: the function says whether transactions are pending.
    pub const TRANSACTIONS_PENDING: u8 = 1 << 0;
    /// Bit of [`CAPABILITIES`]: the function can be reset by [`INITIATE_RESET`].
    pub const FUNCTION_RESET: u8 = 1 << 1;
    /// Control, 8 bits.
    pub const CONTROL: usize = 4;
    /// Bit of [`CONTROL`]: written, it resets the function; it reads as 0.
    pub const INITIATE_RESET: u8 = 1 << 0;
}

/// MSI-X capability; offsets from its start.
pub mod msix {
    /// Bytes of it.
    pub const SIZE: usize = 12;
    /// Message Control, 16 bits.
    pub const CONTROL: usize = 2;
    /// Bits of [`CONTROL`]: number of vectors, less 1.
    pub const TABLE_SIZE: u16 = 0x7ff;
    /// Bit of [`CONTROL`]: no vector sends messages.
    pub const FUNCTION_MASK: u16 = 1 << 14;
    /// Bit of [`CONTROL`]: the function sends messages, and does not assert its INTx# pin.
    pub const ENABLE: u16 = 1 << 15;
    /// Offset of the vector table within a BAR, 32 bits, a multiple of 8; in bits 0 to 2 the BAR.
    pub const TABLE: usize = 4;
    /// Offset of the pending bit array, likewise.
    pub const PENDING: usize = 8;
    /// Bytes of a vector: address (64 bits), data (32 bits), [`MASK`] (32 bits).
    pub const VECTOR_SIZE: u64 = 16;
    /// Bit of a vector's last word: it sends no messages. Set after reset.
    pub const MASK: u32 = 1 << 0;
}

/// Single root I/O virtualization extended capability; offsets from its start.
pub mod sr_iov {
    /// Bytes of it.
    pub const SIZE: usize = 0x40;
    /// SR-IOV Control, 16 bits.
    pub const CONTROL: usize = 0x08;
    /// Bit of [`CONTROL`]: virtual functions exist.
    pub const VF_ENABLE: u16 = 1 << 0;
    /// Bit of [`CONTROL`]: virtual functions answer in memory space.
    pub const VF_MEMORY: u16 = 1 << 3;
    /// Bit of [`CONTROL`]: the hierarchy knows alternative routing ids.
    pub const ARI: u16 = 1 << 4;
    /// InitialVFs, 16 bits.
    pub const INITIAL_VFS: usize = 0x0c;
    /// TotalVFs, 16 bits.
    pub const TOTAL_VFS: usize = 0x0e;
    /// NumVFs, 16 bits.
    pub const NUM_VFS: usize = 0x10;
    /// First VF Offset, 16 bits: what to add to this function's routing id.
    pub const FIRST_VF_OFFSET: usize = 0x14;
    /// VF Stride, 16 bits: from one virtual function's routing id to the next one's.
    pub const VF_STRIDE: usize = 0x16;
    /// VF Device ID, 16 bits.
    pub const VF_DEVICE_ID: usize = 0x1a;
    /// Supported Page Sizes, 32 bits: bit n for 2^(n+12) bytes.
    pub const SUPPORTED_PAGE_SIZES: usize = 0x1c;
    /// System Page Size, 32 bits, one of them.
    pub const SYSTEM_PAGE_SIZE: usize = 0x20;
    /// The first of six Base Address registers of the first virtual function; the others' follow each other.
    pub const VF_BAR0: usize = 0x24;
}

/// The word before an extended capability: its id, version and the offset of the next.
pub const fn extended_capability(id: u16, version: u8, next: u16) -> u32 {
    id as u32 | (version as u32) << 16 | (next as u32) << 20
}

/// A PCI-to-PCI bridge's header, which has another layout from the third Base Address register on; and what tells it.
pub mod bridge {
    /// Bits of [`HEADER_TYPE`](super::HEADER_TYPE): the layout of the header.
    pub const LAYOUT: u8 = 0x7f;
    /// Value of [`LAYOUT`]: a bridge.
    pub const TYPE: u8 = 1;
    /// Number of Base Address registers.
    pub const BARS: u8 = 2;
    /// Primary Bus Number, 8 bits: the bus that the bridge is on.
    pub const PRIMARY_BUS: usize = 0x18;
    /// Secondary Bus Number, 8 bits: the bus behind it.
    pub const SECONDARY_BUS: usize = 0x19;
    /// Subordinate Bus Number, 8 bits: the last bus behind it.
    pub const SUBORDINATE_BUS: usize = 0x1a;
    /// I/O Base, 8 bits: bits 12 to 15 of the first I/O address passed on, in bits 4 to 7.
    pub const IO_BASE: usize = 0x1c;
    /// I/O Limit, 8 bits: the same of the last one.
    pub const IO_LIMIT: usize = 0x1d;
    /// Bits of [`IO_BASE`] and [`IO_LIMIT`] that are no address: 1 if there are upper halves.
    pub const IO_FLAGS: u8 = 0xf;
    /// Memory Base, 16 bits: bits 20 to 31 of the first memory address passed on, in bits 4 to 15.
    pub const MEMORY_BASE: usize = 0x20;
    /// Memory Limit, 16 bits: the same of the last one.
    pub const MEMORY_LIMIT: usize = 0x22;
    /// Prefetchable Memory Base, 16 bits: as [`MEMORY_BASE`].
    pub const PREFETCHABLE_BASE: usize = 0x24;
    /// Prefetchable Memory Limit, 16 bits.
    pub const PREFETCHABLE_LIMIT: usize = 0x26;
    /// Bits of the prefetchable base and limit that are no address: 1 if there are upper halves.
    pub const PREFETCHABLE_FLAGS: u16 = 0xf;
    /// Upper half of the prefetchable base, 32 bits.
    pub const PREFETCHABLE_BASE_UPPER: usize = 0x28;
    /// Upper half of the prefetchable limit, 32 bits.
    pub const PREFETCHABLE_LIMIT_UPPER: usize = 0x2c;
    /// Upper halves of the I/O base (16 bits) and the I/O limit (16 bits).
    pub const IO_UPPER: usize = 0x30;
    /// What memory addresses passed on begin at a multiple of.
    pub const MEMORY_ALIGN: u64 = 1 << 20;
    /// What I/O addresses passed on begin at a multiple of.
    pub const IO_ALIGN: u64 = 1 << 12;
}

/// Bit of [`HEADER_TYPE`]: the device has more functions than function 0.
pub const MULTI_FUNCTION: u8 = 1 << 7;
/// Vendor ID that is read where no function is.
pub const NO_VENDOR: u16 = 0xffff;
/// Number of Base Address registers of what is no bridge.
pub const BARS: u8 = 6;
