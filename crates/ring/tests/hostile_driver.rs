//! Drivers that break the rules, against the device end: every test writes a virtqueue by hand, and expects an error that
//! names the clause, and a queue that stays broken.

mod common;

use std::sync::Arc;

use common::{BASE, PACKED, SPLIT};
use ringwright_memory::{Fault, Mapping, Memory, Region};
use ringwright_ring::{Chain, DeviceQueue, Layout, RingError, SetupError, State, Token, Violation};
use ringwright_spec::packed::DescFlags as Packed;
use ringwright_spec::split::DescFlags;
use ringwright_spec::{Features, feature};

const NEXT: u16 = DescFlags::NEXT.0;
const WRITE: u16 = DescFlags::WRITE.0;
const INDIRECT: u16 = DescFlags::INDIRECT.0;
const AVAIL: u16 = Packed::AVAIL.0;
const USED: u16 = Packed::USED.0;

const SIZE: u16 = 8;
/// Where buffers and indirect tables may lie.
const DATA: u64 = BASE + 0x2000;
/// End of the first region; the second one begins there, elsewhere in this process.
const BORDER: u64 = BASE + 0x4000;
/// End of the second region, with nothing behind.
const END: u64 = BORDER + 0x4000;

/// What makes a device end take other ways: that it knows nothing from before, or where the memory is, and that it serves.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    Cold,
    Warm,
    Serving,
}

const STARTS: [Start; 3] = [Start::Cold, Start::Warm, Start::Serving];

/// A driver that writes what it likes.
struct Hostile {
    start: Start,
    memory: Arc<Memory>,
    device: DeviceQueue,
    layout: Layout,
    packed: bool,
    available: u16,
}

impl Hostile {
    fn new(start: Start, features: Features) -> Self {
        let region = |address, length| Region::new(address, Arc::new(Mapping::anonymous(length).unwrap()));
        let regions = vec![region(BASE, 0x4000), region(BORDER, 0x4000)];
        let memory = Arc::new(Memory::new(regions).unwrap());
        let layout = Layout {
            size: SIZE,
            descriptor_area: BASE,
            driver_area: BASE + 0x1000,
            device_area: BASE + 0x1800,
        };
        let features = features | feature::INDIRECT_DESC;
        let packed = features.contains(feature::RING_PACKED);
        // Just before the place where a fresh virtqueue starts.
        let state = match (start, packed) {
            (Start::Cold, _) => State::default(),
            (_, false) => State {
                next_available: u16::MAX,
                next_used: u16::MAX,
                ..State::default()
            },
            (_, true) => State {
                next_available: SIZE - 2,
                available_wrap: false,
                next_used: SIZE - 2,
                used_wrap: false,
            },
        };
        let device = DeviceQueue::new(layout, features, memory.clone(), state).unwrap();
        let mut hostile = Self {
            start,
            memory,
            device,
            layout,
            packed,
            available: state.next_available,
        };
        if start != Start::Cold {
            hostile.warm_up();
        }
        hostile
    }

    /// Has the device end read and write in the first region, after which all is as in a fresh virtqueue.
    fn warm_up(&mut self) {
        let (first, second) = (SIZE - 2, SIZE - 1);
        if self.packed {
            self.descriptor(first, DATA, 1, 0, NEXT | USED);
            self.descriptor(second, DATA, 1, 0, WRITE | USED);
        } else {
            self.descriptor(first, DATA, 1, NEXT, second);
            self.descriptor(second, DATA, 1, WRITE, 0);
        }
        self.offer(first);
        let token = self.device.pop().unwrap().unwrap().into_token();
        self.device.complete(token, 0).unwrap();
        self.device.publish().unwrap();
        let Layout {
            descriptor_area,
            driver_area,
            device_area,
            ..
        } = self.layout;
        for (area, length) in [
            (descriptor_area, 16 * 8),
            (driver_area, 0x100),
            (device_area, 0x100),
        ] {
            self.memory.write(area, &vec![0; length]).unwrap();
        }
        self.available = 0;
    }

    fn split(start: Start) -> Self {
        Self::new(start, SPLIT)
    }

    fn packed(start: Start) -> Self {
        Self::new(start, PACKED)
    }

