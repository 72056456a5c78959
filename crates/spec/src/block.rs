//! Block device (section 5.2): a disk, read and written in sectors of 512 bytes.
//!
//! A request is a [`ReqHead`], data, and a status byte, in this order; [`zoned`] adds the requests of zoned devices.
//! On a legacy interface every field is in the guest's byte order, which these little-endian types match only for
//! little-endian guests.

pub mod zoned;

use crate::data::{Le16, Le32, Le64};
use crate::{DeviceType, Features};

/// The block device, id 2.
pub const DEVICE: DeviceType = DeviceType {
    id: 2,
    name: "block",
    title: "Block Device",
    transitional_pci_id: Some(0x1001),
    queues: &["requestq1"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

/// Index of the first request virtqueue; the others follow.
pub const REQUESTQ1: u16 = 0;

/// Number of request virtqueues: `num_queues` of the configuration space with [`features::MQ`], else 1
/// (section 5.2.2).
pub const fn queue_count(features: Features, num_queues: u16) -> u16 {
    if features.contains(features::MQ) {
        num_queues
    } else {
        1
    }
}

// CONFIG_WCE does not require FLUSH here: the device has to offer both (dev:blk:device-initialization:01), but a
// driver may accept CONFIG_WCE alone, in which case the cache starts as writethrough (:02).
features! {
    /// The size of a segment is limited by `size_max`.
    SIZE_MAX = 1;
    /// The number of segments of a request is limited by `seg_max`.
    SEG_MAX = 2;
    /// The disk has a `geometry`.
    GEOMETRY = 4;
    /// The device is read-only.
    RO = 5;
    /// The optimal block size is in `blk_size`.
    BLK_SIZE = 6;
    /// The device supports the flush command; once also called WCE.
    FLUSH = 9;
    /// The device says how to align requests best.
    TOPOLOGY = 10;
    /// The driver can switch between writeback and writethrough.
    CONFIG_WCE = 11;
    /// The device has several request virtqueues.
    MQ = 12;
    /// The device supports the discard command.
    DISCARD = 13;
    /// The device supports the write zeroes command.
    WRITE_ZEROES = 14;
    /// The device reports the wear of its storage.
    LIFETIME = 15;
    /// The device supports the secure erase command.
    SECURE_ERASE = 16;
    /// The device is a zoned block device.
    ZONED = 17;
    /// Legacy: the device supports request barriers.
    BARRIER = 0 legacy;
    /// Legacy: the device supports SCSI packet commands.
    SCSI = 7 legacy;
}

/// Bytes of a sector, the unit of every position and length of the protocol whatever the block size.
pub const SECTOR_SIZE: u64 = 512;

/// Bytes of the device ID string; shorter ones are padded with NUL.
pub const ID_BYTES: usize = 20;

/// The wear of a [`Lifetime`] that exceeds what was estimated; greater values are reserved.
pub const LIFETIME_EXCEEDED: u16 = 11;

wire! {
    /// Configuration space, `struct virtio_blk_config` (section 5.2.4). Only `capacity` is always there.
    pub struct Config {
        /// Sectors of the disk; may change while the device runs.
        pub capacity: Le64,
        /// With `SIZE_MAX`: most bytes of one segment.
        pub size_max: Le32,
        /// With `SEG_MAX`: most segments of one request.
        pub seg_max: Le32,
        /// With `GEOMETRY`: cylinders, heads and sectors.
        pub geometry: Geometry,
        /// With `BLK_SIZE`: the best size of a request, in bytes.
        pub blk_size: Le32,
        /// With `TOPOLOGY`: alignment and sizes for the best speed.
        pub topology: Topology,
        /// With `CONFIG_WCE`: 0 writethrough, 1 writeback; the driver may write it.
        pub writeback: u8,
        /// Padding, 0.
        pub unused0: u8,
        /// With `MQ`: number of request virtqueues.
        pub num_queues: Le16,
        /// With `DISCARD`: most sectors of one discarded segment.
        pub max_discard_sectors: Le32,
        /// With `DISCARD`: most segments of one discard request.
        pub max_discard_seg: Le32,
        /// With `DISCARD`: alignment for splitting a discard, in sectors.
        pub discard_sector_alignment: Le32,
        /// With `WRITE_ZEROES`: most sectors of one segment to be zeroed.
        pub max_write_zeroes_sectors: Le32,
        /// With `WRITE_ZEROES`: most segments of one write zeroes request.
        pub max_write_zeroes_seg: Le32,
        /// With `WRITE_ZEROES`: 0 if and only if zeroing never deallocates sectors.
        pub write_zeroes_may_unmap: u8,
        /// Padding, 0.
        pub unused1: [u8; 3],
        /// With `SECURE_ERASE`: most sectors of one erased segment.
        pub max_secure_erase_sectors: Le32,
        /// With `SECURE_ERASE`: most segments of one secure erase request.
        pub max_secure_erase_seg: Le32,
        /// With `SECURE_ERASE`: alignment for splitting an erasure, in sectors.
        pub secure_erase_sector_alignment: Le32,
        /// With `ZONED`: the zones and their limits.
        pub zoned: zoned::Characteristics,
    }

    /// Disk-style geometry, `struct virtio_blk_geometry`.
    pub struct Geometry {
        /// Cylinders.
        pub cylinders: Le16,
        /// Heads.
        pub heads: u8,
        /// Sectors of a track.
        pub sectors: u8,
    }

    /// How to align requests, `struct virtio_blk_topology`; "block" is a logical block of `blk_size` bytes.
    pub struct Topology {
        /// Logical blocks of a physical block, as exponent of 2.
        pub physical_block_exp: u8,
        /// First aligned logical block.
        pub alignment_offset: u8,
        /// Suggested least size of a request, in blocks.
        pub min_io_size: Le16,
        /// Suggested greatest size of a request, in blocks.
        pub opt_io_size: Le32,
    }

    /// Device-readable head of each request, of `struct virtio_blk_req` (section 5.2.6). The data follows, readable
    /// or writable by the type of the request, and then one device-writable byte of [`Status`].
    pub struct ReqHead {
        /// A [`ReqType`].
        pub r#type: Le32,
        /// 0; legacy: `ioprio`, where a higher number is more urgent.
        pub reserved: Le32,
        /// First sector of reads, writes and some zone operations; 0 for all others.
        pub sector: Le64,
    }

    /// One range of a discard, write zeroes or secure erase request, whose data is an array of these:
    /// `struct virtio_blk_discard_write_zeroes`.
    pub struct DiscardWriteZeroes {
        /// First sector.
        pub sector: Le64,
        /// Number of sectors.
        pub num_sectors: Le32,
        /// [`DiscardWriteZeroesFlags`].
        pub flags: Le32,
    }

    /// The device-writable data of `GET_LIFETIME`, `struct virtio_blk_lifetime`; JESD84-B50 explains the numbers.
    pub struct Lifetime {
        /// A [`PreEolInfo`].
        pub pre_eol_info: Le16,
        /// Wear of SLC cells in steps of 10 %: 0 undefined, 1 to 10 up to that many tenths, 11 exceeded.
        pub device_lifetime_est_typ_a: Le16,
        /// Wear of MLC cells, in the same steps.
        pub device_lifetime_est_typ_b: Le16,
    }

    /// Legacy: the device-writable words after the sense data of a SCSI packet command, part of
    /// `struct virtio_scsi_pc_req`. Such a request is [`ReqHead`], the command (device-readable, in a buffer of its
    /// own), the data, [`SCSI_SENSE_BUFFERSIZE`] bytes of sense data, this and the status byte.
    pub struct ScsiPcIn {
        /// Errors.
        pub errors: Le32,
        /// Deprecated; drivers ignore it.
        pub data_len: Le32,
        /// Bytes of sense data that were written.
        pub sense_len: Le32,
        /// Bytes of the data that were not transferred.
        pub residual: Le32,
    }
}

layout!(Config, 96,
    capacity @ 0, size_max @ 8, seg_max @ 12, geometry @ 16, blk_size @ 20, topology @ 24, writeback @ 32,
    unused0 @ 33, num_queues @ 34, max_discard_sectors @ 36, max_discard_seg @ 40, discard_sector_alignment @ 44,
    max_write_zeroes_sectors @ 48, max_write_zeroes_seg @ 52, write_zeroes_may_unmap @ 56, unused1 @ 57,
    max_secure_erase_sectors @ 60, max_secure_erase_seg @ 64, secure_erase_sector_alignment @ 68, zoned @ 72);
layout!(Geometry, 4, cylinders @ 0, heads @ 2, sectors @ 3);
layout!(Topology, 8, physical_block_exp @ 0, alignment_offset @ 1, min_io_size @ 2, opt_io_size @ 4);
layout!(ReqHead, 16, r#type @ 0, reserved @ 4, sector @ 8);
layout!(DiscardWriteZeroes, 16, sector @ 0, num_sectors @ 8, flags @ 12);
layout!(Lifetime, 6, pre_eol_info @ 0, device_lifetime_est_typ_a @ 2, device_lifetime_est_typ_b @ 4);
layout!(ScsiPcIn, 16, errors @ 0, data_len @ 4, sense_len @ 8, residual @ 12);

/// Legacy: bytes of the sense data of a SCSI packet command.
pub const SCSI_SENSE_BUFFERSIZE: usize = 96;

// The "Framing Requirements" of the legacy interface want type, reserved and sector in "a single 8-byte descriptor".
// The three take 16 bytes in the structure above them, and legacy drivers send 16: the 8 is a slip of the pen.

flags! {
    /// Flags of a [`DiscardWriteZeroes`]; all other bits are reserved.
    pub DiscardWriteZeroesFlags: u32 {
        /// The device may deallocate the range; for write zeroes only.
        UNMAP = 1 << 0,
    }
}

constants! {
    /// Type of a request (section 5.2.6), the `VIRTIO_BLK_T_` values.
    pub ReqType: u32 {
        /// Read sectors.
        IN = 0,
        /// Write sectors.
        OUT = 1,
        /// Legacy: SCSI packet command.
        SCSI_CMD = 2,
        /// Legacy: SCSI packet command; no different from the other.
        SCSI_CMD_OUT = 3,
        /// Make completed writes stable.
        FLUSH = 4,
        /// Legacy: another name of `FLUSH`.
        FLUSH_OUT = 5,
        /// Fetch the device ID string of 20 bytes.
        GET_ID = 8,
        /// Fetch a [`Lifetime`].
        GET_LIFETIME = 10,
        /// Discard ranges.
        DISCARD = 11,
        /// Fill ranges with zeroes.
        WRITE_ZEROES = 13,
        /// Erase ranges beyond recovery.
        SECURE_ERASE = 14,
        /// Zoned: write at a zone's write pointer and learn where.
        ZONE_APPEND = 15,
        /// Zoned: fetch the states of zones.
        ZONE_REPORT = 16,
        /// Zoned: open a zone explicitly.
        ZONE_OPEN = 18,
        /// Zoned: close a zone.
        ZONE_CLOSE = 20,
        /// Zoned: fill a zone's remainder.
        ZONE_FINISH = 22,
        /// Zoned: empty a zone.
        ZONE_RESET = 24,
        /// Zoned: empty all zones.
        ZONE_RESET_ALL = 26,
        /// Legacy, a flag added to the type: the request is a barrier.
        BARRIER = 0x8000_0000,
    }

    /// The last byte of a request, the `VIRTIO_BLK_S_` values.
    pub Status: u8 {
        /// Success.
        OK = 0,
        /// Error of the device or the driver.
        IOERR = 1,
        /// The device does not support the request.
        UNSUPP = 2,
        /// Zoned: not possible in this zone or state.
        ZONE_INVALID_CMD = 3,
        /// Zoned: not at the write pointer, or not of the write granularity.
        ZONE_UNALIGNED_WP = 4,
        /// Zoned: too many open zones.
        ZONE_OPEN_RESOURCE = 5,
        /// Zoned: too many active zones.
        ZONE_ACTIVE_RESOURCE = 6,
    }

    /// How many of the reserved blocks are consumed, the `VIRTIO_BLK_PRE_EOL_INFO_` values.
    pub PreEolInfo: u16 {
        /// Not available.
        UNDEFINED = 0,
        /// Less than 80 %.
        NORMAL = 1,
        /// 80 %.
        WARNING = 2,
        /// 90 %.
        URGENT = 3,
    }
}
