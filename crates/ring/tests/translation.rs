//! The device end behind a platform's address translation (`VIRTIO_F_ACCESS_PLATFORM`): virtqueue, tables and buffers have
//! bus addresses, which an IOTLB turns into memory, or does not yet, or no longer, or not for this access.

mod common;

use std::sync::Arc;

use common::{BASE, BOTH};
use ringwright_memory::{Access, Area, Buffer, DirtyLog, DmaSegment, Fault, Iotlb, Mapping, Memory, Region};
use ringwright_ring::{
    DeviceQueue, DriverOptions, DriverQueue, RingError, SetupError, State, Token, Violation,
};
use ringwright_spec::{Features, feature};

const SIZE: u16 = 8;
const PAGE: u64 = DirtyLog::PAGE_SIZE;
/// The bus address of the first byte.
const BUS: u64 = 1 << 40;
/// So much memory holds virtqueues and tables, and as much behind it holds buffers.
const LENGTH: u64 = 1 << 20;

/// A machine that shows its memory, which lies at `BASE`, to devices from `BUS` on, as far as its IOTLB knows.
struct Platform {
    rings: Arc<Area>,
    buffers: Arc<Area>,
    /// As the device sees it.
    translated: Arc<Memory>,
    /// As it is.
    physical: Memory,
    iotlb: Arc<Iotlb>,
}

impl Platform {
    fn new() -> Self {
        let mappings = [0, LENGTH].map(|offset| {
            let mapping = Mapping::anonymous(LENGTH as usize).unwrap();
            (offset, Arc::new(mapping))
        });
        let regions = |start: u64| {
            mappings
                .clone()
                .map(|(offset, mapping)| Region::new(start + offset, mapping))
        };
        let [rings, buffers] = regions(BUS).map(|region| Area::from_region(region).unwrap());
        let memory = || Memory::new(regions(BASE).to_vec()).unwrap();
        let iotlb = Arc::new(Iotlb::new());
        Self {
            rings,
            buffers,
            translated: Arc::new(memory().with_translation(iotlb.clone())),
            physical: memory(),
            iotlb,
        }
    }

    /// Both ends of a virtqueue, which is translated with its tables. Buffers are not.
    fn pair(&self, features: Features, indirect: u16) -> (DriverQueue<u32>, DeviceQueue) {
        let features = features | feature::ACCESS_PLATFORM | feature::INDIRECT_DESC;
        let driver = DriverQueue::new(&self.rings, SIZE, features, DriverOptions { indirect }).unwrap();
        self.show(BUS, LENGTH, Access::ReadWrite);
        let memory = self.translated.clone();
        let device = DeviceQueue::new(driver.layout(), features, memory, State::default()).unwrap();
        (driver, device)
    }

    /// A buffer of whole pages.
    fn buffer(&self, pages: u64) -> Buffer {
        self.buffers
            .allocate((pages * PAGE) as usize, PAGE as usize)
            .unwrap()
    }

    /// Lets the device access its range of bus addresses, where the driver sees it.
    fn show(&self, address: u64, length: u64, access: Access) {
        assert!(self.iotlb.insert(address, length, physical(address), access));
    }

    fn show_buffer(&self, buffer: &Buffer, access: Access) {
        self.show(buffer.segment().address(), buffer.len() as u64, access);
    }
}

/// Where the byte at bus address `address` is, if nothing was moved.
fn physical(address: u64) -> u64 {
    address - BUS + BASE
}

fn miss(address: u64, access: Access) -> Violation {
    Violation::Address(Fault::Miss { address, access })
}

fn denied(address: u64, access: Access) -> Violation {
    Violation::Address(Fault::Denied { address, access })
}

/// What `pop` gives is this violation, each time.
fn fails_twice(device: &mut DeviceQueue, expected: Violation) -> RingError {
    let error = device.pop().map(|chain| chain.is_some()).unwrap_err();
    assert_eq!(error.kind, expected);
    assert_eq!(device.pop().map(|chain| chain.is_some()), Err(error));
    error
}

/// Both formats, without and with tables.
fn set_ups() -> impl Iterator<Item = (Features, u16)> {
    BOTH.into_iter()
        .flat_map(|features| [0, 4].map(|indirect| (features, indirect)))
}

