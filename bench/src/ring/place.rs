//! Where the parts of a device end's ring lie, and its buffers.

use crate::memory::Rings;
use crate::pattern::BUFFERS;

/// The memory that a device end sees: one region with everything in it.
pub struct Place;

impl Place {
    /// First guest address.
    pub const BASE: u64 = 0x10_0000;
    /// Guest address of the Descriptor Area.
    pub const DESCRIPTOR_AREA: u64 = Self::BASE;
    /// Guest address of the Driver Area.
    pub const DRIVER_AREA: u64 = Self::BASE + 0x2000;
    /// Guest address of the Device Area.
    pub const DEVICE_AREA: u64 = Self::BASE + 0x3000;
    /// Guest address of the first indirect table.
    pub const TABLES: u64 = Self::BASE + 0x8000;
    /// Guest address of the first buffer.
    pub const BUFFERS: u64 = Self::BASE + 0x10000;
    /// Bytes in all.
    pub const LENGTH: usize = (Self::BUFFERS - Self::BASE) as usize + BUFFERS;

    /// The parts, where the first guest address is at `base`.
    pub fn rings(base: *mut u8) -> Rings {
        let at = |address: u64| base.wrapping_add((address - Self::BASE) as usize);
        Rings {
            descriptor_area: at(Self::DESCRIPTOR_AREA),
            driver_area: at(Self::DRIVER_AREA),
            device_area: at(Self::DEVICE_AREA),
            tables: at(Self::TABLES),
            tables_address: Self::TABLES,
            buffers: Self::BUFFERS,
        }
    }
}
