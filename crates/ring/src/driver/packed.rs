//! The driver end of a packed virtqueue.
//!
//! `unsafe` is needed here because positions in the ring are known to lie within it.

mod add;

use core::sync::atomic::Ordering::{Acquire, Release};

use ringwright_spec::notification::NotificationData;

use super::Used;
use super::buffers::{Buffers, Record};
use super::slots::Options;
use super::table::{TableWriter, Tables};
use crate::packed::{EventWord, PackedRing, Position, WRITE};
use crate::words::{Little, Part, platform_fence};
use crate::{Format, RingError, Violation};

/// The driver's place in a packed virtqueue. All positions are below the ring's size.
pub struct Packed<P, T> {
    ring: PackedRing<P>,
    options: Options,
    tables: Option<TableWriter<P>>,
    /// By buffer id. A record's link is the next free id, or with `VIRTIO_F_IN_ORDER` just the next id; always below the
    /// queue size.
    buffers: Buffers<T>,
    /// First free buffer id, if there is any free descriptor; always below the queue size.
    first_free: u16,
    /// Free descriptors that [`add`](Self::add) may take the short way; others are `reserved`.
    room: isize,
    /// Free descriptors that are not in `room`: with tables so many that nothing goes the short way.
    reserved: isize,
    /// Longest list that goes into a table, 0 without tables.
    longest_table: usize,
    /// Ids below this are of buffers that can be taken back the short way; at most the queue size.
    short: u16,
    in_flight: u16,
    /// Next descriptor to make available.
    next_available: Position,
    /// The first descriptor made available since the last publish, whose second word is yet to be written: until then
    /// the device sees none of those behind it.
    first: Option<(u16, u64)>,
    /// Next descriptor that the device marks used.
    next_used: Position,
    /// With `VIRTIO_F_IN_ORDER`: the oldest buffer's id, and what used descriptor is being worked off.
    oldest: u16,
    batch: Option<(u16, u32)>,
    broken: Option<RingError>,
}

impl<T> Packed<Little, T> {
    /// The driver end of `ring`, whose memory it makes fresh.
    pub fn new(ring: PackedRing<Little>, tables: Option<&Tables>, options: Options) -> Self {
        Self::with_parts(ring, tables.map(Tables::writer), options)
    }
}

impl<P: Part, T> Packed<P, T> {
    /// As `new`, over any kind of parts.
    pub fn with_parts(ring: PackedRing<P>, tables: Option<TableWriter<P>>, options: Options) -> Self {
        let size = ring.size();
        let mut packed = Self {
            ring,
            options,
            buffers: Buffers::new(size),
            first_free: 0,
            room: 0,
            reserved: 0,
            in_flight: 0,
            longest_table: tables.as_ref().map_or(0, |tables| tables.entries().into()),
            short: 0,
            next_available: Position::available(0, true),
            first: None,
            next_used: Position::used(0, true),
            oldest: 0,
            batch: None,
            broken: None,
            tables,
        };
        packed.reset();
        packed
    }

    /// Makes the ring fresh. There are no buffers in flight.
    pub(super) fn reset(&mut self) {
        self.ring.clear();
        let size = self.ring.size();
        self.buffers
            .link_all(|id| if id + 1 == size { 0 } else { u32::from(id) + 1 });
        self.reserved = if self.longest_table != 0 { size as isize } else { 0 };
        self.room = size as isize - self.reserved;
        let long = self.options.in_order || self.options.order_platform;
        self.short = if long { 0 } else { size };
        (self.first_free, self.in_flight) = (0, 0);
        (self.next_available, self.first) = (Position::available(0, true), None);
        (self.next_used, self.oldest, self.batch, self.broken) = (Position::used(0, true), 0, None, None);
    }

    /// What still travels with buffers.
    pub(super) fn buffers(&mut self) -> &mut Buffers<T> {
        &mut self.buffers
    }

    pub(super) fn free(&self) -> u16 {
        (self.room + self.reserved) as u16
    }

    pub(super) fn in_flight(&self) -> u16 {
        self.in_flight
    }

    pub(super) fn broken(&self) -> Option<&RingError> {
        self.broken.as_ref()
    }

    /// Makes what was added available; true if the device wants a notification.
    #[inline(always)]
    pub fn publish(&mut self) -> bool {
        let Some((index, tail)) = self.first.take() else {
            return false;
        };
        if self.options.order_platform {
            platform_fence();
        }
        // SAFETY: positions are below the size. Release: all other words of all descriptors come before
        // (drv:packed:updating-flags:01).
        unsafe { self.ring.set_tail(index, tail, Release) };
        // Both positions are the same if the whole ring was added.
        let size = self.ring.size();
        let added = match self.next_available.index.wrapping_sub(index) {
            0 => size,
            added if added > size => added.wrapping_add(size),
            added => added,
        };
        // The flags must be visible before the device's wishes are read
        // (drv:packed:sending-available-buffer-notifications:01).
        if self.options.order_platform {
            platform_fence();
        } else {
            self.ring.fence();
        }
        self.ring.device_event().wanted(
            self.next_available,
            added,
            self.ring.size(),
            self.options.event_idx,
        )
    }

