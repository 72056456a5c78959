//! The words of a packed virtqueue (section 2.8), for both ends.
//!
//! `unsafe` is needed here to reach the words of shared memory; each offset is proved to lie within its part.

use core::sync::atomic::Ordering::{self, Relaxed};

use ringwright_spec::packed::{DescFlags, EventFlags};
use ringwright_spec::split::need_event;

use crate::words::Part;

/// The bits of a descriptor's second word that tell whether it is available or used.
pub(crate) const STATE: u64 = AVAIL | USED;
const AVAIL: u64 = (DescFlags::AVAIL.0 as u64) << 48;
const USED: u64 = (DescFlags::USED.0 as u64) << 48;
/// Flag WRITE within a descriptor's second word.
pub(crate) const WRITE: u64 = (DescFlags::WRITE.0 as u64) << 48;

/// The wrap counter in an event suppression structure.
const WRAP: u16 = 1 << 15;

/// A place in the descriptor ring, with the state bits that a descriptor has there once it is available or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub index: u16,
    /// [`STATE`] as section 2.8.1 has it for the wrap counter: for available descriptors the bits differ, for used ones they
    /// are equal; in both cases AVAIL is the wrap counter itself, and both bits change with it.
    pub bits: u64,
}

impl Position {
    /// Where a descriptor is made available.
    pub fn available(index: u16, wrap: bool) -> Self {
        Self {
            index,
            bits: if wrap { AVAIL } else { USED },
        }
    }

    /// Where a descriptor is marked used.
    pub fn used(index: u16, wrap: bool) -> Self {
        Self {
            index,
            bits: if wrap { STATE } else { 0 },
        }
    }

    /// The wrap counter.
    #[inline(always)]
    pub fn wrap(self) -> bool {
        self.bits & AVAIL != 0
    }

    /// Whether a descriptor whose second word is `tail` is what is awaited here.
    #[inline(always)]
    pub fn matches(self, tail: u64) -> bool {
        (tail ^ self.bits) & STATE == 0
    }

    /// Goes `count` descriptors on in a ring of `size`; `count` is at most `size`.
    #[inline(always)]
    pub fn advance(&mut self, count: u16, size: u16) {
        // Both are at most 2^15, so the sum fits.
        self.index += count;
        if self.index >= size {
            *self = self.lap(size);
        }
    }

    /// The same place in the next lap. Out of the way, because it is rare and its work would otherwise be done each time.
    #[cold]
    #[inline(never)]
    fn lap(self, size: u16) -> Self {
        Self {
            index: self.index - size,
            bits: self.bits ^ STATE,
        }
    }

    /// As in an event suppression structure: offset in bits 0 to 14, wrap counter in bit 15.
    #[inline(always)]
    pub fn to_event(self) -> u16 {
        self.index | (self.bits >> 40) as u16 & WRAP
    }
}

/// Event suppression structure as one word: `desc` in the low half, `flags` in the high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventWord(pub u32);

impl EventWord {
    pub const ENABLE: Self = Self((EventFlags::ENABLE.0 as u32) << 16);
    pub const DISABLE: Self = Self((EventFlags::DISABLE.0 as u32) << 16);

    /// Asks for a notification once the descriptor at `position` was passed.
    pub fn at(position: Position) -> Self {
        Self((EventFlags::DESC.0 as u32) << 16 | u32::from(position.to_event()))
    }

    /// Whether a notification is wanted by an end that `added` descriptors, the last just before `next`, were written
    /// for, in a ring of `size`.
    ///
    /// The reserved value 3 asks, to be safe, for every notification; so does [`EventFlags::DESC`] without
    /// `VIRTIO_F_EVENT_IDX`.
    #[inline(always)]
    pub fn wanted(self, next: Position, added: u16, size: u16, event_idx: bool) -> bool {
        // The upper bits of the flags are reserved.
        match EventFlags((self.0 >> 16) as u16 & 3) {
            EventFlags::DESC if event_idx => {
                let (event, next) = (self.0 as u16, next.to_event());
                // An event of the other lap can only have been passed if it lies a whole ring behind.
                let lap = if (event ^ next) >> 15 == 0 { 0 } else { WRAP - size };
                need_event(event.wrapping_add(lap), next, next.wrapping_sub(added))
            }
            flags => flags != EventFlags::DISABLE,
        }
    }
}

