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
use super::slots::{Extent, Options, refusal};
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
    /// Longest chain that goes into a table, 0 without tables.
    longest_table: usize,
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
    /// One more than the bytes that the device can have written; 0 if the device does not have it.
    limit: u64,
    /// Its last descriptor.
    last: u16,
    /// Number of its descriptors.
    descriptors: u16,
}

impl Chain {
    /// Bytes of the device-writable part, as many as a used length can say.
    fn writable(&self) -> u32 {
        u32::try_from(self.limit.saturating_sub(1)).unwrap_or(u32::MAX)
    }
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
            links: vec![0; usize::from(size)].into(),
            chains: vec![Chain::default(); usize::from(size)].into(),
            first_free: 0,
            free: 0,
            longest_table: tables.as_ref().map_or(0, |tables| tables.entries().into()),
            next_available: 0,
            published: 0,
            next_used: 0,
            used: 0,
            oldest: 0,
            batch: None,
            broken: None,
            tables,
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
        (self.first_free, self.free) = (0, size);
        (self.next_available, self.published, self.next_used, self.used) = (0, 0, 0, 0);
        (self.oldest, self.batch, self.broken) = (0, None, None);
    }

    pub(super) fn free(&self) -> u16 {
        self.free
    }

    pub(super) fn in_flight(&self) -> u16 {
        self.next_available.wrapping_sub(self.next_used)
    }

    pub(super) fn broken(&self) -> Option<&RingError> {
        self.broken.as_ref()
    }

    /// Puts a chain into the descriptor table and its head into the available ring; gives the head.
    #[inline(always)]
    pub fn add(&mut self, readable: &[DmaSegment], writable: &[DmaSegment]) -> Result<u16, AddRefusal> {
        let elements = readable.len() + writable.len();
        // No elements at all wrap to more than can be free.
        let tabled = elements <= self.longest_table && elements > 1;
        if tabled || elements.wrapping_sub(1) >= usize::from(self.free) {
            return self.add_long(readable, writable);
        }
        let head = self.first_free;
        let (mut index, mut last) = (head, head);
        // With VIRTIO_F_IN_ORDER the free list is the table from `head` on, wrapping around
        // (drv:split:the-virtqueue-descriptor-table:02).
        let extent = Extent::for_each(readable, writable, |segment, flags| {
            last = index;
            // SAFETY: the free list holds nothing but indices below the queue size, which is the number of links.
            index = unsafe { *self.links.get_unchecked(usize::from(last)) };
            let descriptor = Descriptor {
                address: segment.address(),
                length: segment.len(),
                flags,
                link: index,
            };
            // SAFETY: likewise.
            unsafe { self.ring.set_descriptor(last, descriptor) };
        });
        if !extent.is_legal() {
            return Err(AddRefusal::TooLarge);
        }
        self.first_free = index;
        self.offer(
            head,
            Chain {
                limit: extent.limit(),
                last,
                descriptors: elements as u16,
            },
        );
        Ok(head)
    }

    /// Puts a written chain into the available ring. Its head is below the queue size.
    #[inline(always)]
    fn offer(&mut self, head: u16, chain: Chain) {
        debug_assert!(head < self.ring.size());
        self.free -= chain.descriptors;
        // SAFETY: there is a record for each descriptor.
        unsafe { *self.chains.get_unchecked_mut(usize::from(head)) = chain };
        self.ring.set_available_entry(self.next_available, head);
        self.next_available = self.next_available.wrapping_add(1);
    }

    /// What [`add`](Self::add) does with buffers that go into a table or nowhere.
    #[inline(never)]
    fn add_long(&mut self, readable: &[DmaSegment], writable: &[DmaSegment]) -> Result<u16, AddRefusal> {
        let elements = readable.len() + writable.len();
        let tables = match &self.tables {
            Some(tables) if elements > 1 && elements <= self.longest_table && self.free != 0 => tables,
            _ => return Err(refusal(elements, self.ring.size(), self.broken.is_some())),
        };
        let head = self.first_free;
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
            // SAFETY: there is a table for each descriptor, long enough for the elements as just compared.
            unsafe { tables.write(head, entry, words) };
            entry += 1;
        });
        if !extent.is_legal() {
            return Err(AddRefusal::TooLarge);
        }
        let (address, length) = (tables.address(head), u32::from(entry) * 16);
        let descriptor = Descriptor {
            address,
            length,
            flags: DescFlags::INDIRECT.0,
            link: 0,
        };
        // SAFETY: the free list holds nothing but indices below the queue size.
        unsafe { self.ring.set_descriptor(head, descriptor) };
        self.first_free = self.links[usize::from(head)];
        self.offer(
            head,
            Chain {
                limit: extent.limit(),
                last: head,
                descriptors: 1,
            },
        );
        Ok(head)
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
        if self.options.in_order || self.next_used == self.used && !self.refill() {
            return self.pop_long();
        }
        let (id, written) = self.ring.used_entry(self.next_used);
        let Some(chain) = self.chains.get_mut(id as usize) else {
            return self.pop_long();
        };
        if u64::from(written) >= chain.limit {
            return self.pop_long();
        }
        chain.limit = 0;
        let Chain {
            last, descriptors, ..
        } = *chain;
        // The chain goes in front of the free list.
        // SAFETY: a chain's last descriptor is below the queue size, which is the number of links.
        unsafe { *self.links.get_unchecked_mut(usize::from(last)) = self.first_free };
        self.first_free = id as u16;
        self.free += descriptors;
        self.next_used = self.next_used.wrapping_add(1);
        Ok(Some((id as u16, written)))
    }

    /// Reads the used index; false if the ring is broken, there is nothing new, or it cannot be right.
    #[inline(never)]
    fn refill(&mut self) -> bool {
        let found = self.used_index();
        let news = found.wrapping_sub(self.next_used);
        if self.broken.is_some() || news == 0 || news > self.with_device() {
            return false;
        }
        self.used = found;
        true
    }

    fn used_index(&self) -> u16 {
        // Acquire: entries and buffers are read after the index that covers them.
        let found = self.ring.used_index(Acquire);
        if self.options.order_platform {
            platform_fence();
        }
        found
    }

    /// Number of chains that the device can use: what was not published it cannot know.
    fn with_device(&self) -> u16 {
        self.published.wrapping_sub(self.next_used)
    }

    /// What [`pop`](Self::pop) does with an empty or broken ring, with entries that are not right, and with
    /// `VIRTIO_F_IN_ORDER`.
    #[inline(never)]
    fn pop_long(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        if self.next_used == self.used {
            let (found, taken, in_flight) = (self.used_index(), self.next_used, self.with_device());
            if found.wrapping_sub(taken) > in_flight {
                return Err(self.fail(Violation::UsedIndex {
                    found,
                    taken,
                    in_flight,
                }));
            }
            self.used = found;
            if found == taken {
                return Ok(None);
            }
        }
        let (last, written) = match self.batch {
            Some(batch) => batch,
            None => self.used_entry()?,
        };
        // A used entry stands for all chains up to the one it names; all but that were used completely (section 2.7.9).
        let id = if self.options.in_order { self.oldest } else { last };
        if id != last && self.next_used.wrapping_add(1) == self.used {
            // The entry names a chain that the index does not cover.
            return Err(self.fail(Violation::UsedId { id: last.into() }));
        }
        let chain = core::mem::take(&mut self.chains[usize::from(id)]);
        if self.options.in_order {
            // Descriptors are freed in the order of the table, so the free list stays as it is.
            self.oldest = self.links[usize::from(chain.last)];
        } else {
            self.links[usize::from(chain.last)] = self.first_free;
            self.first_free = id;
        }
        self.free += chain.descriptors;
        self.next_used = self.next_used.wrapping_add(1);
        if id == last {
            self.batch = None;
            return Ok(Some((id, written)));
        }
        self.batch = Some((last, written));
        Ok(Some((id, chain.writable())))
    }

    /// Reads and checks the next used entry: its id is that of a chain in flight.
    fn used_entry(&mut self) -> Result<(u16, u32), RingError> {
        let (id, written) = self.ring.used_entry(self.next_used);
        let chain = self.chains.get(id as usize).copied().unwrap_or_default();
        if chain.limit == 0 {
            return Err(self.fail(Violation::UsedId { id }));
        }
        let id = id as u16;
        if u64::from(written) < chain.limit {
            return Ok((id, written));
        }
        if self.options.legacy {
            return Ok((id, chain.writable()));
        }
        Err(self.fail(Violation::UsedLength {
            id,
            written,
            writable: chain.limit - 1,
        }))
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
