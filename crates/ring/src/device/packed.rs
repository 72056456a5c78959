//! The device end of a packed virtqueue.
//!
//! `unsafe` is needed here because positions in the ring are known to lie within it.

mod serve;

use core::sync::atomic::Ordering::{self, Acquire, Relaxed, Release};

use ringwright_spec::packed::DescFlags;

use super::chain::{Taken, Token};
use super::core::Core;
use super::gather::{Gather, INDIRECT, Short};
use super::track::{InflightRegion, Resubmission, TrackPacked, Tracking};
use crate::packed::{EventWord, PackedRing, Position, STATE, WRITE};
use crate::split::Descriptor;
use crate::words::Part;
use crate::{RingError, SetupError, State, Violation};

/// The device's place in a packed virtqueue. All positions are below the ring's size.
#[derive(Clone)]
pub struct Packed<P> {
    pub(super) ring: PackedRing<P>,
    /// Next descriptor to take.
    next_available: Position,
    /// Next descriptor to mark used.
    next_used: Position,
    /// The first descriptor that was used since the last publish, whose second word is yet to be written: until then
    /// the driver sees none of those behind it.
    first: Option<(u16, u64)>,
    /// Where the next used descriptor goes as the driver knows it.
    published: Position,
    /// Descriptors used since the last publish.
    added: u16,
    /// Descriptors that are not in flight: how many the driver can have made available.
    room: u16,
}

impl<P: Part> Packed<P> {
    /// The device end of `ring`, which goes on at `state`, whose offsets are below the ring's size.
    pub fn new(ring: PackedRing<P>, state: State) -> Self {
        let next_available = Position::available(state.next_available, state.available_wrap);
        let next_used = Position::used(state.next_used, state.used_wrap);
        let room = ring.size();
        Self {
            ring,
            next_available,
            next_used,
            first: None,
            published: next_used,
            added: 0,
            room,
        }
    }

    pub(super) fn state(&self) -> State {
        State {
            next_available: self.next_available.index,
            available_wrap: self.next_available.wrap(),
            next_used: self.published.index,
            used_wrap: self.published.wrap(),
        }
    }

    /// The tracking of this virtqueue in `region`, after which it goes on where that says.
    pub(super) fn track(&mut self, region: InflightRegion) -> Result<Tracking, SetupError> {
        let size = self.ring.size();
        let is_used = |position: Position| {
            let available = Position::available(position.index, position.wrap());
            // SAFETY: the position is below the size, which the tracking has seen to.
            !available.matches(unsafe { self.ring.tail(position.index, Acquire) })
        };
        let (track, recovered) = TrackPacked::new(region, size, self.next_used, is_used)?;
        if recovered {
            let used = track.position();
            (self.next_used, self.published) = (used, used);
            self.next_available = Position::available(used.index, used.wrap());
            self.room = size - track.occupied();
            // What the device end before this one marked used behind a descriptor that it did not come to mark.
            for _ in 0..track.occupied() {
                let Position { index, bits } = self.next_available;
                // SAFETY: positions are below the size.
                unsafe {
                    let tail = self.ring.tail(index, Relaxed);
                    self.ring.set_tail(index, tail & !STATE | bits, Relaxed);
                }
                self.next_available.advance(1, size);
            }
        }
        Ok(Tracking::Packed(track))
    }

    /// Takes the next available chain if it can be taken the short way; `None` may also mean that there is none.
    #[inline(always)]
    pub fn pop_short(&mut self, core: &mut Core) -> Option<Taken> {
        let start = self.next_available;
        let mut end = start;
        // Acquire: all else of the buffer is read after the flags that make it available
        // (dev:packed:the-virtqueue-descriptor-table:02). If they do not, they are none that the short way knows.
        let first = self.descriptor(&mut end, Acquire);
        let mut descriptors = 1;
        let (room, limit) = (core.scratch.as_mut_ptr(), core.scratch.limit());
        let (id, short);
        if first.flags == INDIRECT && core.indirect {
            // SAFETY: there is room from `room` on.
            short = unsafe { Short::gather_table(&core.window, room, limit, &first, Self::decode) }?;
            id = first.link;
        } else {
            let next = |_: &Descriptor, place| {
                descriptors += 1;
                (place != limit).then(|| self.descriptor(&mut end, Relaxed))
            };
            // SAFETY: there is room from `room` on, and `next` gives nothing for `limit`.
            short = unsafe { Short::gather(&core.window, room, first, next) }?;
            id = short.last.link;
        }
        if descriptors > self.room || !core.in_flight.try_insert(id, descriptors) {
            return None;
        }
        self.room -= descriptors;
        self.next_available = end;
        Some(short.taken(id, start.to_event()))
    }

