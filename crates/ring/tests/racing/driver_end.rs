//! The driver end, against a device that changes what it has used.

use std::sync::Arc;

use ringwright_memory::{Buffer, Memory};
use ringwright_ring::{DriverOptions, DriverQueue, Layout, Used};
use ringwright_spec::packed::DescFlags as Packed;
use ringwright_spec::{Features, feature};

use crate::common::{BOTH, Shared, pieces};
use crate::{Random, SIZE, against};

/// A device that writes whatever could be of interest into the virtqueue.
struct HostileDevice {
    memory: Arc<Memory>,
    random: Random,
    layout: Layout,
    packed: bool,
}

impl HostileDevice {
    /// Uses a buffer by the rules, as the one at `position`, which for packed virtqueues has the wrap counter in bit 15.
    fn use_buffer(&mut self, position: u16, id: u16, written: u64) {
        let (id, area) = (u64::from(id), self.layout.device_area);
        if self.packed {
            let place = self.layout.descriptor_area + 16 * u64::from(position & 0x7fff) + 8;
            let used = if position >> 15 != 0 {
                Packed::AVAIL.0 | Packed::USED.0
            } else {
                0
            };
            self.write(
                place,
                written | id << 32 | u64::from(used | Packed::WRITE.0) << 48,
                8,
            );
        } else {
            self.write(area + 4 + 8 * u64::from(position % SIZE), id | written << 32, 8);
            self.write(area + 2, position.wrapping_add(1).into(), 2);
        }
    }

    fn write(&self, address: u64, value: u64, length: usize) {
        self.memory
            .write(address, &value.to_le_bytes()[..length])
            .unwrap();
    }

    /// Changes something.
    fn change(&mut self) {
        let random = &mut self.random;
        let entry = random.below(SIZE.into());
        let id = if random.one_in(50) {
            random.next() & 0xffff_ffff
        } else {
            random.below(SIZE.into())
        };
        let length = if random.one_in(50) {
            random.next() & 0xffff_ffff
        } else {
            random.below(9)
        };
        let (address, value, bytes) = match (self.packed, random.below(4)) {
            (true, 0) => (self.layout.device_area, random.next(), 4),
            (true, 1) => {
                // The address, which belongs to the driver.
                (self.layout.descriptor_area + 16 * entry, random.next(), 8)
            }
            (true, _) => {
                let used = if random.one_in(2) {
                    Packed::AVAIL.0 | Packed::USED.0
                } else {
                    0
                };
                let write = if random.one_in(2) { Packed::WRITE.0 } else { 0 };
                let tail = length | (id & 0xffff) << 32 | u64::from(used | write) << 48;
                (self.layout.descriptor_area + 16 * entry + 8, tail, 8)
            }
            (false, 0) => {
                // As far as the driver has come, or not quite.
                let mut available = [0; 2];
                self.memory
                    .read(self.layout.driver_area + 2, &mut available)
                    .unwrap();
                let behind = if random.one_in(50) {
                    random.next() as u16
                } else {
                    random.below(3) as u16
                };
                let index = u16::from_le_bytes(available).wrapping_sub(behind);
                (self.layout.device_area + 2, index.into(), 2)
            }
            (false, 1) => (
                self.layout.device_area + 4 + 8 * u64::from(SIZE),
                random.next(),
                2,
            ),
            (false, _) => (self.layout.device_area + 4 + 8 * entry, id | length << 32, 8),
        };
        self.write(address, value, bytes);
    }
}

/// What travels with a buffer.
struct Request {
    serial: u64,
    writable: usize,
    _memory: Arc<Buffer>,
}

/// A buffer that the device has.
struct Outstanding {
    serial: u64,
    id: u16,
    writable: usize,
    descriptors: u16,
}

