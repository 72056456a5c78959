//! Virtio over MMIO (section 4.2): its registers.

use ringwright_driver::transport::Registers;
use ringwright_memory::Width;
use ringwright_spec::Features;
use ringwright_spec::feature::RING_RESET;
use ringwright_spec::mmio::{
    self as registers, CONFIG_GENERATION, INTERRUPT_ACK, INTERRUPT_STATUS, Interrupt, MAGIC_VALUE,
    QUEUE_NOTIFY, QUEUE_READY, QUEUE_RESET, QUEUE_SEL, STATUS, VERSION,
};
use ringwright_spec::status::Status;

use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::Live;
use crate::mutant::{Lens, Mutant};
use crate::probe::{Probe, holds};
use crate::subject::{Bus, Raw};

const OVER_MMIO: Needs = Needs::buses(&[Bus::Mmio]);
const WITH_QUEUE_RESET: Needs = Needs {
    features: RING_RESET,
    ..OVER_MMIO
};

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
    Check {
        name: "mmio.queue-reset",
        clauses: &[
            "dev:mmio:mmio-device-register-layout:09",
            "dev:mmio:mmio-device-register-layout:10",
            "dev:mmio:mmio-device-register-layout:12",
        ],
        does: "Writes 1 to QueueReset, waits until it reads 0, then enables the virtqueue anew.",
        violation: "QueueReset or QueueReady is not 0 then, or the virtqueue does not begin anew.",
        needs: WITH_QUEUE_RESET,
        run: queue_reset,
        mutants: &[
            Mutant {
                name: "QueueReset reads 1 after the virtqueue is enabled",
                breaks: "dev:mmio:mmio-device-register-layout:09",
                lens: Lens {
                    write: Some(|shadow, _, offset, _, value| {
                        match offset {
                            QUEUE_READY => shadow.note = value.into(),
                            QUEUE_RESET | STATUS => shadow.note = 0,
                            _ => {}
                        }
                        Some(value)
                    }),
                    read: Some(|shadow, _, offset, _, value| match offset {
                        QUEUE_RESET => shadow.note as u32,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a virtqueue that says it was reset goes on where it was when it is enabled",
                breaks: "dev:mmio:mmio-device-register-layout:10",
                lens: Lens {
                    write: Some(|shadow, _, offset, _, value| {
                        match offset {
                            QUEUE_RESET => shadow.note = 1,
                            QUEUE_READY | STATUS => shadow.note = 0,
                            _ => {}
                        }
                        let is_heard = offset != QUEUE_RESET && (offset != QUEUE_NOTIFY || shadow.note == 0);
                        is_heard.then_some(value)
                    }),
                    read: Some(|shadow, _, offset, _, value| match offset {
                        QUEUE_READY if shadow.note == 1 => 0,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                also: &["queue-reset.again", "mmio.queue-reset-ongoing"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "QueueReady reads 1 after the virtqueue is reset",
                breaks: "dev:mmio:mmio-device-register-layout:12",
                lens: Lens {
                    read: Some(|shadow, _, offset, _, value| match offset {
                        QUEUE_READY if is_live(shadow) => 1,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                also: &["mmio.not-ready", "mmio.queue-reset-ongoing"],
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "mmio.queue-reset-ongoing",
        clauses: &["dev:mmio:mmio-device-register-layout:11"],
        does: "Writes 1 to QueueReset while buffers are outstanding, waits until it reads 0, and makes another buffer available.",
        violation: "A buffer is used after that: the reset was still going on.",
        needs: WITH_QUEUE_RESET,
        run: queue_reset_ongoing,
        mutants: &[Mutant {
            name: "QueueReset reads 0 while the virtqueue is still in use",
            breaks: "dev:mmio:mmio-device-register-layout:11",
            lens: Lens {
                write: Some(|shadow, _, offset, _, value| {
                    match offset {
                        QUEUE_RESET => shadow.note = 1,
                        QUEUE_READY | STATUS => shadow.note = 0,
                        _ => {}
                    }
                    (offset != QUEUE_RESET).then_some(value)
                }),
                read: Some(|shadow, _, offset, _, value| match offset {
                    QUEUE_READY if shadow.note == 1 => 0,
                    _ => value,
                }),
                ..Lens::CLEAR
            },
            also: &["queue-reset.quiet", "queue-reset.again", "mmio.queue-reset"],
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "mmio.queue-reset-register",
        clauses: &["dev:mmio:mmio-device-register-layout:08"],
        does: "Resets a virtqueue, then the device.",
        violation: "QueueReset is not 0 then.",
        needs: WITH_QUEUE_RESET,
        run: queue_reset_register,
        mutants: &[Mutant {
            name: "QueueReset reads 1 after the device is reset",
            breaks: "dev:mmio:mmio-device-register-layout:08",
            lens: Lens {
                read: Some(|shadow, _, offset, _, value| match offset {
                    QUEUE_RESET if !is_live(shadow) => shadow.last("mmio", QUEUE_RESET),
                    _ => value,
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
];

/// Whether the driver has set DRIVER_OK, and not reset the device since.
fn is_live(shadow: &crate::mutant::Shadow) -> bool {
    shadow.last("mmio", STATUS) & u32::from(Status::DRIVER_OK.0) != 0
}

fn read(probe: &mut Probe, register: u64) -> Outcome<u32> {
    match probe.raw() {
        Raw::Mmio(registers) => Ok(registers.read32(register)?),
        _ => Err(Ended::NotApplicable("it has no registers".into())),
    }
}

fn write(probe: &mut Probe, register: u64, value: u32) -> Outcome {
    match probe.raw() {
        Raw::Mmio(registers) => Ok(registers.write32(register, value)?),
        _ => Err(Ended::NotApplicable("it has no registers".into())),
    }
}

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

fn queue_reset(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(RING_RESET)?;
    for _ in 0..3 {
        probe.request(&mut live)?;
    }
    reset_queue(probe, live.queue().index)?;
    begins_anew(probe, live)
}

fn queue_reset_ongoing(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(RING_RESET)?;
    probe.request(&mut live)?;
    let mut pending = Vec::new();
    for _ in 0..4 {
        pending.push(probe.prepare(&mut live, 0)?);
    }
    probe.notify(live.queue())?;
    reset_queue(probe, live.queue().index)?;
    while live.queue().take_used().is_some() {}
    pending.push(probe.prepare(&mut live, 0)?);
    probe.notify(live.queue())?;
    let quiet = probe.never(|_| Ok(live.queue().has_used()))?;
    holds(quiet, "dev:mmio:mmio-device-register-layout:11", || {
        "QueueReset reads 0, and a buffer is used after that".into()
    })
}

/// Resets virtqueue `index`.
fn reset_queue(probe: &mut Probe, index: u16) -> Outcome {
    let clause = "dev:mmio:mmio-device-register-layout:12";
    write(probe, QUEUE_SEL, index.into())?;
    write(probe, QUEUE_RESET, 1)?;
    let done = probe.wait(|probe| Ok(read(probe, QUEUE_RESET)? == 0))?;
    holds(done, clause, || {
        "QueueReset never becomes 0 after 1 was written".into()
    })?;
    let ready = read(probe, QUEUE_READY)?;
    holds(ready == 0, clause, || {
        format!("QueueReset reads 0 after 1 was written, and QueueReady is {ready:#x}")
    })
}

fn begins_anew(probe: &mut Probe, mut live: Live) -> Outcome {
    live.queue().clear();
    probe.enable(live.queue())?;
    let reset = read(probe, QUEUE_RESET)?;
    holds(reset == 0, "dev:mmio:mmio-device-register-layout:09", || {
        format!("the virtqueue is enabled again, and QueueReset is {reset:#x}")
    })?;
    let works = probe.request(&mut live).is_ok();
    holds(works, "dev:mmio:mmio-device-register-layout:10", || {
        "a virtqueue that was reset, and enabled at the same place, is not looked at from its beginning"
            .into()
    })
}

fn queue_reset_register(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(RING_RESET)?;
    probe.request(&mut live)?;
    let index = live.queue().index;
    write(probe, QUEUE_SEL, index.into())?;
    write(probe, QUEUE_RESET, 1)?;
    probe.wait(|probe| Ok(read(probe, QUEUE_RESET)? == 0))?;
    if !probe.reset()? {
        return Err(Ended::Inconclusive("the device does not finish its reset".into()));
    }
    write(probe, QUEUE_SEL, index.into())?;
    let reset = read(probe, QUEUE_RESET)?;
    holds(reset == 0, "dev:mmio:mmio-device-register-layout:08", || {
        format!("QueueReset is {reset:#x} after a reset")
    })
}