    /// Writes sixteen bytes at `index` of a table: split has flags before link, packed id before flags.
    fn entry(&self, table: u64, index: u16, address: u64, length: u32, third: u16, fourth: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12..14].copy_from_slice(&third.to_le_bytes());
        bytes[14..].copy_from_slice(&fourth.to_le_bytes());
        self.memory.write(table + 16 * u64::from(index), &bytes).unwrap();
    }

    fn descriptor(&self, index: u16, address: u64, length: u32, third: u16, fourth: u16) {
        self.entry(self.layout.descriptor_area, index, address, length, third, fourth);
    }

    fn word(&self, address: u64, word: u16) {
        self.memory.write(address, &word.to_le_bytes()).unwrap();
    }

    /// Split: makes the chain at `head` available. (Packed: its descriptors say that.)
    fn offer(&mut self, head: u16) {
        if self.packed {
            return;
        }
        let slot = u64::from(self.available % SIZE);
        self.word(self.layout.driver_area + 4 + 2 * slot, head);
        self.available = self.available.wrapping_add(1);
        self.word(self.layout.driver_area + 2, self.available);
    }

    /// The device takes a chain: what is wrong, in which clause. The queue then stays broken.
    fn caught(&mut self) -> (Violation, Option<&'static str>) {
        let error = match self.start {
            Start::Serving => self.device.serve(1, |_| panic!("not legal")).unwrap_err(),
            _ => self.device.pop().unwrap_err(),
        };
        assert_eq!(self.device.pop().unwrap_err(), error, "it stays broken");
        assert_eq!(self.device.serve(1, |_| panic!("broken")), Err(error));
        assert_eq!(self.device.broken(), Some(&error));
        assert!(!self.device.has_available() && !self.device.enable_notifications());
        assert!(!self.device.publish().unwrap(), "nothing was used");
        (error.kind, error.clause())
    }

    /// The device takes a chain: lengths of its readable and its writable part.
    fn taken(&mut self) -> (usize, usize) {
        let chain = self.device.pop().unwrap().unwrap();
        (chain.readable().len(), chain.writable().len())
    }
}

#[test]
fn split_available_index_back_or_too_far_ahead_is_the_available_ring_01() {
    for start in STARTS {
        for index in [SIZE + 1, u16::MAX, 0x8000] {
            let mut driver = Hostile::split(start);
            driver.word(driver.layout.driver_area + 2, index);
            let expected = Violation::AvailableIndex {
                found: index,
                taken: 0,
                size: SIZE,
            };
            assert_eq!(
                driver.caught(),
                (expected, Some("drv:split:the-virtqueue-available-ring:01"))
            );
        }
    }
}

#[test]
fn split_head_and_next_out_of_range() {
    for start in STARTS {
        for index in [SIZE, SIZE + 1, 0x7fff, u16::MAX] {
            let expected = (
                Violation::DescriptorIndex {
                    index,
                    size: SIZE.into(),
                },
                None,
            );
            let mut driver = Hostile::split(start);
            driver.offer(index);
            assert_eq!(driver.caught(), expected);
            let mut driver = Hostile::split(start);
            driver.descriptor(0, DATA, 16, NEXT, index);
            driver.offer(0);
            assert_eq!(driver.caught(), expected);
        }
    }
}

#[test]
fn split_loop_is_a_chain_longer_than_the_queue_indirect_descriptors_03() {
    for start in STARTS {
        let expected = (
            Violation::ChainTooLong { limit: SIZE },
            Some("drv:split:indirect-descriptors:03"),
        );
        for flags in [0, WRITE] {
            let mut driver = Hostile::split(start);
            driver.descriptor(0, DATA, 16, NEXT | flags, 1);
            driver.descriptor(1, DATA, 16, NEXT | flags, 0);
            driver.offer(0);
            assert_eq!(driver.caught(), expected);
            // One that refers to itself.
            let mut driver = Hostile::split(start);
            driver.descriptor(5, DATA, 16, NEXT | flags, 5);
            driver.offer(5);
            assert_eq!(driver.caught(), expected);
            // In a table.
            let mut driver = Hostile::split(start);
            driver.entry(DATA, 0, DATA, 16, NEXT | flags, 0);
            driver.descriptor(0, DATA, 16, INDIRECT, 0);
            driver.offer(0);
            assert_eq!(driver.caught(), expected);
        }
    }
}

