//! Copies from, to and within shared memory.
use core::sync::atomic::{AtomicU8, Ordering};

pub(crate) unsafe fn read(from: *const u8, into: *mut u8, length: usize) {
    for index in 0..length {
        // SAFETY: to come.
        unsafe { *into.add(index) = (*from.add(index).cast::<AtomicU8>()).load(Ordering::Relaxed) };
    }
}

pub(crate) unsafe fn write(from: *const u8, to: *mut u8, length: usize) {
    for index in 0..length {
        // SAFETY: to come.
        unsafe { (*to.add(index).cast::<AtomicU8>()).store(*from.add(index), Ordering::Relaxed) };
    }
}

pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    for index in 0..length {
        // SAFETY: to come.
        let byte = unsafe { (*from.add(index).cast::<AtomicU8>()).load(Ordering::Relaxed) };
        // SAFETY: to come.
        unsafe { (*to.add(index).cast::<AtomicU8>()).store(byte, Ordering::Relaxed) };
    }
}

pub(crate) unsafe fn fill(to: *mut u8, length: usize, byte: u8) {
    for index in 0..length {
        // SAFETY: to come.
        unsafe { (*to.add(index).cast::<AtomicU8>()).store(byte, Ordering::Relaxed) };
    }
}
