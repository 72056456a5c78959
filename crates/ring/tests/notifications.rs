//! Notifications exactly when they were asked for, also where 16-bit indices and wrap counters wrap; what they carry; and
//! those that `VIRTIO_F_NOTIFY_ON_EMPTY` adds.

mod common;

use common::{BASE, BOTH, PACKED, SPLIT, Shared};
use ringwright_memory::Memory;
use ringwright_ring::{DeviceQueue, DriverOptions, DriverQueue, Layout, State};
use ringwright_spec::packed::{DescFlags, EventFlags};
use ringwright_spec::split::{avail_event_offset, used_event_offset};
use ringwright_spec::{Features, feature};

/// The next number of a sequence without a pattern that matters.
fn next(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Both ends for more than 2^16 buffers of one descriptor in batches of all kinds, each end asking now and then to be
/// notified of its next buffer: whether it is, by counts that do not wrap. What is only shown is there, and is decided about
/// with what follows.
#[test]
fn notifications_come_when_asked_for_and_only_then_while_indices_wrap() {
    let sizes = [
        (1, SPLIT),
        (8, SPLIT),
        (256, SPLIT),
        (1, PACKED),
        (7, PACKED),
        (255, PACKED),
    ];
    for (size, features) in sizes {
        let shared = Shared::new(1 << 20);
        let (mut driver, mut device): (DriverQueue<u64>, _) =
            shared.pair(size, features | feature::EVENT_IDX, 0);
        let piece = [shared.buffer(1).segment()];
        // After so many buffers positions look the same.
        let period = if features == PACKED {
            2 * u64::from(size)
        } else {
            1 << 16
        };
        let (mut told, mut untold) = (0, 0);
        let mut check = |found: bool, mut range: std::ops::Range<u64>, wish: u64| {
            let shown = range.clone();
            let expected = range.any(|buffer| buffer % period == wish % period);
            assert_eq!(found, expected, "{shown:?}, {wish}, size {size}");
            *(if found { &mut told } else { &mut untold }) += 1;
        };
        let mut seed = 1;
        let (mut made_available, mut made_used, mut returned) = (0, 0, 0);
        // The buffer that each end wants to hear of.
        let (mut wish_of_device, mut wish_of_driver) = (0, 0);
        device.enable_notifications();
        driver.enable_notifications();
        while made_available < 70_000 {
            let batch = 1 + next(&mut seed) % u64::from(size);
            for data in made_available..made_available + batch {
                driver.add(&piece, &[], data).unwrap();
            }
            check(
                driver.publish(),
                made_available..made_available + batch,
                wish_of_device,
            );
            made_available += batch;
            let mut published = made_used;
            for _ in 0..batch {
                let token = device.pop().unwrap().unwrap().into_token();
                device.complete(token, 0).unwrap();
                made_used += 1;
                match next(&mut seed) % 6 {
                    0 | 1 => {
                        check(device.publish().unwrap(), published..made_used, wish_of_driver);
                        published = made_used;
                    }
                    2 => {
                        device.show().unwrap();
                        while let Some(used) = driver.pop().unwrap() {
                            assert_eq!(used.data, returned);
                            returned += 1;
                        }
                        assert_eq!(returned, made_used);
                    }
                    _ => {}
                }
            }
            check(device.publish().unwrap(), published..made_used, wish_of_driver);
            for data in returned..made_used {
                assert_eq!(driver.pop().unwrap().unwrap().data, data);
            }
            returned = made_used;
            if next(&mut seed).is_multiple_of(2) {
                assert!(!device.enable_notifications());
                wish_of_device = made_available;
            }
            if next(&mut seed).is_multiple_of(2) {
                assert!(!driver.enable_notifications());
                wish_of_driver = made_used;
            }
        }
        assert!(told > 100 && untold > 100, "{told} {untold}");
    }
}

/// A driver that writes buffers of one descriptor by hand, wherever a device end starts.
struct Hand {
    memory: std::sync::Arc<Memory>,
    layout: Layout,
    packed: bool,
}

impl Hand {
    fn word(&self, address: u64, word: u16) {
        self.memory.write(address, &word.to_le_bytes()).unwrap();
    }

    fn read(&self, address: u64) -> u16 {
        let mut word = [0; 2];
        self.memory.read(address, &mut word).unwrap();
        u16::from_le_bytes(word)
    }

    /// Makes the buffer at `state.next_available` available, without bytes.
    fn offer(&self, state: State) {
        let Layout {
            size,
            descriptor_area,
            driver_area,
            ..
        } = self.layout;
        if self.packed {
            let tail = descriptor_area + 16 * u64::from(state.next_available) + 8;
            let flags = if state.available_wrap {
                DescFlags::AVAIL
            } else {
                DescFlags::USED
            };
            self.word(tail + 4, 0);
            self.word(tail + 6, flags.0);
        } else {
            let entry = driver_area + 4 + 2 * u64::from(state.next_available % size);
            self.word(entry, 0);
            self.word(driver_area + 2, state.next_available.wrapping_add(1));
        }
    }

    /// The next used buffer that the driver asks to be notified of.
    fn wish(&self, position: u16) {
        let area = self.layout.driver_area;
        if self.packed {
            self.word(area, position);
            self.word(area + 2, EventFlags::DESC.0);
        } else {
            self.word(area + used_event_offset(self.layout.size), position);
        }
    }

    /// The next available buffer that the device asks to be notified of.
    fn wish_of_device(&self) -> u16 {
        let area = self.layout.device_area;
        if self.packed {
            assert_eq!(self.read(area + 2), EventFlags::DESC.0);
            self.read(area)
        } else {
            self.read(area + avail_event_offset(self.layout.size))
        }
    }

    /// As in event suppression: an index, or an offset with its wrap counter.
    fn position(&self, index: u16, wrap: bool) -> u16 {
        if self.packed {
            index | u16::from(wrap) << 15
        } else {
            index
        }
    }
}

/// Where the ends can stand with nothing in flight: near the end of all indices, or at any place of either lap.
fn starts(size: u16, packed: bool) -> Vec<State> {
    let at = |next: u16, wrap: bool| State {
        next_available: next,
        available_wrap: wrap,
        next_used: next,
        used_wrap: wrap,
    };
    if packed {
        (0..size)
            .flat_map(|next| [at(next, true), at(next, false)])
            .collect()
    } else {
        (0xfff0..=0xffff).map(|next| at(next, true)).collect()
    }
}

#[test]
fn a_device_end_goes_on_near_the_end_of_its_indices() {
    for features in BOTH {
        let packed = features == PACKED;
        for size in (1..=8_u16).filter(|size| packed || size.is_power_of_two()) {
            for start in starts(size, packed) {
                let layout = Layout {
                    size,
                    descriptor_area: BASE,
                    driver_area: BASE + 0x1000,
                    device_area: BASE + 0x2000,
                };
                let memory = Shared::new(1 << 14).memory;
                let hand = Hand {
                    memory: memory.clone(),
                    layout,
                    packed,
                };
                if !packed {
                    hand.word(layout.driver_area + 2, start.next_available);
                }
                let features = features | feature::EVENT_IDX;
                let mut device = DeviceQueue::new(layout, features, memory, start).unwrap();
                for round in 0..40 {
                    let state = device.state();
                    assert!(!device.enable_notifications());
                    let expected = hand.position(state.next_available, state.available_wrap);
                    assert_eq!(hand.wish_of_device(), expected);
                    hand.offer(state);
                    assert!(device.enable_notifications() && device.has_available());
                    let token = device.pop().unwrap().unwrap().into_token();
                    device.complete(token, 0).unwrap();
                    // This buffer, or the one that was used before.
                    let wanted = round % 2 == 0;
                    let wished = hand.position(state.next_used, state.used_wrap);
                    let other = match (packed, state.next_used) {
                        (false, index) => index.wrapping_sub(1),
                        (true, 0) => hand.position(size - 1, !state.used_wrap),
                        (true, index) => hand.position(index - 1, state.used_wrap),
                    };
                    hand.wish(if wanted { wished } else { other });
                    assert_eq!(device.publish().unwrap(), wanted, "{start:?} {round} of {size}");
                }
            }
        }
    }
}

/// Section 2.9: the virtqueue's index in bits 0 to 15; above it the next available index (split), or the next offset in
/// bits 16 to 30 and the wrap counter in bit 31 (packed).
#[test]
fn notification_data_say_where_the_next_descriptor_goes() {
    for size in [1, 2, 8, 13, 256, 0x7fff, 0x8000_u16] {
        for features in BOTH {
            if features == SPLIT && !size.is_power_of_two() {
                continue;
            }
            let shared = Shared::new(2 << 20);
            let features = features | feature::NOTIFICATION_DATA;
            let (mut driver, mut device): (DriverQueue<()>, _) = shared.pair(size, features, 0);
            let piece = [shared.buffer(1).segment()];
            for count in 0..70_000_u32 {
                let above = if features.contains(feature::RING_PACKED) {
                    let size = u32::from(size);
                    let wrap = if (count / size).is_multiple_of(2) {
                        0x8000
                    } else {
                        0
                    };
                    count % size + wrap
                } else {
                    count % 0x1_0000
                };
                for index in [0, 1, 0xffff] {
                    assert_eq!(
                        driver.notification_data(index),
                        above * 0x1_0000 + u32::from(index),
                        "{count} of {size}"
                    );
                }
                driver.add(&piece, &[], ()).unwrap();
                assert!(driver.publish());
                let token = device.pop().unwrap().unwrap().into_token();
                device.complete(token, 0).unwrap();
                device.publish().unwrap();
                driver.pop().unwrap().unwrap();
            }
        }
    }
}

/// What `publish` of the device gives for each of two buffers, the second being the last that is available, with
/// notifications suppressed.
fn suppressed(features: Features) -> [bool; 2] {
    let shared = Shared::new(1 << 20);
    let driver = DriverQueue::new(&shared.area, 8, features, DriverOptions::default());
    let mut driver: DriverQueue<()> = driver.unwrap();
    let (layout, memory) = (driver.layout(), shared.memory.clone());
    let mut device = DeviceQueue::new(layout, features, memory, State::default()).unwrap();
    driver.disable_notifications();
    let piece = [shared.buffer(1).segment()];
    for _ in 0..2 {
        driver.add(&piece, &[], ()).unwrap();
    }
    driver.publish();
    [(); 2].map(|()| {
        let token = device.pop().unwrap().unwrap().into_token();
        device.complete(token, 0).unwrap();
        device.publish().unwrap()
    })
}

#[test]
fn notify_on_empty_notifies_when_nothing_more_is_available() {
    // The feature (section 6.3) counts more than the flag and the used event, and only on legacy interfaces.
    for event_idx in [Features::NONE, feature::EVENT_IDX] {
        let on_empty = feature::NOTIFY_ON_EMPTY | event_idx;
        assert_eq!(suppressed(on_empty), [false, true]);
        assert_eq!(suppressed(event_idx), [false, false]);
        assert_eq!(suppressed(on_empty | SPLIT), [false, false]);
        assert_eq!(suppressed(on_empty | PACKED), [false, false]);
    }
}
