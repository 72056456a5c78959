//! A disk in a raw image file, or in a block device of the host.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use ringwright_spec::block::SECTOR_SIZE;
use ringwright_sys::uring::Ring;
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, fcntl_setfl, fstat, ftruncate, open, seek};
use rustix::io::Errno;

use super::crew::CrewLane;
use super::file_content::{Cache, Content, cache_of};
use super::file_lane::FileLane;
use super::lock::{LockError, lock_image};
use super::pool::Pool;
use super::turn::Turn;
use super::{Backend, Lane};

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
        let is_device =
            fstat(&file).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice);
        let content = Arc::new(Content {
            file,
            is_device,
            capacity: AtomicU64::new(size),
            cache,
            flush_error: AtomicI32::new(0),
            turn: Turn::default(),
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
