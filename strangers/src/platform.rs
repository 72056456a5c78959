//! What `virtio-drivers` needs of a machine: memory that the device reaches.
//!
//! `unsafe` is needed here because the crate's platform trait is unsafe to implement. The trait has no `self`: the memory
//! is that of the thread, on which one driver at a time meets its device.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Arc;

use ringwright_memory::{Area, Buffer};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// The memory of this thread's driver, and what the crate has of it, by address.
#[derive(Default)]
struct Held {
    area: Option<Arc<Area>>,
    buffers: BTreeMap<PhysAddr, Buffer>,
}

/// From now on the memory of this thread's driver is `area`.
pub fn settle(area: &Arc<Area>) {
    HELD.with_borrow_mut(|held| {
        *held = Held {
            area: Some(area.clone()),
            ..Held::default()
        }
    });
}

/// Memory of the area. Address 0, which the crate takes for an error, if there is none left.
fn hold(length: usize, align: usize) -> (PhysAddr, NonNull<u8>) {
    HELD.with_borrow_mut(|held| {
        let buffer = held.area.as_ref().and_then(|area| area.allocate(length, align));
        let Some((buffer, pointer)) = buffer.and_then(|buffer| {
            let pointer = NonNull::new(buffer.as_ptr())?;
            Some((buffer, pointer))
        }) else {
            return (0, NonNull::dangling());
        };
        // It has just been made of this length.
        let _ = buffer.write(0, &vec![0; length]);
        let address = buffer.segment().address();
        held.buffers.insert(address, buffer);
        (address, pointer)
    })
}

/// The platform.
pub struct Platform;

// SAFETY: every pointer that is given out is into a buffer of the area, which belongs to nobody else until it is given
// back: the area allocates no byte twice, and `HELD` keeps it mapped. It is page-aligned and zeroed where that is demanded.
// There is no MMIO: the crate's own transports are not used.
unsafe impl Hal for Platform {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        hold(pages * PAGE_SIZE, PAGE_SIZE)
    }

    unsafe fn dma_dealloc(address: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        HELD.with_borrow_mut(|held| drop(held.buffers.remove(&address)));
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::dangling()
    }

    /// Shares a copy: the device reaches nothing but the area.
    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        let (address, _) = hold(buffer.len(), 16);
        // SAFETY: the caller says that it is valid, and that nobody else accesses it meanwhile.
        let bytes = unsafe { buffer.as_ref() };
        HELD.with_borrow(|held| {
            let copy = held.buffers.get(&address);
            // The copy has the same length. If there is no room for one, the device is told of address 0, and a rule says so.
            copy.map(|copy| copy.write(0, bytes))
        });
        address
    }

    unsafe fn unshare(address: PhysAddr, mut buffer: NonNull<[u8]>, direction: BufferDirection) {
        let copy = HELD.with_borrow_mut(|held| held.buffers.remove(&address));
        if direction == BufferDirection::DriverToDevice {
            return;
        }
        // SAFETY: the caller says that it is valid, and that nobody else accesses it meanwhile; and the device may write it,
        // so it is not read-only.
        let bytes = unsafe { buffer.as_mut() };
        copy.map(|copy| copy.read(0, bytes));
    }
}
