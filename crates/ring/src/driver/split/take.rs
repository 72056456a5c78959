//! How used chains come back from a split virtqueue.
//!
//! `unsafe` is needed here because a chain's record tells that what travelled with it is there.

use core::sync::atomic::Ordering::Acquire;

use super::super::Used;
use super::super::buffers::{ById, Record};
use super::Split;
use crate::local::Local;
use crate::split::SplitRing;
use crate::words::{Part, platform_fence};
use crate::{RingError, Violation};

impl<P: Part, T> Split<P, T> {
    /// Takes the next used chain.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<Option<Used<T>>, RingError> {
        if self.next_used == self.used && !self.refill()? {
            return Ok(None);
        }
        if !self.options.in_order {
            let taken = self.taker(1).take();
            if taken.is_some() {
                return Ok(taken);
            }
        }
        self.pop_long()
    }

    /// Gives `handle` the next used chains, but no more than `limit`. Gives their number.
    #[inline(never)]
    pub fn take_used(&mut self, limit: u16, handle: &mut impl FnMut(Used<T>)) -> Result<u16, RingError> {
        let mut taken = 0;
        while taken != limit {
            if self.next_used == self.used && !self.refill()? {
                break;
            }
            if !self.options.in_order {
                let mut taker = self.taker(limit - taken);
                while let Some(used) = taker.take() {
                    handle(used);
                }
                taken += taker.taken as u16;
            }
            if taken != limit && self.next_used != self.used {
                let Some(used) = self.pop_long()? else { break };
                handle(used);
                taken += 1;
            }
        }
        Ok(taken)
    }

    #[inline(always)]
    fn taker(&mut self, limit: u16) -> Taker<'_, P, T> {
        let size = self.ring.size();
        let first = self.next_used & (size - 1);
        let known = self.used.wrapping_sub(self.next_used);
        Taker {
            ring: self.ring.clone(),
            buffers: self.buffers.by_id(),
            first: first.into(),
            taken: 0,
            most: limit.min(known).min(size - first).into(),
            first_free: Local::new(&mut self.first_free),
            free: Local::new(&mut self.free),
            next_used: &mut self.next_used,
        }
    }

    /// Reads the used index; tells whether there is something new.
    #[inline(always)]
    fn refill(&mut self) -> Result<bool, RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let found = self.used_index();
        let news = found.wrapping_sub(self.next_used);
        // What was not published the device cannot know.
        let in_flight = self.published.wrapping_sub(self.next_used);
        if news > in_flight {
            return Err(self.fail(Violation::UsedIndex {
                found,
                taken: self.next_used,
                in_flight,
            }));
        }
        self.used = found;
        Ok(news != 0)
    }

    fn used_index(&self) -> u16 {
        // Acquire: entries and buffers are read after the index that covers them.
        let found = self.ring.used_index(Acquire);
        if self.options.order_platform {
            platform_fence();
        }
        found
    }

    /// What [`pop`](Self::pop) does with an empty or broken ring, with entries that are not right, and with
    /// `VIRTIO_F_IN_ORDER`.
    #[inline(never)]
    pub fn pop_long(&mut self) -> Result<Option<Used<T>>, RingError> {
        if self.next_used == self.used && !self.refill()? {
            return Ok(None);
        }
        let (last, written) = match self.batch {
            Some(batch) => batch,
            None => self.used_entry()?,
        };
        // A used entry stands for all chains up to the one it names; all but that were used completely (section 2.7.9).
        let in_order = self.options.in_order;
        let id = if in_order { self.oldest } else { last };
        if id != last && self.next_used.wrapping_add(1) == self.used {
            // The entry names a chain that the index does not cover.
            return Err(self.fail(Violation::UsedId { id: last.into() }));
        }
        let Some(record) = self.buffers.get_out(id.into()) else {
            return Err(self.fail(Violation::UsedId { id: id.into() }));
        };
        let mut taker = self.taker(1);
        // SAFETY: there is such a record, whose buffer is out; and a chain's last descriptor is below the queue size.
        let data = unsafe {
            if in_order {
                let after = taker.buffers.record(record.last.into()).link;
                let data = taker.release_oldest(id.into(), record);
                drop(taker);
                self.oldest = after;
                data
            } else {
                let data = taker.release(id.into(), record);
                drop(taker);
                data
            }
        };
        self.batch = (id != last).then_some((last, written));
        let written = if id == last { written } else { record.longest() };
        Ok(Some(Used { data, written }))
    }

    /// Reads and checks the next used entry: its id is that of a chain in flight.
    fn used_entry(&mut self) -> Result<(u16, u32), RingError> {
        let (id, written) = self.ring.used_entry(self.next_used);
        let Some(record) = self.buffers.get_out(id) else {
            return Err(self.fail(Violation::UsedId { id }));
        };
        let id = id as u16;
        if record.allows(written) {
            return Ok((id, written));
        }
        if self.options.legacy {
            return Ok((id, record.longest()));
        }
        Err(self.fail(Violation::UsedLength {
            id,
            written,
            writable: record.writable(),
        }))
    }
}

/// Used chains that are taken one after the other, in entries of the used ring up to its end. What they change of the queue
/// goes back there in the end.
struct Taker<'q, P: Part, T> {
    ring: SplitRing<P>,
    buffers: ById<'q, T>,
    /// The first entry.
    first: usize,
    /// Chains taken, and the most that there may be.
    taken: usize,
    most: usize,
    first_free: Local<'q, usize>,
    free: Local<'q, u32>,
    next_used: &'q mut u16,
}

impl<P: Part, T> Taker<'_, P, T> {
    /// Takes the next used chain if there is nothing wrong with it.
    #[inline(always)]
    fn take(&mut self) -> Option<Used<T>> {
        if self.taken == self.most {
            return None;
        }
        // SAFETY: before the end of the ring.
        let (id, written) = unsafe { self.ring.used_entry_at(self.first + self.taken) };
        let record = *self.buffers.get(id)?;
        if !record.allows(written) {
            return None;
        }
        // SAFETY: there is such a record, and its buffer is out.
        let data = unsafe { self.release(id as usize, record) };
        Some(Used { data, written })
    }

    /// Takes back a chain's data, and its descriptors, which go in front of the free list.
    ///
    /// # Safety
    ///
    /// `record` is that of `id`, which is below the queue size, and its buffer is out.
    #[inline(always)]
    unsafe fn release(&mut self, id: usize, record: Record) -> T {
        // SAFETY: a chain's last descriptor is below the queue size; the rest is promised.
        unsafe {
            self.buffers.record(record.last.into()).link = *self.first_free as u16;
            *self.first_free = id;
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
        *self.free += record.descriptors;
        self.taken += 1;
        // SAFETY: promised by the caller.
        unsafe { self.buffers.take(id) }
    }
}

impl<P: Part, T> Drop for Taker<'_, P, T> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.next_used = self.next_used.wrapping_add(self.taken as u16);
    }
}
