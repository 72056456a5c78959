//! Memory of the crate `vm-memory` as [`Memory`], so that monitors built on it can use this one's devices.
//!
//! `unsafe` is needed here because another crate's mappings are taken over as regions.

use crate::{MapError, Memory, Region, Segment};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use vm_memory::bitmap::Bitmap;
use vm_memory::{
    GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress,
};

/// `memory` as [`Memory`], which keeps the mappings alive. The bitmaps of `memory` are not told of writes: that is what
/// a [`DirtyLog`](crate::DirtyLog) is for.
pub fn from_mmap<B: Bitmap + Send + Sync + 'static>(memory: &GuestMemoryMmap<B>) -> Result<Memory, MapError> {
    Memory::new(memory.iter().map(region).collect())
}

/// `memory` as [`Memory`], which keeps it alive. For other implementations than [`from_mmap`] takes. A region that has
/// no host address is refused with [`MapError::Empty`].
///
/// # Safety
///
/// Each region of `memory` that gives a host address gives one that is valid for reading and writing the region's
/// length until `memory` is dropped.
pub unsafe fn from_backend<M>(memory: Arc<M>) -> Result<Memory, MapError>
where
    M: GuestMemoryBackend + Send + Sync + 'static,
{
    let mut regions = Vec::new();
    for region in memory.iter() {
        let address = region.start_addr().0;
        let pointer = region
            .get_host_address(MemoryRegionAddress(0))
            .map_err(|_| MapError::Empty { address })?;
        let length = usize::try_from(region.len()).map_err(|_| MapError::Overflow {
            address,
            length: region.len(),
        })?;
        let owner: Arc<dyn Any + Send + Sync> = memory.clone();
        // SAFETY: the caller vouches for the address; `owner` is `memory`.
        let ours = unsafe { Region::from_raw(address, Segment::new(pointer, length), true, owner) };
        regions.push(match region.file_offset() {
            Some(file) => ours.with_file(file.arc().clone(), file.start()),
            None => ours,
        });
    }
    Memory::new(regions)
}

/// One region with its mapping as owner.
fn region<B: Bitmap + Send + Sync + 'static>(region: &GuestRegionMmap<B>) -> Region {
    let mapping = region.get_mmap();
    let writable = mapping.prot() & libc::PROT_WRITE != 0;
    let (pointer, length) = (mapping.as_ptr(), mapping.size());
    let file = mapping
        .file_offset()
        .filter(|_| mapping.flags() & libc::MAP_SHARED != 0)
        .cloned();
    // SAFETY: a `MmapRegion` is a mapping of `size` bytes that stays until it is dropped, and `vm-memory` itself only
    // makes volatile accesses to it.
    let ours = unsafe {
        Region::from_raw(
            region.start_addr().0,
            Segment::new(pointer, length),
            writable,
            mapping,
        )
    };
    match file {
        Some(file) => ours.with_file(file.arc().clone(), file.start()),
        None => ours,
    }
}

#[cfg(test)]
#[path = "vm_memory_tests.rs"]
mod tests;
