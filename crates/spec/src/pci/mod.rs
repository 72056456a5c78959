//! Virtio over PCI (section 4.1): ids, capabilities and registers.

use core::ops::RangeInclusive;

use crate::data::{Le16, Le32};

pub mod common_cfg;
pub mod header;
pub mod legacy;

pub use common_cfg::CommonCfg;

/// PCI vendor id of every virtio device (`dev:pci:pci-device-discovery:01`).
pub const VENDOR_ID: u16 = 0x1af4;
/// PCI device ids of virtio devices.
pub const DEVICE_IDS: RangeInclusive<u16> = 0x1000..=0x107f;
/// PCI device ids of transitional devices.
pub const TRANSITIONAL_DEVICE_IDS: RangeInclusive<u16> = 0x1000..=0x103f;
/// A device that is not transitional has this PCI device id plus its virtio device id
/// (`dev:pci:pci-device-discovery:02`).
pub const DEVICE_ID_BASE: u16 = 0x1040;
/// Least PCI revision id of a device that is not transitional (`dev:pci:pci-device-discovery:05`); transitional ones
/// have 0.
pub const NON_TRANSITIONAL_REVISION_ID: u8 = 1;
/// Least PCI subsystem device id of a device that is not transitional (`dev:pci:pci-device-discovery:06`);
/// transitional ones have the virtio device id there.
pub const NON_TRANSITIONAL_SUBSYSTEM_ID: u16 = 0x40;

/// Id of a vendor-specific PCI capability (PCI_CAP_ID_VNDR), in `cap_vndr`.
pub const CAP_ID_VNDR: u8 = 0x09;

constants! {
    /// Which structure a capability locates (`VIRTIO_PCI_CAP_*`). Drivers ignore capabilities with any other value
    /// (`drv:pci:virtio-structure-pci-capabilities:01`).
    pub CfgType: u8 {
        /// Common configuration ([`CommonCfg`]).
        COMMON_CFG = 1,
        /// Notifications ([`NotifyCap`]).
        NOTIFY_CFG = 2,
        /// ISR status ([`Isr`], one byte).
        ISR_CFG = 3,
        /// Device-specific configuration.
        DEVICE_CFG = 4,
        /// PCI configuration access ([`CfgCap`]).
        PCI_CFG = 5,
        /// Shared memory region ([`Cap64`]), its `id` being the region's shmid.
        SHARED_MEMORY_CFG = 8,
        /// Vendor-specific data ([`VndrData`]).
        VENDOR_CFG = 9,
    }
}

/// Valid values of [`Cap::bar`]. Drivers ignore capabilities with any other
/// (`drv:pci:virtio-structure-pci-capabilities:04`).
pub const BARS: RangeInclusive<u8> = 0..=5;

wire! {
    /// Virtio structure PCI capability (`virtio_pci_cap`).
    pub struct Cap {
        /// [`CAP_ID_VNDR`].
        pub cap_vndr: u8,
        /// Offset of the next capability in PCI configuration space, or 0.
        pub cap_next: u8,
        /// Length of this capability in bytes, with anything that follows.
        pub cap_len: u8,
        /// [`CfgType`].
        pub cfg_type: u8,
        /// BAR that the structure is in, one of [`BARS`].
        pub bar: u8,
        /// Tells capabilities of one type apart.
        pub id: u8,
        /// Padding.
        pub padding: [u8; 2],
        /// Offset of the structure within the BAR.
        pub offset: Le32,
        /// Length of the structure in bytes.
        pub length: Le32,
    }

    /// Capability with a 64-bit offset and length (`virtio_pci_cap64`).
    pub struct Cap64 {
        /// Capability, with the low halves.
        pub cap: Cap,
        /// High half of the offset.
        pub offset_hi: Le32,
        /// High half of the length.
        pub length_hi: Le32,
    }

    /// Notification capability (`virtio_pci_notify_cap`): a virtqueue's notifications go to `cap.offset +
    /// queue_notify_off * notify_off_multiplier` within the BAR.
    pub struct NotifyCap {
        /// Capability.
        pub cap: Cap,
        /// Multiplier of [`CommonCfg::queue_notify_off`].
        pub notify_off_multiplier: Le32,
    }

    /// PCI configuration access capability (`virtio_pci_cfg_cap`): a window into the BARs, for which the driver
    /// writes `cap.bar`, `cap.offset` and `cap.length` (1, 2 or 4).
    pub struct CfgCap {
        /// Capability.
        pub cap: Cap,
        /// The window: its first `cap.length` bytes.
        pub pci_cfg_data: [u8; 4],
    }

    /// Vendor data capability (`virtio_pci_vndr_data`); the vendor's data follow, padded to a multiple of 4 bytes
    /// (`dev:pci:vendor-data-capability:02`).
    pub struct VndrData {
        /// [`CAP_ID_VNDR`].
        pub cap_vndr: u8,
        /// Offset of the next capability in PCI configuration space, or 0.
        pub cap_next: u8,
        /// Length of this capability in bytes, with the vendor's data.
        pub cap_len: u8,
        /// [`CfgType::VENDOR_CFG`].
        pub cfg_type: u8,
        /// Vendor whose format it is, by PCI vendor id; not [`VENDOR_ID`] (`dev:pci:vendor-data-capability:01`).
        ///
        /// The document writes `u16`; it is little-endian, as all fields of these capabilities.
        pub vendor_id: Le16,
    }
}

