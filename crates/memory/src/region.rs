//! One range of guest addresses and the host memory behind it.
//!
//! `unsafe` is needed here because a region may be made from any host memory, whose owner vouches for it.

#[cfg(feature = "std")]
use crate::Mapping;
use crate::Segment;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
#[cfg(feature = "std")]
use std::os::fd::{AsFd, BorrowedFd};

/// A range of guest-physical (or bus) addresses and the host memory behind it, which the region keeps alive.
/// Cloning a region shares the memory.
#[derive(Clone)]
pub struct Region {
    guest_address: u64,
    segment: Segment,
    writable: bool,
    owner: Arc<dyn Any + Send + Sync>,
    #[cfg(feature = "std")]
    file: Option<(Arc<dyn AsFd + Send + Sync>, u64)>,
}

impl Region {
    /// The whole of `mapping`, seen from `guest_address` on.
    #[cfg(feature = "std")]
    pub fn new(guest_address: u64, mapping: Arc<Mapping>) -> Self {
        let (segment, writable, file) = (mapping.segment(), mapping.writable(), mapping.shared_file());
        // SAFETY: the mapping is valid for the length it gives and stays until the last `Arc` of it is dropped.
        let region = unsafe { Self::from_raw(guest_address, segment, writable, mapping) };
        Self { file, ..region }
    }

    /// The `length` bytes of `mapping` from byte `offset` on, seen from `guest_address` on. `None` if the mapping does not
    /// have them. Many regions may share one mapping.
    #[cfg(feature = "std")]
    pub fn part(guest_address: u64, mapping: &Arc<Mapping>, offset: usize, length: usize) -> Option<Self> {
        let segment = mapping.segment().part(offset, length)?;
        let file = mapping.shared_file();
        // SAFETY: the segment lies in the mapping, which stays until the last `Arc` of it is dropped.
        let region = unsafe { Self::from_raw(guest_address, segment, mapping.writable(), mapping.clone()) };
        let file = file.map(|(file, start)| (file, start + offset as u64));
        Some(Self { file, ..region })
    }

    /// `segment`, seen from `guest_address` on. `owner` is dropped after the last use of the memory.
    ///
    /// # Safety
    ///
    /// Until `owner` is dropped, the memory of `segment` is valid for reading and, if `writable`, for writing, and
    /// no Rust reference to it exists except to atomics.
    pub unsafe fn from_raw(
        guest_address: u64,
        segment: Segment,
        writable: bool,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            guest_address,
            segment,
            writable,
            owner,
            #[cfg(feature = "std")]
            file: None,
        }
    }

    /// The same region, known to be a shared mapping of `file` from byte `offset` on.
    #[cfg(feature = "std")]
    pub fn with_file(self, file: Arc<dyn AsFd + Send + Sync>, offset: u64) -> Self {
        Self {
            file: Some((file, offset)),
            ..self
        }
    }

    /// First guest address.
    pub fn guest_address(&self) -> u64 {
        self.guest_address
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.segment.len() as u64
    }

    /// Whether the region has no bytes; no [`Memory`](crate::Memory) takes such a region.
    pub fn is_empty(&self) -> bool {
        self.segment.is_empty()
    }

    /// First byte of the host memory.
    pub fn pointer(&self) -> *mut u8 {
        self.segment.pointer()
    }

    /// The host memory. It stays for as long as this region or a clone of it.
    pub fn segment(&self) -> Segment {
        self.segment
    }

    /// Whether the memory may be written.
    pub fn writable(&self) -> bool {
        self.writable
    }

    /// The file that the memory is a shared mapping of, and the offset of the region's first byte in it: what
    /// another process needs to see the same memory.
    #[cfg(feature = "std")]
    pub fn file(&self) -> Option<(BorrowedFd<'_>, u64)> {
        self.file.as_ref().map(|(file, offset)| (file.as_fd(), *offset))
    }

    /// What keeps the memory alive.
    pub(crate) fn owner(&self) -> &Arc<dyn Any + Send + Sync> {
        &self.owner
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("guest_address", &format_args!("{:#x}", self.guest_address))
            .field("segment", &self.segment)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}
