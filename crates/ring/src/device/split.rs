//! The device end of a split virtqueue.
//!
//! `unsafe` is needed here where an index was compared with the queue size before it is used.

mod serve;

use core::sync::atomic::Ordering::{Acquire, Release};

use ringwright_memory::Segment;
use ringwright_spec::split::{AvailFlags, DescFlags, UsedFlags, need_event};

use super::chain::{Taken, Token};
use super::core::Core;
use super::gather::{Gather, INDIRECT, Short};
use super::track::{InflightRegion, TrackSplit, Tracking};
use crate::split::{Descriptor, SplitRing};
use crate::words::Part;
use crate::{RingError, SetupError, State, Violation};

/// The device's place in a split virtqueue.
#[derive(Clone)]
pub struct Split<P> {
    pub(super) ring: SplitRing<P>,
    /// Next entry of the available ring to take.
    next_available: u16,
    /// The available index as last read.
    available: u16,
    /// Next entry of the used ring to write.
    next_used: u16,
    /// The used index up to which it is decided whether to notify.
    published: u16,
    /// With tracking, the used index as the driver knows it.
    shown: u16,
}

impl<P: Part> Split<P> {
    /// The device end of `ring`, which goes on at `state`.
    pub fn new(ring: SplitRing<P>, state: State) -> Self {
        let State {
            next_available,
            next_used,
            ..
        } = state;
        Self {
            ring,
            next_available,
            available: next_available,
            next_used,
            published: next_used,
            shown: next_used,
        }
    }

    pub(super) fn state(&self) -> State {
        State {
            next_available: self.next_available,
            next_used: self.published,
            ..State::default()
        }
    }

    /// The tracking of this virtqueue in `region`, after which it goes on where that says.
    pub(super) fn track(&mut self, region: InflightRegion) -> Result<Tracking, SetupError> {
        let used = self.ring.used_index(Acquire);
        let (track, recovered) = TrackSplit::new(region, self.ring.size(), used)?;
        if recovered {
            // Each buffer that was taken is used, or in flight, or to be taken from the available ring once more.
            self.next_available = used.wrapping_add(track.again.len());
            self.available = self.next_available;
            (self.next_used, self.published) = (used, used);
        }
        self.shown = self.next_used;
        Ok(Tracking::Split(track))
    }

    /// Takes the next available chain if it can be taken the short way; `None` may also mean that there is none.
    #[inline(always)]
    pub fn pop_short(&mut self, core: &mut Core) -> Option<Taken> {
        let position = self.next_available;
        if position == self.available && !self.refill() {
            return None;
        }
        let head = self.ring.available_entry(position);
        if !core.in_flight.try_insert(head, 1) {
            return None;
        }
        let (start, limit) = (core.scratch.as_mut_ptr(), core.scratch.limit());
        // SAFETY: the head is below the queue size, as it is in flight now.
        match unsafe { Self::gather_short(&self.ring, core, head, start, limit) } {
            Some(short) => {
                self.next_available = position.wrapping_add(1);
                Some(short.taken(head, position))
            }
            None => {
                core.in_flight.remove(head);
                None
            }
        }
    }

    /// Gathers the chain from `head` on the short way.
    ///
    /// # Safety
    ///
    /// `head` is below the queue size, and there is room for segments from `start` to `limit`, which are not the same.
    #[inline(always)]
    unsafe fn gather_short(
        ring: &SplitRing<P>,
        core: &Core,
        head: u16,
        start: *mut Segment,
        limit: *mut Segment,
    ) -> Option<Short> {
        // SAFETY: the caller promises that the head is below the size.
        let first = unsafe { ring.descriptor(head) };
        if first.flags == INDIRECT && core.indirect {
            // SAFETY: promised by the caller.
            return unsafe { Short::gather_table(&core.window, start, limit, &first, Self::decode) };
        }
        let next = |before: &Descriptor, end| {
            // A chain with more elements than the queue has descriptors is a loop.
            if end == limit {
                return None;
            }
            ring.descriptor_at(before.link)
        };
        // SAFETY: there is room at `start`, and `next` gives nothing for `limit`.
        unsafe { Short::gather(&core.window, start, first, next) }
    }

