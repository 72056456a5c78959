//! What the device end marks in the dirty log: the part of the virtqueue that it writes, and those bytes of buffers that
//! it says it has written; nothing else, and before the driver can learn of it.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::{BASE, BOTH, Shared};
use ringwright_memory::{Buffer, DirtyLog, Memory};
use ringwright_ring::{DeviceQueue, DriverQueue, Token};
use ringwright_spec::{Features, feature};

/// The descriptors of a virtqueue of this size fill a page, so its parts lie in pages of their own.
const SIZE: u16 = 256;
const PAGE: u64 = DirtyLog::PAGE_SIZE;
const LENGTH: usize = 4 << 20;
/// Buffers are described by several elements of one page and a bit.
const ELEMENT: usize = PAGE as usize + 100;

/// Both ends, and a log that can be switched on.
struct Logged {
    shared: Shared,
    driver: DriverQueue<()>,
    device: DeviceQueue,
    log: Arc<DirtyLog>,
    packed: bool,
}

type Pages = BTreeSet<u64>;

impl Logged {
    fn new(features: Features, indirect: u16) -> Self {
        let shared = Shared::new(LENGTH);
        let (driver, device) = shared.pair(SIZE, features | feature::INDIRECT_DESC, indirect);
        let mut logged = Self {
            shared,
            driver,
            device,
            log: Arc::new(DirtyLog::new(BASE + LENGTH as u64)),
            packed: features.contains(feature::RING_PACKED),
        };
        logged.switch_on();
        logged
    }

    fn memory(&self) -> Memory {
        Memory::new(self.shared.memory.regions().to_vec()).unwrap()
    }

    fn switch_on(&mut self) {
        let memory = self.memory().with_dirty_log(self.log.clone());
        self.device.set_memory(Arc::new(memory)).unwrap();
    }

    fn switch_off(&mut self) {
        self.device.set_memory(Arc::new(self.memory())).unwrap();
    }

    /// A buffer of so many elements, each of which starts a page and ends in the next.
    fn elements(&self, count: usize) -> Vec<Buffer> {
        let element = |_| self.shared.area.allocate(ELEMENT, PAGE as usize).unwrap();
        (0..count).map(element).collect()
    }

    fn add(&mut self, readable: &[Buffer], writable: &[Buffer]) {
        let segments = |buffers: &[Buffer]| buffers.iter().map(Buffer::segment).collect::<Vec<_>>();
        self.driver
            .add(&segments(readable), &segments(writable), ())
            .unwrap();
        self.driver.publish();
    }

    fn take(&mut self) -> Token {
        self.device.pop().unwrap().unwrap().into_token()
    }

    /// What was marked since the last call.
    fn marked(&self) -> Pages {
        pages(self.log.take())
    }

    /// The page that the device writes when it publishes.
    fn used_page(&self) -> Pages {
        let layout = self.driver.layout();
        let part = if self.packed {
            layout.descriptor_area
        } else {
            layout.device_area
        };
        pages([(part, 1)])
    }
}

/// The pages of ranges of addresses and lengths.
fn pages(ranges: impl IntoIterator<Item = (u64, u64)>) -> Pages {
    let pages = ranges
        .into_iter()
        .flat_map(|(address, length)| address / PAGE..(address + length).div_ceil(PAGE));
    pages.collect()
}

/// The pages of the first `written` bytes of a buffer.
fn pages_of(buffers: &[Buffer], mut written: u64) -> Pages {
    let ranges = buffers.iter().map(|buffer| {
        let length = written.min(buffer.len() as u64);
        written -= length;
        (buffer.segment().address(), length)
    });
    pages(ranges)
}

/// Both formats, with and without tables, with and without order.
fn set_ups() -> impl Iterator<Item = (Features, u16)> {
    let orders = [Features::NONE, feature::IN_ORDER];
    let formats = BOTH
        .into_iter()
        .flat_map(move |format| orders.map(|order| format | order));
    formats.flat_map(|features| [0, 8].map(|indirect| (features, indirect)))
}

#[test]
fn written_bytes_and_the_used_entry_are_marked_and_nothing_else() {
    for (features, indirect) in set_ups() {
        for written in [
            0,
            1,
            PAGE,
            PAGE + 1,
            ELEMENT as u64,
            ELEMENT as u64 + 1,
            2 * ELEMENT as u64,
            3 * ELEMENT as u64,
        ] {
            let mut queue = Logged::new(features, indirect);
            let (readable, writable) = (queue.elements(2), queue.elements(3));
            queue.add(&readable, &writable);
            let token = queue.take();
            assert_eq!(queue.marked(), Pages::new(), "nothing is written by taking");
            queue.device.complete(token, written as u32).unwrap();
            assert_eq!(
                queue.marked(),
                pages_of(&writable, written),
                "{features:?}, {indirect}, {written}"
            );
            queue.device.publish().unwrap();
            assert_eq!(queue.marked(), queue.used_page());
            assert_eq!(u64::from(queue.driver.pop().unwrap().unwrap().written), written);
        }
    }
}

#[test]
fn chains_in_flight_at_once_are_told_apart() {
    for (features, indirect) in set_ups() {
        let mut queue = Logged::new(features, indirect);
        let buffers: Vec<_> = (0..8).map(|count| queue.elements(1 + count % 3)).collect();
        for buffer in &buffers {
            queue.add(&[], buffer);
        }
        let mut chains: Vec<_> = buffers.iter().map(|buffer| (queue.take(), buffer)).collect();
        while !chains.is_empty() {
            // Last, first, last, and so on.
            let (token, buffer) = chains.swap_remove(chains.len() / 2);
            queue.device.complete(token, ELEMENT as u32).unwrap();
            assert_eq!(
                queue.marked(),
                pages_of(buffer, ELEMENT as u64),
                "{features:?}, {indirect}"
            );
        }
    }
}

