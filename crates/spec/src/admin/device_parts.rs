//! Device parts (section 2.14) and the commands that get and set them (section 2.12.1.4).

use core::ops::RangeInclusive;

use super::resource::ResourceObjCmdHdr;
use crate::data::{Le16, Le32, Le64};

constants! {
    /// Type of a device part that is common to all device types (`VIRTIO_DEV_PART_*`), in the order in which parts are
    /// sent (`dev:adm-parts:device-parts:03`).
    ///
    /// Some clauses speak of `VIRTIO_DEV_PART_DEV_CFG` and `VIRTIO_DEV_PART_DRV_CFG`, which the document nowhere
    /// defines; they have no number and are not here.
    pub PartType: u16 {
        /// Features offered by the device: le64 words. Optional.
        DEV_FEATURES = 0x100,
        /// Features set by the driver: le64 words.
        DRV_FEATURES = 0x101,
        /// One field of the PCI common configuration, see [`PciCommonCfgSelector`].
        PCI_COMMON_CFG = 0x102,
        /// Device status: one byte.
        DEVICE_STATUS = 0x103,
        /// [`VqCfg`] of the virtqueue that [`VqIndexSelector`] names.
        VQ_CFG = 0x104,
        /// [`VqNotifyData`] of the virtqueue that [`VqIndexSelector`] names.
        VQ_NOTIFY_CFG = 0x105,
    }
}

/// Types common to all device types. One table of the document reserves 0x106 to 0x2ff for them, but its text says up
/// to 0x1ff, and the network device puts a part of its own at 0x200: so 0x1ff it is.
pub const COMMON: RangeInclusive<u16> = 0x0000..=0x01ff;
/// Types of the device type's own.
pub const DEVICE_TYPE: RangeInclusive<u16> = 0x0200..=0x05ff;

flags! {
    /// Flags of a device part (`VIRTIO_DEV_PART_F_*`).
    pub PartFlags: u8 {
        /// The device works without this part.
        OPTIONAL = 1 << 0,
    }

    /// Mode of a device (`VIRTIO_ADMIN_CMD_DEV_MODE_F_*`).
    pub DevMode: u8 {
        /// The device initiates no transport request: no notification, no access to virtqueues or buffers.
        STOPPED = 1 << 0,
    }
}

wire! {
    /// Header of a device part (`virtio_dev_part_hdr`). In a device part (`virtio_dev_part`) its value follows.
    pub struct PartHdr {
        /// [`PartType`] or one of the device type's own.
        pub part_type: Le16,
        /// [`PartFlags`].
        pub flags: u8,
        /// Reserved, 0.
        pub reserved: u8,
        /// [`PciCommonCfgSelector`], [`VqIndexSelector`] or the device type's own, depending on the part; else 0.
        pub selector: [u8; 8],
        /// Length of the value in bytes.
        pub length: Le32,
    }

    /// Selector of [`PartType::PCI_COMMON_CFG`].
    pub struct PciCommonCfgSelector {
        /// Offset of the field within [`CommonCfg`](crate::pci::CommonCfg).
        pub offset: Le32,
        /// Reserved, 0.
        pub reserved: Le32,
    }

    /// Selector of [`PartType::VQ_CFG`] and [`PartType::VQ_NOTIFY_CFG`].
    pub struct VqIndexSelector {
        /// Index of the virtqueue.
        pub index: Le16,
        /// Reserved, 0.
        pub reserved: [u8; 6],
    }

    /// Value of [`PartType::VQ_CFG`] (`virtio_dev_part_vq_cfg`); the fields are those of
    /// [`CommonCfg`](crate::pci::CommonCfg).
    pub struct VqCfg {
        /// Queue size.
        pub queue_size: Le16,
        /// MSI-X vector.
        pub vector: Le16,
        /// Whether the virtqueue is enabled.
        pub enabled: Le16,
        /// Reserved.
        pub reserved: Le16,
        /// Address of the Descriptor Area.
        pub queue_desc: Le64,
        /// Address of the Driver Area.
        pub queue_driver: Le64,
        /// Address of the Device Area.
        pub queue_device: Le64,
    }

    /// Value of [`PartType::VQ_NOTIFY_CFG`] (`virtio_dev_part_vq_notify_data`); the fields are those of
    /// [`CommonCfg`](crate::pci::CommonCfg).
    pub struct VqNotifyData {
        /// Where the virtqueue's notifications go.
        pub queue_notify_off: Le16,
        /// What they carry.
        pub queue_notif_config_data: Le16,
        /// Reserved, 0.
        pub reserved: [u8; 4],
    }
}

