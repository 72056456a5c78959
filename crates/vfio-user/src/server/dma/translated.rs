//! The memory of a client behind an IOMMU: the files at addresses of their own, and before them the DMA maps as a translation.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringwright_memory::{Access, Iotlb, MapError, Mapping, Memory, Region};

use super::Map;
use super::files::Piece;

/// Files begin at multiples of this.
const GRANULE: u64 = 1 << 21;

/// A map or an unmap changes one entry here, however many there are, and the memory only if a file comes or goes.
#[derive(Default)]
pub(super) struct Translated {
    iotlb: Arc<Iotlb>,
    /// By address of the mapping.
    places: BTreeMap<usize, Place>,
    next: u64,
    /// Shadows are there too.
    shadows: bool,
}

/// Where a file is.
struct Place {
    base: u64,
    mapping: Arc<Mapping>,
    /// Number of maps of it.
    maps: usize,
}

impl Translated {
    pub fn new<'a>(maps: impl Iterator<Item = (&'a u64, &'a Map)>, shadows: bool) -> Self {
        let mut translated = Self {
            shadows,
            ..Self::default()
        };
        maps.for_each(|(address, map)| translated.add(*address, map));
        translated
    }

    pub fn add(&mut self, address: u64, map: &Map) {
        let Some(Piece { mapping, offset, .. }) = self.piece(map) else {
            return;
        };
        let next = &mut self.next;
        let place = self.places.entry(key(mapping)).or_insert_with(|| {
            let base = *next;
            *next += (mapping.len() as u64).next_multiple_of(GRANULE);
            Place {
                base,
                mapping: mapping.clone(),
                maps: 0,
            }
        });
        place.maps += 1;
        self.iotlb
            .insert(address, map.size, place.base + *offset as u64, map.access);
    }

    pub fn remove(&mut self, address: u64, map: &Map) {
        let Some(Piece { mapping, .. }) = self.piece(map) else {
            return;
        };
        self.iotlb.remove(address, map.size);
        if let Some(place) = self.places.get_mut(&key(mapping)) {
            place.maps -= 1;
            if place.maps == 0 {
                self.places.remove(&key(mapping));
            }
        }
    }

    /// The memory of a map, if it is there for the function.
    fn piece<'a>(&self, map: &'a Map) -> Option<&'a Piece> {
        map.piece.as_ref().filter(|_| self.shadows || !map.shadow)
    }

    pub fn memory(&self) -> Result<Memory, MapError> {
        let places = self.places.values();
        let regions = places.map(|place| Region::new(place.base, place.mapping.clone()));
        Ok(Memory::new(regions.collect())?.with_translation(self.iotlb.clone()))
    }
}

fn key(mapping: &Arc<Mapping>) -> usize {
    Arc::as_ptr(mapping) as usize
}

/// What a map allows, by its flags.
pub(super) fn access(readable: bool, writable: bool) -> Access {
    match (readable, writable) {
        (true, true) => Access::ReadWrite,
        (false, true) => Access::Write,
        _ => Access::Read,
    }
}
