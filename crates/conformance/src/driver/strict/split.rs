//! The device end of a split virtqueue (section 2.7).

use ringwright_memory::Memory;
use ringwright_ring::{Layout, State};
use ringwright_spec::split;

use super::end::{End, Found, Kept, access, reaches, read, read16, table, write};
use crate::driver::event::{Astray, Chain, Descriptor, INDIRECT, Look, NEXT, Sent, Suppression};
use crate::raw::SplitDesc;

pub(super) struct SplitEnd {
    layout: Layout,
    events: bool,
    /// `idx` of the available ring, as far as it was looked at.
    seen: u16,
    /// `idx` of the used ring.
    used: u16,
    /// How the driver was asked to notify.
    asked: Suppression,
    /// Entries of the buffers that are available.
    exposed: Vec<(u16, Kept)>,
}

impl SplitEnd {
    pub fn new(layout: Layout, events: bool, state: State) -> Self {
        Self {
            layout,
            events,
            seen: state.next_available,
            used: state.next_used,
            asked: Suppression::default(),
            exposed: Vec::new(),
        }
    }

    fn available(&self, offset: u64) -> u64 {
        self.layout.driver_area.wrapping_add(offset)
    }

    fn driver(&self, memory: &Memory) -> Suppression {
        Suppression {
            flags: read16(memory, self.available(0)),
            event: read16(memory, self.available(split::used_event_offset(self.layout.size))),
        }
    }

    fn descriptor(&self, memory: &Memory, index: u16) -> Descriptor {
        let bytes = read(
            memory,
            self.layout.descriptor_area.wrapping_add(16 * u64::from(index)),
        );
        descriptor(memory, index, false, bytes)
    }

    /// Follows the chain that begins at `head`.
    fn chain(&self, memory: &Memory, head: u16) -> Chain {
        let mut chain = Chain {
            id: head,
            descriptors: Vec::new(),
            astray: None,
            sent: Sent::default(),
        };
        let mut index = head;
        for _ in 0..=self.layout.size {
            if index >= self.layout.size {
                chain.astray = Some(Astray::Nowhere(index));
                return chain;
            }
            let descriptor = self.descriptor(memory, index);
            chain.descriptors.push(descriptor);
            if descriptor.has(INDIRECT) {
                follow(memory, &descriptor, &mut chain);
            }
            if !descriptor.has(NEXT) {
                return chain;
            }
            index = descriptor.next;
        }
        chain.astray = Some(Astray::Loop);
        chain
    }

    /// Where the entries of a chain lie: its descriptors, and its tables as a whole.
    fn places(&self, chain: &Chain) -> Vec<(u64, usize)> {
        let direct = chain.descriptors.iter().filter(|descriptor| !descriptor.indirect);
        direct
            .flat_map(|descriptor| {
                let own = (
                    self.layout
                        .descriptor_area
                        .wrapping_add(16 * u64::from(descriptor.index)),
                    16,
                );
                let table = descriptor
                    .has(INDIRECT)
                    .then_some((descriptor.address, descriptor.length.min(1 << 20) as usize));
                [Some(own), table].into_iter().flatten()
            })
            .collect()
    }
}

/// Adds the descriptors of an indirect table to `chain`.
fn follow(memory: &Memory, reference: &Descriptor, chain: &mut Chain) {
    let entries = table(memory, reference);
    let mut index = 0;
    for _ in 0..=entries.len() {
        let Some(bytes) = entries.get(usize::from(index)) else {
            chain.astray = Some(Astray::Nowhere(index));
            return;
        };
        let descriptor = descriptor(memory, index, true, *bytes);
        chain.descriptors.push(descriptor);
        if !descriptor.has(NEXT) {
            return;
        }
        index = descriptor.next;
    }
    chain.astray = Some(Astray::Loop);
}

fn descriptor(memory: &Memory, index: u16, indirect: bool, bytes: [u8; 16]) -> Descriptor {
    let SplitDesc {
        address,
        length,
        flags,
        next,
    } = SplitDesc::from_bytes(bytes);
    Descriptor {
        index,
        indirect,
        address,
        length,
        flags: flags.0,
        next,
        reached: reaches(memory, address, length.into(), access(flags.0)),
    }
}

impl End for SplitEnd {
    fn look(&mut self, memory: &Memory, notified: bool) -> Found {
        let altered = self
            .exposed
            .iter_mut()
            .filter_map(|(_, kept)| kept.change(memory, false))
            .collect();
        let now = read16(memory, self.available(2));
        let look = Look {
            notified,
            driver: self.driver(memory),
            device: self.asked,
            index: (self.seen, now),
        };
        let mut chains = Vec::new();
        if now.wrapping_sub(self.seen) <= self.layout.size {
            while self.seen != now {
                let slot = self.available(split::AVAIL_RING + 2 * u64::from(self.seen % self.layout.size));
                let chain = self.chain(memory, read16(memory, slot));
                // The entry of the available ring is the driver's again as soon as the device has seen it.
                let kept = Kept::new(memory, self.places(&chain));
                self.exposed.push((chain.id, kept));
                chains.push(chain);
                self.seen = self.seen.wrapping_add(1);
            }
        }
        Found {
            look,
            chains,
            altered,
        }
    }

    fn give_back(&mut self, memory: &Memory, id: u16, written: u32) -> bool {
        self.exposed.retain(|(exposed, _)| *exposed != id);
        let slot = u64::from(self.used % self.layout.size);
        let entry = self.layout.device_area.wrapping_add(split::USED_RING + 8 * slot);
        write(memory, entry, &u32::from(id).to_le_bytes());
        write(memory, entry.wrapping_add(4), &written.to_le_bytes());
        let before = self.used;
        self.used = self.used.wrapping_add(1);
        write(
            memory,
            self.layout.device_area.wrapping_add(2),
            &self.used.to_le_bytes(),
        );
        let driver = self.driver(memory);
        match self.events {
            true => split::need_event(driver.event, self.used, before),
            false => driver.flags & 1 == 0,
        }
    }

    fn ask(&mut self, memory: &Memory, quiet: bool) {
        match self.events {
            false => self.asked.flags = quiet.into(),
            // Not for the next one, but for the third.
            true => self.asked.event = self.seen.wrapping_add(if quiet { 2 } else { 0 }),
        }
        write(memory, self.layout.device_area, &self.asked.flags.to_le_bytes());
        let event = split::avail_event_offset(self.layout.size);
        if self.events {
            write(
                memory,
                self.layout.device_area.wrapping_add(event),
                &self.asked.event.to_le_bytes(),
            );
        }
    }

    fn state(&self) -> State {
        State {
            next_available: self.seen,
            next_used: self.used,
            ..State::default()
        }
    }

    fn device_area(&self, memory: &Memory) -> Suppression {
        Suppression {
            flags: read16(memory, self.layout.device_area),
            event: 0,
        }
    }
}
