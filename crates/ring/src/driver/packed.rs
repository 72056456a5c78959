//! The driver end of a packed virtqueue.
//!
//! `unsafe` is needed here because positions in the ring are known to lie within it.

use alloc::boxed::Box;
use alloc::vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use ringwright_memory::DmaSegment;
use ringwright_spec::notification::NotificationData;
use ringwright_spec::packed::DescFlags;

use super::AddRefusal;
use super::slots::{Extent, Options, refusal};
use super::table::{TableWriter, Tables};
use crate::packed::{EventWord, PackedRing, Position, WRITE};
use crate::words::{Little, Part, platform_fence};
use crate::{Format, RingError, Violation};

/// The driver's place in a packed virtqueue. All positions are below the ring's size.
pub struct Packed<P> {
    ring: PackedRing<P>,
    options: Options,
    tables: Option<TableWriter<P>>,
    /// By buffer id.
    buffers: Box<[Buffer]>,
    /// First free buffer id, if there is any free descriptor.
    first_free: u16,
    /// Free descriptors.
    free: u16,
    in_flight: u16,
    /// Longest list that goes into a table, 0 without tables.
    longest_table: usize,
    /// Whether every used descriptor is taken the long way.
    long: bool,
    /// Next descriptor to make available.
    next_available: Position,
    /// The first descriptor made available since the last publish, whose second word is yet to be written: until then
    /// the device sees none of those behind it.
    first: Option<(u16, u64)>,
    /// Descriptors written since the last publish.
    added: u16,
    /// Next descriptor that the device marks used.
    next_used: Position,
    /// With `VIRTIO_F_IN_ORDER`: the oldest buffer's id, and what used descriptor is being worked off.
    oldest: u16,
    batch: Option<(u16, u32)>,
    broken: Option<RingError>,
}

/// What is known of a buffer id.
#[derive(Clone, Copy, Default)]
struct Buffer {
    /// One more than the bytes that the device can have written; 0 if the device does not have it.
    limit: u64,
    /// Number of descriptors.
    descriptors: u16,
    /// The next free id, or with `VIRTIO_F_IN_ORDER` just the next id.
    next: u16,
}

impl Packed<Little> {
    /// The driver end of `ring`, whose memory it makes fresh.
    pub fn new(ring: PackedRing<Little>, tables: Option<&Tables>, options: Options) -> Self {
        Self::with_parts(ring, tables.map(Tables::writer), options)
    }
}