    /// Reads the available index; false if there is nothing new or it cannot be right.
    #[inline]
    fn refill(&mut self) -> bool {
        // Acquire: entries and descriptors are read after the index that covers them.
        let found = self.ring.available_index(Acquire);
        let news = found.wrapping_sub(self.next_available);
        if news == 0 || news > self.ring.size() {
            return false;
        }
        self.available = found;
        true
    }

    /// Takes the next available chain, whatever it is.
    pub fn pop_long(&mut self, core: &mut Core) -> Result<Option<Taken>, RingError> {
        if let Some(error) = core.broken {
            return Err(error);
        }
        let position = self.next_available;
        if let Some(buffer) = core.next_again() {
            let taken = self.take_long(core, buffer.id, position);
            let taken = taken.map_err(|violation| core.fail(violation))?;
            if let Some(tracking) = &mut core.tracking {
                tracking.again_mut().advance();
            }
            return Ok(Some(taken));
        }
        if position == self.available && !self.refill() {
            let (found, size) = (self.ring.available_index(Acquire), self.ring.size());
            if found.wrapping_sub(position) > size {
                return Err(core.fail(Violation::AvailableIndex {
                    found,
                    taken: position,
                    size,
                }));
            }
            if found == position {
                return Ok(None);
            }
            self.available = found;
        }
        let head = self.ring.available_entry(position);
        match self.take_long(core, head, position) {
            Ok(taken) => {
                self.write_down(core, head);
                self.next_available = position.wrapping_add(1);
                Ok(Some(taken))
            }
            Err(violation) => Err(core.fail(violation)),
        }
    }

    fn take_long(&self, core: &mut Core, head: u16, position: u16) -> Result<Taken, Violation> {
        let first = self.descriptor(head)?;
        let (gather, _) = Gather::long(core, first, Self::decode, |before| self.descriptor(before.link))?;
        let taken = gather.finish(head, position)?;
        core.insert(&taken.token, 1)?;
        Ok(taken)
    }

    fn descriptor(&self, index: u16) -> Result<Descriptor, Violation> {
        let size = self.ring.size();
        self.ring.descriptor_at(index).ok_or(Violation::DescriptorIndex {
            index,
            size: size.into(),
        })
    }

    fn decode(_index: u32, _size: u32, [address, tail]: [[u8; 8]; 2]) -> (Descriptor, Option<u32>) {
        let word = if P::BIG_ENDIAN {
            u64::from_be_bytes
        } else {
            u64::from_le_bytes
        };
        let entry = Descriptor::from_words::<P>(word(address), word(tail));
        let next = (entry.flags & DescFlags::NEXT.0 != 0).then_some(entry.link.into());
        (entry, next)
    }

    /// Gives a chain back to the driver once [`publish`](Self::publish) is called; false if it is not in flight.
    #[inline(always)]
    pub fn complete_short(&mut self, core: &mut Core, id: u16, written: u32) -> bool {
        let in_flight = core.in_flight.remove(id).is_some();
        if in_flight {
            self.write_used(id, written);
        }
        in_flight
    }

