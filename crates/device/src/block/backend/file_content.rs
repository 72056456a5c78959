//! The open file of a raw disk, and what it does with requests.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use ringwright_memory::Slices;
use ringwright_spec::block::SECTOR_SIZE;
use ringwright_sys::disk::discard;
use rustix::fs::{AtFlags, FallocateFlags, StatxFlags, fallocate, fdatasync, fstatfs, statx};
use rustix::io::Errno;

use super::Request;
use super::bounce::Bounce;
use super::pool::Blocking;
use super::turn::Turn;

/// Most bytes of zeroes in one write, where the file system cannot zero a range by itself.
pub(super) const ZEROES: usize = 64 * 1024;

/// Size of a page of the page cache, or a multiple of it.
const PAGE: u64 = 4096;

/// The file system whose files are in memory anyway (`TMPFS_MAGIC` of `linux/magic.h`).
const TMPFS: u64 = 0x0102_1994;

/// The open file, and what is known of it.
#[derive(Debug)]
pub(super) struct Content {
    pub file: OwnedFd,
    pub capacity: AtomicU64,
    /// It is a block device, not a file.
    pub is_device: bool,
    /// What the page cache can do for us.
    pub cache: Cache,
    /// Why a flush has failed, if one has.
    pub flush_error: AtomicI32,
    /// For those who write to the page cache.
    pub turn: Turn,
}

/// Whether and how the page cache is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    /// Reading and writing it never waits: the file is in memory.
    IsTheFile,
    /// It says whether reading would wait. Writing to it waits only when far too much has not been written back.
    Telling,
    /// It does not say.
    Silent,
    /// It is not used. Offsets and lengths are to be multiples of the one, addresses of the other.
    Bypassed { offset: u64, memory: usize },
}

impl Content {
    fn zero(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        match fallocate(&self.file, zeroing(unmap), offset, length) {
            // What cannot be zeroed by deallocating it may still be zeroed faster than by hand.
            Err(Errno::OPNOTSUPP | Errno::NODEV) if unmap => self.zero(offset, length, false),
            Err(Errno::OPNOTSUPP | Errno::NODEV) => self.write_zeroes_by_hand(offset, length),
            outcome => Ok(outcome?),
        }
    }

    /// Discards what could not be deallocated so that it reads as zeroes, if that is possible otherwise: a block device may
    /// discard and promise nothing.
    pub fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        match self.is_device {
            true => match discard(&self.file, offset, length) {
                Err(error) if is_unsupported(&error) => Ok(()),
                outcome => outcome,
            },
            false => Ok(()),
        }
    }

    fn write_zeroes_by_hand(&self, mut offset: u64, length: u64) -> io::Result<()> {
        let end = offset + length;
        let zeroes = Bounce::new(ZEROES)?;
        while offset < end {
            let length = (end - offset).min(ZEROES as u64) as usize;
            zeroes.part(length)?.pwrite_all_at(&self.file, offset)?;
            offset += length as u64;
        }
        Ok(())
    }

    fn settle(&self, stable: bool) -> io::Result<()> {
        match stable {
            true => {
                self.may_flush()?;
                self.flushed(fdatasync(&self.file).map_err(io::Error::from))
            }
            false => Ok(()),
        }
    }

    /// Whether flushing makes sense: after one that has failed it does not. The kernel has forgotten which data could not be
    /// written, and would say of the next flush that all is well.
    pub fn may_flush(&self) -> io::Result<()> {
        match self.flush_error.load(Ordering::Relaxed) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Remembers a flush that has failed.
    pub fn flushed(&self, result: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &result
            && let Some(errno) = error.raw_os_error()
        {
            self.flush_error.store(errno, Ordering::Relaxed);
        }
        result
    }

    /// Whether data of this view can go to the file as they lie.
    pub fn takes(&self, view: Slices<'_>) -> bool {
        match self.cache {
            Cache::Bypassed { offset, memory } => view.segments().all(|segment| {
                (segment.pointer() as usize).is_multiple_of(memory)
                    && is_multiple(segment.len() as u64, offset)
            }),
            _ => true,
        }
    }
}