#[test]
fn split_chain_of_the_whole_queue_is_legal() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        for index in 0..SIZE {
            let flags = if index < 4 {
                NEXT
            } else if index + 1 < SIZE {
                NEXT | WRITE
            } else {
                WRITE
            };
            driver.descriptor(index, DATA, 16, flags, index + 1);
        }
        driver.offer(0);
        assert_eq!(driver.taken(), (64, 64));
    }
}

#[test]
fn packed_list_longer_than_the_queue_is_scatter_gather_support_02() {
    for start in STARTS {
        let mut driver = Hostile::packed(start);
        for index in 0..SIZE {
            driver.descriptor(index, DATA, 16, 0, NEXT | AVAIL);
        }
        let expected = Violation::ChainTooLong { limit: SIZE };
        assert_eq!(
            driver.caught(),
            (expected, Some("drv:packed:scatter-gather-support:02"))
        );
    }
}

#[test]
fn packed_list_that_runs_into_buffers_in_flight_is_the_virtqueue_descriptor_table_01() {
    for start in STARTS {
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, 16, 0, AVAIL);
        assert_eq!(driver.taken(), (16, 0));
        for index in 1..SIZE {
            driver.descriptor(index, DATA, 16, 1, NEXT | AVAIL);
        }
        let expected = Violation::Overrun { size: SIZE };
        assert_eq!(
            driver.caught(),
            (expected, Some("drv:packed:the-virtqueue-descriptor-table:01"))
        );
    }
}

#[test]
fn packed_ring_full_in_flight_and_more_available_is_the_virtqueue_descriptor_table_01() {
    for start in STARTS {
        let mut driver = Hostile::packed(start);
        for id in 0..SIZE {
            driver.descriptor(id, DATA, 16, id, AVAIL);
            assert_eq!(driver.taken(), (16, 0));
        }
        driver.descriptor(0, DATA, 16, 0, USED);
        let expected = Violation::Overrun { size: SIZE };
        assert_eq!(
            driver.caught(),
            (expected, Some("drv:packed:the-virtqueue-descriptor-table:01"))
        );
    }
}

#[test]
fn indirect_table_of_no_or_odd_length() {
    for start in STARTS {
        for length in [0, 1, 15, 17, 16 * 3 + 8, u32::MAX] {
            let expected = (Violation::IndirectLength { length }, None);
            let mut driver = Hostile::split(start);
            driver.descriptor(0, DATA, length, INDIRECT, 0);
            driver.offer(0);
            assert_eq!(driver.caught(), expected);
            let mut driver = Hostile::packed(start);
            driver.descriptor(0, DATA, length, 0, INDIRECT | AVAIL);
            assert_eq!(driver.caught(), expected);
        }
    }
}

#[test]
fn indirect_table_longer_than_the_queue() {
    for start in STARTS {
        let length = 16 * (u32::from(SIZE) + 1);
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, length, 0, INDIRECT | AVAIL);
        let expected = Violation::ChainTooLong { limit: SIZE };
        assert_eq!(
            driver.caught(),
            (expected, Some("drv:packed:scatter-gather-support:02"))
        );
        // Split tables may have entries that no chain uses, but not such a chain.
        let mut driver = Hostile::split(start);
        for index in 0..=SIZE {
            driver.entry(
                DATA,
                index,
                DATA,
                1,
                if index == SIZE { 0 } else { NEXT },
                index + 1,
            );
        }
        driver.descriptor(0, DATA, length, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (expected, Some("drv:split:indirect-descriptors:03"))
        );
        let mut driver = Hostile::split(start);
        driver.entry(DATA, 0, DATA, 1, NEXT, SIZE);
        driver.entry(DATA, SIZE, DATA, 2, 0, 0);
        driver.descriptor(0, DATA, length, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(driver.taken(), (3, 0));
    }
}

#[test]
fn split_next_beyond_the_indirect_table() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.entry(DATA, 0, DATA, 1, NEXT, 2);
        driver.entry(DATA, 2, DATA, 1, 0, 0);
        driver.descriptor(0, DATA, 32, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (Violation::DescriptorIndex { index: 2, size: 2 }, None)
        );
    }
}

#[test]
fn split_nested_indirect_is_indirect_descriptors_02() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.entry(DATA, 0, DATA, 16, INDIRECT, 0);
        driver.descriptor(0, DATA, 16, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (
                Violation::NestedIndirect,
                Some("drv:split:indirect-descriptors:02")
            )
        );
    }
}

