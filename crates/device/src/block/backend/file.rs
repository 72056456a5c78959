//! A disk in a raw image file, or in a block device of the host.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringwright_spec::block::SECTOR_SIZE;
use rustix::fs::{FallocateFlags, FileType, Mode, OFlags, SeekFrom, fallocate, fdatasync, fstat, open, seek};
use rustix::io::Errno;

use super::{Backend, Lane, Request};

/// Most bytes of zeroes in one write, where the file system cannot zero a range by itself.
const ZEROES: &[u8] = &[0; 64 * 1024];

/// Keeps a disk's content in a file, byte for byte. Data goes between the file and the driver's memory directly.
#[derive(Debug)]
pub struct File {
    file: OwnedFd,
    capacity: u64,
    read_only: bool,
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
        let path = path.as_ref().to_owned();
        let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
        // Without NONBLOCK, a pipe would make us wait here for its other end.
        let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match open(&path, flags, Mode::empty()) {
            Ok(file) => Self::from_descriptor(file, path, read_only),
            Err(Errno::NOENT) => Err(OpenError::Missing(path)),
            Err(Errno::ISDIR) => Err(OpenError::NotAnImage {
                path,
                kind: "a directory",
            }),
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

    /// Serves a file that is open already; `path` is its name for messages.
    pub fn from_descriptor(file: OwnedFd, path: PathBuf, read_only: bool) -> Result<Self, OpenError> {
        let size = match size(&file) {
            Ok(Ok(size)) => size,
            Ok(Err(kind)) => return Err(OpenError::NotAnImage { path, kind }),
            Err(error) => {
                let source = error.into();
                return Err(OpenError::Io { path, source });
            }
        };
        if size == 0 {
            return Err(OpenError::Empty(path));
        }
        if !size.is_multiple_of(SECTOR_SIZE) {
            return Err(OpenError::Truncated { path, size });
        }
        Ok(Self {
            file,
            capacity: size,
            read_only,
        })
    }

    fn carry_out(&self, request: &Request<'_>) -> io::Result<()> {
        match *request {
            Request::Read { offset, into } => into.pread_exact_at(&self.file, offset),
            Request::Write { offset, from, stable } => {
                from.pwrite_all_at(&self.file, offset)?;
                self.settle(stable)
            }
            Request::Flush => self.settle(true),
            Request::WriteZeroes {
                offset,
                length,
                unmap,
                stable,
            } => {
                let how = match unmap {
                    true => FallocateFlags::PUNCH_HOLE,
                    false => FallocateFlags::ZERO_RANGE,
                };
                match fallocate(&self.file, how | FallocateFlags::KEEP_SIZE, offset, length) {
                    Err(Errno::OPNOTSUPP | Errno::NODEV) => self.write_zeroes_by_hand(offset, length)?,
                    outcome => outcome?,
                }
                self.settle(stable)
            }
            Request::Discard { offset, length } => {
                let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                match fallocate(&self.file, how, offset, length) {
                    Err(Errno::OPNOTSUPP | Errno::NODEV) => Ok(()),
                    outcome => Ok(outcome?),
                }
            }
        }
    }

    fn settle(&self, stable: bool) -> io::Result<()> {
        if stable {
            fdatasync(&self.file)?;
        }
        Ok(())
    }

    fn write_zeroes_by_hand(&self, mut offset: u64, length: u64) -> io::Result<()> {
        let end = offset + length;
        while offset < end {
            let length = (end - offset).min(ZEROES.len() as u64) as usize;
            match rustix::io::pwrite(&self.file, &ZEROES[..length], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => offset += written as u64,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Backend for File {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn lane(self: Arc<Self>, _depth: u16) -> io::Result<Box<dyn Lane>> {
        Ok(Box::new(FileLane(self)))
    }
}

/// Answers everything at once.
struct FileLane(Arc<File>);

impl Lane for FileLane {
    fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>> {
        Some(self.0.carry_out(request))
    }
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
