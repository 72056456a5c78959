//! What a disk's content is kept in.
//!
//! A [`Backend`] is shared by all queues of a disk; each of them works through a [`Lane`] of its own. A lane answers at once
//! what it can, and takes the rest to complete it later, in any order.

mod bounce;
mod crew;
mod file;
mod file_content;
mod file_lane;
mod image;
mod image_gate;
#[cfg(test)]
mod image_tests;
mod limited;
mod lock;
mod memory;
mod nbd;
mod null;
mod parcel;
mod pool;
#[cfg(test)]
mod tests;
mod turn;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use ringwright_memory::{Memory as GuestMemory, Slices};
use ringwright_spec::block::{PreEolInfo, SECTOR_SIZE};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

pub use file::{File, FileOptions, OpenError, Rings};
pub use image::{Image, ImageError, ImageFormat, ImageOptions};
pub use image_gate::References;
pub use limited::{Limit, Limited};
pub use lock::LockError;
pub use memory::Memory;
pub use nbd::{Address, AddressError, Nbd, NbdError, NbdOptions, TlsCredentials, TlsError};
pub use null::Null;
pub use parcel::Parcel;

/// The content of a disk.
pub trait Backend: Send + Sync {
    /// Size in bytes, a multiple of 512. It may change while the disk is in use.
    fn capacity(&self) -> u64;

    /// Looks at the size again, which others may have changed; [`Backend::capacity`] is as before after an error. Backends
    /// whose size nobody else changes have nothing to look at.
    fn refresh(&self) -> io::Result<()> {
        Ok(())
    }

    /// Gives the content another size in bytes, a multiple of 512 that is not 0. What is new reads as zeroes. Requests may be
    /// outstanding; what they find or leave beyond the end of a smaller content is not defined. Errors: `Unsupported` with what
    /// to do instead, and those of the operating system; the size is as before then.
    fn resize(&self, _size: u64) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kind of disk cannot be resized here",
        ))
    }

    /// From now on `tell` is called after each change of the capacity that nobody has asked for by [`Backend::refresh`], from
    /// any thread. Backends that have no such changes forget it.
    fn on_change(&self, _tell: Box<dyn Fn() + Send + Sync>) {}

    /// Whether writing is refused.
    fn read_only(&self) -> bool {
        false
    }

    /// The logical block size in bytes that requests must be aligned to, a power of two from 512 to 4096.
    fn block_size(&self) -> u32 {
        SECTOR_SIZE as u32
    }

    /// How worn the storage is, if it can tell. Whether it can is the same at every call.
    fn lifetime(&self) -> Option<Lifetime> {
        None
    }

    /// A way in for one queue, which has at most `depth` requests outstanding. Errors: those of the operating system, if it
    /// does not give what the lane needs.
    fn lane(self: Arc<Self>, depth: u16) -> io::Result<Box<dyn Lane>>;
}

/// How worn the storage is, as eMMC and UFS say it (JESD84-B50).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// How many of the reserved blocks are consumed.
    pub pre_eol_info: PreEolInfo,
    /// Wear of SLC cells in steps of 10 %: 0 undefined, 1 to 10 up to that many tenths, 11 exceeded.
    pub type_a: u16,
    /// Wear of MLC cells, in the same steps.
    pub type_b: u16,
}

impl Default for Lifetime {
    /// Nothing is known.
    fn default() -> Self {
        Self {
            pre_eol_info: PreEolInfo::UNDEFINED,
            type_a: 0,
            type_b: 0,
        }
    }
}

/// What is asked of a backend. Offsets and lengths are in bytes, multiples of 512, and within the capacity.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Fill all of the view.
    Read {
        /// Where the data are.
        offset: u64,
        /// Where they are to go.
        into: Slices<'a>,
    },
    /// Write all of the view.
    Write {
        /// Where the data are to go.
        offset: u64,
        /// The data.
        from: Slices<'a>,
        /// Complete only once they are stable, as if a flush followed.
        stable: bool,
    },
    /// Make everything stable whose write was completed before (`dev:blk:device-operation:11`).
    Flush,
    /// Make a range read as zeroes (`dev:blk:device-operation:08`).
    WriteZeroes {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
        /// The range may be deallocated (`dev:blk:device-operation:07`).
        unmap: bool,
        /// As for a write.
        stable: bool,
    },
    /// The content of a range is not needed any more (`dev:blk:device-operation:06`). Doing nothing is right, too.
    Discard {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
}

/// One queue's way into a backend. It belongs to the queue's thread.
///
/// Dropping a lane abandons what is outstanding: when it returns, none of the driver's memory is touched any more.
pub trait Lane: Send {
    /// Carries out a request if that can be done without waiting for anything or anyone. `None` if not: then nothing was
    /// done, or what was done is repeated harmlessly by [`Lane::later`].
    fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>>;

    /// Takes a request that could not be carried out at once. [`Lane::completed`] gives its `tag` and result later; until
    /// then no other request has this tag. Tags are lower than the depth that the lane was made for. `memory` is what the
    /// request's data are in (see [`ringwright_memory::Held`]). After an error nothing was taken.
    ///
    /// For backends that always answer at once there is nothing to implement.
    fn later(&mut self, _tag: u16, _request: &Request<'_>, _memory: &Arc<GuestMemory>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends off what was taken; called once for each batch.
    fn submit(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What becomes readable when [`Lane::completed`] has something to give. The same for the lane's life.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The tag and the result of a request that is complete.
    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        None
    }

    /// Waits until [`Lane::completed`] may have something to give. Called with requests outstanding.
    fn wait(&mut self) -> io::Result<()> {
        let descriptor = self.descriptor().ok_or(io::ErrorKind::Unsupported)?;
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None) {
            Err(Errno::INTR) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
