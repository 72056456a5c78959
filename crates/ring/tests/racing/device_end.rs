//! The device end, against a driver that changes what it has made available.

use std::sync::Arc;

use ringwright_memory::{Mapping, Memory, Region, Slices};
use ringwright_ring::{Chain, DeviceQueue, Layout, State};
use ringwright_spec::packed::DescFlags as Packed;
use ringwright_spec::split::DescFlags;
use ringwright_spec::{Features, feature};

use crate::common::{BASE, PACKED, SPLIT};
use crate::{Random, SIZE, against};

/// Three regions: two that are neighbours, and one apart.
const REGION: u64 = 0x4000;
const REGIONS: [u64; 3] = [BASE, BASE + REGION, BASE + 4 * REGION];
const LAYOUT: Layout = Layout {
    size: SIZE,
    descriptor_area: BASE,
    driver_area: BASE + 0x1000,
    device_area: BASE + 0x1800,
};
/// Where indirect tables are.
const TABLES: u64 = BASE + 0x2000;

/// A driver that writes whatever could be of interest, in any order.
struct HostileDriver {
    memory: Arc<Memory>,
    random: Random,
    packed: bool,
}

impl HostileDriver {
    /// Makes a buffer available by the rules, for a device end that stands at `state`.
    fn offer(&mut self, state: State) {
        let (elements, readable) = (1 + self.random.below(3), self.random.below(4));
        let start = if self.packed {
            state.next_available.into()
        } else {
            self.random.below(SIZE.into())
        };
        let id = self.random.below(SIZE.into());
        for element in (0..elements).rev() {
            let (index, laps) = (
                (start + element) % u64::from(SIZE),
                (start + element) / u64::from(SIZE),
            );
            let next = if element + 1 < elements {
                DescFlags::NEXT.0
            } else {
                0
            };
            let write = if element < readable { 0 } else { DescFlags::WRITE.0 };
            let flags = u64::from(next | write);
            let tail = if self.packed {
                let state = if state.available_wrap == (laps == 0) {
                    Packed::AVAIL
                } else {
                    Packed::USED
                };
                id << 32 | (flags | u64::from(state.0)) << 48
            } else {
                flags << 32 | ((index + 1) % u64::from(SIZE)) << 48
            };
            let place = LAYOUT.descriptor_area + 16 * index;
            self.write(place, REGIONS[2] + 64 * element, 8);
            self.write(place + 8, 16 | tail, 8);
        }
        if !self.packed {
            let next = state.next_available;
            self.write(LAYOUT.driver_area + 4 + 2 * u64::from(next % SIZE), start, 2);
            self.write(LAYOUT.driver_area + 2, next.wrapping_add(1).into(), 2);
        }
    }

    /// Changes something.
    fn change(&mut self) {
        let entry = self.random.below(SIZE.into());
        match self.random.below(8) {
            0..4 => self.descriptor(LAYOUT.descriptor_area + 16 * entry, true),
            4 | 5 => self.descriptor(TABLES + 16 * entry, false),
            6 if !self.packed => {
                let head = self.index();
                self.write(LAYOUT.driver_area + 4 + 2 * entry, head, 2);
            }
            _ if !self.packed => {
                // A little ahead of what was used last, so that there nearly always is something to take.
                let mut used = [0; 2];
                self.memory.read(LAYOUT.device_area + 2, &mut used).unwrap();
                let ahead = if self.random.one_in(500) {
                    self.random.next() as u16
                } else {
                    self.random.below(SIZE.into()) as u16
                };
                let index = u16::from_le_bytes(used).wrapping_add(ahead);
                self.write(LAYOUT.driver_area + 2, index.into(), 2);
            }
            _ => {
                let word = self.random.next();
                self.write(LAYOUT.driver_area, word, 4);
            }
        }
    }

    /// Index or id, that mostly exists.
    fn index(&mut self) -> u64 {
        if self.random.one_in(100) {
            self.random.next() & 0xffff
        } else {
            self.random.below(SIZE.into())
        }
    }

    /// Writes a descriptor, or one of its words only.
    fn descriptor(&mut self, place: u64, in_ring: bool) {
        let random = &mut self.random;
        let region = random.pick(REGIONS);
        // Anywhere, with many that go across a border or end just there.
        let address = match random.below(8) {
            0 => region + REGION - random.below(64),
            1 => TABLES,
            2 if random.one_in(50) => random.next() << 24,
            _ => region + random.below(REGION),
        };
        let mut length = if random.one_in(50) {
            random.next() & 0xffff_ffff
        } else {
            random.below(64)
        };
        let mut flags = 0;
        let mut flag = |flag: u16, chance: bool| flags |= if chance { flag } else { 0 };
        flag(DescFlags::NEXT.0, random.one_in(2));
        flag(DescFlags::WRITE.0, random.one_in(2));
        let indirect = random.one_in(if in_ring { 4 } else { 200 });
        flag(DescFlags::INDIRECT.0, indirect);
        if self.packed {
            let available = random.one_in(2);
            flag(Packed::AVAIL.0, available);
            flag(Packed::USED.0, available == random.one_in(20));
        }
        let mut address = address;
        if indirect && !random.one_in(20) {
            // Also one that ends with the region, and one that goes on in the next.
            address = random.pick([TABLES, BASE + REGION - 64, BASE + REGION - 16]);
            length = 16 * random.below(10);
        }
        let link = self.index();
        let (third, fourth) = if self.packed {
            (link, u64::from(flags))
        } else {
            (u64::from(flags), link)
        };
        let tail = length | third << 32 | fourth << 48;
        match self.random.below(3) {
            0 => self.write(place, address, 8),
            1 => self.write(place + 8, tail, 8),
            _ => {
                self.write(place, address, 8);
                self.write(place + 8, tail, 8);
            }
        }
    }

