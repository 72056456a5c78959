//! The legacy interface of MMIO (section 4.2.4), with guests of both byte orders.

use ringwright_ring::ByteOrder;
use ringwright_spec::mmio::legacy;
use ringwright_spec::{Status, block, feature};

use super::*;
use crate::transport::core::Options as CommonOptions;
use crate::transport::testing::{Probe, probe};

fn legacy(device: Probe, features: Features, order: ByteOrder) -> Driver {
    let options = Options {
        version: Version::Legacy,
        common: CommonOptions {
            legacy_byte_order: order,
            ..CommonOptions::default()
        },
        ..Options::default()
    };
    let mut driver = Driver::for_guest(device, options, Guest::with_byte_order(features, order));
    driver.write(legacy::GUEST_PAGE_SIZE, 4096);
    driver.set_status(Status::NONE);
    driver.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
    driver
}

fn set_up(driver: &mut Driver, index: u16, size: u16) -> Queue {
    let queue = driver.guest.queue(index, size);
    driver.write(mmio::QUEUE_SEL, index.into());
    assert_eq!(driver.read(legacy::QUEUE_PFN), 0);
    driver.write(legacy::QUEUE_SIZE, size.into());
    driver.write(legacy::QUEUE_ALIGN, 4096);
    let page = queue.layout().page_frame_number(4096).unwrap();
    driver.write(legacy::QUEUE_PFN, page);
    assert_eq!(driver.read(legacy::QUEUE_PFN), page);
    queue
}

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// Section 3.1.2: no FEATURES_OK.
#[test]
fn a_legacy_device_is_initialized_and_answers() {
    for order in ORDERS {
        for features in [
            Features::NONE,
            feature::EVENT_IDX | feature::INDIRECT_DESC,
            feature::ANY_LAYOUT | block::features::FLUSH,
        ] {
            let device = probe(1);
            let handle = device.handle.clone();
            let mut driver = legacy(device, features, order);
            driver.write_features(features);
            let mut queue = set_up(&mut driver, 0, 128);
            driver.set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK | Status::DRIVER_OK);
            let status = Status::ACKNOWLEDGE | Status::DRIVER | Status::DRIVER_OK;
            assert_eq!(driver.status(), status, "there is no FEATURES_OK");
            for length in 1..200 {
                assert_eq!(driver.request(&mut queue, &[], &[length]).data, vec![7; length]);
            }
            assert_eq!(*handle.features.lock().unwrap(), Some(features));
        }
    }
}

/// There is no way to refuse features, so what cannot be is left out.
#[test]
fn features_that_cannot_be_are_left_out() {
    let device = probe(1);
    let handle = device.handle.clone();
    let mut driver = legacy(device, Features::NONE, ByteOrder::Little);
    driver.write_features(Features(u128::MAX));
    set_up(&mut driver, 0, 16);
    driver.drive();
    let offered = driver.mmio.core.offered_features();
    assert_eq!(*handle.features.lock().unwrap(), Some(offered));
    assert!(feature::LEGACY_BITS.contains(offered));
}

/// Section 3.1.2: "sometimes even before writing the feature bits", and before DRIVER_OK.
#[test]
fn a_driver_may_begin_before_it_is_done() {
    for order in ORDERS {
        let device = probe(2);
        let handle = device.handle.clone();
        let mut driver = legacy(device, Features::NONE, order);
        let mut queue = set_up(&mut driver, 0, 16);
        assert!(
            !driver.mmio.notifier().notify(0),
            "the first one is for the model"
        );
        for _ in 0..20 {
            driver.request(&mut queue, &[], &[8]);
        }
        assert!(driver.mmio.notifier().notify(0));
        assert_eq!(*handle.features.lock().unwrap(), Some(Features::NONE));
        // Now the features; the virtqueue goes on where it is.
        driver.write(mmio::DRIVER_FEATURES_SEL, 0);
        driver.write(mmio::DRIVER_FEATURES, block::features::FLUSH.word(0));
        assert_eq!(*handle.features.lock().unwrap(), Some(block::features::FLUSH));
        for _ in 0..20 {
            driver.request(&mut queue, &[], &[8]);
        }
        let mut other = set_up(&mut driver, 1, 16);
        driver.drive();
        for _ in 0..20 {
            driver.request(&mut queue, &[], &[8]);
            driver.request(&mut other, &[], &[8]);
        }
    }
}

