//! How both ends read and write the words of a virtqueue's parts.
//!
//! `unsafe` is needed here because the parts are raw memory that the other end, often another process or a guest,
//! writes at any time. Every word is therefore an atomic, and no Rust reference to the parts ever exists.
//!
//! Each location is always accessed with one width: descriptors as two 64-bit words, entries of the used ring as two
//! 32-bit words (they are only 4-aligned), event suppression structures of packed virtqueues as one 32-bit word,
//! everything else as 16-bit words. Between our two ends this keeps within Rust's memory model. A foreign other end may
//! well use other widths, for instance store length, id and flags of a packed descriptor one after the other with a
//! barrier before the flags. An aligned 64-bit load that sees the new flags then also sees what was stored to the same
//! eight bytes before them: such a load is single-copy atomic on every processor that Rust has 64-bit atomics for.

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// One part of a virtqueue: memory, its byte order, and how it is fenced.
///
/// Offsets are in bytes from the part's first byte.
pub trait Part: Clone {
    /// Whether its integers are big-endian (legacy guests only).
    const BIG_ENDIAN: bool = false;

    /// Reads 16 bits.
    ///
    /// # Safety
    ///
    /// The word lies within the part and `offset` is a multiple of its width.
    unsafe fn load16(&self, offset: usize, ordering: Ordering) -> u16;

    /// Writes 16 bits.
    ///
    /// # Safety
    ///
    /// As for [`load16`](Self::load16).
    unsafe fn store16(&self, offset: usize, value: u16, ordering: Ordering);

    /// Reads 32 bits.
    ///
    /// # Safety
    ///
    /// As for [`load16`](Self::load16), but the part as such is only promised to be 4-aligned.
    unsafe fn load32(&self, offset: usize, ordering: Ordering) -> u32;

    /// Writes 32 bits.
    ///
    /// # Safety
    ///
    /// As for [`load32`](Self::load32).
    unsafe fn store32(&self, offset: usize, value: u32, ordering: Ordering);

    /// Reads 64 bits.
    ///
    /// # Safety
    ///
    /// As for [`load16`](Self::load16).
    unsafe fn load64(&self, offset: usize, ordering: Ordering) -> u64;

    /// Writes 64 bits.
    ///
    /// # Safety
    ///
    /// As for [`load16`](Self::load16).
    unsafe fn store64(&self, offset: usize, value: u64, ordering: Ordering);

    /// A full barrier between stores before it and loads after it, as between processors.
    #[inline(always)]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// A part in host memory.
#[derive(Clone, Debug)]
pub struct Host<const BIG_ENDIAN: bool> {
    pointer: *mut u8,
}

/// A part with little-endian integers.
pub type Little = Host<false>;
/// A part with big-endian integers.
pub type Big = Host<true>;

// SAFETY: the pointer is to shared memory that is only accessed by atomics, from any thread; whoever made the part
// keeps the memory alive and moves it together with the part.
unsafe impl<const BIG_ENDIAN: bool> Send for Host<BIG_ENDIAN> {}

impl<const BIG_ENDIAN: bool> Host<BIG_ENDIAN> {
    /// The part that starts at `pointer`.
    ///
    /// # Safety
    ///
    /// `pointer` has the alignment that the part's widest word needs, and the memory that the owner will access through
    /// this part stays valid for as long as the part is used.
    pub unsafe fn new(pointer: *mut u8) -> Self {
        Self { pointer }
    }
}

/// Converts between a word in memory and its value; its own inverse.
macro_rules! swap {
    ($value:expr) => {
        if BIG_ENDIAN == cfg!(target_endian = "big") {
            $value
        } else {
            $value.swap_bytes()
        }
    };
}

impl<const BIG_ENDIAN: bool> Part for Host<BIG_ENDIAN> {
    const BIG_ENDIAN: bool = BIG_ENDIAN;

    #[inline(always)]
    unsafe fn load16(&self, offset: usize, ordering: Ordering) -> u16 {
        // SAFETY: the caller promises that the word lies within the part, aligned; `new` that the part is memory.
        let word = unsafe { AtomicU16::from_ptr(self.pointer.add(offset).cast()) }.load(ordering);
        swap!(word)
    }

    #[inline(always)]
    unsafe fn store16(&self, offset: usize, value: u16, ordering: Ordering) {
        // SAFETY: as in `load16`.
        unsafe { AtomicU16::from_ptr(self.pointer.add(offset).cast()) }.store(swap!(value), ordering);
    }

    #[inline(always)]
    unsafe fn load32(&self, offset: usize, ordering: Ordering) -> u32 {
        // SAFETY: as in `load16`.
        let word = unsafe { AtomicU32::from_ptr(self.pointer.add(offset).cast()) }.load(ordering);
        swap!(word)
    }

    #[inline(always)]
    unsafe fn store32(&self, offset: usize, value: u32, ordering: Ordering) {
        // SAFETY: as in `load16`.
        unsafe { AtomicU32::from_ptr(self.pointer.add(offset).cast()) }.store(swap!(value), ordering);
    }

    #[inline(always)]
    unsafe fn load64(&self, offset: usize, ordering: Ordering) -> u64 {
        // SAFETY: as in `load16`.
        let word = unsafe { AtomicU64::from_ptr(self.pointer.add(offset).cast()) }.load(ordering);
        swap!(word)
    }

    #[inline(always)]
    unsafe fn store64(&self, offset: usize, value: u64, ordering: Ordering) {
        // SAFETY: as in `load16`.
        unsafe { AtomicU64::from_ptr(self.pointer.add(offset).cast()) }.store(swap!(value), ordering);
    }
}

/// A barrier that orders all accesses also for devices that are not another processor of this machine
/// (`drv:feat:reserved-feature-bits:07`).
#[cold]
pub fn platform_fence() {
    fence(Ordering::SeqCst);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction is a barrier, also for non-temporal and device accesses, and touches no register or memory.
    unsafe {
        core::arch::asm!("mfence", options(nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the instruction is a barrier over the outer shareable domain and touches no register or memory.
    unsafe {
        core::arch::asm!("dmb osh", options(nostack, preserves_flags));
    }
    #[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
    // SAFETY: the instruction is a barrier over memory and device accesses and touches no register or memory.
    unsafe {
        core::arch::asm!("fence iorw, iorw", options(nostack, preserves_flags));
    }
}
