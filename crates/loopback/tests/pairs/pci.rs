//! The pairs over PCI: modern, transitional through each side, legacy; by MSI-X, by the pin, and through the window in
//! configuration space.

use std::io::Read;
use std::sync::Arc;

use ringwright_device::Device;
use ringwright_device::transport::pci::{Kind, Multiplier, Options};
use ringwright_driver::console::emergency_write;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::transport::pci::{self, Address, Delivery, Interrupts, Pci, Region, Window, Windows};
use ringwright_driver::{Interrupt, Transport};
use ringwright_loopback::{BarRegisters, PciBus, PciConfig, PciSlot};
use ringwright_memory::Area;
use ringwright_spec::{Features, feature};

use crate::common::*;
use crate::ways::{self, Shape, Way};
use crate::{block, console, entropy, network};

type Transported = Pci<PciConfig, BarRegisters>;

#[derive(Clone, Copy, Debug)]
struct OverPci {
    kind: Kind,
    /// By which interface the driver drives it.
    legacy: bool,
    delivery: Delivery,
    /// MSI-X vectors, fewer than there are events.
    vectors: Option<u16>,
    /// The BARs are not mapped.
    by_window: bool,
    shape: Shape,
}

const DELIVERIES: [Delivery; 2] = [Delivery::Messages, Delivery::Pin];

fn ways() -> Vec<OverPci> {
    let mut ways = Vec::new();
    for delivery in DELIVERIES {
        for kind in [Kind::NonTransitional, Kind::Transitional] {
            let modern = shapes().into_iter().map(|shape| OverPci {
                kind,
                legacy: false,
                delivery,
                vectors: None,
                by_window: false,
                shape,
            });
            // All that there is in one kind, every third in the other.
            let step = if kind == Kind::NonTransitional { 1 } else { 3 };
            ways.extend(modern.step_by(step));
        }
        for kind in [Kind::Transitional, Kind::Legacy] {
            // The size is the device's.
            ways.extend(ways::legacy_shapes(256).into_iter().map(|shape| OverPci {
                kind,
                legacy: true,
                delivery,
                vectors: None,
                by_window: false,
                shape,
            }));
        }
    }
    let format = feature::VERSION_1 | feature::NOTIF_CONFIG_DATA | feature::NOTIFICATION_DATA;
    let special = OverPci {
        kind: Kind::NonTransitional,
        legacy: false,
        delivery: Delivery::Messages,
        vectors: None,
        by_window: false,
        shape: (format, 64),
    };
    ways.extend([
        special,
        OverPci {
            shape: (format | feature::RING_PACKED, 33),
            ..special
        },
        OverPci {
            vectors: Some(1),
            ..special
        },
        OverPci {
            vectors: Some(2),
            ..special
        },
        OverPci {
            by_window: true,
            delivery: Delivery::Pin,
            ..special
        },
    ]);
    ways
}

impl OverPci {
    fn attach(&self, bus: &PciBus, device: Box<dyn Device>) -> PciSlot {
        let mut options = Options {
            kind: self.kind,
            vectors: self.vectors,
            notify_off_multiplier: Multiplier::new(if self.by_window { 0 } else { 4096 }).unwrap(),
            ..Options::default()
        };
        options.common.platform_features = feature::ORDER_PLATFORM;
        bus.attach(device, options).unwrap()
    }

    fn probe(&self, config: PciConfig, slot: &PciSlot) -> Transported {
        let interrupts = match self.delivery {
            Delivery::Messages => Interrupts::Messages(slot.messages()),
            Delivery::Pin => Interrupts::Pin,
            Delivery::Polling => Interrupts::Polling,
        };
        let options = pci::Options {
            interrupts,
            prefer_legacy: self.legacy,
            ..pci::Options::default()
        };
        let map = |region: &Region| match self.by_window {
            true => None,
            false => slot.map(region),
        };
        Pci::probe(config, map, options).unwrap().unwrap()
    }
}

fn windows() -> Windows {
    Windows {
        io: Window::new(0xc000, 0x1000),
        memory: Window::new(0xe000_0000, 0x1000_0000),
        prefetchable: Window::new(0x80_0000_0000, 0x1_0000_0000),
    }
}

impl Way for OverPci {
    type Transport = Transported;

    fn shape(&self) -> Shape {
        self.shape
    }

    fn join(&self, device: Box<dyn Device>) -> (Self::Transport, Arc<Area>) {
        let bus = PciBus::new(16 << 20).unwrap();
        let slot = self.attach(&bus, device);
        let mut found = pci::configure(&bus, 0, &mut windows()).unwrap();
        assert_eq!(found.len(), 1);
        (self.probe(found.remove(0).config, &slot), bus.area().clone())
    }

    fn wait(transport: &mut Self::Transport) {
        let slot = transport.config().slot().unwrap().clone();
        while transport.take_interrupt().unwrap() == Interrupt::default() {
            assert!(slot.wait(DEADLINE), "no interrupt came");
        }
    }