#[test]
fn tables_at_any_address_with_split_entries_in_any_order() {
    for start in STARTS {
        for table in [
            DATA + 0x100,
            DATA + 0x108,
            DATA + 0x101,
            BORDER - 0x28,
            BORDER + 0x100,
        ] {
            for mut driver in [Hostile::split(start), Hostile::packed(start)] {
                if driver.packed {
                    driver.entry(table, 0, DATA, 1, 0, 0);
                    driver.entry(table, 1, DATA, 2, 0, 0);
                    driver.entry(table, 2, DATA, 4, 0, WRITE);
                    driver.descriptor(0, table, 48, 3, INDIRECT | AVAIL);
                } else {
                    driver.entry(table, 0, DATA, 1, NEXT, 3);
                    driver.entry(table, 3, DATA, 2, NEXT, 1);
                    driver.entry(table, 1, DATA, 4, WRITE, 9);
                    // Used by no chain.
                    driver.entry(table, 2, 0, 0, INDIRECT, 0);
                    driver.descriptor(3, table, 64, INDIRECT, 0);
                }
                driver.offer(3);
                let lengths =
                    |chain: &Chain<'_>| (chain.id(), chain.readable().len(), chain.writable().len());
                let mut taken = None;
                if start == Start::Serving {
                    let served = driver.device.serve(9, |chain| {
                        taken = Some(lengths(chain));
                        Some(4)
                    });
                    assert_eq!(served, Ok(1));
                    assert!(driver.device.publish().unwrap());
                } else {
                    taken = driver.device.pop().unwrap().map(|chain| lengths(&chain));
                    assert_eq!(driver.device.in_flight(), 1);
                }
                assert_eq!(taken, Some((3, 3, 4)), "{table:#x}");
            }
        }
    }
}

#[test]
fn packed_ignores_all_flags_but_write_in_a_table() {
    for start in STARTS {
        // Section 2.8.7; so there is no nesting either.
        let mut driver = Hostile::packed(start);
        driver.entry(DATA, 0, DATA, 3, 7, INDIRECT | USED);
        driver.entry(DATA, 1, DATA, 4, 9, WRITE | NEXT | AVAIL);
        driver.descriptor(0, DATA, 32, 5, INDIRECT | WRITE | AVAIL);
        let chain = driver.device.pop().unwrap().unwrap();
        assert_eq!(
            (chain.id(), chain.readable().len(), chain.writable().len()),
            (5, 3, 4)
        );
    }
}

#[test]
fn split_ignores_write_of_an_indirect_descriptor_dev_indirect_descriptors_01() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.entry(DATA, 0, DATA, 3, 0, 0);
        driver.descriptor(0, DATA, 16, INDIRECT | WRITE, 0);
        driver.offer(0);
        assert_eq!(driver.taken(), (3, 0));
    }
}

#[test]
fn split_takes_direct_descriptors_before_an_indirect_one_dev_indirect_descriptors_02() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.descriptor(3, DATA, 5, NEXT, 1);
        driver.descriptor(1, DATA, 32, INDIRECT, 0);
        driver.entry(DATA, 0, DATA, 6, NEXT | WRITE, 1);
        driver.entry(DATA, 1, DATA, 7, WRITE, 0);
        driver.offer(3);
        assert_eq!(driver.taken(), (5, 13));
    }
}

#[test]
fn indirect_with_next_is_split_04_and_packed_04() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.descriptor(0, DATA, 16, INDIRECT | NEXT, 1);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (
                Violation::IndirectWithNext,
                Some("drv:split:indirect-descriptors:04")
            )
        );
        let expected = (
            Violation::IndirectWithNext,
            Some("drv:packed:indirect-descriptors:04"),
        );
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, 16, 0, INDIRECT | NEXT | AVAIL);
        assert_eq!(driver.caught(), expected);
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, 16, 0, NEXT | AVAIL);
        driver.descriptor(1, DATA, 16, 0, INDIRECT | AVAIL);
        assert_eq!(driver.caught(), expected);
    }
}

