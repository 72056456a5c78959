//! Copies from, to and within shared memory.
//!
//! The other end may write shared memory while it is read here, and read it while it is written here. For
//! `ptr::copy`, or any access that is neither atomic nor volatile, that is a data race: undefined behaviour, and in
//! practice a compiler that reads a value twice and relies on getting it once. So:
//!
//! - Short copies are relaxed atomic accesses. Atomics may race; each load gives some value that was written there. Two
//!   accesses of different size to the same bytes are no race that Rust knows of as long as the other one is made by
//!   another program; between two ends in one process, the ring's acquire and release order honest accesses.
//! - Long copies on x86-64 are one string instruction in inline assembly. To the compiler the block is opaque: it may
//!   be anything that Rust code could do with the pointers, such as the atomic accesses above, and that is exactly how
//!   the processor treats it, since each byte is loaded and stored once. Nothing about the bytes can be assumed before
//!   or after it, so there is nothing to miscompile.
//! - Elsewhere, and under Miri, which runs no assembly, long copies are atomic accesses too.
//!
//! A copy orders nothing. Order comes from the ring: buffers are read after an acquire and published by a release. A
//! string instruction may store its bytes in any order, but stores before and after it stay before and after (Intel
//! SDM volume 3, "Memory-Ordering Model for String Operations on Write-Back Memory").
//!
//! The widest access that the alignment of the shared side allows is used, so an aligned field of 2, 4 or (on 64-bit
//! machines) 8 bytes that is copied alone is copied at once, never half old and half new.
//!
//! `unsafe` is needed here because shared memory is only ever known by raw pointers.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// From this length on, a string instruction is faster than a loop over words.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const LONG: usize = 192;

/// Copies `length` bytes from shared memory at `from` to private memory at `into`.
///
/// # Safety
///
/// `from` is valid for reading `length` bytes, `into` for writing them. No Rust reference to the bytes at `from` exists
/// except to atomics; the bytes at `into` are no one else's, and not among those at `from`.
#[inline]
pub(crate) unsafe fn read(from: *const u8, into: *mut u8, length: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if length >= LONG {
        // SAFETY: the caller's promise.
        return unsafe { string::copy(from, into, length) };
    }
    // SAFETY: the caller's promise.
    unsafe { words::read(from, into, length) }
}

/// Copies `length` bytes from private memory at `from` to shared memory at `to`.
///
/// # Safety
///
/// `from` is valid for reading `length` bytes, `to` for writing them. No Rust reference to the bytes at `to` exists
/// except to atomics; no one else writes the bytes at `from`, and they are not among those at `to`.
#[inline]
pub(crate) unsafe fn write(from: *const u8, to: *mut u8, length: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if length >= LONG {
        // SAFETY: the caller's promise.
        return unsafe { string::copy(from, to, length) };
    }
    // SAFETY: the caller's promise.
    unsafe { words::write(from, to, length) }
}

/// Copies `length` bytes from shared memory at `from` to shared memory at `to`, front to back. Where the two overlap,
/// the result is some mixture of old and new bytes.
///
/// # Safety
///
/// `from` is valid for reading `length` bytes, `to` for writing them. No Rust reference to either exists except to
/// atomics.
#[inline]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if length >= LONG {
        // SAFETY: the caller's promise.
        return unsafe { string::copy(from, to, length) };
    }
    // SAFETY: the caller's promise.
    unsafe { words::copy(from, to, length) }
}

/// Writes `byte` to `length` bytes of shared memory at `to`.
///
/// # Safety
///
/// `to` is valid for writing `length` bytes. No Rust reference to them exists except to atomics.
#[inline]
pub(crate) unsafe fn fill(to: *mut u8, length: usize, byte: u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if length >= LONG {
        // SAFETY: the caller's promise.
        return unsafe { string::fill(to, length, byte) };
    }
    // SAFETY: the caller's promise.
    unsafe { words::fill(to, length, byte) }
}

