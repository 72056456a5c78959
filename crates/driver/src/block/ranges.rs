//! Ranges of sectors to be discarded, zeroed or erased.

use core::mem::size_of;

use ringwright_memory::Buffer;
use ringwright_ring::ByteOrder;
use ringwright_spec::block::{DiscardWriteZeroes, DiscardWriteZeroesFlags};
use ringwright_spec::data::{Le32, Le64};
use zerocopy::IntoBytes;

use crate::field::Field;

/// Bytes that one range takes in a request.
pub(super) const RANGE_BYTES: usize = size_of::<DiscardWriteZeroes>();

/// One range of sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First sector.
    pub sector: u64,
    /// Number of sectors.
    pub sectors: u32,
    /// Whether the device may deallocate the range. For [`write_zeroes`](super::Request::write_zeroes) only
    /// (`drv:blk:device-operation:14`).
    pub unmap: bool,
}

/// Ranges in memory that the device reaches.
#[derive(Debug)]
pub struct Ranges(Buffer);

impl Ranges {
    /// Puts `ranges` into `buffer`. Gives it back if its length is not 16 bytes for each of them
    /// (`drv:blk:device-operation:07`).
    pub fn new(buffer: Buffer, ranges: &[Range]) -> Result<Self, Buffer> {
        if Some(buffer.len()) != ranges.len().checked_mul(RANGE_BYTES) {
            return Err(buffer);
        }
        for (index, range) in ranges.iter().enumerate() {
            put(&buffer, index, range, ByteOrder::Little);
        }
        Ok(Self(buffer))
    }

    pub(super) fn into_buffer(self) -> Buffer {
        self.0
    }
}

/// The ranges in `buffer`, as [`Ranges::new`] has put them there.
pub(super) fn get(buffer: &Buffer) -> impl Iterator<Item = Range> + '_ {
    (0..buffer.len() / RANGE_BYTES).map(|index| {
        let mut range = DiscardWriteZeroes::default();
        buffer
            .read(index * RANGE_BYTES, range.as_mut_bytes())
            .expect(WITHIN);
        Range {
            sector: range.sector.get(),
            sectors: range.num_sectors.get(),
            unmap: range.flags.get() & DiscardWriteZeroesFlags::UNMAP.0 != 0,
        }
    })
}

/// Puts the ranges in `buffer` into `order`, which on legacy interfaces is the guest's (section 5.2.6.3).
pub(super) fn put_in_order(buffer: &Buffer, order: ByteOrder) {
    for (index, range) in get(buffer).enumerate() {
        put(buffer, index, &range, order);
    }
}

fn put(buffer: &Buffer, index: usize, range: &Range, order: ByteOrder) {
    let flags = match range.unmap {
        true => DiscardWriteZeroesFlags::UNMAP,
        false => DiscardWriteZeroesFlags::NONE,
    };
    let range = DiscardWriteZeroes {
        sector: Le64::from_bytes(range.sector.in_order(order).to_ne_bytes()),
        num_sectors: Le32::from_bytes(range.sectors.in_order(order).to_ne_bytes()),
        flags: Le32::from_bytes(flags.0.in_order(order).to_ne_bytes()),
    };
    buffer.write(index * RANGE_BYTES, range.as_bytes()).expect(WITHIN);
}

/// The number of ranges is that of a buffer's length.
const WITHIN: &str = "a range lies within its buffer";