    /// Takes the next available chain, whatever it is.
    pub fn pop_long(&mut self, core: &mut Core) -> Result<Option<Taken>, RingError> {
        if let Some(error) = core.broken {
            return Err(error);
        }
        // The device end after this one takes those that are not written down from the ring, where they have to be the last
        // ones taken.
        self.show(core);
        let mut tracking = core.tracking.take();
        let track = match &mut tracking {
            Some(Tracking::Packed(track)) => Some(track),
            _ => None,
        };
        let taken = self.take_next(core, track);
        core.tracking = tracking;
        taken.map_err(|violation| core.fail(violation))
    }

    /// Takes the next chain, from the tracking as long as there are any.
    fn take_next(
        &mut self,
        core: &mut Core,
        mut track: Option<&mut TrackPacked>,
    ) -> Result<Option<Taken>, Violation> {
        if let Some(track) = &mut track
            && let Some(buffer) = track.again.next()
        {
            let taken = self.take_again(core, buffer, track)?;
            track.again.advance();
            return Ok(Some(taken));
        }
        let mut end = self.next_available;
        let first = self.descriptor(&mut end, Acquire);
        if u64::from(first.flags) << 48 & STATE != 0 {
            return Ok(None);
        }
        let taken = self.take_long(core, first, end, track.as_deref_mut());
        if let (Err(_), Some(track)) = (&taken, track) {
            track.abandon();
        }
        taken.map(Some)
    }

    /// Takes a chain of the device end before this one, whose descriptors the tracking has.
    fn take_again(
        &mut self,
        core: &mut Core,
        buffer: Resubmission,
        track: &TrackPacked,
    ) -> Result<Taken, Violation> {
        let limit = self.ring.size();
        let mut left = buffer.first..buffer.first + usize::from(buffer.descriptors);
        let mut next = || -> Result<Descriptor, Violation> {
            let descriptor = left.next().and_then(|index| track.again.descriptor(index));
            let descriptor = descriptor.ok_or(Violation::ChainTooLong { limit })?;
            Ok(Descriptor {
                flags: descriptor.flags & !((STATE >> 48) as u16),
                ..descriptor
            })
        };
        let first = next()?;
        let (gather, _) = Gather::long(core, first, Self::decode, |_| unlinked(next()?))?;
        let taken = gather.finish(buffer.id, self.next_available.to_event())?;
        core.insert(&taken.token, buffer.descriptors)?;
        Ok(taken)
    }

    fn take_long(
        &mut self,
        core: &mut Core,
        first: Descriptor,
        mut end: Position,
        mut track: Option<&mut TrackPacked>,
    ) -> Result<Taken, Violation> {
        let mut descriptors = 1;
        if self.room == 0 {
            return Err(self.no_room());
        }
        let mut note = |descriptor: Descriptor, position: Position| {
            if let Some(track) = &mut track {
                let flags = descriptor.flags ^ (position.bits >> 48) as u16;
                track.push(Descriptor { flags, ..descriptor });
            }
        };
        note(first, self.next_available);
        let (gather, last) = Gather::long(core, first, Self::decode, |_| {
            // A list that goes on where no available descriptor can be is longer than the queue or runs into others.
            if descriptors == self.room {
                return Err(self.no_room());
            }
            descriptors += 1;
            let position = end;
            let descriptor = self.descriptor(&mut end, Relaxed);
            note(descriptor, position);
            unlinked(descriptor)
        })?;
        let taken = gather.finish(last.link, self.next_available.to_event())?;
        if let Some(track) = &track {
            track.check_room(self.ring.size())?;
        }
        core.insert(&taken.token, descriptors)?;
        if let Some(track) = track {
            track.taken(taken.token.id);
        }
        self.room -= descriptors;
        self.next_available = end;
        Ok(taken)
    }

    fn no_room(&self) -> Violation {
        let size = self.ring.size();
        if self.room == size {
            Violation::ChainTooLong { limit: size }
        } else {
            Violation::Overrun { size }
        }
    }

