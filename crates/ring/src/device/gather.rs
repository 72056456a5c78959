//! From descriptors to segments of memory: the short way for chains that are what they nearly always are, and the long
//! way for everything else.
//!
//! `unsafe` is needed here to write segments without asking for room that is there by construction.

use core::cell::Cell;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use ringwright_memory::{Access, Fault, Segment, Window};
use ringwright_spec::split::DescFlags;

use super::chain::{Taken, Token};
use super::core::{Core, Decode, Scratch};
use crate::Violation;
use crate::split::Descriptor;

pub(super) const NEXT: u16 = DescFlags::NEXT.0;
pub(super) const WRITE: u16 = DescFlags::WRITE.0;
pub(super) const INDIRECT: u16 = DescFlags::INDIRECT.0;

/// Largest number of bytes that a chain describes (`drv:split:the-virtqueue-descriptor-table:01`).
const MAX_BYTES: u64 = 1 << 32;

/// A chain gathered in the short way; its segments are where they were asked for.
pub(super) struct Short {
    readable: usize,
    writable: usize,
    readable_bytes: u64,
    writable_bytes: u64,
    /// The chain's last descriptor.
    pub last: Descriptor,
}

impl Short {
    /// Gathers the chain that starts with `descriptor` in the short way: all elements direct, with no flags but NEXT and
    /// WRITE, each within the memory where the last such access was, device-readable ones first. `next` gives the
    /// descriptor that follows one with NEXT, once the segments end at the given place.
    ///
    /// `None` for any other chain, right or wrong: the long way then starts afresh, with nothing of what was read here.
    ///
    /// # Safety
    ///
    /// There is room for a segment at `start`, and at each place for which `next` gives a descriptor.
    #[inline(always)]
    pub unsafe fn gather(
        window: &Window,
        start: *mut Segment,
        mut descriptor: Descriptor,
        mut next: impl FnMut(&Descriptor, *mut Segment) -> Option<Descriptor>,
    ) -> Option<Self> {
        let (mut end, mut bytes) = (start, 0);
        // Adds the descriptor as an element.
        macro_rules! put {
            ($access:expr) => {
                let segment = window.find(descriptor.address, descriptor.length, $access)?;
                // SAFETY: `end` is `start`, or `next` gave a descriptor for it.
                unsafe {
                    end.write(segment);
                    end = end.add(1);
                }
                bytes += u64::from(descriptor.length);
            };
        }
        while descriptor.flags == NEXT {
            put!(Access::Read);
            descriptor = next(&descriptor, end)?;
        }
        let (readable_end, readable_bytes);
        if descriptor.flags == 0 {
            put!(Access::Read);
            (readable_end, readable_bytes) = (end, bytes);
        } else {
            (readable_end, readable_bytes) = (end, bytes);
            while descriptor.flags != WRITE {
                if descriptor.flags != NEXT | WRITE {
                    return None;
                }
                put!(Access::Write);
                descriptor = next(&descriptor, end)?;
            }
            put!(Access::Write);
        }
        if bytes > MAX_BYTES {
            return None;
        }
        // SAFETY: these are places in the same room, in this order.
        let (readable, writable) = unsafe {
            (
                readable_end.offset_from_unsigned(start),
                end.offset_from_unsigned(readable_end),
            )
        };
        Some(Self {
            readable,
            writable,
            readable_bytes,
            writable_bytes: bytes - readable_bytes,
            last: descriptor,
        })
    }

    /// As [`gather`](Self::gather), the chain that an indirect table lists, which `decode` reads. The table itself is where
    /// the last read was, too.
    ///
    /// # Safety
    ///
    /// There is room for segments from `start` to `limit`, which are not the same.
    #[inline(always)]
    pub unsafe fn gather_table(
        window: &Window,
        start: *mut Segment,
        limit: *mut Segment,
        table: &Descriptor,
        decode: impl Fn(u32, u32, [[u8; 8]; 2]) -> (Descriptor, Option<u32>),
    ) -> Option<Self> {
        let table = Table::find(window, table)?;
        let after = Cell::new(None);
        let entry = |index: Option<u32>| {
            // Each entry is read once, as any descriptor.
            let index = index?;
            let (mut entry, next) = decode(index, table.size, table.entry(index)?);
            after.set(next);
            if next.is_some() {
                entry.flags |= NEXT;
            }
            Some(entry)
        };
        let first = entry(Some(0))?;
        // A chain with more elements than the queue has descriptors is too long, or a loop.
        let next = |_: &Descriptor, end| if end == limit { None } else { entry(after.get()) };
        // SAFETY: there is room at `start`, and `next` gives nothing for `limit`.
        unsafe { Self::gather(window, start, first, next) }
    }

    /// The gathered chain.
    #[inline(always)]
    pub fn taken(self, id: u16, position: u16) -> Taken {
        Taken {
            readable: self.readable,
            writable: self.writable,
            readable_bytes: self.readable_bytes,
            token: Token {
                id,
                position,
                writable: self.writable_bytes,
            },
        }
    }
}

/// An indirect table in one piece of memory, aligned for its words.
struct Table {
    segment: Segment,
    size: u32,
}

