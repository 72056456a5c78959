//! Interrupts: ISR status, and MSI-X (sections 4.1.4.5, 4.1.5.1.2, 4.1.5.3, 4.1.5.4).

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_spec::pci::header::msix;
use ringwright_spec::pci::{MSI_NO_VECTOR, common_cfg as registers};
use ringwright_spec::status::Status;

use super::super::works;
use super::{ALONE, common, is_notification, slips};
use crate::driver::strict::pci::{COMMON, ISR, MSIX_CAP};
use crate::driver::{Access, Event, Mutant, Part, Rule, Told};
use crate::subject::Bus;

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "pci.isr-left-alone",
        &["drv:pci:isr-status-capability:01"],
        "MSI-X is enabled, and the driver waits for used buffers",
        "It accesses the ISR status.",
        |watch, past, event| match event {
            Event::Function(Part::Config, access) if access.writes(MSIX_CAP + msix::CONTROL as u64) => {
                watch.note = u64::from(access.value as u16 & msix::ENABLE);
            }
            Event::Function(Part::Isr, access) if watch.note != 0 && past.is_live() => {
                watch.broken(format!("{access:x?}"));
            }
            Event::Waits if watch.note != 0 && past.is_live() => watch.seen(),
            _ => {}
        },
        &[Mutant {
            name: "the ISR status is read although there are messages",
            scenario: "late",
            slip: slips(|registers, _, access| {
                if is_notification(&access) {
                    registers.read8(ISR)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.any-table-size",
        &["drv:pci:msi-x-vector-configuration:01"],
        "the Table Size of MSI-X is 0, or 0x7ff",
        "The driver does not work.",
        |watch, past, event| {
            if matches!(past.scenario.function.vectors, 1 | 2048) {
                works(watch, past, event, Bus::Pci);
            }
        },
        &[
            Mutant {
                name: "one vector is too few",
                scenario: "pci-one-vector",
                slip: slips(|registers, _, access| wrong_size(registers, access, 0)),
                also: &["pci.found"],
                ..ALONE
            },
            Mutant {
                name: "2048 vectors are too many",
                scenario: "pci-most-vectors",
                slip: slips(|registers, _, access| wrong_size(registers, access, 0x7ff)),
                also: &["pci.found"],
                ..ALONE
            },
        ],
    ),
    Rule::new(
        "pci.vector-exists",
        &["drv:pci:msi-x-vector-configuration:04"],
        "the driver maps an event to a vector",
        "There is no such vector.",
        |watch, past, event| {
            if let Some(access) = common(event)
                && is_vector(access)
                && access.write
                && access.value != u32::from(MSI_NO_VECTOR)
            {
                let vectors = u32::from(past.scenario.function.vectors);
                watch.expect(access.value < vectors, || {
                    format!("{access:x?}, there are {vectors}")
                });
            }
        },
        &[Mutant {
            name: "the driver tries whether there are more vectors",
            slip: slips(|registers, _, access| {
                if access.writes(COMMON + registers::QUEUE_MSIX_VECTOR) {
                    registers.write16(access.offset, 9)?;
                    registers.read16(access.offset)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.vector-verified",
        &["drv:pci:msi-x-vector-configuration:05"],
        "the driver maps an event to a vector",
        "It does not read it back before it uses the virtqueue, or the device.",
        |watch, _, event| {
            let Some(access) = common(event) else {
                return;
            };
            let bit = u64::from(access.offset == registers::CONFIG_MSIX_VECTOR);
            if is_vector(access) && access.write {
                watch.note |= u64::from(access.value != u32::from(MSI_NO_VECTOR)) << bit;
            } else if is_vector(access) {
                watch.note &= !(1 << bit);
                watch.seen();
            } else if access.writes(registers::QUEUE_ENABLE) || access.writes(registers::QUEUE_SELECT) {
                watch.expect(watch.note & 1 == 0, || format!("{access:x?} comes first"));
            } else if access.writes(registers::DEVICE_STATUS) && access.value != 0 {
                watch.expect(watch.note == 0, || format!("{access:x?} comes first"));
            }
        },
        &[Mutant {
            name: "vectors are taken for granted",
            slip: slips(|registers, note, access| {
                let is_vector = access.offset == COMMON + registers::QUEUE_MSIX_VECTOR;
                if is_vector && !access.write {
                    return Ok(*note as u32);
                }
                if is_vector {
                    *note = access.value.into();
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.shared-interrupt",
        &["drv:pci:notification-of-device-configuration-changes:01"],
        "one interrupt is for a change of the configuration and for used buffers",
        "The driver fails.",
        |watch, _, event| match event {
            Event::Function(Part::Isr, access) if access.value & 3 == 3 => watch.note = 1,
            Event::StatusWritten(status) if watch.note == 1 && status.contains(Status::FAILED) => {
                watch.broken(format!("{status:?} is written"));
            }
            Event::Ends(how) if watch.note == 1 => watch.expect(how.is_ok(), || format!("{how:?}")),
            _ => {}
        },
        &[Mutant {
            name: "an interrupt for two things is an error",
            scenario: "pci-pin",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                match access.reads(ISR) && value == 3 {
                    true => Err(TransportError::Protocol("an interrupt for two things")),
                    false => Ok(value),
                }
            }),
            also: &["split.spurious"],
            ..ALONE
        }],
    ),
];

fn is_vector(access: &Access) -> bool {
    matches!(
        access.offset,
        registers::CONFIG_MSIX_VECTOR | registers::QUEUE_MSIX_VECTOR
    )
}

/// Takes a Table Size for an error.
fn wrong_size(registers: &mut dyn Registers, access: Access, size: u32) -> Told<u32> {
    let value = access.make(registers)?;
    match access.reads(MSIX_CAP + msix::CONTROL as u64) && value & u32::from(msix::TABLE_SIZE) == size {
        true => Err(TransportError::Protocol("a wrong number of vectors")),
        false => Ok(value),
    }
}
