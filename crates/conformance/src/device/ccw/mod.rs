//! Virtio over channel I/O (section 4.3), by channel programs.

mod operation;
mod programs;

use ringwright_spec::ccw::Command;
use ringwright_spec::ccw::channel::CcwFlags;

use crate::check::{Check, Ended, Needs, Outcome};
use crate::mutant::Feigned;
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
