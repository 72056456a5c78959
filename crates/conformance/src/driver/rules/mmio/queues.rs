//! How a driver sets virtqueues up, and stops them.

use ringwright_spec::mmio as spec;

use super::{ALONE, slips};
use crate::driver::{Event, Mutant, Rule};

/// The registers that are set before a virtqueue is enabled.
const QUEUE: &[u64] = &[
    spec::QUEUE_SIZE,
    spec::QUEUE_DESC_LOW,
    spec::QUEUE_DESC_HIGH,
    spec::QUEUE_DRIVER_LOW,
    spec::QUEUE_DRIVER_HIGH,
    spec::QUEUE_DEVICE_LOW,
    spec::QUEUE_DEVICE_HIGH,
];

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "mmio.queue-size",
        &["drv:mmio:mmio-device-register-layout:09"],
        "the driver writes QueueSize",
        "It is greater than QueueSizeMax.",
        |watch, past, event| {
            if let Event::Accessed(access) = event
                && access.writes(spec::QUEUE_SIZE)
            {
                let most = u32::from(past.scenario.queue_size);
                watch.expect(access.value <= most, || {
                    format!("{} of at most {most}", access.value)
                });
            }
        },
        &[Mutant {
            name: "a greater virtqueue is tried first",
            slip: slips(|registers, _, access| {
                if access.writes(spec::QUEUE_SIZE) {
                    registers.write32(spec::QUEUE_SIZE, 2 * access.value)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.queue-ready",
        &["drv:mmio:mmio-device-register-layout:10"],
        "the driver sets up a virtqueue",
        "It accesses the virtqueue's size or addresses while QueueReady is not 0.",
        |watch, _, event| {
            // The virtqueue that is selected, from bit 32 on; which of the first 32 are ready.
            if let Event::Accessed(access) = event {
                let queue = (watch.note >> 32) & 31;
                if access.writes(spec::QUEUE_SEL) {
                    watch.note = watch.note & 0xffff_ffff | u64::from(access.value) << 32;
                } else if access.writes(spec::QUEUE_READY) {
                    watch.note = watch.note & !(1 << queue) | u64::from(access.value & 1) << queue;
                } else if access.writes(spec::QUEUE_RESET) {
                    watch.note &= !(1 << queue);
                } else if access.writes(spec::STATUS) && access.value == 0 {
                    watch.note = 0;
                } else if QUEUE.contains(&access.offset) {
                    watch.expect(watch.note & 1 << queue == 0, || format!("{access:x?}"));
                }
            }
        },
        &[Mutant {
            name: "QueueSize is written to a virtqueue that is enabled",
            slip: slips(|registers, note, access| {
                let done = access.make(registers)?;
                if access.writes(spec::QUEUE_SIZE) {
                    *note = access.value.into();
                }
                if access.writes(spec::QUEUE_READY) {
                    registers.write32(spec::QUEUE_SIZE, *note as u32)?;
                }
                Ok(done)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.queue-stop",
        &["drv:mmio:mmio-device-register-layout:11"],
        "the driver writes 0 to QueueReady",
        "It does not read QueueReady back.",
        |watch, _, event| match event {
            Event::Accessed(access) if watch.note == 1 => {
                watch.note = 0;
                watch.expect(access.reads(spec::QUEUE_READY), || {
                    format!("the next access is {access:x?}")
                });
            }
            Event::Accessed(access) if access.writes(spec::QUEUE_READY) && access.value & 1 == 0 => {
                watch.note = 1
            }
            Event::Ends(_) if watch.note == 1 => watch.broken("nothing is accessed after that"),
            _ => {}
        },
        &[Mutant {
            name: "a virtqueue is stopped before the reset, and nobody looks",
            slip: slips(|registers, note, access| {
                *note |= u64::from(access.writes(spec::QUEUE_READY));
                if *note == 1 && access.writes(spec::STATUS) && access.value == 0 {
                    registers.write32(spec::QUEUE_READY, 0)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.queue-reset",
        &["drv:mmio:mmio-device-register-layout:14"],
        "the driver writes 1 to QueueReset",
        "The virtqueue is enabled again before QueueReset reads 0.",
        |watch, _, event| {
            if let Event::Accessed(access) = event {
                if access.writes(spec::QUEUE_RESET) && access.value & 1 == 1 {
                    watch.note = 1;
                } else if access.reads(spec::QUEUE_RESET) && access.value == 0 && watch.note == 1 {
                    watch.note = 0;
                    watch.seen();
                } else if access.writes(spec::QUEUE_READY) && access.value & 1 == 1 {
                    watch.expect(watch.note == 0, || "QueueReset has not read 0 before".into());
                }
            }
        },
        &[Mutant {
            name: "a reset of a virtqueue is taken for granted, over MMIO",
            scenario: "queue-reset",
            slip: slips(|registers, _, access| match access.reads(spec::QUEUE_RESET) {
                true => Ok(0),
                false => access.make(registers),
            }),
            also: &["queue-reset.verified"],
            ..ALONE
        }],
    ),
];
