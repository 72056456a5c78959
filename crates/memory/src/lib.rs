//! The memory that a VIRTIO device and its driver share.
//!
//! A device reaches a driver's buffers by address (VIRTIO 1.4, 2.6 "Virtqueues"): the addresses in descriptors are
//! guest-physical, or, with VIRTIO_F_ACCESS_PLATFORM, addresses that an IOMMU translates. This crate turns them
//! into host memory for the device end, and hands out memory that a device can reach for the driver end.
//!
//! Device end, from the outside in:
//!
//! - [`Mapping`] (feature `std`) maps a file, a memfd or anonymous memory into this process.
//! - [`Region`] places such memory at a guest address; [`Memory`] is an unchanging set of regions and resolves
//!   addresses to [`Segment`]s, fast through a [`Window`]. [`MemoryMap`] is the handle through which the set is
//!   replaced while queues run. A [`Whole`] is a range that is needed in one piece, such as a part of a virtqueue.
//! - [`Translate`] and [`Iotlb`] stand before a `Memory` when VIRTIO_F_ACCESS_PLATFORM is negotiated.
//! - [`Slices`] is a view over segments: copies in and out, [`Reader`] and [`Writer`] cursors, and (feature `std`)
//!   file and socket transfers with no copy in between. [`Held`] keeps one beyond the borrow it comes from.
//! - [`Words`] is a region as a processor uses it: aligned words, and atomic updates of them.
//! - [`DirtyLog`] remembers which pages the device wrote.
//!
//! Driver end: [`Area`] is memory the device can reach, and [`Buffer`] an owned piece of it. [`MappedRegisters`] and, on
//! x86, `PortRegisters` are a device's registers.
//!
//! Shared memory is never seen as `&[u8]` or `&mut [u8]`: the other end may write at any moment. Every access here
//! is atomic, in assembly, or by system call; the head of `copy.rs` says why that is sound.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod copy;
mod cursor;
mod dirty;
mod dma;
mod fault;
mod held;
#[cfg(feature = "std")]
mod io;
mod lock;
mod map;
#[cfg(feature = "std")]
mod mapping;
mod memory;
mod region;
mod registers;
mod segment;
mod slices;
#[cfg(test)]
mod test_memory;
mod translate;
#[cfg(feature = "vm-memory")]
pub mod vm_memory;
mod whole;
mod window;
mod words;

pub use cursor::{Reader, Writer};
pub use dirty::{DirtyLog, Taken};
pub use dma::{Area, Buffer, DmaSegment};
pub use fault::{Access, Fault, MapError, OutOfBounds};
pub use held::{Foreign, Held};
pub use lock::{Guard, Lock};
pub use map::MemoryMap;
#[cfg(feature = "std")]
pub use mapping::{Mapping, MappingError};
pub use memory::Memory;
pub use region::Region;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub use registers::PortRegisters;
pub use registers::{MappedRegisters, NoRegister, Width};
pub use segment::{Atomic, Full, Segment, Sink};
pub use slices::{Segments, Slices};
pub use translate::{Iotlb, Translate};
pub use whole::Whole;
pub use window::Window;
pub use words::{Word, Words};
