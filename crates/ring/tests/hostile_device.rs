//! Devices that break the rules, against the driver end: every test writes what a device writes by hand, and expects an
//! error that names the clause, and a virtqueue that stays broken until it is reset.

mod common;

use common::{BOTH, PACKED, SPLIT, Shared};
use ringwright_ring::{AddRefusal, DriverOptions, DriverQueue, RingError, Used, Violation};
use ringwright_spec::packed::DescFlags;
use ringwright_spec::{Features, feature};

const SIZE: u16 = 8;

/// How the driver end is used: buffer by buffer, or with one call for all.
#[derive(Clone, Copy)]
enum Way {
    Single,
    Batch,
}

const WAYS: [Way; 2] = [Way::Single, Way::Batch];

/// A device that writes what it likes.
struct Hostile {
    way: Way,
    shared: Shared,
    driver: DriverQueue<u32>,
    packed: bool,
    used: u16,
}

impl Hostile {
    /// A device that was given `buffers` buffers of one readable and one writable element, ten bytes each.
    fn new(way: Way, features: Features, buffers: u32) -> Self {
        let shared = Shared::new(1 << 20);
        let driver = DriverQueue::new(&shared.area, SIZE, features, DriverOptions::default()).unwrap();
        let packed = features.contains(feature::RING_PACKED);
        let mut hostile = Self {
            way,
            shared,
            driver,
            packed,
            used: 0,
        };
        for data in 0..buffers {
            hostile.add(data);
        }
        hostile.driver.publish();
        hostile
    }

    fn add(&mut self, data: u32) {
        let piece = [self.shared.buffer(10).segment()];
        match self.way {
            Way::Single => drop(self.driver.add(&piece, &piece, data).unwrap()),
            Way::Batch => self.driver.add_all([(piece, piece, data)]).unwrap(),
        }
    }