layout!(PartHdr, 16, part_type @ 0, flags @ 2, reserved @ 3, selector @ 4, length @ 12);
layout!(PciCommonCfgSelector, 8, offset @ 0, reserved @ 4);
layout!(VqIndexSelector, 8, index @ 0, reserved @ 2);
layout!(
    VqCfg, 32, queue_size @ 0, vector @ 2, enabled @ 4, reserved @ 6, queue_desc @ 8, queue_driver @ 16,
    queue_device @ 24
);
layout!(VqNotifyData, 8, queue_notify_off @ 0, queue_notif_config_data @ 2, reserved @ 4);

constants! {
    /// What a device parts resource object is for (`VIRTIO_RESOURCE_OBJ_DEV_PARTS_TYPE_*`).
    pub ResourceObjType: u8 {
        /// To capture device parts and their metadata.
        GET = 0,
        /// To restore device parts.
        SET = 1,
    }

    /// What [`DEV_PARTS_METADATA_GET`](super::Opcode::DEV_PARTS_METADATA_GET) asks for
    /// (`VIRTIO_ADMIN_CMD_DEV_PARTS_METADATA_TYPE_*`).
    pub MetadataType: u8 {
        /// How large all parts are at most: [`PartsSize`].
        SIZE = 0,
        /// How many headers there are: [`HdrListCount`].
        COUNT = 1,
        /// The headers: [`HdrListCount`], followed by as many [`PartHdr`].
        LIST = 2,
    }

    /// What [`DEV_PARTS_GET`](super::Opcode::DEV_PARTS_GET) asks for (`VIRTIO_ADMIN_CMD_DEV_PARTS_GET_TYPE_*`).
    pub GetType: u8 {
        /// The parts whose headers follow.
        SELECTED = 0,
        /// All parts. The document's name ends after ALL, which here is the table of names.
        ALL_PARTS = 1,
    }
}

wire! {
    /// Capability DEV_PARTS_CAP (`virtio_dev_parts_cap`): how many device parts resource objects there may be.
    pub struct DevPartsCap {
        /// Of type [`ResourceObjType::GET`].
        pub get_parts_resource_objects_limit: u8,
        /// Of type [`ResourceObjType::SET`].
        pub set_parts_resource_objects_limit: u8,
    }

    /// The device parts resource object (`virtio_resource_obj_dev_parts`).
    pub struct ResourceObjDevParts {
        /// [`ResourceObjType`].
        pub r#type: u8,
        /// Reserved.
        pub reserved: [u8; 7],
    }

    /// Data of [`DEV_PARTS_METADATA_GET`](super::Opcode::DEV_PARTS_METADATA_GET)
    /// (`virtio_admin_cmd_dev_parts_metadata_data`).
    pub struct MetadataData {
        /// The device parts resource object.
        pub hdr: ResourceObjCmdHdr,
        /// [`MetadataType`].
        pub r#type: u8,
        /// Reserved, 0.
        pub reserved: [u8; 7],
    }

    /// Result for [`MetadataType::SIZE`].
    pub struct PartsSize {
        /// Maximum size of all device parts in bytes.
        pub size: Le32,
        /// Reserved, 0.
        pub reserved: Le32,
    }

    /// Result for [`MetadataType::COUNT`], and beginning of that for [`MetadataType::LIST`].
    pub struct HdrListCount {
        /// Number of headers.
        pub count: Le32,
        /// Reserved, 0.
        pub reserved: Le32,
    }

    /// Data of [`DEV_PARTS_GET`](super::Opcode::DEV_PARTS_GET) (`virtio_admin_cmd_dev_parts_get_data`); for
    /// [`GetType::SELECTED`] the [`PartHdr`] of the wanted parts follow. The result is device parts behind each other.
    pub struct GetData {
        /// The device parts resource object.
        pub hdr: ResourceObjCmdHdr,
        /// [`GetType`].
        pub r#type: u8,
        /// Reserved, 0.
        pub reserved: [u8; 7],
    }

    /// Data of [`DEV_PARTS_SET`](super::Opcode::DEV_PARTS_SET) (`virtio_admin_cmd_dev_parts_set_data`); device parts
    /// follow behind each other.
    pub struct SetData {
        /// The device parts resource object.
        pub hdr: ResourceObjCmdHdr,
    }

    /// Data of [`DEV_MODE_SET`](super::Opcode::DEV_MODE_SET) (`virtio_admin_cmd_dev_mode_set_data`).
    pub struct DevModeSetData {
        /// [`DevMode`].
        pub flags: u8,
    }
}

layout!(DevPartsCap, 2, get_parts_resource_objects_limit @ 0, set_parts_resource_objects_limit @ 1);
layout!(ResourceObjDevParts, 8, r#type @ 0, reserved @ 1);
layout!(MetadataData, 16, hdr @ 0, r#type @ 8, reserved @ 9);
layout!(PartsSize, 8, size @ 0, reserved @ 4);
layout!(HdrListCount, 8, count @ 0, reserved @ 4);
layout!(GetData, 16, hdr @ 0, r#type @ 8, reserved @ 9);
layout!(SetData, 8, hdr @ 0);
layout!(DevModeSetData, 1, flags @ 0);
