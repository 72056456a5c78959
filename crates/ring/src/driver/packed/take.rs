//! How used buffers come back from a packed virtqueue.
//!
//! `unsafe` is needed here because positions in the ring are known to lie within it, and because a buffer's record tells that
//! what travelled with it is there.

use core::sync::atomic::Ordering::Acquire;

use super::super::Used;
use super::super::buffers::{ById, Record};
use super::Packed;
use crate::local::Local;
use crate::packed::{PackedRing, Position, WRITE};
use crate::words::{Part, platform_fence};
use crate::{RingError, Violation};

impl<P: Part, T> Packed<P, T> {
    /// Takes the next used buffer.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<Option<Used<T>>, RingError> {
        if self.short != 0 {
            let tail = self.next_tail();
            if !self.next_used.matches(tail) {
                return Ok(None);
            }
            let taken = self.taker(1).take(tail);
            if taken.is_some() {
                return Ok(taken);
            }
        }
        self.pop_long()
    }

    /// Gives `handle` the next used buffers, but no more than `limit`. Gives their number.
    #[inline(never)]
    pub fn take_used(&mut self, limit: u16, handle: &mut impl FnMut(Used<T>)) -> Result<u16, RingError> {
        let mut taken = 0;
        while taken != limit {
            let mut taker = self.taker(limit - taken);
            while taker.taken != taker.most
                && let Some(used) = taker.take_alike()
            {
                handle(used);
            }
            taken += taker.taken as u16;
            drop(taker);
            if taken == limit || self.short != 0 && !self.next_used.matches(self.next_tail()) {
                break;
            }
            // Another number of descriptors, a buffer around the ring's end, something wrong, or nothing.
            let Some(used) = self.pop_apart()? else { break };
            handle(used);
            taken += 1;
        }
        Ok(taken)
    }

    #[inline(always)]
    fn taker(&mut self, limit: u16) -> Taker<'_, P, T> {
        let Position { index, bits } = self.next_used;
        // No buffer has no descriptors.
        let alike = (self.ring.size() - index) / self.stride.max(1);
        Taker {
            ring: self.ring.clone(),
            buffers: self.buffers.by_id(),
            short: self.short.into(),
            index: index.into(),
            bits: bits | WRITE,
            taken: 0,
            most: limit.min(alike).into(),
            stride: Local::new(&mut self.stride),
            first_free: Local::new(&mut self.first_free),
            free: &mut self.free,
            next_used: &mut self.next_used,
        }
    }

    /// The second word of the descriptor that the device marks used next.
    #[inline(always)]
    fn next_tail(&self) -> u64 {
        // SAFETY: positions are below the size. Acquire: buffers are read after the flags that mark them used.
        unsafe { self.ring.tail(self.next_used.index, Acquire) }
    }

    /// As [`pop`](Self::pop), out of the way.
    #[inline(never)]
    fn pop_apart(&mut self) -> Result<Option<Used<T>>, RingError> {
        self.pop()
    }

    /// What [`pop`](Self::pop) does with an empty or broken ring, with descriptors that are not right, and with
    /// `VIRTIO_F_IN_ORDER` or `VIRTIO_F_ORDER_PLATFORM`.
    #[inline(never)]
    fn pop_long(&mut self) -> Result<Option<Used<T>>, RingError> {
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
        let in_order = self.options.in_order;
        let id = if in_order { self.oldest } else { last };
        let Some(record) = self.buffers.get_out(id.into()) else {
            return Err(self.fail(Violation::UsedId { id: id.into() }));
        };
        // SAFETY: there is such a record, whose buffer is out.
        let data = unsafe {
            if in_order {
                self.oldest = record.link;
                self.taker(1).release_oldest(id.into(), record)
            } else {
                self.taker(1).release(id.into(), record)
            }
        };
        self.batch = (id != last).then_some((last, written));
        let written = if id == last { written } else { record.longest() };
        Ok(Some(Used { data, written }))
    }

    /// Reads and checks the next used descriptor, if there is one: its id is that of a buffer in flight.
    fn used_descriptor(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        let tail = self.next_tail();
        if !self.next_used.matches(tail) {
            return Ok(None);
        }
        if self.options.order_platform {
            platform_fence();
        }
        let (id, written) = ((tail >> 32) as u16, tail as u32);
        let Some(record) = self.buffers.get_out(id.into()) else {
            return Err(self.fail(Violation::UsedId { id: id.into() }));
        };
        if !record.allows(written) {
            // Flag WRITE should say whether anything was written, and without it the length should mean nothing
            // (section 2.8.4). But QEMU's devices never set it, and give the length all the same.
            if tail & WRITE == 0 {
                return Ok(Some((id, 0)));
            }
            return Err(self.fail(Violation::UsedLength {
                id,
                written,
                writable: record.writable(),
            }));
        }
        Ok(Some((id, written)))
    }
}

