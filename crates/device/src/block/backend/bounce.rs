//! Memory of our own for data that cannot be transferred where they lie.

use std::io;
use std::sync::Arc;

use ringwright_memory::{Area, Buffer, Mapping, Memory, Region, Slices};

/// A number of bytes, aligned to a page; at first zeroes.
pub(super) struct Bounce {
    buffer: Buffer,
    memory: Arc<Memory>,
}

impl Bounce {
    pub fn new(length: usize) -> io::Result<Self> {
        let mapping = Mapping::anonymous(length).map_err(io::Error::other)?;
        let region = Region::new(0, Arc::new(mapping));
        let memory = Memory::new(vec![region.clone()]).map_err(io::Error::other)?;
        let buffer = Area::from_region(region).and_then(|area| area.allocate(length, 1));
        Ok(Self {
            buffer: buffer.ok_or(io::ErrorKind::OutOfMemory)?,
            memory: Arc::new(memory),
        })
    }

    /// All of it.
    pub fn slices(&self) -> Slices<'_> {
        self.buffer.slices()
    }

    /// The first `length` bytes.
    pub fn part(&self, length: usize) -> io::Result<Slices<'_>> {
        self.slices()
            .part(0, length)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// What the bytes are in.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}