impl Blocking for Content {
    /// What the page cache can do without waiting for storage.
    fn now(&self, request: &Request<'_>) -> Option<io::Result<()>> {
        match (*request, self.cache) {
            (Request::Read { offset, into }, Cache::Telling) => {
                match into.pread_nowait(&self.file, offset) {
                    Ok(count) if count == into.len() => Some(Ok(())),
                    // What is missing, an error, the end of the file: for those who can wait to see.
                    _ => None,
                }
            }
            (Request::Read { offset, into }, Cache::IsTheFile) => {
                Some(into.pread_exact_at(&self.file, offset))
            }
            (
                Request::Write {
                    offset,
                    from,
                    stable: false,
                },
                Cache::Telling | Cache::IsTheFile,
            ) if is_multiple(offset, PAGE) && is_multiple(from.len() as u64, PAGE) => {
                // Whole pages: none has to be read first.
                let _mine = self.turn.wait();
                Some(from.pwrite_all_at(&self.file, offset))
            }
            _ => None,
        }
    }

    fn carry_out(&self, request: &Request<'_>) -> io::Result<()> {
        match *request {
            Request::Read { offset, into } if self.takes(into) => into.pread_exact_at(&self.file, offset),
            Request::Read { offset, into } => {
                let bounce = Bounce::new(into.len())?;
                bounce.slices().pread_exact_at(&self.file, offset)?;
                bounce.slices().copy_to(into);
                Ok(())
            }
            Request::Write { offset, from, stable } => {
                if self.takes(from) {
                    from.pwrite_all_at(&self.file, offset)?;
                } else {
                    let bounce = Bounce::new(from.len())?;
                    from.copy_to(bounce.slices());
                    bounce.slices().pwrite_all_at(&self.file, offset)?;
                }
                self.settle(stable)
            }
            Request::Flush => self.settle(true),
            Request::WriteZeroes {
                offset,
                length,
                unmap,
                stable,
            } => {
                self.zero(offset, length, unmap)?;
                self.settle(stable)
            }
            Request::Discard { offset, length } => {
                match fallocate(&self.file, zeroing(true), offset, length) {
                    Err(Errno::OPNOTSUPP | Errno::NODEV) => self.discard(offset, length),
                    outcome => Ok(outcome?),
                }
            }
        }
    }
}

/// How `fallocate` zeroes a range.
pub(super) fn zeroing(unmap: bool) -> FallocateFlags {
    let how = match unmap {
        true => FallocateFlags::PUNCH_HOLE,
        false => FallocateFlags::ZERO_RANGE,
    };
    how | FallocateFlags::KEEP_SIZE
}

#[inline]
fn is_multiple(number: u64, of: u64) -> bool {
    // All of these are powers of two.
    number & (of - 1) == 0
}

/// What the page cache can do for a file; `None` if it cannot be done without.
pub(super) fn cache_of(file: &OwnedFd, direct: bool) -> rustix::io::Result<Option<Cache>> {
    if !direct {
        if fstatfs(file).is_ok_and(|system| system.f_type as u64 == TMPFS) {
            return Ok(Some(Cache::IsTheFile));
        }
        // Reading nothing does not wait; it still tells whether waiting can be ruled out.
        let probe = Bounce::new(1).map(|bounce| bounce.slices().pread_nowait(file, 0));
        let silent = matches!(probe, Ok(Err(error)) if error.kind() == io::ErrorKind::Unsupported);
        return Ok(Some(if silent { Cache::Silent } else { Cache::Telling }));
    }
    // What cannot be asked, before Linux 6.1, is taken to be as coarse as it gets.
    let answer = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    Ok(match answer {
        Ok(answer) if answer.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => {
            let (memory, offset) = (answer.stx_dio_mem_align, answer.stx_dio_offset_align);
            let usable = memory.is_power_of_two() && offset.is_power_of_two() && u64::from(offset) <= PAGE;
            usable.then(|| Cache::Bypassed {
                offset: u64::from(offset).max(SECTOR_SIZE),
                memory: memory as usize,
            })
        }
        _ => Some(Cache::Bypassed {
            offset: PAGE,
            memory: PAGE as usize,
        }),
    })
}

/// The file system, or the device, does not do that at all.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    [Errno::OPNOTSUPP, Errno::NODEV]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
