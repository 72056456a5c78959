//! What a driver makes of interrupts.

use ringwright_driver::TransportError;
use ringwright_spec::mmio as spec;
use ringwright_spec::status::Status;

use super::{ALONE, slips};
use crate::driver::{Event, Mutant, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "mmio.undefined-interrupt",
        &["drv:mmio:mmio-device-register-layout:12"],
        "the driver reads an InterruptStatus with a bit that means nothing",
        "The driver fails.",
        |watch, past, event| match event {
            Event::Accessed(access) if access.reads(spec::INTERRUPT_STATUS) && access.value & !3 != 0 => {
                watch.note = 1
            }
            Event::StatusWritten(status) if watch.note == 1 && status.contains(Status::FAILED) => {
                watch.broken(format!("the status was {:?}, {status:?} is written", past.status));
            }
            Event::Ends(how) if watch.note == 1 => watch.expect(how.is_ok(), || format!("{how:?}")),
            _ => {}
        },
        &[Mutant {
            name: "an undefined interrupt is an error",
            scenario: "spurious",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                match access.reads(spec::INTERRUPT_STATUS) && value & !3 != 0 {
                    true => Err(TransportError::Protocol("an undefined interrupt")),
                    false => Ok(value),
                }
            }),
            also: &["split.spurious", "mmio.interrupt-handled"],
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.interrupt-ack",
        &["drv:mmio:mmio-device-register-layout:13"],
        "the driver writes InterruptACK",
        "A bit is set that means nothing.",
        |watch, _, event| {
            if let Event::Accessed(access) = event
                && access.writes(spec::INTERRUPT_ACK)
            {
                watch.expect(access.value & !3 == 0, || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "all bits are acknowledged",
            scenario: "late",
            slip: slips(|registers, _, access| match access.writes(spec::INTERRUPT_ACK) {
                true => registers.write32(spec::INTERRUPT_ACK, 0xff).map(|()| 0),
                false => access.make(registers),
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.interrupt-read",
        &["drv:mmio:notifications-from-the-device:01"],
        "the driver acknowledges an interrupt",
        "It has not read InterruptStatus since the last time.",
        |watch, _, event| {
            if let Event::Accessed(access) = event {
                if access.reads(spec::INTERRUPT_STATUS) {
                    watch.note = 1;
                } else if access.writes(spec::INTERRUPT_ACK) {
                    watch.expect(watch.note == 1, || format!("{access:x?}"));
                    watch.note = 0;
                }
            }
        },
        &[Mutant {
            name: "every interrupt is taken to be for used buffers",
            scenario: "late",
            slip: slips(
                |registers, _, access| match access.reads(spec::INTERRUPT_STATUS) {
                    true => Ok(1),
                    false => access.make(registers),
                },
            ),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.interrupt-handled",
        &["drv:mmio:notifications-from-the-device:03"],
        "the driver reads an InterruptStatus that is not 0",
        "It does not acknowledge what it has read before it waits again.",
        |watch, _, event| match event {
            Event::Accessed(access) if access.reads(spec::INTERRUPT_STATUS) => {
                watch.note |= u64::from(access.value & 3);
            }
            Event::Accessed(access) if access.writes(spec::INTERRUPT_ACK) => {
                watch.note &= !u64::from(access.value);
                watch.seen();
            }
            Event::StatusWritten(Status::NONE) => watch.note = 0,
            Event::Waits | Event::Ends(_) if watch.note != 0 => {
                watch.broken(format!("{:#x} was read and not acknowledged", watch.note));
            }
            _ => {}
        },
        &[Mutant {
            name: "interrupts are not acknowledged",
            scenario: "late",
            slip: slips(|registers, _, access| match access.writes(spec::INTERRUPT_ACK) {
                true => Ok(0),
                false => access.make(registers),
            }),
            ..ALONE
        }],
    ),
];
