//! Exceptions and their codes.

/// A synchronous exception; the number is its code in `scause` (privileged specification, table "Supervisor cause
/// register values after trap").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exception {
    /// An instruction fetch from where there is no memory.
    InstructionAccessFault = 1,
    /// Not an instruction, or one that may not be used here.
    IllegalInstruction = 2,
    /// EBREAK.
    Breakpoint = 3,
    /// LR from a misaligned address.
    LoadAddressMisaligned = 4,
    /// A load from where there is nothing, or nothing of that width.
    LoadAccessFault = 5,
    /// SC or AMO at a misaligned address.
    StoreAddressMisaligned = 6,
    /// A store or AMO where there is nothing, or nothing of that width.
    StoreAccessFault = 7,
    /// ECALL in user mode.
    UserEnvironmentCall = 8,
    /// No translation for an instruction fetch.
    InstructionPageFault = 12,
    /// No translation for a load.
    LoadPageFault = 13,
    /// No translation for a store or AMO.
    StorePageFault = 15,
}

impl Exception {
    /// What the privileged architecture calls the exception with code `cause`.
    pub fn name(cause: u64) -> &'static str {
        match cause {
            1 => "instruction access fault",
            2 => "illegal instruction",
            3 => "breakpoint",
            4 => "load address misaligned",
            5 => "load access fault",
            6 => "store/AMO address misaligned",
            7 => "store/AMO access fault",
            8 => "environment call from U-mode",
            12 => "instruction page fault",
            13 => "load page fault",
            15 => "store/AMO page fault",
            _ => "reserved",
        }
    }
}