/// The driver adds a buffer of two readable and two writable elements of a page each.
fn add(driver: &mut DriverQueue<u32>, request: &Buffer, answer: &Buffer, data: u32) {
    let pages = |buffer: &Buffer| -> [DmaSegment; 2] {
        let page = PAGE as usize;
        [0, page].map(|offset| buffer.segment_at(offset, page).unwrap())
    };
    driver.add(&pages(request), &pages(answer), data).unwrap();
    driver.publish();
}

#[test]
fn bytes_go_there_and_back() {
    for (features, indirect) in set_ups() {
        let platform = Platform::new();
        let (mut driver, mut device) = platform.pair(features, indirect);
        let (request, answer) = (platform.buffer(2), platform.buffer(2));
        platform.show_buffer(&request, Access::Read);
        platform.show_buffer(&answer, Access::Write);
        for round in 0..3 * u32::from(SIZE) {
            request.write(PAGE as usize - 2, &round.to_le_bytes()).unwrap();
            add(&mut driver, &request, &answer, round);
            let chain = device.pop().unwrap().unwrap();
            let bytes = chain.readable().read_array::<4>(PAGE as usize - 2).unwrap();
            assert_eq!(bytes, round.to_le_bytes());
            chain.writable().write(PAGE as usize - 1, &bytes).unwrap();
            let token = chain.into_token();
            device.complete(token, 2 * PAGE as u32).unwrap();
            assert!(device.publish().unwrap());
            let used = driver.pop().unwrap().unwrap();
            assert_eq!((used.data, u64::from(used.written)), (round, 2 * PAGE));
            let mut bytes = [0; 4];
            answer.read(PAGE as usize - 1, &mut bytes).unwrap();
            assert_eq!(bytes, round.to_le_bytes());
        }
    }
}

#[test]
fn what_the_driver_sees_in_one_piece_may_lie_in_two() {
    for (features, indirect) in set_ups() {
        let platform = Platform::new();
        let (mut driver, mut device) = platform.pair(features, indirect);
        let (request, answer) = (platform.buffer(2), platform.buffer(2));
        // The pages of the request have changed places; the answer's are where the driver sees them.
        let first = request.segment().address();
        let second = first + PAGE;
        assert!(platform.iotlb.insert(first, PAGE, physical(second), Access::Read));
        assert!(platform.iotlb.insert(second, PAGE, physical(first), Access::Read));
        platform.show_buffer(&answer, Access::Write);
        request.write(0, &[1; 16]).unwrap();
        request.write(PAGE as usize, &[2; 16]).unwrap();
        // One element of both pages.
        driver.add(&[request.segment()], &[answer.segment()], 0).unwrap();
        driver.publish();
        let chain = device.pop().unwrap().unwrap();
        assert_eq!(chain.readable().segments().count(), 2);
        assert_eq!(chain.readable().read_array(0), Ok([2]));
        assert_eq!(chain.readable().read_array(PAGE as usize), Ok([1]));
        assert_eq!(chain.writable().segments().count(), 1);
    }
}

#[test]
fn a_virtqueue_may_consist_of_pages_from_anywhere() {
    const PAGES: u64 = 16;
    const LONG: u16 = 512;
    for features in BOTH {
        let whole = Arc::new(Mapping::memfd("scattered", (PAGES * PAGE) as usize).unwrap());
        let area = Area::from_region(Region::new(BUS, whole.clone())).unwrap();
        // The device's end has every page by itself, in no order.
        let file = Region::new(0, whole);
        let file = || file.file().unwrap().0.try_clone_to_owned().unwrap();
        let place = |page: u64| BASE + page * 7 % PAGES * 2 * PAGE;
        let pages = (0..PAGES).map(|page| {
            let mapping = Mapping::file(file(), page * PAGE, PAGE, true).unwrap();
            Region::new(place(page), Arc::new(mapping))
        });
        let iotlb = Arc::new(Iotlb::new());
        let show = |page: u64| iotlb.insert(BUS + page * PAGE, PAGE, place(page), Access::ReadWrite);
        let memory = Memory::new(pages.collect())
            .unwrap()
            .with_translation(iotlb.clone());
        assert!((0..PAGES).all(show));
        let features = features | feature::ACCESS_PLATFORM;
        let mut driver: DriverQueue<u16> =
            DriverQueue::new(&area, LONG, features, DriverOptions::default()).unwrap();
        let layout = driver.layout();
        let mut device = DeviceQueue::new(layout, features, Arc::new(memory), State::default()).unwrap();
        let buffer = area.allocate(16, 16).unwrap();
        for round in 0..3 * LONG {
            buffer.write(0, &round.to_le_bytes()).unwrap();
            driver.add(&[buffer.segment()], &[], round).unwrap();
            driver.publish();
            let chain = device.pop().unwrap().unwrap();
            assert_eq!(chain.readable().read_array(0), Ok(round.to_le_bytes()));
            let token = chain.into_token();
            device.complete(token, 0).unwrap();
            device.publish().unwrap();
            assert_eq!(driver.pop().unwrap().unwrap().data, round);
            // What was known of the last page is forgotten and found again; it is none of the virtqueue's.
            iotlb.remove(BUS + (PAGES - 1) * PAGE, PAGE);
            assert!(show(PAGES - 1));
        }
        // A page of the descriptors has none of its own any more.
        iotlb.remove(layout.descriptor_area + PAGE, PAGE);
        let error = device.pop().map(|chain| chain.is_some()).unwrap_err();
        assert!(matches!(
            error.kind,
            Violation::Part(SetupError::Address(Fault::Miss { .. }))
        ));
    }
}

