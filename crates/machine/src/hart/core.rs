//! The parts of a hart that instructions work on.

use super::atomic::Reservation;
use super::csr::status;
use super::registers::Registers;
use super::state::{Privilege, State};
use super::tlb::{Context, Filter, Tlb};
use super::trap::Watch;
use super::{InterruptFile, Signals};
use crate::{Bus, Clock, Ram};
use ringwright_memory::Words;
use std::sync::Arc;

/// A hart without its decoded instructions.
pub(super) struct Core {
    pub(super) registers: Registers,
    pub(super) pc: u64,
    /// Instructions retired.
    pub(super) instret: u64,
    /// The count of `instret` at which to look at budget, clock and interrupts; 0 to look before the next block.
    pub(super) pause_at: u64,
    /// The count of `instret` at which the budget is spent.
    pub(super) budget_end: u64,
    /// The value for `stval` of the exception that is on its way.
    pub(super) trap_value: u64,

    pub(super) context: Context,
    /// The epoch of the TLBs.
    pub(super) epoch: u8,
    pub(super) fetches: Tlb,
    pub(super) loads: Tlb,
    pub(super) stores: Tlb,
    /// The superpages that the TLBs may have entries of.
    pub(super) superpages: Filter,
    pub(super) words: Words,
    pub(super) ram_base: u64,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) reservation: Option<Reservation>,

    pub(super) privilege: Privilege,
    pub(super) fcsr: u64,
    pub(super) sstatus: u64,
    pub(super) sie: u64,
    pub(super) stvec: u64,
    pub(super) scounteren: u64,
    pub(super) senvcfg: u64,
    pub(super) sscratch: u64,
    pub(super) sepc: u64,
    pub(super) scause: u64,
    pub(super) stval: u64,
    pub(super) satp: u64,
    pub(super) stimecmp: u64,
    pub(super) siselect: u64,

    /// Whether the clock had reached `stimecmp` when it was last looked at.
    pub(super) timer_pending: bool,
    pub(super) signals: Arc<Signals>,
    pub(super) clock: Clock,
    pub(super) interrupt_file: Option<Arc<dyn InterruptFile>>,
    pub(super) watch: Watch,
}

impl Core {
    pub(super) fn new(ram: &Ram, bus: Arc<dyn Bus>, signals: Arc<Signals>, clock: Clock) -> Self {
        let mut core = Self {
            registers: Registers::new(),
            pc: 0,
            instret: 0,
            pause_at: 0,
            budget_end: 0,
            trap_value: 0,
            context: Context::new(0, false, false, false),
            epoch: 0,
            fetches: Tlb::new(),
            loads: Tlb::new(),
            stores: Tlb::new(),
            superpages: Filter::new(),
            words: ram.words().clone(),
            ram_base: ram.base(),
            bus,
            reservation: None,
            privilege: Privilege::Supervisor,
            fcsr: 0,
            sstatus: 0,
            sie: 0,
            stvec: 0,
            scounteren: 0,
            senvcfg: 0,
            sscratch: 0,
            sepc: 0,
            scause: 0,
            stval: 0,
            satp: 0,
            stimecmp: u64::MAX,
            siselect: 0,
            timer_pending: false,
            signals,
            clock,
            interrupt_file: None,
            watch: Watch::default(),
        };
        core.restore(&State::default());
        core
    }

    pub(super) fn save(&self) -> State {
        State {
            x: self.registers.x(),
            f: self.registers.f(),
            pc: self.pc,
            privilege: self.privilege,
            fcsr: self.fcsr,
            sstatus: self.sstatus,
            sie: self.sie,
            pending: self.signals.pending(),
            stvec: self.stvec,
            scounteren: self.scounteren,
            senvcfg: self.senvcfg,
            sscratch: self.sscratch,
            sepc: self.sepc,
            scause: self.scause,
            stval: self.stval,
            satp: self.satp,
            stimecmp: self.stimecmp,
            siselect: self.siselect,
            instret: self.instret,
        }
    }

    /// Takes over all but `pending`.
    pub(super) fn restore(&mut self, state: &State) {
        self.registers.restore(&state.x, &state.f);
        self.pc = state.pc;
        self.privilege = state.privilege;
        self.fcsr = state.fcsr;
        self.sstatus = state.sstatus & status::WRITABLE;
        self.sie = state.sie;
        self.stvec = state.stvec;
        self.scounteren = state.scounteren;
        self.senvcfg = state.senvcfg;
        self.sscratch = state.sscratch;
        self.sepc = state.sepc;
        self.scause = state.scause;
        self.stval = state.stval;
        self.satp = state.satp;
        self.stimecmp = state.stimecmp;
        self.siselect = state.siselect;
        self.instret = state.instret;
        self.reservation = None;
        self.watch = Watch::default();
        self.pause_at = 0;
        self.forget_translations();
    }

    /// Epoch, mode, SUM or MXR may be other ones now.
    pub(super) fn context_changed(&mut self) {
        self.context = Context::new(
            self.epoch,
            self.privilege == Privilege::User,
            self.sstatus & status::SUM != 0,
            self.sstatus & status::MXR != 0,
        );
    }
}
