//! Virtio over channel I/O (section 4.3), by channel programs.

use ringwright_spec::Features;
use ringwright_spec::ccw::channel::{CcwFlags, DeviceStatus, SubchannelStatus};
use ringwright_spec::ccw::{
    Command, RevInfo, Revision, ThinintArea, VqConfigBlock, VqInfoBlock, VqInfoBlockLegacy,
};
use ringwright_spec::status::Status;
use zerocopy::IntoBytes;

use crate::check::{Check, Ended, Needs, Outcome};
use crate::exercise::exercise;
use crate::live::Live;
use crate::mutant::{Feigned, Lens, Mutant, Program};
use crate::probe::{Probe, holds};
use crate::raw::ProgramEnd;
use crate::subject::{Bus, Raw};

const OVER_CCW: Needs = Needs::buses(&[Bus::Ccw]);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "ccw.unknown-command",
        clauses: &["dev:ccw:basic-concepts:01"],
        does: "Gives commands that there are not.",
        violation: "There is no unit check with command reject.",
        needs: OVER_CCW,
        run: unknown_command,
        mutants: &[Mutant {
            name: "an unknown command is done",
            breaks: "dev:ccw:basic-concepts:01",
            lens: Lens {
                command: Some(|program| feigned_if(UNKNOWN.contains(&program.command), Feigned::Done)),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "ccw.length",
        clauses: &[
            "dev:ccw:basic-concepts:02",
            "dev:ccw:basic-concepts:03",
            "dev:ccw:basic-concepts:04",
        ],
        does: "Gives a command with a byte more and a byte less of data than it takes, with and without length checks.",
        violation: "The status is not as the architecture has it.",
        needs: OVER_CCW,
        run: length,
        mutants: &[
            Mutant {
                name: "a wrong length is not told",
                breaks: "dev:ccw:basic-concepts:02",
                lens: Lens {
                    ended: Some(|_, irb| irb.scsw.subchannel_status &= !SubchannelStatus::INCORRECT_LENGTH.0),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a command with too little data is done",
                breaks: "dev:ccw:basic-concepts:03",
                lens: Lens {
                    command: Some(|program| feigned_if(is_feature_of(program, 4), Feigned::Done)),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a command with too much data is rejected",
                breaks: "dev:ccw:basic-concepts:04",
                lens: Lens {
                    command: Some(|program| feigned_if(is_feature_of(program, 6), Feigned::Rejected)),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "ccw.revision",
        clauses: &[
            "dev:ccw:setting-the-virtio-revision:01",
            "dev:ccw:setting-the-virtio-revision:02",
            "dev:ccw:setting-the-virtio-revision:05",
            "dev:ccw:setting-the-virtio-revision:06",
        ],
        does: "Enables the subchannel anew, and selects revisions that are not there, with data that belong to none, one that is, and another.",
        violation: "One is accepted that is not to be, or the one that is to be is not.",
        needs: OVER_CCW,
        run: revision,
        mutants: &[
            Mutant {
                name: "a revision that there is not is accepted",
                breaks: "dev:ccw:setting-the-virtio-revision:01",
                lens: Lens {
                    command: Some(|program| {
                        feigned_if(
                            selects(program).is_some_and(|revision| revision > 2),
                            Feigned::Done,
                        )
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a revision with data that it has not is accepted",
                breaks: "dev:ccw:setting-the-virtio-revision:02",
                lens: Lens {
                    command: Some(|program| {
                        feigned_if(selects(program).is_some() && program.byte(3) != 0, Feigned::Done)
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "another revision is accepted later",
                breaks: "dev:ccw:setting-the-virtio-revision:05",
                lens: Lens {
                    command: Some(|program| {
                        feigned_if(selects(program) == Some(1) && program.byte(3) == 0, Feigned::Done)
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "the revision stays selected when the subchannel is enabled anew",
                breaks: "dev:ccw:setting-the-virtio-revision:06",
                lens: Lens {
                    command: Some(|program| {
                        let again = selects(program) == Some(2) && program.byte(3) == 0;
                        program.note += u64::from(again);
                        feigned_if(again && program.note > 1, Feigned::Rejected)
                    }),
                    ..Lens::CLEAR
                },
                also: &["ccw.revision-command"],
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "ccw.revision-legacy",
        clauses: &["dev:ccw:setting-the-virtio-revision:03"],
        does: "Enables the subchannel anew, selects revision 0, and sets up a virtqueue as legacy drivers do.",
        violation: "Revision 0 is accepted by a device that has no legacy interface.",
        needs: OVER_CCW,
        run: revision_legacy,
        mutants: &[Mutant {
            name: "a device accepts revision 0, but no legacy virtqueues",
            breaks: "dev:ccw:setting-the-virtio-revision:03",
            lens: Lens {
                command: Some(|program| {
                    let legacy = usize::from(program.count) == size_of::<VqInfoBlockLegacy>();
                    feigned_if(program.command == Command::SET_VQ && legacy, Feigned::Rejected)
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "ccw.revision-command",
        clauses: &["dev:ccw:setting-the-virtio-revision:04"],
        does: "Selects revision 1, and gives the command that came with revision 2.",
        violation: "It is not rejected.",
        needs: OVER_CCW,
        run: revision_command,
        mutants: &[Mutant {
            name: "READ_STATUS is done in revision 1",
            breaks: "dev:ccw:setting-the-virtio-revision:04",
            lens: Lens {
                command: Some(|program| {
                    if let Some(revision) = selects(program) {
                        program.note = revision.into();
                    }
                    feigned_if(
                        program.command == Command::READ_STATUS && program.note == 1,
                        Feigned::Done,
                    )
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
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

/// Commands that there are not.
const UNKNOWN: [Command; 3] = [Command(0x77), Command(0x91), Command(0xf1)];

/// Queue Align of legacy virtqueues.
const LEGACY_ALIGN: u32 = 4096;
/// Bytes that a legacy virtqueue of 1024 descriptors takes, and those before its first page.
const LEGACY_QUEUE: usize = 12 * LEGACY_ALIGN as usize;

fn feigned_if(feigned: bool, end: Feigned) -> Option<Feigned> {
    feigned.then_some(end)
}

/// The revision that a program selects, if it selects one.
fn selects(program: &Program) -> Option<u8> {
    (program.command == Command::SET_VIRTIO_REV).then(|| program.byte(1))
}

/// Whether a program asks for features, has no length check, and so many bytes of data.
fn is_feature_of(program: &Program, bytes: u16) -> bool {
    let lenient = program.flags.contains(CcwFlags::SUPPRESS_LENGTH);
    program.command == Command::READ_FEAT && lenient && program.count == bytes
}

/// Runs a program of one command.
fn run(probe: &mut Probe, command: Command, flags: CcwFlags, data: &mut [u8]) -> Outcome<ProgramEnd> {
    let Raw::Ccw(subchannel) = probe.raw() else {
        return Err(Ended::NotApplicable("it is on no subchannel".into()));
    };
    let end = subchannel.run(command, flags, data)?;
    probe.note(format_args!(
        "command {command:?}, {flags:?}: {end:?}, {data:02x?}"
    ));
    Ok(end)
}

/// Gives a command that carries `payload`.
fn give(probe: &mut Probe, command: Command, payload: &[u8]) -> Outcome<ProgramEnd> {
    run(probe, command, CcwFlags::NONE, &mut payload.to_vec())
}

fn unknown_command(probe: &mut Probe) -> Outcome {
    for command in UNKNOWN {
        let end = run(probe, command, CcwFlags::SUPPRESS_LENGTH, &mut [0; 8])?;
        holds(end.is_rejected(), "dev:ccw:basic-concepts:01", || {
            format!("command {:#04x} ended with {end:?}", command.0)
        })?;
    }
    Ok(())
}

fn length(probe: &mut Probe) -> Outcome {
    let read =
        |probe: &mut Probe, flags, count: usize| run(probe, Command::READ_FEAT, flags, &mut vec![0; count]);
    let long = read(probe, CcwFlags::NONE, 6)?;
    holds(
        long.subchannel.contains(SubchannelStatus::INCORRECT_LENGTH),
        "dev:ccw:basic-concepts:02",
        || format!("READ_FEAT with 6 bytes, of which it takes 5, ended with {long:?}"),
    )?;
    let short = read(probe, CcwFlags::SUPPRESS_LENGTH, 4)?;
    holds(!short.is_done(), "dev:ccw:basic-concepts:03", || {
        format!("READ_FEAT with 4 bytes, of which it takes 5, ended with {short:?}")
    })?;
    let long = read(probe, CcwFlags::SUPPRESS_LENGTH, 6)?;
    holds(long.is_done(), "dev:ccw:basic-concepts:04", || {
        format!("READ_FEAT with 6 bytes, of which it takes 5, and no length check ended with {long:?}")
    })
}

/// Selects a revision, with `length` bytes of data.
fn select(probe: &mut Probe, revision: u16, length: u16) -> Outcome<ProgramEnd> {
    let info = RevInfo {
        revision: revision.into(),
        length: length.into(),
    };
    let mut payload = info.as_bytes().to_vec();
    payload.resize(payload.len() + usize::from(length), 0);
    give(probe, Command::SET_VIRTIO_REV, &payload)
}

fn enable_anew(probe: &mut Probe) -> Outcome {
    match probe.raw() {
        Raw::Ccw(subchannel) => Ok(subchannel.enable_anew()?),
        _ => Err(Ended::NotApplicable("it is on no subchannel".into())),
    }
}

fn revision(probe: &mut Probe) -> Outcome {
    let highest = Revision::READ_STATUS.0;
    enable_anew(probe)?;
    for unknown in [highest + 1, 0x7f] {
        let end = select(probe, unknown, 0)?;
        holds(
            end.is_rejected(),
            "dev:ccw:setting-the-virtio-revision:01",
            || format!("revision {unknown} was selected, which ended with {end:?}"),
        )?;
    }
    let end = select(probe, highest, 4)?;
    holds(
        end.is_rejected(),
        "dev:ccw:setting-the-virtio-revision:02",
        || format!("revision {highest} was selected with 4 bytes of data, which ended with {end:?}"),
    )?;
    let end = select(probe, highest, 0)?;
    holds(end.is_done(), "dev:ccw:setting-the-virtio-revision:06", || {
        format!("the subchannel was enabled anew, and selecting revision {highest} ended with {end:?}")
    })?;
    let end = select(probe, Revision::VIRTIO_1.0, 0)?;
    holds(
        end.is_rejected(),
        "dev:ccw:setting-the-virtio-revision:05",
        || format!("revision 1 was selected after revision {highest}, which ended with {end:?}"),
    )
}

fn revision_legacy(probe: &mut Probe) -> Outcome {
    enable_anew(probe)?;
    if !select(probe, Revision::LEGACY.0, 0)?.is_done() {
        return Ok(());
    }
    // It says that it is a transitional device, and has to be one.
    let mut block = VqConfigBlock::default();
    let asked = run(probe, Command::READ_VQ_CONF, CcwFlags::NONE, block.as_mut_bytes())?;
    let memory = probe.buffer(LEGACY_QUEUE, 0)?;
    let first = memory.segment().address().next_multiple_of(LEGACY_ALIGN.into());
    let block = VqInfoBlockLegacy {
        queue: first.into(),
        align: LEGACY_ALIGN.into(),
        index: 0.into(),
        size: block.max_queue_size,
    };
    let set = give(probe, Command::SET_VQ, block.as_bytes())?;
    give(probe, Command::VDEV_RESET, &[])?;
    holds(
        asked.is_done() && set.is_done(),
        "dev:ccw:setting-the-virtio-revision:03",
        || {
            format!(
                "revision 0 was accepted, but READ_VQ_CONF ended with {asked:?}, and a legacy SET_VQ with {set:?}"
            )
        },
    )
}

fn revision_command(probe: &mut Probe) -> Outcome {
    enable_anew(probe)?;
    if !select(probe, Revision::VIRTIO_1.0, 0)?.is_done() {
        return Err(Ended::Inconclusive("revision 1 cannot be selected".into()));
    }
    let end = run(probe, Command::READ_STATUS, CcwFlags::NONE, &mut [0])?;
    holds(
        end.is_rejected(),
        "dev:ccw:setting-the-virtio-revision:04",
        || format!("revision 1 is selected, and READ_STATUS ended with {end:?}"),
    )
}

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