#[test]
fn parts_without_translation_are_refused_and_had_again_later() {
    for features in BOTH {
        let platform = Platform::new();
        let driver: DriverQueue<()> =
            DriverQueue::new(&platform.rings, SIZE, features, DriverOptions::default()).unwrap();
        let layout = driver.layout();
        let set_up = || DeviceQueue::new(layout, features, platform.translated.clone(), State::default());
        let missing = |error: SetupError| matches!(error, SetupError::Address(Fault::Miss { .. }));
        assert!(missing(set_up().unwrap_err()));
        platform.show(BUS, LENGTH, Access::ReadWrite);
        drop(set_up().unwrap());
        // Each of the parts is needed, with the access that it is for.
        for part in [layout.descriptor_area, layout.driver_area, layout.device_area] {
            platform.iotlb.remove(part, 4);
            assert!(missing(set_up().unwrap_err()), "{part:#x}");
            platform.show(BUS, LENGTH, Access::ReadWrite);
        }
        platform.show(layout.device_area, 4, Access::Read);
        let error = set_up().unwrap_err();
        assert!(
            matches!(error, SetupError::Address(Fault::Denied { address, .. }) if address == layout.device_area),
            "{error}"
        );
    }
}

#[test]
fn a_miss_breaks_nothing_and_the_buffer_is_taken_once_it_is_translated() {
    for (features, indirect) in set_ups() {
        let platform = Platform::new();
        let (mut driver, mut device) = platform.pair(features, indirect);
        for round in 0..3 * u32::from(SIZE) {
            let (request, answer) = (platform.buffer(2), platform.buffer(2));
            add(&mut driver, &request, &answer, round);
            // Page after page.
            for (buffer, access) in [(&request, Access::Read), (&answer, Access::Write)] {
                for page in 0..2 {
                    let address = buffer.segment().address() + page * PAGE;
                    fails_twice(&mut device, miss(address, access));
                    assert_eq!((device.broken(), device.in_flight()), (None, 0));
                    assert!(device.has_available(), "it still is there");
                    platform.show(address, PAGE, access);
                }
            }
            let token = device.pop().unwrap().unwrap().into_token();
            device.complete(token, 1).unwrap();
            device.publish().unwrap();
            assert_eq!(driver.pop().unwrap().unwrap().data, round);
            for buffer in [request, answer] {
                platform.iotlb.remove(buffer.segment().address(), 2 * PAGE);
            }
        }
    }
}

#[test]
fn a_table_without_translation_is_a_miss_too() {
    for features in BOTH {
        let platform = Platform::new();
        let (mut driver, mut device) = platform.pair(features, 4);
        let buffer = platform.buffer(2);
        platform.show_buffer(&buffer, Access::ReadWrite);
        add(&mut driver, &buffer, &buffer, 1);
        // Everything but the parts of the virtqueue is taken away.
        platform.iotlb.remove(BUS, LENGTH);
        let parts = driver.layout();
        let lengths = if features.contains(feature::RING_PACKED) {
            [16 * u64::from(SIZE), 4, 4]
        } else {
            [
                16 * u64::from(SIZE),
                6 + 2 * u64::from(SIZE),
                6 + 8 * u64::from(SIZE),
            ]
        };
        for (part, length) in [parts.descriptor_area, parts.driver_area, parts.device_area]
            .into_iter()
            .zip(lengths)
        {
            platform.show(part, length, Access::ReadWrite);
        }
        let error = device.pop().unwrap_err();
        let Violation::Address(Fault::Miss { address, access }) = error.kind else {
            panic!("{error}");
        };
        assert!((BUS..BUS + LENGTH).contains(&address) && access == Access::Read);
        fails_twice(&mut device, error.kind);
        platform.show(address, 64, Access::Read);
        assert_eq!(device.pop().unwrap().unwrap().writable().len() as u64, 2 * PAGE);
    }
}

