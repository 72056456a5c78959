//! Requests, before they are submitted.

use alloc::vec::Vec;

use ringwright_memory::Buffer;
use ringwright_spec::block::ReqType;

use super::Ranges;

/// The buffers of a request: they move into the driver with it and come back with its completion.
#[derive(Debug, Default)]
pub enum Data {
    /// The request has no data.
    #[default]
    None,
    /// All data in one buffer.
    One(Buffer),
    /// Data in several buffers, one after the other. Nothing is copied: each is a segment of the request.
    Several(Vec<Buffer>),
}

impl Data {
    /// The buffers in their order.
    #[inline]
    pub fn as_slice(&self) -> &[Buffer] {
        match self {
            Self::None => &[],
            Self::One(buffer) => core::slice::from_ref(buffer),
            Self::Several(buffers) => buffers,
        }
    }

    /// The buffer, where there is exactly one.
    pub fn into_buffer(self) -> Option<Buffer> {
        match self {
            Self::None => None,
            Self::One(buffer) => Some(buffer),
            Self::Several(mut buffers) if buffers.len() == 1 => buffers.pop(),
            Self::Several(_) => None,
        }
    }

    /// All buffers in their order.
    pub fn into_buffers(self) -> Vec<Buffer> {
        match self {
            Self::None => Vec::new(),
            Self::One(buffer) => alloc::vec![buffer],
            Self::Several(buffers) => buffers,
        }
    }

    /// Bytes of all buffers; `None` if that is more than a `usize` says.
    #[inline]
    pub(super) fn length(&self) -> Option<usize> {
        match self {
            Self::One(buffer) => Some(buffer.len()),
            _ => sum(self.as_slice()),
        }
    }
}

impl From<Buffer> for Data {
    fn from(buffer: Buffer) -> Self {
        Self::One(buffer)
    }
}

impl From<Vec<Buffer>> for Data {
    fn from(buffers: Vec<Buffer>) -> Self {
        Self::Several(buffers)
    }
}

/// Bytes of `buffers`.
fn sum(buffers: &[Buffer]) -> Option<usize> {
    buffers
        .iter()
        .try_fold(0_usize, |sum, buffer| sum.checked_add(buffer.len()))
}

/// One request. What it may be is checked when it is [submitted](super::Block::submit).
#[derive(Debug)]
pub struct Request {
    pub(super) kind: ReqType,
    pub(super) sector: u64,
    pub(super) data: Data,
    /// How many of the buffers, from the first on, the device reads; it writes the others.
    pub(super) readable: usize,
}

impl Request {
    /// Fills the buffers, whose length altogether is a multiple of 512 bytes, from the disk at `sector`.
    pub fn read(sector: u64, data: impl Into<Data>) -> Self {
        Self::to_driver(ReqType::IN, sector, data)
    }

    /// Writes the buffers, whose length altogether is a multiple of 512 bytes, to the disk at `sector`.
    pub fn write(sector: u64, data: impl Into<Data>) -> Self {
        Self::to_device(ReqType::OUT, sector, data)
    }

    /// Makes completed writes stable. The sector is 0 (`drv:blk:device-operation:04`), and there is no data
    /// (`drv:blk:device-operation:05`).
    pub fn flush() -> Self {
        Self::bare(ReqType::FLUSH, 0)
    }

    /// Fetches the device ID string into `buffer`, of 20 bytes; a shorter one is padded with NUL.
    pub fn get_id(buffer: Buffer) -> Self {
        Self::to_driver(ReqType::GET_ID, 0, buffer)
    }

    /// Fetches the wear of the storage into `buffer`, of 6 bytes, for [`Lifetime::read`](super::Lifetime::read).
    pub fn get_lifetime(buffer: Buffer) -> Self {
        Self::to_driver(ReqType::GET_LIFETIME, 0, buffer)
    }

    /// Says that the content of `ranges` is not needed any more; what is read there afterwards is anything
    /// (`drv:blk:device-operation:15`). If it fails, any of the ranges may have been discarded
    /// (`drv:blk:device-operation:16`).
    pub fn discard(ranges: Ranges) -> Self {
        Self::to_device(ReqType::DISCARD, 0, ranges.into_buffer())
    }

