//! The memory of a ring, as atomics, for the raw ends.
//!
//! `unsafe` is needed here to see the memory that a subject set up as its own.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use crate::pattern::{MAX_BATCH, QUEUE_SIZE, TABLE};

/// Bytes of the Descriptor Area, in either format.
pub const DESCRIPTOR_AREA: usize = 16 * QUEUE_SIZE as usize;
/// Bytes of the Driver Area of a split virtqueue; a packed one's is shorter.
pub const DRIVER_AREA: usize = 6 + 2 * QUEUE_SIZE as usize;
/// Bytes of the Device Area of a split virtqueue; a packed one's is shorter.
pub const DEVICE_AREA: usize = 6 + 8 * QUEUE_SIZE as usize;

/// Host addresses of a ring's parts and of the first buffer.
#[derive(Clone, Copy)]
pub struct Rings {
    /// Descriptor Area, 16-aligned.
    pub descriptor_area: *mut u8,
    /// Driver Area, 4-aligned.
    pub driver_area: *mut u8,
    /// Device Area, 4-aligned.
    pub device_area: *mut u8,
    /// The first indirect table, 16-aligned. Only there for a raw driver end.
    pub tables: *mut u8,
    /// Address of that as the device sees it.
    pub tables_address: u64,
    /// Address of the first buffer as the device sees it.
    pub buffers: u64,
}

impl Rings {
    /// The descriptors, two words for each.
    pub fn descriptors(&self) -> &'static [AtomicU64] {
        // SAFETY: subjects give parts that are this long, that they leak, and that only atomics and other ends' volatile
        // accesses touch.
        unsafe { std::slice::from_raw_parts(self.descriptor_area.cast(), DESCRIPTOR_AREA / 8) }
    }

    /// The indirect tables, two words for each entry.
    pub fn tables(&self) -> &'static [AtomicU64] {
        // SAFETY: as above, where there is a raw driver end.
        unsafe { std::slice::from_raw_parts(self.tables.cast(), MAX_BATCH as usize * TABLE / 8) }
    }

    /// The available ring: flags, idx, ring, used_event.
    pub fn available(&self) -> &'static [AtomicU16] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.driver_area.cast(), DRIVER_AREA / 2) }
    }

    /// The used ring in its 16-bit fields: flags, idx, four for each element, avail_event.
    pub fn used(&self) -> &'static [AtomicU16] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.device_area.cast(), DEVICE_AREA / 2) }
    }

    /// The elements of the used ring: id and len of each.
    pub fn used_elements(&self) -> &'static [AtomicU32] {
        // SAFETY: as above; the elements begin after two 16-bit fields.
        unsafe { std::slice::from_raw_parts(self.device_area.add(4).cast(), 2 * QUEUE_SIZE as usize) }
    }

    /// The driver's event suppression structure of a packed virtqueue.
    pub fn driver_event(&self) -> &'static AtomicU32 {
        // SAFETY: as above.
        unsafe { &*self.driver_area.cast() }
    }

    /// The device's event suppression structure of a packed virtqueue.
    pub fn device_event(&self) -> &'static AtomicU32 {
        // SAFETY: as above.
        unsafe { &*self.device_area.cast() }
    }
}