/// The three parts of a packed virtqueue, with the size they were made for. Always little-endian.
#[derive(Clone)]
pub struct PackedRing<P> {
    descriptors: P,
    driver: P,
    device: P,
    size: u16,
}

impl<P: Part> PackedRing<P> {
    /// The virtqueue of the given parts: descriptor ring, driver and device event suppression.
    ///
    /// # Safety
    ///
    /// The parts have the lengths and alignments of section 2.8.10.1 for `size`.
    pub unsafe fn new(descriptors: P, driver: P, device: P, size: u16) -> Self {
        Self {
            descriptors,
            driver,
            device,
            size,
        }
    }

    #[inline(always)]
    pub(crate) fn size(&self) -> u16 {
        self.size
    }

    /// Address of the descriptor at `index`.
    ///
    /// # Safety
    ///
    /// `index` is below the queue size.
    #[inline(always)]
    pub(crate) unsafe fn address(&self, index: impl Into<usize>) -> u64 {
        let index = index.into();
        debug_assert!(index < usize::from(self.size));
        // SAFETY: the ring has `size` descriptors of 16 bytes and is 16-aligned.
        unsafe { self.descriptors.load64(index * 16, Relaxed) }
    }

    /// Length, id and flags of the descriptor at `index`, in one word.
    ///
    /// # Safety
    ///
    /// `index` is below the queue size.
    #[inline(always)]
    pub(crate) unsafe fn tail(&self, index: impl Into<usize>, ordering: Ordering) -> u64 {
        let index = index.into();
        debug_assert!(index < usize::from(self.size));
        // SAFETY: as in `address`.
        unsafe { self.descriptors.load64(index * 16 + 8, ordering) }
    }

    /// Writes the address of the descriptor at `index`.
    ///
    /// # Safety
    ///
    /// `index` is below the queue size.
    #[inline(always)]
    pub(crate) unsafe fn set_address(&self, index: impl Into<usize>, address: u64) {
        let index = index.into();
        debug_assert!(index < usize::from(self.size));
        // SAFETY: as in `address`.
        unsafe { self.descriptors.store64(index * 16, address, Relaxed) }
    }

    /// Writes length, id and flags of the descriptor at `index`.
    ///
    /// # Safety
    ///
    /// `index` is below the queue size.
    #[inline(always)]
    pub(crate) unsafe fn set_tail(&self, index: impl Into<usize>, tail: u64, ordering: Ordering) {
        let index = index.into();
        debug_assert!(index < usize::from(self.size));
        // SAFETY: as in `address`.
        unsafe { self.descriptors.store64(index * 16 + 8, tail, ordering) }
    }

    #[inline(always)]
    pub(crate) fn driver_event(&self) -> EventWord {
        // SAFETY: the part is one aligned 32-bit word.
        EventWord(unsafe { self.driver.load32(0, Relaxed) })
    }

    pub(crate) fn set_driver_event(&self, event: EventWord) {
        // SAFETY: as in `driver_event`.
        unsafe { self.driver.store32(0, event.0, Relaxed) }
    }

    #[inline(always)]
    pub(crate) fn device_event(&self) -> EventWord {
        // SAFETY: the part is one aligned 32-bit word.
        EventWord(unsafe { self.device.load32(0, Relaxed) })
    }

    pub(crate) fn set_device_event(&self, event: EventWord) {
        // SAFETY: as in `device_event`.
        unsafe { self.device.store32(0, event.0, Relaxed) }
    }

    /// A full barrier between publishing descriptors and looking at the other end's event suppression.
    #[inline(always)]
    pub(crate) fn fence(&self) {
        self.descriptors.fence();
    }

    /// Writes zeros everywhere, as a fresh virtqueue has them (section 2.8.13).
    pub(crate) fn clear(&self) {
        for index in 0..self.size {
            // SAFETY: the index is below the queue size.
            unsafe {
                self.set_address(index, 0);
                self.set_tail(index, 0, Relaxed);
            }
        }
        self.set_driver_event(EventWord::ENABLE);
        self.set_device_event(EventWord::ENABLE);
    }
}

#[cfg(test)]
mod tests;
