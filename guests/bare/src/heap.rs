//! The heap: a fixed piece of the image.

use core::cell::UnsafeCell;

use linked_list_allocator::LockedHeap;

/// Bytes of it.
const LENGTH: usize = 1 << 20;

#[global_allocator]
static ALLOCATOR: LockedHeap = LockedHeap::empty();

/// The memory.
#[repr(align(16))]
struct Memory(UnsafeCell<[u8; LENGTH]>);

// SAFETY: it is used once, by `begin`.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; LENGTH]));

/// Gives the allocator its memory. For the entry point, once, before anything is allocated.
pub(crate) fn begin() {
    // SAFETY: the entry point calls this once, so nothing else has or gets a pointer to this memory, which lives as long
    // as the program.
    unsafe { ALLOCATOR.lock().init(MEMORY.0.get().cast(), LENGTH) }
}
