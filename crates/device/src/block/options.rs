//! How a disk presents itself, and what of that cannot be.

use std::path::PathBuf;

use ringwright_spec::block::zoned::Model;
use ringwright_spec::block::{Geometry, ID_BYTES, SECTOR_SIZE};

use super::zone_file::ZoneFileError;
use super::zones::Shape;

/// Block size that requests had better be aligned to, the page size of common file systems.
pub(super) const PHYSICAL_BLOCK: u32 = 4096;

/// Most bytes of a segment where there has to be a limit: zone appends have to fit.
pub(super) const ZONED_SIZE_MAX: u32 = 1 << 20;

/// How a disk presents itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of request queues, each served by its own thread. At least 1.
    pub queues: u16,
    /// Largest queue size.
    pub queue_size: u16,
    /// Logical block size in bytes: a power of two, 512 to 4096.
    pub block_size: u32,
    /// The device ID string, at most 20 bytes of ASCII.
    pub serial: String,
    /// Most bytes of a segment, if that is limited.
    pub size_max: Option<u32>,
    /// Most data segments of a request. With head and status the default fits the smallest queue size in common use, 128,
    /// because no chain may be longer than its queue, wherever its descriptors are.
    pub seg_max: u32,
    /// Cylinders, heads and sectors, if there are to be any.
    pub geometry: Option<DiskGeometry>,
    /// What requests are best aligned to.
    pub topology: DiskTopology,
    /// What the cache is at first, for a driver that has a say in that.
    pub cache: Cache,
    /// Whether the driver may switch the cache between writeback and writethrough.
    pub switchable_cache: bool,
    /// Whether the driver may discard sectors, and zeroes may deallocate them. Not for zoned disks.
    pub discard: bool,
    /// Whether the driver may have sectors erased. What that does is to write zeroes over them: it is as secure as what is
    /// below makes it. On a zoned disk it also resets zones.
    pub secure_erase: bool,
    /// Legacy: whether requests can be barriers.
    pub barrier: bool,
    /// Legacy: drivers may send SCSI packet commands, of which a few are known, none of them for data.
    pub scsi: bool,
    /// The zones, of a zoned disk.
    pub zoned: Option<Zoned>,
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

/// What requests are best aligned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskTopology {
    /// Bytes of a physical block: a power of two, at least a logical block.
    pub physical_block_size: u32,
    /// First logical block that is aligned.
    pub alignment_offset: u8,
    /// Suggested least size of a request in bytes, of whole logical blocks; 0 for that of a physical block.
    pub min_io_size: u32,
    /// Suggested greatest size of a request in bytes, of whole logical blocks; 0 for none.
    pub opt_io_size: u32,
}

/// What happens to writes that are completed (section 5.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// They are stable after the next flush.
    WriteBack,
    /// They are stable.
    WriteThrough,
}

/// The zones of a disk. All sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zoned {
    /// Whether sequential zones have to be written in order, or should be.
    pub model: ZoneModel,
    /// Size of each zone but the last, which may be smaller. Linux wants a power of two.
    pub zone_size: u64,
    /// Bytes of a zone that can be written; 0 for all.
    pub zone_capacity: u64,
    /// The first so many zones are conventional.
    pub conventional: u32,
    /// Most open zones; 0 for no limit.
    pub max_open: u32,
    /// Most active zones; 0 for no limit.
    pub max_active: u32,
    /// Most bytes of an append; `None` for as many as fit a request, 0 if there is to be none.
    pub max_append: Option<u64>,
    /// Where the zones' state is kept; `None` to forget it with the process.
    pub state: Option<PathBuf>,
}

/// The zone models of the document that have zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneModel {
    /// Sequential zones can only be written in order.
    HostManaged,
    /// Sequential zones are better written in order.
    HostAware,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queues: 1,
            queue_size: 256,
            block_size: SECTOR_SIZE as u32,
            serial: String::new(),
            size_max: None,
            seg_max: 126,
            geometry: None,
            topology: DiskTopology::default(),
            cache: Cache::WriteBack,
            switchable_cache: true,
            discard: true,
            secure_erase: false,
            barrier: false,
            scsi: false,
            zoned: None,
        }
    }
}

impl Default for DiskTopology {
    fn default() -> Self {
        Self {
            physical_block_size: PHYSICAL_BLOCK,
            alignment_offset: 0,
            min_io_size: 0,
            opt_io_size: 0,
        }
    }
}

/// Options that no disk can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Number of queues.
    #[error("a disk has at least one request queue")]
    NoQueue,
    /// Backend and block size do not fit: smaller blocks cannot be written.
    #[error(
        "block size {block_size}: what is behind the disk has blocks of {least} bytes; pass a block size of {least}"
    )]
    SmallBlocks {
        /// Logical block size in bytes.
        block_size: u32,
        /// The backend's, in bytes.
        least: u32,
    },
    /// Logical block size.
    #[error("block size {0}: must be a power of two from 512 to 4096")]
    BlockSize(u32),
    /// Backend and block size do not fit.
    #[error("{capacity} bytes are no multiple of the block size {block_size}")]
    Capacity {
        /// Size of the backend in bytes.
        capacity: u64,
        /// Logical block size in bytes.
        block_size: u32,
    },
    /// The device ID string.
    #[error("serial {0:?}: must be at most 20 printable ASCII characters")]
    Serial(String),
    /// Sizes and numbers of segments.
    #[error("segments: there is at least one, of at least 512 bytes, and a request fits its queue of {0}")]
    Segments(u16),
    /// Physical blocks and the sizes of requests.
    #[error(
        "topology: a physical block is a power of two of logical blocks, at most 128 MiB; sizes of requests are of \
         whole logical blocks, the least of at most 65535"
    )]
    Topology,
    /// The zones.
    #[error("zones: {0}")]
    Zones(&'static str),
    /// The zones' state: what [`ZoneFileError`] says.
    #[error("the zones' state: {0}")]
    ZoneFile(String),
}

