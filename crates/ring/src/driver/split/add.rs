//! How a chain gets into a split virtqueue.
//!
//! `unsafe` is needed here because descriptors of the free list are known to be below the queue size.

use ringwright_memory::DmaSegment;
use ringwright_spec::split::DescFlags;

use super::super::AddError;
use super::super::slots::{Extent, refusal, too_large};
use super::{Link, Split};
use crate::split::Descriptor;
use crate::words::Part;

impl<P: Part, T> Split<P, T> {
    /// Puts a chain into the descriptor table and its head into the available ring; gives the head.
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
        let bytes = u64::from(request.len()) + u64::from(reply.len());
        if self.room < 2 || bytes > u64::from(u32::MAX) {
            return self.add_long(readable, writable, data);
        }
        let ring = self.ring.clone();
        let head = self.first_free.index();
        // SAFETY: the free list holds nothing but indices below the queue size, and has two more.
        unsafe {
            let link = Link(self.buffers.record(head.into()).link);
            let last = link.index();
            let follow = Link(self.buffers.record(last.into()).link);
            ring.set_descriptor(
                head,
                Descriptor {
                    address: request.address(),
                    length: request.len(),
                    flags: link.0 as u16,
                    link: last,
                },
            );
            ring.set_descriptor(
                last,
                Descriptor {
                    address: reply.address(),
                    length: reply.len(),
                    flags: DescFlags::WRITE.0,
                    link: 0,
                },
            );
            self.first_free = follow;
            self.offer(head, last, 2, reply.len().into(), data);
        }
        Ok(head)
    }

    /// Writes a chain that has room into the descriptor table, if it is legal: its first and last descriptor.
    #[inline(always)]
    fn add_direct(&mut self, readable: &[DmaSegment], writable: &[DmaSegment]) -> Option<(u16, u16, Extent)> {
        let ring = self.ring.clone();
        let head = self.first_free.index();
        let (mut link, mut last) = (self.first_free, head);
        // With VIRTIO_F_IN_ORDER the free list is the table from `head` on, wrapping around
        // (drv:split:the-virtqueue-descriptor-table:02).
        let extent = Extent::for_each(readable, writable, |segment, flags| {
            last = link.index();
            // SAFETY: the free list holds nothing but indices below the queue size.
            link = Link(unsafe { self.buffers.record(last.into()) }.link);
            let follow = if flags & DescFlags::NEXT.0 != 0 {
                link
            } else {
                Link(0)
            };
            let descriptor = Descriptor {
                address: segment.address(),
                length: segment.len(),
                flags: flags & !DescFlags::NEXT.0 | follow.0 as u16,
                link: follow.index(),
            };
            // SAFETY: likewise.
            unsafe { ring.set_descriptor(last, descriptor) };
        });
        if !extent.is_legal() {
            return None;
        }
        self.first_free = link;
        Some((head, last, extent))
    }

    /// Puts a written chain into the available ring.
    ///
    /// # Safety
    ///
    /// Its head and its last descriptor are below the queue size.
    #[inline(always)]
    unsafe fn offer(&mut self, head: u16, last: u16, descriptors: u16, writable: u64, data: T) {
        self.room -= descriptors as isize;
        // SAFETY: there is a record for each descriptor.
        unsafe {
            let record = self.buffers.record(head.into());
            (record.last, record.descriptors) = (last, descriptors);
            self.buffers.put(head.into(), writable, data);
        }
        self.ring.set_available_entry(self.next_available, head);
        self.next_available = self.next_available.wrapping_add(1);
    }

    /// What [`add`](Self::add) does with buffers of other shapes, with those that go into a table or nowhere, and with all if
    /// there are tables.
    #[inline(never)]
    pub fn add_long(
        &mut self,
        readable: &[DmaSegment],
        writable: &[DmaSegment],
        data: T,
    ) -> Result<u16, AddError<T>> {
        let elements = readable.len() + writable.len();
        let free = self.free();
        let (chain, descriptors) = match &self.tables {
            Some(_) if elements > 1 && elements <= self.longest_table && free != 0 => {
                (self.add_tabled(readable, writable), 1)
            }
            _ if elements != 0 && elements <= usize::from(free) => {
                (self.add_direct(readable, writable), elements as u16)
            }
            _ => {
                let reason = refusal(elements, self.ring.size(), self.broken.is_some());
                return Err(AddError { data, reason });
            }
        };
        match chain {
            Some((head, last, extent)) => {
                // SAFETY: the free list holds nothing but indices below the queue size.
                unsafe { self.offer(head, last, descriptors, extent.writable(), data) };
                Ok(head)
            }
            None => too_large(data),
        }
    }

    /// Writes a chain that fits into the next free descriptor's table, if it is legal.
    fn add_tabled(&mut self, readable: &[DmaSegment], writable: &[DmaSegment]) -> Option<(u16, u16, Extent)> {
        let tables = self.tables.as_ref()?;
        let head = self.first_free.index();
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
            self.first_free = Link(self.buffers.record(head.into()).link);
        }
        Some((head, head, extent))
    }
}
