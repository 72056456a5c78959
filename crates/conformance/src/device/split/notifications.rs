//! Notifications and their suppression (sections 2.7.7, 2.7.10).

use ringwright_driver::Interrupt;
use ringwright_spec::Features;
use ringwright_spec::feature::EVENT_IDX;

use super::answered;
use crate::check::{Check, Needs, Outcome};
use crate::mutant::{Lens, Mutant};
use crate::probe::{Probe, holds};

/// A `used_event` that no used index comes near to.
const FAR: u16 = 0x7abc;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "split.interrupt-flag",
        clauses: &[
            "dev:split:used-buffer-notification-suppression:01",
            "dev:split:used-buffer-notification-suppression:02",
            "dev:split:used-buffer-notification-suppression:03",
        ],
        does: "Without VIRTIO_F_EVENT_IDX: has requests answered with the flag of the available ring 0 and 1, and used_event far away.",
        violation: "No notification comes with the flag 0, or one with the flag 1.",
        needs: Needs::NOTHING,
        run: interrupt_flag,
        mutants: &[
            Mutant {
                name: "used_event counts without VIRTIO_F_EVENT_IDX",
                breaks: "dev:split:used-buffer-notification-suppression:01",
                lens: Lens {
                    interrupt: Some(|life, interrupt| Interrupt {
                        queue: interrupt.queue
                            && !life.layouts.iter().any(|(_, layout)| {
                                life.read16(layout.driver_area + 4 + 2 * u64::from(layout.size)) == FAR
                            }),
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "the flag does not suppress notifications",
                breaks: "dev:split:used-buffer-notification-suppression:02",
                lens: Lens {
                    notified: Some(|life, _| life.note = 1),
                    interrupt: Some(|life, interrupt| Interrupt {
                        queue: interrupt.queue || std::mem::take(&mut life.note) == 1,
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                also: &[
                    "split.interrupt-event",
                    "reset.quiet",
                    "queue-reset.quiet",
                    "status.before-driver-ok",
                    "suspend.quiet",
                ],
                ..Mutant::ALONE
            },
            Mutant {
                name: "used buffers are never notified",
                breaks: "dev:split:used-buffer-notification-suppression:03",
                lens: Lens {
                    interrupt: Some(|_, interrupt| Interrupt {
                        queue: false,
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                also: &["split.interrupt-event", "suspend.drained"],
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "split.interrupt-event",
        clauses: &[
            "dev:split:used-buffer-notification-suppression:04",
            "dev:split:used-buffer-notification-suppression:05",
            "dev:split:used-buffer-notification-suppression:06",
        ],
        does: "With VIRTIO_F_EVENT_IDX: has requests answered with used_event at the next entry and elsewhere, the flag being 1.",
        violation: "No notification comes for the entry that used_event names, or one for another.",
        needs: Needs::features(EVENT_IDX),
        run: interrupt_event,
        mutants: &[
            Mutant {
                name: "the flag counts with VIRTIO_F_EVENT_IDX",
                breaks: "dev:split:used-buffer-notification-suppression:04",
                lens: Lens {
                    interrupt: Some(|life, interrupt| Interrupt {
                        queue: interrupt.queue
                            && !(life.features.contains(EVENT_IDX)
                                && life
                                    .layouts
                                    .values()
                                    .any(|layout| life.read16(layout.driver_area) == 1)),
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "the entry that used_event names is not notified",
                breaks: "dev:split:used-buffer-notification-suppression:05",
                lens: Lens {
                    interrupt: Some(|life, interrupt| Interrupt {
                        queue: interrupt.queue && !life.features.contains(EVENT_IDX),
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "entries that used_event does not name are notified",
                breaks: "dev:split:used-buffer-notification-suppression:06",
                lens: Lens {
                    notified: Some(|life, _| life.note = 1),
                    interrupt: Some(|life, interrupt| Interrupt {
                        queue: interrupt.queue
                            || life.features.contains(EVENT_IDX) && std::mem::take(&mut life.note) == 1,
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "split.used-flags",
        clauses: &[
            "dev:split:available-buffer-notification-suppression:01",
            "dev:split:available-buffer-notification-suppression:03",
        ],
        does: "Reads the flags of the used ring while requests are answered, with and without VIRTIO_F_EVENT_IDX.",
        violation: "They are neither 0 nor 1, or not 0 with VIRTIO_F_EVENT_IDX.",
        needs: Needs::NOTHING,
        run: used_flags,
        mutants: &[
            Mutant {
                name: "the flags of the used ring are 2",
                breaks: "dev:split:available-buffer-notification-suppression:01",
                lens: Lens {
                    notified: Some(|life, _| {
                        for layout in life
                            .layouts
                            .values()
                            .filter(|_| !life.features.contains(EVENT_IDX))
                        {
                            life.write(layout.device_area, &[2, 0]);
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "the flags of the used ring are 1 with VIRTIO_F_EVENT_IDX",
                breaks: "dev:split:available-buffer-notification-suppression:03",
                lens: Lens {
                    notified: Some(|life, _| {
                        for layout in life
                            .layouts
                            .values()
                            .filter(|_| life.features.contains(EVENT_IDX))
                        {
                            life.write(layout.device_area, &[1, 0]);
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "split.spurious",
        clauses: &["dev:split:available-buffer-notification-suppression:05"],
        does: "Notifies the device five times of nothing, then of a request.",
        violation: "The device uses something that was not available, or does not answer any more.",
        needs: Needs::NOTHING,
        run: spurious,
        mutants: &[Mutant {
            name: "a notification is taken for a buffer",
            breaks: "dev:split:available-buffer-notification-suppression:05",
            lens: Lens {
                notify: Some(|life, queue| {
                    if let Some(layout) = life.layouts.get(&queue).copied().filter(|_| life.is_live()) {
                        let used = life.read16(layout.device_area + 2);
                        if life.read16(layout.driver_area + 2) == used {
                            life.write(layout.device_area + 2, &used.wrapping_add(1).to_le_bytes());
                        }
                    }
                    true
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
];

fn interrupt_flag(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.interrupt()?;
    for _ in 0..3 {
        probe.request(&mut live)?;
        notified(
            probe,
            "dev:split:used-buffer-notification-suppression:03",
            "the flag is 0",
        )?;
    }
    live.queue().split()?.set_used_event(FAR);
    probe.request(&mut live)?;
    notified(
        probe,
        "dev:split:used-buffer-notification-suppression:01",
        "the flag is 0 and used_event is far away",
    )?;
    live.queue().split()?.set_available_flags(1);
    probe.request(&mut live)?;
    not_notified(
        probe,
        "dev:split:used-buffer-notification-suppression:02",
        "the flag is 1",
    )?;
    live.queue().split()?.set_available_flags(0);
    probe.request(&mut live)?;
    notified(
        probe,
        "dev:split:used-buffer-notification-suppression:03",
        "the flag is 0 again",
    )
}

fn interrupt_event(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(EVENT_IDX)?;
    probe.interrupt()?;
    for _ in 0..3 {
        let ring = live.queue().split()?;
        ring.set_used_event(ring.used_index());
        probe.request(&mut live)?;
        notified(
            probe,
            "dev:split:used-buffer-notification-suppression:05",
            "used_event names the entry",
        )?;
        live.queue().split()?.set_used_event(FAR);
        probe.request(&mut live)?;
        not_notified(
            probe,
            "dev:split:used-buffer-notification-suppression:06",
            "used_event names another entry",
        )?;
    }
    let ring = live.queue().split()?;
    ring.set_used_event(ring.used_index());
    ring.set_available_flags(1);
    probe.request(&mut live)?;
    notified(
        probe,
        "dev:split:used-buffer-notification-suppression:04",
        "used_event names the entry, and the flag, which means nothing, is 1",
    )
}

fn notified(probe: &mut Probe, clause: &'static str, when: &str) -> Outcome {
    let came = probe.wait(|probe| Ok(probe.interrupt()?.queue))?;
    holds(came, clause, || {
        format!("a buffer is used, {when}, and no notification came")
    })
}

fn not_notified(probe: &mut Probe, clause: &'static str, when: &str) -> Outcome {
    let quiet = probe.never(|probe| Ok(probe.interrupt()?.queue))?;
    holds(quiet, clause, || {
        format!("a buffer is used, {when}, and a notification came")
    })
}

fn used_flags(probe: &mut Probe) -> Outcome {
    let offered = probe.offered()?;
    for (features, legal, clause) in [
        (
            Features::NONE,
            1,
            "dev:split:available-buffer-notification-suppression:01",
        ),
        (
            EVENT_IDX,
            0,
            "dev:split:available-buffer-notification-suppression:03",
        ),
    ] {
        if !offered.contains(features) {
            continue;
        }
        let mut live = probe.go_live(features)?;
        for _ in 0..10 {
            probe.request(&mut live)?;
            let flags = live.queue().split()?.used_flags();
            holds(flags <= legal, clause, || {
                format!("the flags of the used ring are {flags:#x}")
            })?;
        }
    }
    Ok(())
}

fn spurious(probe: &mut Probe) -> Outcome {
    let clause = "dev:split:available-buffer-notification-suppression:05";
    let mut live = probe.go_live(Features::NONE)?;
    for _ in 0..3 {
        for _ in 0..5 {
            probe.notify(live.queue())?;
        }
        let quiet = probe.never(|_| Ok(live.queue().has_used()))?;
        holds(quiet, clause, || "a buffer is used that was not available".into())?;
        let pending = probe.prepare(&mut live, 0)?;
        answered(probe, &mut live, &pending, clause)?;
        let more = live.queue().take_used();
        holds(more.is_none(), clause, || {
            format!("one buffer was available, {more:?} is used as well")
        })?;
    }
    Ok(())
}
