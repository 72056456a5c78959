//! Small programs on a hart.

pub(crate) mod assembler;
mod atomic;
mod code;
mod csr;
mod float;
mod integer;
mod memory;
mod threads;
mod translation;
mod traps;

use super::core::Core;
use super::{Hart, Signals, State};
use crate::{AccessFault, Bus, Clock, Exit, Ram};
use std::sync::{Arc, Mutex};

/// Where memory starts, and programs.
pub(super) const BASE: u64 = 0x8000_0000;

/// Where tests put the trap handler: a lone ECALL, so that a trap ends the run.
pub(super) const HANDLER: u64 = BASE + 0x1_0000;

/// Where tests put data.
pub(super) const DATA: u64 = BASE + 0x2_0000;

/// Bytes of memory.
pub(super) const LENGTH: u64 = 0x40_0000;

/// A device of 16 registers of 8 bytes at this address.
pub(super) const DEVICE: u64 = 0x1000_0000;

/// Registers that take any access within themselves, and remember accesses.
#[derive(Default)]
pub(super) struct Device {
    bytes: Mutex<[[u8; 8]; 16]>,
    log: Mutex<Vec<(u64, usize, bool)>>,
}

impl Bus for Device {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), AccessFault> {
        let offset = address.checked_sub(DEVICE).ok_or(AccessFault)? as usize;
        let bytes = self.bytes.lock().unwrap();
        data.copy_from_slice(
            bytes
                .as_flattened()
                .get(offset..offset + data.len())
                .ok_or(AccessFault)?,
        );
        self.log.lock().unwrap().push((address, data.len(), false));
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), AccessFault> {
        let offset = address.checked_sub(DEVICE).ok_or(AccessFault)? as usize;
        let mut bytes = self.bytes.lock().unwrap();
        let place = bytes.as_flattened_mut().get_mut(offset..offset + data.len());
        place.ok_or(AccessFault)?.copy_from_slice(data);
        self.log.lock().unwrap().push((address, data.len(), true));
        Ok(())
    }
}

/// A hart with memory and a device, ready to run a program.
pub(super) struct Guest {
    pub(super) hart: Hart,
    pub(super) ram: Arc<Ram>,
    pub(super) device: Arc<Device>,
}

impl Guest {
    /// A guest whose hart starts at `program`, with a handler that ends the run at any trap.
    pub(super) fn new(program: &[u32]) -> Self {
        let ram = Arc::new(Ram::new(BASE, LENGTH).unwrap());
        let device = Arc::new(Device::default());
        let hart = hart(0, &ram, device.clone());
        let mut guest = Self { hart, ram, device };
        guest.write(BASE, program);
        guest.write(HANDLER, &[assembler::ECALL]);
        guest.change(|state| {
            state.pc = BASE;
            state.stvec = HANDLER;
            state.sstatus = 1 << 13;
        });
        guest
    }

    /// Puts instructions or other words at physical `address`.
    pub(super) fn write(&self, address: u64, words: &[u32]) {
        for (word, address) in words.iter().zip((address..).step_by(4)) {
            self.ram.write(address, &word.to_le_bytes()).unwrap();
        }
    }

    /// Puts halfwords at physical `address`.
    pub(super) fn write_halves(&self, address: u64, halves: &[u16]) {
        for (half, address) in halves.iter().zip((address..).step_by(2)) {
            self.ram.write(address, &half.to_le_bytes()).unwrap();
        }
    }

    /// Changes registers.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.hart.save();
        change(&mut state);
        self.hart.restore(&state);
    }

    /// Runs until an ECALL in supervisor mode, be it of the program or of the trap handler, and gives all registers.
    pub(super) fn run(&mut self) -> State {
        assert_eq!(self.hart.run(1_000_000), Exit::Ecall, "{}", self.hart.dump());
        self.hart.save()
    }

    /// Runs until a trap ends at the handler, and gives `scause`, `stval` and `sepc`.
    pub(super) fn trap(&mut self) -> (u64, u64, u64) {
        let state = self.run();
        assert_eq!(state.pc, HANDLER + 4, "a trap was expected: {}", self.hart.dump());
        (state.scause, state.stval, state.sepc)
    }

    /// Goes on at `pc`, in supervisor mode, with whatever translations and decoded instructions there are.
    pub(super) fn jump(&mut self, pc: u64) {
        self.poke(|core| {
            core.pc = pc;
            core.privilege = super::Privilege::Supervisor;
        });
    }

    /// Changes the hart from inside, as no program could.
    pub(super) fn poke(&mut self, change: impl FnOnce(&mut Core)) {
        change(&mut self.hart.core);
        self.hart.core.context_changed();
    }
}

/// Hart number `id`, with signals of its own.
pub(super) fn hart(id: u64, ram: &Arc<Ram>, bus: Arc<dyn Bus>) -> Hart {
    let signals = Arc::new(Signals::default());
    Hart::new(id, ram.clone(), bus, signals, Clock::starting_at(0))
}

/// The result of one instruction with `x1` and `x2` as operands and `x3` as destination.
pub(super) fn result(word: u32, a: u64, b: u64) -> u64 {
    let mut guest = Guest::new(&[word, assembler::ECALL]);
    guest.change(|state| {
        state.x[1] = a;
        state.x[2] = b;
        state.x[3] = 0x5a5a_5a5a_5a5a_5a5a;
    });
    let state = guest.run();
    assert_eq!(state.pc, BASE + 8, "no trap: {}", guest.hart.dump());
    assert_eq!((state.x[1], state.x[2]), (a, b), "sources stay");
    state.x[3]
}
