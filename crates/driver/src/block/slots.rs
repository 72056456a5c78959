//! The fixed parts of requests, header and what follows the data, in memory set aside for each descriptor at set-up.

use alloc::vec::Vec;
use core::mem::size_of;

use ringwright_memory::{Buffer, DmaSegment};
use ringwright_ring::ByteOrder;
use ringwright_spec::block::zoned::ReqZaTail;
use ringwright_spec::block::{ReqHead, ReqType, Status};
use ringwright_spec::data::{Le32, Le64};
use zerocopy::IntoBytes;

use crate::field::Field;
use crate::session::Session;
use crate::{DriverError, Transport};

/// Distance of two slots, so that none crosses a cache line of 64 bytes.
const STRIDE: usize = 32;

/// The sector that data were appended at, which only zone appends have, follows the header.
const APPEND_SECTOR: usize = size_of::<ReqHead>();

/// The status follows both.
const STATUS: usize = APPEND_SECTOR + size_of::<ReqZaTail>() - 1;

/// Before the device has written a status, which is none of the document's.
const UNWRITTEN: Status = Status(0xff);

/// One header and one status for each request that may be outstanding.
pub(super) struct Slots {
    memory: Buffer,
    order: ByteOrder,
    free: Vec<u16>,
}

impl Slots {
    /// Slots for `count` requests.
    pub(super) fn new<T: Transport>(session: &Session<T>, count: u16) -> Result<Self, DriverError> {
        let memory = session.allocate(STRIDE * count as usize)?;
        Ok(Self {
            memory,
            order: session.byte_order(),
            free: (0..count).rev().collect(),
        })
    }

    /// A slot that is free.
    #[inline]
    pub(super) fn take(&mut self) -> Option<u16> {
        self.free.pop()
    }

    /// Frees `slot`.
    #[inline]
    pub(super) fn put(&mut self, slot: u16) {
        self.free.push(slot);
    }

    /// Writes the header of a request; returns where the device finds it and where it writes the status, and before it the
    /// sector of a zone append.
    #[inline]
    pub(super) fn prepare(&self, slot: u16, kind: ReqType, sector: u64) -> (DmaSegment, DmaSegment) {
        // Little-endian, or on legacy interfaces as the guest is (section 5.2.6.3).
        let head = ReqHead {
            r#type: Le32::from_bytes(kind.0.in_order(self.order).to_ne_bytes()),
            reserved: Le32::ZERO,
            sector: Le64::from_bytes(sector.in_order(self.order).to_ne_bytes()),
        };
        let at = STRIDE * slot as usize;
        let mut bytes = [0; STATUS + 1];
        bytes[..APPEND_SECTOR].copy_from_slice(head.as_bytes());
        bytes[STATUS] = UNWRITTEN.0;
        self.memory.write(at, &bytes).expect(WITHIN);
        let segment = |offset, length| self.memory.segment_at(at + offset, length).expect(WITHIN);
        let tail = match kind {
            ReqType::ZONE_APPEND => APPEND_SECTOR,
            _ => STATUS,
        };
        (segment(0, APPEND_SECTOR), segment(tail, STATUS + 1 - tail))
    }

    /// The sector that the device has appended data at.
    pub(super) fn append_sector(&self, slot: u16) -> u64 {
        let mut sector = [0; 8];
        self.memory
            .read(STRIDE * slot as usize + APPEND_SECTOR, &mut sector)
            .expect(WITHIN);
        u64::from_ne_bytes(sector).in_order(self.order)
    }

    /// The status that the device has written.
    #[inline]
    pub(super) fn status(&self, slot: u16) -> Status {
        let mut status = [0];
        self.memory
            .read(STRIDE * slot as usize + STATUS, &mut status)
            .expect(WITHIN);
        Status(status[0])
    }
}

/// Slot numbers come from `free`, which holds those below the count for which the memory was allocated.
const WITHIN: &str = "a slot lies within the slots' memory";
