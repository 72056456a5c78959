//! The handle through which memory changes while queues run.

use crate::lock::Lock;
use crate::{MapError, Memory, Region};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A shared handle to the current [`Memory`]. Clones are the same map.
///
/// Whoever serves queues keeps the `Arc<Memory>` of [`load`](Self::load) with the generation read *before* it, and
/// loads again once [`generation`](Self::generation) has changed, which is worth one look per batch. Old memory
/// stays mapped until the last user has let go of it.
#[derive(Clone, Debug)]
pub struct MemoryMap(Arc<Current>);

#[derive(Debug)]
struct Current {
    memory: Lock<Arc<Memory>>,
    generation: AtomicUsize,
}

impl MemoryMap {
    /// A map that starts with `memory`.
    pub fn new(memory: Memory) -> Self {
        Self(Arc::new(Current {
            memory: Lock::new(Arc::new(memory)),
            generation: AtomicUsize::new(0),
        }))
    }

    /// The memory as it is now.
    pub fn load(&self) -> Arc<Memory> {
        self.0.memory.lock().clone()
    }

    /// A number that is new after every change.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire) as u64
    }

    /// Puts `memory` in the place of the current one.
    pub fn replace(&self, memory: Memory) {
        let memory = Arc::new(memory);
        let mut current = self.0.memory.lock();
        let old = core::mem::replace(&mut *current, memory);
        self.0.generation.fetch_add(1, Ordering::Release);
        drop(current);
        // Unmapping may take long; it happens outside the lock.
        drop(old);
    }

    /// Adds a region. Refused, with nothing changed, if it does not fit with the others.
    pub fn add(&self, region: Region) -> Result<(), MapError> {
        self.change(|memory| {
            let mut regions = memory.regions().to_vec();
            regions.push(region.clone());
            memory.with_regions(regions)
        })
    }

    /// Takes away the region that starts at `guest_address`, and gives it back.
    pub fn remove(&self, guest_address: u64) -> Result<Region, MapError> {
        let mut removed = None;
        self.change(|memory| {
            let mut regions = memory.regions().to_vec();
            let index = regions.binary_search_by_key(&guest_address, Region::guest_address);
            removed = Some(regions.remove(index.map_err(|_| MapError::NotFound {
                address: guest_address,
            })?));
            memory.with_regions(regions)
        })?;
        removed.ok_or(MapError::NotFound {
            address: guest_address,
        })
    }

    /// Replaces the memory by what `make` makes of it; again if someone else replaced it meanwhile.
    fn change(&self, mut make: impl FnMut(&Memory) -> Result<Memory, MapError>) -> Result<(), MapError> {
        loop {
            let before = self.load();
            let after = Arc::new(make(&before)?);
            let mut current = self.0.memory.lock();
            if Arc::ptr_eq(&current, &before) {
                *current = after;
                self.0.generation.fetch_add(1, Ordering::Release);
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
