//! Block Device.

use crate::DeviceType;

/// The device type, id 2.
pub const DEVICE: DeviceType = DeviceType {
    id: 2,
    name: "block",
    title: "Block Device",
    transitional_pci_id: Some(0x1001),
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
