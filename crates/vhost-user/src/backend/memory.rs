//! The memory regions that a front-end shares, and the two address spaces they are seen in.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use ringwright_memory::{Mapping, Memory, Region};

use super::BackendError;
use crate::message::{MAX_TABLE_REGIONS, MemoryRegion, MemoryTable};
use crate::socket::Message;

/// How many regions a front-end may add: what QEMU's machines have at most, far less than a process can map.
pub const MAX_SLOTS: usize = 512;

/// The regions, as last agreed. A change makes a new table, which takes effect only if everything in it fits.
#[derive(Clone, Debug, Default)]
pub struct MemorySlots {
    slots: Vec<Slot>,
}

#[derive(Clone, Debug)]
struct Slot {
    description: MemoryRegion,
    region: Region,
}

impl MemorySlots {
    /// The table that a `SET_MEM_TABLE` message carries.
    pub fn from_message(message: Message) -> Result<Self, BackendError> {
        let size = message.payload.len();
        let (MemoryTable { count, .. }, rest) =
            message.read_prefix().unwrap_or((MemoryTable::default(), &[]));
        // Linux in user mode pads a table of one region to the size of two: what follows the regions is ignored.
        let regions: Vec<MemoryRegion> = rest
            .chunks_exact(size_of::<MemoryRegion>())
            .take(count as usize)
            .filter_map(|bytes| zerocopy::FromBytes::read_from_bytes(bytes).ok())
            .collect();
        let descriptors = message.descriptors.len();
        if regions.len() != count as usize
            || regions.len() > MAX_TABLE_REGIONS
            || regions.len() != descriptors
        {
            return Err(BackendError::MemoryTable {
                regions: count,
                descriptors,
                size,
            });
        }
        Self::table(regions.into_iter().zip(message.descriptors))
    }

    /// The table of these regions alone, each with its file.
    pub fn table(regions: impl IntoIterator<Item = (MemoryRegion, OwnedFd)>) -> Result<Self, BackendError> {
        regions
            .into_iter()
            .try_fold(Self::default(), |table, (region, file)| table.with(region, file))
    }

    /// This table and one region more.
    pub fn with(&self, description: MemoryRegion, file: OwnedFd) -> Result<Self, BackendError> {
        if self.slots.len() >= MAX_SLOTS {
            return Err(BackendError::TooManyRegions(MAX_SLOTS));
        }
        let MemoryRegion {
            guest_address,
            size,
            mmap_offset,
            ..
        } = description;
        let mapping = Mapping::file(file, mmap_offset, size, true).map_err(|source| BackendError::Map {
            guest_address,
            size,
            source,
        })?;
        let region = Region::new(guest_address, Arc::new(mapping));
        let mut slots = self.slots.clone();
        slots.push(Slot { description, region });
        Ok(Self { slots })
    }

    /// This table without one region, which is named by everything but its place in the file.
    pub fn without(&self, named: MemoryRegion) -> Result<Self, BackendError> {
        let MemoryRegion {
            guest_address,
            size,
            user_address,
            ..
        } = named;
        let position = self.slots.iter().position(|slot| {
            let found = &slot.description;
            (found.guest_address, found.size, found.user_address) == (guest_address, size, user_address)
        });
        let position = position.ok_or(BackendError::NoSuchRegion {
            guest_address,
            size,
            user_address,
        })?;
        let mut slots = self.slots.clone();
        slots.remove(position);
        Ok(Self { slots })
    }

    /// The memory as the device sees it, by guest addresses.
    pub fn memory(&self) -> Result<Memory, BackendError> {
        Ok(Memory::new(
            self.slots.iter().map(|slot| slot.region.clone()).collect(),
        )?)
    }

    /// The guest address of the byte that the front-end sees at `user_address`.
    pub fn guest_address(&self, user_address: u64) -> Option<u64> {
        self.slots.iter().find_map(|Slot { description, .. }| {
            let offset = user_address.checked_sub(description.user_address)?;
            (offset < description.size).then(|| description.guest_address.checked_add(offset))?
        })
    }
}
