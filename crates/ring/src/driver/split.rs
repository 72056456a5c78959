//! The driver end of a split virtqueue.
//!
//! `unsafe` is needed here where descriptors of the free list are known to be below the queue size.

use alloc::boxed::Box;
use alloc::vec;
use core::sync::atomic::Ordering::{Acquire, Release};

use ringwright_memory::DmaSegment;
use ringwright_spec::notification::NotificationData;
use ringwright_spec::split::{AvailFlags, DescFlags, UsedFlags, need_event};

use super::AddRefusal;
use super::slots::{Extent, Options};
use super::table::{TableWriter, Tables};
use crate::split::{Descriptor, SplitRing};
use crate::words::{Host, Part, platform_fence};
use crate::{Format, RingError, Violation};

/// The driver's place in a split virtqueue.
pub struct Split<P> {
    ring: SplitRing<P>,
    options: Options,
    tables: Option<TableWriter<P>>,
    /// For each descriptor, the one after it in its chain or in the free list. Always below the queue size.
    links: Box<[u16]>,
    /// By the index of a chain's first descriptor.
    chains: Box<[Chain]>,
    /// First free descriptor, if `free` is not 0. Always below the queue size.
    first_free: u16,
    free: u16,
    in_flight: u16,
    /// Next entry of the available ring to write.
    next_available: u16,
    /// The available index as the device knows it.
    published: u16,
    /// Next entry of the used ring to take.
    next_used: u16,
    /// The used index as last read.
    used: u16,
    /// With `VIRTIO_F_IN_ORDER`: the first descriptor of the oldest chain, and what used entry is being worked off.
    oldest: u16,
    batch: Option<(u16, u32)>,
    broken: Option<RingError>,
}

/// A chain that the device has.
#[derive(Clone, Copy, Default)]
struct Chain {
    /// Bytes that the device can have written.
    writable: u32,
    /// Its last descriptor.
    last: u16,
    /// Number of its descriptors; 0 if the device does not have it.
    descriptors: u16,
}

impl<const BIG_ENDIAN: bool> Split<Host<BIG_ENDIAN>> {
    /// The driver end of `ring`, whose memory it makes fresh.
    pub fn new(ring: SplitRing<Host<BIG_ENDIAN>>, tables: Option<&Tables>, options: Options) -> Self {
        Self::with_parts(ring, tables.map(Tables::writer), options)
    }
}

impl<P: Part> Split<P> {
    /// As `new`, over any kind of parts.
    pub fn with_parts(ring: SplitRing<P>, tables: Option<TableWriter<P>>, options: Options) -> Self {
        let size = ring.size();
        let mut split = Self {
            ring,
            options,
            tables,
            links: vec![0; usize::from(size)].into(),
            chains: vec![Chain::default(); usize::from(size)].into(),
            first_free: 0,
            free: 0,
            in_flight: 0,
            next_available: 0,
            published: 0,
            next_used: 0,
            used: 0,
            oldest: 0,
            batch: None,
            broken: None,
        };
        split.reset();
        split
    }

    pub(super) fn reset(&mut self) {
        self.ring.clear();
        let size = self.ring.size();
        for (index, link) in self.links.iter_mut().enumerate() {
            *link = (index as u16 + 1) & (size - 1);
        }
        self.chains.fill(Chain::default());
        (self.first_free, self.free, self.in_flight) = (0, size, 0);
        (self.next_available, self.published, self.next_used, self.used) = (0, 0, 0, 0);
        (self.oldest, self.batch, self.broken) = (0, None, None);
    }

    pub(super) fn free(&self) -> u16 {
        self.free
    }

    pub(super) fn in_flight(&self) -> u16 {
        self.in_flight
    }

    pub(super) fn broken(&self) -> Option<&RingError> {
        self.broken.as_ref()
    }

