//! From descriptors to segments of memory: the short way for chains that are what they nearly always are, and the long
//! way for everything else.
//!
//! `unsafe` is needed here to write segments without asking for room that is there by construction.

use ringwright_memory::{Access, Fault};
use ringwright_spec::split::DescFlags;

use super::chain::{Taken, Token};
use super::core::{Core, Decode, Scratch};
use crate::Violation;
use crate::split::Descriptor;

const NEXT: u16 = DescFlags::NEXT.0;
const WRITE: u16 = DescFlags::WRITE.0;

/// Largest number of bytes that a chain describes (`drv:split:the-virtqueue-descriptor-table:01`).
const MAX_BYTES: u64 = 1 << 32;

/// What is gathered of a chain so far; its segments are in the scratch.
#[derive(Clone, Copy, Default)]
pub(super) struct Gather {
    /// Segments in the scratch.
    segments: usize,
    /// Elements so far, in the long way.
    elements: u16,
    /// Sum of their lengths.
    bytes: u64,
    /// What of this was device-readable, once a device-writable element came.
    readable: Option<(usize, u64)>,
}

impl Gather {
    /// Gathers the chain that starts with `descriptor` in the short way: all elements direct, with no flags but NEXT and
    /// WRITE, each within the memory where the last such access was, device-readable ones first, and not more of them
    /// than the queue has descriptors. `next` gives the descriptor that follows one with NEXT.
    ///
    /// `None` for any other chain, right or wrong: the long way then starts afresh, with nothing of what was read here.
    #[inline(always)]
    pub fn short(
        core: &mut Core,
        mut descriptor: Descriptor,
        mut next: impl FnMut(&Descriptor) -> Option<Descriptor>,
    ) -> Option<(Self, Descriptor)> {
        // The scratch has room for more segments than the queue has descriptors.
        let (start, limit) = (core.scratch.as_mut_ptr(), core.scratch.limit());
        let (mut end, mut bytes) = (start, 0);
        // Adds the descriptor as an element.
        macro_rules! put {
            ($access:expr) => {
                let segment = core.window.find(descriptor.address, descriptor.length, $access)?;
                // SAFETY: `end` is below `limit` here: there was one segment for each element before, and `step` has
                // found that they are fewer than the queue has descriptors.
                unsafe {
                    end.write(segment);
                    end = end.add(1);
                }
                bytes += u64::from(descriptor.length);
            };
        }
        // Goes on to the next descriptor.
        macro_rules! step {
            () => {
                if end == limit {
                    return None;
                }
                descriptor = next(&descriptor)?;
            };
        }
        while descriptor.flags == NEXT {
            put!(Access::Read);
            step!();
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
                step!();
            }
            put!(Access::Write);
        }
        // SAFETY: all are within the scratch, in this order.
        let (segments, readable) = unsafe {
            (
                end.offset_from_unsigned(start),
                readable_end.offset_from_unsigned(start),
            )
        };
        Some((
            Self {
                segments,
                bytes,
                readable: Some((readable, readable_bytes)),
                elements: 0,
            },
            descriptor,
        ))
    }

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
    #[inline(always)]
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
