//! A view that outlives the borrow it comes from.
//!
//! `unsafe` is needed here because segments become a view again.

use crate::{Memory, Segment, Slices};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// The segments of a view, together with the [`Memory`] that keeps them: for transfers that go on after the chain was put
/// aside, by the kernel, another thread or a peer. Made to be filled again and again; nothing is allocated for a view of no
/// more segments than an earlier one had.
#[derive(Default)]
pub struct Held {
    /// All within regions of `memory`, and in writable ones if `writable`.
    segments: Vec<Segment>,
    writable: bool,
    memory: Option<Arc<Memory>>,
}

/// A view cannot be held by a memory that its segments do not lie in, or not with the access that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign;

impl Held {
    /// Holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds `view` instead of what was held before. Its segments must lie in `memory`, which the memory of a virtqueue does
    /// for every view of its chains. Holds nothing after an error.
    pub fn hold(&mut self, view: Slices<'_>, memory: &Arc<Memory>) -> Result<(), Foreign> {
        self.release();
        let writable = view.is_writable();
        for segment in view.segments() {
            if !lies_in(segment, memory, writable) {
                self.segments.clear();
                return Err(Foreign);
            }
            self.segments.push(segment);
        }
        self.writable = writable;
        self.memory = Some(memory.clone());
        Ok(())
    }

    /// Takes away the first `count` bytes of the view, no more than there are.
    pub fn advance(&mut self, mut count: usize) {
        let whole = self.segments.iter().take_while(|segment| {
            let fits = segment.len() <= count;
            count -= if fits { segment.len() } else { 0 };
            fits
        });
        let whole = whole.count();
        self.segments.drain(..whole);
        if let Some(first) = self.segments.first_mut()
            && let Some(rest) = first.part(count, first.len() - count)
        {
            *first = rest;
        }
    }

    /// Lets go of the view, and of the memory.
    pub fn release(&mut self) {
        self.segments.clear();
        self.memory = None;
    }

    /// The view: of nothing if none is held.
    pub fn slices(&self) -> Slices<'_> {
        // SAFETY: each segment lies in a region of `memory`, which keeps it valid, and was made writable only where that
        // region is. Segments are taken in only with their memory, and both stay while they are borrowed.
        let view = unsafe { Slices::new(&self.segments) };
        if self.writable { view } else { view.read_only() }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("segments", &self.segments)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}

/// Whether a region of `memory` has all of the segment, for writing if need be.
fn lies_in(segment: Segment, memory: &Memory, writable: bool) -> bool {
    let start = segment.pointer() as usize;
    memory.regions().iter().any(|region| {
        let offset = start.wrapping_sub(region.pointer() as usize);
        let length = region.segment().len();
        offset < length && segment.len() <= length - offset && (region.writable() || !writable)
    })
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