    /// Puts a chain into the descriptor table and its head into the available ring; gives the head.
    #[inline(always)]
    pub fn add(&mut self, readable: &[DmaSegment], writable: &[DmaSegment]) -> Result<u16, AddRefusal> {
        let Extent {
            elements,
            writable: bytes,
        } = Extent::new(readable, writable, self.ring.size())?;
        let indirect = elements > 1
            && self
                .tables
                .as_ref()
                .is_some_and(|tables| elements <= tables.entries());
        let descriptors = if indirect { 1 } else { elements };
        if descriptors > self.free {
            return Err(self.refusal());
        }
        let head = self.first_free;
        let last = if indirect {
            self.write_table(head, readable, writable);
            head
        } else {
            self.write_chain(head, elements, readable, writable)
        };
        self.first_free = self.links[usize::from(last)];
        self.free -= descriptors;
        self.in_flight += 1;
        self.chains[usize::from(head)] = Chain {
            writable: bytes,
            last,
            descriptors,
        };
        self.ring.set_available_entry(self.next_available, head);
        self.next_available = self.next_available.wrapping_add(1);
        Ok(head)
    }

    #[cold]
    fn refusal(&self) -> AddRefusal {
        if self.broken.is_some() {
            AddRefusal::Broken
        } else {
            AddRefusal::Full
        }
    }

    /// Writes the elements into as many descriptors of the free list, and gives the last. There are enough.
    #[inline(always)]
    fn write_chain(&self, head: u16, elements: u16, readable: &[DmaSegment], writable: &[DmaSegment]) -> u16 {
        let mut left = elements;
        let mut index = head;
        let mut last = head;
        // With VIRTIO_F_IN_ORDER the free list is the table from `head` on, wrapping around
        // (drv:split:the-virtqueue-descriptor-table:02).
        let mut write = |segment: &DmaSegment, flags: u16| {
            left -= 1;
            let link = self.links[usize::from(index)];
            let next = if left == 0 { 0 } else { DescFlags::NEXT.0 };
            let descriptor = Descriptor {
                address: segment.address(),
                length: segment.len(),
                flags: flags | next,
                link,
            };
            // SAFETY: the free list holds nothing but indices below the queue size.
            unsafe { self.ring.set_descriptor(index, descriptor) };
            last = index;
            index = link;
        };
        readable.iter().for_each(|segment| write(segment, 0));
        writable
            .iter()
            .for_each(|segment| write(segment, DescFlags::WRITE.0));
        last
    }

    /// Writes the elements into the table of `head`, and `head` to refer to it.
    #[cold]
    fn write_table(&self, head: u16, readable: &[DmaSegment], writable: &[DmaSegment]) {
        let Some(tables) = &self.tables else { return };
        let elements = readable.len() + writable.len();
        let readable = readable.iter().map(|segment| (segment, 0));
        let writable = writable.iter().map(|segment| (segment, DescFlags::WRITE.0));
        for (index, (segment, flags)) in readable.chain(writable).enumerate() {
            // Entries refer to the next one in sequence (drv:split:indirect-descriptors:05).
            let link = index as u16 + 1;
            let next = if usize::from(link) == elements {
                0
            } else {
                DescFlags::NEXT.0
            };
            let entry = Descriptor {
                address: segment.address(),
                length: segment.len(),
                flags: flags | next,
                link,
            };
            // SAFETY: there is a table for each descriptor, and `add` has compared the elements with its entries.
            unsafe { tables.write(head, index as u16, entry.to_words::<P>()) };
        }
        let descriptor = Descriptor {
            address: tables.address(head),
            length: elements as u32 * 16,
            flags: DescFlags::INDIRECT.0,
            link: 0,
        };
        // SAFETY: the free list holds nothing but indices below the queue size.
        unsafe { self.ring.set_descriptor(head, descriptor) };
    }

