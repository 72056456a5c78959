//! Pieces of host memory.
//!
//! `unsafe` is needed here because a segment stands for raw memory whose life the compiler does not see.

use alloc::vec::Vec;
#[cfg(target_has_atomic = "64")]
use core::sync::atomic::AtomicU64;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32};

/// One contiguous piece of host memory shared with the other end: a pointer and a length in bytes.
///
/// Laid out as POSIX `struct iovec`, so that a `[Segment]` is what `preadv`, `writev` and io_uring take.
/// It keeps nothing alive; whoever wraps it in a view promises that the memory stays (see
/// [`Slices::new`](crate::Slices::new)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    pointer: *mut u8,
    length: usize,
}

// SAFETY: a segment is an address and a number; every access through it is unsafe and carries its own promise.
unsafe impl Send for Segment {}
// SAFETY: as above; a shared reference gives nothing but copies of the two words.
unsafe impl Sync for Segment {}

impl Segment {
    /// The segment of `length` bytes at `pointer`.
    ///
    /// # Safety
    ///
    /// For as long as the segment is used, `pointer` is valid for reading (and, where the segment is used to write,
    /// for writing) `length` bytes within one allocation or mapping, and no Rust reference to those bytes exists
    /// except to atomics.
    #[inline(always)]
    pub unsafe fn new(pointer: *mut u8, length: usize) -> Self {
        Self { pointer, length }
    }

    /// First byte.
    #[inline(always)]
    pub fn pointer(self) -> *mut u8 {
        self.pointer
    }

    /// Length in bytes.
    #[inline(always)]
    pub fn len(self) -> usize {
        self.length
    }

    /// Whether the segment has no bytes.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.length == 0
    }

    /// The `length` bytes from `offset` on, or `None` if they are not all within the segment.
    #[inline(always)]
    pub fn part(self, offset: usize, length: usize) -> Option<Segment> {
        if offset > self.length || length > self.length - offset {
            return None;
        }
        // SAFETY: `offset` is at most the length for which `pointer` is valid.
        let pointer = unsafe { self.pointer.add(offset) };
        Some(Segment { pointer, length })
    }

    /// The atomic integer at `offset`, or `None` if it is not all within the segment or not aligned. Its bytes are
    /// in memory order: the little-endian fields of VIRTIO 1.x need `from_le` and `to_le`.
    ///
    /// # Safety
    ///
    /// The memory is valid, also for writing if the atomic is written, for all of `'a`.
    #[inline(always)]
    pub unsafe fn atomic<'a, A: Atomic>(self, offset: usize) -> Option<&'a A> {
        let pointer = self.part(offset, size_of::<A>())?.pointer.cast::<A>();
        // SAFETY: the bytes are within the segment and aligned, valid for 'a by this function's contract, and no
        // reference to them other than to atomics exists by the contract of `new`. An `Atomic` accepts any bits.
        pointer.is_aligned().then(|| unsafe { &*pointer })
    }
}

/// An atomic integer that may lie in shared memory; see [`Segment::atomic`].
pub trait Atomic: sealed::Atomic {}

mod sealed {
    /// Keeps [`super::Atomic`] to types of which any bits are a value.
    pub trait Atomic {}
}

macro_rules! atomics {
    ($($atomic:ty),*) => {
        $(impl sealed::Atomic for $atomic {}
        impl Atomic for $atomic {})*
    };
}
atomics!(AtomicU8, AtomicU16, AtomicU32);
#[cfg(target_has_atomic = "64")]
atomics!(AtomicU64);

/// Takes the segments that an address range resolves to.
pub trait Sink {
    /// Takes one more segment, or refuses it; then resolving ends with
    /// [`Fault::TooManySegments`](crate::Fault::TooManySegments).
    fn push(&mut self, segment: Segment) -> Result<(), Full>;
}

/// The answer of a [`Sink`] that takes no more segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Sink for Vec<Segment> {
    #[inline(always)]
    fn push(&mut self, segment: Segment) -> Result<(), Full> {
        Vec::push(self, segment);
        Ok(())
    }
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
