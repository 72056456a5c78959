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
    /// How many maps are writable and came with a descriptor.
    shared: usize,
    /// How many are shadows.
    shadows: usize,
    /// Whether shadows were part of the memory when it was last asked for.
    shadowed: bool,
}

/// One DMA map.
struct Map {
    size: u64,
    /// The memory that came with a descriptor, or the shadow of memory that did not, which is reached by messages. None for
    /// what is not worth a shadow.
    piece: Option<Piece>,
    shadow: bool,
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
        let shadow = file.is_none() && writable;
        let piece = match file {
            Some(file) => Some(self.files.piece(file, offset, size, writable)),
            None if shadow => Some(Piece::shadow(size)),
            None => None,
        };
        let piece = piece.transpose().map_err(|source| ServerError::Map {
            address,
            size,
            source,
        })?;
        let map = Map {
            size,
            shadow,
            piece,
            access: access(flags & DmaMap::READ != 0, writable),
        };
        match (shadow, writable) {
            (true, _) => self.shadows += 1,
            (false, true) => self.shared += 1,
            _ => {}
        }
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
                (self.shared, self.shadows) = (0, 0);
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
            let Some(map) = self.maps.remove(&start) else {
                continue;
            };
            match (map.shadow, map.access.writes()) {
                (true, _) => self.shadows -= 1,
                (false, true) => self.shared -= 1,
                _ => {}
            }
            if let Some(translated) = &mut self.translated {
                translated.remove(start, &map);
            }
        }
        Ok(())
    }

    /// Whether all memory worth having is such as cannot be mapped. If some can, that is where a driver puts what it gives
    /// to a device, and the rest is some other device's.
    pub fn is_far(&self) -> bool {
        self.shadows > 0 && self.shared == 0
    }

    /// First and last address of each map that has a shadow, ascending.
    pub fn shadows(&self) -> Vec<(u64, u64)> {
        let shadows = self.maps.iter().filter(|(_, map)| map.shadow);
        shadows
            .map(|(start, map)| (*start, start + (map.size - 1)))
            .collect()
    }

    /// The memory that is mapped, at its DMA addresses, with or without shadows of what cannot be.
    pub fn memory(&mut self, shadows: bool) -> Result<Memory, ServerError> {
        if self.maps.len() <= MANY || self.shadowed != shadows {
            self.translated = None;
        }
        self.shadowed = shadows;
        let maps = self.maps.iter().filter(|(_, map)| shadows || !map.shadow);
        if self.maps.len() <= MANY {
            return direct_memory(maps);
        }
        let translated = self
            .translated
            .get_or_insert_with(|| Translated::new(maps, shadows));
        Ok(translated.memory()?)
    }

    /// The maps that share an address with a range, from its last address down.
    fn overlapping(&self, first: u64, last: u64) -> impl Iterator<Item = (&u64, &Map)> {
        let below = self.maps.range(..=last).rev();
        below.take_while(move |(start, map)| **start + (map.size - 1) >= first)
    }
}

/// The memory as regions. Maps that continue each other are one: a virtqueue must lie in one region.
fn direct_memory<'a>(maps: impl Iterator<Item = (&'a u64, &'a Map)>) -> Result<Memory, ServerError> {
    let mut runs: Vec<(u64, Piece)> = Vec::new();
    for (address, map) in maps {
        let Some(piece) = &map.piece else { continue };
        match runs.last_mut() {
            Some((start, run)) if run.continues(*start, *address, piece) => run.length += piece.length,
            _ => runs.push((*address, piece.clone())),
        }
    }
    let region = |(address, run): &(u64, Piece)| Region::part(*address, &run.mapping, run.offset, run.length);
    Ok(Memory::new(runs.iter().filter_map(region).collect())?)
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
