//! Reset of one virtqueue.

use ringwright_spec::feature::RING_RESET;
use ringwright_spec::mmio::{QUEUE_NOTIFY, QUEUE_READY, QUEUE_RESET, QUEUE_SEL, STATUS};

use super::{OVER_MMIO, is_live, read, write};
use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::Live;
use crate::mutant::{Lens, Mutant};
use crate::probe::{Probe, holds};

const WITH_QUEUE_RESET: Needs = Needs {
    features: RING_RESET,
    ..OVER_MMIO
};

pub(super) const CHECKS: &[Check] = &[
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
