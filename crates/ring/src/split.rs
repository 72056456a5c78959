//! The words of a split virtqueue (section 2.7), for both ends.
//!
//! `unsafe` is needed here to reach the words of shared memory; each offset is proved to lie within its part.

use core::sync::atomic::Ordering::{self, Relaxed};

use ringwright_spec::split::{AVAIL_RING, USED_RING, avail_event_offset, used_event_offset};

use crate::words::Part;

/// Offset of `flags` in both rings.
const FLAGS: usize = 0;
/// Offset of `idx` in both rings.
const IDX: usize = 2;

/// A descriptor's fields, as read once or as to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub address: u64,
    pub length: u32,
    pub flags: u16,
    /// Split: `next`; packed: buffer id.
    pub link: u16,
}

/// The three parts of a split virtqueue, with the size they were made for.
#[derive(Clone)]
pub struct SplitRing<P> {
    descriptors: P,
    available: P,
    used: P,
    size: u16,
    /// One less than `size`.
    mask: usize,
}

impl<P: Part> SplitRing<P> {
    /// The virtqueue of the given parts.
    ///
    /// # Safety
    ///
    /// `size` is a power of 2, and the parts have the lengths and alignments of section 2.7 for it, `descriptors`
    /// 16 bytes.
    pub unsafe fn new(descriptors: P, available: P, used: P, size: u16) -> Self {
        Self {
            descriptors,
            available,
            used,
            size,
            mask: usize::from(size) - 1,
        }
    }

    #[inline(always)]
    pub(crate) fn size(&self) -> u16 {
        self.size
    }

    /// Offset within a ring with entries of `width` bytes after four bytes of header.
    #[inline(always)]
    fn entry(&self, index: impl Into<usize>, width: usize) -> usize {
        const { assert!(AVAIL_RING == 4 && USED_RING == 4) };
        4 + (index.into() & self.mask) * width
    }

    /// Reads a descriptor, each of its two words once.
    ///
    /// # Safety
    ///
    /// `index` is below the queue size.
    #[inline(always)]
    pub(crate) unsafe fn descriptor(&self, index: u16) -> Descriptor {
        debug_assert!(index < self.size);
        let offset = usize::from(index) * 16;
        // SAFETY: the table has `size` entries of 16 bytes and is 16-aligned.
        let (address, tail) = unsafe {
            (
                self.descriptors.load64(offset, Relaxed),
                self.descriptors.load64(offset + 8, Relaxed),
            )
        };
        Descriptor::from_words::<P>(address, tail)
    }

    /// Writes a descriptor.
    ///
    /// # Safety
    ///
    /// `index` is below the queue size.
    #[inline(always)]
    pub(crate) unsafe fn set_descriptor(&self, index: impl Into<usize>, descriptor: Descriptor) {
        let index = index.into();
        debug_assert!(index < usize::from(self.size));
        let offset = index * 16;
        let (address, tail) = descriptor.to_words::<P>();
        // SAFETY: the table has `size` entries of 16 bytes and is 16-aligned.
        unsafe {
            self.descriptors.store64(offset, address, Relaxed);
            self.descriptors.store64(offset + 8, tail, Relaxed);
        }
    }

    /// Entry `index`, modulo the queue size, of the available ring.
    #[inline(always)]
    pub(crate) fn available_entry(&self, index: impl Into<usize>) -> u16 {
        // SAFETY: the entry is one of the ring's `size`, each of two bytes.
        unsafe { self.available.load16(self.entry(index, 2), Relaxed) }
    }

    #[inline(always)]
    pub(crate) fn set_available_entry(&self, index: impl Into<usize>, head: u16) {
        // SAFETY: as in `available_entry`.
        unsafe { self.available.store16(self.entry(index, 2), head, Relaxed) }
    }

    /// Sets entry `index` of the available ring.
    ///
    /// # Safety
    ///
    /// `index` is below the queue size.
    #[inline(always)]
    pub(crate) unsafe fn set_available_entry_at(&self, index: usize, head: u16) {
        // SAFETY: by the contract the entry is one of the ring's `size`, each of two bytes.
        unsafe { self.available.store16(4 + index * 2, head, Relaxed) }
    }

    #[inline(always)]
    pub(crate) fn available_index(&self, ordering: Ordering) -> u16 {
        // SAFETY: every available ring has this field.
        unsafe { self.available.load16(IDX, ordering) }
    }

    #[inline(always)]
    pub(crate) fn set_available_index(&self, index: u16, ordering: Ordering) {
        // SAFETY: as in `available_index`.
        unsafe { self.available.store16(IDX, index, ordering) }
    }

    #[inline(always)]
    pub(crate) fn available_flags(&self) -> u16 {
        // SAFETY: every available ring has this field.
        unsafe { self.available.load16(FLAGS, Relaxed) }
    }

    pub(crate) fn set_available_flags(&self, flags: u16) {
        // SAFETY: as in `available_flags`.
        unsafe { self.available.store16(FLAGS, flags, Relaxed) }
    }

