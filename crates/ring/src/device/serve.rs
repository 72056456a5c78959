//! Taking, processing and giving back in one go.
//!
//! `unsafe` is needed here to make views of memory that the queue keeps mapped.

use super::chain::Taken;
use super::{Chain, DeviceQueue, Ring, Token};
use crate::shape::Shape;
use crate::{RingError, Violation};

/// Why serving the short way ended.
pub enum Stop {
    /// As many as were asked for, or known of, are served.
    Limit,
    /// There is no more.
    Empty,
    /// The next chain, if there is any, is to be taken another way.
    Other,
    /// The next chain is to be taken the long way.
    Long,
    /// The chain's processing was put off.
    Later,
    /// More bytes are said to be written than there are.
    TooLong(Violation),
}

impl DeviceQueue {
    /// Lets `handle` process the next available buffers, up to `limit` of them, one after the other in the order in which
    /// the driver made them available, and gives each back with the number of bytes that `handle` says it wrote. For
    /// devices that answer at once this is the cheapest way: a buffer that cannot outlive the call need not be remembered.
    ///
    /// `None` from `handle` ends it; that buffer stays available. Gives the number of buffers given back, which the driver
    /// sees after the next [`publish`](Self::publish). Less than `limit` without a `None` means that there are no more.
    ///
    /// Errors are those of [`pop`](Self::pop) and [`complete`](Self::complete), and that more bytes are said to be written than
    /// there are, which leaves the queue unharmed. A buffer that was processed and cannot be given back stays available, so it
    /// is processed again. Buffers given back before an error count as such.
    ///
    /// ```text
    /// queue.serve(32, |chain| Some(process(chain.readable(), chain.writable())))?;
    /// if queue.publish()? { /* send a used buffer notification */ }
    /// ```
    #[inline]
    pub fn serve(
        &mut self,
        limit: u16,
        mut handle: impl FnMut(&Chain<'_>) -> Option<u32>,
    ) -> Result<u16, RingError> {
        let mut served = 0;
        while served != limit {
            let left = limit - served;
            let (mut count, mut stop) = match self.shape {
                _ if self.core.has_again() => (0, Stop::Long),
                Shape::Pair => self.serve_alike::<2, 1>(left, &mut handle),
                Shape::Readable => self.serve_alike::<1, 1>(left, &mut handle),
                Shape::Writable => self.serve_alike::<1, 0>(left, &mut handle),
                Shape::Input => self.serve_alike::<3, 1>(left, &mut handle),
                Shape::Output => self.serve_alike::<3, 2>(left, &mut handle),
                Shape::Other => (0, Stop::Other),
            };
            served += count;
            if let Stop::Other = stop {
                (count, stop) = self.serve_short(limit - served, &mut handle);
                served += count;
            }
            match stop {
                Stop::Limit => {}
                Stop::Empty | Stop::Later => break,
                Stop::TooLong(violation) => return Err(self.core.refuse(violation)),
                Stop::Other | Stop::Long => {
                    let mut taken = None;
                    self.take(&mut taken)?;
                    let Some(taken) = taken else { break };
                    let hold = Hold::new(self, &taken.token);
                    // SAFETY: as in `pop`.
                    let chain = unsafe { Chain::new(hold.queue.core.scratch.as_mut_ptr(), taken) };
                    let answer = chain.answer(handle(&chain));
                    if !hold.settle(answer)? {
                        break;
                    }
                    served += 1;
                }
            }
        }
        Ok(served)
    }

    /// Serves buffers of `N` elements, the first `READABLE` of them device-readable.
    #[inline(never)]
    fn serve_alike<const N: usize, const READABLE: usize>(
        &mut self,
        limit: u16,
        handle: &mut impl FnMut(&Chain<'_>) -> Option<u32>,
    ) -> (u16, Stop) {
        match &mut self.ring {
            Ring::Split(ring) | Ring::TrackedSplit(ring) => {
                ring.serve_alike::<N, READABLE>(&mut self.core, limit, handle)
            }
            Ring::Packed(ring) => ring.serve_alike::<N, READABLE, false>(&mut self.core, limit, handle),
            Ring::TrackedPacked(ring) => ring.serve_alike::<N, READABLE, true>(&mut self.core, limit, handle),
            _ => (0, Stop::Other),
        }
    }

    /// Serves what can be taken the short way, whatever its shape, and remembers that.
    #[inline(never)]
    fn serve_short(&mut self, limit: u16, handle: &mut impl FnMut(&Chain<'_>) -> Option<u32>) -> (u16, Stop) {
        let mut elements = (0, 0);
        let mut handle = |chain: &Chain<'_>| {
            elements = chain.elements();
            handle(chain)
        };
        let (served, stop) = match &mut self.ring {
            Ring::Split(ring) | Ring::TrackedSplit(ring) => {
                ring.serve_short(&mut self.core, limit, &mut handle)
            }
            Ring::Packed(ring) => ring.serve_short::<false>(&mut self.core, limit, &mut handle),
            Ring::TrackedPacked(ring) => ring.serve_short::<true>(&mut self.core, limit, &mut handle),
            _ => (0, Stop::Other),
        };
        if served != 0 {
            self.shape = Shape::of(elements.0, elements.1);
        }
        (served, stop)
    }

    /// As [`pop`](Self::pop), out of the way.
    #[inline(never)]
    fn take(&mut self, taken: &mut Option<Taken>) -> Result<(), RingError> {
        *taken = self.pop_taken()?;
        Ok(())
    }
}

/// Holds a buffer while it is processed, and pushes it back if it is not completed, also if `handle` panics.
struct Hold<'q> {
    queue: &'q mut DeviceQueue,
    token: Option<Token>,
}

impl<'q> Hold<'q> {
    fn new(queue: &'q mut DeviceQueue, token: &Token) -> Self {
        let token = Some(token.copy());
        Self { queue, token }
    }

    /// Completes the buffer if `answer` is one; tells whether it was.
    #[inline(never)]
    fn settle(mut self, answer: Result<u32, Stop>) -> Result<bool, RingError> {
        let written = match answer {
            Ok(written) => written,
            Err(Stop::TooLong(violation)) => return Err(self.queue.core.refuse(violation)),
            Err(_) => return Ok(false),
        };
        let Some(token) = &self.token else {
            return Ok(false);
        };
        self.queue.complete(token.copy(), written)?;
        self.token = None;
        Ok(true)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        #[cfg(test)]
        if super::track::tests::is_killed() {
            return;
        }
        if let Some(token) = self.token.take() {
            self.queue.push_back(token);
        }
    }
}

impl Chain<'_> {
    /// What `handle` said of this chain, if it is an answer and can be.
    #[inline(always)]
    pub(super) fn answer(&self, answer: Option<u32>) -> Result<u32, Stop> {
        let writable = self.token.writable;
        match answer {
            Some(written) if u64::from(written) <= writable => Ok(written),
            Some(written) => Err(Stop::TooLong(Violation::WrittenTooLong {
                id: self.token.id,
                written,
                writable,
            })),
            None => Err(Stop::Later),
        }
    }
}
