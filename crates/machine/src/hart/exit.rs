//! Why a hart stopped running.

use super::exception::Exception;

/// Why [`Hart::run`](crate::Hart::run) came back. Unless fatal, calling it again goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// The budget is spent.
    Budget,
    /// The guest waits for an interrupt (WFI) and none is pending: [`Hart::sleep`](crate::Hart::sleep) until there is.
    Wfi,
    /// The supervisor called its firmware (ECALL): function `a7`, `a6`, arguments `a0` to `a5`. `pc` is already behind
    /// the instruction; the machine puts the results into `a0` and `a1`.
    Ecall,
    /// Someone asked to with [`Signals::leave`](crate::Signals::leave).
    Left,
    /// The guest cannot go on by itself.
    Fatal(Fatal),
}

/// A state that the guest does not get out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// The trap handler's first instruction traps itself.
    #[error(
        "the trap handler at {handler:#x} (stvec) traps itself: cause {cause} ({}), stval {value:#x}",
        Exception::name(*.cause)
    )]
    TrapLoop {
        /// Address of the handler.
        handler: u64,
        /// `scause` of the trap.
        cause: u64,
        /// `stval` of the trap.
        value: u64,
    },
    /// The supervisor took very many exceptions from its own code and returned from none.
    #[error(
        "{count} exceptions in supervisor mode without a return from any: the last at {pc:#x}, cause {cause} ({}), stval {value:#x}",
        Exception::name(*.cause)
    )]
    TrapStorm {
        /// How many.
        count: u32,
        /// `sepc` of the last one.
        pc: u64,
        /// `scause` of the last one.
        cause: u64,
        /// `stval` of the last one.
        value: u64,
    },
    /// A jump to itself with interrupts off.
    #[error("the guest jumps to itself at {pc:#x} with interrupts off")]
    Spin {
        /// Address of the jump.
        pc: u64,
    },
}
