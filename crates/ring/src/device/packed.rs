//! The device end of a packed virtqueue.
//!
//! `unsafe` is needed here because positions in the ring are known to lie within it.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use ringwright_spec::packed::DescFlags;

use super::chain::{Taken, Token};
use super::core::{Core, Gather};
use crate::packed::{EventWord, PackedRing, Position, STATE, WRITE};
use crate::split::Descriptor;
use crate::words::Part;
use crate::{RingError, State, Violation};

/// The device's place in a packed virtqueue. All positions are below the ring's size.
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
        let next_available = Position {
            index: state.next_available,
            wrap: state.available_wrap,
        };
        let next_used = Position {
            index: state.next_used,
            wrap: state.used_wrap,
        };
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
            available_wrap: self.next_available.wrap,
            next_used: self.published.index,
            used_wrap: self.published.wrap,
        }
    }

    /// Takes the next available chain.
    #[inline(always)]
    pub fn pop(&mut self, core: &mut Core) -> Result<Option<Taken>, RingError> {
        let position = self.next_available;
        // SAFETY: positions are below the size. Acquire: all else of the buffer is read after the flags that make it
        // available (dev:packed:the-virtqueue-descriptor-table:02).
        let tail = unsafe { self.ring.tail(position.index, Acquire) };
        if (tail ^ position.available_bits()) & STATE != 0 {
            return match core.broken {
                Some(error) => Err(error),
                None => Ok(None),
            };
        }
        match self.walk(core, tail) {
            Ok(taken) => Ok(Some(taken)),
            Err(violation) => {
                // Nothing is taken from a queue without room; what a missing translation hindered may be tried again.
                let error = core.fail(violation);
                if core.broken.is_some() {
                    self.room = 0;
                }
                Err(error)
            }
        }
    }

    #[inline(always)]
    fn walk(&mut self, core: &mut Core, mut tail: u64) -> Result<Taken, Violation> {
        let size = self.ring.size();
        let start = self.next_available;
        let special = core.special;
        let mut position = start;
        let mut left = self.room;
        let mut gather = core.gather(size);
        let id = loop {
            // A list that goes on where no available descriptor can be is longer than the queue or runs into others.
            if left == 0 {
                return Err(self.no_room());
            }
            left -= 1;
            // SAFETY: positions are below the size.
            let address = unsafe { self.ring.address(position.index) };
            let flags = (tail >> 48) as u16;
            if flags & special == 0 {
                gather.count()?;
                gather.element(address, tail as u32, flags)?;
            } else {
                Self::special(&mut gather, address, tail as u32, flags, position != start)?;
            }
            position.advance(1, size);
            if flags & DescFlags::NEXT.0 == 0 {
                break (tail >> 32) as u16;
            }
            // SAFETY: positions are below the size.
            tail = unsafe { self.ring.tail(position.index, Relaxed) };
        };
        let taken = gather.finish(id, start.to_event())?;
        core.insert(&taken.token, self.room - left)?;
        self.room = left;
        self.next_available = position;
        Ok(taken)
    }

    #[cold]
    fn no_room(&self) -> Violation {
        let size = self.ring.size();
        if self.room == size {
            Violation::ChainTooLong { limit: size }
        } else {
            Violation::Overrun { size }
        }
    }

    /// An indirect descriptor, or one that the dirty log wants to know of.
    #[cold]
    fn special(
        gather: &mut Gather<'_>,
        address: u64,
        length: u32,
        flags: u16,
        linked: bool,
    ) -> Result<(), Violation> {
        if flags & DescFlags::INDIRECT.0 == 0 {
            gather.count()?;
            return gather.logged_element(address, length, flags);
        }
        if linked || flags & DescFlags::NEXT.0 != 0 {
            return Err(Violation::IndirectWithNext);
        }
        gather.table(address, length, Self::decode)
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

    /// Gives a chain back to the driver once [`publish`](Self::publish) is called.
    #[inline(always)]
    pub fn complete(&mut self, core: &mut Core, id: u16, written: u32) -> Result<(), Violation> {
        let descriptors = if core.extras {
            match core.complete_extras(id, written, Self::decode)? {
                Some(descriptors) => descriptors,
                None => return Ok(()),
            }
        } else {
            core.in_flight.remove(id).ok_or(Violation::NotInFlight { id })?
        };
        self.write_used(id, written, descriptors, core.broken.is_some());
        Ok(())
    }

    #[inline(always)]
    fn write_used(&mut self, id: u16, written: u32, descriptors: u16, broken: bool) {
        let Position { index, .. } = self.next_used;
        let write = if written != 0 { WRITE } else { 0 };
        let tail = u64::from(written) | u64::from(id) << 32 | write | self.next_used.used_bits();
        if self.first.is_none() {
            self.first = Some((index, tail));
        } else {
            // SAFETY: positions are below the size. Relaxed: the driver looks here only after it has seen the first.
            unsafe { self.ring.set_tail(index, tail, Relaxed) };
        }
        self.next_used.advance(descriptors, self.ring.size());
        // Only a driver that breaks the rules makes this overflow; it may then miss a notification.
        self.added = self.added.wrapping_add(descriptors);
        if !broken {
            self.room += descriptors;
        }
    }

    /// Takes back the newest chain taken; false if `token` is not it.
    pub(super) fn push_back(&mut self, core: &mut Core, token: &Token) -> bool {
        let mut after = Position {
            index: token.position & 0x7fff,
            wrap: token.position >> 15 != 0,
        };
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
    pub fn publish(&mut self, core: &mut Core) -> bool {
        if core.order.is_some() {
            self.write_batches(core);
        }
        let Some((index, tail)) = self.first.take() else {
            return false;
        };
        // SAFETY: positions are below the size. Release: the other used descriptors and the buffers come before.
        unsafe { self.ring.set_tail(index, tail, Release) };
        let added = core::mem::take(&mut self.added);
        self.published = self.next_used;
        // The flags must be visible before the driver's wishes are read, or both ends could wait for each other.
        self.ring.fence();
        self.ring
            .driver_event()
            .wanted(self.next_used, added, self.ring.size(), core.event_idx)
    }

    /// Writes used descriptors for all buffers that are complete in order (section 2.8.8).
    #[cold]
    fn write_batches(&mut self, core: &mut Core) {
        let Core {
            order: Some(order),
            in_flight,
            broken,
            ..
        } = core
        else {
            return;
        };
        while let Some(batch) = order.next_batch(in_flight) {
            self.write_used(batch.id, batch.written, batch.descriptors, broken.is_some());
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
        (tail ^ self.next_available.available_bits()) & STATE == 0
    }
}
