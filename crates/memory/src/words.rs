//! Memory as a processor uses it: aligned words at offsets.
//!
//! `unsafe` is needed here because atomics are made from the raw memory of a region.

use crate::{Region, Segment};
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// The memory of a region, which it keeps alive, as little-endian words of 1, 2, 4 or 8 bytes at offsets that are
/// multiples of their size. Every access is one atomic access, so another thread or process sees all of a word or none.
///
/// Plain loads and stores order nothing. Offsets that are misaligned or beyond the end give `None`.
#[derive(Clone)]
pub struct Words {
    segment: Segment,
    _owner: Arc<dyn Any + Send + Sync>,
}

impl Words {
    /// The memory of `region`, or `None` if it cannot be written, does not start at a multiple of 8 in this process, or
    /// is not a multiple of 8 long.
    pub fn new(region: &Region) -> Option<Self> {
        let segment = region.segment();
        let whole = segment.pointer().cast::<u64>().is_aligned() && segment.len().is_multiple_of(8);
        (region.writable() && whole).then(|| Self {
            segment,
            _owner: region.owner().clone(),
        })
    }

    /// Length in bytes, a multiple of 8.
    #[inline(always)]
    pub fn len(&self) -> u64 {
        self.segment.len() as u64
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.segment.is_empty()
    }

    /// The word at byte `offset`.
    #[inline(always)]
    pub fn load<W: Word>(&self, offset: u64) -> Option<W> {
        Some(W::load(self.atomic::<W>(offset)?))
    }

    /// Puts `value` at byte `offset`.
    #[inline(always)]
    pub fn store<W: Word>(&self, offset: u64, value: W) -> Option<()> {
        W::store(self.atomic::<W>(offset)?, value);
        Some(())
    }

    /// Puts `new` at byte `offset` if `current` is there, and says whether it was. Sequentially consistent.
    pub fn compare_exchange<W: Word>(&self, offset: u64, current: W, new: W) -> Option<bool> {
        Some(W::compare_exchange(self.atomic::<W>(offset)?, current, new).is_ok())
    }

    /// Replaces the word at byte `offset` by what `change` makes of it, at once, and gives what was there before.
    /// Sequentially consistent. `change` is called again if another thread was faster.
    pub fn update<W: Word>(&self, offset: u64, change: impl Fn(W) -> W) -> Option<W> {
        let atomic = self.atomic::<W>(offset)?;
        let mut current = W::load(atomic);
        loop {
            match W::compare_exchange(atomic, current, change(current)) {
                Ok(()) => return Some(current),
                Err(other) => current = other,
            }
        }
    }

    #[inline(always)]
    fn atomic<W: Word>(&self, offset: u64) -> Option<&W::Atomic> {
        let size = size_of::<W>() as u64;
        if offset >= self.len() || !offset.is_multiple_of(size) {
            return None;
        }
        // SAFETY: the offset is a multiple of the size, which divides 8, and less than the length, which is a multiple
        // of 8: all of the word is within the segment, and aligned because the segment is for 8 bytes. The owner keeps
        // the memory for as long as `self`, and no one has a reference to it except to atomics.
        Some(unsafe { &*self.segment.pointer().add(offset as usize).cast::<W::Atomic>() })
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Words").field(&self.segment).finish()
    }
}

/// An unsigned integer that [`Words`] are made of.
pub trait Word: Copy + Eq + sealed::Word {}

mod sealed {
    /// Accesses to the atomic of a word.
    pub trait Word: Sized {
        /// An atomic of the same size, of which any bits are a value.
        type Atomic;
        fn load(atomic: &Self::Atomic) -> Self;
        fn store(atomic: &Self::Atomic, value: Self);
        fn compare_exchange(atomic: &Self::Atomic, current: Self, new: Self) -> Result<(), Self>;
    }
}

macro_rules! words {
    ($($word:ty, $atomic:ty;)*) => {
        $(impl Word for $word {}

        impl sealed::Word for $word {
            type Atomic = $atomic;

            #[inline(always)]
            fn load(atomic: &$atomic) -> Self {
                Self::from_le(atomic.load(Ordering::Relaxed))
            }

            #[inline(always)]
            fn store(atomic: &$atomic, value: Self) {
                atomic.store(value.to_le(), Ordering::Relaxed);
            }

            #[inline(always)]
            fn compare_exchange(atomic: &$atomic, current: Self, new: Self) -> Result<(), Self> {
                let exchanged =
                    atomic.compare_exchange(current.to_le(), new.to_le(), Ordering::SeqCst, Ordering::SeqCst);
                exchanged.map(|_| ()).map_err(Self::from_le)
            }
        })*
    };
}
words! {
    u8, AtomicU8;
    u16, AtomicU16;
    u32, AtomicU32;
    u64, AtomicU64;
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