    fn check(&self, transport: &mut Self::Transport) {
        assert_eq!(transport.delivery(), self.delivery, "{self:?}");
        assert_eq!(transport.legacy().is_some(), self.legacy);
        let slot = transport.config().slot().unwrap().clone();
        let counters = slot.with_function(|function| function.counters());
        assert!(counters.iter().all(|queue| queue.errors == 0));
        assert_eq!(slot.strays(), 0);
    }
}

#[test]
fn entropy_in_every_way() {
    ways().into_iter().for_each(ways::entropy);
}

#[test]
fn block_in_every_way() {
    for (seed, way) in (0..).zip(ways()) {
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
fn queues_are_reset_and_devices_suspended() {
    for delivery in DELIVERIES {
        for by_window in [false, true] {
            for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
                let way = |extra| OverPci {
                    kind: Kind::NonTransitional,
                    legacy: false,
                    // The vector table is not reached through the window.
                    delivery: if by_window { Delivery::Pin } else { delivery },
                    vectors: None,
                    by_window,
                    shape: (format | extra, 8),
                };
                ways::reset_a_queue(way(feature::RING_RESET));
                ways::suspend(way(feature::SUSPEND));
            }
        }
    }
}

/// Each driver finds the function as the last one has left it: another interface, another kind of interrupts.
#[test]
fn one_driver_after_another_by_either_interface() {
    let first = OverPci {
        kind: Kind::Transitional,
        legacy: false,
        delivery: Delivery::Messages,
        vectors: None,
        by_window: false,
        shape: (Features::NONE, 256),
    };
    let bus = PciBus::new(16 << 20).unwrap();
    let slot = first.attach(&bus, Box::new(entropy::device()));
    let area = bus.area().clone();
    pci::configure(&bus, 0, &mut windows()).unwrap();
    for round in 0..8 {
        let way = OverPci {
            legacy: round % 2 == 1,
            delivery: DELIVERIES[round / 2 % 2],
            ..first
        };
        let found = pci::scan(&bus, 0).unwrap().remove(0);
        let transport = way.probe(found.config, &slot);
        let format = [feature::EVENT_IDX, feature::RING_PACKED][round % 2];
        let mut driver = Entropy::new(transport, &area, options(format, 256)).unwrap();
        driver.request(area.allocate(8, 1).unwrap()).unwrap().unwrap();
        let deadline = Deadline::new();
        while driver.poll().unwrap().is_none() {
            deadline.check();
            if !driver.enable_notifications() {
                OverPci::wait(driver.session().transport());
            }
        }
        way.check(driver.session().transport());
    }
}

#[test]
fn emergency_output_goes_through_the_configuration_space() {
    for legacy in [false, true] {
        let (device, mut far) = console::device();
        let way = OverPci {
            kind: Kind::Transitional,
            legacy,
            delivery: Delivery::Pin,
            vectors: None,
            by_window: false,
            shape: (Features::NONE, 256),
        };
        let (mut transport, _area) = way.join(Box::new(device));
        assert!(emergency_write(&mut transport, b'!').unwrap());
        let mut bytes = [0];
        far.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"!");
    }
}

#[test]
fn devices_of_one_bus_are_found_and_driven_side_by_side() {
    let bus = PciBus::new(16 << 20).unwrap();
    let (console, _far) = console::device();
    let (card, _cable) = network::device(None);
    let devices: [Box<dyn Device>; 4] = [
        Box::new(entropy::device()),
        Box::new(block::device()),
        Box::new(console),
        Box::new(card),
    ];
    let kinds = [
        Kind::Legacy,
        Kind::Transitional,
        Kind::NonTransitional,
        Kind::Legacy,
    ];
    for (device, kind) in devices.into_iter().zip(kinds) {
        let options = Options {
            kind,
            ..Options::default()
        };
        bus.attach(device, options).unwrap();
    }
    let area = bus.area().clone();
    let found = pci::configure(&bus, 0, &mut windows()).unwrap();
    let ids: Vec<_> = found.iter().map(|function| function.device_id).collect();
    assert_eq!(ids, [0x1005, 0x1001, 0x1043, 0x1000]);
    let mut transports = found.into_iter().map(|function| {
        let slot = bus.slot(function.address).unwrap();
        let options = pci::Options {
            interrupts: Interrupts::Messages(slot.messages()),
            ..pci::Options::default()
        };
        let map = |region: &Region| slot.map(region);
        Pci::probe(function.config, map, options).unwrap().unwrap()
    });
    let (mut source, mut disk) = {
        let accept = options(feature::EVENT_IDX, 256);
        let source = Entropy::new(transports.next().unwrap(), &area, accept).unwrap();
        let disk =
            ringwright_driver::block::Block::new(transports.next().unwrap(), &area, 2, accept).unwrap();
        (source, disk)
    };
    assert!(source.session().is_legacy() && !disk.session().is_legacy());
    entropy::exercise(&mut source, &area, 256, false, OverPci::wait);
    block::exercise(&mut disk, &area, 1, OverPci::wait);
    assert!(bus.slot(Address::new(0, 4, 0).unwrap()).is_none());
}
