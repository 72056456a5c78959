//! The memory that the client lets the function reach, by DMA address.

mod files;
mod translated;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use ringwright_memory::{Access, Memory, Region};

use self::files::{Files, Piece};
use self::translated::{Translated, access};
use super::ServerError;
use crate::message::{DmaMap, DmaUnmap};

/// Most DMA maps at a time: the text's default for `max_dma_maps`.
pub(super) const MAX_MAPS: usize = 65535;

/// With more maps than this the client has an IOMMU, and changes them all the time. Fewer are regions of memory, which are
/// found without a translation.
const MANY: usize = 64;

/// The DMA maps. They do not overlap.
#[derive(Default)]
pub(super) struct DmaTable {
    maps: BTreeMap<u64, Map>,
    files: Files,
    /// Present while there are many maps.
    translated: Option<Translated>,
}

/// One DMA map.
struct Map {
    size: u64,
    /// The memory, if it came with a descriptor; else it is reached by messages only.
    piece: Option<Piece>,
    access: Access,
}

impl DmaTable {
    /// Adds a map. "A command to map over an existing region must be failed by the server with EEXIST".
    pub fn map(&mut self, map: DmaMap, file: Option<OwnedFd>) -> Result<(), ServerError> {
        let DmaMap {
            flags,
            offset,
            address,
            size,
            ..
        } = map;
        if flags & !(DmaMap::READ | DmaMap::WRITE) != 0 || flags == 0 {
            return Err(ServerError::MapFlags(flags));
        }
        let last = last(address, size)?;
        if self.maps.len() >= MAX_MAPS {
            return Err(ServerError::TooManyMaps);
        }
        if self.overlapping(address, last).next().is_some() {
            return Err(ServerError::Overlap { address, size });
        }
        let writable = flags & DmaMap::WRITE != 0;
        let piece = file.map(|file| self.files.piece(file, offset, size, writable));
        let piece = piece.transpose().map_err(|source| ServerError::Map {
            address,
            size,
            source,
        })?;
        let map = Map {
            size,
            piece,
            access: access(flags & DmaMap::READ != 0, writable),
        };
        if let Some(translated) = &mut self.translated {
            translated.add(address, &map);
        }
        self.maps.insert(address, map);
        Ok(())
    }

    /// Removes the maps in a range, all of which they must fill in part and none of which may stick out.
    ///
    /// The text wants a range to be that of one map. Clients with an IOMMU may unmap several at once, as the kernel's
    /// interface lets them; what would cut a map in two is refused there too.
    pub fn unmap(&mut self, unmap: DmaUnmap) -> Result<(), ServerError> {
        let DmaUnmap {
            flags, address, size, ..
        } = unmap;
        match flags {
            0 => {}
            DmaUnmap::ALL if address == 0 && size == 0 => {
                self.maps.clear();
                self.translated = None;
                return Ok(());
            }
            _ => return Err(ServerError::MapFlags(flags)),
        }
        let end = last(address, size)?;
        let within = |(start, map): (&u64, &Map)| *start >= address && start + (map.size - 1) <= end;
        let starts: Vec<u64> = self.overlapping(address, end).map(|(start, _)| *start).collect();
        if starts.is_empty() {
            return Err(ServerError::NotMapped { address, size });
        }
        if !self.overlapping(address, end).all(within) {
            return Err(ServerError::PartlyMapped { address, size });
        }
        for start in starts {
            if let (Some(map), Some(translated)) = (self.maps.remove(&start), &mut self.translated) {
                translated.remove(start, &map);
            }
        }
        Ok(())
    }

    /// The memory that is mapped, at its DMA addresses.
    pub fn memory(&mut self) -> Result<Memory, ServerError> {
        if self.maps.len() <= MANY {
            self.translated = None;
            return self.direct_memory();
        }
        let translated = self
            .translated
            .get_or_insert_with(|| Translated::new(self.maps.iter()));
        Ok(translated.memory()?)
    }

    /// The memory as regions. Maps that continue each other are one: a virtqueue must lie in one region.
    fn direct_memory(&self) -> Result<Memory, ServerError> {
        let mut runs: Vec<(u64, Piece)> = Vec::new();
        for (address, map) in &self.maps {
            let Some(piece) = &map.piece else { continue };
            match runs.last_mut() {
                Some((start, run)) if run.continues(*start, *address, piece) => run.length += piece.length,
                _ => runs.push((*address, piece.clone())),
            }
        }
        let region =
            |(address, run): &(u64, Piece)| Region::part(*address, &run.mapping, run.offset, run.length);
        Ok(Memory::new(runs.iter().filter_map(region).collect())?)
    }

    /// The maps that share an address with a range, from its last address down.
    fn overlapping(&self, first: u64, last: u64) -> impl Iterator<Item = (&u64, &Map)> {
        let below = self.maps.range(..=last).rev();
        below.take_while(move |(start, map)| **start + (map.size - 1) >= first)
    }
}

/// The last address of a range.
fn last(address: u64, size: u64) -> Result<u64, ServerError> {
    size.checked_sub(1)
        .and_then(|length| address.checked_add(length))
        .ok_or(ServerError::Range { address, size })
}

#[cfg(test)]
#[path = "dma_tests.rs"]
mod tests;