    /// The descriptor at `position`, with no state bits if it is available. Moves the position on.
    #[inline(always)]
    fn descriptor(&self, position: &mut Position, ordering: Ordering) -> Descriptor {
        // SAFETY: positions are below the size.
        let descriptor = unsafe { self.ring.descriptor(position.index, position.bits, ordering) };
        position.advance(1, self.ring.size());
        descriptor
    }

    /// Entries follow each other; of their flags only WRITE is valid, the others are ignored (section 2.8.7).
    fn decode(index: u32, size: u32, [address, tail]: [[u8; 8]; 2]) -> (Descriptor, Option<u32>) {
        let (address, tail) = (u64::from_le_bytes(address), u64::from_le_bytes(tail));
        let flags = (tail >> 48) as u16 & DescFlags::WRITE.0;
        let entry = Descriptor {
            address,
            length: tail as u32,
            flags,
            link: (tail >> 32) as u16,
        };
        (entry, (index + 1 < size).then_some(index + 1))
    }

    /// Gives a chain back to the driver once [`publish`](Self::publish) is called; false if it is not in flight.
    #[inline(always)]
    pub fn complete_short(&mut self, core: &mut Core, id: u16, written: u32) -> bool {
        let Some(descriptors) = core.in_flight.remove(id) else {
            return false;
        };
        self.write_used(id, written, descriptors);
        true
    }

    /// As [`complete_short`](Self::complete_short), where there is more to do than to write a used descriptor.
    pub fn complete_long(&mut self, core: &mut Core, id: u16, written: u32) -> bool {
        match core.complete(id, written, Self::decode) {
            Ok(Some(descriptors)) => {
                self.write_used(id, written, descriptors);
                if let Some(tracking) = &mut core.tracking {
                    tracking.used(id);
                }
            }
            Ok(None) => {}
            Err(_) => return false,
        }
        true
    }

    #[inline(always)]
    fn write_used(&mut self, id: u16, written: u32, descriptors: u16) {
        let Position { index, .. } = self.next_used;
        let tail = used_tail(id, written, self.next_used.bits);
        if self.first.is_none() {
            self.first = Some((index, tail));
        } else {
            // SAFETY: positions are below the size. Relaxed: the driver looks here only after it has seen the first.
            unsafe { self.ring.set_tail(index, tail, Relaxed) };
        }
        self.next_used.advance(descriptors, self.ring.size());
        // Only a driver that breaks the rules makes this overflow; it may then miss a notification.
        self.added = self.added.wrapping_add(descriptors);
        self.room += descriptors;
    }

    /// Takes back the newest chain taken; false if `token` is not it.
    pub(super) fn push_back(&mut self, core: &mut Core, token: &Token) -> bool {
        let mut after = Position::available(token.position & 0x7fff, token.position >> 15 != 0);
        let before = after;
        let Some(descriptors) = core.in_flight.descriptors(token.id) else {
            return false;
        };
        after.advance(descriptors, self.ring.size());
        if after != self.next_available {
            return false;
        }
        core.undo(token.id);
        self.next_available = before;
        self.room += descriptors;
        true
    }

    /// Shows the driver what is used; true if it wants a notification.
    #[inline(always)]
    pub fn publish(&mut self, core: &Core) -> bool {
        if let Some((index, tail)) = self.first.take() {
            // SAFETY: positions are below the size. Release: the other used descriptors and the buffers come before.
            unsafe { self.ring.set_tail(index, tail, Release) };
        } else if self.added == 0 {
            return false;
        }
        let added = core::mem::take(&mut self.added);
        self.published = self.next_used;
        // The flags must be visible before the driver's wishes are read, or both ends could wait for each other.
        self.ring.fence();
        self.ring
            .driver_event()
            .wanted(self.next_used, added, self.ring.size(), core.event_idx)
    }

    /// Shows the driver what is used, and leaves it to the next [`publish`](Self::publish) whether to notify: `added` stays.
    pub fn show_used(&mut self, core: &mut Core) {
        self.before_publish(core);
        if let Some((index, tail)) = self.first.take() {
            // SAFETY: positions are below the size. Release as in `publish`.
            unsafe { self.ring.set_tail(index, tail, Release) };
        }
        self.published = self.next_used;
        // Whoever asks for a notification asks for one of the last descriptors that the virtqueue has.
        self.added = self.added.min(self.ring.size());
        if let Some(Tracking::Packed(track)) = &mut core.tracking {
            track.published();
        }
    }