layout!(
    Cap, 16, cap_vndr @ 0, cap_next @ 1, cap_len @ 2, cfg_type @ 3, bar @ 4, id @ 5, padding @ 6, offset @ 8,
    length @ 12
);
layout!(Cap64, 24, cap @ 0, offset_hi @ 16, length_hi @ 20);
layout!(NotifyCap, 20, cap @ 0, notify_off_multiplier @ 16);
layout!(CfgCap, 20, cap @ 0, pci_cfg_data @ 16);
layout!(VndrData, 6, cap_vndr @ 0, cap_next @ 1, cap_len @ 2, cfg_type @ 3, vendor_id @ 4);

flags! {
    /// ISR status: why an INT#x interrupt was raised. Reading it resets it to 0.
    pub Isr: u8 {
        /// Queue interrupt: a virtqueue's used buffer notification.
        QUEUE = 1 << 0,
        /// Device configuration interrupt: a configuration change notification.
        CONFIG = 1 << 1,
    }
}

/// Value of a vector field that maps the event to no MSI-X vector (`VIRTIO_MSI_NO_VECTOR`).
pub const MSI_NO_VECTOR: u16 = 0xffff;
/// Valid MSI-X vectors.
pub const MSI_VECTORS: RangeInclusive<u16> = 0..=0x7ff;

/// Alignment of the common configuration within its BAR (`dev:pci:common-configuration-structure-layout:01`).
pub const COMMON_CFG_ALIGN: u32 = 4;
/// Alignment of the device-specific configuration within its BAR (`dev:pci:device-specific-configuration:01`).
pub const DEVICE_CFG_ALIGN: u32 = 4;
/// Size of a notification, and alignment of the notification structure within its BAR
/// (`dev:pci:notification-capability:02`).
pub const NOTIFY_SIZE: u32 = 2;
/// The same where the device offers `VIRTIO_F_NOTIFICATION_DATA` (`dev:pci:notification-capability:07`).
pub const NOTIFY_DATA_SIZE: u32 = 4;

/// The PCI device id of a device that is not transitional; `None` if there is none for this virtio device id.
pub const fn device_id(virtio_id: u32) -> Option<u16> {
    match virtio_id {
        1..=0x3f => Some(DEVICE_ID_BASE + virtio_id as u16),
        _ => None,
    }
}

/// The virtio device id that a PCI device id stands for, transitional ones included; `None` if it stands for none.
pub fn virtio_id(device_id: u16) -> Option<u32> {
    if TRANSITIONAL_DEVICE_IDS.contains(&device_id) {
        return crate::device_type::ids()
            .find(|id| id.transitional_pci_id == Some(device_id))
            .map(|id| id.id);
    }
    let id = device_id.checked_sub(DEVICE_ID_BASE)?;
    (DEVICE_IDS.contains(&device_id) && id != 0).then_some(id.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_ids_of_the_network_device() {
        assert_eq!(device_id(1), Some(0x1041));
        assert_eq!(virtio_id(0x1041), Some(1));
        assert_eq!(virtio_id(0x1000), Some(1));
    }

    #[test]
    fn no_device_ids_outside_the_range() {
        assert_eq!([0, 0x40, u32::MAX].map(device_id), [None; 3]);
        assert_eq!(
            [0, 0x0fff, 0x103f, 0x1040, 0x1080, 0xffff].map(virtio_id),
            [None; 6]
        );
        assert_eq!(device_id(0x3f), Some(*DEVICE_IDS.end()));
        assert_eq!(
            virtio_id(0x1009),
            Some(9),
            "9P has a transitional id but no chapter"
        );
    }
}
