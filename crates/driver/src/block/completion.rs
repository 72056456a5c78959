//! Requests that the device has finished.

use ringwright_memory::Buffer;
use ringwright_ring::ByteOrder;
use ringwright_spec::block::{self as spec, PreEolInfo, ScsiPcIn, Status};
use thiserror::Error;
use zerocopy::{FromZeros, IntoBytes};

use super::Data;
use crate::field::Field;

/// A request that the device has finished.
#[derive(Debug)]
pub struct Completion {
    /// The caller's tag.
    pub tag: u64,
    /// The request's buffers.
    pub data: Data,
    /// How it ended.
    pub result: Result<(), BlockError>,
    /// Where the data of a [`zone_append`](super::Request::zone_append) that succeeded begins: a sector of its zone.
    pub append_sector: Option<u64>,
}

/// How a request failed; the device stays usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BlockError {
    /// `VIRTIO_BLK_S_IOERR`.
    #[error("the device reports an I/O error")]
    Io,
    /// `VIRTIO_BLK_S_UNSUPP`.
    #[error("the device does not support the request")]
    Unsupported,
    /// `VIRTIO_BLK_S_ZONE_INVALID_CMD`.
    #[error("the request is not possible in this zone or state of the zone")]
    ZoneInvalidCommand,
    /// `VIRTIO_BLK_S_ZONE_UNALIGNED_WP`.
    #[error("the write is not at the zone's write pointer, or not of the write granularity")]
    ZoneUnaligned,
    /// `VIRTIO_BLK_S_ZONE_OPEN_RESOURCE`.
    #[error("too many zones are open")]
    ZoneOpenResource,
    /// `VIRTIO_BLK_S_ZONE_ACTIVE_RESOURCE`.
    #[error("too many zones are active")]
    ZoneActiveResource,
    /// A status that does not belong to the request.
    #[error("the device answered with status {0:?}")]
    Status(Status),
    /// The status is OK, but the device says that it wrote less than the whole answer.
    #[error("the device wrote {found} of {expected} bytes and reported success")]
    Short {
        /// Length of data and status.
        expected: u32,
        /// Length that the device reported.
        found: u32,
    },
    /// Data were appended, but to a sector outside of the zone.
    #[error("the device says that it appended to the zone at sector {0}, which is another zone's")]
    Appended(u64),
}

impl BlockError {
    /// What a status other than OK says.
    pub(super) fn of(status: Status) -> Self {
        match status {
            Status::IOERR => Self::Io,
            Status::UNSUPP => Self::Unsupported,
            Status::ZONE_INVALID_CMD => Self::ZoneInvalidCommand,
            Status::ZONE_UNALIGNED_WP => Self::ZoneUnaligned,
            Status::ZONE_OPEN_RESOURCE => Self::ZoneOpenResource,
            Status::ZONE_ACTIVE_RESOURCE => Self::ZoneActiveResource,
            other => Self::Status(other),
        }
    }
}

/// How worn the storage is, as eMMC says it (JESD84-B50).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// How many of the reserved blocks are consumed.
    pub pre_eol_info: PreEolInfo,
    /// Wear of SLC cells in steps of 10 %: 0 undefined, 1 to 10 up to that many tenths, 11 exceeded.
    pub type_a: u16,
    /// Wear of MLC cells, in the same steps.
    pub type_b: u16,
}

impl Lifetime {
    /// What a [`get_lifetime`](super::Request::get_lifetime) has put into `buffer`, in the byte order of
    /// [`Session::byte_order`](crate::session::Session::byte_order). `None` if a value is reserved, or the buffer too
    /// short.
    pub fn read(buffer: &Buffer, order: ByteOrder) -> Option<Self> {
        let mut fields = [0_u16; size_of::<spec::Lifetime>() / 2];
        buffer.read(0, fields.as_mut_bytes()).ok()?;
        let [pre_eol_info, type_a, type_b] = fields.in_order(order);
        let known = pre_eol_info <= PreEolInfo::URGENT.0 && type_a <= 11 && type_b <= 11;
        known.then_some(Self {
            pre_eol_info: PreEolInfo(pre_eol_info),
            type_a,
            type_b,
        })
    }
}

/// Legacy: how a SCSI packet command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiAnswer {
    /// Errors.
    pub errors: u32,
    /// Bytes of sense data.
    pub sense_len: u32,
    /// Bytes of the data that were not transferred.
    pub residual: u32,
}

impl ScsiAnswer {
    /// What the device has put into `buffer`, the last of a [`scsi_command`](super::Request::scsi_command), in the
    /// byte order of [`Session::byte_order`](crate::session::Session::byte_order).
    pub fn read(buffer: &Buffer, order: ByteOrder) -> Option<Self> {
        let mut answer = ScsiPcIn::new_zeroed();
        buffer.read(0, answer.as_mut_bytes()).ok()?;
        let number = |bytes: [u8; 4]| u32::from_ne_bytes(bytes).in_order(order);
        Some(Self {
            errors: number(answer.errors.to_bytes()),
            sense_len: number(answer.sense_len.to_bytes()),
            residual: number(answer.residual.to_bytes()),
        })
    }
}