#[test]
fn suppressing_notifications_marks_the_device_area() {
    for features in BOTH {
        for event_idx in [Features::NONE, feature::EVENT_IDX] {
            let mut queue = Logged::new(features | event_idx, 0);
            let area = pages([(queue.driver.layout().device_area, 1)]);
            queue.device.disable_notifications();
            assert_eq!(queue.marked(), area);
            queue.device.enable_notifications();
            assert_eq!(queue.marked(), area);
        }
    }
}

#[test]
fn the_log_is_switched_on_with_chains_in_flight() {
    for (features, indirect) in set_ups() {
        let mut queue = Logged::new(features, indirect);
        queue.switch_off();
        let (before, unwritten, after) = (queue.elements(2), queue.elements(2), queue.elements(2));
        queue.add(&[], &before);
        queue.add(&[], &unwritten);
        queue.add(&[], &after);
        let (first, second) = (queue.take(), queue.take());
        assert_eq!(queue.marked(), Pages::new());
        queue.switch_on();
        let third = queue.take();
        // What is known of neither place nor extent may be anywhere.
        queue.device.complete(first, 1).unwrap();
        assert!(queue.marked().is_superset(&pages_of(&before, ELEMENT as u64)));
        queue.device.complete(second, 0).unwrap();
        assert_eq!(queue.marked(), Pages::new(), "no byte was written");
        // What was taken with the log on is known exactly.
        queue.device.complete(third, ELEMENT as u32).unwrap();
        assert_eq!(queue.marked(), pages_of(&after, ELEMENT as u64));
        queue.device.publish().unwrap();
        assert_eq!(queue.marked(), queue.used_page());
    }
}

#[test]
fn the_log_is_replaced_with_chains_in_flight() {
    for (features, indirect) in set_ups() {
        let mut queue = Logged::new(features, indirect);
        let buffer = queue.elements(2);
        queue.add(&[], &buffer);
        let token = queue.take();
        let old = std::mem::replace(&mut queue.log, Arc::new(DirtyLog::new(BASE + LENGTH as u64)));
        queue.switch_on();
        queue.device.complete(token, ELEMENT as u32).unwrap();
        assert_eq!(queue.marked(), pages_of(&buffer, ELEMENT as u64));
        assert_eq!(old.take().count(), 0, "the old log belongs to somebody else now");
    }
}

#[test]
fn the_log_was_off_for_a_while_with_a_chain_in_flight() {
    for (features, indirect) in set_ups() {
        let mut queue = Logged::new(features, indirect);
        let buffer = queue.elements(2);
        queue.add(&[], &buffer);
        let token = queue.take();
        queue.switch_off();
        queue.switch_on();
        queue.device.complete(token, 2 * ELEMENT as u32).unwrap();
        assert!(queue.marked().is_superset(&pages_of(&buffer, 2 * ELEMENT as u64)));
    }
}

#[test]
fn nothing_is_marked_while_the_log_is_off() {
    for (features, indirect) in set_ups() {
        let mut queue = Logged::new(features, indirect);
        queue.switch_off();
        let buffer = queue.elements(2);
        queue.add(&[], &buffer);
        let token = queue.take();
        queue.device.complete(token, 1).unwrap();
        queue.device.publish().unwrap();
        queue.device.disable_notifications();
        assert_eq!(queue.marked(), Pages::new());
    }
}

#[test]
fn chains_pushed_back_are_recorded_anew() {
    for (features, indirect) in set_ups() {
        let mut queue = Logged::new(features, indirect);
        let buffer = queue.elements(3);
        queue.add(&[], &buffer);
        // More often than there are descriptors to keep a record of.
        for _ in 0..2 * SIZE {
            let token = queue.take();
            queue.device.push_back(token);
        }
        let token = queue.take();
        queue.device.complete(token, 3 * ELEMENT as u32).unwrap();
        assert_eq!(queue.marked(), pages_of(&buffer, 3 * ELEMENT as u64));
    }
}

#[test]
fn of_adopted_chains_everything_is_marked() {
    for (features, indirect) in set_ups() {
        let mut queue = Logged::new(features, indirect);
        let (written, unwritten, after) = (queue.elements(2), queue.elements(2), queue.elements(2));
        for buffer in [&written, &unwritten, &after] {
            queue.add(&[], buffer);
        }
        let ids = [queue.take().id(), queue.take().id()];
        // Another device end goes on, which has not seen what these two are.
        let (layout, memory) = (queue.device.layout(), queue.device.memory().clone());
        let features = features | feature::INDIRECT_DESC;
        queue.device = DeviceQueue::new(layout, features, memory, queue.device.state()).unwrap();
        let descriptors = if queue.packed && indirect == 0 { 2 } else { 1 };
        for id in ids {
            assert!(queue.device.adopt(id, descriptors));
        }
        let third = queue.take();
        let [first, second] = ids.map(Token::from_id);
        queue.device.complete(first, 1).unwrap();
        assert!(queue.marked().is_superset(&pages_of(&written, ELEMENT as u64)));
        queue.device.complete(second, 0).unwrap();
        assert_eq!(queue.marked(), Pages::new(), "no byte was written");
        queue.device.complete(third, ELEMENT as u32).unwrap();
        assert_eq!(queue.marked(), pages_of(&after, ELEMENT as u64));
    }
}