    /// As [`publish`](Self::publish), where there is more to do.
    pub fn publish_long(&mut self, core: &mut Core) -> bool {
        self.before_publish(core);
        let wanted = self.publish(core);
        if let Some(Tracking::Packed(track)) = &mut core.tracking {
            track.published();
        }
        wanted
    }

    /// With tracking, writes down that the driver is about to see what is used.
    #[inline(always)]
    fn before_publish(&mut self, core: &mut Core) {
        self.show(core);
        if let Some(Tracking::Packed(track)) = &mut core.tracking {
            track.before_publish(self.next_used);
        }
    }

    /// With tracking, shows the driver the buffers that were served and are not written down, one after the other, and leaves
    /// it open whether to notify.
    fn show(&mut self, core: &mut Core) {
        if let Some(Tracking::Packed(track)) = &mut core.tracking {
            // SAFETY: positions are below the size. Release: the buffer comes before.
            track.show(self.next_used, |index, tail| unsafe {
                self.ring.set_tail(index, tail, Release);
            });
        }
    }

    /// Writes used descriptors for all buffers that are complete in order (section 2.8.8).
    pub fn write_batches(&mut self, core: &mut Core) {
        let Core {
            order: Some(order),
            in_flight,
            tracking,
            ..
        } = core
        else {
            return;
        };
        let mut used = |id| tracking.iter_mut().for_each(|tracking| tracking.used(id));
        while let Some(batch) = order.next_batch(in_flight, &mut used) {
            self.write_used(batch.id, batch.written, batch.descriptors);
        }
    }

    /// Tells the driver that it need not notify.
    pub fn disable_notifications(&mut self) {
        self.ring.set_device_event(EventWord::DISABLE);
    }

    /// Asks the driver for a notification of the next buffer; true if it is there already.
    pub fn enable_notifications(&mut self, core: &Core) -> bool {
        let event = if core.event_idx {
            EventWord::at(self.next_available)
        } else {
            EventWord::ENABLE
        };
        self.ring.set_device_event(event);
        // The wish must be visible before the flags are read, or both ends could wait for each other.
        self.ring.fence();
        core.broken.is_none() && self.has_available()
    }

    /// Counts `descriptors` of a buffer that was in flight before this end was made; false if there are not so many.
    pub(super) fn adopt(&mut self, descriptors: u16) -> bool {
        let enough = descriptors <= self.room;
        if enough {
            self.room -= descriptors;
        }
        enough
    }

    pub(super) fn has_available(&self) -> bool {
        // SAFETY: positions are below the size.
        let tail = unsafe { self.ring.tail(self.next_available.index, Acquire) };
        self.next_available.matches(tail)
    }
}

impl<P: Part> PackedRing<P> {
    /// The descriptor at `index`, with no state bits if they are `bits`.
    ///
    /// # Safety
    ///
    /// `index` is below the queue size.
    #[inline(always)]
    unsafe fn descriptor(&self, index: impl Into<usize> + Copy, bits: u64, ordering: Ordering) -> Descriptor {
        // SAFETY: the caller promises that the index is below the size.
        let (tail, address) = unsafe { (self.tail(index, ordering), self.address(index)) };
        Descriptor {
            address,
            length: tail as u32,
            flags: ((tail ^ bits) >> 48) as u16,
            link: (tail >> 32) as u16,
        }
    }
}

/// A descriptor that follows another one; an indirect one is not part of a list.
fn unlinked(descriptor: Descriptor) -> Result<Descriptor, Violation> {
    match descriptor.flags & DescFlags::INDIRECT.0 {
        0 => Ok(descriptor),
        _ => Err(Violation::IndirectWithNext),
    }
}

/// Length, id and flags of a used descriptor whose state bits are `bits`.
#[inline(always)]
fn used_tail(id: u16, written: u32, bits: u64) -> u64 {
    // Minus a number of 32 bits that is not 0 has all the upper bits.
    let write = u64::from(written).wrapping_neg() & WRITE;
    u64::from(written) | u64::from(id) << 32 | write | bits
}
