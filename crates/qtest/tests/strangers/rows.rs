//! The rows of the table: ways to QEMU's devices, and what varies on each.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use ringwright_driver::transport::mmio::Mmio;
use ringwright_driver::transport::pci::{self, Delivery, Interrupts, Pci};
use ringwright_driver::{Options, Transport};
use ringwright_qtest::{AARCH64_VIRT, MICROVM, Machine, PC, Q35, RISCV64_VIRT, RamMessages};
use ringwright_spec::{Features, feature};

use crate::devices::{self, Waiting};
use crate::world::World;

/// The columns: device ids, and names.
pub const DEVICES: [(u32, &str); 4] = [(4, "entropy"), (2, "block"), (1, "network"), (3, "console")];

/// How long a cell took, or why it failed.
pub type Outcome = Result<Duration, String>;

/// A QEMU process: a machine with four devices on one bus.
#[derive(Clone, Debug)]
pub struct Way {
    pub machine: &'static Machine,
    pub bus: Bus,
    /// What the devices offer of the interfaces.
    pub interface: Interface,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    Mmio,
    Pci,
    /// Behind a conventional bridge.
    PciBridge,
    /// Behind root ports of PCI Express.
    RootPorts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Legacy, with and without ANY_LAYOUT.
    Legacy {
        any_layout: bool,
    },
    Transitional,
    Modern,
}

/// What varies while a machine runs.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub on_mmio: bool,
    pub legacy: bool,
    pub packed: bool,
    pub waiting: Waiting,
}

/// All of them.
pub fn ways() -> Vec<Way> {
    use Bus::{Mmio, PciBridge, RootPorts};
    use Interface::{Legacy, Modern, Transitional};
    let way = |machine, bus, interface| Way {
        machine,
        bus,
        interface,
    };
    let legacy = [Legacy { any_layout: true }, Legacy { any_layout: false }];
    let both = [legacy[0], legacy[1], Modern];
    let three = [legacy[0], legacy[1], Transitional, Modern];
    let mut ways = Vec::new();
    for machine in [&MICROVM, &AARCH64_VIRT, &RISCV64_VIRT] {
        ways.extend(both.map(|interface| way(machine, Mmio, interface)));
    }
    for machine in [&PC, &AARCH64_VIRT, &RISCV64_VIRT] {
        ways.extend(three.map(|interface| way(machine, Bus::Pci, interface)));
    }
    ways.extend([
        way(&PC, PciBridge, legacy[0]),
        way(&PC, PciBridge, Transitional),
        way(&Q35, Bus::Pci, Modern),
        way(&Q35, RootPorts, Modern),
        way(&RISCV64_VIRT, RootPorts, Transitional),
    ]);
    ways
}

impl Way {
    pub const HEAD: &str = "MACHINE         BUS             DEVICE";

    /// The rows of this way.
    pub fn rows(&self) -> Vec<Row> {
        let (legacy, modern) = match self.interface {
            Interface::Legacy { .. } => (true, false),
            Interface::Transitional => (true, true),
            Interface::Modern => (false, true),
        };
        let waiting: &[Waiting] = match self.bus {
            Bus::Mmio => &[Waiting::Pin, Waiting::Polling],
            _ => &[Waiting::Messages, Waiting::Pin, Waiting::Polling],
        };
        let mut rows = Vec::new();
        for (legacy, packed) in [(true, false), (false, false), (false, true)]
            .into_iter()
            .filter(|(is_legacy, _)| if *is_legacy { legacy } else { modern })
        {
            rows.extend(waiting.iter().map(|waiting| Row {
                on_mmio: self.bus == Bus::Mmio,
                legacy,
                packed,
                waiting: *waiting,
            }));
        }
        rows
    }

