//! Memory that a device can reach, for the driver end.
//!
//! `unsafe` is needed here because a kernel knows best what memory its device reaches, and at which address.

use crate::lock::Lock;
use crate::{OutOfBounds, Region, Segment, Slices};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering::SeqCst};

/// The address and length, as the device sees them, of a piece of memory that the driver owns: what a descriptor
/// says (2.7.5, 2.8.1). Only a [`Buffer`] gives one, so that no driver lets a device into other memory by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaSegment {
    address: u64,
    length: u32,
}

impl DmaSegment {
    /// The `length` bytes at device address `address`.
    ///
    /// # Safety
    ///
    /// The device may write the memory there for as long as the driver has it in a virtqueue.
    pub unsafe fn new(address: u64, length: u32) -> Self {
        Self { address, length }
    }

    /// Address of the first byte, as the device sees it.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.address
    }

    /// Length in bytes.
    #[inline(always)]
    pub fn len(self) -> u32 {
        self.length
    }

    /// Whether the segment has no bytes.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.length == 0
    }
}

/// Contiguous memory that a device can reach, cut into [`Buffer`]s on demand: first fit, neighbours rejoined on return.
/// Used as `Arc<Area>`; a buffer keeps its area.
pub struct Area {
    segment: Segment,
    device_address: u64,
    free: Lock<FreeList>,
    _owner: Arc<dyn Any + Send + Sync>,
}

impl Area {
    /// The area of the memory of `region`; the device sees it at the region's guest address. `None` if the region
    /// cannot be written or is empty.
    pub fn from_region(region: Region) -> Option<Arc<Self>> {
        if !region.writable() {
            return None;
        }
        // SAFETY: a region's memory is valid for as long as its owner, and writable as just checked.
        unsafe { Self::from_raw(region.segment(), region.guest_address(), region.owner().clone()) }
    }

    /// The area of the memory of `segment`, which the device sees at `device_address`. `None` if it is empty or does
    /// not end within 64 bits there. `owner` is dropped after the last use of the memory.
    ///
    /// # Safety
    ///
    /// Until `owner` is dropped, the memory of `segment` is valid for reading and writing, no Rust reference to it
    /// exists except to atomics, nothing else uses it, and the device reaches it at `device_address`.
    pub unsafe fn from_raw(
        segment: Segment,
        device_address: u64,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Option<Arc<Self>> {
        device_address.checked_add((segment.len() as u64).checked_sub(1)?)?;
        let free = Lock::new(FreeList::new(segment.len()));
        Some(Arc::new(Self {
            segment,
            device_address,
            free,
            _owner: owner,
        }))
    }

    /// Address of the first byte, as the device sees it.
    pub fn device_address(&self) -> u64 {
        self.device_address
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.segment.len()
    }

    /// Whether the area has no bytes; none is.
    pub fn is_empty(&self) -> bool {
        self.segment.is_empty()
    }

    /// An owned piece of `length` bytes, at an address that is a multiple of `align` for both the device and this
    /// end. Its content is whatever it was. `None` if there is no such room, if `length` is 0 or does not fit a
    /// descriptor's 32 bits, or if `align` is not a power of two.
    pub fn allocate(self: &Arc<Self>, length: usize, align: usize) -> Option<Buffer> {
        u32::try_from(length).ok()?;
        if length == 0 || !align.is_power_of_two() {
            return None;
        }
        let base = self.segment.pointer() as usize;
        // An alignment that this end's and the device's view of the area do not share cannot be had.
        if (base ^ self.device_address as usize) & (align - 1) != 0 {
            return None;
        }
        let offset = self.free.lock().take(length, |offset| {
            let misaligned = base.wrapping_add(offset) & (align - 1);
            offset.checked_add((align - misaligned) & (align - 1))
        })?;
        let segment = self.segment.part(offset, length)?;
        Some(Buffer {
            area: self.clone(),
            segment,
            offset,
        })
    }
}

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Area")
            .field("device_address", &format_args!("{:#x}", self.device_address))
            .field("length", &self.segment.len())
            .finish_non_exhaustive()
    }
}

/// An owned piece of an [`Area`]. It returns there on drop, so a buffer in a virtqueue is not dropped before the
/// device has used it or has been reset.
#[derive(Debug)]
pub struct Buffer {
    area: Arc<Area>,
    segment: Segment,
    offset: usize,
}

