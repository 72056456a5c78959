//! The device end of a packed virtqueue (section 2.8).

use std::collections::BTreeMap;

use ringwright_memory::Memory;
use ringwright_ring::{Layout, State};
use ringwright_spec::packed::DescFlags;

use super::end::{End, Found, Kept, access, reaches, read, read16, table, write};
use crate::driver::event::{Astray, Chain, Descriptor, INDIRECT, Look, NEXT, Sent, Suppression};
use crate::raw::PackedDesc;

/// `RING_EVENT_FLAGS_DISABLE` and `RING_EVENT_FLAGS_DESC`.
const DISABLE: u16 = 1;
const DESC: u16 = 2;

pub(super) struct PackedEnd {
    layout: Layout,
    events: bool,
    seen: Position,
    used: Position,
    asked: Suppression,
    /// Entries of the buffers that are available, and how many descriptors of the ring each takes.
    exposed: BTreeMap<u16, (u16, Kept)>,
}

/// A descriptor of the ring, and the wrap counter there.
#[derive(Clone, Copy)]
struct Position {
    slot: u16,
    wrap: bool,
}

impl Position {
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

impl PackedEnd {
    pub fn new(layout: Layout, events: bool, state: State) -> Self {
        Self {
            layout,
            events,
            seen: Position {
                slot: state.next_available,
                wrap: state.available_wrap,
            },
            used: Position {
                slot: state.next_used,
                wrap: state.used_wrap,
            },
            asked: Suppression::default(),
            exposed: BTreeMap::new(),
        }
    }

    fn entry(&self, slot: u16) -> u64 {
        self.layout.descriptor_area.wrapping_add(16 * u64::from(slot))
    }

    fn descriptor(&self, memory: &Memory, slot: u16) -> Descriptor {
        descriptor(memory, slot, false, read(memory, self.entry(slot)))
    }

    fn is_available(&self, flags: u16, at: Position) -> bool {
        let flags = DescFlags(flags);
        flags.contains(DescFlags::AVAIL) == at.wrap && flags.contains(DescFlags::USED) != at.wrap
    }

    /// The next buffer, if there is one, and where its descriptors lie.
    fn next(&mut self, memory: &Memory) -> Option<(Chain, Vec<(u64, usize)>)> {
        let first = self.descriptor(memory, self.seen.slot);
        if !self.is_available(first.flags, self.seen) {
            return None;
        }
        let mut chain = Chain {
            id: first.next,
            descriptors: Vec::new(),
            astray: None,
            sent: Sent::default(),
        };
        let (mut at, mut places) = (self.seen, Vec::new());
        for _ in 0..self.layout.size {
            let descriptor = self.descriptor(memory, at.slot);
            if !self.is_available(descriptor.flags, at) {
                chain.astray = Some(Astray::NotAvailable(at.slot));
                break;
            }
            chain.id = descriptor.next;
            chain.descriptors.push(descriptor);
            places.push((self.entry(at.slot), 16));
            if descriptor.has(INDIRECT) {
                let entries = table(memory, &descriptor);
                places.push((descriptor.address, 16 * entries.len()));
                let entries = entries.into_iter().zip(0..);
                chain
                    .descriptors
                    .extend(entries.map(|(bytes, index)| self::descriptor(memory, index, true, bytes)));
            }
            at.advance(1, self.layout.size);
            if !descriptor.has(NEXT) {
                self.seen = at;
                return Some((chain, places));
            }
        }
        chain.astray.get_or_insert(Astray::Loop);
        self.seen = at;
        Some((chain, places))
    }
}

fn descriptor(memory: &Memory, index: u16, indirect: bool, bytes: [u8; 16]) -> Descriptor {
    let PackedDesc {
        address,
        length,
        id,
        flags,
    } = PackedDesc::from_bytes(bytes);
    Descriptor {
        index,
        indirect,
        address,
        length,
        flags: flags.0,
        next: id,
        reached: reaches(memory, address, length.into(), access(flags.0)),
    }
}

impl End for PackedEnd {
    fn look(&mut self, memory: &Memory, notified: bool) -> Found {
        let altered = self
            .exposed
            .values_mut()
            .filter_map(|(_, kept)| kept.change(memory, true))
            .collect();
        let before = self.seen.word();
        let mut chains = Vec::new();
        while chains.len() < usize::from(self.layout.size)
            && let Some((chain, places)) = self.next(memory)
        {
            let taken = chain
                .descriptors
                .iter()
                .filter(|descriptor| !descriptor.indirect)
                .count();
            self.exposed
                .insert(chain.id, (taken as u16, Kept::new(memory, places)));
            chains.push(chain);
        }
        Found {
            look: Look {
                notified,
                driver: Suppression {
                    event: read16(memory, self.layout.driver_area),
                    flags: read16(memory, self.layout.driver_area.wrapping_add(2)),
                },
                device: self.asked,
                index: (before, self.seen.word()),
            },
            chains,
            altered,
        }
    }

    fn give_back(&mut self, memory: &Memory, id: u16, written: u32) -> bool {
        let taken = self.exposed.remove(&id).map_or(1, |(taken, _)| taken);
        let used = match self.used.wrap {
            true => DescFlags::AVAIL | DescFlags::USED,
            false => DescFlags::NONE,
        };
        let flags = match written {
            0 => used,
            _ => used | DescFlags::WRITE,
        };
        let at = self.entry(self.used.slot);
        write(memory, at.wrapping_add(8), &written.to_le_bytes());
        write(memory, at.wrapping_add(12), &id.to_le_bytes());
        write(memory, at.wrapping_add(14), &flags.0.to_le_bytes());
        for _ in 0..taken {
            // The place is the driver's again, whoever's descriptor was there.
            let place = self.entry(self.used.slot);
            for (_, kept) in self.exposed.values_mut() {
                kept.forget(place);
            }
            self.used.advance(1, self.layout.size);
        }
        // A notification too many is legal.
        read16(memory, self.layout.driver_area.wrapping_add(2)) != DISABLE
    }

    fn ask(&mut self, memory: &Memory, quiet: bool) {
        self.asked = match (quiet, self.events) {
            (false, _) => Suppression::default(),
            (true, false) => Suppression {
                flags: DISABLE,
                event: 0,
            },
            (true, true) => {
                let mut third = self.seen;
                third.advance(2, self.layout.size);
                Suppression {
                    flags: DESC,
                    event: third.word(),
                }
            }
        };
        write(memory, self.layout.device_area, &self.asked.event.to_le_bytes());
        write(
            memory,
            self.layout.device_area.wrapping_add(2),
            &self.asked.flags.to_le_bytes(),
        );
    }

    fn state(&self) -> State {
        State {
            next_available: self.seen.slot,
            available_wrap: self.seen.wrap,
            next_used: self.used.slot,
            used_wrap: self.used.wrap,
        }
    }

    fn device_area(&self, memory: &Memory) -> Suppression {
        Suppression {
            event: read16(memory, self.layout.device_area),
            flags: read16(memory, self.layout.device_area.wrapping_add(2)),
        }
    }
}
