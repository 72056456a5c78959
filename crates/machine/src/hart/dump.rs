//! A hart for a person to read.

use super::core::Core;
use super::exception::Exception;
use super::state::Privilege;
use super::walk::{SV39, SV48};
use std::fmt::{self, Display, Formatter};

/// The names of the integer registers in the calling convention.
const NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6",
    "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

/// Shows the registers of a hart.
pub(super) struct Dump<'a> {
    pub(super) id: u64,
    pub(super) core: &'a Core,
}

impl Display for Dump<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let core = self.core;
        let mode = match core.privilege {
            Privilege::User => "user",
            Privilege::Supervisor => "supervisor",
        };
        let translation = match core.satp >> 60 {
            SV39 => "Sv39",
            SV48 => "Sv48",
            _ => "no translation",
        };
        writeln!(
            f,
            "hart {}: pc {:#018x}, {mode} mode, {translation}, {} instructions retired",
            self.id, core.pc, core.instret
        )?;
        let x = core.registers.x();
        for row in 0..8 {
            for number in [row, row + 8, row + 16, row + 24] {
                write!(f, "  x{number:<2} {:>4} {:016x}", NAMES[number], x[number])?;
            }
            writeln!(f)?;
        }
        let registers = [
            ("sstatus", core.sstatus()),
            ("sie", core.sie),
            ("sip", core.pending()),
            ("stvec", core.stvec),
            ("sepc", core.sepc),
            ("scause", core.scause),
            ("stval", core.stval),
            ("satp", core.satp),
            ("sscratch", core.sscratch),
            ("stimecmp", core.stimecmp),
            ("time", core.clock.ticks()),
            ("fcsr", core.fcsr),
        ];
        for row in registers.chunks(4) {
            for (name, value) in row {
                write!(f, "  {name:>8} {value:016x}")?;
            }
            writeln!(f)?;
        }
        match core.scause >> 63 {
            0 => writeln!(f, "  scause is: {}", Exception::name(core.scause)),
            _ => writeln!(f, "  scause is: interrupt {}", core.scause & !(1 << 63)),
        }
    }
}
