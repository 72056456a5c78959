//! ISR status (section 4.1.4.5) and MSI-X (section 4.1.5).

use ringwright_driver::transport::Registers;
use ringwright_spec::Features;
use ringwright_spec::pci::common_cfg::{CONFIG_MSIX_VECTOR, QUEUE_MSIX_VECTOR, QUEUE_SELECT};
use ringwright_spec::pci::header::{self, msix, status};
use ringwright_spec::pci::{CfgType, Isr, MSI_NO_VECTOR};
use ringwright_spec::status::Status;

use crate::check::{Check, Ended, Outcome};
use crate::live::Live;
use crate::mutant::{Lens, Mutant, Shadow};
use crate::probe::{Probe, holds};
use crate::raw::Ring;

use super::{OVER_PCI, capabilities, function, is_live, open, with_byte};

const NONE: u32 = MSI_NO_VECTOR as u32;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "pci.isr",
        clauses: &[
            "dev:pci:isr-status-capability:02",
            "dev:pci:isr-status-capability:03",
            "dev:pci:isr-status-capability:04",
            "dev:pci:isr-status-capability:05",
        ],
        does: "Disables MSI-X, has a buffer used, then something changed, and reads ISR status and the PCI Status register.",
        violation: "ISR status does not tell, is not 0 after it was read, or Interrupt Status is something else.",
        needs: OVER_PCI,
        run: isr,
        mutants: &[
            Mutant {
                name: "ISR status has no Device Configuration Interrupt bit",
                breaks: "dev:pci:isr-status-capability:02",
                lens: Lens {
                    read: Some(|_, name, _, _, value| if name == "isr" { value & 1 } else { value }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "ISR status has no Queue Interrupt bit",
                breaks: "dev:pci:isr-status-capability:03",
                lens: Lens {
                    read: Some(|_, name, _, _, value| if name == "isr" { value & 2 } else { value }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "Interrupt Status is never set",
                breaks: "dev:pci:isr-status-capability:04",
                lens: Lens {
                    read: Some(|shadow, name, offset, width, value| {
                        let low = status::CAPABILITIES as u8;
                        with_byte(shadow, (name, offset, width), value, header::STATUS as u64, low)
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "reading ISR status does not reset it",
                breaks: "dev:pci:isr-status-capability:05",
                lens: Lens {
                    read: Some(|shadow, name, _, _, value| match name {
                        "isr" => {
                            shadow.note |= u64::from(value);
                            shadow.note as u32
                        }
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "pci.msix-table",
        clauses: &[
            "dev:pci:msi-x-vector-configuration:01",
            "dev:pci:msi-x-vector-configuration:02",
        ],
        does: "Reads the MSI-X capability.",
        violation: "There are not 2 to 0x800 vectors, or the table has no room for them in its BAR.",
        needs: OVER_PCI,
        run: msix_table,
        mutants: &[
            Mutant {
                name: "there is one vector",
                breaks: "dev:pci:msi-x-vector-configuration:01",
                lens: Lens {
                    read: Some(|shadow, name, offset, width, value| {
                        let at = shadow.capabilities.msix.unwrap_or_default() + msix::CONTROL as u64;
                        with_byte(shadow, (name, offset, width), value, at, 0)
                    }),
                    ..Lens::CLEAR
                },
                also: &["pci.msix-vectors"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "Table Size is far more than there is",
                breaks: "dev:pci:msi-x-vector-configuration:02",
                lens: Lens {
                    read: Some(|shadow, name, offset, width, value| {
                        let at = shadow.capabilities.msix.unwrap_or_default() + msix::CONTROL as u64 + 1;
                        with_byte(shadow, (name, offset, width), value, at, 0x87)
                    }),
                    ..Lens::CLEAR
                },
                also: &["pci.msix-vectors"],
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "pci.msix-vectors",
        clauses: &[
            "dev:pci:msi-x-vector-configuration:04",
            "dev:pci:msi-x-vector-configuration:05",
            "dev:pci:msi-x-vector-configuration:06",
            "dev:pci:msi-x-vector-configuration:07",
            "dev:pci:msi-x-vector-configuration:09",
        ],
        does: "Maps each event to each vector, to one that is not there, and to none; then resets the device.",
        violation: "What is read is neither the vector that was written nor, where there is none, NO_VECTOR.",
        needs: OVER_PCI,
        run: msix_vectors,
        mutants: &[
            Mutant {
                name: "a virtqueue cannot have vector 0",
                breaks: "dev:pci:msi-x-vector-configuration:04",
                lens: Lens {
                    write: Some(|shadow, name, offset, _, value| {
                        match is_vector(shadow, name, offset) && value == 0 {
                            true => Some(NONE),
                            false => Some(value),
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "an event that has a vector cannot be without",
                breaks: "dev:pci:msi-x-vector-configuration:05",
                lens: Lens {
                    write: Some(|shadow, name, offset, _, value| {
                        (!is_vector(shadow, name, offset) || value != NONE).then_some(value)
                    }),
                    ..Lens::CLEAR
                },
                also: &["pci.msix-no-vector"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "the vector that is read is another",
                breaks: "dev:pci:msi-x-vector-configuration:06",
                lens: Lens {
                    read: Some(|shadow, name, offset, _, value| {
                        match is_vector(shadow, name, offset) && value != NONE {
                            true => value ^ 1,
                            false => value,
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a reset leaves events mapped",
                breaks: "dev:pci:msi-x-vector-configuration:07",
                lens: Lens {
                    read: Some(|shadow, name, offset, _, value| {
                        let is_one =
                            name == "common" && matches!(offset, CONFIG_MSIX_VECTOR | QUEUE_MSIX_VECTOR);
                        match is_one && !is_live(shadow) && value == NONE {
                            true => 0,
                            false => value,
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a vector that is not there is taken",
                breaks: "dev:pci:msi-x-vector-configuration:09",
                lens: Lens {
                    read: Some(
                        |shadow, name, offset, _, value| match is_vector(shadow, name, offset) {
                            true => shadow.last("common", offset),
                            false => value,
                        },
                    ),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "pci.msix-no-vector",
        clauses: &[
            "dev:pci:used-buffer-notifications:01",
            "dev:pci:notification-of-device-configuration-changes:01",
        ],
        does: "With MSI-X, maps a virtqueue and configuration changes to no vector, has a buffer used and something changed.",
        violation: "An interrupt comes.",
        needs: OVER_PCI,
        run: no_vector,
        mutants: &[
            Mutant {
                name: "a virtqueue without a vector interrupts",
                breaks: "dev:pci:used-buffer-notifications:01",
                lens: Lens {
                    write: Some(|shadow, name, offset, _, value| {
                        keep_vector(shadow, name, offset, value, QUEUE_MSIX_VECTOR)
                    }),
                    read: Some(|shadow, name, offset, _, value| {
                        hide_vector(shadow, name, offset, value, QUEUE_MSIX_VECTOR)
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "configuration changes without a vector interrupt",
                breaks: "dev:pci:notification-of-device-configuration-changes:01",
                lens: Lens {
                    write: Some(|shadow, name, offset, _, value| {
                        keep_vector(shadow, name, offset, value, CONFIG_MSIX_VECTOR)
                    }),
                    read: Some(|shadow, name, offset, _, value| {
                        hide_vector(shadow, name, offset, value, CONFIG_MSIX_VECTOR)
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
];

/// Whether it is a register of a live device that maps an event to a vector.
fn is_vector(shadow: &Shadow, name: &str, offset: u64) -> bool {
    name == "common" && matches!(offset, CONFIG_MSIX_VECTOR | QUEUE_MSIX_VECTOR) && is_live(shadow)
}

/// That an event is to have no vector any more does not reach the device.
fn keep_vector(shadow: &Shadow, name: &str, offset: u64, value: u32, register: u64) -> Option<u32> {
    let is_kept = is_vector(shadow, name, offset) && offset == register && value == NONE;
    (!is_kept).then_some(value)
}

fn hide_vector(shadow: &Shadow, name: &str, offset: u64, value: u32, register: u64) -> u32 {
    match is_vector(shadow, name, offset) && offset == register {
        true => shadow.last("common", offset).max(value),
        false => value,
    }
}

/// Offset of the MSI-X capability.
fn msix_capability(probe: &mut Probe) -> Outcome<u64> {
    let missing = || Ended::NotApplicable("it has no MSI-X".into());
    capabilities(probe)?.msix.ok_or_else(missing)
}

/// Has something changed: the device needs a reset, because more buffers are available than there are descriptors.
fn disturb(probe: &mut Probe, live: &mut Live) -> Outcome {
    let size = live.queue().layout.size;
    if let Ring::Split(ring) = &live.queue().ring {
        let index = ring.available_index();
        ring.set_available_index(index.wrapping_add(size + 1));
    }
    probe.notify(live.queue())?;
    match probe.wait(|probe| Ok(probe.status()?.contains(Status::DEVICE_NEEDS_RESET)))? {
        true => Ok(()),
        false => Err(Ended::Inconclusive(
            "nothing makes the device send a configuration change notification".into(),
        )),
    }
}

fn isr(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    if let Some(at) = capabilities(probe)?.msix {
        let config = &mut function(probe)?.config;
        let control = config.read16(at + msix::CONTROL as u64)?;
        config.write16(at + msix::CONTROL as u64, control & !msix::ENABLE)?;
    }
    let mut isr = open(probe, CfgType::ISR_CFG)?;
    isr.read8(0)?;
    let pending = |probe: &mut Probe| -> Outcome<bool> {
        let register = function(probe)?.config.read16(header::STATUS as u64)?;
        Ok(register & status::INTERRUPT != 0)
    };
    probe.request(&mut live)?;
    let interrupt_status = probe.wait(pending)?;
    tells(
        probe,
        &mut *isr,
        Isr::QUEUE,
        "dev:pci:isr-status-capability:03",
        "a buffer was used",
    )?;
    holds(interrupt_status, "dev:pci:isr-status-capability:04", || {
        "ISR status was not 0, and Interrupt Status was not set".into()
    })?;
    let still = pending(probe)?;
    holds(!still, "dev:pci:isr-status-capability:04", || {
        "ISR status was read and is 0, and Interrupt Status is set".into()
    })?;
    match probe.change_config() {
        Err(Ended::NotApplicable(_)) => disturb(probe, &mut live)?,
        other => other?,
    }
    tells(
        probe,
        &mut *isr,
        Isr::CONFIG,
        "dev:pci:isr-status-capability:02",
        "the configuration has changed",
    )
}

/// ISR status has to have a bit, and to be 0 when it is read again.
fn tells(probe: &mut Probe, isr: &mut dyn Registers, bit: Isr, clause: &'static str, why: &str) -> Outcome {
    let mut seen = Isr(0);
    let told = probe.wait(|_| {
        seen = seen | Isr(isr.read8(0)?);
        Ok(seen.contains(bit))
    })?;
    holds(told, clause, || format!("{why}, and ISR status is {seen:?}"))?;
    let again = isr.read8(0)?;
    holds(again == 0, "dev:pci:isr-status-capability:05", || {
        format!("ISR status was read, and is {again:#x} when it is read again")
    })
}

fn msix_table(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    let at = msix_capability(probe)?;
    let function = function(probe)?;
    let size = u64::from(function.config.read16(at + msix::CONTROL as u64)? & msix::TABLE_SIZE) + 1;
    let place = function.config.read32(at + msix::TABLE as u64)?;
    let (bar, offset) = ((place & 7) as u8, u64::from(place & !7));
    let room = function
        .bars
        .iter()
        .find(|found| found.index == bar)
        .map_or(0, |bar| bar.length);
    holds(
        offset + size * msix::VECTOR_SIZE <= room,
        "dev:pci:msi-x-vector-configuration:02",
        || format!("{size} vectors from offset {offset:#x} on do not fit in a BAR of {room:#x} bytes"),
    )?;
    holds(
        (2..=0x800).contains(&size),
        "dev:pci:msi-x-vector-configuration:01",
        || format!("there are {size} vectors"),
    )
}

fn msix_vectors(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    let at = msix_capability(probe)?;
    let size = (function(probe)?.config.read16(at + msix::CONTROL as u64)? & msix::TABLE_SIZE) + 1;
    let mut common = open(probe, CfgType::COMMON_CFG)?;
    common.write16(QUEUE_SELECT, live.queue().index)?;
    for register in [CONFIG_MSIX_VECTOR, QUEUE_MSIX_VECTOR] {
        let mut map = |vector: u16| -> Outcome<u16> {
            common.write16(register, vector)?;
            Ok(common.read16(register)?)
        };
        for vector in 0..size {
            let seen = map(vector)?;
            holds(
                seen != MSI_NO_VECTOR,
                "dev:pci:msi-x-vector-configuration:04",
                || format!("vector {vector} of {size} was refused"),
            )?;
            holds(seen == vector, "dev:pci:msi-x-vector-configuration:06", || {
                format!("vector {vector} was written, and {seen} is read")
            })?;
        }
        let seen = map(MSI_NO_VECTOR)?;
        holds(
            seen == MSI_NO_VECTOR,
            "dev:pci:msi-x-vector-configuration:05",
            || format!("NO_VECTOR was written, and {seen} is read"),
        )?;
        for vector in [size, 0x7ff, 0x800].into_iter().filter(|vector| *vector >= size) {
            let seen = map(vector)?;
            holds(
                seen == MSI_NO_VECTOR,
                "dev:pci:msi-x-vector-configuration:09",
                || format!("vector {vector} of {size} was written, and {seen} is read"),
            )?;
        }
        map(0)?;
    }
    if !probe.reset()? {
        return Err(Ended::Inconclusive("the device does not finish its reset".into()));
    }
    common.write16(QUEUE_SELECT, live.queue().index)?;
    let after = [
        common.read16(CONFIG_MSIX_VECTOR)?,
        common.read16(QUEUE_MSIX_VECTOR)?,
    ];
    holds(
        after == [MSI_NO_VECTOR; 2],
        "dev:pci:msi-x-vector-configuration:07",
        || format!("the vectors of configuration changes and of a virtqueue are {after:x?} after a reset"),
    )
}

fn no_vector(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    let at = msix_capability(probe)?;
    let control = function(probe)?.config.read16(at + msix::CONTROL as u64)?;
    if control & msix::ENABLE == 0 {
        return Err(Ended::NotApplicable("its MSI-X is not in use".into()));
    }
    probe.request(&mut live)?;
    let mut common = open(probe, CfgType::COMMON_CFG)?;
    common.write16(QUEUE_SELECT, live.queue().index)?;
    common.write16(QUEUE_MSIX_VECTOR, MSI_NO_VECTOR)?;
    common.write16(CONFIG_MSIX_VECTOR, MSI_NO_VECTOR)?;
    probe.interrupt()?;
    probe.request(&mut live)?;
    let quiet = probe.never(|probe| Ok(probe.interrupt()?.queue))?;
    holds(quiet, "dev:pci:used-buffer-notifications:01", || {
        "a buffer is used in a virtqueue without a vector, and an interrupt comes".into()
    })?;
    match probe.change_config() {
        Err(Ended::NotApplicable(_)) => disturb(probe, &mut live)?,
        other => other?,
    }
    let quiet = probe.never(|probe| Ok(probe.interrupt()?.config))?;
    holds(
        quiet,
        "dev:pci:notification-of-device-configuration-changes:01",
        || "the configuration changes, which has no vector, and an interrupt comes".into(),
    )
}
