//! How other threads reach a hart.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An interrupt that another thread may make pending. The number is the bit in `sip`. The supervisor timer interrupt is
/// not here: the hart compares its own `stimecmp` with the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Interrupt {
    /// Supervisor software interrupt (SSIP), an inter-processor interrupt. The guest clears it.
    Software = 1,
    /// Supervisor external interrupt (SEIP), the line from the interrupt controller.
    External = 9,
}

/// The asynchronous inputs of one hart, for any thread.
#[derive(Debug, Default)]
pub struct Signals {
    /// Pending interrupts, bits as in `sip`.
    pending: AtomicU64,
    /// What the hart has to look at before it goes on; bits of [`attention`].
    attention: AtomicU32,
    /// Whether the hart is between two looks at `attention`.
    running: AtomicBool,
    /// Whether the hart sleeps, or is about to.
    sleeping: AtomicBool,
    sleep: Mutex<()>,
    woken: Condvar,
}

/// Bits of [`Signals::attention`].
pub(crate) mod attention {
    /// Pending interrupts have changed.
    pub(crate) const INTERRUPT: u32 = 1 << 0;
    /// Instructions may have changed: FENCE.I for another hart.
    pub(crate) const FENCE_I: u32 = 1 << 1;
    /// Page tables may have changed: SFENCE.VMA for another hart.
    pub(crate) const SFENCE_VMA: u32 = 1 << 2;
    /// The hart shall leave [`run`](crate::Hart::run).
    pub(crate) const LEAVE: u32 = 1 << 3;
}

/// What a remote fence makes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fence {
    /// Instructions, as FENCE.I does.
    Instructions = attention::FENCE_I,
    /// Page tables, as SFENCE.VMA does, for all addresses and address spaces.
    PageTables = attention::SFENCE_VMA,
}

impl Signals {
    /// Makes `interrupt` pending, and wakes the hart if it waits for one.
    pub fn raise(&self, interrupt: Interrupt) {
        let bit = 1 << interrupt as u8;
        if self.pending.fetch_or(bit, SeqCst) & bit == 0 {
            self.attend(attention::INTERRUPT);
        }
    }

    /// Makes `interrupt` no longer pending.
    pub fn lower(&self, interrupt: Interrupt) {
        self.pending.fetch_and(!(1 << interrupt as u8), SeqCst);
    }

    /// Whether `interrupt` is pending.
    pub fn is_raised(&self, interrupt: Interrupt) -> bool {
        self.pending() & 1 << interrupt as u8 != 0
    }

    /// Makes the hart leave [`run`](crate::Hart::run) with [`Exit::Left`](crate::Exit::Left), or the next call of it, or
    /// [`sleep`](Self::sleep).
    pub fn leave(&self) {
        self.attend(attention::LEAVE);
    }

    /// Asks the hart to perform `fence` before its next instruction. It may be in the middle of some: see
    /// [`fenced`](Self::fenced).
    pub fn fence(&self, fence: Fence) {
        self.attend(fence as u32);
    }

    /// Whether all that was asked by [`fence`](Self::fence) before has been done, or will be before the hart's next
    /// instruction.
    pub fn fenced(&self) -> bool {
        !self.running.load(SeqCst)
            || self.attention.load(SeqCst) & (attention::FENCE_I | attention::SFENCE_VMA) == 0
    }

    /// Waits, outside of [`run`](crate::Hart::run), for [`fenced`](Self::fenced): no longer than the hart takes for a few
    /// instructions, unless the host gives it no time.
    pub fn wait_fenced(&self) {
        while !self.fenced() {
            std::thread::yield_now();
        }
    }

    /// Sleeps until something happens that a hart or its host has to look at, or until `timeout` has passed.
    pub fn sleep(&self, timeout: Option<Duration>) {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut guard = self.lock();
        self.sleeping.store(true, SeqCst);
        while self.attention.load(SeqCst) == 0 {
            guard = match deadline {
                None => self.woken.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.woken.wait_timeout(guard, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        self.sleeping.store(false, SeqCst);
    }

    /// Pending interrupts, bits as in `sip`.
    pub(crate) fn pending(&self) -> u64 {
        self.pending.load(SeqCst)
    }

    /// Sets the pending interrupts to `bits`: when the guest clears its software interrupt, and on restore.
    pub(crate) fn change_pending(&self, change: impl Fn(u64) -> u64) {
        let changed = self
            .pending
            .fetch_update(SeqCst, SeqCst, |bits| Some(change(bits)));
        debug_assert!(changed.is_ok(), "the change is never refused");
        self.attend(attention::INTERRUPT);
    }

    /// Whether there is something to look at. Cheap, for every block of instructions.
    #[inline(always)]
    pub(crate) fn attention_needed(&self) -> bool {
        self.attention.load(std::sync::atomic::Ordering::Relaxed) != 0
    }

    /// Takes the bits of [`attention`] that wait.
    pub(crate) fn take_attention(&self) -> u32 {
        self.attention.swap(0, SeqCst)
    }

    /// Says whether the hart runs instructions now.
    pub(crate) fn set_running(&self, running: bool) {
        self.running.store(running, SeqCst);
    }

    /// Sets bits of [`attention`], and wakes the hart.
    pub(crate) fn attend(&self, bits: u32) {
        self.attention.fetch_or(bits, SeqCst);
        // Either this sees that the hart sleeps, or the hart sees the bits before it sleeps.
        if self.sleeping.load(SeqCst) {
            drop(self.lock());
            self.woken.notify_all();
        }
    }

    /// Nothing is behind the lock that a panic could have left half done.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.sleep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
