//! The legacy interface: the I/O BAR of transitional and legacy devices, with guests of both byte orders.

use std::sync::Arc;

use ringwright_ring::ByteOrder;
use ringwright_spec::pci::legacy as register;
use ringwright_spec::register as table;
use ringwright_spec::{block, feature, pci};

use super::*;
use crate::transport::testing::{Handle, probe};

const KINDS: [Kind; 2] = [Kind::Transitional, Kind::Legacy];
const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

fn legacy(kind: Kind, features: Features, order: ByteOrder) -> (Driver, Arc<Handle>) {
    let device = probe(2);
    let handle = device.handle.clone();
    let options = Options {
        kind,
        common: crate::transport::Options {
            legacy_byte_order: order,
            ..crate::transport::Options::default()
        },
        ..Options::default()
    };
    let mut driver = Driver::for_guest(device, options, Guest::with_byte_order(features, order));
    driver.config_write(
        header::COMMAND as u64,
        &(command::IO | command::BUS_MASTER).to_le_bytes(),
    );
    (driver, handle)
}

impl Driver {
    fn io<const N: usize>(&mut self, offset: u64) -> [u8; N] {
        let mut data = [0xa5; N];
        self.bar_read(LEGACY_BAR, offset, &mut data);
        data
    }

    fn out(&mut self, offset: u64, data: &[u8]) {
        self.bar_write(LEGACY_BAR, offset, data);
    }

    fn set_up_legacy(&mut self, index: u16) -> Queue {
        self.out(register::QUEUE_SELECT, &index.to_le_bytes());
        let size = u16::from_le_bytes(self.io(register::QUEUE_SIZE));
        assert_eq!(self.io(register::QUEUE_ADDRESS), [0; 4]);
        let queue = self.guest.queue(index, size);
        let page = queue.layout().page_frame_number(4096).unwrap().to_le_bytes();
        self.out(register::QUEUE_ADDRESS, &page);
        assert_eq!(self.io(register::QUEUE_ADDRESS), page);
        queue
    }

    fn start_legacy(&mut self) -> Queue {
        self.out(register::DEVICE_STATUS, &[0]);
        self.out(register::DEVICE_STATUS, &[1]);
        self.out(register::DEVICE_STATUS, &[3]);
        let features = self.guest.features.word(0).to_le_bytes();
        self.out(register::DRIVER_FEATURES, &features);
        let queue = self.set_up_legacy(0);
        self.out(register::DEVICE_STATUS, &[7]);
        queue
    }

    fn wait_legacy(&mut self) {
        self.board.wait_asserted();
        assert_ne!(self.io(register::ISR_STATUS), [0]);
    }

    fn request_legacy(&mut self, queue: &mut Queue, length: usize) {
        queue.add(&[], &[length]);
        if queue.publish_only() {
            self.out(register::QUEUE_NOTIFY, &queue.index().to_le_bytes());
        }
        assert_eq!(self.complete(queue, Driver::wait_legacy).data, vec![7; length]);
    }
}

#[test]
fn a_legacy_driver_drives_the_device() {
    for (kind, order) in KINDS
        .into_iter()
        .flat_map(|kind| ORDERS.map(|order| (kind, order)))
    {
        for features in [
            Features::NONE,
            feature::EVENT_IDX | feature::INDIRECT_DESC,
            feature::ANY_LAYOUT | block::features::FLUSH,
        ] {
            let (mut driver, handle) = legacy(kind, features, order);
            let mut queue = driver.start_legacy();
            for length in 1..100 {
                driver.request_legacy(&mut queue, length);
            }
            assert_eq!(*handle.features.lock().unwrap(), Some(features));
            assert_eq!(driver.io(register::DEVICE_STATUS), [7]);
            driver.out(register::DEVICE_STATUS, &[0]);
            assert_eq!(driver.io(register::DEVICE_STATUS), [0]);
            assert_eq!(driver.io(register::QUEUE_ADDRESS), [0; 4]);
        }
    }
}

/// A transitional device is as good for a driver of this document.
#[test]
fn a_transitional_device_shows_either_face() {
    let (mut driver, handle) = legacy(Kind::Transitional, feature::VERSION_1, ByteOrder::Little);
    for _ in 0..2 {
        // Only features 0 to 31 are to be seen here, and ANY_LAYOUT; the other face has VERSION_1 instead.
        let offered = u32::from_le_bytes(driver.io(register::DEVICE_FEATURES));
        assert_ne!(offered & feature::ANY_LAYOUT.word(0), 0);
        driver.out(register::DEVICE_STATUS, &[0]);
        driver.put32(field::DEVICE_FEATURE_SELECT, 0);
        let modern = u32::from_le_bytes(driver.get(field::DEVICE_FEATURE));
        assert_eq!(modern, offered & !feature::ANY_LAYOUT.word(0));
        driver.put32(field::DEVICE_FEATURE_SELECT, 1);
        let modern = u32::from_le_bytes(driver.get(field::DEVICE_FEATURE));
        assert_eq!(modern & 1, 1);
        let mut queue = driver.start(16);
        driver.request(&mut queue, 8, Driver::wait_intx);
        assert_eq!(*handle.features.lock().unwrap(), Some(feature::VERSION_1));
        driver.set_status(Status::NONE);
        driver.guest.features = Features::NONE;
        let mut queue = driver.start_legacy();
        driver.request_legacy(&mut queue, 8);
        assert_eq!(*handle.features.lock().unwrap(), Some(Features::NONE));
        driver.guest.features = feature::VERSION_1;
        driver.out(register::DEVICE_STATUS, &[0]);
    }
}

