//! Load-reserved, store-conditional, and atomic memory operations.

use super::core::Core;
use super::exception::Exception;
use super::memory::{Access, Data};
use super::op::{Amo, Order, Register};
use std::sync::atomic::{Ordering, fence};

/// What an LR leaves behind for the SC that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reservation {
    /// Offset in memory.
    offset: u64,
    /// The value that was loaded.
    value: u64,
    wide: bool,
}

impl Core {
    /// LR.W, LR.D.
    pub(super) fn load_reserved(
        &mut self,
        rd: Register,
        rs1: Register,
        wide: bool,
        order: Order,
    ) -> Result<(), Exception> {
        let address = self.registers.get(rs1);
        let size = if wide { 8 } else { 4 };
        let offset = self.place_of_atomic(address, size, Access::Load)?;
        if order == Order::Full {
            fence(Ordering::SeqCst);
        }
        let value = match wide {
            true => self.words.load::<u64>(offset),
            false => self.words.load::<u32>(offset).map(|word| word as i32 as u64),
        };
        if order != Order::Relaxed {
            fence(Ordering::Acquire);
        }
        // A translated page is memory.
        let value = value.unwrap_or(0);
        self.reservation = Some(Reservation { offset, value, wide });
        self.registers.set(rd, value);
        Ok(())
    }

    /// SC.W, SC.D. Stores if memory still holds the value that the LR loaded. Where another hart has stored other values and
    /// that one again in between, hardware would fail and this does not; a compare-and-swap loop, which is what
    /// compilers and kernels build from the two, cannot tell.
    pub(super) fn store_conditional(
        &mut self,
        rd: Register,
        rs1: Register,
        rs2: Register,
        wide: bool,
    ) -> Result<(), Exception> {
        let address = self.registers.get(rs1);
        let size = if wide { 8 } else { 4 };
        let offset = self.place_of_atomic(address, size, Access::Store)?;
        let new = self.registers.get(rs2);
        let reservation = self.reservation.take();
        let stored = reservation
            .filter(|reservation| (reservation.offset, reservation.wide) == (offset, wide))
            .and_then(|reservation| match wide {
                true => self.words.compare_exchange(offset, reservation.value, new),
                false => self
                    .words
                    .compare_exchange(offset, reservation.value as u32, new as u32),
            });
        self.registers.set(rd, u64::from(stored != Some(true)));
        Ok(())
    }

    /// AMOs. All are sequentially consistent, whatever order they ask for.
    pub(super) fn amo(
        &mut self,
        amo: Amo,
        rd: Register,
        rs1: Register,
        rs2: Register,
        wide: bool,
    ) -> Result<(), Exception> {
        let address = self.registers.get(rs1);
        let operand = self.registers.get(rs2);
        let old = match wide {
            true => self.update(address, |old: u64| match amo {
                Amo::Swap => operand,
                Amo::Add => old.wrapping_add(operand),
                Amo::Xor => old ^ operand,
                Amo::And => old & operand,
                Amo::Or => old | operand,
                Amo::Min => (old as i64).min(operand as i64) as u64,
                Amo::Max => (old as i64).max(operand as i64) as u64,
                Amo::Minu => old.min(operand),
                Amo::Maxu => old.max(operand),
            })?,
            false => {
                let operand = operand as u32;
                let old = self.update(address, |old: u32| match amo {
                    Amo::Swap => operand,
                    Amo::Add => old.wrapping_add(operand),
                    Amo::Xor => old ^ operand,
                    Amo::And => old & operand,
                    Amo::Or => old | operand,
                    Amo::Min => (old as i32).min(operand as i32) as u32,
                    Amo::Max => (old as i32).max(operand as i32) as u32,
                    Amo::Minu => old.min(operand),
                    Amo::Maxu => old.max(operand),
                })?;
                old as i32 as u64
            }
        };
        self.registers.set(rd, old);
        Ok(())
    }

    /// Changes the word at virtual `address`, and gives its value from before.
    fn update<D: Data>(&mut self, address: u64, change: impl Fn(D) -> D) -> Result<D, Exception> {
        let offset = self.place_of_atomic(address, size_of::<D>() as u64, Access::Store)?;
        // A translated page is memory.
        let old = self.words.update(offset, change);
        old.ok_or_else(|| self.fail(Exception::StoreAccessFault, address))
    }
}
