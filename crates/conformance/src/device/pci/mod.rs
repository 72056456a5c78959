//! Virtio over PCI (section 4.1).

mod capabilities;
mod common;
mod interrupts;
mod queue_reset;
mod window;

use ringwright_driver::transport::Registers;
use ringwright_driver::transport::pci::Region;
use ringwright_memory::Width;
use ringwright_spec::pci::CfgType;
use ringwright_spec::pci::common_cfg::DEVICE_STATUS;
use ringwright_spec::status::Status;

use crate::check::{Check, Ended, Needs, Outcome};
use crate::mutant::Shadow;
use crate::probe::Probe;
use crate::raw::{Capabilities, Structure};
use crate::subject::{Bus, Raw, RawPci};

pub(super) const CHECKS: [&[Check]; 5] = [
    capabilities::CHECKS,
    common::CHECKS,
    interrupts::CHECKS,
    queue_reset::CHECKS,
    window::CHECKS,
];

const OVER_PCI: Needs = Needs::buses(&[Bus::Pci]);

fn function(probe: &mut Probe) -> Outcome<&mut RawPci> {
    match probe.raw() {
        Raw::Pci(function) => Ok(function),
        _ => Err(Ended::NotApplicable("it is no PCI function".into())),
    }
}

fn capabilities(probe: &mut Probe) -> Outcome<Capabilities> {
    Ok(Capabilities::read(&mut function(probe)?.config)?)
}

/// The registers of a structure that every device has, or the device-specific configuration.
fn open(probe: &mut Probe, cfg_type: CfgType) -> Outcome<Box<dyn Registers + Send>> {
    let structure = capabilities(probe)?.structure(cfg_type).copied();
    let missing = || Ended::NotApplicable(format!("it has no structure of type {}", cfg_type.0));
    map(function(probe)?, &structure.ok_or_else(missing)?)
}

fn map(function: &mut RawPci, structure: &Structure) -> Outcome<Box<dyn Registers + Send>> {
    let bar = function.bars.iter().find(|bar| bar.index == structure.bar);
    let region = bar.map(|bar| Region {
        bar: bar.index,
        offset: structure.offset,
        length: structure.length,
        space: bar.space,
        address: Some(bar.address + structure.offset),
    });
    let registers = region.and_then(|region| (function.map)(&region));
    registers.ok_or_else(|| Ended::NotApplicable("its BARs cannot be reached".into()))
}

/// Whether the driver has set DRIVER_OK, and not reset the device since.
fn is_live(shadow: &Shadow) -> bool {
    shadow.last("common", DEVICE_STATUS) & u32::from(Status::DRIVER_OK.0) != 0
}

/// What is read at `offset` of the configuration space of a live device, if the byte at `at` of it were `byte`.
fn with_byte(shadow: &Shadow, place: (&str, u64, Width), value: u32, at: u64, byte: u8) -> u32 {
    let (name, offset, width) = place;
    let mut bytes = value.to_le_bytes();
    match at.checked_sub(offset) {
        Some(number) if name == "config" && number < width.bytes() as u64 && is_live(shadow) => {
            bytes[number as usize] = byte;
            u32::from_le_bytes(bytes)
        }
        _ => value,
    }
}

/// The same for the byte at `field` of the capability that locates a structure.
fn with_field(
    shadow: &Shadow,
    place: (&str, u64, Width),
    value: u32,
    cfg_type: CfgType,
    field: u64,
    byte: u8,
) -> u32 {
    match shadow.capabilities.structure(cfg_type) {
        Some(structure) => with_byte(shadow, place, value, structure.at + field, byte),
        None => value,
    }
}
