//! Device types (chapter 5): the table of everything the document says that is common to all of them.

use crate::feature::{self, FeatureBit};

/// One device type of the document.
#[derive(Clone, Copy, Debug)]
pub struct DeviceType {
    /// Virtio device id; the PCI device id is `0x1040 + id`.
    pub id: u32,
    /// Name of the module here and of the chapter in the document, lower case.
    pub name: &'static str,
    /// The document's heading, for people.
    pub title: &'static str,
    /// PCI device id of the transitional device, where there is one.
    pub transitional_pci_id: Option<u16>,
    /// Names of its virtqueues in order of index; where they repeat per port or pair, the first of each.
    pub queues: &'static [&'static str],
    /// Its feature bits.
    pub features: &'static [FeatureBit],
    /// Size of its configuration space in bytes with every optional field present.
    pub config_size: usize,
}

impl DeviceType {
    /// What the document says of feature `bit` for this device type: one of its own, else one that is common to all.
    /// `None` for bits without a meaning.
    pub fn feature(&self, bit: u32) -> Option<&'static FeatureBit> {
        let find = |table: &'static [FeatureBit], legacy| {
            table
                .iter()
                .find(|feature| feature.bit == bit && feature.legacy == legacy)
        };
        // Bit 41 is ADMIN_VQ to a network device of today, and GUEST_RSC4 to a legacy one.
        [
            (self.features, false),
            (feature::ALL, false),
            (self.features, true),
            (feature::ALL, true),
        ]
        .into_iter()
        .find_map(|(table, legacy)| find(table, legacy))
    }
}

impl PartialEq for DeviceType {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for DeviceType {}

/// Every device type that the document specifies in full, by id.
pub const ALL: &[&DeviceType] = &[
    &crate::network::DEVICE,
    &crate::block::DEVICE,
    &crate::console::DEVICE,
    &crate::entropy::DEVICE,
    &crate::balloon::DEVICE,
    &crate::scsi::DEVICE,
    &crate::gpu::DEVICE,
    &crate::rtc::DEVICE,
    &crate::input::DEVICE,
    &crate::socket::DEVICE,
    &crate::crypto::DEVICE,
    &crate::iommu::DEVICE,
    &crate::memory::DEVICE,
    &crate::sound::DEVICE,
    &crate::filesystem::DEVICE,
    &crate::pmem::DEVICE,
    &crate::rpmb::DEVICE,
    &crate::scmi::DEVICE,
    &crate::i2c::DEVICE,
    &crate::can::DEVICE,
    &crate::gpio::DEVICE,
    &crate::spi::DEVICE,
    &crate::media::DEVICE,
];

/// The device type with this id.
pub fn by_id(id: u32) -> Option<&'static DeviceType> {
    ALL.iter().copied().find(|device| device.id == id)
}

/// The device type with this name (that of its module: `block`, `network`).
pub fn by_name(name: &str) -> Option<&'static DeviceType> {
    ALL.iter().copied().find(|device| device.name == name)
}

/// A virtio device id of the document's table, whether or not a chapter specifies the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceId {
    /// Virtio device id.
    pub id: u32,
    /// The document's words for it.
    pub name: &'static str,
    /// PCI device id of the transitional device, where there is one.
    pub transitional_pci_id: Option<u16>,
}

/// Device ids that the document reserves for devices without a chapter, by id. Id 0 is invalid; 14, 15 and 37 are not
/// listed at all.
pub const RESERVED: &[DeviceId] = &[
    reserved(6, "ioMemory"),
    reserved(7, "rpmsg"),
    DeviceId {
        id: 9,
        name: "9P transport",
        transitional_pci_id: Some(0x1009),
    },
    reserved(10, "mac80211 wlan"),
    reserved(11, "rproc serial"),
    reserved(12, "virtio CAIF"),
    reserved(13, "memory balloon"),
    reserved(21, "Signal Distribution Module"),
    reserved(22, "pstore device"),
    reserved(29, "mac80211 hwsim wireless simulation device"),
    reserved(30, "Video encoder device"),
    reserved(31, "Video decoder device"),
    reserved(33, "NitroSecureModule"),
    reserved(35, "Watchdog"),
    reserved(38, "Parameter Server"),
    reserved(39, "Audio policy device"),
    reserved(40, "Bluetooth device"),
    reserved(42, "RDMA device"),
    reserved(43, "Camera device"),
    reserved(44, "ISM device"),
    reserved(46, "TEE device"),
    reserved(47, "CPU balloon device"),
    reserved(49, "USB controller"),
];

const fn reserved(id: u32, name: &'static str) -> DeviceId {
    DeviceId {
        id,
        name,
        transitional_pci_id: None,
    }
}

/// Every device id of the document: those of [`ALL`], then those of [`RESERVED`].
pub fn ids() -> impl Iterator<Item = DeviceId> {
    let specified = ALL.iter().map(|device| DeviceId {
        id: device.id,
        name: device.title,
        transitional_pci_id: device.transitional_pci_id,
    });
    specified.chain(RESERVED.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_1_to_49_are_listed_once_except_three() {
        let listed = |id| ids().filter(|device| device.id == id).count();
        for id in 0..=60 {
            let expected = usize::from((1..=49).contains(&id) && ![14, 15, 37].contains(&id));
            assert_eq!(listed(id), expected, "device id {id}");
        }
        assert!(ALL.is_sorted_by_key(|device| device.id) && RESERVED.is_sorted_by_key(|device| device.id));
    }

    #[test]
    fn features_by_bit() {
        let name = |bit| crate::block::DEVICE.feature(bit).map(|feature| feature.name);
        assert_eq!(name(32), Some("VERSION_1"));
        assert_eq!(name(27), Some("ANY_LAYOUT"));
        assert_eq!([name(49), name(128)], [None; 2]);
    }

    #[test]
    fn found_by_id_and_by_name() {
        for device in ALL {
            assert_eq!(by_id(device.id), Some(*device));
            assert_eq!(by_name(device.name), Some(*device));
        }
        assert_eq!(by_id(9), None);
        assert_eq!(by_name("nothing"), None);
    }
}
