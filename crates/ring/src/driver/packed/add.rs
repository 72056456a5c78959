//! How a buffer gets into a packed virtqueue.
//!
//! `unsafe` is needed here because positions in the ring are known to lie within it.

use core::sync::atomic::Ordering::Relaxed;

use ringwright_memory::DmaSegment;
use ringwright_spec::packed::DescFlags;

use super::super::AddError;
use super::super::slots::{Extent, refusal, too_large};
use super::Packed;
use crate::packed::Position;
use crate::words::Part;

impl<P: Part, T> Packed<P, T> {
    /// Writes a buffer into the ring, all but the word that makes the first of a batch available; gives its id.
    ///
    /// One readable and one writable element, a request and room for its reply, go the shortest way.
    #[inline(always)]
    pub fn add(
        &mut self,
        readable: &[DmaSegment],
        writable: &[DmaSegment],
        data: T,
    ) -> Result<u16, AddError<T>> {
        let ([request], [reply]) = (readable, writable) else {
            return self.add_long(readable, writable, data);
        };
        let Position { index, bits } = self.next_available;
        let bytes = u64::from(request.len()) + u64::from(reply.len());
        // The whole list needs room before its first descriptor is written (drv:packed:scatter-gather-support:05).
        if self.room < 2 || bytes > u64::from(u32::MAX) || index + 2 >= self.ring.size() {
            return self.add_long(readable, writable, data);
        }
        let ring = self.ring.clone();
        let common = u64::from(self.first_free) << 32 | bits;
        let first = common | u64::from(request.len()) | u64::from(DescFlags::NEXT.0) << 48;
        let last = common | u64::from(reply.len()) | u64::from(DescFlags::WRITE.0) << 48;
        // SAFETY: both descriptors come before the end of the ring, as just compared. Relaxed: the device looks here only
        // after it has seen the first.
        unsafe {
            ring.set_address(index, request.address());
            ring.set_address(index + 1, reply.address());
            ring.set_tail(index + 1, last, Relaxed);
        }
        self.next_available.index = index + 2;
        Ok(self.offer(index, first, 2, reply.len().into(), data))
    }

    /// Makes the buffer whose first descriptor is at `index` available, with that descriptor's second word, or leaves that
    /// for later if it is the first of a batch (drv:packed:scatter-gather-support:06). Gives the buffer's id.
    #[inline(always)]
    fn offer(&mut self, index: u16, tail: u64, descriptors: u16, writable: u64, data: T) -> u16 {
        let id = self.first_free;
        if self.first.is_none() {
            self.first = Some((index, tail));
        } else {
            // SAFETY: positions are below the size. Relaxed: as for the other descriptors.
            unsafe { self.ring.set_tail(index, tail, Relaxed) };
        }
        // SAFETY: free ids are below the queue size.
        unsafe {
            let record = self.buffers.record(id.into());
            record.descriptors = descriptors;
            self.first_free = record.link as u16;
            self.buffers.put(id.into(), writable, data);
        }
        self.room -= descriptors as isize;
        self.in_flight += 1;
        id
    }

    /// What [`add`](Self::add) does with buffers of other shapes, with those that go into a table, around the ring's end or
    /// nowhere, and with all if there are tables.
    #[inline(never)]
    pub fn add_long(
        &mut self,
        readable: &[DmaSegment],
        writable: &[DmaSegment],
        data: T,
    ) -> Result<u16, AddError<T>> {
        let elements = readable.len() + writable.len();
        let free = self.free();
        let start = self.next_available;
        let written = match &self.tables {
            Some(_) if elements > 1 && elements <= self.longest_table && free != 0 => {
                self.write_table(readable, writable)
            }
            _ if elements != 0 && elements <= usize::from(free) => self.write_around(readable, writable),
            _ => {
                let reason = refusal(elements, self.ring.size(), self.broken.is_some());
                return Err(AddError { data, reason });
            }
        };
        match written {
            Some((tail, descriptors, extent)) => {
                self.next_available.advance(descriptors, self.ring.size());
                Ok(self.offer(start.index, tail, descriptors, extent.writable(), data))
            }
            None => too_large(data),
        }
    }

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
            let tail = word(segment.len(), self.first_free, flags) | position.bits;
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
        let id = self.first_free;
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

/// A descriptor's second word, but for its state bits.
#[inline(always)]
fn word(length: u32, id: u16, flags: u16) -> u64 {
    u64::from(length) | u64::from(id) << 32 | u64::from(flags) << 48
}
