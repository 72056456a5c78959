//! Virtio over channel I/O (section 4.3): channel commands and their big-endian structures.

pub mod channel;

use crate::data::{Be16, Be32, Be64, Le32};

/// Control unit type that SENSE ID returns (`drv:ccw:basic-concepts:01`).
pub const CU_TYPE: u16 = 0x3832;
/// Type of the virtual channel path.
pub const CHANNEL_PATH_TYPE: u8 = 0x32;

constants! {
    /// Channel command: the basic ones, and those of virtio (`CCW_CMD_*`).
    pub Command: u8 {
        /// NO-OPERATION.
        NO_OPERATION = 0x03,
        /// BASIC SENSE.
        BASIC_SENSE = 0x04,
        /// TRANSFER IN CHANNEL.
        TRANSFER_IN_CHANNEL = 0x08,
        /// Write features: [`FeatureDesc`].
        WRITE_FEAT = 0x11,
        /// Read features: [`FeatureDesc`].
        READ_FEAT = 0x12,
        /// Set up a virtqueue: [`VqInfoBlock`], or [`VqInfoBlockLegacy`] in revision 0.
        SET_VQ = 0x13,
        /// Write the device-specific configuration.
        WRITE_CONF = 0x21,
        /// Read the device-specific configuration.
        READ_CONF = 0x22,
        /// Write the device status: one byte.
        WRITE_STATUS = 0x31,
        /// Ask for a virtqueue's maximum size: [`VqConfigBlock`].
        READ_VQ_CONF = 0x32,
        /// Reset the device: no payload.
        VDEV_RESET = 0x33,
        /// Set the address of the classic queue indicators: be64.
        SET_IND = 0x43,
        /// Set the address of the configuration change indicators: be64.
        SET_CONF_IND = 0x53,
        /// Read the device status: one byte, from revision 2.
        READ_STATUS = 0x72,
        /// Set up the two-stage queue indicators: [`ThinintArea`].
        SET_IND_ADAPTER = 0x73,
        /// Set the revision: [`RevInfo`].
        SET_VIRTIO_REV = 0x83,
        /// SENSE ID: [`SenseId`].
        SENSE_ID = 0xe4,
    }

    /// Revision of the transport. The document numbers these without naming them.
    pub Revision: u16 {
        /// Legacy interface; transitional devices only (`dev:ccw:setting-the-virtio-revision:03`).
        LEGACY = 0,
        /// Virtio 1.
        VIRTIO_1 = 1,
        /// [`Command::READ_STATUS`] is supported.
        READ_STATUS = 2,
    }
}

wire! {
    /// Beginning of what SENSE ID returns; the extended data, bytes 7 to 255, are zeroes.
    pub struct SenseId {
        /// 0xff.
        pub reserved: u8,
        /// [`CU_TYPE`].
        pub cu_type: Be16,
        /// Control unit model: the virtio device id.
        pub cu_model: u8,
        /// Device type: 0, and ignored by drivers (`drv:ccw:basic-concepts:01`).
        pub dev_type: Be16,
        /// Device model: 0, and ignored by drivers.
        pub dev_model: u8,
    }

    /// Payload of [`Command::SET_VIRTIO_REV`] (`virtio_rev_info`); `length` bytes of data follow, none in the
    /// revisions there are.
    pub struct RevInfo {
        /// [`Revision`].
        pub revision: Be16,
        /// Length of the data in bytes.
        pub length: Be16,
    }

    /// Payload of [`Command::READ_VQ_CONF`] (`vq_config_block`).
    pub struct VqConfigBlock {
        /// Index of the virtqueue.
        pub index: Be16,
        /// Its maximum size, once called max_num.
        pub max_queue_size: Be16,
    }

    /// Payload of [`Command::SET_VQ`] (`vq_info_block`).
    pub struct VqInfoBlock {
        /// Address of the Descriptor Area.
        pub desc: Be64,
        /// Reserved; ignored by the device (`dev:ccw:configuring-a-virtqueue:01`).
        pub res0: Be32,
        /// Index of the virtqueue.
        pub index: Be16,
        /// Its size, once called num.
        pub size: Be16,
        /// Address of the Driver Area.
        pub driver: Be64,
        /// Address of the Device Area.
        pub device: Be64,
    }

    /// Payload of [`Command::SET_VQ`] in revision 0 (`vq_info_block_legacy`).
    pub struct VqInfoBlockLegacy {
        /// Address of the virtqueue, see [`LegacyLayout`](crate::split::LegacyLayout).
        pub queue: Be64,
        /// Queue Align.
        pub align: Be32,
        /// Index of the virtqueue.
        pub index: Be16,
        /// Its size, once called num.
        pub size: Be16,
    }

    /// Payload of [`Command::READ_FEAT`] and [`Command::WRITE_FEAT`] (`virtio_feature_desc`), without padding.
    pub struct FeatureDesc {
        /// 32 features, from bit 32 times the index.
        pub features: Le32,
        /// Which features.
        pub index: u8,
    }

    /// Payload of [`Command::SET_IND_ADAPTER`] (`virtio_thinint_area`), without padding.
    pub struct ThinintArea {
        /// Address of the summary indicator, a byte.
        pub summary_indicator: Be64,
        /// Address of the area with the indicators of the devices.
        pub indicator: Be64,
        /// Bit of the device's first virtqueue within the area. Bit 0 is the most significant of the first byte.
        pub bit_nr: Be64,
        /// I/O interruption subclass of the adapter I/O interrupts.
        pub isc: u8,
    }
}

layout!(SenseId, 7, reserved @ 0, cu_type @ 1, cu_model @ 3, dev_type @ 4, dev_model @ 6);
layout!(RevInfo, 4, revision @ 0, length @ 2);
layout!(VqConfigBlock, 4, index @ 0, max_queue_size @ 2);
layout!(VqInfoBlock, 32, desc @ 0, res0 @ 8, index @ 12, size @ 14, driver @ 16, device @ 24);
layout!(VqInfoBlockLegacy, 16, queue @ 0, align @ 8, index @ 12, size @ 14);
layout!(FeatureDesc, 5, features @ 0, index @ 4);
layout!(ThinintArea, 25, summary_indicator @ 0, indicator @ 8, bit_nr @ 16, isc @ 24);

/// Bytes that SENSE ID returns in full.
pub const SENSE_ID_LEN: usize = 256;
/// First byte of what SENSE ID returns.
pub const SENSE_ID_RESERVED: u8 = 0xff;

/// Bytes of the classic queue indicators and of the configuration change indicators, 64 bits each.
pub const INDICATORS_LEN: usize = 8;
/// Number of the configuration indicator bit that the device sets.
pub const CONFIG_INDICATOR_BIT: u32 = 0;
/// What the device sets the summary indicator to.
pub const SUMMARY_INDICATOR_SET: u8 = 0x01;

/// Diagnose code of the notification hypercall.
pub const DIAGNOSE: u16 = 0x500;
/// Its subcode, in general register 1. Register 2 is the subchannel id and returns a cookie, register 3 the virtqueue
/// index or the [`NotificationData`](crate::notification::NotificationData), register 4 the cookie of the last call.
pub const DIAGNOSE_NOTIFY: u64 = 0x3;