#[test]
fn registers_read_what_they_are_at_any_width() {
    for kind in KINDS {
        for msix in [false, true] {
            let (mut driver, _) = legacy(kind, block::features::FLUSH, ByteOrder::Little);
            if msix {
                driver.enable_msix(&[0], 0x1000);
            }
            let queue = driver.start_legacy();
            driver.out(register::CONFIG_MSIX_VECTOR, &[2, 0]);
            driver.out(register::QUEUE_MSIX_VECTOR, &[1, 0]);
            let offered = driver.io::<4>(register::DEVICE_FEATURES);
            let mut expected = offered.to_vec();
            expected.extend(block::features::FLUSH.word(0).to_le_bytes());
            expected.extend(queue.layout().page_frame_number(4096).unwrap().to_le_bytes());
            expected.extend([0, 2, 0, 0]);
            expected.extend([0, 0, 7, 0]);
            if msix {
                expected.extend([2, 0, 1, 0]);
            }
            // The configuration space follows, wherever that is.
            expected.extend(0..40);
            for offset in 0..40 {
                for width in [1, 2, 3, 4, 8] {
                    let mut data = vec![0xa5; width];
                    driver.bar_read(LEGACY_BAR, offset as u64, &mut data);
                    let crosses = offset < expected.len() - 40 && offset + width > expected.len() - 40;
                    if !crosses {
                        assert_eq!(
                            data,
                            expected[offset..offset + width],
                            "{width} bytes at {offset}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn writes_that_are_none_of_a_register_change_nothing() {
    for msix in [false, true] {
        let (mut driver, handle) = legacy(Kind::Transitional, Features::NONE, ByteOrder::Little);
        if msix {
            driver.enable_msix(&[0], 0x1000);
        }
        driver.start_legacy();
        let before = driver.state();
        for offset in 0..register::config_offset(msix) {
            let register = table::at(register::REGISTERS, offset).unwrap();
            for width in [1, 2, 3, 4, 8] {
                let whole = register.offset == offset && usize::from(register.size) == width;
                if whole && register.access.writable() {
                    continue;
                }
                for byte in [0, 1, 0xff] {
                    driver.bar_write(LEGACY_BAR, offset, &vec![byte; width]);
                }
            }
            assert!(driver.state() == before, "a write at {offset:#x}");
        }
        assert!(handle.written.lock().unwrap().is_empty());
    }
}

/// Integers of the configuration space are in the guest's byte order, whatever the width of the access.
#[test]
fn the_configuration_space_is_in_the_guests_byte_order() {
    for (kind, order) in KINDS
        .into_iter()
        .flat_map(|kind| ORDERS.map(|order| (kind, order)))
    {
        let (mut driver, handle) = legacy(kind, Features::NONE, order);
        let capacity = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]);
        let expected = match order {
            ByteOrder::Little => capacity.to_le_bytes(),
            ByteOrder::Big => capacity.to_be_bytes(),
        };
        let start = register::config_offset(false);
        assert_eq!(driver.io::<8>(start), expected);
        let bytes: Vec<_> = (0..8).flat_map(|offset| driver.io::<1>(start + offset)).collect();
        assert_eq!(bytes, expected);
        let size_max = match order {
            ByteOrder::Little => 0x1234u32.to_le_bytes(),
            ByteOrder::Big => 0x1234u32.to_be_bytes(),
        };
        // Before anything else, as legacy drivers may (section 3.1.2).
        driver.out(start + 8, &size_max);
        let written = handle.written.lock().unwrap().clone();
        assert_eq!(written, [(8, 0x1234u32.to_le_bytes().to_vec(), true)]);
        if kind == Kind::Transitional {
            let place = driver.places.device.start;
            assert_eq!(driver.get::<8>(place), capacity.to_le_bytes(), "the other face");
        }
    }
}

#[test]
fn a_driver_may_begin_before_driver_ok() {
    for kind in KINDS {
        let (mut driver, _) = legacy(kind, Features::NONE, ByteOrder::Big);
        driver.out(register::DEVICE_STATUS, &[0]);
        driver.out(register::DEVICE_STATUS, &[3]);
        let mut queue = driver.set_up_legacy(0);
        for length in 1..10 {
            driver.request_legacy(&mut queue, length);
        }
        let places = driver.notify_places();
        assert_eq!(places.queue(LEGACY_BAR, register::QUEUE_NOTIFY, &[1, 0]), Some(1));
        assert_eq!(
            places.queue(LEGACY_BAR, register::QUEUE_NOTIFY, &[1, 0, 0, 0]),
            None
        );
        assert_eq!(
            places.queue(LEGACY_BAR, register::QUEUE_NOTIFY - 2, &[1, 0]),
            None
        );
        driver.out(register::DEVICE_STATUS, &[7]);
        driver.request_legacy(&mut queue, 8);
    }
}

#[test]
fn messages_are_sent_for_a_legacy_driver() {
    for kind in KINDS {
        let (mut driver, handle) = legacy(kind, Features::NONE, ByteOrder::Little);
        driver.enable_msix(&[0, 1], 0x3000);
        let mut queue = driver.start_legacy();
        driver.out(register::QUEUE_MSIX_VECTOR, &[1, 0]);
        driver.out(register::CONFIG_MSIX_VECTOR, &[0, 0]);
        driver.out(register::CONFIG_MSIX_VECTOR, &[9, 0]);
        assert_eq!(
            driver.io(register::CONFIG_MSIX_VECTOR),
            pci::MSI_NO_VECTOR.to_le_bytes()
        );
        driver.out(register::CONFIG_MSIX_VECTOR, &[0, 0]);
        handle.change_config(&[1]);
        assert_eq!(driver.board.wait_message(), (0, 0x3000, 0));
        queue.submit_silently(&[], &[8]);
        driver.out(register::QUEUE_NOTIFY, &[0, 0]);
        assert_eq!(driver.board.wait_message(), (1, 0x3000, 1));
        queue.poll().unwrap();
    }
}

#[test]
fn a_page_of_zero_ends_the_virtqueue() {
    let (mut driver, _) = legacy(Kind::Legacy, Features::NONE, ByteOrder::Little);
    let mut queue = driver.start_legacy();
    driver.request_legacy(&mut queue, 8);
    driver.out(register::QUEUE_ADDRESS, &[0; 4]);
    let chains = driver.counters()[0].chains;
    queue.submit_silently(&[], &[8]);
    driver.out(register::QUEUE_NOTIFY, &[0, 0]);
    assert_eq!(driver.counters()[0].chains, chains);
    let mut queue = driver.set_up_legacy(0);
    driver.request_legacy(&mut queue, 8);
    // A queue that is not there.
    driver.out(register::QUEUE_SELECT, &[2, 0]);
    assert_eq!(driver.io(register::QUEUE_SIZE), [0; 2]);
    driver.out(register::QUEUE_ADDRESS, &[1; 4]);
    assert_eq!(driver.io(register::QUEUE_ADDRESS), [0; 4]);
    driver.out(register::QUEUE_NOTIFY, &[2, 0]);
    assert_eq!(driver.io(register::DEVICE_STATUS), [7]);
}

/// `dev:pci:non-transitional-device-with-legacy-driver:01`
#[test]
fn a_legacy_driver_finds_nothing_at_a_device_that_is_not_for_it() {
    let options = Options {
        legacy_guard: true,
        ..Options::default()
    };
    let mut driver = Driver::new(probe(1), feature::VERSION_1, options);
    let bars = driver.bars();
    assert_eq!(bars[0].kind, BarKind::Io);
    for bar in &bars {
        driver.config_write(bar.register() as u64, &0x4000_0000u32.to_le_bytes());
    }
    // Anything else at BAR0 is nothing.
    for (offset, data) in [
        (17, &[0][..]),
        (18, &[1]),
        (18, &[0, 0]),
        (19, &[0]),
        (16, &[0, 0, 0, 0]),
    ] {
        driver.out(offset, data);
        assert_eq!(driver.io::<4>(16), [0; 4]);
        assert!(driver.bars().iter().all(|bar| bar.address.is_some()));
    }
    driver.out(register::DEVICE_STATUS, &[0]);
    assert!(driver.bars().iter().all(|bar| bar.address.is_none()));
    for offset in (0..24).step_by(4) {
        let place = (header::BAR0 + offset) as u64;
        assert!(!driver.config_write(place, &[0xff; 4]));
        let mut data = [0xa5; 4];
        driver.config_read(place, &mut data);
        assert_eq!(data, [0; 4]);
    }
    let mut vendor = [0; 2];
    driver.config_read(0, &mut vendor);
    assert_eq!(u16::from_le_bytes(vendor), 0x1af4);
    driver.reset();
    let mut data = [0; 4];
    driver.config_read(header::BAR0 as u64, &mut data);
    assert_eq!(data, [1, 0, 0, 0]);
}
