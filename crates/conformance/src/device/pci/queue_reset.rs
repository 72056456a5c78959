//! Reset of one virtqueue by the common configuration structure (section 4.1.4.3).

use ringwright_driver::transport::Registers;
use ringwright_spec::feature::RING_RESET;
use ringwright_spec::pci::common_cfg::{DEVICE_STATUS, QUEUE_ENABLE, QUEUE_RESET, QUEUE_SELECT};

use super::{OVER_PCI, is_live};
use crate::check::{Check, Ended, Needs, Outcome};
use crate::mutant::{Lens, Mutant, Shadow};
use crate::probe::{Probe, holds};

use super::common::{after_reset, common, remember_live};

const WITH_QUEUE_RESET: Needs = Needs {
    features: RING_RESET,
    ..OVER_PCI
};

/// The places of the registers that drivers and mutants agree on.
type Place<'a> = (&'a str, u64);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "pci.queue-reset",
        clauses: &[
            "dev:pci:common-configuration-structure-layout:09",
            "dev:pci:common-configuration-structure-layout:10",
            "dev:pci:common-configuration-structure-layout:11",
            "dev:pci:common-configuration-structure-layout:13",
        ],
        does: "Writes 1 to queue_reset, waits until it reads 0, enables the virtqueue anew, and resets the device.",
        violation: "queue_reset or queue_enable is not 0 when it has to be, or the virtqueue does not begin anew.",
        needs: WITH_QUEUE_RESET,
        run: queue_reset,
        mutants: &[
            Mutant {
                name: "queue_reset survives a reset",
                breaks: "dev:pci:common-configuration-structure-layout:09",
                lens: Lens {
                    write: Some(remember_live),
                    read: Some(|shadow, name, offset, _, value| match (name, offset) {
                        ("common", QUEUE_RESET) if after_reset(shadow) => shadow.last("common", QUEUE_RESET),
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "queue_reset reads 1 after the virtqueue is enabled",
                breaks: "dev:pci:common-configuration-structure-layout:10",
                lens: Lens {
                    write: Some(|shadow, name, offset, _, value| {
                        match (name, offset) {
                            ("common", QUEUE_ENABLE) => shadow.note = 1,
                            ("common", QUEUE_RESET | DEVICE_STATUS) => shadow.note = 0,
                            _ => {}
                        }
                        Some(value)
                    }),
                    read: Some(|shadow, name, offset, _, value| match (name, offset) {
                        ("common", QUEUE_RESET) => shadow.note as u32,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a virtqueue that says it was reset goes on where it was when it is enabled",
                breaks: "dev:pci:common-configuration-structure-layout:11",
                lens: Lens {
                    write: Some(|shadow, name, offset, _, value| {
                        feign_reset(shadow, (name, offset))
                            .then_some(value)
                            .filter(|_| name != "notify" || shadow.note == 0)
                    }),
                    read: Some(|shadow, name, offset, _, value| feigned(shadow, (name, offset), value)),
                    ..Lens::CLEAR
                },
                also: &["queue-reset.again", "pci.queue-reset-ongoing"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "queue_enable reads 1 after the virtqueue is reset",
                breaks: "dev:pci:common-configuration-structure-layout:13",
                lens: Lens {
                    read: Some(|shadow, name, offset, _, value| match (name, offset) {
                        ("common", QUEUE_ENABLE) if is_live(shadow) => 1,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                also: &["pci.queue-reset-ongoing"],
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "pci.queue-reset-ongoing",
        clauses: &["dev:pci:common-configuration-structure-layout:12"],
        does: "Writes 1 to queue_reset while buffers are outstanding, waits until it reads 0, and makes another buffer available.",
        violation: "A buffer is used after that: the reset was still going on.",
        needs: WITH_QUEUE_RESET,
        run: queue_reset_ongoing,
        mutants: &[Mutant {
            name: "queue_reset reads 0 while the virtqueue is still in use",
            breaks: "dev:pci:common-configuration-structure-layout:12",
            lens: Lens {
                write: Some(|shadow, name, offset, _, value| {
                    feign_reset(shadow, (name, offset)).then_some(value)
                }),
                read: Some(|shadow, name, offset, _, value| feigned(shadow, (name, offset), value)),
                ..Lens::CLEAR
            },
            also: &["queue-reset.quiet", "queue-reset.again", "pci.queue-reset"],
            ..Mutant::ALONE
        }],
    },
];

/// A virtqueue is not reset, but said to be. Whether what is written reaches the device.
fn feign_reset(shadow: &mut Shadow, place: Place<'_>) -> bool {
    match place {
        ("common", QUEUE_RESET) => shadow.note = 1,
        ("common", QUEUE_ENABLE | DEVICE_STATUS) => shadow.note = 0,
        _ => {}
    }
    place != ("common", QUEUE_RESET)
}

fn feigned(shadow: &Shadow, place: Place<'_>, value: u32) -> u32 {
    match place {
        ("common", QUEUE_ENABLE) if shadow.note == 1 => 0,
        _ => value,
    }
}

fn queue_reset(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(RING_RESET)?;
    for _ in 0..3 {
        probe.request(&mut live)?;
    }
    let mut common = common(probe)?;
    let index = live.queue().index;
    reset_queue(probe, &mut *common, index)?;
    live.queue().clear();
    probe.enable(live.queue())?;
    common.write16(QUEUE_SELECT, index)?;
    let again = common.read16(QUEUE_RESET)?;
    holds(
        again == 0,
        "dev:pci:common-configuration-structure-layout:10",
        || format!("the virtqueue is enabled again, and queue_reset is {again}"),
    )?;
    let works = probe.request(&mut live).is_ok();
    holds(works, "dev:pci:common-configuration-structure-layout:11", || {
        "a virtqueue that was reset, and enabled at the same place, is not looked at from its beginning"
            .into()
    })?;
    if !probe.reset()? {
        return Err(Ended::Inconclusive("the device does not finish its reset".into()));
    }
    common.write16(QUEUE_SELECT, index)?;
    let reset = common.read16(QUEUE_RESET)?;
    holds(
        reset == 0,
        "dev:pci:common-configuration-structure-layout:09",
        || format!("queue_reset is {reset} after a reset"),
    )
}

fn queue_reset_ongoing(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(RING_RESET)?;
    probe.request(&mut live)?;
    let mut common = common(probe)?;
    let mut pending = Vec::new();
    for _ in 0..4 {
        pending.push(probe.prepare(&mut live, 0)?);
    }
    probe.notify(live.queue())?;
    reset_queue(probe, &mut *common, live.queue().index)?;
    while live.queue().take_used().is_some() {}
    pending.push(probe.prepare(&mut live, 0)?);
    probe.notify(live.queue())?;
    let quiet = probe.never(|_| Ok(live.queue().has_used()))?;
    holds(quiet, "dev:pci:common-configuration-structure-layout:12", || {
        "queue_reset reads 0, and a buffer is used after that".into()
    })
}

/// Resets virtqueue `index`.
fn reset_queue(probe: &mut Probe, common: &mut dyn Registers, index: u16) -> Outcome {
    let clause = "dev:pci:common-configuration-structure-layout:13";
    common.write16(QUEUE_SELECT, index)?;
    common.write16(QUEUE_RESET, 1)?;
    let done = probe.wait(|_| Ok(common.read16(QUEUE_RESET)? == 0))?;
    holds(done, clause, || {
        "queue_reset never becomes 0 after 1 was written".into()
    })?;
    let enabled = common.read16(QUEUE_ENABLE)?;
    holds(enabled == 0, clause, || {
        format!("queue_reset reads 0 after 1 was written, and queue_enable is {enabled}")
    })
}
