//! A disk in memory; its content ends with it.

use std::io;
use std::sync::Arc;

use ringwright_memory::{Area, Buffer, Mapping, OutOfBounds, Region, Slices};
use ringwright_spec::block::SECTOR_SIZE;

use super::{Backend, Lane, Request};

/// Keeps a disk's content in memory, at first all zeroes.
#[derive(Debug)]
pub struct Memory(Buffer);

impl Memory {
    /// A disk of `capacity` bytes: a multiple of 512, not 0, less than 4 GiB. Memory is taken as it is written.
    pub fn new(capacity: u32) -> io::Result<Self> {
        if capacity == 0 || !u64::from(capacity).is_multiple_of(SECTOR_SIZE) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a disk of {capacity} bytes: must be a multiple of 512, and not 0"),
            ));
        }
        let mapping = Mapping::anonymous(capacity as usize).map_err(io::Error::other)?;
        let area = Area::from_region(Region::new(0, Arc::new(mapping)));
        let buffer = area.and_then(|area| area.allocate(capacity as usize, 1));
        Ok(Self(buffer.ok_or(io::ErrorKind::OutOfMemory)?))
    }

    fn range(&self, offset: u64, length: usize) -> io::Result<Slices<'_>> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.0.slices().part(offset, length).map_err(out_of_bounds)
    }

    fn carry_out(&self, request: &Request<'_>) -> io::Result<()> {
        match *request {
            Request::Read { offset, into } => {
                self.range(offset, into.len())?.copy_to(into);
            }
            Request::Write { offset, from, .. } => {
                from.copy_to(self.range(offset, from.len())?);
            }
            Request::WriteZeroes { offset, length, .. } => {
                let length = usize::try_from(length).map_err(io::Error::other)?;
                self.range(offset, length)?
                    .fill(0, length, 0)
                    .map_err(out_of_bounds)?;
            }
            Request::Flush | Request::Discard { .. } => {}
        }
        Ok(())
    }
}

impl Backend for Memory {
    fn capacity(&self) -> u64 {
        self.0.len() as u64
    }

    fn lane(self: Arc<Self>, _depth: u16) -> io::Result<Box<dyn Lane>> {
        Ok(Box::new(self))
    }
}

impl Lane for Arc<Memory> {
    fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>> {
        Some(self.carry_out(request))
    }
}

fn out_of_bounds(error: OutOfBounds) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
