//! The driver end of a packed virtqueue.
//!
//! `unsafe` is needed here because positions in the ring are known to lie within it.

mod add;
mod take;

use core::sync::atomic::Ordering::{Acquire, Release};

use ringwright_spec::notification::NotificationData;

use super::buffers::Buffers;
use super::slots::Options;
use super::table::{TableWriter, Tables};
use crate::packed::{EventWord, PackedRing, Position};
use crate::shape::Shape;
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
    first_free: usize,
    /// Number of free descriptors.
    free: u32,
    /// Of the buffer that was last added apart.
    shape: Shape,
    /// Longest list that goes into a table, 0 without tables.
    longest_table: usize,
    /// Ids below this are of buffers that can be taken back the short way; at most the queue size.
    short: u16,
    /// Number of descriptors that the next used buffer has, probably.
    stride: u16,
    /// Next descriptor to make available.
    next_available: Position,
    /// The first descriptor made available since the last publish, whose second word is yet to be written: until then
    /// the device sees none of those behind it.
    first: Option<(u16, u64)>,
    /// Descriptors written since then.
    added: u16,
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
            free: 0,
            shape: Shape::Pair,
            stride: 1,
            longest_table: tables.as_ref().map_or(0, |tables| tables.entries().into()),
            short: 0,
            next_available: Position::available(0, true),
            first: None,
            added: 0,
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
            .link_all(|id| if id + 1 == size { 0 } else { id + 1 });
        let long = self.options.in_order || self.options.order_platform;
        self.short = if long { 0 } else { size };
        self.free = size.into();
        self.first_free = 0;
        self.next_available = Position::available(0, true);
        (self.first, self.added) = (None, 0);
        (self.next_used, self.oldest, self.batch, self.broken) = (Position::used(0, true), 0, None, None);
    }

    /// What still travels with buffers.
    pub(super) fn buffers(&mut self) -> &mut Buffers<T> {
        &mut self.buffers
    }

    pub(super) fn free(&self) -> u16 {
        self.free as u16
    }

    pub(super) fn in_flight(&self) -> u16 {
        self.buffers.out()
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
        let added = core::mem::take(&mut self.added);
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

    #[cold]
    fn fail(&mut self, kind: Violation) -> RingError {
        // So that every pop looks for a broken queue, and nothing more is added.
        (self.short, self.free) = (0, 0);
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