#[test]
fn denied_access_breaks_the_queue() {
    for (features, indirect) in set_ups() {
        for (wrong, access) in [(Access::Read, Access::Write), (Access::Write, Access::Read)] {
            let platform = Platform::new();
            let (mut driver, mut device) = platform.pair(features, indirect);
            let (request, answer) = (platform.buffer(2), platform.buffer(2));
            platform.show_buffer(&request, wrong);
            platform.show_buffer(&answer, wrong);
            add(&mut driver, &request, &answer, 1);
            let buffer = if access == Access::Read { &request } else { &answer };
            let error = fails_twice(&mut device, denied(buffer.segment().address(), access));
            assert_eq!(device.broken(), Some(&error));
            // It stays so, even when the access is given.
            platform.show_buffer(buffer, Access::ReadWrite);
            assert_eq!(device.pop().unwrap_err(), error);
        }
    }
}

#[test]
fn a_translation_that_is_taken_away_is_not_used_any_longer() {
    for (features, indirect) in set_ups() {
        let platform = Platform::new();
        let (mut driver, mut device) = platform.pair(features, indirect);
        let (request, answer) = (platform.buffer(2), platform.buffer(2));
        platform.show_buffer(&request, Access::ReadWrite);
        platform.show_buffer(&answer, Access::ReadWrite);
        for data in 0..2 {
            add(&mut driver, &request, &answer, data);
        }
        let first = device.pop().unwrap().unwrap().into_token();
        // Between two buffers of a batch.
        let address = answer.segment().address() + PAGE;
        platform.iotlb.remove(address, PAGE);
        fails_twice(&mut device, miss(address, Access::Write));
        device.complete(first, 0).unwrap();
        // Elsewhere now.
        let elsewhere = platform.buffer(1);
        let place = physical(elsewhere.segment().address());
        assert!(platform.iotlb.insert(address, PAGE, place, Access::Write));
        let chain = device.pop().unwrap().unwrap();
        chain.writable().fill(PAGE as usize, PAGE as usize, 7).unwrap();
        let token = chain.into_token();
        device.complete(token, 2 * PAGE as u32).unwrap();
        device.publish().unwrap();
        let mut bytes = [0; 2];
        elsewhere.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 2]);
        answer.read(PAGE as usize, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 2], "the device no longer has this page");
    }
}

#[test]
fn the_virtqueue_moves_between_batches() {
    for (features, indirect) in set_ups() {
        let platform = Platform::new();
        let (mut driver, mut device) = platform.pair(features, indirect);
        let (request, answer) = (platform.buffer(2), platform.buffer(2));
        platform.show_buffer(&request, Access::Read);
        platform.show_buffer(&answer, Access::Write);
        // Where the virtqueue can be, apart from where the driver has it.
        let (start, length) = (driver.layout().descriptor_area, 4 * PAGE);
        let places = [platform.buffer(4), platform.buffer(4)];
        let copy = |from: u64, to: u64| {
            let mut bytes = vec![0; length as usize];
            platform.physical.read(from, &mut bytes).unwrap();
            platform.physical.write(to, &bytes).unwrap();
        };
        for batch in 0..2 * u32::from(SIZE) {
            add(&mut driver, &request, &answer, batch);
            let place = physical(places[batch as usize % 2].segment().address());
            copy(physical(start), place);
            assert!(platform.iotlb.insert(start, length, place, Access::ReadWrite));
            let token = device.pop().unwrap().unwrap().into_token();
            device.complete(token, batch).unwrap();
            device.publish().unwrap();
            copy(place, physical(start));
            let used = driver.pop().unwrap().unwrap();
            assert_eq!((used.data, used.written), (batch, batch));
        }
    }
}

