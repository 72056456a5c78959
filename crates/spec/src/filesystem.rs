//! File System Device.

use crate::DeviceType;

/// The device type, id 26.
pub const DEVICE: DeviceType = DeviceType {
    id: 26,
    name: "filesystem",
    title: "File System Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
