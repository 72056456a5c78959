//! Translation of addresses before they reach memory: VIRTIO_F_ACCESS_PLATFORM.

use crate::lock::Lock;
use crate::{Access, Fault};
use alloc::collections::BTreeMap;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Turns the addresses that a driver uses into guest-physical ones, as a platform's IOMMU does.
pub trait Translate: Send + Sync {
    /// The guest-physical address of `address`, and how many of the `length` bytes from there on (at least 1) are
    /// contiguous at it. `length` is not 0 and the range does not overflow. Faults with [`Fault::Miss`] if nothing
    /// is known of `address`, and with [`Fault::Denied`] if it is known not to allow `access`.
    fn translate(&self, address: u64, length: u64, access: Access) -> Result<(u64, u64), Fault>;

    /// A number that changes whenever an earlier translation stops being true. Additions need not change it.
    fn generation(&self) -> u64;
}

/// A stretch of a translated range that is contiguous in guest-physical memory.
pub(crate) struct Piece {
    pub(crate) address: u64,
    pub(crate) guest_address: u64,
    pub(crate) length: u64,
}

/// The stretches of a range, longest first come: neighbours that continue each other are one.
pub(crate) struct Pieces<'t> {
    translation: &'t dyn Translate,
    address: u64,
    length: u64,
    access: Access,
    ahead: Option<Piece>,
}

impl<'t> Pieces<'t> {
    /// The stretches of a range that is not empty and does not overflow.
    pub(crate) fn new(translation: &'t dyn Translate, address: u64, length: u64, access: Access) -> Self {
        Self {
            translation,
            address,
            length,
            access,
            ahead: None,
        }
    }

    /// Translates what is left of the range, as far as one answer goes.
    fn step(&mut self) -> Result<Piece, Fault> {
        let Self { address, access, .. } = *self;
        let (guest_address, length) = self.translation.translate(address, self.length, access)?;
        // Whoever implements the trait is not trusted to keep to the range.
        let length = length.min(self.length);
        if length == 0 || guest_address.checked_add(length - 1).is_none() {
            return Err(Fault::Miss { address, access });
        }
        self.length -= length;
        self.address = self.address.wrapping_add(length);
        Ok(Piece {
            address,
            guest_address,
            length,
        })
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = self.ahead.take();
        while self.length != 0 {
            let next = match self.step() {
                Ok(next) => next,
                Err(fault) => {
                    self.length = 0;
                    return Some(Err(fault));
                }
            };
            match &mut piece {
                None => piece = Some(next),
                Some(piece) if piece.guest_address.checked_add(piece.length) == Some(next.guest_address) => {
                    piece.length += next.length;
                }
                Some(_) => {
                    self.ahead = Some(next);
                    break;
                }
            }
        }
        piece.map(Ok)
    }
}

/// A table of translations that is filled and emptied from outside while queues run, as vhost-user's IOTLB messages
/// or a driver's IOMMU requests do.
#[derive(Debug, Default)]
pub struct Iotlb {
    /// By first address; entries do not overlap.
    entries: Lock<BTreeMap<u64, Entry>>,
    generation: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Last address covered.
    last: u64,
    guest_address: u64,
    access: Access,
}

impl Iotlb {
    /// A table that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the `length` bytes from `address` on stand for those from `guest_address` on, for accesses within
    /// `access`. Takes the place of what was known of the range. False, with nothing changed, if the range is empty
    /// or either side of it does not end within 64 bits.
    pub fn insert(&self, address: u64, length: u64, guest_address: u64, access: Access) -> bool {
        let Some(last) = length
            .checked_sub(1)
            .and_then(|length| address.checked_add(length))
        else {
            return false;
        };
        if guest_address.checked_add(length - 1).is_none() {
            return false;
        }
        let mut entries = self.entries.lock();
        if cut(&mut entries, address, last) {
            self.generation.fetch_add(1, Ordering::Release);
        }
        entries.insert(
            address,
            Entry {
                last,
                guest_address,
                access,
            },
        );
        true
    }

    /// Forgets the `length` bytes from `address` on; what lies beyond 64 bits is not there to forget.
    pub fn remove(&self, address: u64, length: u64) {
        if let Some(length) = length.checked_sub(1) {
            let mut entries = self.entries.lock();
            if cut(&mut entries, address, address.saturating_add(length)) {
                self.generation.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Ranges in the table, some of them split by removals. Whoever fills it from a side that it does not trust keeps
    /// this bounded, by [`clear`](Self::clear) if need be: what is forgotten is asked for again.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether the table knows nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.entries.lock().clear();
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl Translate for Iotlb {
    fn translate(&self, address: u64, length: u64, access: Access) -> Result<(u64, u64), Fault> {
        let entries = self.entries.lock();
        let (first, entry) = match entries.range(..=address).next_back() {
            Some((first, entry)) if entry.last >= address => (*first, *entry),
            _ => return Err(Fault::Miss { address, access }),
        };
        if entry.access != Access::ReadWrite && entry.access != access {
            return Err(Fault::Denied { address, access });
        }
        Ok((
            entry.guest_address + (address - first),
            length.min((entry.last - address).saturating_add(1)),
        ))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire) as u64
    }
}

/// Removes `first..=last` from `entries`, keeping what sticks out on either side. True if anything was there.
fn cut(entries: &mut BTreeMap<u64, Entry>, first: u64, last: u64) -> bool {
    let mut found = false;
    while let Some((&start, &entry)) = entries.range(..=last).next_back()
        && entry.last >= first
    {
        found = true;
        entries.remove(&start);
        if entry.last > last {
            let guest_address = entry.guest_address + (last - start) + 1;
            entries.insert(
                last + 1,
                Entry {
                    guest_address,
                    ..entry
                },
            );
        }
        if start < first {
            entries.insert(
                start,
                Entry {
                    last: first - 1,
                    ..entry
                },
            );
        }
    }
    found
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
