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
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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

    /// Pieces of files one behind the other, each given as file, offset and length in bytes. The pieces must meet at the
    /// borders of pages, and are to be such as are mapped already, in files that are long enough.
    pub(crate) fn joined(
        pieces: &[(BorrowedFd<'_>, u64, usize)],
        writable: bool,
    ) -> Result<Self, MappingError> {
        let page = rustix::param::page_size() as u64;
        let &(_, first, _) = pieces.first().ok_or(MappingError::Empty)?;
        let before = first % page;
        let length = pieces
            .iter()
            .try_fold(0_usize, |sum, piece| sum.checked_add(piece.2));
        let mapped = length.and_then(|length| length.checked_add(before as usize));
        let mapped = mapped.and_then(|mapped| mapped.checked_next_multiple_of(page as usize));
        let (Some(length), Some(mapped)) = (length, mapped) else {
            let (offset, length) = (first, u64::MAX);
            return Err(MappingError::TooLarge { offset, length });
        };
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the system's choice touches no memory in use.
        let place = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), mapped, ProtFlags::empty(), flags) };
        let place = place.map_err(|errno| system("mmap", errno))?.cast::<u8>();
        // SAFETY: `before` is less than the length just mapped, which covers `length` bytes behind it.
        let segment = unsafe { Segment::new(place.add(before as usize), length) };
        // From here on an error unmaps all of it.
        let mut joined = Self {
            segment,
            before: before as usize,
            mapped,
            writable,
            sealed: true,
            file: None,
        };
        let protection = match writable {
            true => ProtFlags::READ | ProtFlags::WRITE,
            false => ProtFlags::READ,
        };
        let mut done = 0;
        for (file, offset, length) in pieces {
            let into_page = offset % page;
            let meets = done == 0 || (into_page == 0 && (done as u64).is_multiple_of(page));
            if !meets || granule(file)? != page {
                return Err(system("mmap", Errno::INVAL));
            }
            let length = into_page as usize + length;
            // SAFETY: the pieces lie in the range reserved above, one behind the other: `done` and `length` add up to no
            // more than `mapped`, and to less than the next page only at the end. Nobody uses the range yet.
            let outcome = unsafe {
                let at = place.add(done).cast();
                let flags = MapFlags::SHARED | MapFlags::FIXED;
                rustix::mm::mmap(at, length, protection, flags, file, offset - into_page)
            };
            outcome.map_err(|errno| system("mmap", errno))?;
            let seals = rustix::fs::fcntl_get_seals(file);
            joined.sealed &= seals.is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
            done += length;
        }
        Ok(joined)
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
fn granule(file: &impl AsFd) -> Result<u64, MappingError> {
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
