//! Taking, processing and giving back in one go, in a split virtqueue.
//!
//! `unsafe` is needed here where an index was compared with the queue size before it is used.

use core::sync::atomic::Ordering::Acquire;

use super::super::alike::Alike;
use super::super::chain::Chain;
use super::super::core::Core;
use super::super::serve::Stop;
use super::Split;
use crate::split::{Descriptor, SplitRing};
use crate::words::Part;

impl<P: Part> Split<P> {
    /// Lets `handle` process the available chains, but no more than `limit`, and gives each back as it comes,
    /// for as long as they are alike. Tells how many that were, and why it ended.
    #[inline(always)]
    pub fn serve_alike<const N: usize, const READABLE: usize>(
        &mut self,
        core: &mut Core,
        limit: u16,
        handle: &mut impl FnMut(&Chain<'_>) -> Option<u32>,
    ) -> (u16, Stop) {
        let mut run = self.run();
        let stop = loop {
            if run.served == run.known
                && let Err(stop) = run.look(limit)
            {
                break stop;
            }
            let head = run.head();
            if !core.in_flight.is_free(head) {
                break Stop::Other;
            }
            // SAFETY: ids that are free are below the queue size.
            let first = unsafe { run.ring.descriptor(head) };
            let next = |before: &Descriptor, flags| run.ring.next(before, flags);
            let Some(alike) = Alike::<N, READABLE>::gather(&core.window, first, 0, next) else {
                break Stop::Other;
            };
            // SAFETY: the segments outlive the chain; they were found in the core's memory.
            let chain = unsafe { Chain::new(alike.segments.as_ptr(), alike.taken(head)) };
            match chain.answer(handle(&chain)) {
                Ok(written) => run.give_back(head, written),
                Err(stop) => break stop,
            }
        };
        (run.served as u16, stop)
    }

    /// As [`serve_alike`](Self::serve_alike), but all chains that can be taken the short way.
    #[inline(always)]
    pub fn serve_short(
        &mut self,
        core: &mut Core,
        limit: u16,
        handle: &mut impl FnMut(&Chain<'_>) -> Option<u32>,
    ) -> (u16, Stop) {
        let mut run = self.run();
        let (start, end) = (core.scratch.as_mut_ptr(), core.scratch.limit());
        let stop = loop {
            if run.served == run.known
                && let Err(stop) = run.look(limit)
            {
                break stop;
            }
            let head = run.head();
            if !core.in_flight.is_free(head) {
                break Stop::Other;
            }
            // SAFETY: ids that are free are below the queue size, and the scratch has that much room.
            let Some(short) = (unsafe { Self::gather_short(&run.ring, core, head, start, end) }) else {
                break Stop::Other;
            };
            // SAFETY: the scratch stays as it is until the chain is gone; its segments were found in the core's memory.
            let chain = unsafe { Chain::new(start, short.taken(head, 0)) };
            match chain.answer(handle(&chain)) {
                Ok(written) => run.give_back(head, written),
                Err(stop) => break stop,
            }
        };
        (run.served as u16, stop)
    }

    /// A run that knows of no chains yet.
    #[inline(always)]
    fn run(&mut self) -> Run<'_, P> {
        Run {
            // Nothing in the loop is kept where shared memory could be thought to overlap it.
            ring: self.ring.clone(),
            next_available: self.next_available.into(),
            next_used: self.next_used.into(),
            served: 0,
            known: 0,
            queue: self,
        }
    }
}

/// Chains that are served one after the other. In the end the queue knows of them, also if code of its user panics in
/// between.
struct Run<'q, P: Part> {
    ring: SplitRing<P>,
    /// The first entries of the available ring and of the used ring.
    next_available: usize,
    next_used: usize,
    /// Chains served, and those that are known to be there.
    served: usize,
    known: usize,
    queue: &'q mut Split<P>,
}

impl<P: Part> Run<'_, P> {
    /// Looks for more chains, but no more than `limit` in all. Or tells why there are none.
    #[inline(always)]
    fn look(&mut self, limit: u16) -> Result<(), Stop> {
        let (next, left) = (
            self.queue.next_available.wrapping_add(self.served as u16),
            limit - self.served as u16,
        );
        if left == 0 {
            return Err(Stop::Limit);
        }
        // Acquire as in `refill`.
        let found = self.ring.available_index(Acquire);
        let news = found.wrapping_sub(next);
        if news == 0 {
            return Err(Stop::Empty);
        }
        if news > self.ring.size() {
            return Err(Stop::Other);
        }
        self.queue.available = found;
        self.known += usize::from(news.min(left));
        Ok(())
    }

    /// The next chain's head.
    #[inline(always)]
    fn head(&self) -> u16 {
        self.ring.available_entry(self.next_available + self.served)
    }

    /// Gives the next chain back, which has this head.
    #[inline(always)]
    fn give_back(&mut self, head: u16, written: u32) {
        self.ring
            .set_used_entry(self.next_used + self.served, head.into(), written);
        self.served += 1;
    }
}

impl<P: Part> Drop for Run<'_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        let queue = &mut *self.queue;
        queue.next_available = queue.next_available.wrapping_add(self.served as u16);
        queue.next_used = queue.next_used.wrapping_add(self.served as u16);
    }
}
