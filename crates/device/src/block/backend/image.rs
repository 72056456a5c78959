//! A disk in an image whose format has more to it than the disk's bytes: qcow2 and VMDK, with the images they stand on.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use imago::file::File as Storage;
use imago::format::PreallocateMode;
use imago::qcow2::Qcow2;
use imago::vmdk::Vmdk;
use imago::{FormatAccess, FormatDriverBuilder, Storage as _, StorageOpenOptions};
use ringwright_memory::Slices;
use ringwright_spec::block::SECTOR_SIZE;
use rustix::fs::{Mode, OFlags, open};

use super::crew::CrewLane;
use super::file_content::ZEROES;
use super::image_gate::{Gate, References, check_kind, check_qcow2};
use super::lock::{LockError, lock_image};
use super::pool::{Blocking, Pool};
use super::{Backend, Lane, Request};

/// The formats of images, other than raw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// QEMU's, versions 2 and 3, with backing images and external data files.
    Qcow2,
    /// VMware's, for reading, with extents that are flat files.
    Vmdk,
}

/// How an image is opened.
#[derive(Clone, Debug)]
pub struct ImageOptions {
    /// The format: that of the file, whatever it looks like.
    pub format: ImageFormat,
    /// For reading only.
    pub read_only: bool,
    /// Past the page cache.
    pub direct: bool,
    /// Other programs are kept from spoiling the image, and refused if they have it already.
    pub locking: bool,
    /// Which other files the image may name for us to open.
    pub references: References,
}

/// Why an image cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be opened, or is not what it should be.
    #[error("{}: cannot be opened as a {format:?} image: {source}", .path.display())]
    Open {
        /// The name given.
        path: PathBuf,
        /// The format given.
        format: ImageFormat,
        /// What was found.
        source: io::Error,
    },
    /// Another program has it.
    #[error("{}: {source}", .path.display())]
    Locked {
        /// The name given.
        path: PathBuf,
        /// What is known of the other one.
        source: LockError,
    },
    /// The format can be read only.
    #[error("{}: VMDK images can only be read; serve it read-only, or convert it", .0.display())]
    ReadOnly(PathBuf),
    /// It has no content, or no whole number of sectors.
    #[error("{}: a disk of {size} bytes, which is no whole number of 512-byte sectors, or none", .path.display())]
    Size {
        /// The name given.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
}

/// Keeps a disk's content in an image file. A few threads carry out the requests; data are copied.
pub struct Image {
    path: PathBuf,
    capacity: AtomicU64,
    read_only: bool,
    content: Arc<Content>,
    pool: Arc<Pool>,
}

/// The open image.
struct Content {
    /// Discarding needs the image for itself.
    image: RwLock<FormatAccess<Storage>>,
    /// What the image leaves out is another image's.
    stands_on_another: bool,
    /// Has the locks.
    _lock: Option<OwnedFd>,
}