impl Table {
    #[inline(always)]
    fn find(window: &Window, table: &Descriptor) -> Option<Self> {
        let Descriptor { address, length, .. } = *table;
        if length == 0 || !length.is_multiple_of(16) {
            return None;
        }
        let segment = window.find(address, length, Access::Read)?;
        let size = length / 16;
        segment
            .pointer()
            .cast::<AtomicU64>()
            .is_aligned()
            .then_some(Self { segment, size })
    }

    /// The words of an entry, if there is one at `index`.
    #[inline(always)]
    fn entry(&self, index: u32) -> Option<[[u8; 8]; 2]> {
        if index >= self.size {
            return None;
        }
        let words = self.segment.pointer().cast::<AtomicU64>();
        // SAFETY: the segment has `size` entries of two words each, aligned, in memory that the window was made with and that
        // the queue keeps. It is seen as atomics only.
        let word = |number| unsafe { (*words.add(number)).load(Relaxed) }.to_ne_bytes();
        let first = 2 * index as usize;
        Some([word(first), word(first + 1)])
    }
}

/// What is gathered of a chain in the long way; its segments are in the scratch.
#[derive(Clone, Copy, Default)]
pub(super) struct Gather {
    /// Segments in the scratch.
    segments: usize,
    /// Elements so far.
    elements: u16,
    /// Sum of their lengths.
    bytes: u64,
    /// What of this was device-readable, once a device-writable element came.
    readable: Option<(usize, u64)>,
}

impl Gather {
    /// Gathers the chain that starts with `descriptor`, whatever it is.
    pub fn long(
        core: &mut Core,
        mut descriptor: Descriptor,
        decode: Decode,
        mut next: impl FnMut(&Descriptor) -> Result<Descriptor, Violation>,
    ) -> Result<(Self, Descriptor), Violation> {
        let mut gather = Self::default();
        core.scratch.clear();
        loop {
            if descriptor.flags & DescFlags::INDIRECT.0 != 0 {
                if descriptor.flags & NEXT != 0 {
                    return Err(Violation::IndirectWithNext);
                }
                // Flag WRITE means nothing here (dev:split:indirect-descriptors:01).
                gather.table(core, &descriptor, decode)?;
                return Ok((gather, descriptor));
            }
            if let Some(written) = &mut core.written
                && descriptor.flags & WRITE != 0
            {
                written.push_element(descriptor.address, descriptor.length);
            }
            gather.element(core, &descriptor)?;
            if descriptor.flags & NEXT == 0 {
                return Ok((gather, descriptor));
            }
            descriptor = next(&descriptor)?;
        }
    }

    /// The gathered chain.
    pub fn finish(self, id: u16, position: u16) -> Result<Taken, Violation> {
        if self.bytes > MAX_BYTES {
            return Err(Violation::ChainTooLarge { length: self.bytes });
        }
        let (readable, readable_bytes) = self.readable.unwrap_or((self.segments, self.bytes));
        let token = Token {
            id,
            position,
            writable: self.bytes - readable_bytes,
        };
        Ok(Taken {
            readable,
            writable: self.segments - readable,
            readable_bytes,
            token,
        })
    }

    /// Adds an element of the buffer.
    fn element(&mut self, core: &mut Core, element: &Descriptor) -> Result<(), Violation> {
        let limit = core.in_flight.size();
        if self.elements == limit {
            // Loops end here.
            return Err(Violation::ChainTooLong { limit });
        }
        self.elements += 1;
        let access = if element.flags & WRITE != 0 {
            self.readable.get_or_insert((self.segments, self.bytes));
            Access::Write
        } else if self.readable.is_some() {
            return Err(Violation::ReadableAfterWritable);
        } else {
            Access::Read
        };
        self.bytes += u64::from(element.length);
        let Core {
            memory,
            window,
            scratch,
            ..
        } = core;
        memory
            .resolve(window, element.address, element.length, access, scratch)
            .map_err(|fault| fault_of(fault, scratch))?;
        self.segments = scratch.segments().len();
        Ok(())
    }

    /// Adds the elements that an indirect table lists.
    fn table(&mut self, core: &mut Core, table: &Descriptor, decode: Decode) -> Result<(), Violation> {
        let Descriptor { address, length, .. } = *table;
        if !core.indirect {
            return Err(Violation::IndirectNotNegotiated);
        }
        if length == 0 || !length.is_multiple_of(16) {
            return Err(Violation::IndirectLength { length });
        }
        if let Some(written) = &mut core.written {
            written.push_table(address, length);
        }
        let Core {
            memory,
            window,
            table,
            ..
        } = core;
        table.clear();
        memory
            .resolve(window, address, length, Access::Read, table)
            .map_err(|fault| fault_of(fault, table))?;
        let size = length / 16;
        let mut index = 0;
        loop {
            // Each entry is read once, into private memory.
            let words = core.table.entry(index);
            let words = words.ok_or(Violation::DescriptorIndex {
                index: index as u16,
                size,
            })?;
            let (entry, next) = decode(index, size, words);
            if entry.flags & DescFlags::INDIRECT.0 != 0 {
                return Err(Violation::NestedIndirect);
            }
            self.element(core, &entry)?;
            match next {
                Some(next) => index = next,
                None => return Ok(()),
            }
        }
    }
}

fn fault_of(fault: Fault, scratch: &Scratch) -> Violation {
    match fault {
        Fault::TooManySegments { .. } => Violation::TooManySegments {
            limit: scratch.capacity(),
        },
        fault => Violation::Address(fault),
    }
}
