//! The log of pages that a device wrote, for live migration.
//!
//! `unsafe` is needed here because the log may lie in memory shared with another process.

use crate::Segment;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

/// One bit for each page of 4 KiB of guest-physical memory, from address 0 on. Bit `page % 8` of byte `page / 8`
/// stands for `page`: the layout that vhost and vhost-user (VHOST_USER_SET_LOG_BASE) share with the frontend.
///
/// A write to memory comes first, its mark after; a reader takes the mark first and copies the page after. So every
/// mark is a read-modify-write even where the bit is already set: a plain look could be overtaken by the write.
pub struct DirtyLog {
    bits: Bits,
}

enum Bits {
    Own(Box<[AtomicU8]>),
    Shared {
        segment: Segment,
        _owner: Arc<dyn Any + Send + Sync>,
    },
}

impl DirtyLog {
    /// Bytes of guest memory that one bit stands for.
    pub const PAGE_SIZE: u64 = 4096;

    /// A log in memory of its own for the guest addresses below `end`.
    pub fn new(end: u64) -> Self {
        let bytes = end.div_ceil(Self::PAGE_SIZE).div_ceil(8);
        Self {
            bits: Bits::Own((0..bytes).map(|_| AtomicU8::new(0)).collect()),
        }
    }

    /// A log in memory shared with whoever reads it, such as a mapped VHOST_USER_SET_LOG_BASE file. It covers eight
    /// pages per byte. `owner` is dropped after the last use of the memory.
    ///
    /// # Safety
    ///
    /// Until `owner` is dropped, the memory of `segment` is valid for reading and writing, and no Rust reference to
    /// it exists except to atomics.
    pub unsafe fn shared(segment: Segment, owner: Arc<dyn Any + Send + Sync>) -> Self {
        Self {
            bits: Bits::Shared {
                segment,
                _owner: owner,
            },
        }
    }

    /// A log in all of `mapping`, which has to be writable; gives it back otherwise.
    #[cfg(feature = "std")]
    pub fn in_mapping(mapping: Arc<crate::Mapping>) -> Result<Self, Arc<crate::Mapping>> {
        if !mapping.writable() {
            return Err(mapping);
        }
        // SAFETY: the mapping is valid and writable for the length it gives, and stays until its last `Arc`.
        Ok(unsafe { Self::shared(mapping.segment(), mapping) })
    }

    /// The first guest address that the log does not cover.
    pub fn end(&self) -> u64 {
        (self.bytes().len() as u64).saturating_mul(8 * Self::PAGE_SIZE)
    }

    /// Marks the pages of the `length` bytes from guest address `address` on. Pages past [`end`](Self::end) are not
    /// recorded; whoever sets up the log makes it as large as the memory.
    pub fn mark(&self, address: u64, length: u64) {
        let Some(length) = length.checked_sub(1) else {
            return;
        };
        let bytes = self.bytes();
        let first = address / Self::PAGE_SIZE;
        let last = address.saturating_add(length) / Self::PAGE_SIZE;
        let mut page = first;
        while page <= last {
            let Some(byte) = usize::try_from(page / 8).ok().and_then(|index| bytes.get(index)) else {
                return;
            };
            // The pages of this byte: from `page` to `last` or to the byte's end.
            let end = last.min(page | 7);
            let mask = (0xff_u8 >> (7 - (end - page))) << (page % 8);
            byte.fetch_or(mask, Ordering::AcqRel);
            page = end + 1;
        }
    }

    /// Takes the marks away as the iterator goes, and gives what was marked as ranges `(address, length)` in bytes by
    /// ascending address; adjacent pages come as one range. An iterator dropped early leaves the other marks.
    pub fn take(&self) -> Taken<'_> {
        Taken {
            bytes: self.bytes(),
            taken: 0,
            bits: 0,
        }
    }

    fn bytes(&self) -> &[AtomicU8] {
        match &self.bits {
            Bits::Own(bytes) => bytes,
            // SAFETY: the memory is valid for as long as the owner in `self`, and only seen as atomics.
            Bits::Shared { segment, .. } => unsafe {
                core::slice::from_raw_parts(segment.pointer().cast::<AtomicU8>(), segment.len())
            },
        }
    }
}

impl fmt::Debug for DirtyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtyLog")
            .field("end", &format_args!("{:#x}", self.end()))
            .finish_non_exhaustive()
    }
}

/// The ranges taken from a log; see [`DirtyLog::take`].
#[derive(Debug)]
pub struct Taken<'l> {
    bytes: &'l [AtomicU8],
    /// Bytes of the log taken so far.
    taken: usize,
    /// Marks of the newest byte that were not given out yet.
    bits: u8,
}

impl Taken<'_> {
    /// Takes bytes until one has marks; false at the end of the log.
    fn refill(&mut self) -> bool {
        while self.bits == 0 {
            let Some(byte) = self.bytes.get(self.taken) else {
                return false;
            };
            self.taken += 1;
            // Most pages are clean, and a look costs less than a swap. A mark that comes just after waits for the
            // next round.
            if byte.load(Ordering::Relaxed) != 0 {
                self.bits = byte.swap(0, Ordering::AcqRel);
            }
        }
        true
    }

    /// Page number of bit 0 of `bits`.
    fn base(&self) -> u64 {
        (self.taken as u64 - 1) * 8
    }
}

impl Iterator for Taken<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        if !self.refill() {
            return None;
        }
        let start = self.base() + u64::from(self.bits.trailing_zeros());
        let mut end = start;
        // Follows the run of marks, also into the next bytes.
        while self.refill() && self.base() + u64::from(self.bits.trailing_zeros()) == end {
            let first = self.bits.trailing_zeros();
            let run = (self.bits >> first).trailing_ones();
            self.bits &= !((0xff_u8 >> (8 - run)) << first);
            end += u64::from(run);
        }
        Some((start * DirtyLog::PAGE_SIZE, (end - start) * DirtyLog::PAGE_SIZE))
    }
}

impl Drop for Taken<'_> {
    /// Puts back what was taken ahead and not given out.
    fn drop(&mut self) {
        if let Some(byte) = self.taken.checked_sub(1).and_then(|index| self.bytes.get(index)) {
            byte.fetch_or(self.bits, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
#[path = "dirty_tests.rs"]
mod tests;