impl Image {
    /// Opens an image, and what it stands on.
    pub fn open(path: impl AsRef<Path>, options: ImageOptions) -> Result<Self, ImageError> {
        let path = path.as_ref().to_owned();
        let ImageOptions {
            format, read_only, ..
        } = options;
        if format == ImageFormat::Vmdk && !read_only {
            return Err(ImageError::ReadOnly(path));
        }
        let failed = |source: io::Error| ImageError::Open {
            path: path.clone(),
            format,
            source,
        };
        let lock = match options.locking {
            true => {
                let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
                let file = open(&path, access | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
                let file = file.map_err(|error| failed(error.into()))?;
                lock_image(&file, read_only).map_err(|source| ImageError::Locked {
                    path: path.clone(),
                    source,
                })?;
                Some(file)
            }
            false => None,
        };
        let (image, stands_on_another) = guarded(|| open_format(&path, &options)).map_err(failed)?;
        let capacity = image.size();
        if capacity == 0 || !capacity.is_multiple_of(SECTOR_SIZE) {
            return Err(ImageError::Size { path, size: capacity });
        }
        let content = Arc::new(Content {
            image: RwLock::new(image),
            stands_on_another,
            _lock: lock,
        });
        Ok(Self {
            path,
            capacity: AtomicU64::new(capacity),
            read_only,
            pool: Arc::new(Pool::new(content.clone())),
            content,
        })
    }
}

impl Backend for Image {
    fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Images grow; what they would lose by becoming smaller is not given up.
    fn resize(&self, size: u64) -> io::Result<()> {
        if self.read_only {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the image is served read-only",
            ));
        }
        if size < self.capacity() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "an image of this format only grows while it is served; make it smaller by `qemu-img resize --shrink`",
            ));
        }
        self.content.grow(size)?;
        self.capacity.store(size, Ordering::Relaxed);
        Ok(())
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn lane(self: Arc<Self>, _depth: u16) -> io::Result<Box<dyn Lane>> {
        Ok(Box::new(CrewLane::new(self.pool.clone())?))
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Blocking for Content {
    fn carry_out(&self, request: &Request<'_>) -> io::Result<()> {
        let stable = match *request {
            Request::Read { offset, into } => {
                return with_buffer(into.len(), |buffer| {
                    self.shared(|image| image.read(&mut *buffer, offset))?;
                    into.write(0, buffer).map_err(io::Error::other)
                });
            }
            Request::Write { offset, from, stable } => {
                self.write(offset, from)?;
                stable
            }
            Request::Flush => true,
            Request::WriteZeroes {
                offset,
                length,
                unmap,
                stable,
            } => {
                self.zero(offset, length, unmap)?;
                stable
            }
            Request::Discard { offset, length } => {
                match self.alone(|image| image.discard_to_any(offset, length)) {
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                    outcome => outcome?,
                }
                false
            }
        };
        self.shared(|image| {
            // Where things are in the image is only in our memory yet. What is completed has to be there for the process after
            // this one, however this one ends.
            image.flush()?;
            match stable {
                true => image.sync(),
                false => Ok(()),
            }
        })
    }
}

impl Content {
    fn write(&self, offset: u64, from: Slices<'_>) -> io::Result<()> {
        with_buffer(from.len(), |buffer| {
            from.read(0, buffer).map_err(io::Error::other)?;
            self.shared(|image| image.write(&*buffer, offset))
        })
    }

    /// Grows the image for good. What is new reads as zeroes, also where an image that this one stands on is larger.
    fn grow(&self, size: u64) -> io::Result<()> {
        let mode = match self.stands_on_another {
            true => PreallocateMode::Zero,
            false => PreallocateMode::None,
        };
        let mut image = self.image.write().unwrap_or_else(PoisonError::into_inner);
        guarded(|| {
            image.resize(size, mode)?;
            image.flush()?;
            image.sync()
        })
    }

    fn zero(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        let outcome = match unmap {
            true => self.alone(|image| image.discard_to_zero(offset, length)),
            false => self.shared(|image| image.write_zeroes(offset, length)),
        };
        match outcome {
            // Version 2 of qcow2 has no clusters that are zeroes.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.write_zeroes(offset, length),
            outcome => outcome,
        }
    }

    fn write_zeroes(&self, mut offset: u64, length: u64) -> io::Result<()> {
        static NOTHING: [u8; ZEROES] = [0; ZEROES];
        let end = offset + length;
        while offset < end {
            let piece = &NOTHING[..(end - offset).min(ZEROES as u64) as usize];
            self.shared(|image| image.write(piece, offset))?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Frees a part of the image. That is in the file before anything else can be put there: if this process were killed between,
    /// the one after it would find two owners of one place.
    fn alone(&self, free: impl FnOnce(&mut FormatAccess<Storage>) -> io::Result<()>) -> io::Result<()> {
        let mut image = self.image.write().unwrap_or_else(PoisonError::into_inner);
        free(&mut image)?;
        image.flush()
    }

    fn shared<R>(&self, with: impl FnOnce(&FormatAccess<Storage>) -> R) -> R {
        with(&self.image.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The image, and whether it stands on another.
fn open_format(path: &Path, options: &ImageOptions) -> io::Result<(FormatAccess<Storage>, bool)> {
    let write = !options.read_only;
    let storage = StorageOpenOptions::new().direct(options.direct);
    check_kind(path)?;
    let gate = Gate::new(path, &options.references, write)?;
    let stands_on_another = options.format == ImageFormat::Qcow2 && check_qcow2(path, &options.references)?;
    let file = Storage::open(storage.clone().filename(path).write(write))?;
    let image = match options.format {
        ImageFormat::Qcow2 => opened(Qcow2::<Storage>::builder(file), storage, write, gate),
        ImageFormat::Vmdk => opened(Vmdk::<Storage>::builder(file), storage, write, gate),
    };
    Ok((image?, stands_on_another))
}

fn opened<B: FormatDriverBuilder<Storage>>(
    builder: B,
    storage: StorageOpenOptions,
    write: bool,
    gate: Gate,
) -> io::Result<FormatAccess<Storage>>
where
    B::Format: 'static,
{
    let opening = builder.storage_open_options(storage).write(write);
    Ok(FormatAccess::new(opening.open(gate)?))
}

/// Makes an error of a panic: what is in an image may be more than whoever reads it was prepared for.
fn guarded<R>(work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    let panicked = |_| {
        Err(io::Error::other(
            "its content contradicts itself (the reader panicked)",
        ))
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

/// Calls `with` with memory of this thread's own: the formats want plain memory, which shared memory is not.
fn with_buffer<R>(length: usize, with: impl FnOnce(&mut [u8]) -> R) -> R {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        with(&mut buffer[..length])
    })
}
