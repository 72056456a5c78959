//! Which requests may be sent to a device: the driver's part of section 5.2.6.

use ringwright_spec::block::{ID_BYTES, Lifetime, ReqType, SCSI_SENSE_BUFFERSIZE, SECTOR_SIZE, ScsiPcIn};
use thiserror::Error;

use super::geometry::{Geometry, RangeLimits, ZoneLimits};
use super::ranges::{self, RANGE_BYTES};
use super::request::Request;
use super::zones::{REPORT_BYTES, ZONE_BYTES};

/// [`SECTOR_SIZE`] as the length of a buffer.
const SECTOR_BYTES: usize = SECTOR_SIZE as usize;

/// A request that was not submitted, given back.
#[derive(Debug, Error)]
#[error("{reason}")]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// The request as it was.
    pub request: Request,
}

/// Why a request was not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Too many requests are outstanding: poll first.
    #[error("the request virtqueue is full")]
    Full,
    /// There is no such request virtqueue.
    #[error("the device has no such request virtqueue")]
    NoQueue,
    /// `drv:blk:device-operation:02`.
    #[error("the request lies beyond the capacity of {0} sectors")]
    BeyondCapacity(u64),
    /// `drv:blk:device-operation:06`, `drv:blk:device-operation:07`, `drv:blk:device-operation:08`, or longer than the
    /// device allows.
    #[error("the buffers' length of {0} bytes does not fit the request")]
    Length(usize),
    /// One of several buffers is longer than the device allows for a segment.
    #[error("a buffer of {found} bytes is longer than a segment, of at most {most} bytes")]
    Segment {
        /// Bytes of the buffer.
        found: usize,
        /// Most bytes of a segment.
        most: u32,
    },
    /// There are more buffers than the device allows, or than one chain of the virtqueue has room for.
    #[error("{0} buffers are too many for a request")]
    Segments(usize),
    /// `drv:blk:device-operation:09`, `drv:blk:device-operation:10`, `drv:blk:device-operation:11`.
    #[error("{found} ranges: the device allows {most} in a request")]
    Ranges {
        /// Number of ranges.
        found: usize,
        /// Most in one request.
        most: u32,
    },
    /// A range is longer than the device allows.
    #[error("a range of {found} sectors: the device allows {most}")]
    RangeTooLong {
        /// Sectors of the range.
        found: u32,
        /// Most sectors of one range.
        most: u32,
    },
    /// `drv:blk:device-operation:14`, and the same for secure erase.
    #[error("only ranges to be filled with zeroes may be unmapped")]
    Unmap,
    /// The range or the zone does not begin where the device wants it, or is no multiple of what the device wants
    /// (`drv:blk:device-operation:20`, `drv:blk:device-operation:22`, `drv:blk:device-operation:23`,
    /// `drv:blk:device-operation:25`).
    #[error("position or length is no multiple of {0} sectors")]
    Unaligned(u64),
    /// The device is read-only, or lacks the feature that this request needs.
    #[error("the device does not offer this request")]
    NotOffered,
}

/// Whether the device that `geometry` tells of allows the request.
#[inline]
pub(super) fn admit(geometry: &Geometry, request: &Request) -> Result<(), Refusal> {
    let length = request.data.length().ok_or(Refusal::Length(usize::MAX))?;
    segments(geometry, request)?;
    match request.kind {
        ReqType::IN => transfer(geometry, request.sector, length),
        ReqType::OUT => {
            may_write(geometry)?;
            if let Some(zones) = geometry.zones {
                granular(zones, request.sector, length)?;
            }
            transfer(geometry, request.sector, length)
        }
        _ => admit_others(geometry, request, length),
    }
}

fn admit_others(geometry: &Geometry, request: &Request, length: usize) -> Result<(), Refusal> {
    if request.kind.0 & ReqType::BARRIER.0 != 0 && !geometry.barrier {
        return Err(Refusal::NotOffered);
    }
    match request.base_kind() {
        ReqType::IN => transfer(geometry, request.sector, length),
        ReqType::OUT => {
            may_write(geometry)?;
            transfer(geometry, request.sector, length)
        }
        ReqType::FLUSH => offered(geometry.flush),
        ReqType::GET_ID => exactly(length, ID_BYTES),
        ReqType::GET_LIFETIME => {
            offered(geometry.lifetime)?;
            exactly(length, size_of::<Lifetime>())
        }
        ReqType::DISCARD => ranges(geometry, geometry.discard, request, false),
        ReqType::WRITE_ZEROES => ranges(geometry, geometry.write_zeroes, request, true),
        ReqType::SECURE_ERASE => ranges(geometry, geometry.secure_erase, request, false),
        ReqType::SCSI_CMD => scsi(geometry, request),
        _ => zone(geometry, request, length),
    }
}

/// Reads and writes: whole sectors within the capacity.
#[inline]
fn transfer(geometry: &Geometry, sector: u64, length: usize) -> Result<(), Refusal> {
    if length == 0 || !length.is_multiple_of(SECTOR_BYTES) {
        return Err(Refusal::Length(length));
    }
    within(geometry, sector, (length / SECTOR_BYTES) as u64)
}

