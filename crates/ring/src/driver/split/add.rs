//! How chains get into a split virtqueue.
//!
//! `unsafe` is needed here because descriptors of the free list are known to be below the queue size.

use ringwright_memory::DmaSegment;
use ringwright_spec::split::DescFlags;

use super::super::AddError;
use super::super::add::{self, Add};
use super::super::buffers::ById;
use super::super::slots::{Extent, refusal, too_large};
use super::Split;
use crate::local::Local;
use crate::shape::Shape;
use crate::split::{Descriptor, SplitRing};
use crate::words::Part;

impl<P: Part, T> Split<P, T> {
    /// Writes a chain that has room into the descriptor table, if it is legal: its first and last descriptor.
    #[inline(always)]
    fn add_direct(&mut self, readable: &[DmaSegment], writable: &[DmaSegment]) -> Option<(u16, u16, Extent)> {
        let ring = self.ring.clone();
        let mut buffers = self.buffers.by_id();
        let head = self.first_free as u16;
        let (mut link, mut last) = (head, head);
        // With VIRTIO_F_IN_ORDER the free list is the table from `head` on, wrapping around
        // (drv:split:the-virtqueue-descriptor-table:02).
        let extent = Extent::for_each(readable, writable, |segment, flags| {
            last = link;
            // SAFETY: the free list holds nothing but indices below the queue size.
            link = unsafe { buffers.record(last.into()) }.link;
            let descriptor = Descriptor {
                address: segment.address(),
                length: segment.len(),
                flags,
                link: if flags & DescFlags::NEXT.0 != 0 { link } else { 0 },
            };
            // SAFETY: likewise.
            unsafe { ring.set_descriptor(last, descriptor) };
        });
        if !extent.is_legal() {
            return None;
        }
        self.first_free = link.into();
        Some((head, last, extent))
    }

    /// Writes a chain that fits into the next free descriptor's table, if it is legal.
    fn add_tabled(&mut self, readable: &[DmaSegment], writable: &[DmaSegment]) -> Option<(u16, u16, Extent)> {
        let tables = self.tables.as_ref()?;
        let head = self.first_free as u16;
        let mut entry = 0;
        let extent = Extent::for_each(readable, writable, |segment, flags| {
            // Entries refer to the next one in sequence (drv:split:indirect-descriptors:05).
            let (address, length) = (segment.address(), segment.len());
            let words = Descriptor {
                address,
                length,
                flags,
                link: entry + 1,
            }
            .to_words::<P>();
            // SAFETY: there is a table for each descriptor, long enough for the elements as the caller compared.
            unsafe { tables.write(head, entry, words) };
            entry += 1;
        });
        if !extent.is_legal() {
            return None;
        }
        let (address, length) = (tables.address(head), u32::from(entry) * 16);
        let descriptor = Descriptor {
            address,
            length,
            flags: DescFlags::INDIRECT.0,
            link: 0,
        };
        // SAFETY: the free list holds nothing but indices below the queue size.
        unsafe {
            self.ring.set_descriptor(head, descriptor);
            self.first_free = self.buffers.by_id().record(head.into()).link.into();
        }
        Some((head, head, extent))
    }
}

impl<P: Part, T> Add<T> for Split<P, T> {
    type Run<'q, const N: usize>
        = Run<'q, P, T, N>
    where
        Self: 'q;

    #[inline(always)]
    fn run<const N: usize>(&mut self, readable: usize) -> Run<'_, P, T, N> {
        let size = self.ring.size();
        let first = self.next_available & (size - 1);
        let tabled = N > 1 && N <= self.longest_table;
        let free = if tabled { 0 } else { self.free as usize };
        Run {
            ring: self.ring.clone(),
            buffers: self.buffers.by_id(),
            readable,
            first: first.into(),
            added: 0,
            most: usize::from(size - first).min(free / N),
            first_free: Local::new(&mut self.first_free),
            free: &mut self.free,
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
        let (chain, descriptors) = match &self.tables {
            Some(_) if elements > 1 && elements <= self.longest_table && self.free != 0 => {
                (self.add_tabled(readable, writable), 1)
            }
            _ if elements != 0 && elements <= self.free as usize => {
                (self.add_direct(readable, writable), elements as u32)
            }
            _ => {
                let reason = refusal(elements, self.ring.size(), self.broken.is_some());
                return Err(AddError { data, reason });
            }
        };
        match chain {
            Some((head, last, extent)) => {
                self.free -= descriptors;
                // SAFETY: the free list holds nothing but indices below the queue size.
                unsafe {
                    let mut buffers = self.buffers.by_id();
                    let record = buffers.record(head.into());
                    (record.last, record.descriptors) = (last, descriptors);
                    buffers.put(head.into(), extent.writable(), data);
                }
                self.ring.set_available_entry(self.next_available, head);
                self.next_available = self.next_available.wrapping_add(1);
                Ok(head)
            }
            None => too_large(data),
        }
    }

    fn shape(&mut self) -> &mut Shape {
        &mut self.shape
    }
}

/// Chains of `N` descriptors each, in entries of the available ring that follow each other. What they change of the queue
/// goes back there in the end.
pub struct Run<'q, P: Part, T, const N: usize> {
    ring: SplitRing<P>,
    buffers: ById<'q, T>,
    /// How many of the elements are device-readable.
    readable: usize,
    /// The first entry.
    first: usize,
    /// Chains added, and the most that there may be up to the end of the ring and for the free descriptors.
    added: usize,
    most: usize,
    first_free: Local<'q, usize>,
    free: &'q mut u32,
    next_available: &'q mut u16,
}

impl<P: Part, T, const N: usize> add::Run<T, N> for Run<'_, P, T, N> {
    #[inline(always)]
    fn begins(&self) -> bool {
        false
    }

    #[inline(always)]
    fn begin(&mut self, elements: [&DmaSegment; N], writable: u32, data: T) -> Result<u16, T> {
        self.add(elements, writable, data)
    }

    #[inline(always)]
    fn add(&mut self, elements: [&DmaSegment; N], writable: u32, data: T) -> Result<u16, T> {
        if self.added == self.most {
            return Err(data);
        }
        let lengths = elements.map(|element| element.len());
        let head = *self.first_free;
        // SAFETY: the free list holds nothing but indices below the queue size. The entry is before the end of the ring.
        unsafe {
            let (mut last, mut indices) = (head, [head; N]);
            for index in &mut indices[1..] {
                last = self.buffers.record(last).link.into();
                *index = last;
            }
            let record = self.buffers.record(head);
            (record.last, record.descriptors) = (last as u16, N as u32);
            self.buffers.put(head, writable.into(), data);
            self.ring
                .set_available_entry_at(self.first + self.added, head as u16);
            *self.first_free = self.buffers.record(last).link.into();
            for (number, element) in elements.iter().enumerate().rev() {
                let write = if number < self.readable {
                    0
                } else {
                    DescFlags::WRITE.0
                };
                let next = indices.get(number + 1);
                let descriptor = Descriptor {
                    address: element.address(),
                    length: lengths[number],
                    flags: write | if next.is_some() { DescFlags::NEXT.0 } else { 0 },
                    link: next.map_or(0, |next| *next as u16),
                };
                self.ring.set_descriptor(indices[number], descriptor);
            }
        }
        self.added += 1;
        Ok(head as u16)
    }
}

impl<P: Part, T, const N: usize> Drop for Run<'_, P, T, N> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.free -= (N * self.added) as u32;
        *self.next_available = self.next_available.wrapping_add(self.added as u16);
    }
}
