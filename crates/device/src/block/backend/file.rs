//! A disk in a raw image file, or in a block device of the host.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use ringwright_memory::Slices;
use ringwright_spec::block::SECTOR_SIZE;
use ringwright_sys::uring::Ring;
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Mode, OFlags, SeekFrom, StatxFlags, fallocate, fcntl_setfl, fdatasync,
    fstat, fstatfs, ftruncate, open, seek, statx,
};
use rustix::io::Errno;

use super::bounce::Bounce;
use super::crew::CrewLane;
use super::file_lane::FileLane;
use super::lock::{LockError, lock_image};
use super::pool::{Blocking, Pool};
use super::{Backend, Lane, Request};

/// Most bytes of zeroes in one write, where the file system cannot zero a range by itself.
pub(super) const ZEROES: usize = 64 * 1024;

/// Size of a page of the page cache, or a multiple of it.
const PAGE: u64 = 4096;

/// The file system whose files are in memory anyway (`TMPFS_MAGIC` of `linux/magic.h`).
const TMPFS: u64 = 0x0102_1994;

/// Keeps a disk's content in a file, byte for byte. Data goes between the file and the driver's memory directly.
///
/// What the page cache has is read at once, and what it takes is written to it at once; everything else is io_uring's, or,
/// where that is not to be had, a few threads'.
pub struct File {
    pub(super) content: Arc<Content>,
    pool: Arc<Pool>,
    path: PathBuf,
    read_only: bool,
    rings: Rings,
}

/// How an image is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileOptions {
    /// For reading only.
    pub read_only: bool,
    /// Past the page cache (`O_DIRECT`).
    pub direct: bool,
    /// Other programs are kept from spoiling the image, and refused if they have it already.
    pub locking: bool,
    /// Whether io_uring is used.
    pub rings: Rings,
}

/// Whether io_uring is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rings {
    /// If the operating system has it and allows it; else threads.
    #[default]
    IfPossible,
    /// It has to be there.
    Always,
    /// Threads are used.
    Never,
}

