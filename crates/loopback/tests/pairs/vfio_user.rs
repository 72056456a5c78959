//! The same pairs over vfio-user: the device is a PCI function on another thread, with a socket between it and its driver.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use ringwright_device::Device;
use ringwright_device::transport::{self, pci};
use ringwright_driver::block::Block;
use ringwright_driver::console::Console;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::network::Network;
use ringwright_driver::{Interrupt, Options, Transport};
use ringwright_memory::Area;
use ringwright_spec::{Features, feature};
use ringwright_vfio_user::client::{Client, ClientOptions, Delivery, Irqs, Virtio};
use ringwright_vfio_user::server::Server;
use ringwright_vfio_user::socket::Stop;

use crate::common::*;
use crate::{block, console, entropy, network};

/// One way to drive a device.
#[derive(Clone, Copy, Debug)]
struct Way {
    delivery: Delivery,
    format: Features,
    size: u16,
    /// Whether the device may map the memory; else it is reached by messages.
    share_memory: bool,
}

/// All ring formats, each by message and by the pin, with memory that can be mapped and with such as cannot. The device may be
/// behind an IOMMU, and the driver heeds that.
fn ways() -> Vec<Way> {
    let deliveries = [Delivery::Messages, Delivery::Pin].into_iter().cycle();
    let shapes = shapes().into_iter().zip(deliveries);
    let ways = shapes.flat_map(|((format, size), delivery)| {
        [true, false].map(|share_memory| Way {
            delivery,
            format: (format - feature::ORDER_PLATFORM) | feature::ACCESS_PLATFORM,
            size,
            share_memory,
        })
    });
    ways.collect()
}

/// A device on a thread, and the client that it serves.
struct Served {
    client: Client,
    irqs: Arc<Irqs>,
    delivery: Delivery,
    stop: Stop,
    server: Option<JoinHandle<()>>,
}

impl Way {
    fn options(&self) -> Options {
        options(self.format, self.size)
    }

    /// Joins a device with a driver to come.
    fn join(&self, device: impl Device + 'static) -> (Served, Virtio) {
        let common = transport::Options {
            platform_features: feature::ACCESS_PLATFORM,
            ..transport::Options::default()
        };
        let options = pci::Options {
            common,
            ..pci::Options::default()
        };
        let mut server = Server::for_device(Box::new(device), options).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let stop = Stop::new().unwrap();
        let stopped = stop.clone();
        let server = std::thread::spawn(move || server.serve_connection(far, &stopped).unwrap());
        let options = ClientOptions {
            share_memory: self.share_memory,
            ..ClientOptions::default()
        };
        let client = Client::new(near, options).unwrap();
        let (transport, irqs) = client.virtio(self.delivery).unwrap();
        assert_eq!(transport.delivery(), self.delivery);
        let served = Served {
            client,
            irqs: irqs.unwrap(),
            delivery: self.delivery,
            stop,
            server: Some(server),
        };
        (served, transport)
    }

    fn check_features(&self, features: Features) {
        assert_eq!(features & !feature::DEVICE_TYPE_BITS, self.format, "{self:?}");
    }
}

impl Served {
    fn area(&self) -> Arc<Area> {
        self.client.area().clone()
    }

    /// Waits for an interrupt that says something.
    fn wait(&self, transport: &mut Virtio) {
        let deadline = Deadline::new();
        loop {
            deadline.check();
            assert!(self.irqs.wait(DEADLINE).unwrap(), "no interrupt came");
            let taken = match self.delivery {
                Delivery::Pin => {
                    self.irqs.take(0);
                    let taken = transport.take_interrupt().unwrap();
                    self.irqs.unmask().unwrap();
                    taken
                }
                _ => transport.take_interrupt().unwrap(),
            };
            if taken != Interrupt::default() {
                return;
            }
        }
    }

    /// Nothing that the driver took of the memory is still taken.
    fn check_memory(&self) {
        let area = self.area();
        assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.raise();
        let joined = self.server.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            joined.unwrap().unwrap();
        }
    }
}

#[test]
fn entropy_in_every_way() {
    for way in ways() {
        let (served, transport) = way.join(entropy::device());
        let area = served.area();
        let mut driver = Entropy::new(transport, &area, way.options()).unwrap();
        way.check_features(driver.session().features());
        entropy::exercise(&mut driver, &area, way.size, false, |transport| {
            served.wait(transport)
        });
        drop(driver);
        served.check_memory();
    }
}

#[test]
fn block_in_every_way() {
    for (number, way) in ways().into_iter().enumerate() {
        let (served, transport) = way.join(block::device());
        let area = served.area();
        let mut disk = Block::new(transport, &area, block::QUEUES, way.options()).unwrap();
        way.check_features(disk.session().features());
        block::exercise(&mut disk, &area, number as u64, |transport| {
            served.wait(transport)
        });
        drop(disk);
        served.check_memory();
    }
}

#[test]
fn console_in_every_way() {
    for way in ways() {
        let (device, far) = console::device();
        let (served, transport) = way.join(device);
        let area = served.area();
        let mut driver = Console::new(transport, &area, way.options()).unwrap();
        way.check_features(driver.session().features());
        console::exercise(&mut driver, far, |transport| served.wait(transport));
        drop(driver);
        served.check_memory();
    }
}

#[test]
fn network_in_every_way() {
    for way in ways() {
        let (device, far) = network::device(Some(1500));
        let (served, transport) = way.join(device);
        let area = served.area();
        let mut driver = Network::new(transport, &area, way.options()).unwrap();
        way.check_features(driver.session().features());
        assert_eq!(
            (driver.mac(), driver.link_up().unwrap()),
            (Some(network::MAC), true)
        );
        let far = network::exercise(&mut driver, far, |transport| served.wait(transport));
        // The configuration changes, and the driver is told.
        drop(far);
        let deadline = Deadline::new();
        while driver.link_up().unwrap() {
            deadline.check();
            served.wait(driver.session().transport());
        }
        drop(driver);
        served.check_memory();
    }
}
