//! The driver end of a split virtqueue.
//!
//! `unsafe` is needed here where descriptors of the free list are known to be below the queue size.

mod add;

use core::sync::atomic::Ordering::{Acquire, Release};

use ringwright_spec::notification::NotificationData;
use ringwright_spec::split::{AvailFlags, DescFlags, UsedFlags, need_event};

use super::Used;
use super::buffers::{Buffers, Record};
use super::slots::Options;
use super::table::{TableWriter, Tables};
use crate::split::SplitRing;
use crate::words::{Host, Part, platform_fence};
use crate::{Format, RingError, Violation};

/// The driver's place in a split virtqueue.
pub struct Split<P, T> {
    ring: SplitRing<P>,
    options: Options,
    tables: Option<TableWriter<P>>,
    /// By the index of a chain's first descriptor. A record's link is that of its descriptor, in its chain or in the free
    /// list, to the next one, whose index is always below the queue size.
    buffers: Buffers<T>,
    /// The link to the first free descriptor, if there is one; its index is always below the queue size.
    first_free: Link,
    /// Free descriptors that [`add`](Self::add) may take the short way; others are `reserved`.
    room: isize,
    /// Free descriptors that are not in `room`: with tables so many that nothing goes the short way.
    reserved: isize,
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

/// Flags and `next` of a descriptor that has a next one, as they stand in a little-endian descriptor.
#[derive(Clone, Copy)]
struct Link(u32);

impl Link {
    /// To the descriptor at `index`.
    #[inline(always)]
    fn to(index: u16) -> Self {
        Self(u32::from(index) << 16 | u32::from(DescFlags::NEXT.0))
    }

    /// Index of the descriptor linked to.
    #[inline(always)]
    fn index(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

impl<const BIG_ENDIAN: bool, T> Split<Host<BIG_ENDIAN>, T> {
    /// The driver end of `ring`, whose memory it makes fresh.
    pub fn new(ring: SplitRing<Host<BIG_ENDIAN>>, tables: Option<&Tables>, options: Options) -> Self {
        Self::with_parts(ring, tables.map(Tables::writer), options)
    }
}

impl<P: Part, T> Split<P, T> {
    /// As `new`, over any kind of parts.
    pub fn with_parts(ring: SplitRing<P>, tables: Option<TableWriter<P>>, options: Options) -> Self {
        let size = ring.size();
        let mut split = Self {
            ring,
            options,
            buffers: Buffers::new(size),
            first_free: Link::to(0),
            room: 0,
            reserved: 0,
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

    /// Makes the ring fresh. There are no buffers in flight.
    pub(super) fn reset(&mut self) {
        self.ring.clear();
        let size = self.ring.size();
        self.buffers
            .link_all(|index| Link::to((index + 1) & (size - 1)).0);
        self.first_free = Link::to(0);
        self.reserved = if self.longest_table != 0 { size as isize } else { 0 };
        self.room = size as isize - self.reserved;
        (self.next_available, self.published, self.next_used, self.used) = (0, 0, 0, 0);
        (self.oldest, self.batch, self.broken) = (0, None, None);
    }

    /// What still travels with buffers.
    pub(super) fn buffers(&mut self) -> &mut Buffers<T> {
        &mut self.buffers
    }

    pub(super) fn free(&self) -> u16 {
        (self.room + self.reserved) as u16
    }

    pub(super) fn in_flight(&self) -> u16 {
        self.next_available.wrapping_sub(self.next_used)
    }

    pub(super) fn broken(&self) -> Option<&RingError> {
        self.broken.as_ref()
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

    /// Takes the next used chain.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<Option<Used<T>>, RingError> {
        if self.options.in_order || self.next_used == self.used && !self.refill() {
            return self.pop_long();
        }
        let (id, written) = self.ring.used_entry(self.next_used);
        let Some(&record) = self.buffers.get(id) else {
            return self.pop_long();
        };
        if u64::from(written) >= record.limit() {
            return self.pop_long();
        }
        // SAFETY: there is such a record, and its limit is not 0.
        let data = unsafe { self.release(id as usize, record) };
        Ok(Some(Used { data, written }))
    }

    /// Takes back a chain's data, and its descriptors, which go in front of the free list.
    ///
    /// # Safety
    ///
    /// `record` is that of `id`, which is below the queue size, and its limit is not 0.
    #[inline(always)]
    unsafe fn release(&mut self, id: usize, record: Record) -> T {
        // SAFETY: a chain's last descriptor is below the queue size; the rest is promised.
        unsafe {
            self.buffers.record(record.last.into()).link = self.first_free.0;
            self.first_free = Link::to(id as u16);
            self.release_oldest(id, record)
        }
    }

    /// Takes back a chain's data, and its descriptors, which the free list comes to by itself as with
    /// `VIRTIO_F_IN_ORDER` they are freed in the order of the table.
    ///
    /// # Safety
    ///
    /// As for [`release`](Self::release).
    #[inline(always)]
    unsafe fn release_oldest(&mut self, id: usize, record: Record) -> T {
        self.room += record.descriptors as isize;
        self.next_used = self.next_used.wrapping_add(1);
        // SAFETY: promised by the caller.
        unsafe { self.buffers.take(id) }
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
    pub fn pop_long(&mut self) -> Result<Option<Used<T>>, RingError> {
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
        let record = self.buffers.get(id.into()).copied().unwrap_or_default();
        if record.limit() == 0 {
            return Err(self.fail(Violation::UsedId { id: id.into() }));
        }
        // SAFETY: there is such a record, with a limit; and a chain's last descriptor is below the queue size.
        let data = unsafe {
            if self.options.in_order {
                self.oldest = Link(self.buffers.record(record.last.into()).link).index();
                self.release_oldest(id.into(), record)
            } else {
                self.release(id.into(), record)
            }
        };
        self.batch = (id != last).then_some((last, written));
        let written = if id == last { written } else { record.writable() };
        Ok(Some(Used { data, written }))
    }

    /// Reads and checks the next used entry: its id is that of a chain in flight.
    fn used_entry(&mut self) -> Result<(u16, u32), RingError> {
        let (id, written) = self.ring.used_entry(self.next_used);
        let record = self.buffers.get(id).copied().unwrap_or_default();
        if record.limit() == 0 {
            return Err(self.fail(Violation::UsedId { id }));
        }
        let id = id as u16;
        if u64::from(written) < record.limit() {
            return Ok((id, written));
        }
        if self.options.legacy {
            return Ok((id, record.writable()));
        }
        Err(self.fail(Violation::UsedLength {
            id,
            written,
            writable: record.limit() - 1,
        }))
    }

    #[cold]
    fn fail(&mut self, kind: Violation) -> RingError {
        // So that the next pop looks for a broken queue first, and nothing more is added.
        self.used = self.next_used;
        (self.room, self.reserved) = (0, 0);
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
