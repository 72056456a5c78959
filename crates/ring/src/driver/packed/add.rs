//! How a buffer gets into a packed virtqueue.
//!
//! `unsafe` is needed here because positions in the ring are known to lie within it.

use core::sync::atomic::Ordering::Relaxed;

use ringwright_memory::DmaSegment;
use ringwright_spec::packed::DescFlags;

use super::super::AddError;
use super::super::add::{self, Add};
use super::super::buffers::ById;
use super::super::slots::{Extent, refusal, too_large};
use super::Packed;
use crate::local::Local;
use crate::packed::{PackedRing, Position};
use crate::shape::Shape;
use crate::words::Part;

impl<P: Part, T> Packed<P, T> {
    /// Writes a buffer that has room into the ring, all but its first descriptor's second word. Gives that and the number
    /// of descriptors, if the buffer is legal.
    fn write_around(
        &mut self,
        readable: &[DmaSegment],
        writable: &[DmaSegment],
    ) -> Option<(u64, u16, Extent)> {
        let start = self.next_available;
        let mut position = start;
        let mut first = 0;
        let extent = Extent::for_each(readable, writable, |segment, flags| {
            let tail = word(segment.len(), self.first_free as u16, flags) | position.bits;
            // SAFETY: positions are below the size.
            unsafe { self.ring.set_address(position.index, segment.address()) };
            if position.index == start.index {
                first = tail;
            } else {
                // SAFETY: likewise. Relaxed: the device looks here only after it has seen the first.
                unsafe { self.ring.set_tail(position.index, tail, Relaxed) };
            }
            position.advance(1, self.ring.size());
        });
        let descriptors = (readable.len() + writable.len()) as u16;
        extent.is_legal().then_some((first, descriptors, extent))
    }

    /// Writes a buffer into its id's table and the table's address into the ring. Gives the descriptor's second word and
    /// the number of descriptors, if the buffer is legal.
    fn write_table(
        &mut self,
        readable: &[DmaSegment],
        writable: &[DmaSegment],
    ) -> Option<(u64, u16, Extent)> {
        let tables = self.tables.as_ref()?;
        let id = self.first_free as u16;
        let mut entry = 0;
        let extent = Extent::for_each(readable, writable, |segment, flags| {
            // No flags but WRITE (drv:packed:indirect-descriptors:02).
            let tail = word(segment.len(), 0, flags & DescFlags::WRITE.0);
            // SAFETY: there is a table for each id, long enough for the elements as the caller compared.
            unsafe { tables.write(id, entry, (segment.address(), tail)) };
            entry += 1;
        });
        let Position { index, bits } = self.next_available;
        // SAFETY: positions are below the size.
        unsafe { self.ring.set_address(index, tables.address(id)) };
        let tail = word(u32::from(entry) * 16, id, DescFlags::INDIRECT.0) | bits;
        extent.is_legal().then_some((tail, 1, extent))
    }
}

impl<P: Part, T> Add<T> for Packed<P, T> {
    type Run<'q, const N: usize>
        = Run<'q, P, T, N>
    where
        Self: 'q;

    #[inline(always)]
    fn run<const N: usize>(&mut self, readable: usize) -> Run<'_, P, T, N> {
        let Position { index, bits } = self.next_available;
        let flags = |number| {
            let write = if number < readable { 0 } else { DescFlags::WRITE.0 };
            let next = if number + 1 < N { DescFlags::NEXT.0 } else { 0 };
            u64::from(write | next) << 48
        };
        let tabled = N > 1 && N <= self.longest_table;
        let free = if tabled { 0 } else { self.free as usize };
        Run {
            ring: self.ring.clone(),
            buffers: self.buffers.by_id(),
            bits: core::array::from_fn(|number| bits + flags(number)),
            index: index.into(),
            begun: 0,
            added: 0,
            most: usize::from(self.ring.size() - index).min(free) / N,
            first_free: Local::new(&mut self.first_free),
            first: &mut self.first,
            free: &mut self.free,
            descriptors: &mut self.added,
            next_available: &mut self.next_available,
        }
    }

    #[inline(never)]
    fn add_long(
        &mut self,
        readable: &[DmaSegment],
        writable: &[DmaSegment],
        data: T,
    ) -> Result<u16, AddError<T>> {
        let elements = readable.len() + writable.len();
        let start = self.next_available;
        let written = match &self.tables {
            Some(_) if elements > 1 && elements <= self.longest_table && self.free != 0 => {
                self.write_table(readable, writable)
            }
            _ if elements != 0 && elements <= self.free as usize => self.write_around(readable, writable),
            _ => {
                let reason = refusal(elements, self.ring.size(), self.broken.is_some());
                return Err(AddError { data, reason });
            }
        };
        match written {
            Some((tail, descriptors, extent)) => {
                let id = self.first_free;
                // SAFETY: free ids are below the queue size, and so are positions.
                unsafe {
                    let mut buffers = self.buffers.by_id();
                    let record = buffers.record(id);
                    record.descriptors = descriptors.into();
                    self.first_free = record.link.into();
                    buffers.put(id, extent.writable(), data);
                    self.ring.offer(&mut self.first, start.index.into(), tail);
                }
                self.next_available.advance(descriptors, self.ring.size());
                self.free -= u32::from(descriptors);
                self.added = self.added.wrapping_add(descriptors);
                Ok(id as u16)
            }
            None => too_large(data),
        }
    }

    fn shape(&mut self) -> &mut Shape {
        &mut self.shape
    }
}

