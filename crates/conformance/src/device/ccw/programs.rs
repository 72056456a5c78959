//! Commands, their lengths and the revision (sections 4.3.1.2 and 4.3.2.1).

use ringwright_spec::ccw::channel::{CcwFlags, SubchannelStatus};
use ringwright_spec::ccw::{Command, Revision, VqConfigBlock, VqInfoBlockLegacy};
use zerocopy::IntoBytes;

use super::{OVER_CCW, enable_anew, feigned_if, give, run, select, selects};
use crate::check::{Check, Ended, Outcome};
use crate::mutant::{Feigned, Lens, Mutant, Program};
use crate::probe::{Probe, holds};

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
];

/// Commands that there are not.
const UNKNOWN: [Command; 3] = [Command(0x77), Command(0x91), Command(0xf1)];

/// Queue Align of legacy virtqueues.
const LEGACY_ALIGN: u32 = 4096;
/// Bytes that a legacy virtqueue of 1024 descriptors takes, and those before its first page.
const LEGACY_QUEUE: usize = 12 * LEGACY_ALIGN as usize;

/// Whether a program asks for features, has no length check, and so many bytes of data.
fn is_feature_of(program: &Program, bytes: u16) -> bool {
    let lenient = program.flags.contains(CcwFlags::SUPPRESS_LENGTH);
    program.command == Command::READ_FEAT && lenient && program.count == bytes
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
