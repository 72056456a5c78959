//! What the transport itself promises.

use std::sync::Arc;

use ringwright_device::{block, entropy};
use ringwright_driver::block::{Block, Request};
use ringwright_driver::{DriverError, Options, Transport};
use ringwright_loopback::{Loopback, LoopbackOptions};
use ringwright_spec::feature;
use ringwright_spec::status::Status;

use crate::common::DEADLINE;

fn source() -> Box<entropy::Entropy> {
    Box::new(entropy::Entropy::new(Arc::new(entropy::backend::Os)))
}

#[test]
fn masked_features_are_refused() {
    let options = LoopbackOptions {
        masked_features: feature::RING_PACKED,
        ..LoopbackOptions::default()
    };
    let mut loopback = Loopback::new(source(), options).unwrap();
    let offered = loopback.device_features().unwrap();
    assert!(!offered.contains(feature::RING_PACKED));
    let steps = Status::ACKNOWLEDGE | Status::DRIVER;
    for (features, accepted) in [(offered | feature::RING_PACKED, false), (offered, true)] {
        loopback.set_status(Status::NONE).unwrap();
        loopback.set_status(steps).unwrap();
        loopback.set_driver_features(features).unwrap();
        loopback.set_status(steps | Status::FEATURES_OK).unwrap();
        assert_eq!(loopback.status().unwrap().contains(Status::FEATURES_OK), accepted);
    }
}

#[test]
fn a_device_that_needs_a_reset_says_so_and_works_after_it() {
    let backend = Arc::new(block::backend::Memory::new(1 << 20).unwrap());
    let device = block::Block::new(backend, block::Options::default()).unwrap();
    let mut loopback = Loopback::new(Box::new(device), LoopbackOptions::default()).unwrap();
    let area = loopback.area().clone();
    let options = Options {
        accept: feature::VERSION_1 | feature::DEVICE_TYPE_BITS,
        ..Options::default()
    };
    let mut disk = Block::new(&mut loopback, &area, 1, options).unwrap();
    // A buffer of another loopback's memory, beyond the end of this one's.
    let large = LoopbackOptions {
        memory: 64 << 20,
        ..LoopbackOptions::default()
    };
    let other = Loopback::new(source(), large).unwrap();
    let _low = other.area().allocate(32 << 20, 512).unwrap();
    let buffer = other.area().allocate(512, 512).unwrap();
    disk.submit(0, Request::read(0, buffer), 0).unwrap();
    disk.publish(0).unwrap();
    let transport = disk.session().transport();
    assert!(transport.wait(DEADLINE));
    assert!(transport.take_interrupt().unwrap().config);
    assert!(matches!(disk.session().check(), Err(DriverError::NeedsReset)));
    drop(disk);

    let mut disk = Block::new(&mut loopback, &area, 1, options).unwrap();
    disk.session().check().unwrap();
    disk.submit(0, Request::read(0, area.allocate(512, 512).unwrap()), 5)
        .unwrap();
    disk.publish(0).unwrap();
    assert!(disk.session().transport().wait(DEADLINE));
    let completion = disk.poll(0).unwrap().unwrap();
    assert_eq!((completion.tag, completion.result), (5, Ok(())));
}
