//! Ranges that are wanted in one piece, wherever their pages are.
//!
//! A driver behind an IOMMU takes pages from anywhere for a virtqueue and gives them addresses that follow each other
//! (VIRTIO_F_ACCESS_PLATFORM). Where these pages belong to files, they can follow each other here too.

use crate::{Access, Fault, Memory, Segment};
use alloc::vec::Vec;
use core::slice;

#[cfg(feature = "std")]
use {crate::Mapping, alloc::sync::Arc};

/// The host memory of a range, in one piece. Valid for as long as this, with the memory that it was resolved in.
#[derive(Debug)]
pub struct Whole {
    segment: Segment,
    /// What it consists of, if that is more than one piece.
    pieces: Vec<Segment>,
    /// The pieces, mapped once more, one behind the other.
    #[cfg(feature = "std")]
    joined: Option<Arc<Mapping>>,
}

impl Whole {
    /// The memory.
    pub fn segment(&self) -> Segment {
        self.segment
    }

    /// The same memory where the regions have it: what [`Memory::mark_written`] takes.
    pub fn pieces(&self) -> &[Segment] {
        match self.pieces.is_empty() {
            true => slice::from_ref(&self.segment),
            false => &self.pieces,
        }
    }

    /// All of a segment.
    fn direct(segment: Segment) -> Self {
        Self {
            segment,
            pieces: Vec::new(),
            #[cfg(feature = "std")]
            joined: None,
        }
    }
}

impl Memory {
    /// As [`resolve_one`](Self::resolve_one), but a range in several pieces becomes one if they are whole pages of files (but
    /// for its ends), which are then mapped once more. Costs system calls, unless `before` is what the same range was the
    /// last time and it has not changed. Faults with [`Fault::Split`] if there are pieces and they cannot be joined.
    pub fn resolve_whole(
        &self,
        address: u64,
        length: usize,
        access: Access,
        before: Option<&Whole>,
    ) -> Result<Whole, Fault> {
        match self.resolve_one(address, length, access) {
            Err(Fault::Split { .. }) => self.join(address, length, access, before),
            outcome => outcome.map(Whole::direct),
        }
    }

    #[cfg(not(feature = "std"))]
    fn join(&self, address: u64, length: usize, _: Access, _: Option<&Whole>) -> Result<Whole, Fault> {
        let length = length as u64;
        Err(Fault::Split { address, length })
    }

    #[cfg(feature = "std")]
    fn join(
        &self,
        address: u64,
        length: usize,
        access: Access,
        before: Option<&Whole>,
    ) -> Result<Whole, Fault> {
        let pieces = self.pieces(address, length as u64, access)?;
        let kept = before.filter(|before| before.pieces == pieces);
        let joined = match kept.and_then(|kept| kept.joined.clone()) {
            Some(mapping) if mapping.writable() || !access.writes() => mapping,
            _ => {
                let files: Option<Vec<_>> = pieces.iter().map(|piece| self.file_of(piece)).collect();
                let joined = files.and_then(|files| Mapping::joined(&files, access.writes()).ok());
                let length = length as u64;
                Arc::new(joined.ok_or(Fault::Split { address, length })?)
            }
        };
        Ok(Whole {
            segment: joined.segment(),
            pieces,
            joined: Some(joined),
        })
    }

    /// The file that a segment of this memory is in, where in it, and for how many bytes.
    #[cfg(feature = "std")]
    fn file_of(&self, segment: &Segment) -> Option<(std::os::fd::BorrowedFd<'_>, u64, usize)> {
        let start = segment.pointer() as usize;
        self.regions().iter().find_map(|region| {
            let offset = start.checked_sub(region.pointer() as usize)?;
            let (file, at) = region.file()?;
            region.segment().part(offset, segment.len())?;
            Some((file, at + offset as u64, segment.len()))
        })
    }
}

#[cfg(all(test, feature = "std"))]
#[path = "whole_tests.rs"]
mod tests;