/// Buffers of `N` descriptors each that follow each other in the ring. What they change of the queue goes back there in the
/// end.
pub struct Run<'q, P: Part, T, const N: usize> {
    ring: PackedRing<P>,
    buffers: ById<'q, T>,
    /// State bits and flags of each buffer's descriptors.
    bits: [u64; N],
    /// The first descriptor.
    index: usize,
    /// Buffers begun and added, and the most to add that there may be up to the end of the ring or of its free descriptors.
    begun: usize,
    added: usize,
    most: usize,
    first_free: Local<'q, usize>,
    first: &'q mut Option<(u16, u64)>,
    free: &'q mut u32,
    descriptors: &'q mut u16,
    next_available: &'q mut Position,
}

impl<P: Part, T, const N: usize> add::Run<T, N> for Run<'_, P, T, N> {
    #[inline(always)]
    fn begins(&self) -> bool {
        self.first.is_none()
    }

    #[inline(always)]
    fn begin(&mut self, elements: [&DmaSegment; N], writable: u32, data: T) -> Result<u16, T> {
        if self.most == 0 {
            return Err(data);
        }
        let (id, tail) = self.write(elements, writable, data);
        *self.first = Some((self.index as u16, tail));
        self.index += N;
        self.most -= 1;
        self.begun = 1;
        Ok(id)
    }

    #[inline(always)]
    fn add(&mut self, elements: [&DmaSegment; N], writable: u32, data: T) -> Result<u16, T> {
        if self.added == self.most {
            return Err(data);
        }
        let (id, tail) = self.write(elements, writable, data);
        // SAFETY: before the end of the ring. Relaxed: the device looks here only after it has seen the first.
        unsafe { self.ring.set_tail(self.index + N * self.added, tail, Relaxed) };
        self.added += 1;
        Ok(id)
    }
}

impl<P: Part, T, const N: usize> Run<'_, P, T, N> {
    /// Writes the next buffer, all but its first descriptor's second word, which it gives besides the id.
    #[inline(always)]
    fn write(&mut self, elements: [&DmaSegment; N], writable: u32, data: T) -> (u16, u64) {
        let lengths = elements.map(|element| element.len());
        let index = self.index + N * self.added;
        let id = *self.first_free;
        let tail = |number: usize| ((id as u64) << 32) + self.bits[number] + u64::from(lengths[number]);
        // SAFETY: the free list holds nothing but ids below the queue size. The descriptors come before the end of the ring.
        // Relaxed: the device looks at a buffer only after it has seen the first one.
        unsafe {
            let record = self.buffers.record(id);
            record.descriptors = N as u32;
            *self.first_free = record.link.into();
            self.buffers.put(id, writable.into(), data);
            for (number, element) in elements.iter().enumerate().rev() {
                self.ring.set_address(index + number, element.address());
                if number != 0 {
                    self.ring.set_tail(index + number, tail(number), Relaxed);
                }
            }
        }
        (id as u16, tail(0))
    }
}

impl<P: Part, T, const N: usize> Drop for Run<'_, P, T, N> {
    #[inline(always)]
    fn drop(&mut self) {
        let descriptors = (N * (self.begun + self.added)) as u16;
        *self.free -= u32::from(descriptors);
        // Only a device that breaks the rules makes this overflow; it may then miss a notification.
        *self.descriptors = self.descriptors.wrapping_add(descriptors);
        self.next_available.advance(descriptors, self.ring.size());
    }
}

impl<P: Part> PackedRing<P> {
    /// Makes the buffer whose first descriptor is at `index` available, with that descriptor's second word, or leaves that
    /// for later if it is the first of a batch (drv:packed:scatter-gather-support:06).
    ///
    /// # Safety
    ///
    /// `index` is below the queue size.
    #[inline(always)]
    unsafe fn offer(&self, first: &mut Option<(u16, u64)>, index: usize, tail: u64) {
        if first.is_none() {
            *first = Some((index as u16, tail));
        } else {
            // SAFETY: promised by the caller. Relaxed: the device looks here only after it has seen the first.
            unsafe { self.set_tail(index, tail, Relaxed) };
        }
    }
}

/// A descriptor's second word, but for its state bits.
#[inline(always)]
fn word(length: u32, id: u16, flags: u16) -> u64 {
    u64::from(length) | u64::from(id) << 32 | u64::from(flags) << 48
}
