//! The chains that every subject is given.

use anyhow::{Result, ensure};

/// Queue size of every ring here.
pub const QUEUE_SIZE: u16 = 256;
/// Chains in a batch, at most.
pub const MAX_BATCH: u16 = 32;
/// Elements of a chain, at most.
pub const MAX_SEGMENTS: u16 = 3;
/// Distance of two indirect tables in memory.
pub const TABLE: usize = 64;
/// Distance of two buffers in memory.
const STRIDE: u32 = 4096;
/// Bytes that the buffers of all chains take up.
pub const BUFFERS: usize = MAX_BATCH as usize * MAX_SEGMENTS as usize * STRIDE as usize;

/// Lengths of a chain's segments, the shape of a block request: a header that the device reads, data and a status that
/// it writes. Shorter chains have the first of them.
const LENGTHS: [u32; MAX_SEGMENTS as usize] = [16, 512, 1];

/// A batch of chains, the same again and again. Chain `slot` always uses the same buffers.
#[derive(Clone, Copy)]
pub struct Pattern {
    /// Chains in a batch.
    pub batch: u16,
    /// Elements of a chain, of which the first is device-readable and the others device-writable.
    pub segments: u16,
    /// Whether chains of more than one element are in indirect tables.
    pub indirect: bool,
}

impl Pattern {
    /// Refuses what the ring or the buffers do not have room for.
    pub fn new(batch: u16, segments: u16, indirect: bool) -> Result<Self> {
        ensure!(
            (1..=MAX_BATCH).contains(&batch) && (1..=MAX_SEGMENTS).contains(&segments),
            "a batch has 1 to {MAX_BATCH} chains, and a chain 1 to {MAX_SEGMENTS} segments"
        );
        Ok(Self {
            batch,
            segments,
            indirect,
        })
    }

    /// Whether the chains are in indirect tables.
    #[inline(always)]
    pub fn tabled(self) -> bool {
        self.indirect && self.segments > 1
    }

    /// Descriptors of the ring that a chain takes.
    #[inline(always)]
    pub fn descriptors(self) -> u16 {
        if self.tabled() { 1 } else { self.segments }
    }

    /// Where a segment lies, counted from the first buffer.
    #[inline(always)]
    pub fn offset(self, slot: u16, segment: u16) -> u32 {
        u32::from(slot * MAX_SEGMENTS + segment) * STRIDE
    }

    /// Length of a segment.
    #[inline(always)]
    pub fn length(self, segment: u16) -> u32 {
        LENGTHS[usize::from(segment)]
    }

    /// Bytes that the device writes into each chain: all that it can.
    #[inline(always)]
    pub fn written(self) -> u32 {
        LENGTHS[1..usize::from(self.segments)].iter().sum()
    }

    /// Sum over a batch of what [`trace`] makes of each segment, with the first buffer at `base`.
    pub fn trace(self, base: usize) -> u64 {
        let of_chain = |slot| (0..self.segments).map(move |segment| (slot, segment));
        (0..self.batch)
            .flat_map(of_chain)
            .map(|(slot, segment)| {
                let place = base + self.offset(slot, segment) as usize;
                trace(place as *mut u8, self.length(segment) as usize)
            })
            .fold(0, u64::wrapping_add)
    }
}

/// What a device end adds up over all segments, so that it must have found their places in host memory and their lengths.
#[inline(always)]
pub fn trace(place: *mut u8, length: usize) -> u64 {
    (place as u64).wrapping_add(length as u64)
}
