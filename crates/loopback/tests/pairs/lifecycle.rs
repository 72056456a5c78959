//! Drivers that come and go, with requests outstanding, on one device.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ringwright_device::block::backend::{self, Backend, Lane};
use ringwright_driver::block::{Block, Request};
use ringwright_driver::console::Console;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::network::{Network, Sent};
use ringwright_driver::{DriverError, Transport};
use ringwright_memory::Area;
use ringwright_spec::feature;
use ringwright_spec::status::Status;

use crate::common::*;
use crate::{block, console, entropy, network};

/// How many drivers come and go.
const LIVES: u64 = 4;

/// Nothing of the area is in use.
fn assert_whole(area: &Arc<Area>) {
    assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
}

#[test]
fn entropy_driver_after_driver() {
    for format in formats() {
        let mut loopback = join(entropy::device(), format);
        let area = loopback.area().clone();
        for _ in 0..LIVES {
            let mut driver = Entropy::new(&mut loopback, &area, options(format, 8)).unwrap();
            for _ in 0..8 {
                driver.request(area.allocate(64, 1).unwrap()).unwrap().unwrap();
            }
            while driver.poll().unwrap().is_none() {
                if !driver.enable_notifications() {
                    wait(driver.session().transport());
                }
            }
            drop(driver);
            assert_whole(&area);
            assert_eq!(loopback.status().unwrap(), Status::NONE);
        }
    }
}

#[test]
fn what_a_disk_contains_outlives_its_driver() {
    for format in formats() {
        let mut loopback = join(block::device(), format);
        let area = loopback.area().clone();
        let buffer = |life: u64| {
            let buffer = area.allocate(4096, 1).unwrap();
            buffer.write(0, &content(life, 4096)).unwrap();
            buffer
        };
        for life in 0..LIVES {
            let mut disk = Block::new(&mut loopback, &area, 2, options(format, 32)).unwrap();
            if life > 0 {
                disk.submit(1, Request::read(0, area.allocate(4096, 1).unwrap()), 0)
                    .unwrap();
                disk.publish(1).unwrap();
                wait(disk.session().transport());
                let read = disk.poll(1).unwrap().unwrap().data.into_buffer().unwrap();
                assert!(block::bytes(&read) == content(life - 1, 4096));
            }
            disk.submit(0, Request::write(0, buffer(life)), 0).unwrap();
            disk.publish(0).unwrap();
            while disk.poll(0).unwrap().is_none() {
                if !disk.enable_notifications(0) {
                    wait(disk.session().transport());
                }
            }
            // More than the device can have done by the time the driver goes, and some that it never sees.
            for extent in 1..8 {
                disk.submit(0, Request::write(8 * extent, buffer(life)), extent)
                    .unwrap();
            }
            disk.publish(0).unwrap();
            disk.submit(1, Request::write(64, buffer(life)), 0).unwrap();
            drop(disk);
            assert_whole(&area);
        }
    }
}

#[test]
fn console_driver_after_driver() {
    for format in formats() {
        let (device, mut far) = console::device();
        let mut loopback = join(device, format);
        let area = loopback.area().clone();
        for life in 0..LIVES as u8 {
            let mut driver = Console::new(&mut loopback, &area, options(format, 8)).unwrap();
            assert_eq!(driver.write(&[life; 100]).unwrap(), 100);
            // Of what the driver before has left undone, some may come first.
            let mut byte = [0xff];
            while byte != [life] {
                far.read_exact(&mut byte).unwrap();
                assert!(byte[0] == b'-' || byte[0] == life);
            }
            far.read_exact(&mut [0; 99]).unwrap();
            driver.write(&[b'-'; 5000]).unwrap();
            drop(driver);
            assert_whole(&area);
        }
    }
}

#[test]
fn network_driver_after_driver() {
    for format in formats() {
        let (device, mut far) = network::device(None);
        let mut loopback = join(device, format);
        let area = loopback.area().clone();
        for life in 0..LIVES {
            let mut driver = Network::new(&mut loopback, &area, options(format, 8)).unwrap();
            assert_eq!(driver.send(&network::frame(life)).unwrap(), Sent::Queued);
            driver.publish().unwrap();
            let deadline = Deadline::new();
            while network::take(&mut far) != network::frame(life) {
                deadline.check();
            }
            network::put(&mut far, &network::frame(life));
            let mut into = [0; 1600];
            let length = loop {
                match driver.receive(&mut into).unwrap() {
                    Some(length) => break length,
                    None if driver.enable_notifications() => {}
                    None => wait(driver.session().transport()),
                }
            };
            assert!(into[..length] == network::frame(life));
            for number in 100..104 {
                driver.send(&network::frame(number)).unwrap();
            }
            driver.publish().unwrap();
            drop(driver);
            assert_whole(&area);
        }
    }
}

#[test]
fn a_driver_that_has_reset_its_device_notifies_no_more() {
    for format in formats() {
        let mut loopback = join(block::device(), format);
        let area = loopback.area().clone();
        let mut disk = Block::new(&mut loopback, &area, 1, options(format, 32)).unwrap();
        disk.session().reset().unwrap();
        disk.submit(0, Request::read(0, area.allocate(512, 1).unwrap()), 0)
            .unwrap();
        assert!(matches!(disk.publish(0), Err(DriverError::NotLive)));
        assert!(disk.poll(0).unwrap().is_none());
        drop(disk);
        assert_whole(&area);
    }
}

/// A disk whose reads wait until they are let through.
struct Gate {
    arrived: Sender<()>,
    open: Mutex<Receiver<()>>,
}

impl Backend for Gate {
    fn capacity(&self) -> u64 {
        1 << 20
    }

    fn lane(self: Arc<Self>, _depth: u16) -> io::Result<Box<dyn Lane>> {
        Ok(Box::new(GateLane(self)))
    }
}

struct GateLane(Arc<Gate>);

impl Lane for GateLane {
    fn now(&mut self, request: &backend::Request<'_>) -> Option<io::Result<()>> {
        let backend::Request::Read { into, .. } = request else {
            return Some(Ok(()));
        };
        self.0.arrived.send(()).unwrap();
        self.0.open.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        Some(into.fill(0, into.len(), 0xaa).map_err(io::Error::other))
    }
}

#[test]
fn memory_is_not_given_back_while_the_device_writes_to_it() {
    for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        let (arrived, arrival) = channel();
        let (opener, open) = channel();
        let gate = Arc::new(Gate {
            arrived,
            open: Mutex::new(open),
        });
        let device = ringwright_device::block::Block::new(gate, Default::default()).unwrap();
        let loopback = join(device, format);
        let area = loopback.area().clone();
        let mut disk = Block::new(loopback, &area, 1, options(format, 16)).unwrap();
        disk.submit(0, Request::read(0, area.allocate(4096, 1).unwrap()), 0)
            .unwrap();
        disk.publish(0).unwrap();
        arrival.recv_timeout(DEADLINE).unwrap();
        let (dropped, drops) = channel();
        let dropper = thread::spawn(move || {
            drop(disk);
            dropped.send(()).unwrap();
        });
        assert_eq!(
            drops.recv_timeout(Duration::from_millis(100)),
            Err(RecvTimeoutError::Timeout),
            "the driver waits for its device"
        );
        assert!(area.allocate(area.len(), 1).is_none());
        opener.send(()).unwrap();
        drops.recv_timeout(DEADLINE).unwrap();
        dropper.join().unwrap();
        assert_whole(&area);
    }
}