    fn pop(&mut self) -> Result<Option<Used<u32>>, RingError> {
        match self.way {
            Way::Single => self.driver.pop(),
            Way::Batch => {
                let mut next = None;
                let taken = self.driver.take_used(1, |used| next = Some(used))?;
                assert_eq!(taken, u16::from(next.is_some()));
                Ok(next)
            }
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        self.shared.memory.write(address, bytes).unwrap();
    }

    /// Marks a buffer used, whatever its id and length; of packed virtqueues at `self.used`.
    fn use_buffer(&mut self, id: u32, written: u32) {
        self.use_buffer_with(id, written, DescFlags::WRITE);
    }

    /// As `use_buffer`; of packed virtqueues, with these flags beside the state.
    fn use_buffer_with(&mut self, id: u32, written: u32, others: DescFlags) {
        let layout = self.driver.layout();
        if self.packed {
            let address = layout.descriptor_area + 16 * u64::from(self.used) + 8;
            let flags = DescFlags::AVAIL.0 | DescFlags::USED.0 | others.0;
            self.write(address, &written.to_le_bytes());
            self.write(address + 4, &(id as u16).to_le_bytes());
            self.write(address + 6, &flags.to_le_bytes());
            self.used += 2;
        } else {
            let address = layout.device_area + 4 + 8 * u64::from(self.used % SIZE);
            self.write(address, &id.to_le_bytes());
            self.write(address + 4, &written.to_le_bytes());
            self.used += 1;
            self.used_index(self.used);
        }
    }

    fn used_index(&self, index: u16) {
        self.write(self.driver.layout().device_area + 2, &index.to_le_bytes());
    }

    /// The driver takes a buffer: what is wrong, in which clause. The virtqueue then stays broken, until a reset.
    fn caught(&mut self) -> (Violation, Option<&'static str>) {
        let error = self.pop().unwrap_err();
        assert_eq!(self.pop().unwrap_err(), error, "it stays broken");
        assert_eq!(self.driver.broken(), Some(&error));
        assert!(!self.driver.enable_notifications());
        let piece = self.shared.buffer(1).segment();
        let refused = match self.way {
            Way::Single => self.driver.add(&[piece], &[], 99).unwrap_err(),
            Way::Batch => self.driver.add_all([([piece], [], 99)]).unwrap_err(),
        };
        assert_eq!((refused.reason, refused.data), (AddRefusal::Broken, 99));
        let outstanding: Vec<u32> = self.driver.reset().collect();
        assert_eq!((self.driver.free(), self.driver.in_flight()), (SIZE, 0));
        assert!(outstanding.iter().all(|data| *data < 4));
        self.add(7);
        assert!(self.driver.publish());
        assert_eq!(self.pop(), Ok(None));
        (error.kind, error.clause())
    }
}

#[test]
fn used_id_that_was_never_given_out_is_dev_packed_the_virtqueue_descriptor_table_02() {
    for way in WAYS {
        for features in BOTH {
            for in_order in [Features::NONE, feature::IN_ORDER] {
                for id in [5, SIZE.into(), 0xffff] {
                    let mut device = Hostile::new(way, features | in_order, 2);
                    device.use_buffer(id, 0);
                    let clause = device
                        .packed
                        .then_some("dev:packed:the-virtqueue-descriptor-table:02");
                    assert_eq!(device.caught(), (Violation::UsedId { id }, clause));
                }
            }
        }
        // Split ids have 32 bits, of which none may be lost.
        let mut device = Hostile::new(way, SPLIT, 2);
        device.use_buffer(0x1_0000, 0);
        assert_eq!(device.caught(), (Violation::UsedId { id: 0x1_0000 }, None));
    }
}

#[test]
fn used_id_within_a_chain_is_not_its_head() {
    for way in WAYS {
        let mut device = Hostile::new(way, SPLIT, 2);
        device.use_buffer(1, 0);
        assert_eq!(device.caught().0, Violation::UsedId { id: 1 });
    }
}

#[test]
fn buffer_used_twice() {
    for way in WAYS {
        for features in BOTH {
            let mut device = Hostile::new(way, features, 2);
            device.use_buffer(0, 3);
            device.use_buffer(0, 3);
            let used = device.pop().unwrap().unwrap();
            assert_eq!((used.data, used.written), (0, 3));
            assert_eq!(device.caught().0, Violation::UsedId { id: 0 });
        }
    }
}

#[test]
fn used_length_counts_without_the_write_flag_unless_it_cannot_be_right() {
    for way in WAYS {
        for in_order in [Features::NONE, feature::IN_ORDER] {
            for (said, taken) in [(0, 0), (10, 10), (11, 0), (u32::MAX, 0)] {
                let mut device = Hostile::new(way, PACKED | in_order, 1);
                device.use_buffer_with(0, said, DescFlags::NONE);
                let used = device.pop().unwrap().unwrap();
                assert_eq!((used.data, used.written), (0, taken), "length {said}");
            }
        }
    }
}

#[test]
fn used_length_beyond_the_buffer_is_dev_split_the_virtqueue_used_ring_02() {
    for way in WAYS {
        for features in BOTH {
            for written in [11, u32::MAX] {
                let mut device = Hostile::new(way, features, 2);
                device.use_buffer(0, written);
                let clause = (!device.packed).then_some("dev:split:the-virtqueue-used-ring:02");
                let expected = Violation::UsedLength {
                    id: 0,
                    written,
                    writable: 10,
                };
                assert_eq!(device.caught(), (expected, clause));
            }
            let mut device = Hostile::new(way, features, 2);
            device.use_buffer(0, 10);
            assert_eq!(device.pop().unwrap().unwrap().written, 10);
        }
    }
}

#[test]
fn used_length_beyond_the_buffer_is_cut_on_legacy_interfaces() {
    for way in WAYS {
        // Section 2.7.8.1: many legacy devices set it incorrectly.
        let mut device = Hostile::new(way, Features::NONE, 1);
        device.use_buffer(0, 1000);
        assert_eq!(device.pop().unwrap().unwrap().written, 10);
    }
}

#[test]
fn packed_used_length_without_write_means_nothing() {
    for way in WAYS {
        let mut device = Hostile::new(way, PACKED, 1);
        let flags = DescFlags::AVAIL.0 | DescFlags::USED.0;
        let address = device.driver.layout().descriptor_area + 8;
        device.write(address, &u32::MAX.to_le_bytes());
        device.write(address + 6, &flags.to_le_bytes());
        assert_eq!(device.pop().unwrap().unwrap().written, 0);
    }
}

#[test]
fn used_index_back_or_beyond_what_is_in_flight() {
    for way in WAYS {
        for found in [3, SIZE, u16::MAX, 0x8000] {
            let mut device = Hostile::new(way, SPLIT, 2);
            device.used_index(found);
            let expected = Violation::UsedIndex {
                found,
                taken: 0,
                in_flight: 2,
            };
            assert_eq!(device.caught(), (expected, None));
        }
        // What was added but not published the device cannot have.
        let mut device = Hostile::new(way, SPLIT, 2);
        device.add(3);
        device.used_index(3);
        assert_eq!(
            device.caught().0,
            Violation::UsedIndex {
                found: 3,
                taken: 0,
                in_flight: 2
            }
        );
    }
}

#[test]
fn what_is_right_again_later_mends_nothing() {
    for way in WAYS {
        for features in BOTH {
            let mut device = Hostile::new(way, features, 2);
            device.use_buffer(7, 0);
            let error = device.pop().unwrap_err();
            device.driver.publish();
            device.used = 0;
            device.use_buffer(0, 0);
            assert_eq!(device.pop().unwrap_err(), error);
            assert_eq!(device.driver.reset().collect::<Vec<_>>(), [0, 1]);
        }
        // The used index was ahead of what was published, and no longer is when more is.
        let mut device = Hostile::new(way, SPLIT, 0);
        device.add(0);
        device.use_buffer(0, 0);
        let error = device.pop().unwrap_err();
        device.driver.publish();
        assert_eq!(device.pop().unwrap_err(), error);
        assert_eq!(device.driver.reset().collect::<Vec<_>>(), [0]);
    }
}

#[test]
fn nothing_in_flight_and_yet_used() {
    for way in WAYS {
        let mut device = Hostile::new(way, SPLIT, 0);
        device.used_index(1);
        assert_eq!(
            device.pop().unwrap_err().kind,
            Violation::UsedIndex {
                found: 1,
                taken: 0,
                in_flight: 0
            }
        );
        let mut device = Hostile::new(way, PACKED, 0);
        device.use_buffer(0, 0);
        assert_eq!(device.pop().unwrap_err().kind, Violation::UsedId { id: 0 });
    }
}

#[test]
fn in_order_batch_that_the_index_does_not_cover() {
    for way in WAYS {
        let mut device = Hostile::new(way, SPLIT | feature::IN_ORDER, 3);
        // One entry used, but it names the third buffer.
        device.use_buffer(4, 0);
        let caught = device.pop().unwrap_err().kind;
        assert_eq!(
            (caught, device.driver.in_flight()),
            (Violation::UsedId { id: 4 }, 3)
        );
        assert_eq!(device.driver.reset().collect::<Vec<_>>(), [0, 1, 2]);
    }
}

#[test]
fn in_order_batch_uses_the_skipped_buffers_completely() {
    for way in WAYS {
        for features in BOTH {
            let mut device = Hostile::new(way, features | feature::IN_ORDER, 3);
            let last = if device.packed { 2 } else { 4 };
            device.use_buffer(last, 7);
            if !device.packed {
                device.used_index(3);
            }
            let popped: Vec<_> = std::iter::from_fn(|| device.pop().unwrap()).collect();
            let popped: Vec<_> = popped.into_iter().map(|used| (used.data, used.written)).collect();
            assert_eq!(popped, [(0, 10), (1, 10), (2, 7)]);
            assert_eq!((device.driver.free(), device.driver.in_flight()), (SIZE, 0));
        }
    }
}

#[test]
fn descriptors_that_the_device_overwrites_are_never_read_back() {
    for way in WAYS {
        let mut device = Hostile::new(way, SPLIT, 3);
        let layout = device.driver.layout();
        device.write(layout.descriptor_area, &[0xff; 16 * SIZE as usize]);
        device.write(layout.driver_area, &[0xff; 6 + 2 * SIZE as usize]);
        for id in [4, 0, 2] {
            device.use_buffer(id, 10);
            assert_eq!(device.pop().unwrap().unwrap().data, id / 2);
        }
        assert_eq!(device.driver.free(), SIZE);
        for data in 0..4 {
            device.add(data);
        }
        assert_eq!(device.driver.free(), 0);
    }
}
