//! The files that DMA maps bring, mapped into this process.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use ringwright_memory::{Mapping, MappingError};

/// A piece of a file that is mapped.
#[derive(Clone)]
pub(super) struct Piece {
    pub mapping: Arc<Mapping>,
    pub offset: usize,
    pub length: usize,
}

/// The files that are mapped, each as a whole: a client behind an IOMMU maps and unmaps single pages all the time.
#[derive(Default)]
pub(super) struct Files(HashMap<FileId, Weak<Mapping>>);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FileId {
    device: u64,
    inode: u64,
    writable: bool,
}

impl Piece {
    /// Memory of our own, of which only what is touched is there.
    pub fn shadow(size: u64) -> Result<Self, MappingError> {
        let length = usize::try_from(size).map_err(|_| MappingError::TooLarge {
            offset: 0,
            length: size,
        })?;
        Ok(Self {
            mapping: Arc::new(Mapping::anonymous(length)?),
            offset: 0,
            length,
        })
    }

    /// Whether `next` at `address` goes on where this one, which starts at `start`, ends.
    pub fn continues(&self, start: u64, address: u64, next: &Piece) -> bool {
        start + self.length as u64 == address
            && Arc::ptr_eq(&self.mapping, &next.mapping)
            && self.offset + self.length == next.offset
    }
}

impl Files {
    /// How many files are known.
    #[cfg(test)]
    pub fn known(&self) -> usize {
        self.0.len()
    }

    /// The `size` bytes of `file` from byte `offset` on.
    pub fn piece(
        &mut self,
        file: OwnedFd,
        offset: u64,
        size: u64,
        writable: bool,
    ) -> Result<Piece, MappingError> {
        let place = usize::try_from(offset).ok().zip(usize::try_from(size).ok());
        let of = |mapping: Arc<Mapping>| {
            let (offset, length) = place?;
            let end = offset.checked_add(length)?;
            (end <= mapping.len()).then_some(Piece {
                mapping,
                offset,
                length,
            })
        };
        if let Ok(status) = rustix::fs::fstat(&file) {
            let id = FileId {
                device: status.st_dev,
                inode: status.st_ino,
                writable,
            };
            if let Some(piece) = self.0.get(&id).and_then(Weak::upgrade).and_then(of) {
                return Ok(piece);
            }
            let length = u64::try_from(status.st_size).unwrap_or(0);
            if let Ok(whole) = file.try_clone()
                && let Ok(mapping) = Mapping::file(whole, 0, length, writable).map(Arc::new)
                && let Some(piece) = of(mapping)
            {
                self.0.retain(|_, mapping| mapping.strong_count() > 0);
                self.0.insert(id, Arc::downgrade(&piece.mapping));
                return Ok(piece);
            }
        }
        // A file that cannot be mapped as a whole, or is too short, which the error then says.
        let mapping = Mapping::file(file, offset, size, writable)?;
        Ok(Piece {
            length: mapping.len(),
            mapping: Arc::new(mapping),
            offset: 0,
        })
    }
}
