//! Device resource objects (section 2.12.1.3).
//!
//! A resource object has a type and an id, the latter chosen by the driver below the `limit` of the capability that
//! governs the type. The types that belong to a device type are listed in its module.

use core::ops::RangeInclusive;

use crate::data::{Le16, Le32, Le64};

constants! {
    /// Type of a resource object that is common to all device types (`VIRTIO_RESOURCE_OBJ_*`).
    pub ResourceType: u16 {
        /// Device parts ([`ResourceObjDevParts`](super::device_parts::ResourceObjDevParts)).
        DEV_PARTS = 0x000,
    }
}

/// Types common to all device types.
pub const GENERIC: RangeInclusive<u16> = 0x000..=0x1ff;
/// Types of the device type's own.
pub const DEVICE_TYPE: RangeInclusive<u16> = 0x200..=0x4ff;

wire! {
    /// Header of every resource object command (`virtio_admin_cmd_resource_obj_cmd_hdr`), and all the data of
    /// [`RESOURCE_OBJ_DESTROY`](super::Opcode::RESOURCE_OBJ_DESTROY).
    pub struct ResourceObjCmdHdr {
        /// [`ResourceType`] or one of the device type's own.
        pub r#type: Le16,
        /// Reserved, 0.
        pub reserved: [u8; 2],
        /// Id of the object, unique within its type.
        pub id: Le32,
    }

    /// Data of [`RESOURCE_OBJ_CREATE`](super::Opcode::RESOURCE_OBJ_CREATE)
    /// (`virtio_admin_cmd_resource_obj_create_data`); the object's own structure follows.
    pub struct ResourceObjCreateData {
        /// Which object.
        pub hdr: ResourceObjCmdHdr,
        /// Reserved, 0, unless the object's type gives it a meaning.
        pub flags: Le64,
    }

    /// Data of [`RESOURCE_OBJ_MODIFY`](super::Opcode::RESOURCE_OBJ_MODIFY) (`virtio_admin_cmd_resource_modify_data`);
    /// the object's own structure follows.
    pub struct ResourceModifyData {
        /// Which object.
        pub hdr: ResourceObjCmdHdr,
        /// Reserved, 0, unless the object's type gives it a meaning.
        pub flags: Le64,
    }

    /// Data of [`RESOURCE_OBJ_QUERY`](super::Opcode::RESOURCE_OBJ_QUERY)
    /// (`virtio_admin_cmd_resource_obj_query_data`); the result is the object's own structure.
    pub struct ResourceObjQueryData {
        /// Which object.
        pub hdr: ResourceObjCmdHdr,
        /// Reserved, 0, unless the object's type gives it a meaning.
        pub flags: Le64,
    }
}

layout!(ResourceObjCmdHdr, 8, r#type @ 0, reserved @ 2, id @ 4);
layout!(ResourceObjCreateData, 16, hdr @ 0, flags @ 8);
layout!(ResourceModifyData, 16, hdr @ 0, flags @ 8);
layout!(ResourceObjQueryData, 16, hdr @ 0, flags @ 8);
