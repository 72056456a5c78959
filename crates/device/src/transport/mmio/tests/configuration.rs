//! The device-specific configuration space and its generation.

use std::sync::Arc;

use ringwright_ring::ByteOrder;
use ringwright_spec::{Status, feature};

use super::*;
use crate::transport::core::Options as CommonOptions;
use crate::transport::testing::{Handle, probe};

fn driver(version: Version, legacy_byte_order: ByteOrder) -> (Driver, Arc<Handle>) {
    let probe = probe(1);
    let handle = probe.handle.clone();
    let options = Options {
        version,
        common: CommonOptions {
            legacy_byte_order,
            ..CommonOptions::default()
        },
        ..Options::default()
    };
    let driver = Driver::with_options(probe, feature::VERSION_1, options);
    (driver, handle)
}

fn read(driver: &mut Driver, offset: usize, length: usize) -> Vec<u8> {
    let mut data = vec![0xa5; length];
    driver.mmio.read(mmio::CONFIG + offset as u64, &mut data);
    data
}

/// `dev:core:device-configuration-space:01`
#[test]
fn every_byte_is_read_at_any_time_and_width() {
    let (mut driver, handle) = driver(Version::Modern, ByteOrder::Big);
    let mut config = handle.config.lock().unwrap().clone();
    let size = config.len();
    config.resize(size + 16, 0);
    let check = |driver: &mut Driver| {
        for width in [1, 2, 4, 8] {
            for offset in 0..size + 8 {
                assert_eq!(read(driver, offset, width), config[offset..offset + width]);
            }
        }
        let mut beyond = [0xa5; 4];
        driver.mmio.read(u64::MAX - 3, &mut beyond);
        assert_eq!(beyond, [0; 4]);
    };
    check(&mut driver);
    driver.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
    check(&mut driver);
    driver.start(16);
    check(&mut driver);
}

#[test]
fn writes_reach_the_device_as_they_are() {
    let (mut driver, handle) = driver(Version::Modern, ByteOrder::Big);
    let size = handle.config.lock().unwrap().len() as u64;
    driver.mmio.write(mmio::CONFIG + 32, &[1]);
    driver.mmio.write(mmio::CONFIG + 8, &[1, 2, 3, 4]);
    // Beyond the end.
    driver.mmio.write(mmio::CONFIG + size, &[1]);
    driver.mmio.write(mmio::CONFIG + size - 2, &[1, 2, 3, 4]);
    driver.mmio.write(u64::MAX - 3, &[1, 2, 3, 4]);
    let written = handle.written.lock().unwrap();
    assert_eq!(*written, [(32, vec![1], false), (8, vec![1, 2, 3, 4], false)]);
}

/// `dev:mmio:mmio-device-register-layout:06`
#[test]
fn the_generation_tells_a_configuration_that_does_not_go_together() {
    let (mut driver, handle) = driver(Version::Modern, ByteOrder::Little);
    let mut config = handle.config.lock().unwrap().clone();
    for round in 0..1000u32 {
        let before = driver.read(mmio::CONFIG_GENERATION);
        let low = read(&mut driver, 0, 4);
        assert_eq!(
            driver.read(mmio::CONFIG_GENERATION),
            before,
            "nothing has changed"
        );
        config[4..8].copy_from_slice(&round.to_be_bytes());
        config[0] ^= 0xff;
        handle.change_config(&config);
        let high = read(&mut driver, 4, 4);
        assert_eq!(high, config[4..8]);
        assert_ne!(low, config[..4]);
        assert_ne!(driver.read(mmio::CONFIG_GENERATION), before, "round {round}");
    }
    // Whether a change that nobody has seen counts is the device's choice.
    let before = driver.read(mmio::CONFIG_GENERATION);
    config[0] ^= 0xff;
    handle.change_config(&config);
    config[0] ^= 0xff;
    handle.change_config(&config);
    assert_eq!(read(&mut driver, 0, 4), config[..4]);
    assert_eq!(driver.read(mmio::CONFIG_GENERATION), before);
}

/// The configuration space of a block device, on the legacy interface (section 2.5.3).
#[test]
fn integers_are_in_the_byte_order_of_a_legacy_guest() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let (mut driver, handle) = driver(Version::Legacy, order);
        let little = handle.config.lock().unwrap().clone();
        let capacity = u64::from_le_bytes(little[..8].try_into().unwrap());
        let expected = match order {
            ByteOrder::Little => capacity.to_le_bytes(),
            ByteOrder::Big => capacity.to_be_bytes(),
        };
        assert_eq!(read(&mut driver, 0, 8), expected);
        // As bytes it reads the same.
        let bytes: Vec<_> = (0..8).flat_map(|offset| read(&mut driver, offset, 1)).collect();
        assert_eq!(bytes, expected);
        // Single bytes are no integers: heads and sectors, after the cylinders.
        assert_eq!(read(&mut driver, 18, 2), [18, 19]);
    }
}

#[test]
fn a_legacy_guest_writes_in_its_byte_order() {
    let (mut driver, handle) = driver(Version::Legacy, ByteOrder::Big);
    // size_max, whole; of seg_max the second byte, which is the third one for the device; writeback.
    driver.mmio.write(mmio::CONFIG + 8, &[1, 2, 3, 4]);
    driver.mmio.write(mmio::CONFIG + 13, &[0x5a]);
    driver.mmio.write(mmio::CONFIG + 32, &[1]);
    // Beyond the end.
    driver.mmio.write(mmio::CONFIG + 4095, &[1]);
    let written = handle.written.lock().unwrap();
    let seg_max = vec![12, 13, 0x5a, 15];
    assert_eq!(
        *written,
        [
            (8, vec![4, 3, 2, 1], true),
            (12, seg_max, true),
            (32, vec![1], true)
        ]
    );
}
