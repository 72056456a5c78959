//! What a disk says of itself in its configuration space (section 5.2.4).

use core::mem::offset_of;

use ringwright_spec::Features;
use ringwright_spec::block::zoned::{Characteristics, Model};
use ringwright_spec::block::{self as spec, Config, SECTOR_SIZE, features};

use crate::session::Session;
use crate::{DriverError, Transport};

/// What the device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
#[non_exhaustive]
pub struct Geometry {
    /// Capacity in sectors of 512 bytes.
    pub capacity: u64,
    /// Optimal block size in bytes; 512 if the device does not say.
    pub block_size: u32,
    /// Most bytes in one buffer of a request.
    pub segment_size: u32,
    /// Most buffers of a request; the virtqueue may have room for less.
    pub segments: u32,
    /// Whether the device refuses writes.
    pub read_only: bool,
    /// Whether the device has a volatile cache, which [`Request::flush`](super::Request::flush) makes stable.
    pub flush: bool,
    /// Whether the driver can switch the cache between writeback and writethrough.
    pub switchable_cache: bool,
    /// Cylinders, heads and sectors, if the device says.
    pub disk: Option<DiskGeometry>,
    /// How requests are best aligned, if the device says.
    pub topology: Option<Topology>,
    /// What a discard may be, if there are any.
    pub discard: Option<RangeLimits>,
    /// What a write of zeroes may be, if there are any.
    pub write_zeroes: Option<RangeLimits>,
    /// Whether a write of zeroes can deallocate sectors.
    pub write_zeroes_may_unmap: bool,
    /// What a secure erasure may be, if there are any.
    pub secure_erase: Option<RangeLimits>,
    /// Whether the device tells the wear of its storage.
    pub lifetime: bool,
    /// The zones, of a device that is host-managed or host-aware.
    pub zones: Option<ZoneLimits>,
    /// Legacy: whether requests can be barriers.
    pub barrier: bool,
    /// Legacy: whether there are SCSI packet commands.
    pub scsi: bool,
}

/// Disk-style geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskGeometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads.
    pub heads: u8,
    /// Sectors of a track.
    pub sectors: u8,
}

/// How requests are best aligned, in logical blocks of [`Geometry::block_size`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Logical blocks of a physical block, as exponent of 2.
    pub physical_block_exp: u8,
    /// First aligned logical block.
    pub alignment_offset: u8,
    /// Suggested least size of a request.
    pub min_io_size: u16,
    /// Suggested greatest size of a request.
    pub opt_io_size: u32,
}

/// What a request of ranges may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLimits {
    /// Most sectors of a range.
    pub sectors: u32,
    /// Most ranges of a request.
    pub ranges: u32,
    /// What ranges are best aligned to, in sectors, and those of a secure erasure must be; 0 or 1 for nothing.
    pub alignment: u32,
}

/// The zones of a disk (section 5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneLimits {
    /// Host-managed or host-aware.
    pub model: Model,
    /// Sectors of every zone but the last, which may be smaller. Not 0.
    pub zone_sectors: u32,
    /// Most open zones; 0 for no limit.
    pub max_open_zones: u32,
    /// Most active zones; 0 for no limit.
    pub max_active_zones: u32,
    /// Most sectors of an append; 0 if there is none.
    pub max_append_sectors: u32,
    /// Alignment of writes to sequential zones, in bytes: a multiple of 512.
    pub write_granularity: u32,
}

impl ZoneLimits {
    /// Number of zones of a disk of `capacity` sectors.
    pub fn count(&self, capacity: u64) -> u64 {
        capacity.div_ceil(self.zone_sectors.into())
    }
}

impl Geometry {
    /// Reads the fields of the configuration space whose features are negotiated
    /// (`drv:core:device-configuration-space:02`).
    pub(super) fn read<T: Transport>(session: &mut Session<T>) -> Result<Self, DriverError> {
        let number = |session: &mut Session<T>, feature: Features, offset: usize, absent: u32| match session
            .has(feature)
        {
            true => session.config(offset),
            false => Ok(absent),
        };
        let block_size = number(
            session,
            features::BLK_SIZE,
            offset_of!(Config, blk_size),
            SECTOR_SIZE as u32,
        )?;
        // Whoever uses the disk divides by it.
        if !block_size.is_power_of_two() || block_size < SECTOR_SIZE as u32 {
            return Err(broken("blk_size is not a power of 2 from 512 on"));
        }
        Ok(Self {
            capacity: capacity(session)?,
            block_size,
            segment_size: number(
                session,
                features::SIZE_MAX,
                offset_of!(Config, size_max),
                u32::MAX,
            )?,
            segments: number(session, features::SEG_MAX, offset_of!(Config, seg_max), u32::MAX)?,
            read_only: session.has(features::RO),
            flush: session.has(features::FLUSH),
            switchable_cache: session.has(features::CONFIG_WCE),
            disk: disk(session)?,
            topology: topology(session)?,
            discard: limits(
                session,
                features::DISCARD,
                offset_of!(Config, max_discard_sectors),
            )?,
            write_zeroes: write_zeroes(session)?,
            write_zeroes_may_unmap: session.has(features::WRITE_ZEROES)
                && session.config::<u8>(offset_of!(Config, write_zeroes_may_unmap))? != 0,
            secure_erase: limits(
                session,
                features::SECURE_ERASE,
                offset_of!(Config, max_secure_erase_sectors),
            )?,
            lifetime: session.has(features::LIFETIME),
            zones: match session.has(features::ZONED) {
                true => zones(session)?,
                false => None,
            },
            barrier: session.has(features::BARRIER),
            scsi: session.has(features::SCSI),
        })
    }
}

