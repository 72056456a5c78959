//! Status, reset, configuration space, and the reset of virtqueues (sections 2.1, 2.4, 2.5, 2.6).

use ringwright_driver::{Interrupt, TransportError};
use ringwright_memory::Width;
use ringwright_spec::feature::RING_RESET;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, block, console, network};

use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::Live;
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::Ring;
use crate::subject::Bus;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "reset.status",
        clauses: &["dev:core:device-reset:01"],
        does: "Resets a device that is live.",
        violation: "The device status never reads 0.",
        needs: Needs::buses(WITH_STATUS),
        run: reset_status,
        mutants: &[Mutant {
            name: "a bit of the status survives the reset",
            breaks: "dev:core:device-reset:01",
            lens: Lens {
                status: Some(
                    |life, status| match life.was_live && life.status == Status::NONE {
                        true => status | Status::ACKNOWLEDGE,
                        false => status,
                    },
                ),
                ..Lens::CLEAR
            },
            also: &["*"],
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "reset.quiet",
        clauses: &["dev:core:device-reset:02"],
        does: "Resets a live device, makes a buffer available where its virtqueue was, and notifies it.",
        violation: "The device uses the buffer, or notifies.",
        needs: Needs::NOTHING,
        run: reset_quiet,
        mutants: &[
            Mutant {
                name: "a reset does not stop the virtqueues",
                breaks: "dev:core:device-reset:02",
                lens: Lens {
                    notified: Some(|life, queue| {
                        if life.was_live && life.status == Status::NONE {
                            use_one(life, queue);
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a device that is reset notifies",
                breaks: "dev:core:device-reset:02",
                lens: Lens {
                    interrupt: Some(
                        |life, interrupt| match life.was_live && life.status == Status::NONE {
                            true => Interrupt {
                                queue: true,
                                config: false,
                            },
                            false => interrupt,
                        },
                    ),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "status.before-driver-ok",
        clauses: &["dev:core:device-status-field:01"],
        does: "Makes a buffer available and notifies the device before DRIVER_OK.",
        violation: "The device uses the buffer, or notifies.",
        needs: Needs::NOTHING,
        run: before_driver_ok,
        mutants: &[
            Mutant {
                name: "buffers are used before DRIVER_OK",
                breaks: "dev:core:device-status-field:01",
                lens: Lens {
                    notified: Some(|life, queue| {
                        if !life.was_live {
                            use_one(life, queue);
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "the device notifies before DRIVER_OK",
                breaks: "dev:core:device-status-field:01",
                lens: Lens {
                    interrupt: Some(|life, interrupt| match life.notifications > 0 && !life.was_live {
                        true => Interrupt {
                            queue: true,
                            config: false,
                        },
                        false => interrupt,
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "status.needs-reset",
        clauses: &[
            "dev:core:device-status-field:02",
            "dev:core:device-status-field:03",
        ],
        does: "Makes more buffers available than the virtqueue has descriptors, or one that is none.",
        violation: "The device needs a reset and does not say so, or sets DEVICE_NEEDS_RESET without a notification.",
        needs: Needs::NOTHING,
        run: needs_reset,
        mutants: &[
            Mutant {
                name: "DEVICE_NEEDS_RESET is set in silence",
                breaks: "dev:core:device-status-field:03",
                lens: Lens {
                    interrupt: Some(|_, interrupt| Interrupt {
                        config: false,
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                also: &["suspend.config-notification"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "DEVICE_NEEDS_RESET is never set",
                breaks: "dev:core:device-status-field:02",
                lens: Lens {
                    status: Some(|_, status| status - Status::DEVICE_NEEDS_RESET),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "config.early",
        clauses: &["dev:core:device-configuration-space:01"],
        does: "Reads the configuration space before FEATURES_OK and after it.",
        violation: "What can be read then cannot be read before.",
        needs: Needs::NOTHING,
        run: config_early,
        mutants: &[Mutant {
            name: "the configuration space is empty before FEATURES_OK",
            breaks: "dev:core:device-configuration-space:01",
            lens: Lens {
                config: Some(|life, _, data| {
                    if !life.status.contains(Status::FEATURES_OK) {
                        data.fill(0);
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "queue-reset.quiet",
        clauses: &["dev:core:virtqueue-reset:01"],
        does: "Resets a virtqueue, makes a buffer available where it was, and notifies the device.",
        violation: "The device uses the buffer, or notifies.",
        needs: Needs::features(RING_RESET),
        run: queue_reset_quiet,
        mutants: &[Mutant {
            name: "the reset of a virtqueue does not stop it",
            breaks: "dev:core:virtqueue-reset:01",
            lens: Lens {
                reset_queue: Some(|life, _| {
                    life.note = 1;
                    true
                }),
                enable_queue: Some(|life, _, layout| {
                    life.note = 0;
                    Some(layout)
                }),
                notified: Some(|life, queue| {
                    if life.note == 1 {
                        use_one(life, queue);
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "queue-reset.again",
        clauses: &["dev:core:virtqueue-reset:02", "dev:core:virtqueue-re-enable:01"],
        does: "Resets a virtqueue in the middle of its ring, and enables it again elsewhere, with another size.",
        violation: "The device does not start at the first descriptor of the new virtqueue.",
        needs: Needs::features(RING_RESET),
        run: queue_reset_again,
        mutants: &[
            Mutant {
                name: "the used index survives the reset of a virtqueue",
                breaks: "dev:core:virtqueue-reset:02",
                lens: Lens {
                    reset_queue: Some(|life, _| {
                        life.note = 1;
                        true
                    }),
                    notified: Some(|life, queue| {
                        if life.note == 1 {
                            use_one(life, queue);
                        }
                    }),
                    ..Lens::CLEAR
                },
                also: &["queue-reset.quiet"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "a virtqueue keeps the size that it had",
                breaks: "dev:core:virtqueue-re-enable:01",
                lens: Lens {
                    reset_queue: Some(|life, queue| {
                        life.note = life.layouts.get(&queue).map_or(0, |layout| layout.device_area);
                        true
                    }),
                    enable_queue: Some(|life, _, layout| {
                        let device_area = match life.note {
                            0 => layout.device_area,
                            old => old,
                        };
                        Some(ringwright_ring::Layout {
                            device_area,
                            ..layout
                        })
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
];

fn reset_status(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    let is_reset = probe.reset()?;
    let status = probe.status()?;
    holds(is_reset, "dev:core:device-reset:01", || {
        format!("the status is {status:?} after a reset")
    })
}

fn reset_quiet(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    if !probe.reset()? {
        return Err(Ended::Inconclusive("the device does not finish its reset".into()));
    }
    probe.interrupt()?;
    stays_quiet(probe, &mut live, "dev:core:device-reset:02")
}

fn before_driver_ok(probe: &mut Probe) -> Outcome {
    let mut live = probe.set_up(Features::NONE)?;
    probe.interrupt()?;
    stays_quiet(probe, &mut live, "dev:core:device-status-field:01")
}

/// Makes a request available and notifies the device, which does not hear it.
fn stays_quiet(probe: &mut Probe, live: &mut Live, clause: &'static str) -> Outcome {
    let _pending = probe.prepare(live, 0)?;
    match probe.notify(live.queue()) {
        // A virtqueue that is not enabled may have no place to notify.
        Ok(()) | Err(Ended::Transport(TransportError::NoQueue(_))) => {}
        Err(other) => return Err(other),
    }
    let quiet = probe.never(|probe| {
        let used = live.queue().has_used();
        let notified = probe.interrupt()?.queue;
        probe.note(format_args!("used: {used}, notified: {notified}"));
        Ok(used || notified)
    })?;
    holds(quiet, clause, || {
        match live.queue().has_used() {
            true => "a buffer is used",
            false => "a used buffer notification has come",
        }
        .into()
    })
}

fn needs_reset(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    probe.interrupt()?;
    let queue = live.queue();
    let size = queue.layout.size;
    match &mut queue.ring {
        Ring::Split(ring) => {
            // drv:split:updating-idx:01 is broken here, by all that can be.
            let index = ring.available_index();
            ring.set_available_index(index.wrapping_add(size + 1));
        }
        Ring::Packed(_) => return Err(Ended::NotApplicable("its virtqueues are packed".into())),
    }
    probe.notify(live.queue())?;
    let mut told = false;
    let asks = probe.wait(|probe| {
        told |= probe.interrupt()?.config;
        Ok(probe.status()?.contains(Status::DEVICE_NEEDS_RESET))
    })?;
    if asks {
        let told = told || probe.wait(|probe| Ok(probe.interrupt()?.config))?;
        holds(told, "dev:core:device-status-field:03", || {
            "DEVICE_NEEDS_RESET is set, and no configuration change notification came".into()
        })?;
    } else {
        let works = live.queue().has_used();
        holds(works, "dev:core:device-status-field:02", || {
            format!(
                "{} more buffers were available than there are descriptors; the device stands still and does not ask for a reset",
                size + 1
            )
        })?;
    }
    probe.survives(live)
}

fn config_early(probe: &mut Probe) -> Outcome {
    // The first fields of each device type, and how wide they are. (Nobody else writes to them.)
    let (length, width) = match probe.device_id() {
        id if id == block::DEVICE.id => (8, Width::Four),
        id if id == network::DEVICE.id && probe.offered()?.contains(network::features::MAC) => {
            (6, Width::One)
        }
        id if id == console::DEVICE.id && probe.offered()?.contains(console::features::SIZE) => {
            (4, Width::Two)
        }
        _ => return Err(Ended::NotApplicable("it has no configuration fields".into())),
    };
    let read = |probe: &mut Probe| -> Outcome<Vec<u8>> {
        let mut data = vec![0; length];
        probe.transport().read_config(0, width, &mut data)?;
        probe.note(format_args!("configuration space -> {data:02x?}"));
        Ok(data)
    };
    if !probe.reset()? {
        return Err(Ended::Inconclusive("the device does not finish its reset".into()));
    }
    probe.add_status(Status::ACKNOWLEDGE)?;
    probe.add_status(Status::DRIVER)?;
    let early = read(probe)?;
    let features = probe.offered()?;
    let wanted = probe.wanted(features & (network::features::MAC | console::features::SIZE))?;
    probe.negotiate(wanted)?;
    let late = read(probe)?;
    holds(early == late, "dev:core:device-configuration-space:01", || {
        format!("before FEATURES_OK the first bytes are {early:02x?}, after it {late:02x?}")
    })
}

fn queue_reset_quiet(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(RING_RESET)?;
    probe.request(&mut live)?;
    probe.reset_queue(live.queue().index)?;
    probe.interrupt()?;
    stays_quiet(probe, &mut live, "dev:core:virtqueue-reset:01")
}

fn queue_reset_again(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(RING_RESET)?;
    for _ in 0..3 {
        probe.request(&mut live)?;
    }
    probe.reset_queue(live.queue().index)?;
    let (index, size) = (live.queue().index, live.queue().layout.size);
    *live.queue() = probe.queue_of(index, live.features, (size / 2).max(1))?;
    probe.enable(live.queue())?;
    let pending = probe.send(&mut live)?;
    let used = probe.used(live.queue())?;
    let Some(used) = used else {
        return holds(false, "dev:core:virtqueue-re-enable:01", || {
            format!(
                "a virtqueue of {size} that is enabled again with {} is not looked at",
                size / 2
            )
        });
    };
    let mistake = live.exercise.mistake(&pending, used);
    holds(mistake.is_none(), "dev:core:virtqueue-reset:02", || {
        mistake.unwrap_or_default()
    })?;
    let more = live.queue().take_used();
    holds(more.is_none(), "dev:core:virtqueue-reset:02", || {
        format!("one buffer was available, {more:?} is used as well")
    })
}

/// The device uses one buffer more than it has: what it wrote last, once more.
pub(super) fn use_one(life: &mut Life, queue: u16) {
    let Some(layout) = life.layouts.get(&queue).copied() else {
        return;
    };
    if !life.is_packed() {
        let index = life.read16(layout.device_area + 2);
        life.write(layout.device_area + 2, &index.wrapping_add(1).to_le_bytes());
    }
}

/// The buses with a device status field of the document's own: vhost-user has one only by an extension.
pub(super) const WITH_STATUS: &[Bus] = &[Bus::Direct, Bus::Mmio, Bus::Pci, Bus::Ccw];