/// The open file, and what is known of it.
#[derive(Debug)]
pub(super) struct Content {
    pub file: OwnedFd,
    capacity: AtomicU64,
    /// What the page cache can do for us.
    pub cache: Cache,
    /// Why a flush has failed, if one has.
    flush_error: AtomicI32,
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

/// Why an image cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing has this name.
    #[error("{}: no such image", .0.display())]
    Missing(PathBuf),
    /// It is a directory, a pipe, a terminal.
    #[error("{}: {kind}, not a disk image", .path.display())]
    NotAnImage {
        /// The name given.
        path: PathBuf,
        /// What it is instead.
        kind: &'static str,
    },
    /// It may be read, but not written.
    #[error("{}: not writable ({source}); serve it read-only, or change its permissions", .path.display())]
    NotWritable {
        /// The name given.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// It has no content.
    #[error("{}: the image is empty", .0.display())]
    Empty(PathBuf),
    /// It does not end with a whole sector. Serving it would cut off its end, or invent one.
    #[error("{}: {size} bytes are no whole number of 512-byte sectors; the image is truncated or not raw", .path.display())]
    Truncated {
        /// The name given.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// The file system, or the device, does not do without the page cache.
    #[error("{}: cannot be used without the page cache; leave out direct access, or move the image to another file system", .0.display())]
    NotDirect(PathBuf),
    /// Another program has it.
    #[error("{}: {source}", .path.display())]
    Locked {
        /// The name given.
        path: PathBuf,
        /// What is known of the other one.
        source: LockError,
    },
    /// Anything else.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The name given.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl File {
    /// Opens an image, for reading only or for both.
    pub fn open(path: impl AsRef<Path>, read_only: bool) -> Result<Self, OpenError> {
        let options = FileOptions {
            read_only,
            ..FileOptions::default()
        };
        Self::open_with(path, options)
    }

    /// Opens an image as told.
    pub fn open_with(path: impl AsRef<Path>, options: FileOptions) -> Result<Self, OpenError> {
        let path = path.as_ref().to_owned();
        let read_only = options.read_only;
        let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
        // Without NONBLOCK, a pipe would make us wait here for its other end.
        let mut flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
        flags.set(OFlags::DIRECT, options.direct);
        match open(&path, flags, Mode::empty()) {
            Ok(file) => {
                // What is not a pipe is to wait as usual; from_descriptor says what a pipe is.
                let _ = fcntl_setfl(&file, flags & OFlags::DIRECT);
                Self::from_descriptor(file, path, options)
            }
            Err(Errno::NOENT) => Err(OpenError::Missing(path)),
            Err(Errno::ISDIR) => Err(OpenError::NotAnImage {
                path,
                kind: "a directory",
            }),
            Err(Errno::INVAL) if options.direct => Err(OpenError::NotDirect(path)),
            Err(error @ (Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY)) if !read_only => {
                Err(OpenError::NotWritable {
                    path,
                    source: error.into(),
                })
            }
            Err(error) => Err(OpenError::Io {
                path,
                source: error.into(),
            }),
        }
    }

    /// Serves a file that is open already, with access as in `options`; `path` is its name for messages.
    pub fn from_descriptor(file: OwnedFd, path: PathBuf, options: FileOptions) -> Result<Self, OpenError> {
        let found = size(&file).and_then(|size| Ok((size, cache_of(&file, options.direct)?)));
        let (size, cache) = match found {
            Ok((Ok(size), Some(cache))) => (size, cache),
            Ok((Err(kind), _)) => return Err(OpenError::NotAnImage { path, kind }),
            Ok((Ok(_), None)) => return Err(OpenError::NotDirect(path)),
            Err(error) => {
                let source = error.into();
                return Err(OpenError::Io { path, source });
            }
        };
        check_size(&path, size)?;
        if options.locking
            && let Err(source) = lock_image(&file, options.read_only)
        {
            return Err(OpenError::Locked { path, source });
        }
        let content = Arc::new(Content {
            file,
            capacity: AtomicU64::new(size),
            cache,
            flush_error: AtomicI32::new(0),
        });
        Ok(Self {
            pool: Arc::new(Pool::new(content.clone())),
            content,
            path,
            read_only: options.read_only,
            rings: options.rings,
        })
    }

    /// [`Backend::refresh`], with the error as it is.
    pub fn look_at_size(&self) -> Result<(), OpenError> {
        let path = self.path.clone();
        match size(&self.content.file) {
            Ok(Ok(size)) => {
                check_size(&self.path, size)?;
                self.content.capacity.store(size, Ordering::Relaxed);
                Ok(())
            }
            Ok(Err(kind)) => Err(OpenError::NotAnImage { path, kind }),
            Err(error) => {
                let source = error.into();
                Err(OpenError::Io { path, source })
            }
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("path", &self.path)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

impl Backend for File {
    fn capacity(&self) -> u64 {
        self.content.capacity.load(Ordering::Relaxed)
    }

    fn refresh(&self) -> io::Result<()> {
        self.look_at_size().map_err(io::Error::other)
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        let unsupported = |why: &str| Err(io::Error::new(io::ErrorKind::Unsupported, why));
        if self.read_only {
            return unsupported("the image is served read-only");
        }
        match FileType::from_raw_mode(fstat(&self.content.file)?.st_mode) {
            FileType::RegularFile => ftruncate(&self.content.file, size)?,
            _ => {
                return unsupported(
                    "a block device is resized by whoever provides it; look at its size again then",
                );
            }
        }
        self.refresh()
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn block_size(&self) -> u32 {
        match self.content.cache {
            Cache::Bypassed { offset, .. } => offset as u32,
            _ => SECTOR_SIZE as u32,
        }
    }

    fn lane(self: Arc<Self>, depth: u16) -> io::Result<Box<dyn Lane>> {
        let content = self.content.clone();
        if self.rings != Rings::Never {
            match Ring::new(depth, content.file.as_fd()) {
                Ok(ring) => return Ok(Box::new(FileLane::new(content, ring, depth))),
                Err(error) if self.rings == Rings::Always => return Err(error),
                // Not there, or not for us.
                Err(error) => {
                    tracing::info!(%error, "no io_uring: using threads for {}", self.path.display())
                }
            }
        }
        Ok(Box::new(CrewLane::new(self.pool.clone())?))
    }
}

impl Content {
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
                match fallocate(&self.file, zeroing(unmap), offset, length) {
                    Err(Errno::OPNOTSUPP | Errno::NODEV) => self.write_zeroes_by_hand(offset, length)?,
                    outcome => outcome?,
                }
                self.settle(stable)
            }
            Request::Discard { offset, length } => {
                match fallocate(&self.file, zeroing(true), offset, length) {
                    Err(Errno::OPNOTSUPP | Errno::NODEV) => Ok(()),
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
fn cache_of(file: &OwnedFd, direct: bool) -> rustix::io::Result<Option<Cache>> {
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

fn check_size(path: &Path, size: u64) -> Result<(), OpenError> {
    let path = path.to_owned();
    if size == 0 {
        return Err(OpenError::Empty(path));
    }
    if !size.is_multiple_of(SECTOR_SIZE) {
        return Err(OpenError::Truncated { path, size });
    }
    Ok(())
}

/// Size in bytes, or what the file is if not something that has a size.
fn size(file: &OwnedFd) -> rustix::io::Result<Result<u64, &'static str>> {
    let kind = match FileType::from_raw_mode(fstat(file)?.st_mode) {
        FileType::RegularFile | FileType::BlockDevice => return seek(file, SeekFrom::End(0)).map(Ok),
        FileType::Directory => "a directory",
        FileType::CharacterDevice => "a character device",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a special file",
    };
    Ok(Err(kind))
}
