//! Buffers in flight, written down in memory that outlives this process, so that the device end that comes after it
//! completes each of them once. The memory has the layout of the vhost-user protocol ("Inflight I/O tracking").
//!
//! What has to survive is a process that is killed between any two instructions. Its stores then are in memory up to one,
//! in the order of the program; so it is the compiler that has to keep them in order, and nothing else.

mod packed;
mod split;
#[cfg(test)]
pub(super) mod tests;

use alloc::vec::Vec;
use core::sync::atomic::{Ordering, compiler_fence};

use ringwright_memory::{Word, Words};

pub(super) use self::packed::TrackPacked;
pub(super) use self::split::TrackSplit;
use crate::SetupError;
use crate::split::Descriptor;

/// Offset of `version` in a region of either format: 0 says that the region was not used yet.
const VERSION: u64 = 8;
/// Offset of `desc_num`: how many entries follow.
const ENTRIES: u64 = 10;
/// The one version there is.
const THIS_VERSION: u16 = 1;

/// Memory in which the buffers in flight of one virtqueue are written down, for
/// [`DeviceQueue::track`](super::DeviceQueue::track). Fresh memory is all zero.
#[derive(Clone, Debug)]
pub struct InflightRegion {
    words: Words,
    start: u64,
    entries: u16,
}

impl InflightRegion {
    /// Size in bytes of a region for a virtqueue of up to `entries` descriptors; a multiple of 64.
    pub const fn size(entries: u16, packed: bool) -> u64 {
        let (header, entry) = match packed {
            true => (packed::HEADER, packed::ENTRY),
            false => (split::HEADER, split::ENTRY),
        };
        (header + entry * entries as u64).next_multiple_of(64)
    }

    /// The region that starts at byte `start` of `words`, for a virtqueue of up to `entries` descriptors in this format.
    /// `None` if it is not all within them, or does not start at a multiple of 8.
    pub fn new(words: Words, start: u64, entries: u16, packed: bool) -> Option<Self> {
        let end = start.checked_add(Self::size(entries, packed))?;
        (start.is_multiple_of(8) && end <= words.len()).then_some(Self {
            words,
            start,
            entries,
        })
    }

    /// The word at `offset`, in the byte order of this machine.
    fn load<W: Native>(&self, offset: u64) -> W {
        // `new` has seen to it that all offsets there are lie within the words.
        W::native(self.words.load(self.start + offset).unwrap_or_default())
    }

    /// Puts a word at `offset`, after everything that was stored before and before everything that is stored later.
    fn store<W: Native>(&self, offset: u64, value: W) {
        #[cfg(test)]
        tests::crash_point();
        compiler_fence(Ordering::SeqCst);
        self.words.store(self.start + offset, W::native(value));
        compiler_fence(Ordering::SeqCst);
        #[cfg(test)]
        tests::crash_point();
    }

    /// Whether the region has been used. Fails if it is none for so many descriptors.
    fn is_used(&self, size: u16) -> Result<bool, SetupError> {
        let (version, entries) = (self.load::<u16>(VERSION), self.load::<u16>(ENTRIES));
        match version {
            _ if self.entries < size => Err(SetupError::Inflight("it has fewer entries than the virtqueue")),
            0 => Ok(false),
            THIS_VERSION if entries == self.entries => Ok(true),
            THIS_VERSION => Err(SetupError::Inflight("it is for another number of entries")),
            _ => Err(SetupError::Inflight("its version is not 1")),
        }
    }

    /// The last step of setting up: from now on the region is used.
    fn begin(&self) {
        self.store(ENTRIES, self.entries);
        self.store(VERSION, THIS_VERSION);
    }
}

/// A word in the byte order of this machine, where [`Words`] have them little-endian.
trait Native: Word + Default {
    /// Swaps what [`Words`] swap; its own inverse.
    fn native(self) -> Self;
}

macro_rules! native {
    ($($word:ty),*) => {
        $(impl Native for $word {
            fn native(self) -> Self {
                self.to_le()
            }
        })*
    };
}
native!(u8, u16, u32, u64);

/// The tracking of one virtqueue, by its format.
pub(super) enum Tracking {
    Split(TrackSplit),
    Packed(TrackPacked),
}

impl Tracking {
    /// The buffers that are to be taken once more.
    pub fn again(&self) -> &Again {
        match self {
            Self::Split(track) => &track.again,
            Self::Packed(track) => &track.again,
        }
    }

    /// As [`again`](Self::again).
    pub fn again_mut(&mut self) -> &mut Again {
        match self {
            Self::Split(track) => &mut track.again,
            Self::Packed(track) => &mut track.again,
        }
    }

    /// The newest buffer taken was not taken after all.
    pub fn undo(&mut self, id: u16) {
        match self {
            Self::Split(track) => track.undo(id),
            Self::Packed(track) => track.undo(id),
        }
    }

    /// The used element of a buffer is written, but not to be seen by the driver yet.
    pub fn used(&mut self, id: u16) {
        match self {
            Self::Split(track) => track.used(id),
            Self::Packed(track) => track.used(id),
        }
    }
}

/// The buffers that were in flight when the device end before this one ended, in the order in which it had taken them.
#[derive(Default)]
pub(super) struct Again {
    buffers: Vec<Resubmission>,
    /// How many of them have been taken.
    taken: usize,
    /// The descriptors that lists in a packed ring had.
    descriptors: Vec<Descriptor>,
}

/// One buffer to take once more.
#[derive(Clone, Copy)]
pub(super) struct Resubmission {
    pub id: u16,
    /// Order of taking.
    counter: u64,
    /// The first of its descriptors, and how many there are; packed only.
    pub first: usize,
    pub descriptors: u16,
}

impl Again {
    fn new(mut buffers: Vec<Resubmission>, descriptors: Vec<Descriptor>) -> Self {
        buffers.sort_by_key(|buffer| buffer.counter);
        Self {
            buffers,
            taken: 0,
            descriptors,
        }
    }

    /// How many there are.
    pub fn len(&self) -> u16 {
        self.buffers.len() as u16
    }

    /// Whether there is a next one.
    #[inline(always)]
    pub fn is_left(&self) -> bool {
        self.taken < self.buffers.len()
    }

    /// The next one, which stays that until [`advance`](Self::advance).
    pub fn next(&self) -> Option<Resubmission> {
        self.buffers.get(self.taken).copied()
    }

    /// Descriptor `index` of those that were written down.
    pub fn descriptor(&self, index: usize) -> Option<Descriptor> {
        self.descriptors.get(index).copied()
    }

    /// The next one has been taken.
    pub fn advance(&mut self) {
        self.taken += 1;
    }

    /// Takes back the newest one taken, if that is `id`.
    pub fn push_back(&mut self, id: u16) -> bool {
        let newest = self
            .taken
            .checked_sub(1)
            .and_then(|index| self.buffers.get(index));
        let found = newest.is_some_and(|buffer| buffer.id == id);
        self.taken -= usize::from(found);
        found
    }

    /// The value that the global counter goes on with.
    fn next_counter(&self) -> u64 {
        self.buffers
            .last()
            .map_or(0, |newest| newest.counter.wrapping_add(1))
    }
}
