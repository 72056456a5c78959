//! Variables of a queue that a batch keeps at hand.

use core::ops::{Deref, DerefMut};

/// A variable that lives in a register for as long as a batch lasts: shared memory, which is written meanwhile, could be
/// thought to overlap its home. It goes back there in the end, also if code of the queue's user panics in between.
pub struct Local<'q, V: Copy> {
    home: &'q mut V,
    value: V,
}

impl<'q, V: Copy> Local<'q, V> {
    /// The variable at `home`.
    #[inline(always)]
    pub fn new(home: &'q mut V) -> Self {
        let value = *home;
        Self { home, value }
    }
}

impl<V: Copy> Deref for Local<'_, V> {
    type Target = V;

    #[inline(always)]
    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V: Copy> DerefMut for Local<'_, V> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut V {
        &mut self.value
    }
}

impl<V: Copy> Drop for Local<'_, V> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.home = self.value;
    }
}
