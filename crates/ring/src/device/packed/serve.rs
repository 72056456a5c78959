//! Taking, processing and giving back in one go, in a packed virtqueue.
//!
//! `unsafe` is needed here because positions in the ring are known to lie within it.

use core::hint::cold_path;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

use super::super::alike::Alike;
use super::super::chain::Chain;
use super::super::core::Core;
use super::super::gather::{INDIRECT, Short};
use super::super::serve::Stop;
use super::super::track::Tracking;
use super::{Packed, used_tail};
use crate::packed::{PackedRing, Position, STATE};
use crate::split::Descriptor;
use crate::words::Part;

impl<P: Part> Packed<P> {
    /// Lets `handle` process available chains, but no more than `limit` and none that reaches the ring's end, and gives each
    /// back as it comes, for as long as they are alike. Tells how many that were, and why it ended.
    #[inline(always)]
    pub fn serve_alike<const N: usize, const READABLE: usize, const TRACKED: bool>(
        &mut self,
        core: &mut Core,
        limit: u16,
        handle: &mut impl FnMut(&Chain<'_>) -> Option<u32>,
    ) -> (u16, Stop) {
        let Some(mut run) = self.run::<TRACKED>(core) else {
            return (0, Stop::Other);
        };
        let (size, start) = (run.ring.size(), run.index);
        let most = limit.min((size - start as u16) / N as u16);
        let end = start + N * usize::from(most);
        let stop = loop {
            if run.index == end {
                break if most == 0 { Stop::Other } else { Stop::Limit };
            }
            // SAFETY: all descriptors come before the end of the ring. Acquire as in `pop_short`.
            let first = unsafe { run.ring.descriptor(run.index, 0, Acquire) };
            let mut index = run.index;
            let next = |before: &Descriptor, flags| {
                index += 1;
                // SAFETY: likewise.
                (before.flags == flags).then(|| unsafe { run.ring.descriptor(index, 0, Relaxed) })
            };
            let Some(alike) = Alike::<N, READABLE>::gather(&core.window, first, run.flags(), next) else {
                break run.stop(first);
            };
            let id = alike.last.link;
            if id >= size {
                break Stop::Other;
            }
            // SAFETY: the segments outlive the chain; they were found in the core's memory.
            let chain = unsafe { Chain::new(alike.segments.as_ptr(), alike.taken(id)) };
            match chain.answer(handle(&chain)) {
                Ok(written) if TRACKED => run.stage(core, id, written, N),
                // SAFETY: the descriptors come before the end of the ring.
                Ok(written) => unsafe { run.give_back(id, written, N) },
                Err(stop) => break stop,
            }
        };
        (((run.index - start) / N) as u16, stop)
    }

    /// As [`serve_alike`](Self::serve_alike), but all chains that can be taken the short way.
    #[inline(always)]
    pub fn serve_short<const TRACKED: bool>(
        &mut self,
        core: &mut Core,
        limit: u16,
        handle: &mut impl FnMut(&Chain<'_>) -> Option<u32>,
    ) -> (u16, Stop) {
        let Some(mut run) = self.run::<TRACKED>(core) else {
            return (0, Stop::Other);
        };
        let size = run.ring.size();
        let (place, end) = (core.scratch.as_mut_ptr(), core.scratch.limit());
        let mut served = 0;
        let stop = loop {
            if served == limit || run.index == usize::from(size) {
                break Stop::Limit;
            }
            // SAFETY: below the size. Acquire as in `pop_short`.
            let first = unsafe { run.ring.descriptor(run.index, 0, Acquire) };
            let plain = Descriptor {
                flags: first.flags ^ run.flags(),
                ..first
            };
            let mut descriptors = 1;
            let gathered = if plain.flags == INDIRECT && core.indirect {
                // SAFETY: there is room for `size` segments, so at least one.
                let short = unsafe { Short::gather_table(&core.window, place, end, &plain, Self::decode) };
                short.map(|short| (plain.link, short))
            } else {
                let next = |_: &Descriptor, _| {
                    let index = run.index + descriptors;
                    descriptors += 1;
                    // SAFETY: just compared.
                    (index < usize::from(size))
                        .then(|| unsafe { run.ring.descriptor(index, run.bits, Relaxed) })
                };
                // SAFETY: there is room for `size` segments, and `next` gives fewer descriptors.
                let short = unsafe { Short::gather(&core.window, place, plain, next) };
                short.map(|short| (short.last.link, short))
            };
            let Some((id, short)) = gathered else {
                break run.stop(first);
            };
            if id >= size {
                break Stop::Other;
            }
            // SAFETY: the scratch stays as it is until the chain is gone; its segments were found in the core's memory.
            let chain = unsafe { Chain::new(place, short.taken(id, 0)) };
            match chain.answer(handle(&chain)) {
                Ok(written) if TRACKED => run.stage(core, id, written, descriptors),
                // SAFETY: the descriptors come before the end of the ring.
                Ok(written) => unsafe { run.give_back(id, written, descriptors) },
                Err(stop) => break stop,
            }
            served += 1;
        };
        (served, stop)
    }

    /// A run from the next descriptor on, if nothing is in flight; with tracking, also not for the device end after this one.
    #[inline(always)]
    fn run<const TRACKED: bool>(&mut self, core: &mut Core) -> Option<Run<'_, P>> {
        let Position { index, bits } = self.next_available;
        // Each chain is marked used where it was made available.
        if self.room != self.ring.size() || self.next_used.index != index {
            return None;
        }
        if TRACKED {
            if self.first.is_some() {
                return None;
            }
            let most = usize::from(self.ring.size() - index);
            if let Some(Tracking::Packed(track)) = &core.tracking
                && !track.can_stage(most)
            {
                self.show(core);
            }
        }
        Some(Run {
            // Nothing in the loop is kept where shared memory could be thought to overlap it.
            ring: self.ring.clone(),
            index: index.into(),
            bits,
            used: self.next_used.bits,
            queue: self,
        })
    }
}

/// Chains that are served one after the other, up to the end of the ring. In the end the queue knows of them, also if code of
/// its user panics in between.
struct Run<'q, P: Part> {
    ring: PackedRing<P>,
    /// The next descriptor, not beyond the end of the ring.
    index: usize,
    /// State bits of descriptors that are available and of those that are used.
    bits: u64,
    used: u64,
    queue: &'q mut Packed<P>,
}

