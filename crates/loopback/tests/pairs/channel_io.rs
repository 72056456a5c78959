//! The same pairs over channel I/O: every request by way of virtqueues that channel programs have set up, every
//! notification by DIAGNOSE one way and by indicators and interruptions the other.

use std::io::Read;
use std::sync::Arc;

use ringwright_device::Device;
use ringwright_device::block::ZoneModel;
use ringwright_device::transport::ccw as device_side;
use ringwright_driver::block::Block;
use ringwright_driver::console::{Console, emergency_write};
use ringwright_driver::entropy::Entropy;
use ringwright_driver::network::Network;
use ringwright_driver::transport::ccw::{Ccw, CcwOptions, discover};
use ringwright_driver::{Interrupt, Options, Transport};
use ringwright_loopback::Channels;
use ringwright_memory::Area;
use ringwright_spec::ccw::Revision;
use ringwright_spec::{Features, feature};

use crate::common::*;
use crate::{block, console, disk, entropy, network};

/// One way to drive a device.
#[derive(Clone, Copy, Debug)]
struct Way {
    revision: Revision,
    /// Interruption subclass of adapter I/O interrupts, or classic ones.
    adapter: Option<u8>,
    format: Features,
    size: u16,
}

/// All revisions, both kinds of indicators, and in each all ring formats that there are.
fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for adapter in [None, Some(2)] {
        for (revision, shapes) in [
            (Revision::LEGACY, legacy_shapes()),
            (Revision::VIRTIO_1, shapes()),
        ] {
            ways.extend(shapes.into_iter().map(|(format, size)| Way {
                revision,
                adapter,
                format: format & !feature::RING_RESET & !feature::ORDER_PLATFORM,
                size,
            }));
        }
        ways.extend(
            [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED].map(|format| Way {
                revision: Revision::READ_STATUS,
                adapter,
                format: format | feature::EVENT_IDX | feature::SUSPEND,
                size: 64,
            }),
        );
    }
    ways
}

/// The ring formats of revision 0. All drivers accept ANY_LAYOUT; the size is the device's.
fn legacy_shapes() -> Vec<(Features, u16)> {
    let bits = [
        Features::NONE,
        feature::EVENT_IDX,
        feature::INDIRECT_DESC,
        feature::EVENT_IDX | feature::INDIRECT_DESC,
    ];
    bits.map(|bits| (bits | feature::ANY_LAYOUT, 256)).into()
}

impl Way {
    fn options(&self) -> Options {
        options(self.format, self.size)
    }

    /// Joins a device with a driver to come. The driver knows more than the device does.
    fn join(&self, device: impl Device + 'static) -> Ccw<Channels> {
        let channels = Channels::new(16 << 20).unwrap();
        let options = device_side::Options {
            subchannel: 7,
            max_revision: self.revision,
            ..device_side::Options::default()
        };
        let id = channels.attach(Box::new(device), options).unwrap();
        let options = CcwOptions {
            adapter_subclass: self.adapter,
            ..CcwOptions::default()
        };
        let area = channels.area().clone();
        let transport = Ccw::probe(channels, id, &area, options).unwrap().unwrap();
        assert_eq!(transport.revision(), self.revision);
        transport
    }

    fn check_features(&self, features: Features) {
        let ring = features & !feature::DEVICE_TYPE_BITS;
        assert_eq!(ring, self.format, "{self:?}");
    }
}

/// Waits for a notification. One that met the end of a channel program has come without an interruption.
fn wait(transport: &mut Ccw<Channels>) {
    while transport.take_interrupt().unwrap() == Interrupt::default() {
        assert!(transport.subsystem().wait(DEADLINE), "no interruption came");
    }
}

fn area_of(transport: &mut Ccw<Channels>) -> Arc<Area> {
    transport.subsystem().area().clone()
}

#[test]
fn entropy_in_every_way() {
    for way in ways() {
        let mut transport = way.join(entropy::device());
        let area = area_of(&mut transport);
        let mut driver = Entropy::new(transport, &area, way.options()).unwrap();
        way.check_features(driver.session().features());
        entropy::exercise(&mut driver, &area, way.size, false, wait);
        drop(driver);
        assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
    }
}

#[test]
fn block_in_every_way() {
    for (number, way) in ways().into_iter().enumerate() {
        let mut transport = way.join(block::device());
        let area = area_of(&mut transport);
        let channels = transport.subsystem().clone();
        let mut disk = Block::new(transport, &area, block::QUEUES, way.options()).unwrap();
        way.check_features(disk.session().features());
        block::exercise(&mut disk, &area, number as u64, wait);
        let counters = channels
            .with_subchannel(0x1_0007, |subchannel| subchannel.counters())
            .unwrap();
        let chains: u64 = counters.iter().map(|queue| queue.chains).sum();
        assert_eq!(chains, block::REQUESTS);
        assert!(counters.iter().all(|queue| queue.errors == 0));
        drop(disk);
        assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
    }
}