    fn write(&self, address: u64, value: u64, length: usize) {
        self.memory
            .write(address, &value.to_le_bytes()[..length])
            .unwrap();
    }
}

/// Whether all of a view lies in memory, with as many bytes as it says.
fn is_sound(view: Slices<'_>, memory: &Memory) -> bool {
    let mut length = 0;
    let inside = view.segments().all(|segment| {
        length += segment.len();
        let start = segment.pointer() as usize;
        memory.regions().iter().any(|region| {
            let base = region.pointer() as usize;
            start >= base && start + segment.len() <= base + region.len() as usize
        })
    });
    inside && length == view.len()
}

/// Checks a chain, and reads and writes the ends of it. Gives the length of its writable part.
fn use_chain(chain: &Chain<'_>, memory: &Memory) -> usize {
    let (readable, writable) = (chain.readable(), chain.writable());
    assert!(chain.id() < SIZE);
    assert!(is_sound(readable, memory) && is_sound(writable, memory));
    assert!((readable.len() + writable.len()) as u64 <= 1 << 32);
    assert!(readable.segments().count() + writable.segments().count() <= usize::from(SIZE) + 1024);
    if let Some(last) = readable.len().checked_sub(1) {
        readable.read_array::<1>(0).unwrap();
        readable.read_array::<1>(last).unwrap();
        readable.write(0, &[1]).unwrap_err();
    }
    writable.len()
}

fn device_end_against_hostile_driver(features: Features) {
    let region = |address| Region::new(address, Arc::new(Mapping::anonymous(REGION as usize).unwrap()));
    let memory = Arc::new(Memory::new(REGIONS.map(region).to_vec()).unwrap());
    let packed = features.contains(feature::RING_PACKED);
    let driver = |seed| HostileDriver {
        memory: memory.clone(),
        random: Random(seed),
        packed,
    };
    let (mut driver, mut other_driver) = (driver(1), driver(2));
    let mut random = Random(3);
    let (mut taken, mut broken, mut bytes) = (0, 0, 0);
    let start = || {
        let mut index = [0; 2];
        memory.read(LAYOUT.device_area + 2, &mut index).unwrap();
        let next = if packed { 0 } else { u16::from_le_bytes(index) };
        let state = State {
            next_available: next,
            next_used: next,
            ..State::default()
        };
        DeviceQueue::new(LAYOUT, features, memory.clone(), state).unwrap()
    };
    let mut device = start();
    let mut tokens = Vec::new();
    let round = || {
        driver.offer(device.state());
        if random.one_in(4) {
            driver.change();
        }
        // Taken and kept, or served in one go.
        let popped = if random.one_in(2) {
            device.pop()
        } else {
            let served = device.serve(4, |chain| {
                let writable = use_chain(chain, &memory);
                taken += 1;
                bytes += writable;
                u32::try_from(writable).ok()
            });
            served.map(|_| None)
        };
        match popped {
            Ok(Some(chain)) => {
                let writable = use_chain(&chain, &memory);
                taken += 1;
                bytes += writable;
                tokens.push((chain.into_token(), writable));
                assert!(tokens.len() <= SIZE.into());
            }
            Ok(None) => {}
            Err(error) => {
                broken += 1;
                assert_eq!(device.broken(), Some(&error));
                assert_eq!(device.pop().unwrap_err(), error);
                assert_eq!(usize::from(device.in_flight()), tokens.len());
                device = start();
                tokens.clear();
            }
        }
        assert_eq!(usize::from(device.in_flight()), tokens.len());
        if !random.one_in(3) && !tokens.is_empty() {
            let which = random.below(tokens.len() as u64) as usize;
            let (token, writable) = tokens.swap_remove(which);
            let written = random.below(writable as u64 + 1) as u32;
            device.complete(token, written).unwrap();
        }
        match random.below(8) {
            0..4 => drop(device.publish().unwrap()),
            4 => drop(device.enable_notifications()),
            5 => device.disable_notifications(),
            _ => drop(device.has_available()),
        }
    };
    against(|| other_driver.change(), round);
    // Otherwise it was not much of a test.
    assert!(
        taken > 1000 && broken > 50 && bytes > 1000,
        "{taken} {broken} {bytes}"
    );
}

#[test]
fn split_device_end() {
    device_end_against_hostile_driver(SPLIT | feature::INDIRECT_DESC);
    device_end_against_hostile_driver(SPLIT | feature::INDIRECT_DESC | feature::EVENT_IDX);
}

#[test]
fn packed_device_end() {
    device_end_against_hostile_driver(PACKED | feature::INDIRECT_DESC);
    device_end_against_hostile_driver(PACKED | feature::INDIRECT_DESC | feature::EVENT_IDX);
}