/// The capacity now.
pub(super) fn capacity<T: Transport>(session: &mut Session<T>) -> Result<u64, DriverError> {
    session.config(offset_of!(Config, capacity))
}

/// The zones of a device that offers `ZONED`; `None` if they are not the driver's affair. Also read before FEATURES_OK,
/// because the driver has to know by then whether it can use the device (`drv:blk:device-initialization:08`).
pub(super) fn zones<T: Transport>(session: &mut Session<T>) -> Result<Option<ZoneLimits>, DriverError> {
    const AT: usize = offset_of!(Config, zoned);
    let model = Model(session.config::<u8>(AT + offset_of!(Characteristics, model))?);
    match model {
        // drv:blk:device-initialization:10: all other fields are ignored.
        Model::NONE => return Ok(None),
        Model::HM | Model::HA => {}
        _ => return Err(broken("the zone model is none of the document's")),
    }
    let [
        zone_sectors,
        max_open_zones,
        max_active_zones,
        max_append_sectors,
        write_granularity,
    ] = session.config::<[u32; 5]>(AT)?;
    if zone_sectors == 0 {
        return Err(broken("zones of no sectors"));
    }
    if write_granularity == 0 || !u64::from(write_granularity).is_multiple_of(SECTOR_SIZE) {
        return Err(broken("write_granularity is no multiple of 512"));
    }
    Ok(Some(ZoneLimits {
        model,
        zone_sectors,
        max_open_zones,
        max_active_zones,
        max_append_sectors,
        write_granularity,
    }))
}

fn disk<T: Transport>(session: &mut Session<T>) -> Result<Option<DiskGeometry>, DriverError> {
    const AT: usize = offset_of!(Config, geometry);
    if !session.has(features::GEOMETRY) {
        return Ok(None);
    }
    Ok(Some(DiskGeometry {
        cylinders: session.config(AT + offset_of!(spec::Geometry, cylinders))?,
        heads: session.config(AT + offset_of!(spec::Geometry, heads))?,
        sectors: session.config(AT + offset_of!(spec::Geometry, sectors))?,
    }))
}

fn topology<T: Transport>(session: &mut Session<T>) -> Result<Option<Topology>, DriverError> {
    const AT: usize = offset_of!(Config, topology);
    if !session.has(features::TOPOLOGY) {
        return Ok(None);
    }
    Ok(Some(Topology {
        physical_block_exp: session.config(AT + offset_of!(spec::Topology, physical_block_exp))?,
        alignment_offset: session.config(AT + offset_of!(spec::Topology, alignment_offset))?,
        min_io_size: session.config(AT + offset_of!(spec::Topology, min_io_size))?,
        opt_io_size: session.config(AT + offset_of!(spec::Topology, opt_io_size))?,
    }))
}

/// Three fields that follow each other: sectors, ranges, alignment.
fn limits<T: Transport>(
    session: &mut Session<T>,
    feature: Features,
    offset: usize,
) -> Result<Option<RangeLimits>, DriverError> {
    if !session.has(feature) {
        return Ok(None);
    }
    let [sectors, ranges, alignment] = session.config(offset)?;
    Ok(Some(RangeLimits {
        sectors,
        ranges,
        alignment,
    }))
}

fn write_zeroes<T: Transport>(session: &mut Session<T>) -> Result<Option<RangeLimits>, DriverError> {
    if !session.has(features::WRITE_ZEROES) {
        return Ok(None);
    }
    let [sectors, ranges] = session.config(offset_of!(Config, max_write_zeroes_sectors))?;
    Ok(Some(RangeLimits {
        sectors,
        ranges,
        alignment: 0,
    }))
}

fn broken(what: &'static str) -> DriverError {
    DriverError::Device {
        device: "block",
        what,
    }
}