#[test]
fn indirect_without_the_feature_is_indirect_descriptors_01() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.device =
            DeviceQueue::new(driver.layout, SPLIT, driver.memory.clone(), State::default()).unwrap();
        driver.descriptor(0, DATA, 16, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (
                Violation::IndirectNotNegotiated,
                Some("drv:split:indirect-descriptors:01")
            )
        );
        let mut driver = Hostile::packed(start);
        driver.device =
            DeviceQueue::new(driver.layout, PACKED, driver.memory.clone(), State::default()).unwrap();
        driver.descriptor(0, DATA, 16, 0, INDIRECT | AVAIL);
        assert_eq!(
            driver.caught(),
            (
                Violation::IndirectNotNegotiated,
                Some("drv:packed:indirect-descriptors:01")
            )
        );
    }
}

#[test]
fn readable_after_writable_is_message_framing_01_and_scatter_gather_support_03() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.descriptor(0, DATA, 16, NEXT | WRITE, 1);
        driver.descriptor(1, DATA, 16, 0, 0);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (
                Violation::ReadableAfterWritable,
                Some("drv:split:message-framing:01")
            )
        );
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, 16, 0, NEXT | WRITE | AVAIL);
        driver.descriptor(1, DATA, 16, 0, AVAIL);
        let expected = (
            Violation::ReadableAfterWritable,
            Some("drv:packed:scatter-gather-support:03"),
        );
        assert_eq!(driver.caught(), expected);
    }
}

#[test]
fn elements_of_no_length_are_nothing() {
    for start in STARTS {
        // No clause forbids them; their address does not matter.
        let mut driver = Hostile::split(start);
        driver.descriptor(0, u64::MAX, 0, NEXT, 1);
        driver.descriptor(1, DATA, 5, NEXT | WRITE, 2);
        driver.descriptor(2, 0, 0, WRITE, 0);
        driver.offer(0);
        assert_eq!(driver.taken(), (0, 5));
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, u64::MAX, 0, 0, AVAIL);
        assert_eq!(driver.taken(), (0, 0));
    }
}

