//! A spin lock for the few places where threads share a table without an operating system to wait on.
//!
//! `unsafe` is needed here to hand out the locked value.

use core::cell::UnsafeCell;
use core::hint;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// A value for one thread at a time, which others wait for by spinning. To be held for a few steps only, never per
/// request.
#[derive(Debug, Default)]
pub struct Lock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `lock` gives the value to one thread at a time, so sharing the lock only sends the value around.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// A lock that no one holds.
    pub fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits until no one else has the value.
    pub fn lock(&self) -> Guard<'_, T> {
        while self
            .taken
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            while self.taken.load(Ordering::Relaxed) {
                // The holder may be waiting for this processor.
                #[cfg(feature = "std")]
                std::thread::yield_now();
                hint::spin_loop();
            }
        }
        Guard { lock: self }
    }
}

/// The locked value; unlocked on drop.
pub struct Guard<'l, T> {
    lock: &'l Lock<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard exists once per successful `lock`, so no one else has a reference.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` is exclusive.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
