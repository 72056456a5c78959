//! A processor: RV64GC with supervisor and user mode.
//!
//! - [`Hart`] is what the machine sees; `core` holds what instructions work on.
//! - `compressed` and `decode` turn instruction words into `op`s, `code` keeps them in blocks, `interpret` runs them, with
//!   the larger ones in `alu`, `atomic`, `float` and `system`.
//! - `memory` is every access to memory and devices, `tlb` and `walk` translate for it.
//! - `csr` and `trap` are the supervisor's registers and what changes between the modes.
//!
//! What there is: RV64IMAFDC, Zicsr, Zifencei, Zicntr, Zicboz, Sstc, Svade, Sv39 and Sv48, and Ssaia with an interrupt
//! file. Misaligned loads and stores work, in memory.

mod alu;
mod atomic;
mod code;
mod compressed;
mod core;
mod csr;
mod decode;
mod dump;
mod exception;
mod exit;
mod float;
mod interpret;
mod interrupt_file;
mod memory;
mod op;
mod registers;
mod signals;
mod state;
mod system;
#[cfg(test)]
pub(crate) mod tests;
mod tlb;
mod trap;
mod walk;

pub use exception::Exception;
pub use exit::{Exit, Fatal};
pub use interrupt_file::{InterruptFile, Update};
pub use signals::{Fence, Interrupt, Signals};
pub use state::{Privilege, State};

use self::code::Code;
use self::core::Core;
use self::csr::interrupt;
use crate::{Bus, Clock, Ram};
use std::sync::Arc;
use std::time::Duration;

/// The extensions to RV64I that a hart has, by the names that a device tree has for them: single letters first.
pub const EXTENSIONS: &[&str] = &[
    "i", "m", "a", "f", "d", "c", "zicboz", "zicntr", "zicsr", "zifencei", "ssaia", "sstc", "svade",
];

/// Bytes that CBO.ZERO zeroes.
pub const ZERO_BLOCK: u32 = 64;

/// The largest page table that a hart walks, by the name that a device tree has for it.
pub const MMU: &str = "riscv,sv48";

/// One hart. It belongs to the thread that runs it; other threads reach it through its [`Signals`].
pub struct Hart {
    id: u64,
    core: Box<Core>,
    code: Code,
}

impl Hart {
    /// A hart at reset: supervisor mode, no translation, interrupts off, all registers zero, `pc` too. Number `id` is
    /// what the machine tells the guest in `a0`.
    pub fn new(id: u64, ram: Arc<Ram>, bus: Arc<dyn Bus>, signals: Arc<Signals>, clock: Clock) -> Self {
        Self {
            id,
            core: Box::new(Core::new(&ram, bus, signals, clock)),
            code: Code::new(),
        }
    }

    /// The same hart with an interrupt file, the part of an IMSIC that belongs to it, and with that the supervisor's
    /// CSRs of the Advanced Interrupt Architecture (Ssaia).
    pub fn with_interrupt_file(mut self, file: Arc<dyn InterruptFile>) -> Self {
        self.core.interrupt_file = Some(file);
        self
    }

    /// Number of the hart.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How other threads reach this hart.
    pub fn signals(&self) -> &Arc<Signals> {
        &self.core.signals
    }

    /// Sets the hart going at `pc`, in supervisor mode, without translation, with interrupts off, `id` in `a0` and
    /// `opaque` in `a1`, all else as at reset: what SBI's boot and its HSM function `hart_start` promise. User mode may read
    /// the counters, as Linux expects of firmware.
    pub fn start(&mut self, pc: u64, opaque: u64) {
        self.restore(&State {
            pc,
            instret: self.core.instret,
            pending: self.core.signals.pending(),
            scounteren: csr::COUNTERS,
            ..State::default()
        });
        self.set_x(10, self.id);
        self.set_x(11, opaque);
    }

    /// Runs about `budget` instructions, fewer if something needs the machine.
    pub fn run(&mut self, budget: u64) -> Exit {
        // From here on a fence is asked for and waited for; what was asked before is found first of all.
        self.core.signals.set_running(true);
        self.core.budget_end = self.core.instret.saturating_add(budget);
        self.core.pause_at = 0;
        let exit = self.core.interpret(&mut self.code);
        self.core.signals.set_running(false);
        exit
    }

    /// Sleeps, after [`Exit::Wfi`], until there is an interrupt to look at, the timer's included, or someone asks for
    /// something ([`Signals::leave`], [`Signals::fence`]), or `limit` has passed.
    pub fn sleep(&self, limit: Option<Duration>) {
        let core = &self.core;
        let timer = (core.sie & interrupt::TIMER != 0).then(|| core.clock.until(core.stimecmp));
        let timeout = match (timer, limit) {
            (Some(timer), Some(limit)) => Some(timer.min(limit)),
            (timer, limit) => timer.or(limit),
        };
        core.signals.sleep(timeout);
    }

    /// Whether the hart waits for an interrupt that cannot come, because `sie` enables none.
    pub fn sleeps_forever(&self) -> bool {
        self.core.sie == 0
    }

    /// Performs `fence` on this hart, before its next instruction.
    pub fn fence(&mut self, fence: Fence) {
        self.core.signals.fence(fence);
    }

    /// Makes the supervisor timer interrupt pending from `ticks` of the clock on, and not before: SBI `set_timer`, and
    /// what writing `stimecmp` does.
    pub fn set_timer(&mut self, ticks: u64) {
        self.core.set_timer(ticks);
    }

    /// Integer register `number`, 0 if there is no such register.
    pub fn x(&self, number: usize) -> u64 {
        match number {
            0..32 => self.core.registers.get(number as u8),
            _ => 0,
        }
    }

    /// Sets integer register `number`, from 1 to 31; others are left alone.
    pub fn set_x(&mut self, number: usize, value: u64) {
        if let 1..32 = number {
            self.core.registers.set(number as u8, value);
        }
    }

    /// Address of the next instruction.
    pub fn pc(&self) -> u64 {
        self.core.pc
    }

    /// Instructions retired since reset.
    pub fn instructions(&self) -> u64 {
        self.core.instret
    }

    /// All of the hart's state, to be restored into another hart.
    pub fn save(&self) -> State {
        self.core.save()
    }

    /// Goes on from `state`. Interrupt lines from outside are set by their owners anew.
    pub fn restore(&mut self, state: &State) {
        self.core.restore(state);
        self.core.signals.change_pending(|_| state.pending);
        self.code.fence();
    }

    /// The registers for a person to read, several lines.
    pub fn dump(&self) -> String {
        dump::Dump {
            id: self.id,
            core: &self.core,
        }
        .to_string()
    }
}
