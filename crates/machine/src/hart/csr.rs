//! Control and status registers.

use super::core::Core;
use super::interrupt_file::Update;
use super::state::Privilege;
use super::walk::{BARE, SV39, SV48};
use super::{Interrupt, signals};
use std::sync::atomic::{Ordering, fence};

/// Fields of `sstatus`.
pub(super) mod status {
    /// Interrupts enabled in supervisor mode.
    pub(crate) const SIE: u64 = 1 << 1;
    /// SIE from before the trap.
    pub(crate) const SPIE: u64 = 1 << 5;
    /// Supervisor mode before the trap.
    pub(crate) const SPP: u64 = 1 << 8;
    /// State of the floating-point unit; 0 is off, all ones dirty.
    pub(crate) const FS: u64 = 3 << 13;
    /// The supervisor may access user pages.
    pub(crate) const SUM: u64 = 1 << 18;
    /// Executable pages are readable.
    pub(crate) const MXR: u64 = 1 << 19;
    /// User mode has 64-bit registers; read-only.
    pub(crate) const UXL: u64 = 2 << 32;
    /// Some state is dirty; read-only.
    pub(crate) const SD: u64 = 1 << 63;
    /// What can be written.
    pub(crate) const WRITABLE: u64 = SIE | SPIE | SPP | FS | SUM | MXR;
}

/// Bits of `sip` and `sie`.
pub(super) mod interrupt {
    use super::Interrupt;

    pub(crate) const SOFTWARE: u64 = 1 << Interrupt::Software as u8;
    pub(crate) const TIMER: u64 = 1 << 5;
    pub(crate) const EXTERNAL: u64 = 1 << Interrupt::External as u8;
    pub(crate) const ALL: u64 = SOFTWARE | TIMER | EXTERNAL;
}

/// Fields of `senvcfg`: FIOM, and what Zicboz adds for CBO.ZERO in user mode.
mod environment {
    pub(super) const FIOM: u64 = 1 << 0;
    pub(super) const CBZE: u64 = 1 << 7;
}

/// Bits of `scounteren`: `cycle`, `time`, `instret`.
pub(super) const COUNTERS: u64 = 7;

impl Core {
    /// Changes CSR `number` by `update` and gives its value from before. `None`, with nothing changed, if there is no such
    /// register or it may not be accessed so from this mode.
    pub(super) fn csr(&mut self, number: u16, update: Update) -> Option<u64> {
        let supervisor = self.privilege == Privilege::Supervisor;
        let level = number >> 8 & 3;
        if level > u16::from(supervisor) || number >> 10 == 3 && update != Update::Keep {
            return None;
        }
        match number {
            0x001..=0x003 => self.float_csr(number, update),
            0xc00..=0xc02 => self.counter(number),
            0x100 => {
                let old = self.sstatus();
                self.change(update, old, Self::set_sstatus)
            }
            0x104 => self.change(update, self.sie, Self::set_sie),
            0x105 => {
                // Direct and vectored mode; the others are reserved.
                let legal = |base: u64| base & !3 | base & 1;
                self.change(update, self.stvec, |core, value| core.stvec = legal(value))
            }
            0x106 => self.change(update, self.scounteren, |core, value| {
                core.scounteren = value & COUNTERS;
            }),
            0x10a => self.change(update, self.senvcfg, |core, value| {
                core.senvcfg = value & (environment::FIOM | environment::CBZE);
            }),
            0x140 => self.change(update, self.sscratch, |core, value| core.sscratch = value),
            0x141 => self.change(update, self.sepc, |core, value| core.sepc = value & !1),
            0x142 => self.change(update, self.scause, |core, value| core.scause = value),
            0x143 => self.change(update, self.stval, |core, value| core.stval = value),
            0x144 => self.software_pending(update),
            0x14d => self.change(update, self.stimecmp, Self::set_timer),
            0x180 => self.change(update, self.satp, Self::set_satp),
            0x150 if self.interrupt_file.is_some() => {
                self.change(update, self.siselect, |core, value| core.siselect = value & 0xfff)
            }
            0x151 => self.selected(update),
            0x15c => self.top_external(update),
            0xdb0 if self.interrupt_file.is_some() => Some(self.top_interrupt()),
            _ => None,
        }
    }

    /// `sstatus` as it reads.
    pub(super) fn sstatus(&self) -> u64 {
        let dirty = match self.sstatus & status::FS {
            status::FS => status::SD,
            _ => 0,
        };
        self.sstatus | status::UXL | dirty
    }