    /// Runs some rows on one machine.
    pub fn run(&self, folder: &Path, rows: Vec<Row>) -> Vec<(Row, [Outcome; 4])> {
        let mut world = match guarded(|| World::start(self, folder)) {
            Ok(world) => world,
            Err(reason) => {
                let outcomes = || [(); 4].map(|()| Err(reason.clone()));
                return rows.into_iter().map(|row| (row, outcomes())).collect();
            }
        };
        rows.into_iter()
            .map(|row| (row, DEVICES.map(|(id, _)| row.run(&mut world, id))))
            .collect()
    }
}

impl Row {
    pub const HEAD: &str = "DRIVER  RING    INTERRUPTS";

    /// One cell: the driver of device `id`, with few features and with many.
    fn run(self, world: &mut World, id: u32) -> Outcome {
        let started = Instant::now();
        guarded(|| {
            for many in [false, true] {
                let options = self.options(many);
                match &mut world.functions {
                    None => {
                        let mut transport = world
                            .qemu
                            .mmio_places()
                            .filter_map(|place| Mmio::probe(place).ok().flatten())
                            .find(|transport| transport.device_id() == id)
                            .expect("the machine has this device");
                        assert_eq!(transport.legacy().is_some(), self.legacy);
                        devices::exercise(
                            &mut transport,
                            self,
                            options,
                            &mut world.outside,
                            world.qemu.area(),
                        );
                    }
                    Some(functions) => {
                        let interrupts = match self.waiting {
                            Waiting::Messages => {
                                Interrupts::Messages(Box::new(RamMessages::new(world.qemu.area())))
                            }
                            Waiting::Pin => Interrupts::Pin,
                            Waiting::Polling => Interrupts::Polling,
                        };
                        let config = functions.get_mut(&id).expect("the machine has this device");
                        let options_of_pci = pci::Options {
                            interrupts,
                            prefer_legacy: self.legacy,
                            ..pci::Options::default()
                        };
                        let map = |region: &pci::Region| world.qemu.map(region);
                        let mut transport = Pci::probe(config, map, options_of_pci).unwrap().unwrap();
                        assert_eq!(
                            (transport.device_id(), transport.legacy().is_some()),
                            (id, self.legacy)
                        );
                        devices::exercise(
                            &mut transport,
                            self,
                            options,
                            &mut world.outside,
                            world.qemu.area(),
                        );
                        let delivery = match self.waiting {
                            Waiting::Messages => Delivery::Messages,
                            Waiting::Pin => Delivery::Pin,
                            Waiting::Polling => Delivery::Polling,
                        };
                        assert_eq!(transport.delivery(), delivery);
                    }
                }
            }
        })?;
        Ok(started.elapsed())
    }

    fn options(self, many: bool) -> Options {
        let format = match self.packed {
            true => feature::RING_PACKED,
            false => Features::NONE,
        };
        let ring = match many {
            true => !feature::RING_PACKED - feature::DEVICE_TYPE_BITS,
            false => Features::NONE,
        };
        Options {
            accept: format | ring | feature::DEVICE_TYPE_BITS,
            queue_size: if many { 64 } else { 256 },
            indirect: if many { 4 } else { 0 },
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bus = match self.bus {
            Bus::Mmio => "MMIO",
            Bus::Pci if self.machine.name == Q35.name || self.machine.name != PC.name => "PCI ECAM",
            Bus::Pci => "PCI CAM",
            Bus::PciBridge => "PCI CAM bridge",
            Bus::RootPorts => "PCI ECAM ports",
        };
        let interface = match self.interface {
            Interface::Legacy { any_layout: true } => "legacy",
            Interface::Legacy { any_layout: false } => "legacy-",
            Interface::Transitional => "transitional",
            Interface::Modern => "modern",
        };
        f.pad(&format!("{:<16}{bus:<16}{interface}", self.machine.name))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.legacy { "legacy" } else { "modern" };
        let ring = if self.packed { "packed" } else { "split" };
        f.pad(&format!("{side:<8}{ring:<8}{:?}", self.waiting))
    }
}

/// Runs what may panic.
fn guarded<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default()
    })
}
