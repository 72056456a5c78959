//! Virtqueues, status, indicators, notifications and reset (sections 4.3.2 and 4.3.3).

use ringwright_spec::Features;
use ringwright_spec::ccw::channel::{CcwFlags, DeviceStatus};
use ringwright_spec::ccw::{Command, ThinintArea, VqInfoBlock};
use ringwright_spec::status::Status;
use zerocopy::IntoBytes;

use super::{OVER_CCW, feigned_if, give, run};
use crate::check::{Check, Ended, Outcome};
use crate::exercise::exercise;
use crate::live::Live;
use crate::mutant::{Feigned, Lens, Mutant};
use crate::probe::{Probe, holds};
use crate::subject::Raw;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "ccw.queue-reserved",
        clauses: &["dev:ccw:configuring-a-virtqueue:01"],
        does: "Sets up a virtqueue with res0 full of ones.",
        violation: "The command is not done, or the virtqueue does not work.",
        needs: OVER_CCW,
        run: queue_reserved,
        mutants: &[Mutant {
            name: "a virtqueue with another res0 than 0 is refused",
            breaks: "dev:ccw:configuring-a-virtqueue:01",
            lens: Lens {
                command: Some(|program| {
                    feigned_if(
                        program.command == Command::SET_VQ && program.byte(8) != 0,
                        Feigned::Rejected,
                    )
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "ccw.status",
        clauses: &[
            "dev:ccw:communicating-status-information:01",
            "dev:ccw:communicating-status-information:02",
        ],
        does: "Writes the device status step by step and reads it, and sets FEATURES_OK with a feature that is not offered.",
        violation: "It is another, or it is not set and the command was not rejected.",
        needs: OVER_CCW,
        run: status,
        mutants: &[
            Mutant {
                name: "a status that cannot be is not rejected",
                breaks: "dev:ccw:communicating-status-information:01",
                lens: Lens {
                    ended: Some(|program, irb| {
                        if program.command == Command::WRITE_STATUS {
                            irb.scsw.device_status &= !DeviceStatus::UNIT_CHECK.0;
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "READ_STATUS always tells the same",
                breaks: "dev:ccw:communicating-status-information:02",
                lens: Lens {
                    ended: Some(|program, _| {
                        if program.command == Command::READ_STATUS {
                            program.set_byte(0, 0);
                        }
                    }),
                    ..Lens::CLEAR
                },
                also: &["*"],
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "ccw.indicators",
        clauses: &["dev:ccw:setting-up-two-stage-queue-indicators:01"],
        does: "Sets up classic queue indicators, and then two-stage ones.",
        violation: "The second command is not rejected.",
        needs: OVER_CCW,
        run: indicators,
        mutants: &[Mutant {
            name: "two-stage queue indicators are taken after classic ones",
            breaks: "dev:ccw:setting-up-two-stage-queue-indicators:01",
            lens: Lens {
                command: Some(|program| {
                    program.note |= u64::from(program.command == Command::SET_IND);
                    feigned_if(
                        program.command == Command::SET_IND_ADAPTER && program.note == 1,
                        Feigned::Done,
                    )
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "ccw.notification",
        clauses: &["dev:ccw:guest-host-notification:01"],
        does: "Notifies the device with the left half of general register 2 full of ones.",
        violation: "The device does not look at the virtqueue.",
        needs: OVER_CCW,
        run: notification,
        mutants: &[Mutant {
            name: "a notification with a wide subchannel id is not heard",
            breaks: "dev:ccw:guest-host-notification:01",
            lens: Lens {
                diagnose: Some(|registers| registers[2] >> 32 == 0),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "ccw.reset",
        clauses: &["dev:ccw:resetting-devices:01", "dev:ccw:resetting-devices:02"],
        does: "Gives VDEV_RESET to a live device, reads the status, makes a buffer available, and notifies it.",
        violation: "The status is not 0 when the command is done, or the buffer is used, or a notification comes.",
        needs: OVER_CCW,
        run: reset,
        mutants: &[
            Mutant {
                name: "the status stays after a reset",
                breaks: "dev:ccw:resetting-devices:01",
                lens: Lens {
                    command: Some(|program| {
                        feigned_if(program.command == Command::VDEV_RESET, Feigned::Done)
                    }),
                    ..Lens::CLEAR
                },
                also: &["*"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "virtqueues go on after a reset",
                breaks: "dev:ccw:resetting-devices:02",
                lens: Lens {
                    command: Some(|program| {
                        match program.command {
                            Command::VDEV_RESET => program.note = 1,
                            Command::WRITE_STATUS => program.note = 0,
                            _ => {}
                        }
                        feigned_if(program.command == Command::VDEV_RESET, Feigned::Done)
                    }),
                    ended: Some(|program, _| {
                        if program.command == Command::READ_STATUS && program.note == 1 {
                            program.set_byte(0, 0);
                        }
                    }),
                    ..Lens::CLEAR
                },
                also: &["*"],
                ..Mutant::ALONE
            },
        ],
    },
];

fn queue_reserved(probe: &mut Probe) -> Outcome {
    let clause = "dev:ccw:configuring-a-virtqueue:01";
    let missing =
        || Ended::NotApplicable("there is no request that each device of its type answers at once".into());
    let exercise = exercise(probe.device_id()).ok_or_else(missing)?;
    let features = probe.wanted(Features::NONE)?;
    probe.negotiate(features)?;
    let mut queues = Vec::new();
    for index in 0..exercise.queues {
        let queue = probe.queue(index, features)?;
        let layout = queue.layout;
        queues.push(queue);
        let block = VqInfoBlock {
            desc: layout.descriptor_area.into(),
            res0: u32::MAX.into(),
            index: index.into(),
            size: layout.size.into(),
            driver: layout.driver_area.into(),
            device: layout.device_area.into(),
        };
        let end = give(probe, Command::SET_VQ, block.as_bytes())?;
        holds(end.is_done(), clause, || {
            format!("SET_VQ with another res0 than 0 ended with {end:?}")
        })?;
    }
    let mut live = Live {
        features,
        queues,
        exercise,
    };
    probe.add_status(Status::DRIVER_OK)?;
    let pending = probe.prepare(&mut live, 0)?;
    if let Raw::Ccw(subchannel) = probe.raw() {
        subchannel.notify(exercise.queue.into())?;
    }
    let used = probe.used(live.queue())?;
    let works = used.is_some_and(|used| exercise.mistake(&pending, used).is_none());
    holds(works, clause, || {
        "a virtqueue that was set up with another res0 than 0 does not work".into()
    })
}

fn status(probe: &mut Probe) -> Outcome {
    if !probe.reset()? {
        return Err(Ended::Inconclusive("the device does not finish its reset".into()));
    }
    let read = |probe: &mut Probe| -> Outcome<Status> {
        let mut byte = [0];
        run(probe, Command::READ_STATUS, CcwFlags::NONE, &mut byte)?;
        Ok(Status(byte[0]))
    };
    let mut written = Status::NONE;
    for step in [Status::ACKNOWLEDGE, Status::DRIVER] {
        written = written | step;
        give(probe, Command::WRITE_STATUS, &[written.0])?;
        let seen = read(probe)?;
        holds(
            seen == written,
            "dev:ccw:communicating-status-information:02",
            || format!("the status {written:?} was written, and READ_STATUS says {seen:?}"),
        )?;
    }
    let offered = probe.offered()?;
    let more = (0..64).map(Features::bit).find(|bit| !offered.intersects(*bit));
    let wanted = probe.wanted(Features::NONE)?;
    probe
        .transport()
        .set_driver_features(wanted | more.unwrap_or(Features::NONE))?;
    let end = give(probe, Command::WRITE_STATUS, &[(written | Status::FEATURES_OK).0])?;
    let seen = read(probe)?;
    let refused = !seen.contains(Status::FEATURES_OK);
    holds(
        !refused || end.is_rejected() && seen == written,
        "dev:ccw:communicating-status-information:01",
        || format!("FEATURES_OK was not set, but {seen:?}, and the command ended with {end:?}"),
    )
}

fn indicators(probe: &mut Probe) -> Outcome {
    if !probe.reset()? {
        return Err(Ended::Inconclusive("the device does not finish its reset".into()));
    }
    let place = probe.buffer(64, 0)?;
    let address = place.segment().address();
    let end = give(probe, Command::SET_IND, &address.to_be_bytes())?;
    if !end.is_done() {
        return Err(Ended::Inconclusive("classic queue indicators are refused".into()));
    }
    let area = ThinintArea {
        summary_indicator: (address + 32).into(),
        indicator: (address + 40).into(),
        bit_nr: 0.into(),
        isc: 3,
    };
    let end = give(probe, Command::SET_IND_ADAPTER, area.as_bytes())?;
    // The device forgets where the indicators are before their memory goes.
    probe.reset()?;
    holds(
        end.is_rejected(),
        "dev:ccw:setting-up-two-stage-queue-indicators:01",
        || format!("SET_IND_ADAPTER after SET_IND ended with {end:?}"),
    )
}

fn notification(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    let pending = probe.prepare(&mut live, 0)?;
    let Raw::Ccw(subchannel) = probe.raw() else {
        return Err(Ended::NotApplicable("it is on no subchannel".into()));
    };
    let missing = || Ended::NotApplicable("its hypercall takes no more than a subchannel id".into());
    let answer = subchannel
        .notify_with_ones(live.exercise.queue.into())
        .ok_or_else(missing)?;
    let used = probe.used(live.queue())?;
    let works = used.is_some_and(|used| live.exercise.mistake(&pending, used).is_none());
    holds(works, "dev:ccw:guest-host-notification:01", || {
        format!("the hypercall returned {answer:#x}, and the buffer is used as {used:?}")
    })
}

fn reset(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    let end = give(probe, Command::VDEV_RESET, &[])?;
    if !end.is_done() {
        return Err(Ended::Inconclusive(format!("VDEV_RESET ended with {end:?}")));
    }
    let status = probe.status()?;
    holds(status == Status::NONE, "dev:ccw:resetting-devices:01", || {
        format!("VDEV_RESET is done, and the status is {status:?}")
    })?;
    probe.interrupt()?;
    let _pending = probe.prepare(&mut live, 0)?;
    match probe.notify(live.queue()) {
        // A device that has been reset may refuse it.
        Ok(()) | Err(Ended::Transport(_)) => {}
        Err(other) => return Err(other),
    }
    let quiet = probe.never(|probe| Ok(live.queue().has_used() || probe.interrupt()?.queue))?;
    holds(quiet, "dev:ccw:resetting-devices:02", || {
        match live.queue().has_used() {
            true => "a buffer is used after VDEV_RESET",
            false => "a used buffer notification has come after VDEV_RESET",
        }
        .into()
    })
}
