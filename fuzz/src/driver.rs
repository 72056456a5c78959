//! A driver that makes buffers available, by the rules for as long as the script does not choose otherwise.

use ringwright_ring::{Layout, State};
use ringwright_spec::packed::DescFlags as PackedFlags;
use ringwright_spec::split::DescFlags;

use crate::guest::{Guest, MAIN};
use crate::script::Script;

/// Where the driver stands in its virtqueue.
pub struct Driver {
    /// The virtqueue.
    pub layout: Layout,
    /// Its format.
    pub packed: bool,
    index: u16,
    wrap: bool,
    next_id: u16,
}

impl Driver {
    /// The driver of the virtqueue at `layout`, which goes on at `state`.
    pub fn new(layout: Layout, packed: bool, state: State) -> Self {
        Self {
            layout,
            packed,
            index: state.next_available,
            wrap: state.available_wrap,
            next_id: 0,
        }
    }

    /// Makes a buffer available.
    pub fn offer(&mut self, guest: &Guest, script: &mut Script<'_>, may_indirect: bool) {
        let [write_last, write_all, indirect, odd_flags, odd_id] = script.flags();
        let size = u64::from(self.layout.size.max(1));
        let elements = 1 + script.below(5);
        let indirect = indirect && may_indirect;
        let table = MAIN + guest.regions[0].len() - 0x200;
        let head = if odd_id { script.u16() } else { self.next_id };
        self.next_id = (u64::from(head) + if indirect { 1 } else { elements }).rem_euclid(size) as u16;
        let start = self.index;
        let mut first_flags = 0;
        for element in 0..elements {
            let last = element + 1 == elements;
            let write = write_all || (write_last && last);
            let mut flags = if write { DescFlags::WRITE.0 } else { 0 };
            if !last {
                flags |= DescFlags::NEXT.0;
            }
            if odd_flags {
                flags = script.u8().into();
            }
            let (address, length) = (guest.address(script), script.any_u32());
            if indirect {
                let entry = table + element * 16;
                self.descriptor(guest, entry, address, length, flags, element as u16 + 1);
            } else if self.packed {
                self.packed_descriptor(guest, address, length, flags, head, element == 0);
            } else {
                let slot = |element: u64| ((u64::from(head) + element) % size) as u16;
                let entry = self.entry(slot(element));
                self.descriptor(guest, entry, address, length, flags, slot(element + 1));
            }
            if element == 0 {
                first_flags = flags;
            }
        }
        if indirect {
            let (length, flags) = (elements as u32 * 16, DescFlags::INDIRECT.0);
            if self.packed {
                self.packed_descriptor(guest, table, length, flags, head, true);
            } else {
                self.descriptor(guest, self.entry(head), table, length, flags, 0);
            }
            first_flags = flags;
        }
        if self.packed {
            // The list is complete now: its first descriptor becomes available.
            let first = self.layout.descriptor_area.wrapping_add(u64::from(start) * 16);
            let lap = if self.index <= start {
                !self.wrap
            } else {
                self.wrap
            };
            guest.write16(first.wrapping_add(14), first_flags | available(lap));
        } else {
            let slot = u64::from(start) % size;
            guest.write16(self.layout.driver_area.wrapping_add(4 + slot * 2), head);
            self.index = start.wrapping_add(1);
            guest.write16(self.layout.driver_area.wrapping_add(2), self.index);
        }
    }

    fn entry(&self, index: u16) -> u64 {
        self.layout.descriptor_area.wrapping_add(u64::from(index) * 16)
    }

    /// Writes the next descriptor of the ring; the first of a list not yet as available.
    fn packed_descriptor(
        &mut self,
        guest: &Guest,
        address: u64,
        length: u32,
        flags: u16,
        id: u16,
        first: bool,
    ) {
        let entry = self.entry(self.index);
        guest.write64(entry, address);
        guest.write32(entry.wrapping_add(8), length);
        guest.write16(entry.wrapping_add(12), id);
        if !first {
            guest.write16(entry.wrapping_add(14), flags | available(self.wrap));
        }
        self.index += 1;
        if self.index >= self.layout.size {
            (self.index, self.wrap) = (0, !self.wrap);
        }
    }

    /// Writes a descriptor of a split ring, or an entry of a table.
    fn descriptor(&self, guest: &Guest, entry: u64, address: u64, length: u32, flags: u16, link: u16) {
        guest.write64(entry, address);
        guest.write32(entry.wrapping_add(8), length);
        let (third, fourth) = if self.packed { (link, flags) } else { (flags, link) };
        guest.write16(entry.wrapping_add(12), third);
        guest.write16(entry.wrapping_add(14), fourth);
    }
}

/// The flags of an available descriptor in a lap with wrap counter `wrap`.
fn available(wrap: bool) -> u16 {
    if wrap {
        PackedFlags::AVAIL.0
    } else {
        PackedFlags::USED.0
    }
}
