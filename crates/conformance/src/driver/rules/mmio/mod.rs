//! Registers of MMIO (section 4.2).

mod discovery;
mod fields;
mod interrupts;
mod queues;
mod registers;

pub(super) use self::fields::field_width;
use super::slips;
use crate::driver::{Mutant, Rule};
use crate::subject::Bus;

/// All of them, by subject.
pub(super) const RULES: [&[Rule]; 4] = [
    discovery::RULES,
    registers::RULES,
    queues::RULES,
    interrupts::RULES,
];

/// What the mutants of this bus have in common.
const ALONE: Mutant = Mutant {
    bus: Bus::Mmio,
    ..Mutant::ALONE
};
