//! Memory for devices, and the devices' registers in memory.

use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

#[cfg(not(target_arch = "s390x"))]
use ringwright_memory::MappedRegisters;
use ringwright_memory::{Area, Segment};

/// Bytes of the memory that devices reach.
const LENGTH: usize = 8 << 20;

/// Memory that devices reach: part of the image, which has the same addresses for them.
#[repr(align(4096))]
struct Memory(UnsafeCell<[u8; LENGTH]>);

// SAFETY: it is used once, by `area`.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; LENGTH]));

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The memory that devices reach, for the first who asks.
pub fn area() -> Option<Arc<Area>> {
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    let pointer = MEMORY.0.get().cast::<u8>();
    // SAFETY: this is done once, so nothing else has a pointer to this memory, which lives as long as the program. Every
    // address is the same for devices.
    unsafe {
        let segment = Segment::new(pointer, LENGTH);
        Area::from_raw(segment, pointer as u64, Arc::new(()))
    }
}

/// The `length` bytes of registers at `address`; `None` if there is no such address.
///
/// # Safety
///
/// They are registers of virtio devices or lead to such registers, and nobody else uses them.
#[cfg(not(target_arch = "s390x"))]
pub(crate) unsafe fn registers(address: u64, length: u64) -> Option<MappedRegisters> {
    let first = usize::try_from(address).ok().filter(|first| *first != 0)?;
    let length = usize::try_from(length).ok()?;
    first.checked_add(length)?;
    let pointer = core::ptr::with_exposed_provenance_mut(first);
    // SAFETY: everything is mapped where it is, registers as such. Only drivers are given them, and those tell devices of
    // no memory but buffers.
    Some(unsafe { MappedRegisters::new(pointer, length) })
}