/// What is wrong when the IOTLB knows nothing of the driver's virtqueue.
fn no_virtqueue(driver: &DriverQueue<u32>, features: Features) -> Violation {
    Violation::Part(SetupError::Address(Fault::Miss {
        address: driver.layout().descriptor_area,
        access: if features.contains(feature::RING_PACKED) {
            Access::ReadWrite
        } else {
            Access::Read
        },
    }))
}

#[test]
fn the_virtqueue_is_not_there_for_a_while() {
    for (features, indirect) in set_ups() {
        let platform = Platform::new();
        let (mut driver, mut device) = platform.pair(features, indirect);
        let buffer = platform.buffer(2);
        platform.show_buffer(&buffer, Access::ReadWrite);
        add(&mut driver, &buffer, &buffer, 1);
        platform.iotlb.remove(BUS, LENGTH);
        fails_twice(&mut device, no_virtqueue(&driver, features));
        assert_eq!(device.broken(), None);
        platform.show(BUS, LENGTH, Access::ReadWrite);
        assert!(device.pop().unwrap().is_some());
    }
}

#[test]
fn nothing_is_written_where_the_virtqueue_was() {
    let more = [Features::NONE, feature::IN_ORDER, feature::EVENT_IDX];
    for ((features, indirect), more) in set_ups().flat_map(|set_up| more.map(|more| (set_up, more))) {
        let features = features | more;
        let platform = Platform::new();
        let (mut driver, mut device) = platform.pair(features, indirect);
        let buffer = platform.buffer(2);
        platform.show_buffer(&buffer, Access::ReadWrite);
        for data in 0..3 {
            let pages = [0, PAGE as usize].map(|page| buffer.segment_at(page, PAGE as usize).unwrap());
            driver.add(&pages[..1], &pages[1..], data).unwrap();
        }
        driver.publish();
        let [first, second] = [(); 2].map(|()| device.pop().unwrap().unwrap().into_token());
        device.complete(first, 1).unwrap();
        let memory = || {
            let mut bytes = vec![0; LENGTH as usize];
            platform.physical.read(BASE, &mut bytes).unwrap();
            bytes
        };
        let before = memory();
        platform.iotlb.remove(BUS, LENGTH);
        let gone = no_virtqueue(&driver, features);
        let id = second.id();
        assert_eq!(device.complete(second, 2).unwrap_err().kind, gone);
        assert_eq!(device.publish().unwrap_err().kind, gone);
        device.disable_notifications();
        assert!(
            device.enable_notifications(),
            "there is something to be looked at"
        );
        assert!(device.has_available(), "likewise");
        assert!(memory() == before, "the device no longer has this memory");
        // Nothing is lost when the virtqueue is there again.
        assert_eq!(
            (device.broken(), device.in_flight()),
            (None, if more == feature::IN_ORDER { 2 } else { 1 })
        );
        platform.show(BUS, LENGTH, Access::ReadWrite);
        assert!(device.publish().unwrap());
        device.complete(Token::from_id(id), 2).unwrap();
        device.publish().unwrap();
        assert!(device.enable_notifications());
        for data in 0..2 {
            let used = driver.pop().unwrap().unwrap();
            assert_eq!((used.data, used.written), (data, data + 1));
        }
        assert!(device.pop().unwrap().is_some());
    }
}

#[test]
fn a_buffer_that_is_served_while_the_virtqueue_goes_away_stays_available() {
    for (features, indirect) in set_ups() {
        let platform = Platform::new();
        let (mut driver, mut device) = platform.pair(features, indirect);
        let buffer = platform.buffer(2);
        platform.show_buffer(&buffer, Access::ReadWrite);
        add(&mut driver, &buffer, &buffer, 7);
        let served = device.serve(9, |_| {
            platform.iotlb.remove(BUS, LENGTH);
            Some(1)
        });
        assert_eq!(served.unwrap_err().kind, no_virtqueue(&driver, features));
        assert_eq!((device.broken(), device.in_flight()), (None, 0));
        platform.show(BUS, LENGTH, Access::ReadWrite);
        assert_eq!(device.serve(9, |_| Some(2)), Ok(1));
        device.publish().unwrap();
        let used = driver.pop().unwrap().unwrap();
        assert_eq!((used.data, used.written), (7, 2));
    }
}