    #[inline(always)]
    pub(crate) fn used_event(&self) -> u16 {
        // SAFETY: the field follows the last entry; the part was checked for it.
        unsafe {
            self.available
                .load16(used_event_offset(self.size) as usize, Relaxed)
        }
    }

    pub(crate) fn set_used_event(&self, event: u16) {
        // SAFETY: as in `used_event`.
        unsafe {
            self.available
                .store16(used_event_offset(self.size) as usize, event, Relaxed)
        }
    }

    /// Id and length in entry `index`, modulo the queue size, of the used ring.
    #[inline(always)]
    pub(crate) fn used_entry(&self, index: impl Into<usize>) -> (u32, u32) {
        let offset = self.entry(index, 8);
        // SAFETY: the entry is one of the ring's `size`, each of eight bytes, and the ring is 4-aligned.
        unsafe {
            (
                self.used.load32(offset, Relaxed),
                self.used.load32(offset + 4, Relaxed),
            )
        }
    }

    /// Id and length in entry `index` of the used ring.
    ///
    /// # Safety
    ///
    /// `index` is below the queue size.
    #[inline(always)]
    pub(crate) unsafe fn used_entry_at(&self, index: usize) -> (u32, u32) {
        // SAFETY: by the contract the entry is one of the ring's `size`, each of eight bytes, and the ring is 4-aligned.
        unsafe {
            (
                self.used.load32(4 + index * 8, Relaxed),
                self.used.load32(8 + index * 8, Relaxed),
            )
        }
    }

    #[inline(always)]
    pub(crate) fn set_used_entry(&self, index: impl Into<usize>, id: u32, length: u32) {
        let offset = self.entry(index, 8);
        // SAFETY: as in `used_entry`.
        unsafe {
            self.used.store32(offset, id, Relaxed);
            self.used.store32(offset + 4, length, Relaxed);
        }
    }

    #[inline(always)]
    pub(crate) fn used_index(&self, ordering: Ordering) -> u16 {
        // SAFETY: every used ring has this field.
        unsafe { self.used.load16(IDX, ordering) }
    }

    #[inline(always)]
    pub(crate) fn set_used_index(&self, index: u16, ordering: Ordering) {
        // SAFETY: as in `used_index`.
        unsafe { self.used.store16(IDX, index, ordering) }
    }

    #[inline(always)]
    pub(crate) fn used_flags(&self) -> u16 {
        // SAFETY: every used ring has this field.
        unsafe { self.used.load16(FLAGS, Relaxed) }
    }

    pub(crate) fn set_used_flags(&self, flags: u16) {
        // SAFETY: as in `used_flags`.
        unsafe { self.used.store16(FLAGS, flags, Relaxed) }
    }

    #[inline(always)]
    pub(crate) fn available_event(&self) -> u16 {
        // SAFETY: the field follows the last entry; the part was checked for it.
        unsafe { self.used.load16(avail_event_offset(self.size) as usize, Relaxed) }
    }

    pub(crate) fn set_available_event(&self, event: u16) {
        // SAFETY: as in `available_event`.
        unsafe {
            self.used
                .store16(avail_event_offset(self.size) as usize, event, Relaxed)
        }
    }

    /// A full barrier between publishing an index and looking at the other end's notification suppression.
    #[inline(always)]
    pub(crate) fn fence(&self) {
        self.available.fence();
    }

    /// Writes zeros everywhere, as a fresh virtqueue has them.
    pub(crate) fn clear(&self) {
        for index in 0..self.size {
            // SAFETY: the index is below the queue size.
            unsafe {
                self.set_descriptor(
                    index,
                    Descriptor {
                        address: 0,
                        length: 0,
                        flags: 0,
                        link: 0,
                    },
                )
            };
            self.set_available_entry(index, 0);
            self.set_used_entry(index, 0, 0);
        }
        self.set_available_flags(0);
        self.set_available_index(0, Relaxed);
        self.set_used_event(0);
        // drv:split:available-buffer-notification-suppression:01
        self.set_used_flags(0);
        self.set_used_index(0, Relaxed);
        self.set_available_event(0);
    }
}

impl Descriptor {
    /// The descriptor of two words as a part with the byte order of `P` gives them.
    #[inline(always)]
    pub(crate) fn from_words<P: Part>(address: u64, tail: u64) -> Self {
        let (length, flags, link) = if P::BIG_ENDIAN {
            (tail >> 32, tail >> 16, tail)
        } else {
            let upper = ((tail >> 32) as u32).rotate_left(16);
            (tail, u64::from(upper >> 16), u64::from(upper))
        };
        Self {
            address,
            length: length as u32,
            flags: flags as u16,
            link: link as u16,
        }
    }

    /// The inverse of [`from_words`](Self::from_words).
    #[inline(always)]
    pub(crate) fn to_words<P: Part>(self) -> (u64, u64) {
        let (length, flags, link) = (
            u64::from(self.length),
            u64::from(self.flags),
            u64::from(self.link),
        );
        let tail = if P::BIG_ENDIAN {
            length << 32 | flags << 16 | link
        } else {
            length | flags << 32 | link << 48
        };
        (self.address, tail)
    }
}
