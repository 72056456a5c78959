//! Group administration commands (section 2.12) and what they manage: capabilities, resource objects, device parts.

use crate::data::{Le16, Le64};

pub mod capability;
pub mod device_parts;
pub mod legacy;
pub mod resource;

constants! {
    /// Group type: what the members of a device group are and how they are numbered.
    pub GroupType: u16 {
        /// The owner device alone, with member identifier 0.
        SELF = 0,
        /// The virtual functions of an SR-IOV physical function: member identifiers 1 to NumVFs.
        SR_IOV = 1,
    }

    /// Opcode (`VIRTIO_ADMIN_CMD_*`). Up to 0x7fff commands have the form of [`CmdHeader`] and [`CmdStatus`]; those
    /// from 0x8000 are reserved and may have another.
    pub Opcode: u16 {
        /// Which commands the device supports for this group type, as a [list](opcode_list_len).
        LIST_QUERY = 0x0,
        /// Which of them the driver is going to use.
        LIST_USE = 0x1,
        /// Write into a member's legacy common configuration.
        LEGACY_COMMON_CFG_WRITE = 0x2,
        /// Read from a member's legacy common configuration.
        LEGACY_COMMON_CFG_READ = 0x3,
        /// Write into a member's legacy device-specific configuration.
        LEGACY_DEV_CFG_WRITE = 0x4,
        /// Read from a member's legacy device-specific configuration.
        LEGACY_DEV_CFG_READ = 0x5,
        /// Where to send a member's legacy driver notifications.
        LEGACY_NOTIFY_INFO = 0x6,
        /// Which capabilities the device supports. Some clauses call it CAP_SUPPORT_QUERY.
        CAP_ID_LIST_QUERY = 0x7,
        /// Get a device capability. Some clauses call it DRIVER_CAP_GET.
        DEVICE_CAP_GET = 0x8,
        /// Set a driver capability. Some clauses call it DEVICE_CAP_SET.
        DRIVER_CAP_SET = 0x9,
        /// Create a resource object.
        RESOURCE_OBJ_CREATE = 0xa,
        /// Query a resource object.
        ///
        /// The table of opcodes says 0xb for QUERY and 0xc for MODIFY, the text of the two commands the reverse. The
        /// table is followed here: it is what defines "the valid values for opcode", and it lists the two rows out of
        /// numeric order, so its numbers were set on purpose.
        RESOURCE_OBJ_QUERY = 0xb,
        /// Modify a resource object; see [`Self::RESOURCE_OBJ_QUERY`] for its number.
        RESOURCE_OBJ_MODIFY = 0xc,
        /// Destroy a resource object.
        RESOURCE_OBJ_DESTROY = 0xd,
        /// Size, count or list of a member's device parts.
        DEV_PARTS_METADATA_GET = 0xe,
        /// Get device parts.
        DEV_PARTS_GET = 0xf,
        /// Set device parts.
        DEV_PARTS_SET = 0x10,
        /// Stop or resume a member.
        DEV_MODE_SET = 0x11,
    }

    /// Status of a command (`VIRTIO_ADMIN_STATUS_*`), with the numbers of Linux errors. A driver handles any other
    /// value like EINVAL (`drv:admin:group-administration-commands:08`).
    pub Status: u16 {
        /// Successful completion.
        OK = 0,
        /// No such capability or resource.
        ENXIO = 6,
        /// Try again.
        EAGAIN = 11,
        /// Insufficient resources.
        ENOMEM = 12,
        /// Device busy.
        EBUSY = 16,
        /// A resource object with this id exists already.
        ///
        /// Used by `dev:adm-obj:device-resource-objects:01` but missing from the table of statuses; the number is
        /// Linux's EEXIST, because the table's other numbers are Linux's on purpose.
        EEXIST = 17,
        /// Invalid command.
        EINVAL = 22,
        /// Resources exhausted on the device.
        ENOSPC = 28,
    }

    /// Detail of a status (`VIRTIO_ADMIN_STATUS_Q_*`). A driver handles any other value like INVALID_COMMAND
    /// (`drv:admin:group-administration-commands:09`).
    ///
    /// Where the document demands one of these names as a status (the flow filter and IPsec want INVALID_OPCODE,
    /// LIST_USE wants INVALID_FIELD), it is the qualifier that is meant, with status [`Status::EINVAL`]: the table of
    /// statuses has neither.
    pub StatusQualifier: u16 {
        /// Goes with [`Status::OK`].
        OK = 0,
        /// No additional information.
        INVALID_COMMAND = 1,
        /// Unsupported or invalid `opcode`.
        INVALID_OPCODE = 2,
        /// Unsupported or invalid field within `command_specific_data`.
        INVALID_FIELD = 3,
        /// Unsupported or invalid `group_type`.
        INVALID_GROUP = 4,
        /// Unsupported or invalid `group_member_id`.
        INVALID_MEMBER = 5,
        /// Out of internal resources: may be retried.
        NORESOURCE = 6,
        /// The command blocks for too long: should be retried.
        TRYAGAIN = 7,
    }
}

wire! {
    /// Beginning of the device-readable part of a command (`virtio_admin_cmd`); `command_specific_data` follows.
    pub struct CmdHeader {
        /// [`Opcode`].
        pub opcode: Le16,
        /// [`GroupType`].
        pub group_type: Le16,
        /// Reserved, 0.
        pub reserved1: [u8; 12],
        /// Member that the command is about; 0 where unused.
        pub group_member_id: Le64,
    }

    /// Beginning of the device-writable part of a command (`virtio_admin_cmd`); `command_specific_result` follows.
    pub struct CmdStatus {
        /// [`Status`].
        pub status: Le16,
        /// [`StatusQualifier`].
        pub status_qualifier: Le16,
        /// Reserved, 0.
        pub reserved2: [u8; 4],
    }
}

layout!(CmdHeader, 24, opcode @ 0, group_type @ 2, reserved1 @ 4, group_member_id @ 16);
layout!(CmdStatus, 8, status @ 0, status_qualifier @ 2, reserved2 @ 4);

/// Both parts of a command are a multiple of this many bytes long (`drv:admin:administration-virtqueues:03`).
pub const PART_ALIGN: usize = 8;

/// Bytes of an opcode list (`virtio_admin_cmd_list`) that holds every opcode up to `max_opcode`.
///
/// The list is an array of le64 with a bit for each opcode: bit `n % 64` of entry `n / 64`. It may be longer, with
/// entries that are 0. The document gives its length once in words ("largest opcode adding one, dividing by 64 and
/// rounding up") and once as a formula that forgets to add one; the words are followed, since the formula leaves no
/// room for opcode 64 alone.
pub const fn opcode_list_len(max_opcode: u16) -> usize {
    bitmap_len(max_opcode)
}

/// Bytes of an le64 bitmap with a bit for each id up to `max_id`.
pub(crate) const fn bitmap_len(max_id: u16) -> usize {
    (max_id as usize + 1).div_ceil(64) * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_list_of_opcodes_0_1_and_64_has_two_entries() {
        assert_eq!(opcode_list_len(64), 16);
        assert_eq!(opcode_list_len(63), 8);
        assert_eq!(opcode_list_len(0), 8);
    }
}
