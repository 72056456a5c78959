//! Drivers that break the rules, against the device end: every test writes a virtqueue by hand, and expects an error that
//! names the clause, and a queue that stays broken.

mod buffers;
mod chains;
#[path = "../common/mod.rs"]
mod common;
mod giving_back;
mod served;
mod set_up;
mod tables;

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