/// The string instructions of x86-64.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod string {
    use core::arch::asm;

    /// # Safety
    ///
    /// `from` is valid for reading `length` bytes, `to` for writing them; each is private or seen as atomics only.
    #[inline(always)]
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
        // SAFETY: reads and writes just the bytes of the caller's promise. The direction flag is clear, as it is on
        // entry to any assembly block, and is not changed.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") length => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack, preserves_flags)
            );
        }
    }

    /// # Safety
    ///
    /// `to` is valid for writing `length` bytes, which are seen as atomics only.
    #[inline(always)]
    pub(super) unsafe fn fill(to: *mut u8, length: usize, byte: u8) {
        // SAFETY: as in `copy`.
        unsafe {
            asm!(
                "rep stosb",
                inout("rcx") length => _,
                inout("rdi") to => _,
                in("al") byte,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// The same with atomic words, for any machine. Safety of each is as of its namesake above.
mod words {
    use super::*;

    /// Expands to a walk through `$length` bytes that does `$step!(atomic, integer, offset)` with the widest integer
    /// that is aligned at every one of the addresses there.
    macro_rules! in_words {
        ($step:ident, $length:ident, $first:ident $(, $other:ident)?) => {
            let mut done = 0;
            while done < $length {
                let left = $length - done;
                let place = ($first as usize).wrapping_add(done) $(| ($other as usize).wrapping_add(done))?;
                if place % size_of::<usize>() == 0 && left >= size_of::<usize>() {
                    $step!(AtomicUsize, usize, done);
                    done += size_of::<usize>();
                } else if place % 4 == 0 && left >= 4 {
                    $step!(AtomicU32, u32, done);
                    done += 4;
                } else if place % 2 == 0 && left >= 2 {
                    $step!(AtomicU16, u16, done);
                    done += 2;
                } else {
                    $step!(AtomicU8, u8, done);
                    done += 1;
                }
            }
        };
    }

    #[inline]
    pub(super) unsafe fn read(from: *const u8, into: *mut u8, length: usize) {
        macro_rules! step {
            ($atomic:ty, $integer:ty, $done:ident) => {
                // SAFETY: both pointers have the integer's bytes left; `from` is aligned for it here, `into` may not be.
                unsafe {
                    let value = (*from.add($done).cast::<$atomic>()).load(Relaxed);
                    into.add($done).cast::<$integer>().write_unaligned(value);
                }
            };
        }
        in_words!(step, length, from);
    }

    #[inline]
    pub(super) unsafe fn write(from: *const u8, to: *mut u8, length: usize) {
        macro_rules! step {
            ($atomic:ty, $integer:ty, $done:ident) => {
                // SAFETY: both pointers have the integer's bytes left; `to` is aligned for it here, `from` may not be.
                unsafe {
                    let value = from.add($done).cast::<$integer>().read_unaligned();
                    (*to.add($done).cast::<$atomic>()).store(value, Relaxed);
                }
            };
        }
        in_words!(step, length, to);
    }

    #[inline]
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
        macro_rules! step {
            ($atomic:ty, $integer:ty, $done:ident) => {
                // SAFETY: both pointers have the integer's bytes left and are aligned for it here.
                unsafe {
                    let value = (*from.add($done).cast::<$atomic>()).load(Relaxed);
                    (*to.add($done).cast::<$atomic>()).store(value, Relaxed);
                }
            };
        }
        in_words!(step, length, from, to);
    }

    #[inline]
    pub(super) unsafe fn fill(to: *mut u8, length: usize, byte: u8) {
        macro_rules! step {
            ($atomic:ty, $integer:ty, $done:ident) => {
                // SAFETY: `to` has the integer's bytes left and is aligned for it here.
                unsafe {
                    let value = <$integer>::from_ne_bytes([byte; size_of::<$integer>()]);
                    (*to.add($done).cast::<$atomic>()).store(value, Relaxed);
                }
            };
        }
        in_words!(step, length, to);
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