#[test]
fn the_virtqueue_moves_while_a_buffer_is_in_flight() {
    for (features, indirect) in set_ups() {
        let platform = Platform::new();
        let (mut driver, mut device) = platform.pair(features, indirect);
        let buffer = platform.buffer(2);
        platform.show_buffer(&buffer, Access::ReadWrite);
        add(&mut driver, &buffer, &buffer, 7);
        let token = device.pop().unwrap().unwrap().into_token();
        // Elsewhere now, with all that is in it.
        let (start, length) = (driver.layout().descriptor_area, 4 * PAGE);
        let elsewhere = platform.buffer(4);
        let place = physical(elsewhere.segment().address());
        let mut bytes = vec![0; length as usize];
        platform.physical.read(physical(start), &mut bytes).unwrap();
        platform.physical.write(place, &bytes).unwrap();
        assert!(platform.iotlb.insert(start, length, place, Access::ReadWrite));
        device.complete(token, 9).unwrap();
        device.publish().unwrap();
        let mut after = vec![0; length as usize];
        platform.physical.read(physical(start), &mut after).unwrap();
        assert!(after == bytes, "the virtqueue is no longer here");
        platform.physical.read(place, &mut after).unwrap();
        platform.physical.write(physical(start), &after).unwrap();
        let used = driver.pop().unwrap().unwrap();
        assert_eq!((used.data, used.written), (7, 9));
    }
}

/// Lets a device end mark what it writes.
fn switch_log_on(platform: &Platform, device: &mut DeviceQueue) -> Arc<DirtyLog> {
    let log = Arc::new(DirtyLog::new(BASE + 2 * LENGTH));
    let memory = Memory::new(platform.physical.regions().to_vec()).unwrap();
    let memory = memory
        .with_translation(platform.iotlb.clone())
        .with_dirty_log(log.clone());
    device.set_memory(Arc::new(memory)).unwrap();
    log
}

#[test]
fn what_was_written_is_marked_even_if_its_translation_is_forgotten_meanwhile() {
    for (features, indirect) in set_ups() {
        for part in 0..2 {
            let platform = Platform::new();
            let (mut driver, mut device) = platform.pair(features, indirect);
            let log = switch_log_on(&platform, &mut device);
            let (request, answer) = (platform.buffer(2), platform.buffer(2));
            platform.show_buffer(&request, Access::Read);
            platform.show_buffer(&answer, Access::Write);
            add(&mut driver, &request, &answer, 1);
            add(&mut driver, &request, &answer, 2);
            let [first, second] = [(); 2].map(|()| device.pop().unwrap().unwrap().into_token());
            // Its first page, or all of it: the IOTLB may forget what it likes, as it can ask again.
            let pages = 1 + part;
            platform.iotlb.remove(answer.segment().address(), pages * PAGE);
            device.complete(first, 0).unwrap();
            assert_eq!(log.take().count(), 0, "no byte was written");
            device.complete(second, 2 * PAGE as u32).unwrap();
            let start = physical(answer.segment().address());
            let marked = |(address, length)| address <= start && start + 2 * PAGE <= address + length;
            assert!(log.take().any(marked), "{features:?} {indirect} {part}");
        }
    }
}

#[test]
fn the_dirty_log_has_the_pages_of_memory_not_those_of_the_bus() {
    for (features, indirect) in set_ups() {
        let platform = Platform::new();
        let (mut driver, mut device) = platform.pair(features, indirect);
        let log = switch_log_on(&platform, &mut device);
        // More rounds than there are records of descriptors, each with misses that leave nothing behind.
        for round in 0..3 * u32::from(SIZE) {
            let (request, answer) = (platform.buffer(2), platform.buffer(2));
            platform.show_buffer(&request, Access::Read);
            add(&mut driver, &request, &answer, round);
            let address = answer.segment().address();
            fails_twice(&mut device, miss(address, Access::Write));
            platform.show(address, PAGE, Access::Write);
            fails_twice(&mut device, miss(address + PAGE, Access::Write));
            platform.show(address + PAGE, PAGE, Access::Write);
            let token = device.pop().unwrap().unwrap().into_token();
            device.complete(token, PAGE as u32 + 1).unwrap();
            assert!(log.take().eq([(physical(address), 2 * PAGE)]));
            device.publish().unwrap();
            let part = if features.contains(feature::RING_PACKED) {
                driver.layout().descriptor_area
            } else {
                driver.layout().device_area
            };
            assert!(log.take().eq([(physical(part) / PAGE * PAGE, PAGE)]));
            driver.pop().unwrap().unwrap();
            platform.iotlb.remove(address, 2 * PAGE);
        }
    }
}
