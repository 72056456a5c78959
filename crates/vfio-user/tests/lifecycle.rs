//! Clients that come and go, servers that go, functions that move, and memory whose writes are watched.

mod common;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::*;
use ringwright_driver::block::Block;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::{DriverError, Transport, TransportError};
use ringwright_spec::status::Status;
use ringwright_vfio_user::client::{Client, ClientError, ClientOptions, Delivery, Virtio};
use ringwright_vfio_user::message::{IrqInfo, RegionInfo};

#[test]
fn one_client_after_another_is_served() {
    let server = Listening::start(disk(memory()));
    for (round, format) in (0u64..).zip(FORMATS.iter().cycle().take(6)) {
        let stream = UnixStream::connect(&server.path).unwrap();
        let client = Client::new(stream.try_clone().unwrap(), ClientOptions::default()).unwrap();
        let (transport, _irqs) = client.virtio(Delivery::Messages).unwrap();
        let area = client.area().clone();
        let mut disk = Block::new(transport, &area, 1, accepting(*format)).unwrap();
        if round > 0 {
            assert_eq!(
                read(&mut disk, &area, round - 1),
                pattern(round - 1),
                "the disk's content stays"
            );
        }
        write(&mut disk, &area, round..round + 1);
        finish(&mut disk, 1);
        // It ends in order, it vanishes with the device running, or with requests under way.
        if round % 3 == 2 {
            write(&mut disk, &area, 100..150);
        }
        if round % 3 > 0 {
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
    }
}

#[test]
fn a_client_that_says_nothing_or_too_little_holds_up_nobody_for_ever() {
    let server = Listening::start(counting_entropy());
    drop(UnixStream::connect(&server.path).unwrap());
    let silent = UnixStream::connect(&server.path).unwrap();
    std::io::Write::write_all(&mut &silent, &[1, 0, 1]).unwrap();
    drop(silent);
    let client = server.client();
    assert_eq!(client.region_info(RegionInfo::CONFIG).unwrap().size, 4096);
}

#[test]
fn each_virtqueue_has_its_own_notification() {
    let options = ringwright_device::block::Options {
        queues: 2,
        ..Default::default()
    };
    let disk = ringwright_device::block::Block::new(memory(), options).unwrap();
    let server = Listening::start(disk);
    let client = server.client();
    let area = client.area().clone();
    let (transport, _) = client.virtio(Delivery::Polling).unwrap();
    let mut disk = Block::new(transport, &area, 2, accepting(FORMATS[0])).unwrap();
    for queue in [1, 0, 1] {
        let buffer = area.allocate(4096, 512).unwrap();
        let request = ringwright_driver::block::Request::read(0, buffer);
        disk.submit(queue, request, 0).unwrap();
        disk.publish(queue).unwrap();
        let deadline = Deadline::new();
        while disk.poll(queue).unwrap().is_none() {
            deadline.check();
        }
    }
}

#[test]
fn a_server_that_goes_is_noticed() {
    let mut server = Listening::start(counting_entropy());
    let client = server.client();
    let (transport, irqs) = client.virtio(Delivery::Messages).unwrap();
    let mut driver = Entropy::new(transport, client.area(), accepting(FORMATS[0])).unwrap();
    server.stop();
    let deadline = Deadline::new();
    let gone = loop {
        deadline.check();
        if let Err(error) = irqs.as_ref().unwrap().wait(Duration::from_millis(10)) {
            break error;
        }
    };
    assert!(matches!(gone, ClientError::Gone(_)), "{gone}");
    let refused = driver.session().check();
    assert!(
        matches!(refused, Err(DriverError::Transport(TransportError::Gone))),
        "{refused:?}"
    );
}

#[test]
fn interrupts_that_the_function_does_not_have_are_refused() {
    let server = Listening::start(counting_entropy());
    let client = server.client();
    let refusal = client.take_irqs(IrqInfo::MSIX, 3).unwrap_err();
    assert!(
        matches!(refusal, ClientError::NoInterrupt { found: 2, .. }),
        "{refusal}"
    );
    assert!(client.take_irqs(IrqInfo::MSI, 1).is_err());
    assert!(client.take_irqs(100, 1).is_err());
    // What was taken and given back can be taken again.
    for _ in 0..3 {
        client.take_irqs(IrqInfo::MSIX, 2).unwrap();
    }
}

#[test]
fn a_reset_of_the_function_leaves_nothing() {
    let server = Listening::start(counting_entropy());
    let client = server.client();
    let (transport, _) = client.virtio(Delivery::Polling).unwrap();
    let mut driver = Entropy::new(transport, client.area(), accepting(FORMATS[1])).unwrap();
    assert!(
        driver
            .session()
            .transport()
            .status()
            .unwrap()
            .contains(Status::DRIVER_OK)
    );
    client.reset().unwrap();
    assert_eq!(driver.session().transport().status().unwrap(), Status::NONE);
    drop(driver);
    let (transport, _) = client.virtio(Delivery::Polling).unwrap();
    Entropy::new(transport, client.area(), accepting(FORMATS[0])).unwrap();
}

#[test]
fn a_device_moves_to_another_server_in_the_middle_of_traffic() {
    for format in FORMATS {
        let backend = memory();
        let (here, there) = (
            Listening::start(disk(backend.clone())),
            Listening::start(disk(backend)),
        );
        let (from, to) = (here.client(), there.client());
        let area = from.area().clone();
        let (transport, _) = from.virtio(Delivery::Polling).unwrap();
        let mut disk = Block::new(transport, &area, 1, accepting(format)).unwrap();
        write(&mut disk, &area, 0..20);
        finish(&mut disk, 20);
        write(&mut disk, &area, 20..40);
        let state = from.save().unwrap();
        // Stopped, it answers nothing; what is asked for now is done there.
        write(&mut disk, &area, 40..60);
        let region = from.memory().regions()[0].clone();
        to.remove_region(to.area().device_address()).unwrap();
        to.add_region(&region, true).unwrap();
        let (transport, _) = to.virtio(Delivery::Polling).unwrap();
        to.restore(&state).unwrap();
        *disk.session().transport() = transport;
        drop((from, here));
        finish(&mut disk, 40);
        drop(disk);
        let (transport, _) = to.virtio(Delivery::Polling).unwrap();
        let mut disk = Block::new(transport, &area, 1, accepting(format)).unwrap();
        for number in 0..60 {
            assert_eq!(read(&mut disk, &area, number), pattern(number), "block {number}");
        }
    }
}

#[test]
fn a_device_that_was_stopped_leaves_memory_alone_when_its_client_goes() {
    for format in FORMATS {
        let server = Listening::start(disk(memory()));
        let client = server.client();
        let area = client.area().clone();
        let (transport, _) = client.virtio(Delivery::Polling).unwrap();
        let mut disk = Block::new(transport, &area, 1, accepting(format)).unwrap();
        write(&mut disk, &area, 0..20);
        finish(&mut disk, 20);
        client.save().unwrap();
        write(&mut disk, &area, 20..40);
        // The server ends when it has left the device as a client finds it.
        drop((client, server));
        assert!(
            disk.poll(0).unwrap().is_none(),
            "another process serves it by now"
        );
    }
}

#[test]
fn a_device_that_was_stopped_goes_on() {
    let server = Listening::start(disk(memory()));
    let client = server.client();
    let area = client.area().clone();
    let (transport, _) = client.virtio(Delivery::Polling).unwrap();
    let mut disk = Block::new(transport, &area, 1, accepting(FORMATS[0])).unwrap();
    let state = client.save().unwrap();
    write(&mut disk, &area, 0..1);
    client.resume().unwrap();
    finish(&mut disk, 1);
    let refusal = client.restore(&state[..state.len() - 1]).unwrap_err();
    assert!(matches!(refusal, ClientError::Refused { .. }), "{refusal}");
    // Only a reset helps then.
    assert!(client.resume().is_err());
    client.reset().unwrap();
    client.restore(&state).unwrap();
}

#[test]
fn what_the_device_writes_is_logged_and_what_it_reads_is_not() {
    for format in FORMATS {
        let server = Listening::start(disk(memory()));
        let client = server.client();
        let area = client.area().clone();
        let (transport, _) = client.virtio(Delivery::Polling).unwrap();
        let mut disk = Block::new(transport, &area, 1, accepting(format)).unwrap();
        client.start_logging().unwrap();
        let written = || {
            client
                .written_pages(area.device_address(), area.len() as u64)
                .unwrap()
        };
        written();
        let aligned = area.allocate(4096, 4096).unwrap();
        let page = aligned.segment().address();
        let submit = |disk: &mut Block<Virtio>, request| {
            disk.submit(0, request, 0).unwrap();
            disk.publish(0).unwrap();
            finish(disk, 1);
        };
        submit(&mut disk, ringwright_driver::block::Request::write(0, aligned));
        let pages = written();
        assert!(
            !pages.is_empty() && !pages.contains(&page),
            "the ring and the status were written"
        );
        let aligned = area.allocate(4096, 4096).unwrap();
        let page = aligned.segment().address();
        submit(&mut disk, ringwright_driver::block::Request::read(0, aligned));
        assert!(written().contains(&page));
        assert!(written().is_empty());
        client.stop_logging().unwrap();
        assert!(client.written_pages(0, 4096).is_err());
    }
}