impl<P: Part> Run<'_, P> {
    /// Flags of an available descriptor that has no others.
    #[inline(always)]
    fn flags(&self) -> u16 {
        (self.bits >> 48) as u16
    }

    /// Why a chain that starts with `first` cannot be served here.
    #[inline(always)]
    fn stop(&self, first: Descriptor) -> Stop {
        if (u64::from(first.flags) << 48 ^ self.bits) & STATE == 0 {
            Stop::Other
        } else {
            Stop::Empty
        }
    }

    /// Marks the next chain used.
    ///
    /// # Safety
    ///
    /// It has so many descriptors before the end of the ring.
    #[inline(always)]
    unsafe fn give_back(&mut self, id: u16, written: u32, descriptors: usize) {
        let tail = used_tail(id, written, self.used);
        if self.queue.first.is_some() {
            // SAFETY: below the size. Relaxed as in `write_used`.
            unsafe { self.ring.set_tail(self.index, tail, Relaxed) };
        } else {
            cold_path();
            self.queue.first = Some((self.index as u16, tail));
        }
        self.index += descriptors;
    }
}

impl<P: Part> Run<'_, P> {
    /// Notes that the next chain is used, which has so many descriptors. Its first one is left as it is, because the device end
    /// after this one may need it.
    #[inline(always)]
    fn stage(&mut self, core: &mut Core, id: u16, written: u32, descriptors: usize) {
        if let Some(Tracking::Packed(track)) = &mut core.tracking {
            track.stage(self.index as u16, used_tail(id, written, self.used));
        }
        self.index += descriptors;
    }
}

impl<P: Part> Drop for Run<'_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        let (queue, size) = (&mut *self.queue, self.ring.size());
        let descriptors = self.index as u16 - queue.next_available.index;
        queue.added = queue.added.wrapping_add(descriptors);
        queue.next_available.advance(descriptors, size);
        queue.next_used.advance(descriptors, size);
    }
}