impl From<ZoneFileError> for OptionsError {
    fn from(error: ZoneFileError) -> Self {
        Self::ZoneFile(error.to_string())
    }
}

impl Options {
    /// Checks what a disk of `capacity` bytes cannot have.
    pub(super) fn check(&self, capacity: u64) -> Result<(), OptionsError> {
        let Self { block_size, .. } = *self;
        if self.queues == 0 {
            return Err(OptionsError::NoQueue);
        }
        if !block_size.is_power_of_two() || !(SECTOR_SIZE as u32..=PHYSICAL_BLOCK).contains(&block_size) {
            return Err(OptionsError::BlockSize(block_size));
        }
        if !capacity.is_multiple_of(block_size.into()) {
            return Err(OptionsError::Capacity { capacity, block_size });
        }
        if self.serial.len() > ID_BYTES || !self.serial.bytes().all(|c| c == b' ' || c.is_ascii_graphic()) {
            return Err(OptionsError::Serial(self.serial.clone()));
        }
        let segment = self.size_max.unwrap_or(u32::MAX);
        if segment < SECTOR_SIZE as u32 || self.seg_max == 0 {
            return Err(OptionsError::Segments(self.queue_size));
        }
        let DiskTopology {
            physical_block_size,
            min_io_size,
            opt_io_size,
            ..
        } = self.topology;
        let blocks = min_io_size / block_size;
        if !physical_block_size.is_power_of_two()
            || !(block_size..=1 << 27).contains(&physical_block_size)
            || !min_io_size.is_multiple_of(block_size)
            || !opt_io_size.is_multiple_of(block_size)
            || blocks > u16::MAX.into()
        {
            return Err(OptionsError::Topology);
        }
        Ok(())
    }

    /// The device ID string, padded with NUL.
    pub(super) fn id(&self) -> [u8; ID_BYTES] {
        let mut id = [0; ID_BYTES];
        let length = self.serial.len().min(ID_BYTES);
        id[..length].copy_from_slice(&self.serial.as_bytes()[..length]);
        id
    }

    /// `size_max`, if there is one: on a zoned disk always, because appends are limited by it.
    pub(super) fn size_max(&self) -> Option<u32> {
        match self.zoned {
            None => self.size_max,
            Some(_) => Some(self.size_max.unwrap_or(ZONED_SIZE_MAX)),
        }
    }

    /// How `zoned` divides a disk of `capacity` bytes.
    pub(super) fn shape(&self, zoned: &Zoned, capacity: u64) -> Result<Shape, OptionsError> {
        let wrong = |what| Err(OptionsError::Zones(what));
        let block = u64::from(self.block_size);
        let Zoned {
            zone_size,
            zone_capacity,
            ..
        } = *zoned;
        let Ok(zone_sectors) = u32::try_from(zone_size / SECTOR_SIZE) else {
            return wrong("a zone has less than 2 TiB");
        };
        if zone_size == 0 || !zone_size.is_multiple_of(block) {
            return wrong("a zone has at least one logical block, and whole ones");
        }
        if zone_capacity > zone_size || !zone_capacity.is_multiple_of(block) {
            return wrong("the capacity of a zone is at most its size, and whole logical blocks");
        }
        let zone_capacity = match zone_capacity / SECTOR_SIZE {
            0 => zone_sectors,
            sectors => sectors as u32,
        };
        if zoned.max_active != 0 && zoned.max_open > zoned.max_active {
            return wrong("open zones are active, so no more can be open than active");
        }
        // dev:blk:device-initialization:14
        let request = u64::from(self.size_max().unwrap_or(u32::MAX)) * u64::from(self.seg_max);
        let fits = (request / SECTOR_SIZE).min(zone_capacity.into());
        let max_append = match zoned.max_append {
            None => fits / (block / SECTOR_SIZE) * (block / SECTOR_SIZE),
            Some(bytes) if bytes / SECTOR_SIZE <= fits && bytes.is_multiple_of(block) => bytes / SECTOR_SIZE,
            Some(_) => return wrong("an append has at most as many bytes as a request, and as a zone"),
        };
        Ok(Shape {
            model: match zoned.model {
                ZoneModel::HostManaged => Model::HM,
                ZoneModel::HostAware => Model::HA,
            },
            capacity: capacity / SECTOR_SIZE,
            zone_sectors,
            zone_capacity,
            conventional: zoned.conventional,
            max_open: zoned.max_open,
            max_active: zoned.max_active,
            max_append: max_append as u32,
            write_granularity: self.block_size / SECTOR_SIZE as u32,
        })
    }
}

impl From<DiskGeometry> for Geometry {
    fn from(disk: DiskGeometry) -> Self {
        Self {
            cylinders: disk.cylinders.into(),
            heads: disk.heads,
            sectors: disk.sectors,
        }
    }
}
