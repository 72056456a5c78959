//! Zoned block devices: what [`features::ZONED`](super::features::ZONED) adds to the block device.
//!
//! The types of zone requests are in [`ReqType`](super::ReqType), their errors in [`Status`](super::Status).

use crate::data::{Le32, Le64};

wire! {
    /// Limits of the zones, in the configuration space: `struct virtio_blk_zoned_characteristics` (section 5.2.4).
    pub struct Characteristics {
        /// Sectors of every zone; the last may be smaller.
        pub zone_sectors: Le32,
        /// Most zones that can be open; 0 for no limit.
        pub max_open_zones: Le32,
        /// Most zones that can be active (open or closed); 0 for no limit.
        pub max_active_zones: Le32,
        /// Most sectors of a zone append; 0 if there is no such request.
        pub max_append_sectors: Le32,
        /// Alignment of writes to sequential zones, in bytes.
        pub write_granularity: Le32,
        /// A [`Model`].
        pub model: u8,
        /// Padding, 0.
        pub unused2: [u8; 3],
    }

    /// The device-writable end of a `ZONE_APPEND` request, of `struct virtio_blk_req_za`; all other requests end in
    /// the status byte alone.
    pub struct ReqZaTail {
        /// First sector of the appended data; undefined unless the status is `OK`.
        pub append_sector: Le64,
        /// A [`Status`](super::Status).
        pub status: u8,
    }

    /// Head of the device-writable data of `ZONE_REPORT`, `struct virtio_blk_zone_report`; `nr_zones`
    /// [`ZoneDescriptor`]s follow.
    pub struct ZoneReport {
        /// Number of zone descriptors that were transferred in full.
        pub nr_zones: Le64,
        /// Reserved.
        pub reserved: [u8; 56],
    }

    /// One zone of a report, `struct virtio_blk_zone_descriptor`.
    pub struct ZoneDescriptor {
        /// Sectors that can be written while the zone is empty.
        pub z_cap: Le64,
        /// First sector.
        pub z_start: Le64,
        /// Sector of the next write; undefined for conventional, read-only, full and offline zones.
        pub z_wp: Le64,
        /// A [`ZoneType`].
        pub z_type: u8,
        /// A [`ZoneState`].
        pub z_state: u8,
        /// Reserved.
        pub reserved: [u8; 38],
    }
}

layout!(Characteristics, 24, zone_sectors @ 0, max_open_zones @ 4, max_active_zones @ 8, max_append_sectors @ 12,
    write_granularity @ 16, model @ 20, unused2 @ 21);
layout!(ReqZaTail, 9, append_sector @ 0, status @ 8);
layout!(ZoneReport, 64, nr_zones @ 0, reserved @ 8);
layout!(ZoneDescriptor, 64, z_cap @ 0, z_start @ 8, z_wp @ 16, z_type @ 24, z_state @ 25, reserved @ 26);

constants! {
    /// Zone model of a device, the `VIRTIO_BLK_Z_` values.
    pub Model: u8 {
        /// Not zoned, or drive-managed, which looks the same.
        NONE = 0,
        /// Host-managed: sequential zones can only be written in order.
        HM = 1,
        /// Host-aware: sequential zones are better written in order.
        HA = 2,
    }

    /// Type of a zone, the `VIRTIO_BLK_ZT_` values.
    pub ZoneType: u8 {
        /// Conventional.
        CONV = 1,
        /// Sequential write required.
        SWR = 2,
        /// Sequential write preferred.
        SWP = 3,
    }

    /// State of a zone, the `VIRTIO_BLK_ZS_` values.
    pub ZoneState: u8 {
        /// Without write pointer: a conventional zone.
        NOT_WP = 0,
        /// Empty.
        EMPTY = 1,
        /// Implicitly open, by a write.
        IOPEN = 2,
        /// Explicitly open, by a zone open request.
        EOPEN = 3,
        /// Closed.
        CLOSED = 4,
        /// Read-only, for good.
        RDONLY = 13,
        /// Full.
        FULL = 14,
        /// Offline, for good.
        OFFLINE = 15,
    }
}