#[test]
fn every_request_in_every_way() {
    for way in ways() {
        let mut transport = way.join(disk::device());
        let area = area_of(&mut transport);
        let driver = Block::new(transport, &area, 1, way.options()).unwrap();
        disk::exercise(driver, &area, wait);
        if way.revision != Revision::LEGACY {
            let mut transport = way.join(disk::zoned_device(ZoneModel::HostAware));
            let area = area_of(&mut transport);
            let driver = Block::new(transport, &area, 1, way.options()).unwrap();
            disk::exercise_zones(driver, wait);
        }
        assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
    }
}

#[test]
fn console_in_every_way() {
    for way in ways() {
        let (device, far) = console::device();
        let mut transport = way.join(device);
        let area = area_of(&mut transport);
        let mut driver = Console::new(transport, &area, way.options()).unwrap();
        way.check_features(driver.session().features());
        console::exercise(&mut driver, far, wait);
        drop(driver);
        assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
    }
}

#[test]
fn network_in_every_way() {
    for way in ways() {
        let (device, far) = network::device(Some(1500));
        let mut transport = way.join(device);
        let area = area_of(&mut transport);
        let mut driver = Network::new(transport, &area, way.options()).unwrap();
        way.check_features(driver.session().features());
        assert_eq!(
            (driver.mac(), driver.link_up().unwrap()),
            (Some(network::MAC), true)
        );
        let far = network::exercise(&mut driver, far, wait);
        // The configuration changes, and the driver is told.
        drop(far);
        let deadline = Deadline::new();
        while driver.link_up().unwrap() {
            deadline.check();
            wait(driver.session().transport());
        }
        drop(driver);
        assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
    }
}

#[test]
fn emergency_output_goes_through_the_configuration_space() {
    for revision in [Revision::LEGACY, Revision::VIRTIO_1, Revision::READ_STATUS] {
        let way = Way {
            revision,
            adapter: None,
            format: feature::VERSION_1,
            size: 8,
        };
        let (device, mut far) = console::device();
        let mut transport = way.join(device);
        for byte in [b'a', b'a'] {
            assert!(emergency_write(&mut transport, byte).unwrap());
        }
        let mut bytes = [0; 2];
        far.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"aa");
    }
}

#[test]
fn devices_of_one_machine_are_found_and_driven_side_by_side() {
    let channels = Channels::new(16 << 20).unwrap();
    let (console, _far) = console::device();
    let (card, _cable) = network::device(None);
    let devices: [Box<dyn Device>; 4] = [
        Box::new(entropy::device()),
        Box::new(block::device()),
        Box::new(console),
        Box::new(card),
    ];
    for (number, device) in (0..).zip(devices) {
        let options = device_side::Options {
            subchannel: number,
            device_number: 0x100 + number,
            transitional: number % 2 == 0,
            ..device_side::Options::default()
        };
        channels.attach(device, options).unwrap();
    }
    let area = channels.area().clone();
    let found = discover(channels.clone(), &area).unwrap();
    let seen: Vec<_> = found
        .iter()
        .map(|found| (found.subchannel, found.device_number, found.device_id))
        .collect();
    assert_eq!(
        seen,
        [
            (0x1_0000, 0x100, 4),
            (0x1_0001, 0x101, 2),
            (0x1_0002, 0x102, 3),
            (0x1_0003, 0x103, 1)
        ]
    );
    let probe = |index: usize| {
        let id = found[index].subchannel;
        let probed = Ccw::probe(channels.clone(), id, &area, CcwOptions::default());
        probed.unwrap().unwrap()
    };
    let options = Options::default();
    let mut source = Entropy::new(probe(0), &area, options).unwrap();
    let mut disk = Block::new(probe(1), &area, block::QUEUES, options).unwrap();
    entropy::exercise(&mut source, &area, 256, false, wait);
    block::exercise(&mut disk, &area, 1, wait);
    drop((source, disk));
    assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
}

#[test]
fn a_suspended_device_answers_when_it_is_resumed() {
    for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        let way = Way {
            revision: Revision::READ_STATUS,
            adapter: Some(1),
            format: format | feature::SUSPEND,
            size: 8,
        };
        let mut transport = way.join(entropy::device());
        let area = area_of(&mut transport);
        let mut driver = Entropy::new(transport, &area, way.options()).unwrap();
        for _ in 0..3 {
            driver.session().suspend().unwrap();
            driver.session().resume().unwrap();
            driver.request(area.allocate(8, 1).unwrap()).unwrap().unwrap();
            while driver.poll().unwrap().is_none() {
                if !driver.enable_notifications() {
                    wait(driver.session().transport());
                }
            }
        }
    }
}