    /// As [`complete_short`](Self::complete_short), where there is more to do than to write a used entry.
    pub fn complete_long(&mut self, core: &mut Core, id: u16, written: u32) -> bool {
        match core.complete(id, written, Self::decode) {
            Ok(Some(_)) => {
                self.write_used(id, written);
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
    fn write_used(&mut self, id: u16, written: u32) {
        self.ring.set_used_entry(self.next_used, id.into(), written);
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Takes back the newest chain taken; false if `token` is not it.
    pub(super) fn push_back(&mut self, core: &mut Core, token: &Token) -> bool {
        let newest =
            self.next_available.wrapping_sub(1) == token.position && core.in_flight.contains(token.id);
        if newest {
            core.undo(token.id);
            // The driver cannot take an entry back (drv:split:the-virtqueue-available-ring:01), so what was read of
            // the index stays true, and there is no wish to read it again.
            self.next_available = token.position;
        }
        newest
    }

    /// Shows the driver what is complete; true if it wants a notification.
    #[inline(always)]
    pub fn publish(&mut self, core: &Core) -> bool {
        let (old, new) = (self.published, self.next_used);
        if new == old {
            return false;
        }
        // Release: entries, lengths and buffers come before the index (dev:split:the-virtqueue-used-ring:01, :02).
        self.ring.set_used_index(new, Release);
        self.published = new;
        // The index must be visible before the driver's wishes are read, or both ends could wait for each other.
        self.ring.fence();
        self.notify(core, old, new)
    }

    /// Shows the driver what is complete, and leaves it to the next [`publish`](Self::publish) whether to notify.
    pub fn show_used(&mut self, core: &mut Core) {
        match core.tracking {
            Some(_) => self.show(core),
            // Release as in `publish`.
            None => self.ring.set_used_index(self.next_used, Release),
        }
        // Whoever asks for a notification asks for one of the last buffers that the virtqueue has room for.
        let undecided = self.next_used.wrapping_sub(self.published);
        self.published = self.next_used.wrapping_sub(undecided.min(self.ring.size()));
    }

    /// As [`publish`](Self::publish), where there is more to do.
    pub fn publish_long(&mut self, core: &mut Core) -> bool {
        self.show(core);
        self.publish(core)
    }

    /// Tracks buffer `head`, which was taken. The device end after this one takes those that are not written down from the
    /// available ring, where they have to be the last ones taken: so those that were served before are shown to the driver.
    fn write_down(&mut self, core: &mut Core, head: u16) {
        let given_back = self.next_used.wrapping_sub(self.shown);
        let Some(Tracking::Split(track)) = &core.tracking else {
            return;
        };
        if given_back != track.batched() {
            self.show(core);
        }
        if let Some(Tracking::Split(track)) = &mut core.tracking {
            track.taken(head);
        }
    }

    /// With tracking, shows the driver what was given back, and leaves it open whether to notify.
    fn show(&mut self, core: &mut Core) {
        let Some(Tracking::Split(track)) = &mut core.tracking else {
            return;
        };
        if self.shown == self.next_used {
            return;
        }
        track.before_shown(&core.in_flight);
        // Release as in `publish`.
        self.ring.set_used_index(self.next_used, Release);
        track.shown(self.next_used);
        self.shown = self.next_used;
    }

    #[inline(always)]
    fn notify(&self, core: &Core, old: u16, new: u16) -> bool {
        let wanted = if core.event_idx {
            // dev:split:used-buffer-notification-suppression:04 to :06
            need_event(self.ring.used_event(), new, old)
        } else {
            // dev:split:used-buffer-notification-suppression:01 to :03
            self.ring.available_flags() & AvailFlags::NO_INTERRUPT.0 == 0
        };
        wanted || (core.notify_on_empty && self.ring.available_index(Acquire) == self.next_available)
    }

    /// Writes used entries for all buffers that are complete in order (section 2.7.9).
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
            self.ring
                .set_used_entry(self.next_used, batch.id.into(), batch.written);
            self.next_used = self.next_used.wrapping_add(batch.chains);
        }
    }

    /// Tells the driver that it need not notify.
    pub fn disable_notifications(&mut self, core: &Core) {
        if core.event_idx {
            // An entry that is already there; flags stay 0 (dev:split:available-buffer-notification-suppression:03).
            self.ring.set_available_event(self.next_available.wrapping_sub(1));
        } else {
            self.ring.set_used_flags(UsedFlags::NO_NOTIFY.0);
        }
    }

    /// Asks the driver for a notification of the next buffer; true if it is there already.
    pub fn enable_notifications(&mut self, core: &Core) -> bool {
        if core.event_idx {
            self.ring.set_available_event(self.next_available);
        } else {
            self.ring.set_used_flags(0);
        }
        // The wish must be visible before the index is read, or both ends could wait for each other.
        self.ring.fence();
        core.broken.is_none() && self.ring.available_index(Acquire) != self.next_available
    }

    pub(super) fn has_available(&self) -> bool {
        self.available != self.next_available || self.ring.available_index(Acquire) != self.next_available
    }
}

impl<P: Part> SplitRing<P> {
    /// The descriptor at `index`, if there is one.
    #[inline(always)]
    fn descriptor_at(&self, index: u16) -> Option<Descriptor> {
        // SAFETY: just compared.
        (index < self.size()).then(|| unsafe { self.descriptor(index) })
    }

    /// The descriptor that follows `before`, if the flags are these and there is one.
    #[inline(always)]
    fn next(&self, before: &Descriptor, flags: u16) -> Option<Descriptor> {
        // With other flags this is no index at all, so that one comparison is enough.
        let index = u32::from(before.flags ^ flags) << 16 | u32::from(before.link);
        // SAFETY: just compared.
        (index < self.size().into()).then(|| unsafe { self.descriptor(index as u16) })
    }
}
