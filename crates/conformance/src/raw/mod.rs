//! Virtqueues that a check writes itself, word by word, legal or not.
//!
//! The driver end of `ringwright_ring` cannot break a rule, and hides what the device writes. Here a check has the memory
//! of the three parts in its hands. Integers are little-endian.

mod ccw;
mod packed;
mod pci;
mod split;

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use ringwright_driver::TransportError;
use ringwright_memory::{Area, Buffer};
use ringwright_ring::Layout;
use ringwright_spec::split::DescFlags;

pub use ccw::{Diagnose, ProgramEnd, RawCcw};
pub use packed::{Packed, PackedDesc};
pub use pci::{Capabilities, Structure};
pub use split::{Split, SplitDesc};

/// A virtqueue: what both formats have in common, and the format.
#[derive(Debug)]
pub struct Queue {
    /// Number of the virtqueue at the device.
    pub index: u16,
    /// Where it lies.
    pub layout: Layout,
    /// Its format, for what only one of them has.
    pub ring: Ring,
}

/// The parts of a virtqueue, in one of the two formats.
#[derive(Debug)]
pub enum Ring {
    /// Section 2.7.
    Split(Split),
    /// Section 2.8.
    Packed(Packed),
}

/// An element of a buffer, as a descriptor says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Address, as the device sees it.
    pub address: u64,
    /// Length in bytes.
    pub length: u32,
    /// Whether it is device-writable.
    pub writable: bool,
}

/// A buffer that the device has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Index of the first descriptor, or buffer id.
    pub id: u32,
    /// How many bytes the device says that it has written.
    pub length: u32,
}

impl Queue {
    /// Memory for a virtqueue of `size` descriptors, all zero. `None` if `area` has no room.
    pub fn new(area: &Arc<Area>, index: u16, size: u16, packed: bool) -> Option<Self> {
        let (ring, parts) = match packed {
            false => {
                let ring = Split::new(area, size)?;
                let parts = ring.addresses();
                (Ring::Split(ring), parts)
            }
            true => {
                let ring = Packed::new(area, size)?;
                let parts = ring.addresses();
                (Ring::Packed(ring), parts)
            }
        };
        let [descriptor_area, driver_area, device_area] = parts;
        Some(Self {
            index,
            layout: Layout {
                size,
                descriptor_area,
                driver_area,
                device_area,
            },
            ring,
        })
    }

    /// Makes a buffer of `elements` available, in the descriptors that come next. Returns the id that comes back with it.
    pub fn add(&mut self, elements: &[Element]) -> u16 {
        match &mut self.ring {
            Ring::Split(ring) => ring.add(elements),
            Ring::Packed(ring) => ring.add(elements, DescFlags::NONE),
        }
    }

    /// Makes a buffer available whose elements are in the `entries` descriptors of the indirect table at `table`.
    pub fn add_indirect(&mut self, table: u64, entries: u32, flags: DescFlags) -> u16 {
        let element = Element {
            address: table,
            length: 16 * entries,
            writable: false,
        };
        match &mut self.ring {
            Ring::Split(ring) => ring.add_flagged(&[element], flags | DescFlags::INDIRECT),
            Ring::Packed(ring) => ring.add(&[element], flags | DescFlags::INDIRECT),
        }
    }

    /// The next buffer that the device has used, if there is one.
    pub fn take_used(&mut self) -> Option<Used> {
        match &mut self.ring {
            Ring::Split(ring) => ring.take_used(),
            Ring::Packed(ring) => ring.take_used(),
        }
    }

    /// Goes past the entries of buffers that were used without any: with IN_ORDER, the one that was taken last stands for
    /// them, too. Whether the device has left these entries alone, given that the ring has not come round yet.
    pub fn skip_used(&mut self, ids: &[u16]) -> bool {
        match &mut self.ring {
            Ring::Split(ring) => ring.skip_used(ids),
            Ring::Packed(ring) => ring.skip_used(ids),
        }
    }

    /// Whether the device has used a buffer that [`take_used`](Self::take_used) has not taken.
    pub fn has_used(&self) -> bool {
        match &self.ring {
            Ring::Split(ring) => ring.has_used(),
            Ring::Packed(ring) => ring.has_used(),
        }
    }

    /// Everything back to what it is before the first buffer.
    pub fn clear(&mut self) {
        match &mut self.ring {
            Ring::Split(ring) => ring.clear(),
            Ring::Packed(ring) => ring.clear(),
        }
    }

    /// The word of an available buffer notification with NOTIFICATION_DATA (section 2.9).
    pub fn notification_data(&self) -> u32 {
        let next = match &self.ring {
            Ring::Split(ring) => ring.available_index(),
            Ring::Packed(ring) => ring.next_available(),
        };
        u32::from(self.index) | u32::from(next) << 16
    }

    /// The split format's parts.
    pub fn split(&mut self) -> Result<&mut Split, TransportError> {
        match &mut self.ring {
            Ring::Split(ring) => Ok(ring),
            Ring::Packed(_) => Err(TransportError::Unsupported("a split virtqueue")),
        }
    }

    /// The packed format's parts.
    pub fn packed(&mut self) -> Result<&mut Packed, TransportError> {
        match &mut self.ring {
            Ring::Packed(ring) => Ok(ring),
            Ring::Split(_) => Err(TransportError::Unsupported("a packed virtqueue")),
        }
    }
}

/// A part of a virtqueue, as words in memory that the device shares. Every read and write is ordered with all others.
#[derive(Debug)]
struct Part(Buffer);

impl Part {
    /// `length` bytes of zeros.
    fn new(area: &Arc<Area>, length: usize, align: u64) -> Option<Self> {
        let part = Self(area.allocate(length, align as usize)?);
        part.clear();
        Some(part)
    }

    fn address(&self) -> u64 {
        self.0.segment().address()
    }

    fn clear(&self) {
        self.write(0, &vec![0; self.0.len()]);
    }

    fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        fence(Ordering::SeqCst);
        // Offsets are those of a layout whose length the part was made for.
        let _ = self.0.read(offset, &mut bytes);
        fence(Ordering::SeqCst);
        bytes
    }

    fn read16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.read(offset))
    }

    fn read32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.read(offset))
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        fence(Ordering::SeqCst);
        let _ = self.0.write(offset, bytes);
        fence(Ordering::SeqCst);
    }

    fn write16(&self, offset: usize, value: u16) {
        self.write(offset, &value.to_le_bytes());
    }
}

/// The flags of an element that has a next one, or not.
fn flags(element: &Element, is_last: bool) -> DescFlags {
    let mut flags = DescFlags::NONE;
    if element.writable {
        flags = flags | DescFlags::WRITE;
    }
    if !is_last {
        flags = flags | DescFlags::NEXT;
    }
    flags
}
