//! Suspending and resuming (section 3.4).

use ringwright_driver::Interrupt;
use ringwright_memory::Width;
use ringwright_spec::block::{self, Config, features::CONFIG_WCE};
use ringwright_spec::feature::SUSPEND;
use ringwright_spec::status::Status;

use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::Live;
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};

use super::basic::use_one;

const SUSPENDABLE: Needs = Needs::features(SUSPEND);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "suspend.early",
        clauses: &["dev:init:device-suspend:01"],
        does: "Sets SUSPEND before FEATURES_OK, and before DRIVER_OK; then initializes the device as ever.",
        violation: "The status shows SUSPEND, or the device does not become live.",
        needs: SUSPENDABLE,
        run: early,
        mutants: &[Mutant {
            name: "SUSPEND is remembered before DRIVER_OK",
            breaks: "dev:init:device-suspend:01",
            lens: Lens {
                set_status: Some(|life, status| {
                    life.note = u64::from(status.contains(Status::SUSPEND) && !life.was_live);
                    Some(status)
                }),
                status: Some(|life, status| match life.note {
                    1 => status | Status::SUSPEND,
                    _ => status,
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "suspend.quiet",
        clauses: &["dev:init:device-suspend:03"],
        does: "Suspends a device, makes a buffer available, and notifies it.",
        violation: "The device uses the buffer, notifies, or changes its configuration space.",
        needs: SUSPENDABLE,
        run: quiet,
        mutants: &[
            Mutant {
                name: "a suspended device uses buffers",
                breaks: "dev:init:device-suspend:03",
                lens: Lens {
                    set_status: Some(hear_suspend),
                    notified: Some(|life, queue| {
                        if is_suspended(life) {
                            use_one(life, queue);
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a suspended device notifies",
                breaks: "dev:init:device-suspend:03",
                lens: Lens {
                    set_status: Some(hear_suspend),
                    interrupt: Some(|life, interrupt| Interrupt {
                        queue: interrupt.queue || is_suspended(life),
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "the configuration space changes while the device is suspended",
                breaks: "dev:init:device-suspend:03",
                lens: Lens {
                    set_status: Some(hear_suspend),
                    config: Some(|life, _, data| {
                        if is_suspended(life) {
                            data.fill(0x77);
                        }
                    }),
                    ..Lens::CLEAR
                },
                also: &["suspend.config-write"],
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "suspend.config-write",
        clauses: &["dev:init:device-suspend:02"],
        does: "Writes to the configuration space of a suspended disk.",
        violation: "The field has the new value.",
        needs: Needs::device(block::DEVICE.id, SUSPEND.union(CONFIG_WCE)),
        run: config_write,
        mutants: &[Mutant {
            name: "a suspended disk changes its cache",
            breaks: "dev:init:device-suspend:02",
            lens: Lens {
                set_status: Some(hear_suspend),
                write_config: Some(|life, _, data| {
                    life.note |= 1 << 8 | u64::from(data[0]) << 9;
                    true
                }),
                config: Some(|life, offset, data| {
                    if is_suspended(life) && life.note >> 8 & 1 == 1 && offset == WRITEBACK {
                        data[0] = (life.note >> 9) as u8;
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "suspend.config-notification",
        clauses: &["dev:init:device-suspend:04", "dev:init:device-suspend:05"],
        does: "Has the configuration of a suspended device change, and resumes it.",
        violation: "A configuration change notification comes before it resumes, or none does after that.",
        needs: SUSPENDABLE,
        run: config_notification,
        mutants: &[
            Mutant {
                name: "configuration changes are notified while the device is suspended",
                breaks: "dev:init:device-suspend:04",
                lens: Lens {
                    set_status: Some(hear_suspend),
                    interrupt: Some(|life, interrupt| Interrupt {
                        config: interrupt.config || is_suspended(life),
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a configuration change is forgotten while the device is suspended",
                breaks: "dev:init:device-suspend:05",
                lens: Lens {
                    interrupt: Some(|life, interrupt| Interrupt {
                        config: interrupt.config && !life.features.contains(SUSPEND),
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "suspend.status",
        clauses: &["dev:init:device-suspend:06"],
        does: "Suspends a live device.",
        violation: "The status shows neither SUSPEND without DRIVER_OK, nor DEVICE_NEEDS_RESET.",
        needs: SUSPENDABLE,
        run: |probe| {
            let mut live = probe.go_live(SUSPEND)?;
            probe.request(&mut live)?;
            probe.add_status(Status::SUSPEND)?;
            let done = probe.wait(|probe| {
                let status = probe.status()?;
                Ok(shows_suspended(status) || status.contains(Status::DEVICE_NEEDS_RESET))
            })?;
            let status = probe.status()?;
            holds(done, "dev:init:device-suspend:06", || {
                format!("SUSPEND was set, and the status is {status:?}")
            })
        },
        mutants: &[Mutant {
            name: "DRIVER_OK stays set in a suspended device",
            breaks: "dev:init:device-suspend:06",
            lens: Lens {
                status: Some(|_, status| match status.contains(Status::SUSPEND) {
                    true => status | Status::DRIVER_OK,
                    false => status,
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "suspend.resume",
        clauses: &["dev:init:device-suspend:07"],
        does: "Suspends a device, and sets DRIVER_OK.",
        violation: "The device neither goes on, which SUSPEND being clear says and an answer shows, nor sets DEVICE_NEEDS_RESET.",
        needs: SUSPENDABLE,
        run: resume,
        mutants: &[
            Mutant {
                name: "SUSPEND stays set in a device that goes on",
                breaks: "dev:init:device-suspend:07",
                lens: Lens {
                    set_status: Some(|life, status| {
                        life.note |= u64::from(status.contains(Status::SUSPEND));
                        Some(status)
                    }),
                    status: Some(
                        |life, status| match life.note == 1 && status.contains(Status::DRIVER_OK) {
                            true => status | Status::SUSPEND,
                            false => status,
                        },
                    ),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "virtqueues stand still after the device has resumed",
                breaks: "dev:init:device-suspend:07",
                lens: Lens {
                    set_status: Some(|life, status| {
                        life.note |= u64::from(status.contains(Status::SUSPEND));
                        Some(status)
                    }),
                    notify: Some(|life, _| life.note == 0),
                    ..Lens::CLEAR
                },
                also: &["suspend.quiet"],
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "suspend.drained",
        clauses: &["dev:init:device-suspend:08"],
        does: "Makes buffers available and suspends the device at once.",
        violation: "Buffers that are used when it shows that it is suspended were not notified, or another is used later.",
        needs: SUSPENDABLE,
        run: drained,
        mutants: &[Mutant {
            name: "buffers that were used before it suspends are not notified",
            breaks: "dev:init:device-suspend:08",
            lens: Lens {
                set_status: Some(hear_suspend),
                interrupt: Some(|life, interrupt| Interrupt {
                    queue: interrupt.queue && !is_suspended(life),
                    ..interrupt
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
];

/// Offset of the field `writeback` of a disk.
const WRITEBACK: usize = std::mem::offset_of!(Config, writeback);

/// Remembers whether the device is suspended: a driver sets SUSPEND when it suspends it, and has it still set when it has
/// it resume.
fn hear_suspend(life: &mut Life, status: Status) -> Option<Status> {
    match status.contains(Status::SUSPEND) {
        true => life.note ^= 1,
        false => life.note = 0,
    }
    Some(status)
}

fn is_suspended(life: &Life) -> bool {
    life.note & 1 == 1 && life.is_live()
}

fn shows_suspended(status: Status) -> bool {
    status.contains(Status::SUSPEND) && !status.contains(Status::DRIVER_OK)
}

/// Suspends the device, which has to say that it is.
fn suspend(probe: &mut Probe) -> Outcome {
    probe.add_status(Status::SUSPEND)?;
    match probe.wait(|probe| Ok(shows_suspended(probe.status()?)))? {
        true => Ok(()),
        false => Err(Ended::Inconclusive("the device does not suspend itself".into())),
    }
}

fn early(probe: &mut Probe) -> Outcome {
    let features = probe.wanted(SUSPEND)?;
    if !probe.reset()? {
        return Err(Ended::Inconclusive("the device does not finish its reset".into()));
    }
    probe.add_status(Status::ACKNOWLEDGE)?;
    ignored(probe)?;
    probe.add_status(Status::DRIVER)?;
    ignored(probe)?;
    let mut live = probe.set_up(features)?;
    ignored(probe)?;
    probe.add_status(Status::DRIVER_OK)?;
    probe.request(&mut live)?;
    Ok(())
}

/// Sets SUSPEND, which the device has to ignore. Over channel I/O it says so.
fn ignored(probe: &mut Probe) -> Outcome {
    let before = probe.status()?;
    match probe.set_status(before | Status::SUSPEND) {
        Ok(()) | Err(Ended::Transport(_)) => {}
        Err(other) => return Err(other),
    }
    let after = probe.status()?;
    holds(before == after, "dev:init:device-suspend:01", || {
        format!("SUSPEND was set too early; the status was {before:?} and is {after:?}")
    })
}

fn quiet(probe: &mut Probe) -> Outcome {
    let clause = "dev:init:device-suspend:03";
    let mut live = probe.go_live(SUSPEND)?;
    probe.request(&mut live)?;
    let before = config(probe);
    suspend(probe)?;
    probe.interrupt()?;
    let _pending = probe.prepare(&mut live, 0)?;
    // The driver breaks drv:init:device-suspend:03 and drv:init:device-suspend:04 here; the device does not hear it.
    probe.notify(live.queue())?;
    let quiet = probe.never(|probe| Ok(live.queue().has_used() || probe.interrupt()?.queue))?;
    holds(quiet, clause, || {
        match live.queue().has_used() {
            true => "a suspended device uses a buffer",
            false => "a suspended device sends a used buffer notification",
        }
        .into()
    })?;
    let after = config(probe);
    holds(before == after, clause, || {
        format!("the configuration space was {before:02x?} and is {after:02x?}")
    })
}

/// The first bytes of the configuration space, if there are any.
fn config(probe: &mut Probe) -> Option<[u8; 8]> {
    let mut data = [0; 8];
    probe.transport().read_config(0, Width::Four, &mut data).ok()?;
    Some(data)
}

fn config_write(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(SUSPEND | CONFIG_WCE)?;
    probe.request(&mut live)?;
    let mut before = [0];
    probe
        .transport()
        .read_config(WRITEBACK, Width::One, &mut before)?;
    suspend(probe)?;
    probe
        .transport()
        .write_config(WRITEBACK, Width::One, &[1 - before[0].min(1)])?;
    let mut after = [0];
    probe.transport().read_config(WRITEBACK, Width::One, &mut after)?;
    holds(before == after, "dev:init:device-suspend:02", || {
        format!("writeback was {before:?}, was written while the device was suspended, and is {after:?}")
    })
}

fn config_notification(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(SUSPEND)?;
    probe.request(&mut live)?;
    suspend(probe)?;
    probe.interrupt()?;
    probe.change_config()?;
    let quiet = probe.never(|probe| Ok(probe.interrupt()?.config))?;
    holds(quiet, "dev:init:device-suspend:04", || {
        "a suspended device sends a configuration change notification".into()
    })?;
    probe.add_status(Status::DRIVER_OK)?;
    let told = probe.wait(|probe| Ok(probe.interrupt()?.config))?;
    holds(told, "dev:init:device-suspend:05", || {
        "the configuration changed while the device was suspended; it goes on, and no notification has come"
            .into()
    })
}

fn resume(probe: &mut Probe) -> Outcome {
    let clause = "dev:init:device-suspend:07";
    let mut live = probe.go_live(SUSPEND)?;
    for _ in 0..3 {
        probe.request(&mut live)?;
        suspend(probe)?;
        probe.add_status(Status::DRIVER_OK)?;
        let goes_on =
            |status: Status| status.contains(Status::DRIVER_OK) && !status.contains(Status::SUSPEND);
        let done = probe.wait(|probe| {
            let status = probe.status()?;
            Ok(goes_on(status) || status.contains(Status::DEVICE_NEEDS_RESET))
        })?;
        let status = probe.status()?;
        holds(done, clause, || {
            format!("DRIVER_OK was set, and the status is {status:?}")
        })?;
        if status.contains(Status::DEVICE_NEEDS_RESET) {
            return probe.survives(live);
        }
        works(probe, &mut live, clause)?;
    }
    Ok(())
}

fn works(probe: &mut Probe, live: &mut Live, clause: &'static str) -> Outcome {
    let pending = probe.send(live)?;
    let used = probe.used(live.queue())?;
    let mistake = match used {
        None => Some("the request is not answered".into()),
        Some(used) => live.exercise.mistake(&pending, used),
    };
    holds(mistake.is_none(), clause, || {
        format!(
            "the device says that it goes on, but {}",
            mistake.unwrap_or_default()
        )
    })
}

fn drained(probe: &mut Probe) -> Outcome {
    let clause = "dev:init:device-suspend:08";
    let mut live = probe.go_live(SUSPEND)?;
    probe.request(&mut live)?;
    probe.interrupt()?;
    let mut pending = Vec::new();
    for _ in 0..6 {
        pending.push(probe.prepare(&mut live, 0)?);
    }
    probe.notify(live.queue())?;
    probe.wait(|_| Ok(live.queue().has_used()))?;
    suspend(probe)?;
    let mut count = 0;
    while live.queue().take_used().is_some() {
        count += 1;
    }
    let told = count == 0 || probe.interrupt()?.queue;
    holds(told, clause, || {
        format!("{count} buffers were used before the device was suspended, and no notification came")
    })?;
    let quiet = probe.never(|_| Ok(live.queue().has_used()))?;
    holds(quiet, clause, || {
        format!("{count} buffers were used when the device was suspended, and then one more")
    })
}