#[inline]
fn within(geometry: &Geometry, sector: u64, sectors: u64) -> Result<(), Refusal> {
    match sector.checked_add(sectors) {
        Some(end) if end <= geometry.capacity => Ok(()),
        _ => Err(Refusal::BeyondCapacity(geometry.capacity)),
    }
}

/// Number and lengths of the buffers.
#[inline]
fn segments(geometry: &Geometry, request: &Request) -> Result<(), Refusal> {
    let buffers = request.data.as_slice();
    if buffers.len() > geometry.segments as usize {
        return Err(Refusal::Segments(buffers.len()));
    }
    let long = |buffer: &&ringwright_memory::Buffer| buffer.len() > geometry.segment_size as usize;
    match buffers.iter().find(long) {
        None => Ok(()),
        Some(buffer) => Err(Refusal::Segment {
            found: buffer.len(),
            most: geometry.segment_size,
        }),
    }
}

fn may_write(geometry: &Geometry) -> Result<(), Refusal> {
    offered(!geometry.read_only)
}

fn offered(is: bool) -> Result<(), Refusal> {
    if is { Ok(()) } else { Err(Refusal::NotOffered) }
}

fn exactly(length: usize, expected: usize) -> Result<(), Refusal> {
    if length == expected {
        Ok(())
    } else {
        Err(Refusal::Length(length))
    }
}

fn aligned(number: u64, to: u64) -> Result<(), Refusal> {
    if to == 0 || number.is_multiple_of(to) {
        Ok(())
    } else {
        Err(Refusal::Unaligned(to))
    }
}

/// Discard, write zeroes, secure erase. A discard or a write of zeroes may begin anywhere: their alignment is advice.
fn ranges(
    geometry: &Geometry,
    limits: Option<RangeLimits>,
    request: &Request,
    unmap: bool,
) -> Result<(), Refusal> {
    let limits = limits.ok_or(Refusal::NotOffered)?;
    may_write(geometry)?;
    let [buffer] = request.data.as_slice() else {
        return Err(Refusal::Length(0));
    };
    let found = buffer.len() / RANGE_BYTES;
    if found > limits.ranges as usize {
        return Err(Refusal::Ranges {
            found,
            most: limits.ranges,
        });
    }
    for range in ranges::get(buffer) {
        if range.sectors > limits.sectors {
            return Err(Refusal::RangeTooLong {
                found: range.sectors,
                most: limits.sectors,
            });
        }
        if range.unmap && !unmap {
            return Err(Refusal::Unmap);
        }
        if request.base_kind() == ReqType::SECURE_ERASE {
            aligned(range.sector, limits.alignment.into())?;
            aligned(range.sectors.into(), limits.alignment.into())?;
        }
        within(geometry, range.sector, range.sectors.into())?;
    }
    Ok(())
}

/// Offset and size of writes to zones (`drv:blk:device-operation:25`). Which zones are sequential is only known from a
/// report, so it is asked of writes to conventional zones as well.
fn granular(zones: ZoneLimits, sector: u64, length: usize) -> Result<(), Refusal> {
    let granularity = u64::from(zones.write_granularity) / SECTOR_SIZE;
    aligned(sector, granularity)?;
    aligned((length / SECTOR_BYTES) as u64, granularity)
}

/// Requests of zoned devices.
fn zone(geometry: &Geometry, request: &Request, length: usize) -> Result<(), Refusal> {
    let zones = geometry.zones.ok_or(Refusal::NotOffered)?;
    let sector = request.sector;
    match request.base_kind() {
        // drv:blk:device-operation:18: any sector of the first zone.
        ReqType::ZONE_REPORT => {
            let whole = length
                .checked_sub(REPORT_BYTES)
                .is_some_and(|zones| zones.is_multiple_of(ZONE_BYTES));
            if !whole {
                return Err(Refusal::Length(length));
            }
            within(geometry, sector, 1)
        }
        ReqType::ZONE_RESET_ALL => may_write(geometry),
        ReqType::ZONE_APPEND => {
            may_write(geometry)?;
            aligned(sector, zones.zone_sectors.into())?;
            transfer(geometry, sector, length)?;
            granular(zones, sector, length)?;
            if length / SECTOR_BYTES > zones.max_append_sectors as usize {
                return Err(Refusal::Length(length));
            }
            Ok(())
        }
        ReqType::ZONE_OPEN | ReqType::ZONE_CLOSE | ReqType::ZONE_FINISH | ReqType::ZONE_RESET => {
            may_write(geometry)?;
            aligned(sector, zones.zone_sectors.into())?;
            within(geometry, sector, 1)
        }
        _ => Err(Refusal::NotOffered),
    }
}

/// Legacy: the buffers of a SCSI packet command are what the framing requirements say (section 5.2.6.5).
fn scsi(geometry: &Geometry, request: &Request) -> Result<(), Refusal> {
    offered(geometry.scsi)?;
    let (readable, writable) = request.parts();
    let sense = match writable {
        [sense, answer] | [_, sense, answer] if answer.len() == size_of::<ScsiPcIn>() => sense.len(),
        _ => return Err(Refusal::Segments(writable.len())),
    };
    match readable {
        [_] | [_, _] => exactly(sense, SCSI_SENSE_BUFFERSIZE),
        _ => Err(Refusal::Segments(readable.len())),
    }
}
