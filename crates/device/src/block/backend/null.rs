//! A disk without content, to measure everything else.

use std::io;

use ringwright_memory::Slices;

use super::Backend;

/// Swallows writes, and leaves what it is asked to read as it finds it.
#[derive(Clone, Copy, Debug)]
pub struct Null {
    /// The size it claims, in bytes.
    pub capacity: u64,
}

impl Backend for Null {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read(&self, _offset: u64, _into: Slices<'_>) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _offset: u64, _from: Slices<'_>) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_zeroes(&self, _offset: u64, _length: u64, _unmap: bool) -> io::Result<()> {
        Ok(())
    }
}