#[test]
fn addresses_outside_memory() {
    for start in STARTS {
        let unmapped = |address| Violation::Address(Fault::Unmapped { address });
        let cases = [
            (u64::MAX, 1, unmapped(u64::MAX)),
            (
                u64::MAX,
                2,
                Violation::Address(Fault::Overflow {
                    address: u64::MAX,
                    length: 2,
                }),
            ),
            (
                u64::MAX - 7,
                0x100,
                Violation::Address(Fault::Overflow {
                    address: u64::MAX - 7,
                    length: 0x100,
                }),
            ),
            (0, 1, unmapped(0)),
            (BASE - 1, 2, unmapped(BASE - 1)),
            (END - 1, 2, unmapped(END)),
            (END, 1, unmapped(END)),
            (BASE, u32::MAX, unmapped(END)),
            // Just after an address that was fine: the last hit must not be stretched.
            (BASE - 0x10, 0x20, unmapped(BASE - 0x10)),
        ];
        for (address, length, expected) in cases {
            for flags in [0, WRITE] {
                let mut driver = Hostile::split(start);
                driver.descriptor(0, DATA, 16, NEXT | flags, 1);
                driver.descriptor(1, address, length, flags, 0);
                driver.offer(0);
                assert_eq!(driver.caught(), (expected, None), "{address:#x} {length}");
                let mut driver = Hostile::packed(start);
                driver.descriptor(0, DATA, 16, 0, NEXT | flags | AVAIL);
                driver.descriptor(1, address, length, 0, flags | AVAIL);
                assert_eq!(driver.caught(), (expected, None), "{address:#x} {length}");
            }
        }
        let mut driver = Hostile::split(start);
        driver.descriptor(0, END - 16, 32, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(driver.caught(), (unmapped(END), None));
    }
}

#[test]
fn buffers_and_tables_across_region_borders_are_whole() {
    for start in STARTS {
        for features in [SPLIT, PACKED] {
            let mut driver = Hostile::new(start, features);
            let flags = |flags| {
                if features == SPLIT {
                    (flags, 1)
                } else {
                    (0, flags | AVAIL)
                }
            };
            let bytes: Vec<u8> = (0..64).collect();
            driver.memory.write(BORDER - 40, &bytes).unwrap();
            let ((a, b), (c, d)) = (flags(NEXT), flags(WRITE));
            driver.descriptor(0, BORDER - 40, 64, a, b);
            driver.descriptor(1, BORDER - 1, 2, c, d);
            driver.offer(0);
            let chain = driver.device.pop().unwrap().unwrap();
            let mut read = [0; 64];
            chain.readable().read(0, &mut read).unwrap();
            assert_eq!(read[..], bytes[..]);
            chain.writable().write(0, &[0xaa, 0xbb]).unwrap();
            let mut read = [0; 2];
            driver.memory.read(BORDER - 1, &mut read).unwrap();
            assert_eq!(read, [0xaa, 0xbb]);
        }
        // A table whose second entry lies on the border, itself at an odd address.
        let mut driver = Hostile::split(start);
        let table = BORDER - 23;
        driver.entry(table, 0, DATA, 3, NEXT, 1);
        driver.entry(table, 1, DATA, 4, WRITE, 0);
        driver.descriptor(0, table, 32, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(driver.taken(), (3, 4));
    }
}

#[test]
fn more_than_4_gibibytes_is_the_virtqueue_descriptor_table_01() {
    for start in STARTS {
        // Only reserved address space: nothing of it is ever touched.
        let huge = Region::new(1 << 40, Arc::new(Mapping::anonymous(1 << 32).unwrap()));
        for (last, expected) in [(1 << 31, None), ((1 << 31) + 1, Some((1 << 32) + 1))] {
            let mut driver = Hostile::split(start);
            let regions = driver
                .memory
                .regions()
                .iter()
                .cloned()
                .chain([huge.clone()])
                .collect();
            let memory = Arc::new(Memory::new(regions).unwrap());
            driver.device.set_memory(memory).unwrap();
            driver.descriptor(0, 1 << 40, 1 << 31, NEXT, 1);
            driver.descriptor(1, 1 << 40, last, WRITE, 0);
            driver.offer(0);
            match expected {
                None => assert_eq!(driver.taken(), (1 << 31, 1 << 31)),
                Some(length) => assert_eq!(
                    driver.caught(),
                    (
                        Violation::ChainTooLarge { length },
                        Some("drv:split:the-virtqueue-descriptor-table:01")
                    )
                ),
            }
        }
    }
}

#[test]
fn buffer_made_available_twice() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.descriptor(2, DATA, 16, 0, 0);
        driver.offer(2);
        driver.offer(2);
        assert_eq!(driver.taken(), (16, 0));
        assert_eq!(driver.caught(), (Violation::InUse { id: 2 }, None));
        assert_eq!(driver.device.in_flight(), 1);
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, 16, 2, AVAIL);
        driver.descriptor(1, DATA, 16, 2, AVAIL);
        assert_eq!(driver.taken(), (16, 0));
        let expected = (
            Violation::InUse { id: 2 },
            Some("drv:packed:the-virtqueue-descriptor-table:01"),
        );
        assert_eq!(driver.caught(), expected);
    }
}

#[test]
fn packed_buffer_id_beyond_the_queue_size() {
    for start in STARTS {
        for id in [SIZE, u16::MAX] {
            let mut driver = Hostile::packed(start);
            driver.descriptor(0, DATA, 16, id, AVAIL);
            assert_eq!(driver.caught(), (Violation::BufferId { id, size: SIZE }, None));
        }
    }
}

#[test]
fn a_broken_queue_still_gives_back_what_it_has() {
    for start in STARTS {
        for features in [SPLIT, PACKED] {
            let mut driver = Hostile::new(start, features);
            let flags = if features == SPLIT { (0, 0) } else { (0, AVAIL) };
            driver.descriptor(0, DATA, 16, flags.0, flags.1);
            driver.descriptor(1, 0, 16, flags.0 + u16::from(features == PACKED), flags.1);
            driver.offer(0);
            driver.offer(1);
            let token = driver.device.pop().unwrap().unwrap().into_token();
            assert_eq!(
                driver.device.pop().unwrap_err().kind,
                Violation::Address(Fault::Unmapped { address: 0 })
            );
            driver.device.complete(token, 0).unwrap();
            assert!(driver.device.publish().unwrap());
            assert!(driver.device.pop().is_err());
        }
    }
}

