//! Our back-end and our front-end, with the devices and drivers that stand on them.

mod common;

use std::os::unix::net::UnixStream;

use common::*;
use ringwright_driver::block::Block;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::{DriverError, Options, Transport, TransportError};
use ringwright_memory::Width;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};
use ringwright_vhost_user::backend::{Backend, BackendOptions, OFFERED};
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions, USED};
use ringwright_vhost_user::message::ProtocolFeatures;
use ringwright_vhost_user::socket::Stop;

#[test]
fn entropy_over_every_ring_format() {
    let server = Server::start(counting_entropy());
    let mut next = None;
    for format in formats() {
        let frontend = server.frontend(ENTROPY);
        let area = frontend.area().clone();
        let mut driver = Entropy::new(frontend, &area, accepting(format)).unwrap();
        assert_eq!(driver.session().features(), format);
        next = check_counting(&mut driver, &area, 300, 100, next, nap);
    }
}

#[test]
fn block_over_every_ring_format() {
    let server = Server::start(memory_disk(4, 2));
    for format in formats() {
        let frontend = server.frontend(BLOCK);
        let area = frontend.area().clone();
        let mut disk = Block::new(frontend, &area, 2, accepting(format)).unwrap();
        assert_eq!((disk.queues(), disk.geometry().capacity), (2, 8192));
        for queue in 0..2 {
            check_disk(&mut disk, queue, u64::from(queue) * 1024, 100);
        }
    }
}

#[test]
fn every_protocol_feature_can_be_missing() {
    let server = Server::start(counting_entropy());
    let bits = (0..64)
        .map(|bit| ProtocolFeatures(1 << bit))
        .filter(|bit| OFFERED.contains(*bit));
    let mut next = None;
    for missing in bits.chain([OFFERED]) {
        let protocol_features = OFFERED.without(missing);
        let options = FrontendOptions {
            protocol_features,
            queues: 1,
            ..FrontendOptions::new(ENTROPY)
        };
        let frontend = Frontend::connect(&server.path, options).unwrap();
        assert_eq!(frontend.protocol_features(), protocol_features.intersection(USED));
        let area = frontend.area().clone();
        let mut driver = Entropy::new(frontend, &area, Options::default()).unwrap();
        next = check_counting(&mut driver, &area, 50, 10, next, nap);
        // A reset and a second life on the same connection.
        let transport = driver.session().transport();
        transport.set_status(Status::NONE).unwrap();
        assert_eq!(transport.status().unwrap(), Status::NONE);
    }
}

#[test]
fn masked_features_are_not_offered_and_not_accepted() {
    let masked_features = feature::RING_PACKED | feature::EVENT_IDX;
    let options = BackendOptions {
        masked_features,
        ..BackendOptions::default()
    };
    let server = Server::with_options(counting_entropy(), options);
    let mut frontend = server.frontend(ENTROPY);
    let offered = frontend.device_features().unwrap();
    assert!(!offered.intersects(masked_features) && offered.contains(feature::INDIRECT_DESC));
    frontend.set_status(Status::ACKNOWLEDGE | Status::DRIVER).unwrap();
    let refused = frontend
        .set_driver_features(offered | feature::RING_PACKED)
        .unwrap_err();
    assert!(matches!(refused, TransportError::Protocol(_)));
    frontend
        .set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK)
        .unwrap();
    assert!(!frontend.status().unwrap().contains(Status::FEATURES_OK));
    // The refusal was told, so the connection goes on.
    frontend.set_driver_features(offered).unwrap();
    assert!(frontend.status().unwrap().contains(Status::FEATURES_OK));
}

#[test]
fn a_driver_for_another_device_is_refused_nothing_but_the_device() {
    let server = Server::start(counting_entropy());
    let frontend = server.frontend(BLOCK);
    let area = frontend.area().clone();
    let error = Entropy::new(frontend, &area, Options::default()).err().unwrap();
    assert!(matches!(
        error,
        DriverError::WrongDevice {
            expected: 4,
            found: 2
        }
    ));
}

#[test]
fn configuration_space_reads_and_refuses_writes() {
    let server = Server::start(memory_disk(3, 1));
    let mut frontend = server.frontend(BLOCK);
    let mut capacity = [0; 8];
    frontend.read_config(0, Width::One, &mut capacity).unwrap();
    assert_eq!(u64::from_le_bytes(capacity), 3 << 11);
    // A read that begins within the space and ends beyond it brings zeroes, one that begins beyond it nothing.
    let mut long = [0xff; 250];
    frontend.read_config(0, Width::One, &mut long).unwrap();
    assert_eq!((&long[..8], long[249]), (&capacity[..], 0));
    assert!(matches!(
        frontend.read_config(4000, Width::One, &mut long),
        Err(TransportError::Config { .. })
    ));
    assert!(frontend.write_config(0, Width::One, &[1]).is_err());
    frontend.read_config(0, Width::One, &mut capacity).unwrap();
    assert_eq!(u64::from_le_bytes(capacity), 3 << 11);
}

