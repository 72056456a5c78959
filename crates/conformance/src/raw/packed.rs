//! Packed virtqueues (section 2.8).

use std::sync::Arc;

use ringwright_memory::Area;
use ringwright_spec::packed::{self, Desc, DescFlags};
use ringwright_spec::split;
use zerocopy::{FromBytes, IntoBytes};

use super::{Element, Part, Used, flags};

/// The three parts of a packed virtqueue, and how far its driver has come.
#[derive(Debug)]
pub struct Packed {
    size: u16,
    ring: Part,
    driver: Part,
    device: Part,
    /// The descriptor that is made available next, and the wrap counter then.
    available: Position,
    /// The descriptor that is used next, and the wrap counter then.
    used: Position,
    /// How many descriptors the buffer of each id has.
    lengths: Vec<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    slot: u16,
    wrap: bool,
}

/// A descriptor, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedDesc {
    /// Address of the element, as the device sees it.
    pub address: u64,
    /// Length in bytes.
    pub length: u32,
    /// Buffer id.
    pub id: u16,
    /// `VIRTQ_DESC_F_*`.
    pub flags: DescFlags,
}

impl Packed {
    pub(super) fn new(area: &Arc<Area>, size: u16) -> Option<Self> {
        let event = size_of::<packed::EventSuppress>();
        Some(Self {
            size,
            ring: Part::new(area, packed::desc_size(size) as usize, packed::DESC_ALIGN)?,
            driver: Part::new(area, event, packed::EVENT_ALIGN)?,
            device: Part::new(area, event, packed::EVENT_ALIGN)?,
            available: Position::START,
            used: Position::START,
            lengths: vec![0; usize::from(size)],
        })
    }

    pub(super) fn addresses(&self) -> [u64; 3] {
        [self.ring.address(), self.driver.address(), self.device.address()]
    }

    pub(super) fn clear(&mut self) {
        for part in [&self.ring, &self.driver, &self.device] {
            part.clear();
        }
        (self.available, self.used) = (Position::START, Position::START);
    }

    /// Makes a buffer available. `more` are flags of split descriptors, which mean the same here.
    pub fn add(&mut self, elements: &[Element], more: split::DescFlags) -> u16 {
        let first = self.available;
        let mut head_flags = DescFlags::NONE;
        for (number, element) in elements.iter().enumerate() {
            let is_last = number + 1 == elements.len();
            let Position { slot, wrap } = self.available;
            let own = DescFlags(flags(element, is_last).0 | more.0) | availability(wrap);
            let descriptor = PackedDesc {
                address: element.address,
                length: element.length,
                id: first.slot,
                // The first one's come last: they make all of them available.
                flags: if number == 0 { availability(!wrap) } else { own },
            };
            if number == 0 {
                head_flags = own;
            }
            self.write_descriptor(slot, descriptor);
            self.available.advance(1, self.size);
        }
        if let Some(length) = self.lengths.get_mut(usize::from(first.slot)) {
            *length = elements.len() as u16;
        }
        self.ring.write16(16 * usize::from(first.slot) + 14, head_flags.0);
        first.slot
    }

    /// Writes a descriptor of the ring.
    pub fn write_descriptor(&self, slot: u16, descriptor: PackedDesc) {
        self.ring.write(16 * usize::from(slot), &descriptor.bytes());
    }

    /// What a descriptor of the ring is now.
    pub fn descriptor(&self, slot: u16) -> PackedDesc {
        PackedDesc::from_bytes(self.ring.read(16 * usize::from(slot)))
    }

    /// Writes the driver event suppression structure: offset with wrap counter, and flags.
    pub fn set_driver_event(&self, descriptor: u16, flags: u16) {
        self.driver.write16(0, descriptor);
        self.driver.write16(2, flags);
    }

    /// The device event suppression structure: offset with wrap counter, and flags.
    pub fn device_event(&self) -> (u16, u16) {
        (self.device.read16(0), self.device.read16(2))
    }

    /// Offset of the next descriptor to be made available, with the wrap counter in bit 15.
    pub fn next_available(&self) -> u16 {
        self.available.word()
    }

    /// Offset of the next descriptor to be used, with the wrap counter in bit 15.
    pub fn next_used(&self) -> u16 {
        self.used.word()
    }

    pub(super) fn has_used(&self) -> bool {
        let Position { slot, wrap } = self.used;
        let flags = self.descriptor(slot).flags;
        flags.contains(DescFlags::AVAIL) == wrap && flags.contains(DescFlags::USED) == wrap
    }

    pub(super) fn skip_used(&mut self, ids: &[u16]) -> bool {
        let mut untouched = true;
        for id in ids {
            untouched &= !self.has_used();
            self.used.advance(self.length_of(*id), self.size);
        }
        untouched
    }

    /// How many descriptors the buffer of an id has; one if there is no such buffer.
    fn length_of(&self, id: u16) -> u16 {
        let length = self.lengths.get(usize::from(id));
        length.copied().unwrap_or(1).max(1)
    }

    pub(super) fn take_used(&mut self) -> Option<Used> {
        self.has_used().then(|| {
            let PackedDesc {
                id, length, flags, ..
            } = self.descriptor(self.used.slot);
            self.used.advance(self.length_of(id), self.size);
            Used {
                id: id.into(),
                length: if flags.contains(DescFlags::WRITE) {
                    length
                } else {
                    0
                },
            }
        })
    }
}

impl Position {
    const START: Self = Self { slot: 0, wrap: true };

    fn advance(&mut self, descriptors: u16, size: u16) {
        self.slot += descriptors;
        if self.slot >= size {
            self.slot -= size;
            self.wrap = !self.wrap;
        }
    }

    fn word(self) -> u16 {
        self.slot | u16::from(self.wrap) << 15
    }
}

/// The two flags of a descriptor that is available while the wrap counter is `wrap`.
fn availability(wrap: bool) -> DescFlags {
    if wrap { DescFlags::AVAIL } else { DescFlags::USED }
}

impl PackedDesc {
    /// As it is in memory, in the ring or in an indirect table.
    pub fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let descriptor = Desc {
            addr: self.address.into(),
            len: self.length.into(),
            id: self.id.into(),
            flags: self.flags.0.into(),
        };
        bytes.copy_from_slice(descriptor.as_bytes());
        bytes
    }

    /// From memory.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let descriptor = Desc::read_from_bytes(&bytes).unwrap_or_default();
        Self {
            address: descriptor.addr.get(),
            length: descriptor.len.get(),
            id: descriptor.id.get(),
            flags: DescFlags(descriptor.flags.get()),
        }
    }
}
