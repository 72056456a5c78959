//! Virtio over MMIO (section 4.2): its registers.

mod common;
mod queue_reset;

use ringwright_driver::transport::Registers;
use ringwright_spec::mmio::STATUS;
use ringwright_spec::status::Status;

use crate::check::{Check, Ended, Needs, Outcome};
use crate::probe::Probe;
use crate::subject::{Bus, Raw};

/// All of them, by subject.
pub(super) const CHECKS: [&[Check]; 2] = [common::CHECKS, queue_reset::CHECKS];

const OVER_MMIO: Needs = Needs::buses(&[Bus::Mmio]);

fn read(probe: &mut Probe, register: u64) -> Outcome<u32> {
    match probe.raw() {
        Raw::Mmio(registers) => Ok(registers.read32(register)?),
        _ => Err(Ended::NotApplicable("it has no registers".into())),
    }
}

fn write(probe: &mut Probe, register: u64, value: u32) -> Outcome {
    match probe.raw() {
        Raw::Mmio(registers) => Ok(registers.write32(register, value)?),
        _ => Err(Ended::NotApplicable("it has no registers".into())),
    }
}

/// Whether the driver has set DRIVER_OK, and not reset the device since.
fn is_live(shadow: &crate::mutant::Shadow) -> bool {
    shadow.last("mmio", STATUS) & u32::from(Status::DRIVER_OK.0) != 0
}