#[test]
fn one_client_after_another_and_one_that_waits() {
    let server = Server::start(counting_entropy());
    let first = server.frontend(ENTROPY);
    let path = server.path.clone();
    let second = std::thread::spawn(move || {
        let frontend = Frontend::connect(path, FrontendOptions::new(ENTROPY)).unwrap();
        let area = frontend.area().clone();
        let mut driver = Entropy::new(frontend, &area, Options::default()).unwrap();
        check_counting(&mut driver, &area, 20, 10, None, nap)
    });
    let area = first.area().clone();
    let mut driver = Entropy::new(first, &area, Options::default()).unwrap();
    let next = check_counting(&mut driver, &area, 20, 10, Some(0), nap);
    drop(driver);
    assert_eq!(second.join().unwrap(), next.map(|next| next.wrapping_add(200)));
}

#[test]
fn a_passed_socket_and_a_stop() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stop = Stop::new().unwrap();
    let raised = stop.clone();
    let server = std::thread::spawn(move || {
        let mut backend = Backend::new(Box::new(counting_entropy()), BackendOptions::default()).unwrap();
        backend.serve_connection(theirs, &raised).unwrap();
        backend.host().counters()
    });
    let frontend = Frontend::new(ours, FrontendOptions::new(ENTROPY)).unwrap();
    let area = frontend.area().clone();
    let mut driver = Entropy::new(frontend, &area, Options::default()).unwrap();
    check_counting(&mut driver, &area, 20, 10, Some(0), nap);
    stop.raise();
    let counters = server.join().unwrap();
    assert_eq!((counters[0].chains, counters[0].bytes_written), (20, 200));
    // The device is gone: every call says so, none waits.
    let transport = driver.session().transport();
    assert_eq!(transport.status().unwrap_err(), TransportError::Gone);
}

/// Stops the ring many times in full work, and starts it at the base that the back-end says.
#[test]
fn stop_and_start_at_the_vring_base() {
    let server = Server::start(counting_entropy());
    let both = feature::EVENT_IDX | feature::INDIRECT_DESC;
    for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        for more in [Features::NONE, both] {
            stop_and_start(&server, format | more);
        }
    }
}

fn stop_and_start(server: &Server, format: Features) {
    use ringwright_ring::{DriverOptions, DriverQueue};
    let mut frontend = server.frontend(ENTROPY);
    let area = frontend.area().clone();
    let live = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK;
    frontend.set_driver_features(format).unwrap();
    frontend.set_status(live).unwrap();
    // Not a power of two where it need not be, so that wrap counters and indices disagree.
    let size = if format.contains(feature::RING_PACKED) {
        7
    } else {
        8
    };
    let mut queue = DriverQueue::new(&area, size, format, DriverOptions { indirect: 2 }).unwrap();
    let layout = queue.layout();
    frontend.enable_queue(0, &layout).unwrap();
    frontend.set_status(live | Status::DRIVER_OK).unwrap();
    let mut next = None;
    for round in 0..200 {
        let buffers = 1 + round % 5;
        for _ in 0..buffers {
            let buffer = area.allocate(3, 1).unwrap();
            queue.add(&[], &[buffer.segment()], buffer).unwrap();
        }
        if queue.publish() {
            frontend.notify(0, 0).unwrap();
        }
        // Stops at any moment of the work: before, in the midst, after.
        if let Some(base) = frontend.stop_queue(0).unwrap() {
            frontend.start_queue(0, &layout, base).unwrap();
        }
        let deadline = std::time::Instant::now() + DEADLINE;
        let mut taken = 0;
        while taken < buffers {
            while let Some(used) = queue.pop().unwrap() {
                let mut bytes = [0; 3];
                used.data.read(0, &mut bytes).unwrap();
                for byte in bytes {
                    assert_eq!(byte, *next.get_or_insert(byte), "round {round} of {format:?}");
                    next = Some(byte.wrapping_add(1));
                }
                taken += 1;
            }
            if taken < buffers && !queue.enable_notifications() {
                assert!(std::time::Instant::now() < deadline);
                assert!(
                    frontend.wait(Some(0), DEADLINE).unwrap(),
                    "round {round} of {format:?}"
                );
                frontend.take_interrupt().unwrap();
            }
        }
    }
}
