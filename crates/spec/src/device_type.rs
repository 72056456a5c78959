//! Device types (chapter 5): the table of everything the document says that is common to all of them.

use crate::FeatureBit;

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
