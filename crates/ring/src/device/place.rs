//! Where the parts of a virtqueue are in host memory, and that they may be elsewhere later, or not so easy to use.
//!
//! `unsafe` is needed here where addresses that were resolved become the parts of a ring.

use alloc::sync::Arc;

use ringwright_memory::{Memory, Whole};

use super::parts::Parts;
use super::{DeviceQueue, Ring};
use crate::{RingError, SetupError, Violation};

impl DeviceQueue {
    /// Goes on with changed memory, in which the parts of the virtqueue are looked up and checked again. On an error
    /// the queue keeps the memory it has.
    ///
    /// Buffers in flight were resolved in the old memory; whoever holds their segments keeps that alive.
    pub fn set_memory(&mut self, memory: Arc<Memory>) -> Result<(), SetupError> {
        self.place(&memory)?;
        self.core.set_memory(memory);
        self.choose_way();
        Ok(())
    }

    /// Looks the parts up again if the translation is not as it was when they were. Every access to the virtqueue comes after
    /// this: where it was, something else may be now.
    pub(super) fn renew(&mut self) -> Result<(), RingError> {
        if self.is_outdated() {
            let memory = self.core.memory.clone();
            self.place(&memory)
                .map_err(|error| self.core.fail(Violation::Part(error)))?;
        }
        Ok(())
    }

    /// Whether the translation has changed since the parts were looked up.
    pub(super) fn is_outdated(&self) -> bool {
        let translation = self.core.memory.translation();
        translation.map(|translation| translation.generation()) != self.generation
    }

    /// Takes the short ways if they are for this queue as it is now.
    pub(super) fn choose_way(&mut self) {
        let (plain, tracked) = (self.core.is_plain(), self.core.tracking.is_some());
        self.ring = match &self.ring {
            Ring::Split(ring) | Ring::TrackedSplit(ring) | Ring::LongSplit(ring) => match (plain, tracked) {
                (true, false) => Ring::Split(ring.clone()),
                (true, true) => Ring::TrackedSplit(ring.clone()),
                (false, _) => Ring::LongSplit(ring.clone()),
            },
            Ring::Packed(ring) | Ring::TrackedPacked(ring) | Ring::LongPacked(ring) => match (plain, tracked)
            {
                (true, false) => Ring::Packed(ring.clone()),
                (true, true) => Ring::TrackedPacked(ring.clone()),
                (false, _) => Ring::LongPacked(ring.clone()),
            },
            Ring::LongSplitBig(_) => return,
        };
    }

    /// Looks the parts up in `memory` and makes the ring use them.
    fn place(&mut self, memory: &Memory) -> Result<(), SetupError> {
        let format = self.core.format();
        let generation = memory.translation().map(|translation| translation.generation());
        let parts = Parts::resolve(&self.layout, format, memory, Some(&self.parts))?;
        let size = self.layout.size;
        // SAFETY: the parts were resolved for this layout and are kept below, and the core keeps or is about to be given the
        // memory.
        unsafe {
            match &mut self.ring {
                Ring::Split(ring) | Ring::TrackedSplit(ring) | Ring::LongSplit(ring) => {
                    ring.ring = parts.split(size);
                }
                Ring::LongSplitBig(ring) => ring.ring = parts.split(size),
                Ring::Packed(ring) | Ring::TrackedPacked(ring) | Ring::LongPacked(ring) => {
                    ring.ring = parts.packed(size);
                }
            }
        }
        (self.parts, self.generation) = (parts, generation);
        Ok(())
    }

    /// Marks what suppressing notifications may have written.
    pub(super) fn mark_device_area(&self) {
        self.mark(&self.parts.device);
    }

    /// Marks a part in the dirty log, if there is one.
    pub(super) fn mark(&self, part: &Whole) {
        if self.core.written.is_some() {
            let length = part.segment().len();
            self.core.memory.mark_written(part.pieces(), length);
        }
    }
}
