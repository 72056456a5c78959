//! Memory mapped into this process.
//!
//! `unsafe` is needed here for the system calls that map and unmap memory.

use crate::Segment;
use alloc::sync::Arc;
use core::ptr;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Memory mapped into this process, unmapped on drop.
///
/// A file is checked to be long enough when it is mapped. If another process makes it shorter later, touching the
/// pages that are gone ends this process with SIGBUS; no check here can prevent that. A memfd sealed against shrinking
/// is safe from it: [`is_sealed`](Self::is_sealed) tells, and [`memfd`](Self::memfd) makes one.
#[derive(Debug)]
pub struct Mapping {
    /// The bytes asked for.
    segment: Segment,
    /// Bytes mapped before those, because a mapping starts on a page.
    before: usize,
    /// Bytes mapped in all, a multiple of the page size of a huge page file.
    mapped: usize,
    writable: bool,
    sealed: bool,
    file: Option<(Arc<OwnedFd>, u64)>,
}

/// Why memory was not mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// No bytes were asked for.
    #[error("a mapping of no bytes")]
    Empty,
    /// The range does not fit this machine's address space or file offsets.
    #[error("{length:#x} bytes at offset {offset:#x} are more than this machine can map")]
    TooLarge {
        /// Offset in the file.
        offset: u64,
        /// Length in bytes.
        length: u64,
    },
    /// The file ends before the range does.
    #[error("{length:#x} bytes at offset {offset:#x} were to be mapped, but the file has {size:#x} bytes")]
    FileTooShort {
        /// Offset in the file.
        offset: u64,
        /// Length in bytes.
        length: u64,
        /// Size of the file in bytes.
        size: u64,
    },
    /// The descriptor is not of a regular file or memfd, so its length cannot be checked.
    #[error("only regular files and memfds can be mapped")]
    NotAFile,
    /// The system refused.
    #[error("{call}: {source}")]
    System {
        /// The system call that failed.
        call: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl Mapping {
    /// `length` bytes of fresh memory, all zero, private to this process. Length in bytes, of any size.
    pub fn anonymous(length: usize) -> Result<Self, MappingError> {
        if length == 0 {
            return Err(MappingError::Empty);
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the system's choice touches no memory in use.
        let pointer = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), length, protection, flags) };
        let pointer = pointer.map_err(|errno| system("mmap", errno))?;
        // SAFETY: the system just mapped these bytes; they stay until drop.
        let segment = unsafe { Segment::new(pointer.cast(), length) };
        Ok(Self {
            segment,
            before: 0,
            mapped: length,
            writable: true,
            sealed: true,
            file: None,
        })
    }

    /// `length` bytes of fresh memory, all zero, in a memfd called `name` that can be sent to another process. It is
    /// sealed against shrinking and growing.
    pub fn memfd(name: &str, length: usize) -> Result<Self, MappingError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create(name, flags).map_err(|errno| system("memfd_create", errno))?;
        rustix::fs::ftruncate(&file, length as u64).map_err(|errno| system("ftruncate", errno))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(|errno| system("fcntl(F_ADD_SEALS)", errno))?;
        Self::file(file, 0, length as u64, true)
    }

    /// `length` bytes of `file` from byte `offset` on, shared with everyone who maps or reads the file. Neither
    /// number needs to be a multiple of the page size. Refused if the file ends before the range does.
    pub fn file(file: OwnedFd, offset: u64, length: u64, writable: bool) -> Result<Self, MappingError> {
        if length == 0 {
            return Err(MappingError::Empty);
        }
        let too_large = || MappingError::TooLarge { offset, length };
        let end = offset.checked_add(length).ok_or_else(too_large)?;
        let status = rustix::fs::fstat(&file).map_err(|errno| system("fstat", errno))?;
        if !rustix::fs::FileType::from_raw_mode(status.st_mode).is_file() {
            return Err(MappingError::NotAFile);
        }
        let size = u64::try_from(status.st_size).unwrap_or(0);
        if end > size {
            return Err(MappingError::FileTooShort { offset, length, size });
        }
        let granule = granule(&file)?;
        let start = offset - offset % granule;
        let before = usize::try_from(offset - start).map_err(|_| too_large())?;
        let wanted = usize::try_from(length).map_err(|_| too_large())?;
        let mapped = (end - start)
            .checked_next_multiple_of(granule)
            .ok_or_else(too_large)?;
        let mapped = usize::try_from(mapped).map_err(|_| too_large())?;
        let protection = if writable {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        // SAFETY: a new mapping at an address of the system's choice touches no memory in use.
        let pointer = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                mapped,
                protection,
                MapFlags::SHARED,
                &file,
                start,
            )
        };
        let pointer = pointer.map_err(|errno| system("mmap", errno))?.cast::<u8>();
        // SAFETY: `before` is less than the length just mapped.
        let segment = unsafe { Segment::new(pointer.add(before), wanted) };
        let sealed = rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        Ok(Self {
            segment,
            before,
            mapped,
            writable,
            sealed,
            file: Some((Arc::new(file), offset)),
        })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.segment.len()
    }

    /// Whether the mapping has no bytes; none is.
    pub fn is_empty(&self) -> bool {
        self.segment.is_empty()
    }

    /// The memory. Valid while the mapping lives.
    pub fn segment(&self) -> Segment {
        self.segment
    }

    /// Whether the memory may be written.
    pub fn writable(&self) -> bool {
        self.writable
    }

    /// Whether no one can take the memory away by shortening a file.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The file behind the memory, in the form that a region keeps.
    pub(crate) fn shared_file(&self) -> Option<(Arc<dyn AsFd + Send + Sync>, u64)> {
        let (file, offset) = self.file.as_ref()?;
        Some((file.clone(), *offset))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let pointer = self.segment.pointer().wrapping_sub(self.before);
        // SAFETY: exactly what was mapped; whoever uses the memory keeps the mapping, so no one uses it any more.
        let unmapped = unsafe { rustix::mm::munmap(pointer.cast(), self.mapped) };
        debug_assert!(unmapped.is_ok(), "a mapping can be unmapped");
    }
}

/// Magic number of hugetlbfs (`statfs(2)`).
const HUGETLBFS_MAGIC: u64 = 0x958458f6;

/// What the offset and length of a mapping of `file` are multiples of: its huge page size on hugetlbfs, else a page.
fn granule(file: &OwnedFd) -> Result<u64, MappingError> {
    let system_page = rustix::param::page_size() as u64;
    let status = rustix::fs::fstatfs(file).map_err(|errno| system("fstatfs", errno))?;
    if status.f_type as u64 & 0xffff_ffff != HUGETLBFS_MAGIC {
        return Ok(system_page);
    }
    Ok(u64::try_from(status.f_bsize).unwrap_or(0).max(system_page))
}

fn system(call: &'static str, errno: Errno) -> MappingError {
    MappingError::System {
        call,
        source: errno.into(),
    }
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