fn driver_end_against_hostile_device(features: Features, indirect: u16) {
    let shared = Shared::new(1 << 20);
    let mut driver: DriverQueue<Request> =
        DriverQueue::new(&shared.area, SIZE, features, DriverOptions { indirect }).unwrap();
    let packed = features.contains(feature::RING_PACKED);
    let device = |seed| HostileDevice {
        memory: shared.memory.clone(),
        random: Random(seed),
        layout: driver.layout(),
        packed,
    };
    let (mut device, mut other_device) = (device(1), device(2));
    let buffer = Arc::new(shared.buffer(8));
    let mut random = Random(3);
    let (mut used, mut broken, mut serial) = (0, 0, 0);
    // What the device has, oldest first; and how far the driver has taken it back, in descriptors or entries.
    let mut outstanding: Vec<Outstanding> = Vec::new();
    let mut taken = 0_u16;
    let round = || {
        // As many as are used below, in the long run.
        for _ in 0..random.below(4) {
            let parts = [random.below(3), random.below(3)].map(|count| match count as usize {
                0 => Vec::new(),
                count => pieces(&buffer, count),
            });
            let [readable, writable] = &parts;
            let (elements, request) = (
                readable.len() + writable.len(),
                Request {
                    serial,
                    writable: writable.iter().map(|piece| piece.len() as usize).sum(),
                    _memory: buffer.clone(),
                },
            );
            let length = request.writable;
            if let Ok(id) = driver.add(readable, writable, request) {
                let tabled = elements > 1 && elements <= indirect.into();
                outstanding.push(Outstanding {
                    serial,
                    id,
                    writable: length,
                    descriptors: if packed && !tabled { elements as u16 } else { 1 },
                });
                serial += 1;
            }
        }
        // A device may also use what it was not told of yet.
        if !random.one_in(4) {
            driver.publish();
        }
        let mut with_device: Vec<&Outstanding> = outstanding.iter().collect();
        let mut marked = taken;
        for _ in 0..random.below(4) {
            if with_device.is_empty() {
                break;
            }
            let which = if features.contains(feature::IN_ORDER) {
                0
            } else {
                random.below(with_device.len() as u64) as usize
            };
            let next = with_device.remove(which);
            let position = if packed {
                (marked % SIZE) | (u16::from((marked / SIZE).is_multiple_of(2)) << 15)
            } else {
                marked
            };
            device.use_buffer(position, next.id, random.below(next.writable as u64 + 1));
            marked = marked.wrapping_add(next.descriptors);
        }
        if random.one_in(4) {
            device.change();
        }
        let mut take = |buffer: Used<Request>| {
            used += 1;
            assert!(
                buffer.written as usize <= buffer.data.writable,
                "more than there is"
            );
            let place = outstanding
                .iter()
                .position(|other| other.serial == buffer.data.serial);
            let place = place.expect("given back once, and only what the device has");
            taken = taken.wrapping_add(outstanding.remove(place).descriptors);
        };
        let result = if random.one_in(2) {
            driver.take_used(u16::MAX, take).map(drop)
        } else {
            loop {
                match driver.pop() {
                    Ok(Some(buffer)) => take(buffer),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            }
        };
        if let Err(error) = result {
            broken += 1;
            assert_eq!(driver.broken(), Some(&error));
            assert_eq!(driver.pop().map(|used| used.is_some()), Err(error));
            assert_eq!(driver.take_used(9, |_| panic!("nothing more")), Err(error));
            let mut given_back: Vec<u64> = driver.reset().map(|request| request.serial).collect();
            given_back.sort_unstable();
            let expected: Vec<u64> = outstanding.drain(..).map(|other| other.serial).collect();
            assert_eq!(given_back, expected, "all that the device had");
            taken = 0;
            assert_eq!((driver.free(), driver.in_flight()), (SIZE, 0));
        }
        assert_eq!(usize::from(driver.in_flight()), outstanding.len());
        match random.below(8) {
            0 => drop(driver.enable_notifications()),
            1 => driver.disable_notifications(),
            _ => {}
        }
    };
    against(|| other_device.change(), round);
    assert!(used > 1000 && broken > 100, "{used} {broken}");
}

#[test]
fn driver_ends() {
    for features in BOTH {
        for in_order in [Features::NONE, feature::IN_ORDER] {
            let features = features | in_order | feature::INDIRECT_DESC;
            for indirect in [0, 4] {
                driver_end_against_hostile_device(features | feature::EVENT_IDX, indirect);
                driver_end_against_hostile_device(features, indirect);
            }
        }
    }
}
