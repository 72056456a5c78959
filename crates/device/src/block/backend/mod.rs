//! What a disk's content is kept in.

mod file;
mod memory;
mod null;

use std::io;

use ringwright_memory::Slices;

pub use file::{File, OpenError};
pub use memory::Memory;
pub use null::Null;

/// The content of a disk. All queues use it at once, each from its own thread.
///
/// Offsets and lengths are in bytes, multiples of 512, and within the capacity.
pub trait Backend: Send + Sync {
    /// Size in bytes, a multiple of 512.
    fn capacity(&self) -> u64;

    /// Whether writing is refused.
    fn read_only(&self) -> bool {
        false
    }

    /// Fills all of `into`.
    fn read(&self, offset: u64, into: Slices<'_>) -> io::Result<()>;

    /// Writes all of `from`. It is stable only after a later [`Backend::flush`].
    fn write(&self, offset: u64, from: Slices<'_>) -> io::Result<()>;

    /// Makes everything stable that was written before (`dev:blk:device-operation:11`).
    fn flush(&self) -> io::Result<()>;

    /// Makes the range read as zeroes, by deallocating it if `unmap` allows that.
    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()>;

    /// The content of the range is not needed any more. Doing nothing is right, too.
    fn discard(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }
}