    pub(super) fn set_sstatus(&mut self, value: u64) {
        self.sstatus = value & status::WRITABLE;
        self.context_changed();
        self.look_for_interrupts();
    }

    /// Sets `stimecmp`.
    pub(super) fn set_timer(&mut self, ticks: u64) {
        self.stimecmp = ticks;
        self.update_timer();
        self.look_for_interrupts();
    }

    /// Compares `stimecmp` with the clock.
    pub(super) fn update_timer(&mut self) {
        self.timer_pending = self.clock.ticks() >= self.stimecmp;
    }

    /// Pending interrupts, bits as in `sip`.
    pub(super) fn pending(&self) -> u64 {
        let timer = if self.timer_pending { interrupt::TIMER } else { 0 };
        self.signals.pending() | timer
    }

    /// Whether CBO.ZERO may be used.
    pub(super) fn zero_enabled(&self) -> bool {
        self.privilege == Privilege::Supervisor || self.senvcfg & environment::CBZE != 0
    }

    /// Reads and perhaps writes a plain register.
    fn change(&mut self, update: Update, old: u64, set: impl FnOnce(&mut Self, u64)) -> Option<u64> {
        if update != Update::Keep {
            set(self, update.apply(old));
        }
        Some(old)
    }

    /// `fflags`, `frm`, `fcsr`.
    fn float_csr(&mut self, number: u16, update: Update) -> Option<u64> {
        self.float_enabled().ok()?;
        let (shift, mask) = match number {
            0x001 => (0, 0x1f),
            0x002 => (5, 7),
            _ => (0, 0xff),
        };
        self.change(update, self.fcsr >> shift & mask, |core, value| {
            core.fcsr = core.fcsr & !(mask << shift) | (value & mask) << shift;
            core.float_dirty();
        })
    }

    /// `cycle`, `time`, `instret`. An instruction takes one cycle.
    fn counter(&self, number: u16) -> Option<u64> {
        let allowed = self.privilege == Privilege::Supervisor || self.scounteren >> (number & 31) & 1 != 0;
        // The access itself has been counted, but has not retired yet.
        allowed.then(|| match number {
            0xc01 => self.clock.ticks(),
            _ => self.instret.wrapping_sub(1),
        })
    }

    fn set_sie(&mut self, value: u64) {
        self.sie = value & interrupt::ALL;
        self.look_for_interrupts();
    }

    /// `sip`, of which only SSIP can be written.
    fn software_pending(&mut self, update: Update) -> Option<u64> {
        let old = self.pending();
        if update != Update::Keep {
            self.signals.change_pending(|bits| {
                bits & !interrupt::SOFTWARE | update.apply(bits) & interrupt::SOFTWARE
            });
            self.look_for_interrupts();
        }
        Some(old)
    }

    /// Modes other than those that exist leave `satp` as it is. There are no address space numbers.
    fn set_satp(&mut self, value: u64) {
        if let BARE | SV39 | SV48 = value >> 60 {
            self.satp = value & ((0xf << 60) | ((1 << 44) - 1));
            self.signals.attend(signals::attention::SFENCE_VMA);
        }
    }

    /// `sireg`: what `siselect` chooses.
    fn selected(&mut self, update: Update) -> Option<u64> {
        let file = self.interrupt_file.as_ref()?;
        match self.siselect {
            // Priorities of the hart's own interrupts, which cannot be changed. On RV64 there are only even ones.
            0x30..=0x3f => self.siselect.is_multiple_of(2).then_some(0),
            0x70..=0xff => file.register(self.siselect, update),
            _ => None,
        }
    }

    /// `stopei`: reading it gives the top external interrupt, writing it claims that.
    fn top_external(&mut self, update: Update) -> Option<u64> {
        let file = self.interrupt_file.as_ref()?;
        if update == Update::Keep {
            return Some(file.top());
        }
        let claimed = file.claim();
        // What the device wrote before its message is seen after the claim.
        fence(Ordering::SeqCst);
        Some(claimed)
    }

    /// `stopi`: number and priority of the hart's top interrupt that is pending and enabled in `sie`.
    fn top_interrupt(&self) -> u64 {
        match self.first_of(self.pending() & self.sie) {
            Some(number) => number << 16 | 1,
            None => 0,
        }
    }

    /// The interrupt that is taken first of `bits`: external, software, timer.
    pub(super) fn first_of(&self, bits: u64) -> Option<u64> {
        let order = [interrupt::EXTERNAL, interrupt::SOFTWARE, interrupt::TIMER];
        let first = order.into_iter().find(|bit| bits & bit != 0)?;
        Some(first.trailing_zeros().into())
    }
}
