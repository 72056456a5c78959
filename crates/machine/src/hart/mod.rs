//! A processor: RV64GC with supervisor and user mode.

mod exit;
mod interrupt_file;
mod signals;
mod state;

pub use exit::{Exit, Fatal};
pub use interrupt_file::{InterruptFile, Update};
pub use signals::{Fence, Interrupt, Signals};
pub use state::{Privilege, State};

use crate::{Bus, Clock, Ram};
use std::sync::Arc;
use std::time::Duration;

/// The extensions to RV64I that a hart has, by the names that a device tree has for them: single letters first.
pub const EXTENSIONS: &[&str] = &[
    "i", "m", "a", "f", "d", "c", "zicntr", "zicsr", "zifencei", "ssaia", "sstc",
];

/// The largest page table that a hart walks, by the name that a device tree has for it.
pub const MMU: &str = "riscv,sv48";

/// One hart. It belongs to the thread that runs it; other threads reach it through its [`Signals`].
pub struct Hart {
    id: u64,
    state: State,
    signals: Arc<Signals>,
    clock: Clock,
    ram: Arc<Ram>,
    bus: Arc<dyn Bus>,
    interrupt_file: Option<Arc<dyn InterruptFile>>,
}

impl Hart {
    /// A hart at reset: supervisor mode, no translation, interrupts off, all registers zero, `pc` too. Number `id` is
    /// what the machine tells the guest in `a0`.
    pub fn new(id: u64, ram: Arc<Ram>, bus: Arc<dyn Bus>, signals: Arc<Signals>, clock: Clock) -> Self {
        Self {
            id,
            state: State::default(),
            signals,
            clock,
            ram,
            bus,
            interrupt_file: None,
        }
    }

    /// The same hart with an interrupt file, the part of an IMSIC that belongs to it, and with that the supervisor's
    /// CSRs of the Advanced Interrupt Architecture (Ssaia).
    pub fn with_interrupt_file(mut self, file: Arc<dyn InterruptFile>) -> Self {
        self.interrupt_file = Some(file);
        self
    }

    /// Number of the hart.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How other threads reach this hart.
    pub fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// Sets the hart going at `pc`, in supervisor mode, without translation, with interrupts off, `id` in `a0` and
    /// `opaque` in `a1`, all else as at reset: what SBI's boot and its HSM function `hart_start` promise.
    pub fn start(&mut self, pc: u64, opaque: u64) {
        self.state = State {
            pc,
            ..State::default()
        };
        self.set_x(10, self.id);
        self.set_x(11, opaque);
    }

    /// Runs about `budget` instructions, fewer if something needs the machine.
    pub fn run(&mut self, budget: u64) -> Exit {
        let _ = (budget, &self.ram, &self.bus, &self.clock, &self.interrupt_file);
        self.signals.set_running(true);
        let asked = match self.signals.attention_needed() {
            true => self.signals.take_attention(),
            false => 0,
        };
        self.signals.set_running(false);
        match asked & signals::attention::LEAVE {
            0 => Exit::Budget,
            _ => Exit::Left,
        }
    }

    /// Sleeps, after [`Exit::Wfi`], until there is an interrupt to look at, someone [`leave`](Signals::leave)s or
    /// [`fence`](Signals::fence)s, or `limit` has passed.
    pub fn sleep(&self, limit: Option<Duration>) {
        self.signals.sleep(limit);
    }

    /// Performs `fence` on this hart.
    pub fn fence(&mut self, fence: Fence) {
        self.signals.fence(fence);
    }

    /// Makes the supervisor timer interrupt pending from `ticks` of the clock on, and not before: SBI `set_timer`, and
    /// what writing `stimecmp` does.
    pub fn set_timer(&mut self, ticks: u64) {
        self.state.stimecmp = ticks;
    }

    /// Integer register `number`, 0 if there is no such register.
    pub fn x(&self, number: usize) -> u64 {
        self.state.x.get(number).copied().unwrap_or(0)
    }

    /// Sets integer register `number`, from 1 to 31; others are left alone.
    pub fn set_x(&mut self, number: usize, value: u64) {
        if let Some(register) = self.state.x.get_mut(number).filter(|_| number != 0) {
            *register = value;
        }
    }

    /// Address of the next instruction.
    pub fn pc(&self) -> u64 {
        self.state.pc
    }

    /// Instructions retired since reset.
    pub fn instructions(&self) -> u64 {
        self.state.instret
    }

    /// All of the hart's state, to be restored into another hart.
    pub fn save(&self) -> State {
        State {
            pending: self.signals.pending(),
            ..self.state.clone()
        }
    }

    /// Goes on from `state`. Interrupt lines from outside are set by their owners anew.
    pub fn restore(&mut self, state: &State) {
        self.state = state.clone();
        self.signals.change_pending(|_| state.pending);
    }

    /// The registers for a person to read, several lines.
    pub fn dump(&self) -> String {
        format!("hart {} at {:#x}\n", self.id, self.state.pc)
    }
}
