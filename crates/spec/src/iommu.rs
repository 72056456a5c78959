//! IOMMU Device.

use crate::DeviceType;

/// The device type, id 23.
pub const DEVICE: DeviceType = DeviceType {
    id: 23,
    name: "iommu",
    title: "IOMMU Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