    /// Moves the available index; true if the device wants a notification.
    #[inline(always)]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.next_available);
        if new == old {
            return false;
        }
        if self.options.order_platform {
            platform_fence();
        }
        // Release: descriptors and entries come before the index (drv:split:updating-idx:01).
        self.ring.set_available_index(new, Release);
        self.published = new;
        // The index must be visible before the device's wishes are read (drv:split:notifying-the-device:01).
        if self.options.order_platform {
            platform_fence();
        } else {
            self.ring.fence();
        }
        if self.options.event_idx {
            // drv:split:available-buffer-notification-suppression:05 to :07
            need_event(self.ring.available_event(), new, old)
        } else {
            // drv:split:available-buffer-notification-suppression:02 to :04
            self.ring.used_flags() & UsedFlags::NO_NOTIFY.0 == 0
        }
    }

    /// Takes the next used chain: its head, and the bytes written.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        if self.next_used == self.used && !self.refill()? {
            return Ok(None);
        }
        if self.options.in_order {
            return self.pop_in_order();
        }
        let (id, written) = self.used_entry()?;
        let chain = core::mem::take(&mut self.chains[usize::from(id)]);
        // The chain goes in front of the free list.
        self.links[usize::from(chain.last)] = self.first_free;
        self.first_free = id;
        self.release(chain);
        Ok(Some((id, written)))
    }

    /// Reads the used index; false if there is nothing new.
    #[inline(never)]
    fn refill(&mut self) -> Result<bool, RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        // Acquire: entries and buffers are read after the index that covers them.
        let found = self.ring.used_index(Acquire);
        if self.options.order_platform {
            platform_fence();
        }
        // What was not published the device cannot have used.
        let in_flight = self.in_flight - self.next_available.wrapping_sub(self.published);
        if found.wrapping_sub(self.next_used) > in_flight {
            return Err(self.fail(Violation::UsedIndex {
                found,
                taken: self.next_used,
                in_flight,
            }));
        }
        self.used = found;
        Ok(found != self.next_used)
    }

    /// Reads and checks the next used entry: its id is that of a chain in flight.
    #[inline(always)]
    fn used_entry(&mut self) -> Result<(u16, u32), RingError> {
        let (id, written) = self.ring.used_entry(self.next_used);
        let chain = self.chains.get(id as usize).copied().unwrap_or_default();
        if chain.descriptors == 0 {
            return Err(self.fail(Violation::UsedId { id }));
        }
        let id = id as u16;
        if written > chain.writable {
            if !self.options.legacy {
                let writable = chain.writable.into();
                return Err(self.fail(Violation::UsedLength {
                    id,
                    written,
                    writable,
                }));
            }
            return Ok((id, chain.writable));
        }
        Ok((id, written))
    }

    #[inline(always)]
    fn release(&mut self, chain: Chain) {
        self.free += chain.descriptors;
        self.in_flight -= 1;
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// A used entry stands for all chains up to the one it names; all but that were used completely (section 2.7.9).
    #[cold]
    fn pop_in_order(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        let (last, written) = match self.batch {
            Some(batch) => batch,
            None => self.used_entry()?,
        };
        let id = self.oldest;
        let chain = core::mem::take(&mut self.chains[usize::from(id)]);
        // Descriptors are freed in the order of the table, so the free list stays as it is.
        self.oldest = self.links[usize::from(chain.last)];
        self.release(chain);
        if id == last {
            self.batch = None;
            return Ok(Some((id, written)));
        }
        if self.next_used == self.used {
            // The entry names a chain that the index does not cover.
            return Err(self.fail(Violation::UsedId { id: last.into() }));
        }
        self.batch = Some((last, written));
        Ok(Some((id, chain.writable)))
    }

    #[cold]
    fn fail(&mut self, kind: Violation) -> RingError {
        // So that the next pop looks for a broken queue first, and nothing more is added.
        self.used = self.next_used;
        self.free = 0;
        *self.broken.get_or_insert(RingError {
            kind,
            format: Format::Split,
        })
    }

    /// Tells the device that it need not notify.
    pub fn disable_notifications(&mut self) {
        if self.options.event_idx {
            // An entry that is already there; flags stay 0 (drv:split:used-buffer-notification-suppression:03).
            self.ring.set_used_event(self.next_used.wrapping_sub(1));
        } else {
            self.ring.set_available_flags(AvailFlags::NO_INTERRUPT.0);
        }
    }

    /// Asks the device for a notification of the next used buffer; true if it is there already.
    pub fn enable_notifications(&mut self) -> bool {
        if self.options.event_idx {
            self.ring.set_used_event(self.next_used);
        } else {
            self.ring.set_available_flags(0);
        }
        // The wish must be visible before the index is read, or both ends could wait for each other.
        if self.options.order_platform {
            platform_fence();
        } else {
            self.ring.fence();
        }
        self.broken.is_none() && self.ring.used_index(Acquire) != self.next_used
    }

    pub(super) fn notification_data(&self, queue_index: u16) -> NotificationData {
        NotificationData::split(queue_index, self.next_available)
    }
}
