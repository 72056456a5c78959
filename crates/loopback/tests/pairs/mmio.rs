//! The pairs over MMIO, both versions.

use std::io::Read;
use std::sync::Arc;

use ringwright_device::Device;
use ringwright_device::transport::mmio::{Options, Version};
use ringwright_driver::console::emergency_write;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::transport::mmio::Mmio;
use ringwright_driver::{Interrupt, Transport};
use ringwright_loopback::MmioRegisters;
use ringwright_memory::Area;
use ringwright_spec::{Features, feature};

use crate::common::*;
use crate::ways::{self, Shape, Way};
use crate::{console, entropy};

#[derive(Clone, Copy, Debug)]
struct OverMmio {
    legacy: bool,
    shape: Shape,
}

fn ways() -> Vec<OverMmio> {
    let modern = shapes()
        .into_iter()
        .map(|shape| OverMmio { legacy: false, shape });
    let legacy = ways::legacy_shapes(64)
        .into_iter()
        .map(|shape| OverMmio { legacy: true, shape });
    modern.chain(legacy).collect()
}

struct Joined {
    transport: Mmio<MmioRegisters>,
    registers: MmioRegisters,
}

impl Way for OverMmio {
    type Transport = Mmio<MmioRegisters>;

    fn shape(&self) -> Shape {
        self.shape
    }

    fn join(&self, device: Box<dyn Device>) -> (Self::Transport, Arc<Area>) {
        let joined = join_mmio(device, self.legacy);
        (joined.transport, joined.registers.area().clone())
    }

    fn wait(transport: &mut Self::Transport) {
        let registers = transport.registers().clone();
        while transport.take_interrupt().unwrap() == Interrupt::default() {
            assert!(registers.wait(DEADLINE), "no interrupt came");
        }
    }

    fn check(&self, transport: &mut Self::Transport) {
        let registers = transport.registers().clone();
        let counters = registers.with_model(|model| model.counters());
        assert!(counters.iter().all(|queue| queue.errors == 0));
        assert_eq!(transport.legacy().is_some(), self.legacy);
    }
}

fn join_mmio(device: Box<dyn Device>, legacy: bool) -> Joined {
    let mut options = Options {
        version: if legacy { Version::Legacy } else { Version::Modern },
        ..Options::default()
    };
    options.common.platform_features = feature::ORDER_PLATFORM;
    let registers = MmioRegisters::new(device, options, 16 << 20).unwrap();
    let transport = Mmio::probe(registers.clone()).unwrap().unwrap();
    Joined { transport, registers }
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
    for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        let way = |extra| OverMmio {
            legacy: false,
            shape: (format | extra, 8),
        };
        ways::reset_a_queue(way(feature::RING_RESET));
        ways::suspend(way(feature::SUSPEND));
    }
}

#[test]
fn one_driver_after_another() {
    for legacy in [false, true] {
        let Joined {
            mut transport,
            registers,
        } = join_mmio(Box::new(entropy::device()), legacy);
        let area = registers.area().clone();
        for format in [feature::EVENT_IDX, feature::RING_PACKED, Features::NONE] {
            let mut driver = Entropy::new(&mut transport, &area, options(format, 8)).unwrap();
            driver.request(area.allocate(8, 1).unwrap()).unwrap().unwrap();
            let deadline = Deadline::new();
            while driver.poll().unwrap().is_none() {
                deadline.check();
                if !driver.enable_notifications() {
                    OverMmio::wait(driver.session().transport());
                }
            }
        }
    }
}

#[test]
fn emergency_output_goes_through_the_configuration_space() {
    for legacy in [false, true] {
        let (device, mut far) = console::device();
        let mut joined = join_mmio(Box::new(device), legacy);
        assert!(emergency_write(&mut joined.transport, b'!').unwrap());
        let mut bytes = [0];
        far.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"!");
    }
}
