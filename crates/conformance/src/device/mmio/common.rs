//! The registers that all devices have.

use ringwright_memory::Width;
use ringwright_spec::Features;
use ringwright_spec::mmio::{
    self as registers, CONFIG_GENERATION, INTERRUPT_ACK, INTERRUPT_STATUS, Interrupt, MAGIC_VALUE,
    QUEUE_NOTIFY, QUEUE_READY, QUEUE_SEL, STATUS, VERSION,
};
use ringwright_spec::status::Status;

use super::{OVER_MMIO, is_live, read, write};
use crate::check::{Check, Ended, Outcome};
use crate::mutant::{Lens, Mutant};
use crate::probe::{Probe, holds};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "mmio.identity",
        clauses: &[
            "dev:mmio:mmio-device-register-layout:01",
            "dev:mmio:mmio-device-register-layout:02",
        ],
        does: "Reads MagicValue and Version, before and after a reset and while the device is live.",
        violation: "They are not 0x74726976 and 2.",
        needs: OVER_MMIO,
        run: identity,
        mutants: &[
            Mutant {
                name: "MagicValue is another in a live device",
                breaks: "dev:mmio:mmio-device-register-layout:01",
                lens: Lens {
                    read: Some(|shadow, _, offset, _, value| {
                        match offset == MAGIC_VALUE && is_live(shadow) {
                            true => value ^ 1,
                            false => value,
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "Version is 1 in a live device",
                breaks: "dev:mmio:mmio-device-register-layout:02",
                lens: Lens {
                    read: Some(
                        |shadow, _, offset, _, value| match offset == VERSION && is_live(shadow) {
                            true => 1,
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
        name: "mmio.interrupt-status",
        clauses: &[
            "dev:mmio:mmio-device-register-layout:03",
            "dev:mmio:mmio-device-register-layout:04",
        ],
        does: "Has a buffer used, reads InterruptStatus several times, acknowledges the other event, then this one.",
        violation: "The bit is not there until it is acknowledged, or there is another.",
        needs: OVER_MMIO,
        run: interrupt_status,
        mutants: &[
            Mutant {
                name: "reading InterruptStatus clears it",
                breaks: "dev:mmio:mmio-device-register-layout:03",
                lens: Lens {
                    write: Some(|shadow, _, offset, _, value| {
                        if matches!(offset, QUEUE_NOTIFY | INTERRUPT_ACK) {
                            shadow.note = 0;
                        }
                        Some(value)
                    }),
                    read: Some(|shadow, _, offset, _, value| match offset {
                        INTERRUPT_STATUS => {
                            let seen = value & !(shadow.note as u32);
                            shadow.note |= u64::from(value);
                            seen
                        }
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a bit of InterruptStatus that means nothing is set",
                breaks: "dev:mmio:mmio-device-register-layout:04",
                lens: Lens {
                    read: Some(|_, _, offset, _, value| match offset {
                        INTERRUPT_STATUS => value | 1 << 7,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                also: &["mmio.reset"],
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "mmio.reset",
        clauses: &["dev:mmio:mmio-device-register-layout:05"],
        does: "Resets a live device that has an event pending.",
        violation: "InterruptStatus is not 0 then, or QueueReady of a virtqueue.",
        needs: OVER_MMIO,
        run: reset,
        mutants: &[
            Mutant {
                name: "InterruptStatus survives a reset",
                breaks: "dev:mmio:mmio-device-register-layout:05",
                lens: Lens {
                    read: Some(|shadow, _, offset, _, value| match offset {
                        INTERRUPT_STATUS if !is_live(shadow) && shadow.last("mmio", QUEUE_READY) == 1 => 1,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                also: &["reset.quiet", "status.before-driver-ok"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "QueueReady survives a reset",
                breaks: "dev:mmio:mmio-device-register-layout:05",
                lens: Lens {
                    write: Some(|shadow, _, offset, _, value| {
                        shadow.note |=
                            u64::from(offset == STATUS && value & u32::from(Status::DRIVER_OK.0) != 0);
                        Some(value)
                    }),
                    read: Some(|shadow, _, offset, _, value| match offset {
                        QUEUE_READY if shadow.note == 1 && !is_live(shadow) => 1,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                also: &["*"],
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "mmio.config-generation",
        clauses: &["dev:mmio:mmio-device-register-layout:06"],
        does: "Has the configuration change between two reads of it.",
        violation: "ConfigGeneration is as it was.",
        needs: OVER_MMIO,
        run: config_generation,
        mutants: &[Mutant {
            name: "ConfigGeneration is always 0",
            breaks: "dev:mmio:mmio-device-register-layout:06",
            lens: Lens {
                read: Some(|_, _, offset, _, value| match offset {
                    CONFIG_GENERATION => 0,
                    _ => value,
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "mmio.not-ready",
        clauses: &["dev:mmio:mmio-device-register-layout:07"],
        does: "Writes 0 to QueueReady of a live virtqueue, makes a buffer available there, and notifies the device.",
        violation: "The device uses it.",
        needs: OVER_MMIO,
        run: not_ready,
        mutants: &[Mutant {
            name: "a virtqueue goes on without QueueReady",
            breaks: "dev:mmio:mmio-device-register-layout:07",
            lens: Lens {
                write: Some(|shadow, _, offset, _, value| {
                    if offset == QUEUE_READY {
                        shadow.note = u64::from(value == 0);
                    }
                    (offset != QUEUE_READY || value != 0).then_some(value)
                }),
                read: Some(|shadow, _, offset, _, value| match offset {
                    QUEUE_READY if shadow.note == 1 => 0,
                    _ => value,
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
];

fn identity(probe: &mut Probe) -> Outcome {
    let look = |probe: &mut Probe| -> Outcome {
        let (magic, version) = (read(probe, MAGIC_VALUE)?, read(probe, VERSION)?);
        holds(
            magic == registers::MAGIC,
            "dev:mmio:mmio-device-register-layout:01",
            || format!("MagicValue is {magic:#x}"),
        )?;
        holds(
            version == registers::DEVICE_VERSION,
            "dev:mmio:mmio-device-register-layout:02",
            || format!("Version is {version:#x}"),
        )
    };
    look(probe)?;
    probe.reset()?;
    look(probe)?;
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    look(probe)
}

fn interrupt_status(probe: &mut Probe) -> Outcome {
    let (used, config) = (Interrupt::USED_BUFFER.0, Interrupt::CONFIG_CHANGE.0);
    let mut live = probe.go_live(Features::NONE)?;
    let defined = |status: u32| {
        holds(
            status & !(used | config) == 0,
            "dev:mmio:mmio-device-register-layout:04",
            || format!("InterruptStatus is {status:#x}"),
        )
    };
    defined(read(probe, INTERRUPT_STATUS)?)?;
    for _ in 0..3 {
        probe.request(&mut live)?;
        let came = probe.wait(|probe| Ok(read(probe, INTERRUPT_STATUS)? & used != 0))?;
        let there = |probe: &mut Probe, when: &str| -> Outcome {
            let status = read(probe, INTERRUPT_STATUS)?;
            defined(status)?;
            holds(
                status & used != 0,
                "dev:mmio:mmio-device-register-layout:03",
                || format!("a buffer was used; InterruptStatus is {status:#x} {when}"),
            )
        };
        holds(came, "dev:mmio:mmio-device-register-layout:03", || {
            "a buffer was used, and InterruptStatus does not say so".into()
        })?;
        for _ in 0..3 {
            there(probe, "when it is read again")?;
        }
        write(probe, INTERRUPT_ACK, config)?;
        there(probe, "after another event was acknowledged")?;
        write(probe, INTERRUPT_ACK, used)?;
        let status = read(probe, INTERRUPT_STATUS)?;
        holds(
            status & used == 0,
            "dev:mmio:mmio-device-register-layout:04",
            || format!("the event was acknowledged, and InterruptStatus is {status:#x}"),
        )?;
    }
    Ok(())
}

fn reset(probe: &mut Probe) -> Outcome {
    let clause = "dev:mmio:mmio-device-register-layout:05";
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    probe.wait(|probe| Ok(read(probe, INTERRUPT_STATUS)? != 0))?;
    if !probe.reset()? {
        return Err(Ended::Inconclusive("the device does not finish its reset".into()));
    }
    let status = read(probe, INTERRUPT_STATUS)?;
    holds(status == 0, clause, || {
        format!("InterruptStatus is {status:#x} after a reset")
    })?;
    for queue in 0..live.queues.len() as u32 {
        write(probe, QUEUE_SEL, queue)?;
        let ready = read(probe, QUEUE_READY)?;
        holds(ready == 0, clause, || {
            format!("QueueReady of virtqueue {queue} is {ready:#x} after a reset")
        })?;
    }
    Ok(())
}

fn config_generation(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    // Once in vain, to know whether it can.
    probe.change_config()?;
    let look = |probe: &mut Probe| -> Outcome<(u32, [u8; 8])> {
        let mut config = [0; 8];
        probe.transport().read_config(0, Width::Four, &mut config)?;
        Ok((read(probe, CONFIG_GENERATION)?, config))
    };
    let before = look(probe)?;
    probe.change_config()?;
    let changed = probe.wait(|probe| Ok(look(probe)?.1 != before.1))?;
    if !changed {
        return Err(Ended::Inconclusive(
            "its configuration has changed, but not in the first bytes".into(),
        ));
    }
    let after = look(probe)?;
    holds(
        after.0 != before.0,
        "dev:mmio:mmio-device-register-layout:06",
        || {
            format!(
                "the configuration was {:02x?} and is {:02x?}; ConfigGeneration is {} as before",
                before.1, after.1, before.0
            )
        },
    )
}

fn not_ready(probe: &mut Probe) -> Outcome {
    let clause = "dev:mmio:mmio-device-register-layout:07";
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    let index = live.queue().index;
    write(probe, QUEUE_SEL, index.into())?;
    write(probe, QUEUE_READY, 0)?;
    if !probe.wait(|probe| Ok(read(probe, QUEUE_READY)? == 0))? {
        return Err(Ended::Inconclusive("QueueReady does not become 0".into()));
    }
    let _pending = probe.prepare(&mut live, 0)?;
    probe.notify(live.queue())?;
    let quiet = probe.never(|_| Ok(live.queue().has_used()))?;
    holds(quiet, clause, || "a buffer is used with QueueReady 0".into())
}
