//! Device and driver capabilities (section 2.12.1.2).
//!
//! The ids that belong to a device type are listed in its module.

use core::ops::RangeInclusive;

use crate::data::Le16;

constants! {
    /// Id of a capability that is common to all device types.
    pub CapId: u16 {
        /// Device parts ([`DevPartsCap`](super::device_parts::DevPartsCap)).
        DEV_PARTS_CAP = 0x0000,
    }
}

/// Ids common to all device types.
pub const GENERIC: RangeInclusive<u16> = 0x0000..=0x07ff;
/// Ids of the device type's own.
pub const DEVICE_TYPE: RangeInclusive<u16> = 0x0800..=0x0fff;

wire! {
    /// Data of [`DEVICE_CAP_GET`](super::Opcode::DEVICE_CAP_GET) (`virtio_admin_cmd_cap_get_data`); the result is the
    /// capability's own structure.
    pub struct CapGetData {
        /// Capability id.
        pub id: Le16,
        /// Reserved, 0.
        pub reserved: [u8; 6],
    }

    /// Data of [`DRIVER_CAP_SET`](super::Opcode::DRIVER_CAP_SET) (`virtio_admin_cmd_cap_set_data`); the capability's
    /// own structure follows.
    pub struct CapSetData {
        /// Capability id.
        pub id: Le16,
        /// Reserved, 0.
        pub reserved: [u8; 6],
    }
}

layout!(CapGetData, 8, id @ 0, reserved @ 2);
layout!(CapSetData, 8, id @ 0, reserved @ 2);

/// Bytes of a capability list (`virtio_admin_cmd_query_cap_id_result`) that holds every id up to `max_cap_id`: an
/// array of le64 with a bit for each id, as in an [opcode list](super::opcode_list_len).
pub const fn cap_id_list_len(max_cap_id: u16) -> usize {
    super::bitmap_len(max_cap_id)
}
