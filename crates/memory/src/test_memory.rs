//! Memory for tests that needs no mapping, so that they run under Miri too.

use crate::{Region, Segment};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::AtomicU64;

/// Memory of its own, all zero, aligned to 8 bytes.
pub(crate) struct Heap(Box<[AtomicU64]>);

impl Heap {
    /// At least `length` bytes.
    pub(crate) fn new(length: usize) -> Arc<Self> {
        Arc::new(Self((0..length.div_ceil(8)).map(|_| AtomicU64::new(0)).collect()))
    }

    /// The `length` bytes from `offset` on.
    pub(crate) fn segment(&self, offset: usize, length: usize) -> Segment {
        assert!(offset + length <= self.0.len() * 8);
        // SAFETY: the bytes are within the heap, which consists of atomics; tests keep it for as long as the segment.
        unsafe { Segment::new(self.0.as_ptr().cast::<u8>().cast_mut().add(offset), length) }
    }
}

/// A writable region of `length` zeroes.
pub(crate) fn region(guest_address: u64, length: usize) -> Region {
    placed(guest_address, length, true)
}

/// A region of `length` zeroes that cannot be written.
pub(crate) fn read_only_region(guest_address: u64, length: usize) -> Region {
    placed(guest_address, length, false)
}

fn placed(guest_address: u64, length: usize, writable: bool) -> Region {
    let heap = Heap::new(length);
    let segment = heap.segment(0, length);
    // SAFETY: the heap is the owner of the segment.
    unsafe { Region::from_raw(guest_address, segment, writable, heap) }
}
