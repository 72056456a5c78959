//! The last hit of address resolution.
//!
//! `unsafe` is needed here because a hit adds an offset to a raw pointer.

use crate::{Access, Segment};
use core::ptr;

/// Remembers the regions that the last resolved addresses lay in, so that the next address is resolved by two
/// comparisons and an addition. It keeps no memory alive.
///
/// A window belongs to the [`Memory`](crate::Memory) it was first used with: make a new one whenever that is
/// replaced. (A window used with another `Memory` gives segments of the first one.)
#[derive(Debug, Default)]
pub struct Window {
    /// Where reads and writes without translation last went.
    pub(crate) direct: Hits,
    /// Where they last went with translation; good for one generation of the translation.
    pub(crate) translated: Hits,
    /// The generation of `translated`.
    pub(crate) generation: u64,
    /// The memory that the window belongs to, 0 for none yet.
    #[cfg(debug_assertions)]
    pub(crate) memory: usize,
}

impl Window {
    /// A window that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The fast half of [`Memory::resolve`](crate::Memory::resolve), for loops that keep what they gather in registers:
    /// the segment of `length` bytes at `address`, if the last hit without translation covers all of it. `None` tells
    /// nothing: ask `resolve`. A length of 0 may give an empty segment.
    #[inline(always)]
    pub fn find(&self, address: u64, length: u32, access: Access) -> Option<Segment> {
        let hit = match access {
            Access::Read => &self.direct.read,
            Access::Write => &self.direct.write,
            Access::ReadWrite => return None,
        };
        let offset = address.wrapping_sub(hit.base);
        // An address below the base wraps to an offset beyond any size.
        let left = hit.size.checked_sub(offset)?;
        if u64::from(length) > left {
            return None;
        }
        // SAFETY: `size` is the length of the host memory at `host`, so offset and length lie within it. That the
        // memory stays is the promise of whoever uses the segment.
        Some(unsafe { Segment::new(hit.host.add(offset as usize), length as usize) })
    }
}

/// One hit per kind of access, so that reads and writes of different regions do not displace each other.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    read: Hit,
    write: Hit,
}

impl Hits {
    /// The segment of `length` bytes at `address`, if the last hit covers all of it and `length` is not 0.
    #[inline(always)]
    pub(crate) fn find(&self, address: u64, length: u64, access: Access) -> Option<Segment> {
        match access {
            Access::Read => self.read.find(address, length),
            Access::Write => self.write.find(address, length),
            Access::ReadWrite => None,
        }
    }

    /// Remembers that `access` is allowed from address `base` on at `segment`.
    pub(crate) fn record(&mut self, base: u64, segment: Segment, access: Access) {
        let hit = Hit {
            base,
            size: segment.len() as u64,
            host: segment.pointer(),
        };
        match access {
            Access::Read => self.read = hit,
            Access::Write => self.write = hit,
            Access::ReadWrite => {}
        }
    }
}

/// A range of addresses and the host memory it stands for.
#[derive(Debug)]
struct Hit {
    base: u64,
    size: u64,
    host: *mut u8,
}

// SAFETY: the pointer is only offset, never followed.
unsafe impl Send for Hit {}
// SAFETY: as above.
unsafe impl Sync for Hit {}

impl Default for Hit {
    fn default() -> Self {
        Self {
            base: 0,
            size: 0,
            host: ptr::null_mut(),
        }
    }
}

impl Hit {
    #[inline(always)]
    fn find(&self, address: u64, length: u64) -> Option<Segment> {
        // An address below the base wraps to an offset beyond any size.
        let offset = address.wrapping_sub(self.base);
        // So does a length of 0, which is not for the fast path.
        if offset >= self.size || length.wrapping_sub(1) >= self.size - offset {
            return None;
        }
        // SAFETY: `size` is the length of the host memory at `host`, so offset and length lie within it. That the
        // memory stays is the promise of whoever uses the segment.
        Some(unsafe { Segment::new(self.host.add(offset as usize), length as usize) })
    }
}