impl<P: Part> Packed<P> {
    /// As `new`, over any kind of parts.
    pub fn with_parts(ring: PackedRing<P>, tables: Option<TableWriter<P>>, options: Options) -> Self {
        let size = ring.size();
        let mut packed = Self {
            ring,
            options,
            buffers: vec![Buffer::default(); usize::from(size)].into(),
            first_free: 0,
            free: 0,
            in_flight: 0,
            longest_table: tables.as_ref().map_or(0, |tables| tables.entries().into()),
            long: options.in_order || options.order_platform,
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

    pub(super) fn reset(&mut self) {
        self.ring.clear();
        let size = self.ring.size();
        for (id, buffer) in self.buffers.iter_mut().enumerate() {
            let next = id as u16 + 1;
            *buffer = Buffer {
                next: if next == size { 0 } else { next },
                ..Buffer::default()
            };
        }
        (self.first_free, self.free, self.in_flight) = (0, size, 0);
        (self.next_available, self.first, self.added) = (Position::available(0, true), None, 0);
        (self.next_used, self.oldest, self.batch, self.broken) = (Position::used(0, true), 0, None, None);
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

    /// Writes a buffer into the ring, all but the word that makes the first of a batch available; gives its id.
    #[inline(always)]
    pub fn add(&mut self, readable: &[DmaSegment], writable: &[DmaSegment]) -> Result<u16, AddRefusal> {
        let elements = readable.len() + writable.len();
        let tabled = elements <= self.longest_table && elements > 1;
        // The whole list needs room before its first descriptor is written (drv:packed:scatter-gather-support:05). No
        // elements at all wrap to more than can be free.
        if tabled || elements.wrapping_sub(1) >= usize::from(self.free) {
            return self.add_long(readable, writable);
        }
        let id = self.first_free;
        let start = self.next_available;
        let mut position = start;
        let mut first = 0;
        let extent = Extent::for_each(readable, writable, |segment, flags| {
            let tail = word(segment.len(), id, flags) | position.bits;
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
        if !extent.is_legal() {
            return Err(AddRefusal::TooLarge);
        }
        self.next_available = position;
        self.offer(id, start.index, first, elements as u16, extent);
        Ok(id)
    }

    /// Makes the buffer whose first descriptor is at `index` available, with that descriptor's second word, or leaves that
    /// for later if it is the first of a batch (drv:packed:scatter-gather-support:06). Its id is below the queue size.
    #[inline(always)]
    fn offer(&mut self, id: u16, index: u16, tail: u64, descriptors: u16, extent: Extent) {
        debug_assert!(id < self.ring.size());
        if self.first.is_none() {
            self.first = Some((index, tail));
        } else {
            // SAFETY: positions are below the size. Relaxed: as for the other descriptors.
            unsafe { self.ring.set_tail(index, tail, Relaxed) };
        }
        // SAFETY: there is a record for each id.
        let buffer = unsafe { self.buffers.get_unchecked_mut(usize::from(id)) };
        self.first_free = buffer.next;
        (buffer.limit, buffer.descriptors) = (extent.limit(), descriptors);
        self.free -= descriptors;
        self.in_flight += 1;
        // Only a device that breaks the rules makes this overflow; it may then miss a notification.
        self.added = self.added.wrapping_add(descriptors);
    }

    /// What [`add`](Self::add) does with buffers that go into a table or nowhere.
    #[inline(never)]
    fn add_long(&mut self, readable: &[DmaSegment], writable: &[DmaSegment]) -> Result<u16, AddRefusal> {
        let elements = readable.len() + writable.len();
        let tables = match &self.tables {
            Some(tables) if elements > 1 && elements <= self.longest_table && self.free != 0 => tables,
            _ => return Err(refusal(elements, self.ring.size(), self.broken.is_some())),
        };
        let id = self.first_free;
        let mut entry = 0;
        let extent = Extent::for_each(readable, writable, |segment, flags| {
            // No flags but WRITE (drv:packed:indirect-descriptors:02).
            let tail = word(segment.len(), 0, flags & DescFlags::WRITE.0);
            // SAFETY: there is a table for each id, long enough for the elements as just compared.
            unsafe { tables.write(id, entry, (segment.address(), tail)) };
            entry += 1;
        });
        if !extent.is_legal() {
            return Err(AddRefusal::TooLarge);
        }
        let Position { index, bits } = self.next_available;
        // SAFETY: positions are below the size.
        unsafe { self.ring.set_address(index, tables.address(id)) };
        let tail = word(u32::from(entry) * 16, id, DescFlags::INDIRECT.0) | bits;
        self.next_available.advance(1, self.ring.size());
        self.offer(id, index, tail, 1, extent);
        Ok(id)
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

    /// Takes the next used buffer: its id, and the bytes written.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        // SAFETY: positions are below the size. Acquire: buffers are read after the flags that mark them used.
        let tail = unsafe { self.ring.tail(self.next_used.index, Acquire) };
        if self.long || !self.next_used.matches(tail) {
            return self.pop_long();
        }
        let (id, written) = used(tail);
        let Some(buffer) = self.buffers.get_mut(usize::from(id)) else {
            return self.pop_long();
        };
        if u64::from(written) >= buffer.limit {
            return self.pop_long();
        }
        buffer.limit = 0;
        buffer.next = self.first_free;
        let descriptors = buffer.descriptors;
        self.first_free = id;
        self.release(descriptors);
        Ok(Some((id, written)))
    }

    #[inline(always)]
    fn release(&mut self, descriptors: u16) {
        self.next_used.advance(descriptors, self.ring.size());
        self.free += descriptors;
        self.in_flight -= 1;
    }

    /// What [`pop`](Self::pop) does with an empty or broken ring, with descriptors that are not right, and with
    /// `VIRTIO_F_IN_ORDER` or `VIRTIO_F_ORDER_PLATFORM`.
    #[inline(never)]
    fn pop_long(&mut self) -> Result<Option<(u16, u32)>, RingError> {
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
        let buffer = &mut self.buffers[usize::from(id)];
        let limit = core::mem::take(&mut buffer.limit);
        let descriptors = buffer.descriptors;
        if self.options.in_order {
            // Ids are given out in sequence.
            self.oldest = buffer.next;
        } else {
            buffer.next = self.first_free;
            self.first_free = id;
        }
        self.release(descriptors);
        if id == last {
            return Ok(Some((id, written)));
        }
        self.batch = Some((last, written));
        let writable = u32::try_from(limit.saturating_sub(1)).unwrap_or(u32::MAX);
        Ok(Some((id, writable)))
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
        let limit = self.buffers.get(usize::from(id)).map_or(0, |buffer| buffer.limit);
        if limit == 0 {
            return Err(self.fail(Violation::UsedId { id: id.into() }));
        }
        if u64::from(written) >= limit {
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
        let error = *self.broken.get_or_insert(RingError {
            kind,
            format: Format::Packed,
        });
        // No buffer is any longer known to be in flight, so every used descriptor fails; and nothing more is added.
        self.buffers.iter_mut().for_each(|buffer| buffer.limit = 0);
        self.free = 0;
        error
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

/// A descriptor's second word, but for its state bits.
#[inline(always)]
fn word(length: u32, id: u16, flags: u16) -> u64 {
    u64::from(length) | u64::from(id) << 32 | u64::from(flags) << 48
}

/// Id and bytes written in a used descriptor's second word: without flag WRITE the length means nothing (section 2.8.4).
#[inline(always)]
fn used(tail: u64) -> (u16, u32) {
    (
        (tail >> 32) as u16,
        if tail & WRITE != 0 { tail as u32 } else { 0 },
    )
}
