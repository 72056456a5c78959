//! Devices and their drivers in one process, over every ring format.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringwright_device::{HostOptions, block, entropy};
use ringwright_driver::block::{Block, Request};
use ringwright_driver::entropy::Entropy;
use ringwright_driver::{DriverError, Options, Transport};
use ringwright_loopback::{Loopback, LoopbackOptions};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

/// Longer than anything here takes; a test that waits so long has failed.
const DEADLINE: Duration = Duration::from_secs(30);

fn formats() -> Vec<Features> {
    let mut formats = Vec::new();
    for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        for more in 0..8u32 {
            let choose = |bit: u32, feature| {
                if more >> bit & 1 != 0 {
                    feature
                } else {
                    Features::NONE
                }
            };
            let event = choose(0, feature::EVENT_IDX);
            let indirect = choose(1, feature::INDIRECT_DESC);
            let other = choose(
                2,
                feature::IN_ORDER | feature::NOTIFICATION_DATA | feature::RING_RESET,
            );
            formats.push(format | event | indirect | other);
        }
    }
    formats
}

fn options(format: Features) -> Options {
    Options {
        accept: format | feature::DEVICE_TYPE_BITS,
        indirect: 4,
        ..Options::default()
    }
}

fn disk(format: Features, loopback: LoopbackOptions) -> Block<Loopback> {
    let backend = Arc::new(block::backend::Memory::new(1 << 20).unwrap());
    let device = block::Block::new(backend, block::Options::default()).unwrap();
    let loopback = Loopback::new(Box::new(device), loopback).unwrap();
    let area = loopback.area().clone();
    Block::new(loopback, &area, 1, options(format)).unwrap()
}

/// Performs one request after another, waiting for each by its notification.
fn perform(disk: &mut Block<Loopback>, request: Request) -> Vec<u8> {
    disk.submit(0, request, 7).unwrap();
    disk.publish(0).unwrap();
    loop {
        if let Some(completion) = disk.poll(0).unwrap() {
            completion.result.unwrap();
            let buffer = completion.buffer.unwrap();
            let mut bytes = vec![0; buffer.len()];
            buffer.read(0, &mut bytes).unwrap();
            return bytes;
        }
        if !disk.enable_notifications(0) {
            let transport = disk.session().transport();
            assert!(transport.wait(DEADLINE), "no notification came");
            transport.take_interrupt().unwrap();
        }
    }
}

#[test]
fn block_over_every_ring_format() {
    for format in formats() {
        let busy_poll = Duration::from_micros(if format.contains(feature::EVENT_IDX) {
            50
        } else {
            0
        });
        let host = HostOptions {
            busy_poll,
            ..HostOptions::default()
        };
        let mut disk = disk(
            format,
            LoopbackOptions {
                host,
                ..LoopbackOptions::default()
            },
        );
        assert_eq!(disk.session().features() & !feature::DEVICE_TYPE_BITS, format);
        let area = disk.session().transport().area().clone();
        for block in 0..64u64 {
            let buffer = area.allocate(4096, 512).unwrap();
            buffer.write(0, &[block as u8 + 1; 4096]).unwrap();
            perform(&mut disk, Request::write(block * 8, buffer));
        }
        for block in 0..64u64 {
            let buffer = area.allocate(4096, 512).unwrap();
            assert_eq!(
                perform(&mut disk, Request::read(block * 8, buffer)),
                [block as u8 + 1; 4096]
            );
        }
        let counters = disk.session().transport().host().counters();
        assert_eq!(counters[0].chains, 128);
    }
}

#[test]
fn entropy_by_polling_alone() {
    for format in formats() {
        let device = entropy::Entropy::new(Arc::new(entropy::backend::Os));
        let loopback = Loopback::new(Box::new(device), LoopbackOptions::default()).unwrap();
        let area = loopback.area().clone();
        let mut driver = Entropy::new(loopback, &area, options(format)).unwrap();
        let deadline = Instant::now() + DEADLINE;
        for _ in 0..20 {
            driver.request(area.allocate(64, 1).unwrap()).unwrap().unwrap();
            let (buffer, written) = loop {
                if let Some(done) = driver.poll().unwrap() {
                    break done;
                }
                assert!(Instant::now() < deadline);
                std::thread::yield_now();
            };
            let mut bytes = [0; 64];
            buffer.read(0, &mut bytes).unwrap();
            assert!(written == 64 && bytes != [0; 64]);
        }
    }
}

#[test]
fn masked_features_are_refused() {
    let device = entropy::Entropy::new(Arc::new(entropy::backend::Os));
    let options = LoopbackOptions {
        masked_features: feature::RING_PACKED,
        ..LoopbackOptions::default()
    };
    let mut loopback = Loopback::new(Box::new(device), options).unwrap();
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
fn a_device_that_needs_a_reset_says_so() {
    let mut disk = disk(feature::VERSION_1, LoopbackOptions::default());
    // A buffer of another loopback's memory, beyond the end of this one's.
    let device = entropy::Entropy::new(Arc::new(entropy::backend::Os));
    let large = LoopbackOptions {
        memory: 64 << 20,
        ..LoopbackOptions::default()
    };
    let other = Loopback::new(Box::new(device), large).unwrap();
    let _low = other.area().allocate(32 << 20, 512).unwrap();
    let buffer = other.area().allocate(512, 512).unwrap();
    disk.submit(0, Request::read(0, buffer), 0).unwrap();
    disk.publish(0).unwrap();
    let transport = disk.session().transport();
    assert!(transport.wait(DEADLINE));
    assert!(transport.take_interrupt().unwrap().config);
    assert!(matches!(disk.session().check(), Err(DriverError::NeedsReset)));
}