#[test]
fn completing_what_is_not_in_flight_is_refused_and_harmless() {
    for start in STARTS {
        for features in [
            SPLIT,
            PACKED,
            SPLIT | feature::IN_ORDER,
            PACKED | feature::IN_ORDER,
        ] {
            let mut driver = Hostile::new(start, features);
            let flags = if features.contains(feature::RING_PACKED) {
                (3, WRITE | AVAIL)
            } else {
                (WRITE, 0)
            };
            let id = if features.contains(feature::RING_PACKED) {
                3
            } else {
                0
            };
            driver.descriptor(0, DATA, 16, flags.0, flags.1);
            driver.offer(0);
            for stranger in [id, 5, SIZE, u16::MAX] {
                let error: RingError = driver.device.complete(Token::from_id(stranger), 0).unwrap_err();
                assert_eq!(error.kind, Violation::NotInFlight { id: stranger });
            }
            let token = driver.device.pop().unwrap().unwrap().into_token();
            let error = driver.device.complete(token, 17).unwrap_err();
            assert_eq!(
                error.kind,
                Violation::WrittenTooLong {
                    id,
                    written: 17,
                    writable: 16
                }
            );
            driver.device.complete(Token::from_id(id), 16).unwrap();
            let error = driver.device.complete(Token::from_id(id), 16).unwrap_err();
            assert_eq!(error.kind, Violation::NotInFlight { id });
            assert!(driver.device.publish().unwrap());
            assert_eq!((driver.device.in_flight(), driver.device.broken()), (0, None));
        }
    }
}

#[test]
fn set_up_refuses_illegal_sizes_alignments_and_places() {
    for start in STARTS {
        let driver = Hostile::split(start);
        let set_up =
            |layout, features| DeviceQueue::new(layout, features, driver.memory.clone(), State::default());
        for size in [0, 3, 32769, u16::MAX] {
            let found = set_up(
                Layout {
                    size,
                    ..driver.layout
                },
                SPLIT,
            )
            .unwrap_err();
            assert_eq!(found, SetupError::Size { size, packed: false });
        }
        for size in [0, 32769] {
            let found = set_up(
                Layout {
                    size,
                    ..driver.layout
                },
                PACKED,
            )
            .unwrap_err();
            assert_eq!(found, SetupError::Size { size, packed: true });
        }
        set_up(
            Layout {
                size: 7,
                ..driver.layout
            },
            PACKED,
        )
        .unwrap();
        let address = BASE + 8;
        let found = set_up(
            Layout {
                descriptor_area: address,
                ..driver.layout
            },
            SPLIT,
        )
        .unwrap_err();
        assert_eq!(found, SetupError::Misaligned { address, align: 16 });
        let address = BASE + 0x1001;
        let found = set_up(
            Layout {
                driver_area: address,
                ..driver.layout
            },
            SPLIT,
        )
        .unwrap_err();
        assert_eq!(found, SetupError::Misaligned { address, align: 2 });
        for features in [SPLIT, PACKED] {
            let address = BASE + 0x1002;
            let found = set_up(
                Layout {
                    device_area: address,
                    ..driver.layout
                },
                features,
            )
            .unwrap_err();
            assert_eq!(found, SetupError::Misaligned { address, align: 4 });
        }
        // Each part must be in one piece for the whole queue size.
        for address in [END - 16 * u64::from(SIZE) + 16, BORDER - 16, END, u64::MAX - 15] {
            for features in [SPLIT, PACKED] {
                let found = set_up(
                    Layout {
                        descriptor_area: address,
                        ..driver.layout
                    },
                    features,
                )
                .unwrap_err();
                assert!(matches!(found, SetupError::Address(_)), "{address:#x}: {found}");
            }
        }
        set_up(
            Layout {
                descriptor_area: END - 16 * u64::from(SIZE),
                ..driver.layout
            },
            SPLIT,
        )
        .unwrap();
        let state = State {
            next_available: SIZE + 1,
            ..State::default()
        };
        assert!(DeviceQueue::new(driver.layout, SPLIT, driver.memory.clone(), state).is_err());
        assert!(DeviceQueue::new(driver.layout, PACKED, driver.memory.clone(), state).is_err());
    }
}

/// Where a region lies besides the usual ones.
const APART: u64 = 1 << 40;