    /// Fills `ranges` with zeroes. If it fails, any of them may have been (`drv:blk:device-operation:16`).
    pub fn write_zeroes(ranges: Ranges) -> Self {
        Self::to_device(ReqType::WRITE_ZEROES, 0, ranges.into_buffer())
    }

    /// Erases `ranges` beyond recovery.
    pub fn secure_erase(ranges: Ranges) -> Self {
        Self::to_device(ReqType::SECURE_ERASE, 0, ranges.into_buffer())
    }

    /// Fetches the states of zones from the one that contains `sector` on, as many as fit into `buffer`: 64 bytes and 64
    /// for each zone. [`read_report`](super::read_report) reads them.
    pub fn zone_report(sector: u64, buffer: Buffer) -> Self {
        Self::to_driver(ReqType::ZONE_REPORT, sector, buffer)
    }

    /// Opens the zone that begins at `zone` explicitly.
    pub fn zone_open(zone: u64) -> Self {
        Self::bare(ReqType::ZONE_OPEN, zone)
    }

    /// Closes the zone that begins at `zone`.
    pub fn zone_close(zone: u64) -> Self {
        Self::bare(ReqType::ZONE_CLOSE, zone)
    }

    /// Makes the zone that begins at `zone` full.
    pub fn zone_finish(zone: u64) -> Self {
        Self::bare(ReqType::ZONE_FINISH, zone)
    }

    /// Makes the zone that begins at `zone` empty.
    pub fn zone_reset(zone: u64) -> Self {
        Self::bare(ReqType::ZONE_RESET, zone)
    }

    /// Makes all sequential zones empty. The sector is 0 (`drv:blk:device-operation:21`).
    pub fn zone_reset_all() -> Self {
        Self::bare(ReqType::ZONE_RESET_ALL, 0)
    }

    /// Writes the buffers at the write pointer of the zone that begins at `zone`; the completion says where that was.
    pub fn zone_append(zone: u64, data: impl Into<Data>) -> Self {
        Self::to_device(ReqType::ZONE_APPEND, zone, data)
    }

    /// Legacy: makes the request a barrier: the device ends all earlier requests of the virtqueue before it, and begins no
    /// later one before it has ended (section 5.2.6.3). It makes nothing stable.
    pub fn with_barrier(mut self) -> Self {
        self.kind.0 |= ReqType::BARRIER.0;
        self
    }

    /// Legacy: a SCSI packet command (section 5.2.6.3). Of `buffers` the device reads the first `readable`: the command,
    /// then any data; it writes the others: any data, then two of 96 bytes, for sense data, and 16 bytes, which
    /// [`ScsiAnswer::read`](super::ScsiAnswer::read) reads.
    pub fn scsi_command(buffers: Vec<Buffer>, readable: usize) -> Self {
        Self {
            kind: ReqType::SCSI_CMD,
            sector: 0,
            readable,
            data: Data::Several(buffers),
        }
    }

    /// The buffers, of a request that was refused.
    pub fn into_data(self) -> Data {
        self.data
    }

    fn bare(kind: ReqType, sector: u64) -> Self {
        Self {
            kind,
            sector,
            data: Data::None,
            readable: 0,
        }
    }

    fn to_driver(kind: ReqType, sector: u64, data: impl Into<Data>) -> Self {
        Self {
            kind,
            sector,
            data: data.into(),
            readable: 0,
        }
    }

    fn to_device(kind: ReqType, sector: u64, data: impl Into<Data>) -> Self {
        Self {
            kind,
            sector,
            data: data.into(),
            readable: usize::MAX,
        }
    }

    /// The type without the barrier flag.
    #[inline]
    pub(super) fn base_kind(&self) -> ReqType {
        ReqType(self.kind.0 & !ReqType::BARRIER.0)
    }

    /// The buffers that the device reads, and those that it writes.
    #[inline]
    pub(super) fn parts(&self) -> (&[Buffer], &[Buffer]) {
        let buffers = self.data.as_slice();
        buffers.split_at(self.readable.min(buffers.len()))
    }
}
