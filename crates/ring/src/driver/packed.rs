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
use super::slots::{Extent, Options};
use super::table::{TableWriter, Tables};
use crate::packed::{EventWord, PackedRing, Position, WRITE};
use crate::words::{Little, Part, platform_fence};
use crate::{Format, RingError, Violation};

/// Flag NEXT within a descriptor's second word.
const NEXT: u64 = (DescFlags::NEXT.0 as u64) << 48;
/// Flag INDIRECT within a descriptor's second word.
const INDIRECT: u64 = (DescFlags::INDIRECT.0 as u64) << 48;

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
    /// Bytes that the device can have written.
    writable: u32,
    /// Number of descriptors; 0 if the device does not have it.
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
            tables,
            buffers: vec![Buffer::default(); usize::from(size)].into(),
            first_free: 0,
            free: 0,
            in_flight: 0,
            next_available: Position::available(0, true),
            first: None,
            added: 0,
            next_used: Position::used(0, true),
            oldest: 0,
            batch: None,
            broken: None,
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
        // The whole list needs room before its first descriptor is written (drv:packed:scatter-gather-support:05).
        if descriptors > self.free {
            return Err(self.refusal());
        }
        let id = self.first_free;
        if indirect {
            self.write_table(id, readable, writable);
        } else {
            self.write_list(id, elements, readable, writable);
        }
        let buffer = &mut self.buffers[usize::from(id)];
        self.first_free = buffer.next;
        (buffer.writable, buffer.descriptors) = (bytes, descriptors);
        self.free -= descriptors;
        self.in_flight += 1;
        // Only a device that breaks the rules makes this overflow; it may then miss a notification.
        self.added = self.added.wrapping_add(descriptors);
        Ok(id)
    }

    #[cold]
    fn refusal(&self) -> AddRefusal {
        if self.broken.is_some() {
            AddRefusal::Broken
        } else {
            AddRefusal::Full
        }
    }

    #[inline(always)]
    fn write_list(&mut self, id: u16, elements: u16, readable: &[DmaSegment], writable: &[DmaSegment]) {
        let mut left = elements;
        let mut write = |segment: &DmaSegment, flags: u64| {
            left -= 1;
            let flags = if left == 0 { flags } else { flags | NEXT };
            self.write_descriptor(
                segment.address(),
                u64::from(segment.len()) | u64::from(id) << 32 | flags,
            );
        };
        readable.iter().for_each(|segment| write(segment, 0));
        writable.iter().for_each(|segment| write(segment, WRITE));
    }

    /// Writes the next descriptor, with the flags that make it available added to `tail`.
    #[inline(always)]
    fn write_descriptor(&mut self, address: u64, tail: u64) {
        let index = self.next_available.index;
        let tail = tail | self.next_available.bits;
        // SAFETY: positions are below the size.
        unsafe { self.ring.set_address(index, address) };
        if self.first.is_none() {
            // drv:packed:scatter-gather-support:06
            self.first = Some((index, tail));
        } else {
            // SAFETY: positions are below the size. Relaxed: the device looks here only after it has seen the first.
            unsafe { self.ring.set_tail(index, tail, Relaxed) };
        }
        self.next_available.advance(1, self.ring.size());
    }

    /// Writes the elements into the table of `id`, and one descriptor that refers to it.
    #[cold]
    fn write_table(&mut self, id: u16, readable: &[DmaSegment], writable: &[DmaSegment]) {
        let Some(tables) = &self.tables else { return };
        let elements = readable.len() + writable.len();
        let readable = readable.iter().map(|segment| (segment, 0));
        let writable = writable.iter().map(|segment| (segment, WRITE));
        for (index, (segment, flags)) in readable.chain(writable).enumerate() {
            // No flags but WRITE (drv:packed:indirect-descriptors:02).
            let tail = u64::from(segment.len()) | flags;
            // SAFETY: there is a table for each id, and `add` has compared the elements with its entries.
            unsafe { tables.write(id, index as u16, (segment.address(), tail)) };
        }
        let address = tables.address(id);
        let length = elements as u64 * 16;
        self.write_descriptor(address, length | u64::from(id) << 32 | INDIRECT);
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
        if self.options.in_order {
            return self.pop_in_order();
        }
        let Some((id, written)) = self.used_descriptor()? else {
            return Ok(None);
        };
        let buffer = &mut self.buffers[usize::from(id)];
        buffer.next = self.first_free;
        self.first_free = id;
        self.release(id);
        Ok(Some((id, written)))
    }

    /// Reads and checks the next used descriptor: its id is that of a buffer in flight.
    #[inline(always)]
    fn used_descriptor(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        // SAFETY: positions are below the size. Acquire: buffers are read after the flags that mark them used.
        let tail = unsafe { self.ring.tail(self.next_used.index, Acquire) };
        if !self.next_used.matches(tail) {
            return self.broken.map_or(Ok(None), Err);
        }
        if self.options.order_platform {
            platform_fence();
        }
        let id = (tail >> 32) as u16;
        // Without flag WRITE the length means nothing (section 2.8.4).
        let written = if tail & WRITE != 0 { tail as u32 } else { 0 };
        let buffer = self.buffers.get(usize::from(id)).copied().unwrap_or_default();
        if buffer.descriptors == 0 {
            return Err(self.fail(Violation::UsedId { id: id.into() }));
        }
        if written > buffer.writable {
            let writable = buffer.writable.into();
            return Err(self.fail(Violation::UsedLength {
                id,
                written,
                writable,
            }));
        }
        Ok(Some((id, written)))
    }

    #[inline(always)]
    fn release(&mut self, id: u16) -> u32 {
        let buffer = &mut self.buffers[usize::from(id)];
        let descriptors = core::mem::take(&mut buffer.descriptors);
        self.next_used.advance(descriptors, self.ring.size());
        self.free += descriptors;
        self.in_flight -= 1;
        buffer.writable
    }

    /// A used descriptor stands for all buffers up to the one it names; all but that were used completely
    /// (section 2.8.8).
    #[cold]
    fn pop_in_order(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        let (last, written) = match self.batch.take() {
            Some(batch) => batch,
            None => match self.used_descriptor()? {
                Some(used) => used,
                None => return Ok(None),
            },
        };
        let id = self.oldest;
        // Ids are given out in sequence.
        self.oldest = self.buffers[usize::from(id)].next;
        let writable = self.release(id);
        if id == last {
            return Ok(Some((id, written)));
        }
        self.batch = Some((last, written));
        Ok(Some((id, writable)))
    }

    #[cold]
    fn fail(&mut self, kind: Violation) -> RingError {
        let error = *self.broken.get_or_insert(RingError {
            kind,
            format: Format::Packed,
        });
        // No buffer is any longer known to be in flight, so every used descriptor fails; and nothing more is added.
        self.buffers.iter_mut().for_each(|buffer| buffer.descriptors = 0);
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