/// A device end that serves, with another region, in which it has read and written as far as it may.
fn serving(features: Features, region: Region, writable: u64) -> Hostile {
    let mut driver = Hostile::new(Start::Serving, features);
    let regions = driver.memory.regions().iter().cloned().chain([region]);
    let memory = Arc::new(Memory::new(regions.collect()).unwrap());
    driver.device.set_memory(memory).unwrap();
    for number in 0..2 {
        driver.request(number, (APART, 1 << 31), (writable, 1));
        assert_eq!(driver.device.serve(1, |_| Some(0)), Ok(1));
        driver.device.publish().unwrap();
    }
    driver
}

impl Hostile {
    /// Makes a chain of a readable and a writable element available, the one of this number.
    fn request(&mut self, number: u16, readable: (u64, u32), writable: (u64, u32)) {
        if self.packed {
            self.descriptor(2 * number, readable.0, readable.1, 0, NEXT | AVAIL);
            self.descriptor(2 * number + 1, writable.0, writable.1, 0, WRITE | AVAIL);
        } else {
            self.descriptor(0, readable.0, readable.1, NEXT, 1);
            self.descriptor(1, writable.0, writable.1, WRITE, 0);
            self.offer(0);
        }
    }
}

#[test]
fn more_than_4_gibibytes_are_not_served_either() {
    for features in [SPLIT, PACKED] {
        // Only reserved address space: nothing of it is ever touched.
        let huge = Region::new(APART, Arc::new(Mapping::anonymous(1 << 32).unwrap()));
        let mut driver = serving(features, huge, APART);
        driver.request(2, (APART, 1 << 31), (APART, (1 << 31) + 1));
        let (violation, _) = driver.caught();
        let length = (1 << 32) + 1;
        assert_eq!(violation, Violation::ChainTooLarge { length });
    }
}

#[test]
fn memory_that_was_read_is_not_memory_to_write() {
    for features in [SPLIT, PACKED] {
        let mapping = Arc::new(Mapping::anonymous(1 << 32).unwrap());
        // SAFETY: the mapping is the owner of all this memory.
        let constant = unsafe { Region::from_raw(APART, mapping.segment(), false, mapping.clone()) };
        let mut driver = serving(features, constant, DATA);
        driver.request(2, (APART, 1), (APART, 1));
        let (violation, _) = driver.caught();
        assert!(matches!(violation, Violation::Address(_)), "{violation:?}");
    }
}

#[test]
fn a_request_that_is_in_flight_is_not_served_again() {
    let mut driver = Hostile::split(Start::Serving);
    driver.request(0, (DATA, 16), (DATA, 16));
    assert_eq!(driver.taken(), (16, 16));
    driver.offer(0);
    assert_eq!(driver.caught().0, Violation::InUse { id: 0 });
}

#[test]
fn packed_request_whose_id_is_the_queue_size_is_not_served() {
    let mut driver = Hostile::packed(Start::Serving);
    driver.descriptor(0, DATA, 16, 0, NEXT | AVAIL);
    driver.descriptor(1, DATA, 16, SIZE, WRITE | AVAIL);
    let expected = Violation::BufferId { id: SIZE, size: SIZE };
    assert_eq!(driver.caught().0, expected);
}

#[test]
fn packed_request_is_not_served_before_its_first_descriptor_is_available() {
    let mut driver = Hostile::packed(Start::Serving);
    for flags in [NEXT, NEXT | USED, NEXT | USED | AVAIL] {
        driver.descriptor(0, DATA, 16, 0, flags);
        driver.descriptor(1, DATA, 16, 0, WRITE | AVAIL);
        let served = driver.device.serve(1, |_| panic!("not available"));
        assert_eq!(served, Ok(0));
    }
}

#[test]
fn packed_request_over_a_full_ring_is_not_served() {
    let mut driver = Hostile::packed(Start::Serving);
    for id in 0..SIZE / 2 {
        driver.descriptor(2 * id, DATA, 16, 0, NEXT | AVAIL);
        driver.descriptor(2 * id + 1, DATA, 16, id, WRITE | AVAIL);
        assert_eq!(driver.taken(), (16, 16));
    }
    // In the next lap, with an id that is free.
    driver.descriptor(0, DATA, 16, 0, NEXT | USED);
    driver.descriptor(1, DATA, 16, SIZE - 1, WRITE | USED);
    assert_eq!(driver.caught().0, Violation::Overrun { size: SIZE });
}
