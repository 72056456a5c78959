//! Legacy interface commands (section 2.12.1.1): how the owner's driver serves a member's legacy driver.
//!
//! The common configuration is that of [`crate::pci::legacy`], device-specific configuration excluded; both are always
//! little-endian here. The write commands carry [`LegacyWrData`] followed by the bytes to write; the read commands
//! carry [`LegacyRdData`] and return the bytes read, as many as the result has room for.

use crate::data::Le64;

wire! {
    /// Data of both write commands (`virtio_admin_cmd_legacy_common_cfg_wr_data`,
    /// `virtio_admin_cmd_legacy_dev_reg_wr_data`); the bytes to write follow.
    pub struct LegacyWrData {
        /// Offset of the first byte.
        pub offset: u8,
        /// Reserved, 0.
        pub reserved: [u8; 7],
    }

    /// Data of both read commands (`virtio_admin_cmd_legacy_common_cfg_rd_data`,
    /// `virtio_admin_cmd_legacy_dev_cfg_rd_data`).
    pub struct LegacyRdData {
        /// Offset of the first byte.
        pub offset: u8,
    }

    /// A notification address (`virtio_pci_legacy_notify_info`).
    pub struct NotifyInfo {
        /// [`NotifyInfoFlags`].
        pub flags: u8,
        /// 1 to 5: that BAR of the owner, or that VF BAR of the member.
        pub bar: u8,
        /// Padding.
        pub padding: [u8; 6],
        /// Offset within the BAR, a multiple of 2.
        pub offset: Le64,
    }

    /// Result of [`LEGACY_NOTIFY_INFO`](super::Opcode::LEGACY_NOTIFY_INFO)
    /// (`virtio_admin_cmd_legacy_notify_info_result`): notification addresses, the preferred ones first.
    pub struct NotifyInfoResult {
        /// The addresses, up to the first of flags [`NotifyInfoFlags::END`].
        pub entries: [NotifyInfo; 4],
    }
}

layout!(LegacyWrData, 8, offset @ 0, reserved @ 1);
layout!(LegacyRdData, 1, offset @ 0);
layout!(NotifyInfo, 16, flags @ 0, bar @ 1, padding @ 2, offset @ 8);
layout!(NotifyInfoResult, 64, entries @ 0);

constants! {
    /// What a [`NotifyInfo`] refers to. The document numbers these without naming them.
    pub NotifyInfoFlags: u8 {
        /// End of the list.
        END = 0,
        /// A BAR of the owner device.
        OWNER = 1,
        /// A VF BAR of the member device.
        MEMBER = 2,
    }
}
