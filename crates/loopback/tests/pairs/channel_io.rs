//! The same pairs over channel I/O: every request by way of virtqueues that channel programs have set up, every
//! notification by DIAGNOSE one way and by indicators and interruptions the other.

use std::io::Read;
use std::sync::Arc;

use ringwright_device::Device;
use ringwright_device::transport::ccw as device_side;
use ringwright_driver::block::Block;
use ringwright_driver::console::emergency_write;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::transport::ccw::{Ccw, CcwOptions, discover};
use ringwright_driver::{Interrupt, Options, Transport};
use ringwright_loopback::Channels;
use ringwright_memory::Area;
use ringwright_spec::ccw::Revision;
use ringwright_spec::feature;

use crate::common::*;
use crate::ways::{self, Shape, Way};
use crate::{block, console, entropy, network};

/// One way to drive a device.
#[derive(Clone, Copy, Debug)]
struct OverChannels {
    revision: Revision,
    /// Interruption subclass of adapter I/O interrupts, or classic ones.
    adapter: Option<u8>,
    shape: Shape,
}

/// All revisions, both kinds of indicators, and in each all ring formats that there are.
fn ways() -> Vec<OverChannels> {
    let mut ways = Vec::new();
    for adapter in [None, Some(2)] {
        let latest = [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED];
        let latest = latest.map(|format| (format | feature::EVENT_IDX | feature::SUSPEND, 64));
        for (revision, shapes) in [
            (Revision::LEGACY, ways::legacy_shapes(256)),
            (Revision::VIRTIO_1, shapes()),
            (Revision::READ_STATUS, latest.into()),
        ] {
            ways.extend(shapes.into_iter().map(|(format, size)| OverChannels {
                revision,
                adapter,
                shape: (format & !feature::RING_RESET & !feature::ORDER_PLATFORM, size),
            }));
        }
    }
    ways
}

impl OverChannels {
    /// The driver's transport. The driver knows more than the device does.
    fn probe(&self, device: Box<dyn Device>) -> Ccw<Channels> {
        let channels = Channels::new(16 << 20).unwrap();
        let options = device_side::Options {
            subchannel: 7,
            max_revision: self.revision,
            ..device_side::Options::default()
        };
        let id = channels.attach(device, options).unwrap();
        let options = CcwOptions {
            adapter_subclass: self.adapter,
            ..CcwOptions::default()
        };
        let area = channels.area().clone();
        let transport = Ccw::probe(channels, id, &area, options).unwrap().unwrap();
        assert_eq!(transport.revision(), self.revision);
        transport
    }
}

impl Way for OverChannels {
    type Transport = Ccw<Channels>;

    fn shape(&self) -> Shape {
        self.shape
    }

    fn join(&self, device: Box<dyn Device>) -> (Self::Transport, Arc<Area>) {
        let mut transport = self.probe(device);
        let area = transport.subsystem().area().clone();
        (transport, area)
    }

    /// A notification that met the end of a channel program has come without an interruption.
    fn wait(transport: &mut Self::Transport) {
        while transport.take_interrupt().unwrap() == Interrupt::default() {
            assert!(transport.subsystem().wait(DEADLINE), "no interruption came");
        }
    }

    fn check(&self, transport: &mut Self::Transport) {
        let counters = transport
            .subsystem()
            .with_subchannel(0x1_0007, |subchannel| subchannel.counters());
        let counters = counters.unwrap();
        assert!(counters.iter().any(|queue| queue.chains > 0));
        assert!(counters.iter().all(|queue| queue.errors == 0));
    }
}

#[test]
fn entropy_in_every_way() {
    ways().into_iter().for_each(ways::entropy);
}

#[test]
fn block_in_every_way() {
    for (way, seed) in ways().into_iter().zip(0..) {
        ways::block(way, seed);
    }
}

#[test]
fn every_request_in_every_way() {
    ways().into_iter().for_each(ways::disk);
}

#[test]
fn console_in_every_way() {
    ways().into_iter().for_each(ways::console);
}

#[test]
fn network_in_every_way() {
    ways().into_iter().for_each(ways::network);
}

#[test]
fn a_suspended_device_answers_when_it_is_resumed() {
    let latest = |way: &OverChannels| way.revision == Revision::READ_STATUS;
    ways().into_iter().filter(latest).for_each(ways::suspend);
}

#[test]
fn emergency_output_goes_through_the_configuration_space() {
    for revision in [Revision::LEGACY, Revision::VIRTIO_1, Revision::READ_STATUS] {
        let way = OverChannels {
            revision,
            adapter: None,
            shape: (feature::VERSION_1, 8),
        };
        let (device, mut far) = console::device();
        let mut transport = way.probe(Box::new(device));
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
    entropy::exercise(&mut source, &area, 256, false, OverChannels::wait);
    block::exercise(&mut disk, &area, 1, OverChannels::wait);
    drop((source, disk));
    assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
}
