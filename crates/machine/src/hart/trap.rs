//! Traps into the supervisor, and the return from them.

use super::core::Core;
use super::csr::{interrupt, status};
use super::exception::Exception;
use super::exit::Fatal;
use super::state::Privilege;

/// So many exceptions from supervisor mode without a return mean that the guest is lost. A kernel nests a handful; one that
/// recovers by other means than SRET has some room.
const STORM: u32 = 10_000;

/// Bit of `scause` that tells interrupts.
const INTERRUPT: u64 = 1 << 63;

/// What is remembered to notice a guest that does nothing but trap.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    /// Exceptions from supervisor mode since the last SRET.
    unreturned: u32,
    /// Instructions retired when the last exception was taken.
    instret: u64,
}

impl Core {
    /// Takes `exception` of the instruction at `pc`, with the value for `stval` in `trap_value`.
    #[cold]
    pub(super) fn take_exception(&mut self, exception: Exception) -> Result<(), Fatal> {
        let (cause, value) = (exception as u64, self.trap_value);
        if self.privilege == Privilege::Supervisor {
            let handler = self.stvec & !3;
            // The same instruction trapped before, and nothing ran in between.
            let again = self.pc == handler && self.instret == self.watch.instret;
            if again && (self.scause, self.stval) == (cause, value) {
                return Err(Fatal::TrapLoop {
                    handler,
                    cause,
                    value,
                });
            }
            self.watch.unreturned += 1;
            if self.watch.unreturned == STORM {
                return Err(Fatal::TrapStorm {
                    count: STORM,
                    pc: self.pc,
                    cause,
                    value,
                });
            }
        }
        self.watch.instret = self.instret;
        self.trap(cause, value);
        Ok(())
    }

    /// Takes the first pending interrupt, if one is enabled.
    pub(super) fn take_interrupt(&mut self) {
        if let Some(number) = self.first_of(self.deliverable()) {
            self.trap(INTERRUPT | number, 0);
        }
    }

    /// The interrupts that would be taken now.
    pub(super) fn deliverable(&self) -> u64 {
        let enabled = self.privilege == Privilege::User || self.sstatus & status::SIE != 0;
        if enabled { self.pending() & self.sie } else { 0 }
    }

    /// Has interrupts looked at before the next block, if there are any.
    pub(super) fn look_for_interrupts(&mut self) {
        if self.deliverable() != 0 {
            self.pause_at = 0;
        }
    }

    /// Whether WFI need not wait: an interrupt is pending and enabled on its own, whatever SIE says.
    pub(super) fn awake(&self) -> bool {
        self.pending() & self.sie & interrupt::ALL != 0
    }

    /// SRET.
    pub(super) fn return_from_trap(&mut self) {
        self.watch.unreturned = 0;
        self.pc = self.sepc;
        self.privilege = match self.sstatus & status::SPP {
            0 => Privilege::User,
            _ => Privilege::Supervisor,
        };
        let enabled = if self.sstatus & status::SPIE != 0 {
            status::SIE
        } else {
            0
        };
        self.sstatus = self.sstatus & !(status::SIE | status::SPP) | enabled | status::SPIE;
        self.context_changed();
        self.look_for_interrupts();
    }

    fn trap(&mut self, cause: u64, value: u64) {
        self.scause = cause;
        self.stval = value;
        self.sepc = self.pc;
        let was_enabled = if self.sstatus & status::SIE != 0 {
            status::SPIE
        } else {
            0
        };
        let was_supervisor = match self.privilege {
            Privilege::User => 0,
            Privilege::Supervisor => status::SPP,
        };
        self.sstatus =
            self.sstatus & !(status::SIE | status::SPIE | status::SPP) | was_enabled | was_supervisor;
        self.privilege = Privilege::Supervisor;
        self.context_changed();
        let vectored = self.stvec & 1 != 0 && cause & INTERRUPT != 0;
        let entry = if vectored { 4 * (cause & !INTERRUPT) } else { 0 };
        self.pc = (self.stvec & !3).wrapping_add(entry);
    }
}