    /// Takes the next used buffer.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<Option<Used<T>>, RingError> {
        // SAFETY: positions are below the size. Acquire: buffers are read after the flags that mark them used.
        let tail = unsafe { self.ring.tail(self.next_used.index, Acquire) };
        let (id, written) = used(tail);
        if !self.next_used.matches(tail) || id >= self.short {
            return self.pop_long();
        }
        // SAFETY: `short` is at most the queue size.
        let record = *unsafe { self.buffers.record(id.into()) };
        if u64::from(written) >= record.limit() {
            return self.pop_long();
        }
        // SAFETY: likewise; the limit is not 0.
        let data = unsafe { self.release(id, record) };
        Ok(Some(Used { data, written }))
    }

    /// Takes back a buffer's data, descriptors and id, which goes in front of the list of free ones.
    ///
    /// # Safety
    ///
    /// `record` is that of `id`, which is below the queue size, and its limit is not 0.
    #[inline(always)]
    unsafe fn release(&mut self, id: u16, record: Record) -> T {
        // SAFETY: promised by the caller.
        unsafe {
            self.buffers.record(id.into()).link = self.first_free.into();
            self.first_free = id;
            self.release_oldest(id, record)
        }
    }

    /// Takes back a buffer's data, descriptors and id, which the list of free ones comes to by itself as with
    /// `VIRTIO_F_IN_ORDER` ids are given out in sequence.
    ///
    /// # Safety
    ///
    /// As for [`release`](Self::release).
    #[inline(always)]
    unsafe fn release_oldest(&mut self, id: u16, record: Record) -> T {
        self.next_used.advance(record.descriptors, self.ring.size());
        self.room += record.descriptors as isize;
        self.in_flight -= 1;
        // SAFETY: promised by the caller.
        unsafe { self.buffers.take(id.into()) }
    }

    /// What [`pop`](Self::pop) does with an empty or broken ring, with descriptors that are not right, and with
    /// `VIRTIO_F_IN_ORDER` or `VIRTIO_F_ORDER_PLATFORM`.
    #[inline(never)]
    pub fn pop_long(&mut self) -> Result<Option<Used<T>>, RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let (last, written) = match self.batch.take() {
            Some(batch) => batch,
            None => match self.used_descriptor()? {
                Some(used) => used,
                None => return Ok(None),
            },
        };
        // A used descriptor stands for all buffers up to the one it names; all but that were used completely
        // (section 2.8.8).
        let id = if self.options.in_order { self.oldest } else { last };
        let record = self.buffers.get(id.into()).copied().unwrap_or_default();
        if record.limit() == 0 {
            return Err(self.fail(Violation::UsedId { id: id.into() }));
        }
        // SAFETY: there is such a record, with a limit.
        let data = unsafe {
            if self.options.in_order {
                self.oldest = record.link as u16;
                self.release_oldest(id, record)
            } else {
                self.release(id, record)
            }
        };
        self.batch = (id != last).then_some((last, written));
        let written = if id == last { written } else { record.writable() };
        Ok(Some(Used { data, written }))
    }

    /// Reads and checks the next used descriptor, if there is one: its id is that of a buffer in flight.
    fn used_descriptor(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        // SAFETY: positions are below the size. Acquire: as in `pop`.
        let tail = unsafe { self.ring.tail(self.next_used.index, Acquire) };
        if !self.next_used.matches(tail) {
            return Ok(None);
        }
        if self.options.order_platform {
            platform_fence();
        }
        let (id, written) = used(tail);
        let limit = self.buffers.get(id.into()).map_or(0, Record::limit);
        if limit == 0 {
            return Err(self.fail(Violation::UsedId { id: id.into() }));
        }
        if u64::from(written) >= limit {
            // Whoever does not say that anything was written may have anything as the length.
            if tail & WRITE == 0 {
                return Ok(Some((id, 0)));
            }
            return Err(self.fail(Violation::UsedLength {
                id,
                written,
                writable: limit - 1,
            }));
        }
        Ok(Some((id, written)))
    }

    #[cold]
    fn fail(&mut self, kind: Violation) -> RingError {
        // So that every pop looks for a broken queue, and nothing more is added.
        self.short = 0;
        (self.room, self.reserved) = (0, 0);
        *self.broken.get_or_insert(RingError {
            kind,
            format: Format::Packed,
        })
    }

    /// Tells the device that it need not notify.
    pub fn disable_notifications(&mut self) {
        self.ring.set_driver_event(EventWord::DISABLE);
    }

    /// Asks the device for a notification of the next used buffer; true if it is there already.
    pub fn enable_notifications(&mut self) -> bool {
        let event = if self.options.event_idx {
            EventWord::at(self.next_used)
        } else {
            EventWord::ENABLE
        };
        self.ring.set_driver_event(event);
        // The wish must be visible before the flags are read, or both ends could wait for each other.
        if self.options.order_platform {
            platform_fence();
        } else {
            self.ring.fence();
        }
        // SAFETY: positions are below the size.
        let tail = unsafe { self.ring.tail(self.next_used.index, Acquire) };
        let used = self.batch.is_some() || self.next_used.matches(tail);
        self.broken.is_none() && used
    }

    pub(super) fn notification_data(&self, queue_index: u16) -> NotificationData {
        NotificationData::packed(queue_index, self.next_available.index, self.next_available.wrap())
    }
}

/// Id and bytes written in a used descriptor's second word.
///
/// Flag WRITE should say whether anything was written, and without it the length should mean nothing (section 2.8.4). But
/// QEMU's devices never set it, and give the length all the same.
#[inline(always)]
fn used(tail: u64) -> (u16, u32) {
    ((tail >> 32) as u16, tail as u32)
}