/// Takes used buffers one after the other. In the end the queue knows of them.
struct Taker<'q, P: Part, T> {
    ring: PackedRing<P>,
    buffers: ById<'q, T>,
    /// Ids below this are of buffers that can be taken here.
    short: u64,
    /// The next descriptor, with what bits besides the id a used one has there that tells of bytes written.
    index: usize,
    bits: u64,
    /// Buffers taken, and the most that there may be of those alike.
    taken: usize,
    most: usize,
    /// Number of descriptors that buffers alike have. It is known before a buffer is: so the next descriptor can be looked at
    /// while that is still being looked up.
    stride: Local<'q, u16>,
    first_free: Local<'q, usize>,
    free: &'q mut u32,
    next_used: &'q mut Position,
}

impl<P: Part, T> Taker<'_, P, T> {
    /// Takes the next used buffer, whose descriptor's second word is `tail`, if there is nothing wrong with it. It has to be
    /// the first.
    #[inline(always)]
    fn take(&mut self, tail: u64) -> Option<Used<T>> {
        let (id, record, written) = self.check(tail)?;
        // SAFETY: it is the record of `id`, and the buffer is out, as bytes may be written.
        let data = unsafe { self.release(id, record) };
        Some(Used { data, written })
    }

    /// Takes the next used buffer if there is nothing wrong with it and it is alike. There must be more of those.
    #[inline(always)]
    fn take_alike(&mut self) -> Option<Used<T>> {
        let index = self.index + usize::from(*self.stride) * self.taken;
        // SAFETY: before the end of the ring. Acquire as in `next_tail`.
        let tail = unsafe { self.ring.tail(index, Acquire) };
        let (id, mut record, written) = self.check(tail)?;
        if record.descriptors != u32::from(*self.stride) {
            return None;
        }
        record.descriptors = u32::from(*self.stride);
        // SAFETY: as in `take`.
        let data = unsafe { self.release(id, record) };
        Some(Used { data, written })
    }

    /// The used buffer that `tail` tells of, if there is nothing wrong with it: its id, which is below the queue size, its
    /// record, which is of a buffer that is out, and the number of bytes written.
    #[inline(always)]
    fn check(&mut self, tail: u64) -> Option<(usize, Record, u32)> {
        // What is left of the upper half without the expected bits is the id; any other bits make it larger than one.
        let (mut id, written) = ((tail ^ self.bits) >> 32, tail as u32);
        if id >= self.short {
            // Or flag WRITE is not there. Then a length that cannot be right means nothing.
            id ^= WRITE >> 32;
            if id >= self.short {
                return None;
            }
        }
        let id = id as usize;
        // SAFETY: `short` is at most the queue size.
        let record = *unsafe { self.buffers.record(id) };
        record.allows(written).then_some((id, record, written))
    }

    /// Takes back a buffer's data, descriptors and id, which goes in front of the list of free ones.
    ///
    /// # Safety
    ///
    /// `record` is that of `id`, which is below the queue size, and its buffer is out. It is the first, or alike.
    #[inline(always)]
    unsafe fn release(&mut self, id: usize, record: Record) -> T {
        // SAFETY: promised by the caller.
        unsafe {
            self.buffers.record(id).link = *self.first_free as u16;
            *self.first_free = id;
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
    unsafe fn release_oldest(&mut self, id: usize, record: Record) -> T {
        *self.stride = record.descriptors as u16;
        self.taken += 1;
        // SAFETY: promised by the caller.
        unsafe { self.buffers.take(id) }
    }
}

impl<P: Part, T> Drop for Taker<'_, P, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // All of the buffers but the last end before the ring does.
        let descriptors = *self.stride * self.taken as u16;
        *self.free += u32::from(descriptors);
        self.next_used.advance(descriptors, self.ring.size());
    }
}
