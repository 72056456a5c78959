//! Virtio over channel I/O (section 4.3), by channel programs.

mod operation;
mod programs;

use ringwright_spec::ccw::channel::CcwFlags;
use ringwright_spec::ccw::{Command, RevInfo};
use zerocopy::IntoBytes;

use crate::check::{Check, Ended, Needs, Outcome};
use crate::mutant::{Feigned, Program};
use crate::probe::Probe;
use crate::raw::ProgramEnd;
use crate::subject::{Bus, Raw};

/// All of them, by subject.
pub(super) const CHECKS: [&[Check]; 2] = [programs::CHECKS, operation::CHECKS];

const OVER_CCW: Needs = Needs::buses(&[Bus::Ccw]);

fn feigned_if(feigned: bool, end: Feigned) -> Option<Feigned> {
    feigned.then_some(end)
}

/// Runs a program of one command.
pub(super) fn run(
    probe: &mut Probe,
    command: Command,
    flags: CcwFlags,
    data: &mut [u8],
) -> Outcome<ProgramEnd> {
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

/// Disables the subchannel and enables it: no revision is selected then.
pub(super) fn enable_anew(probe: &mut Probe) -> Outcome {
    match probe.raw() {
        Raw::Ccw(subchannel) => Ok(subchannel.enable_anew()?),
        _ => Err(Ended::NotApplicable("it is on no subchannel".into())),
    }
}

/// Selects a revision, with `length` bytes of data.
pub(super) fn select(probe: &mut Probe, revision: u16, length: u16) -> Outcome<ProgramEnd> {
    let info = RevInfo {
        revision: revision.into(),
        length: length.into(),
    };
    let mut payload = info.as_bytes().to_vec();
    payload.resize(payload.len() + usize::from(length), 0);
    give(probe, Command::SET_VIRTIO_REV, &payload)
}

/// The revision that a program selects, if it selects one.
pub(super) fn selects(program: &Program) -> Option<u8> {
    (program.command == Command::SET_VIRTIO_REV).then(|| program.byte(1))
}
