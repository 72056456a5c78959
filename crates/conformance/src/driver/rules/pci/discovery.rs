//! How a driver finds a device and its structures (sections 4.1.2 to 4.1.4).

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_memory::Width;
use ringwright_spec::pci::common_cfg as registers;
use ringwright_spec::pci::header::{self};
use ringwright_spec::status::Status;

use super::super::mmio::field_width;
use super::super::works;
use super::{ALONE, slips};
use crate::driver::scenario::Oddity;
use crate::driver::strict::pci::{COMMON, COMMON_CAP, NOTIFY, WINDOW_DATA, is_capability};
use crate::driver::{Access, Event, Mutant, Part, Past, Rule, Told, Watch};
use crate::subject::Bus;

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "pci.found",
        &["drv:pci:pci-device-discovery:01"],
        "the function has the Vendor ID of virtio and the Device ID of the device type",
        "The driver does not take it.",
        // That it cannot use it, once it has taken it, is not for this rule.
        |watch, past, event| match event {
            Event::StatusWritten(status) if status.contains(Status::DRIVER) => watch.note = 1,
            Event::Ends(how) if past.bus == Bus::Pci && past.scenario.function.oddity == Oddity::None => {
                watch.expect(watch.note == 1, || format!("it is not taken: {how:?}"));
            }
            _ => {}
        },
        &[Mutant {
            name: "the function is somebody else's",
            slip: slips(|registers, _, access| reads_as(registers, access, header::DEVICE_ID, 0x1234)),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.found-transitional",
        &["drv:pci:pci-device-discovery:02"],
        "the function has the Transitional PCI Device ID of the device type",
        "The driver does not take it.",
        |watch, past, event| {
            if past.device.transitional_pci_id.is_some() {
                taken(watch, past, event, Oddity::Transitional);
            }
        },
        &[Mutant {
            name: "a transitional device is somebody else's",
            scenario: "pci-transitional",
            slip: slips(|registers, _, access| reads_as(registers, access, header::DEVICE_ID, 0x1234)),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.any-revision",
        &["drv:pci:pci-device-discovery:03"],
        "the Revision ID of the function is 0x5a",
        "The driver does not take it.",
        |watch, past, event| taken(watch, past, event, Oddity::Revision),
        &[Mutant {
            name: "a revision is not known",
            scenario: "pci-revision",
            slip: slips(
                |registers, _, access| match registers.read8(header::REVISION_ID as u64)? {
                    1 => access.make(registers),
                    _ => reads_as(registers, access, header::DEVICE_ID, 0x1234),
                },
            ),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.config-width",
        &["drv:pci:pci-device-layout:01"],
        "the driver accesses a field of the device-specific configuration",
        "The access is not of the field's width, or not aligned.",
        |watch, past, event| {
            if let Event::Function(Part::Device, access) = event
                && let Some(width) = field_width(past.device.id, access.offset)
            {
                let right = access.width == width && access.offset.is_multiple_of(width.bytes() as u64);
                watch.expect(right, || {
                    format!("{access:x?}, the field has {} bytes", width.bytes())
                });
            }
        },
        &[Mutant {
            name: "a field is read by halves",
            slip: slips(|registers, _, access| {
                if !(COMMON + 0x2000..NOTIFY).contains(&access.offset) || access.width != Width::Four {
                    return access.make(registers);
                }
                let low = registers.read16(access.offset)?;
                let high = registers.read16(access.offset + 2)?;
                Ok(u32::from(low) | u32::from(high) << 16)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.reserved-type",
        &["drv:pci:virtio-structure-pci-capabilities:01"],
        "the first capability of virtio has a cfg_type that is reserved",
        "The driver uses what it names, or does not work.",
        |watch, past, event| ignored(watch, past, event, Oddity::ReservedType),
        &[Mutant {
            name: "a type that nobody knows is the common configuration",
            scenario: "pci-reserved-type",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                let is_odd = is_space(&access) && access.width == Width::Four && value >> 24 == 0x77;
                Ok(if is_odd {
                    value & 0xff_ffff | 1 << 24
                } else {
                    value
                })
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.first-instance",
        &["drv:pci:virtio-structure-pci-capabilities:02"],
        "there are two instances of the common configuration",
        "The driver uses the second.",
        |watch, past, event| match event {
            Event::Function(Part::Second, access) => watch.broken(format!("{access:x?}")),
            Event::Ends(_) if past.scenario.function.oddity == Oddity::Twice && past.lives > 0 => {
                watch.seen()
            }
            _ => {}
        },
        &[Mutant {
            name: "the last instance is the best",
            scenario: "pci-twice",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                let is_first = access.reads(COMMON_CAP) && access.width == Width::Four;
                Ok(if is_first {
                    value & 0xff_ffff | 0x77 << 24
                } else {
                    value
                })
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.long-capabilities",
        &["drv:pci:virtio-structure-pci-capabilities:03"],
        "cap_len is larger than it has to be",
        "The driver does not take the device.",
        |watch, past, event| taken(watch, past, event, Oddity::LongCapabilities),
        &[Mutant {
            name: "a longer capability is not known",
            scenario: "pci-long-capabilities",
            slip: slips(|registers, _, access| {
                match is_space(&access) && access.width == Width::One && access.offset >= COMMON_CAP {
                    true if registers.read8(access.offset + 2)? > 20 => Ok(0),
                    _ => access.make(registers),
                }
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.reserved-bar",
        &["drv:pci:virtio-structure-pci-capabilities:04"],
        "the first capability of virtio has a bar value that is reserved",
        "The driver uses what it names, or does not work.",
        |watch, past, event| ignored(watch, past, event, Oddity::ReservedBar),
        &[Mutant {
            name: "BAR 7 is taken for BAR 4",
            scenario: "pci-reserved-bar",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                let is_odd = is_space(&access) && access.offset > WINDOW_DATA && value == 7;
                Ok(if is_odd { 4 } else { value })
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.large-structures",
        &["drv:pci:virtio-structure-pci-capabilities:06"],
        "structures are larger than they have to be",
        "The driver does not work.",
        |watch, past, event| taken(watch, past, event, Oddity::LargeStructures),
        &[Mutant {
            name: "a structure that is too large is an error",
            scenario: "pci-large-structures",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                match access.reads(COMMON_CAP + 12) && value > 64 {
                    true => Err(TransportError::Protocol("a structure is too large")),
                    false => Ok(value),
                }
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.large-config",
        &["drv:core:device-configuration-space:03"],
        "the device-specific configuration is larger than the document's",
        "The driver does not work.",
        |watch, past, event| taken(watch, past, event, Oddity::LargeConfig),
        &[Mutant {
            name: "a configuration that is too large is an error",
            scenario: "pci-large-config",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                match is_space(&access) && access.width == Width::Four && value == 0x2000 {
                    true => Err(TransportError::Protocol("a configuration is too large")),
                    false => Ok(value),
                }
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.capabilities-kept",
        &["drv:pci:virtio-structure-pci-capabilities:07"],
        "the driver sets DRIVER_OK",
        "A field of a Virtio Structure PCI Capability is written, and it is not that of the window.",
        |watch, _, event| match event {
            Event::Function(Part::Config, access) if access.write => {
                let harmless = !is_capability(access.offset, access.width.bytes() as u64);
                watch.expect(harmless, || format!("{access:x?}"));
            }
            Event::StatusWritten(status) if status.contains(Status::DRIVER_OK) => watch.seen(),
            _ => {}
        },
        &[Mutant {
            name: "the BAR of a capability is written",
            slip: slips(|registers, _, access| {
                if access.writes(COMMON + registers::QUEUE_ENABLE) {
                    registers.write8(COMMON_CAP + 4, 0)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
];

/// A function of this oddity is taken, and works.
fn taken(watch: &mut Watch, past: &Past, event: &Event, oddity: Oddity) {
    if past.bus == Bus::Pci && past.scenario.function.oddity == oddity {
        works(watch, past, event, Bus::Pci);
    }
}

/// What the first capability names is left alone, and the function works.
fn ignored(watch: &mut Watch, past: &Past, event: &Event, oddity: Oddity) {
    taken(watch, past, event, oddity);
    if let Event::Function(Part::Nothing, access) = event
        && past.scenario.function.oddity == oddity
    {
        watch.broken(format!("{access:x?}"));
    }
}

/// Whether an access is one to the configuration space.
fn is_space(access: &Access) -> bool {
    access.offset < header::EXPRESS_SIZE as u64 && !access.write
}

/// Reads `value` where something else stands in the configuration space.
fn reads_as(registers: &mut dyn Registers, access: Access, offset: usize, value: u32) -> Told<u32> {
    let read = access.make(registers)?;
    Ok(if access.reads(offset as u64) { value } else { read })
}
