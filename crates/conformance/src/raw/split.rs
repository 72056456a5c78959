//! Split virtqueues (section 2.7).

use std::sync::Arc;

use ringwright_memory::Area;
use ringwright_spec::split::{self, Desc, DescFlags};
use zerocopy::{FromBytes, IntoBytes};

use super::{Element, Part, Used, flags};

/// The three parts of a split virtqueue, and how far its driver has come.
#[derive(Debug)]
pub struct Split {
    size: u16,
    table: Part,
    available: Part,
    used: Part,
    /// The descriptor that is written next.
    next: u16,
    /// Used entries that were taken.
    taken: u16,
}

/// A descriptor, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitDesc {
    /// Address of the buffer, as the device sees it.
    pub address: u64,
    /// Length in bytes.
    pub length: u32,
    /// `VIRTQ_DESC_F_*`.
    pub flags: DescFlags,
    /// Index of the next descriptor.
    pub next: u16,
}

impl Split {
    pub(super) fn new(area: &Arc<Area>, size: u16) -> Option<Self> {
        Some(Self {
            size,
            table: Part::new(area, split::desc_size(size) as usize, split::DESC_ALIGN)?,
            available: Part::new(area, split::avail_size(size) as usize, split::AVAIL_ALIGN)?,
            used: Part::new(area, split::used_size(size) as usize, split::USED_ALIGN)?,
            next: 0,
            taken: 0,
        })
    }

    pub(super) fn addresses(&self) -> [u64; 3] {
        [
            self.table.address(),
            self.available.address(),
            self.used.address(),
        ]
    }

    pub(super) fn clear(&mut self) {
        for part in [&self.table, &self.available, &self.used] {
            part.clear();
        }
        (self.next, self.taken) = (0, 0);
    }

    pub(super) fn add(&mut self, elements: &[Element]) -> u16 {
        self.add_flagged(elements, DescFlags::NONE)
    }

    /// As [`add`](Self::add), with more flags in the last descriptor.
    pub(super) fn add_flagged(&mut self, elements: &[Element], more: DescFlags) -> u16 {
        let head = self.describe(elements, more);
        self.offer(head);
        head
    }

    /// Writes the descriptors of a buffer, but does not make it available. Returns the first one's index.
    pub fn describe(&mut self, elements: &[Element], more: DescFlags) -> u16 {
        let head = self.next % self.size;
        for (number, element) in elements.iter().enumerate() {
            let is_last = number + 1 == elements.len();
            let index = self.next % self.size;
            self.next = self.next.wrapping_add(1);
            let mut flags = flags(element, is_last);
            if is_last {
                flags = flags | more;
            }
            self.write_descriptor(
                index,
                SplitDesc {
                    address: element.address,
                    length: element.length,
                    flags,
                    next: if is_last { 0 } else { self.next % self.size },
                },
            );
        }
        head
    }

    /// Puts `head` into the available ring, and makes it available.
    pub fn offer(&mut self, head: u16) {
        let index = self.available_index();
        self.set_available_entry(index % self.size, head);
        self.set_available_index(index.wrapping_add(1));
    }

    /// Writes a descriptor of the table.
    pub fn write_descriptor(&self, index: u16, descriptor: SplitDesc) {
        self.table
            .write(16 * usize::from(index), descriptor.bytes().as_slice());
    }

    /// What a descriptor of the table is now.
    pub fn descriptor(&self, index: u16) -> SplitDesc {
        SplitDesc::from_bytes(self.table.read(16 * usize::from(index)))
    }

    /// `idx` of the available ring.
    pub fn available_index(&self) -> u16 {
        self.available.read16(2)
    }

    /// Writes `idx` of the available ring.
    pub fn set_available_index(&self, index: u16) {
        self.available.write16(2, index);
    }

    /// Writes an entry of the available ring.
    pub fn set_available_entry(&self, slot: u16, head: u16) {
        self.available
            .write16(split::AVAIL_RING as usize + 2 * usize::from(slot), head);
    }

    /// Writes `flags` of the available ring.
    pub fn set_available_flags(&self, flags: u16) {
        self.available.write16(0, flags);
    }

    /// Writes `used_event`.
    pub fn set_used_event(&self, event: u16) {
        self.available
            .write16(split::used_event_offset(self.size) as usize, event);
    }

    /// `flags` of the used ring.
    pub fn used_flags(&self) -> u16 {
        self.used.read16(0)
    }

    /// `idx` of the used ring.
    pub fn used_index(&self) -> u16 {
        self.used.read16(2)
    }

    /// An entry of the used ring.
    pub fn used_entry(&self, slot: u16) -> Used {
        let offset = split::USED_RING as usize + 8 * usize::from(slot);
        Used {
            id: self.used.read32(offset),
            length: self.used.read32(offset + 4),
        }
    }

    /// `avail_event`.
    pub fn available_event(&self) -> u16 {
        self.used.read16(split::avail_event_offset(self.size) as usize)
    }

    pub(super) fn has_used(&self) -> bool {
        self.used_index() != self.taken
    }

    pub(super) fn skip_used(&mut self, ids: &[u16]) -> bool {
        let slots = (0..ids.len() as u16).map(|number| self.taken.wrapping_add(number) % self.size);
        let untouched = slots
            .map(|slot| self.used_entry(slot))
            .all(|entry| entry == Used::default());
        self.taken = self.taken.wrapping_add(ids.len() as u16);
        untouched
    }

    pub(super) fn take_used(&mut self) -> Option<Used> {
        self.has_used().then(|| {
            let used = self.used_entry(self.taken % self.size);
            self.taken = self.taken.wrapping_add(1);
            used
        })
    }
}

impl SplitDesc {
    /// As it is in memory, in the table or in an indirect one.
    pub fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let descriptor = Desc {
            addr: self.address.into(),
            len: self.length.into(),
            flags: self.flags.0.into(),
            next: self.next.into(),
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
            flags: DescFlags(descriptor.flags.get()),
            next: descriptor.next.get(),
        }
    }
}
