//! The driver end of a split virtqueue.
//!
//! `unsafe` is needed here where descriptors of the free list are known to be below the queue size.

mod add;
mod take;

use core::sync::atomic::Ordering::{Acquire, Release};

use ringwright_spec::notification::NotificationData;
use ringwright_spec::split::{AvailFlags, UsedFlags, need_event};

use super::buffers::Buffers;
use super::slots::Options;
use super::table::{TableWriter, Tables};
use crate::shape::Shape;
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
    /// First free descriptor, if there is one; always below the queue size.
    first_free: usize,
    /// Number of free descriptors.
    free: u32,
    /// Of the chain that was last added apart.
    shape: Shape,
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
            first_free: 0,
            free: 0,
            shape: Shape::Pair,
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
        self.buffers.link_all(|index| (index + 1) & (size - 1));
        self.first_free = 0;
        self.free = size.into();
        (self.next_available, self.published, self.next_used, self.used) = (0, 0, 0, 0);
        (self.oldest, self.batch, self.broken) = (0, None, None);
    }

    /// What still travels with buffers.
    pub(super) fn buffers(&mut self) -> &mut Buffers<T> {
        &mut self.buffers
    }

    pub(super) fn free(&self) -> u16 {
        self.free as u16
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
