//! What a driver makes of the device that it finds: identity, and the way to DRIVER_OK.

use ringwright_driver::TransportError;
use ringwright_spec::mmio as spec;
use ringwright_spec::status::Status;

use super::super::init::too_early;
use super::{ALONE, slips};
use crate::driver::scenario::Identity;
use crate::driver::{Event, Mutant, Past, Rule, Watch};
use crate::subject::Bus;

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "mmio.magic",
        &["drv:mmio:mmio-device-register-layout:04"],
        "MagicValue is wrong",
        "The driver does not ignore the device.",
        |watch, past, event| ignored(watch, past, event, Identity::Magic),
        &[Mutant {
            name: "any magic value is good",
            scenario: "magic",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                Ok(if access.reads(spec::MAGIC_VALUE) {
                    spec::MAGIC
                } else {
                    value
                })
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.version",
        &["drv:mmio:mmio-device-register-layout:05"],
        "Version is none that the driver knows",
        "The driver does not ignore the device.",
        |watch, past, event| ignored(watch, past, event, Identity::Version),
        &[Mutant {
            name: "any version is good",
            scenario: "version",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                Ok(if access.reads(spec::VERSION) {
                    spec::DEVICE_VERSION
                } else {
                    value
                })
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.nobody",
        &["drv:mmio:mmio-device-register-layout:06"],
        "DeviceID is 0",
        "The driver reports an error.",
        |watch, past, event| {
            if let Event::Ends(how) = event
                && past.scenario.identity == Identity::Nobody
            {
                watch.expect(how.is_ok(), || format!("{how:?}"));
            }
        },
        &[Mutant {
            name: "a placeholder is an error",
            scenario: "nobody",
            slip: slips(|registers, _, access| match access.reads(spec::DEVICE_ID) {
                true => {
                    access.make(registers)?;
                    Err(TransportError::Protocol("DeviceID is 0"))
                }
                false => access.make(registers),
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.first",
        &["drv:mmio:device-initialization:01"],
        "the driver accesses the device",
        "It begins with something else than MagicValue and Version.",
        |watch, _, event| {
            if let Event::Accessed(access) = event {
                if access.reads(spec::MAGIC_VALUE) {
                    watch.note |= 1;
                } else if access.reads(spec::VERSION) {
                    watch.note |= 2;
                } else {
                    watch.expect(watch.note == 3, || format!("{access:x?} comes first"));
                }
            }
        },
        &[Mutant {
            name: "the first thing is the device's type",
            slip: slips(|registers, note, access| {
                if *note == 0 {
                    *note = 1;
                    registers.read32(spec::DEVICE_ID)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.no-device",
        &["drv:mmio:device-initialization:02"],
        "DeviceID is 0",
        "Another register is accessed.",
        |watch, past, event| match event {
            _ if past.scenario.identity != Identity::Nobody => {}
            Event::Accessed(access) => {
                let known = [spec::MAGIC_VALUE, spec::VERSION, spec::DEVICE_ID];
                watch.expect(!access.write && known.contains(&access.offset), || {
                    format!("{access:x?}")
                });
            }
            _ => {}
        },
        &[Mutant {
            name: "a placeholder is asked who made it",
            scenario: "nobody",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                if access.reads(spec::DEVICE_ID) {
                    registers.read32(spec::VENDOR_ID)?;
                }
                Ok(value)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.no-shared-memory",
        &["drv:mmio:device-initialization:03"],
        "a driver of a device type without shared memory sets DRIVER_OK",
        "It accesses the registers of shared memory.",
        |watch, past, event| match event {
            Event::Accessed(access) if (spec::SHM_SEL..=spec::SHM_BASE_HIGH).contains(&access.offset) => {
                watch.broken(format!("{access:x?}"));
            }
            Event::Accessed(_) if past.is_live() => watch.seen(),
            _ => {}
        },
        &[Mutant {
            name: "a disk is asked for shared memory",
            slip: slips(|registers, _, access| {
                if access.writes(spec::QUEUE_READY) {
                    registers.write32(spec::SHM_SEL, 0)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.initialization",
        &["drv:mmio:device-initialization:04"],
        "the driver sets DRIVER_OK over MMIO",
        "The initialization is not that of section 3.1.",
        |watch, past, event| {
            if past.bus != Bus::Mmio || past.steps.refused || past.status.contains(Status::FAILED) {
                return;
            }
            if let Some(early) = too_early(past, event) {
                watch.broken(early);
            } else if let Event::StatusWritten(status) = event
                && status.contains(Status::DRIVER_OK)
            {
                watch.seen();
            }
        },
        &[Mutant {
            name: "a virtqueue is enabled before the features are agreed upon",
            slip: slips(|registers, _, access| {
                if access.writes(spec::DRIVER_FEATURES) {
                    registers.write32(spec::QUEUE_SEL, 0)?;
                    registers.write32(spec::QUEUE_READY, 1)?;
                    registers.write32(spec::QUEUE_READY, 0)?;
                    registers.read32(spec::QUEUE_READY)?;
                }
                access.make(registers)
            }),
            also: &["init.order"],
            ..ALONE
        }],
    ),
];

/// A device that says that it is something else is ignored: nothing but MagicValue and Version is accessed.
fn ignored(watch: &mut Watch, past: &Past, event: &Event, identity: Identity) {
    if past.scenario.identity != identity {
        return;
    }
    if let Event::Accessed(access) = event {
        let harmless = access.reads(spec::MAGIC_VALUE) || access.reads(spec::VERSION);
        watch.expect(harmless, || format!("{access:x?}"));
    }
}