impl Buffer {
    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.segment.len()
    }

    /// Whether the buffer has no bytes; none is.
    pub fn is_empty(&self) -> bool {
        self.segment.is_empty()
    }

    /// All of the buffer, as the device sees it.
    #[inline]
    pub fn segment(&self) -> DmaSegment {
        // An area gives no buffer longer than 32 bits say.
        DmaSegment {
            address: self.area.device_address + self.offset as u64,
            length: self.segment.len() as u32,
        }
    }

    /// The `length` bytes from `offset` on, as the device sees them; `None` if the buffer does not have them.
    #[inline]
    pub fn segment_at(&self, offset: usize, length: usize) -> Option<DmaSegment> {
        let length = self.segment.part(offset, length)?.len() as u32;
        Some(DmaSegment {
            address: self.segment().address + offset as u64,
            length,
        })
    }

    /// Fills `into` with the bytes from `offset` on.
    #[inline]
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfBounds> {
        self.slices().read(offset, into)
    }

    /// Writes `from` from `offset` on.
    #[inline]
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), OutOfBounds> {
        self.slices().write(offset, from)
    }

    /// Puts `value` at `offset` in one atomic step and gives what was there before. `None` beyond the end. Sequentially
    /// consistent.
    pub fn swap(&self, offset: usize, value: u8) -> Option<u8> {
        // SAFETY: the area keeps the memory for as long as this buffer, and its memory is writable.
        let byte = unsafe { self.segment.atomic::<AtomicU8>(offset) };
        Some(byte?.swap(value, SeqCst))
    }

    /// The view of all of the buffer.
    #[inline]
    pub fn slices(&self) -> Slices<'_> {
        // SAFETY: the area keeps the memory for as long as this buffer, which owns its part of it.
        unsafe { Slices::with_length(core::slice::from_ref(&self.segment), self.segment.len()) }
    }

    /// First byte. Valid for [`len`](Self::len) bytes while the buffer lives; the device may write there.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.segment.pointer()
    }

    /// The memory of the buffer, for atomics in it ([`Segment::atomic`]). Valid while the buffer lives.
    #[inline]
    pub fn memory(&self) -> Segment {
        self.segment
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.area.free.lock().give(self.offset, self.segment.len());
    }
}

/// What is free of an area.
#[derive(Debug)]
struct FreeList {
    /// Offset and length, ascending, never touching each other.
    holes: Vec<(usize, usize)>,
    /// Pieces taken.
    taken: usize,
}

impl FreeList {
    fn new(length: usize) -> Self {
        Self {
            holes: vec![(0, length)],
            taken: 0,
        }
    }

    /// Takes `length` bytes from the first hole that has them. `align` gives the first fit offset from one on.
    fn take(&mut self, length: usize, align: impl Fn(usize) -> Option<usize>) -> Option<usize> {
        let (index, start) = self
            .holes
            .iter()
            .enumerate()
            .find_map(|(index, &(offset, size))| {
                let start = align(offset)?;
                (start - offset <= size && length <= size - (start - offset)).then_some((index, start))
            })?;
        // Room for all holes there can be, so that a return never allocates.
        self.taken += 1;
        self.holes
            .reserve((self.taken + 1).saturating_sub(self.holes.len()));
        let (offset, size) = self.holes.remove(index);
        let end = offset + size;
        if start + length != end {
            self.holes.insert(index, (start + length, end - (start + length)));
        }
        if start != offset {
            self.holes.insert(index, (offset, start - offset));
        }
        Some(start)
    }

    /// Takes back a piece.
    fn give(&mut self, offset: usize, length: usize) {
        self.taken -= 1;
        let index = self.holes.partition_point(|hole| hole.0 < offset);
        let (mut start, mut end) = (offset, offset + length);
        let mut joined = index..index;
        if let Some(&(next, size)) = self.holes.get(index)
            && next == end
        {
            end = next + size;
            joined.end += 1;
        }
        if let Some(before) = index.checked_sub(1)
            && let Some(&(previous, size)) = self.holes.get(before)
            && previous + size == start
        {
            start = previous;
            joined.start = before;
        }
        self.holes.splice(joined, [(start, end - start)]);
    }
}

#[cfg(test)]
#[path = "dma_tests.rs"]
mod tests;