#[test]
fn a_driver_may_write_the_configuration_space_at_once() {
    let device = probe(1);
    let handle = device.handle.clone();
    let mut driver = legacy(device, Features::NONE, ByteOrder::Little);
    driver.set_status(Status::NONE);
    driver.mmio.write(mmio::CONFIG + 32, &[1]);
    assert_eq!(*handle.written.lock().unwrap(), [(32, vec![1], true)]);
}

#[test]
fn the_used_ring_is_where_the_driver_aligns_it() {
    for align in [4u32, 64, 4096, 0x1_0000] {
        let mut driver = legacy(probe(1), Features::NONE, ByteOrder::Little);
        let layout = Layout::in_one_piece(crate::testing::BASE, 16, align).unwrap();
        driver.write(legacy::GUEST_PAGE_SIZE, 0x1000);
        driver.write(legacy::QUEUE_SIZE, 16);
        driver.write(legacy::QUEUE_ALIGN, align);
        driver.write(legacy::QUEUE_PFN, (crate::testing::BASE / 0x1000) as u32);
        driver.drive();
        // One buffer of 8 bytes at the end of the first 1 MiB.
        let memory = driver.guest.memory();
        let buffer = crate::testing::BASE + (1 << 20);
        let descriptor = [&buffer.to_le_bytes()[..], &8u32.to_le_bytes(), &[2, 0, 0, 0]].concat();
        memory.write(layout.descriptor_area, &descriptor).unwrap();
        memory.write(layout.driver_area, &[0, 0, 1, 0, 0, 0]).unwrap();
        driver.write(mmio::QUEUE_NOTIFY, 0);
        driver.board.wait_asserted();
        let mut used = [0; 12];
        memory.read(layout.device_area, &mut used).unwrap();
        assert_eq!(used[2..], [1, 0, 0, 0, 0, 0, 8, 0, 0, 0], "align {align}");
    }
}

#[test]
fn places_that_cannot_be_break_the_device() {
    let broken = |page_size, align, page| {
        let mut driver = legacy(probe(1), Features::NONE, ByteOrder::Little);
        driver.write(legacy::GUEST_PAGE_SIZE, page_size);
        driver.write(legacy::QUEUE_SIZE, 16);
        driver.write(legacy::QUEUE_ALIGN, align);
        driver.write(legacy::QUEUE_PFN, page);
        driver.drive();
        driver.status().contains(Status::DEVICE_NEEDS_RESET)
    };
    let page = (crate::testing::BASE / 4096) as u32;
    assert!(!broken(4096, 4096, page));
    // No power of 2, too small for the used ring, beyond the memory.
    for (page_size, align, page) in [
        (4096, 3000, page),
        (4096, 0, page),
        (4096, 2, page),
        (4096, 4096, 1),
        (u32::MAX, 4096, u32::MAX),
        (0, 4096, page),
    ] {
        assert!(broken(page_size, align, page), "{page_size} {align} {page:#x}");
    }
}

#[test]
fn a_page_of_zero_ends_the_virtqueue() {
    let mut driver = legacy(probe(1), Features::NONE, ByteOrder::Little);
    let mut queue = set_up(&mut driver, 0, 16);
    driver.drive();
    driver.request(&mut queue, &[], &[8]);
    driver.write(legacy::QUEUE_PFN, 0);
    assert_eq!(driver.read(legacy::QUEUE_PFN), 0);
    let chains = driver.mmio.counters()[0].chains;
    queue.submit_silently(&[], &[8]);
    driver.write(mmio::QUEUE_NOTIFY, 0);
    assert_eq!(driver.mmio.counters()[0].chains, chains);
    let mut queue = set_up(&mut driver, 0, 32);
    assert_eq!(driver.request(&mut queue, &[], &[8]).data, [7; 8]);
    driver.set_status(Status::NONE);
    assert_eq!(driver.read(legacy::QUEUE_PFN), 0, "a reset ends all of them");
}

/// The driver writes GuestPageSize before it resets the device.
#[test]
fn the_page_size_survives_the_drivers_reset() {
    let mut driver = legacy(probe(1), Features::NONE, ByteOrder::Little);
    driver.set_status(Status::NONE);
    let mut queue = set_up(&mut driver, 0, 16);
    driver.drive();
    driver.request(&mut queue, &[], &[8]);
}
