//! Memory Device.

use crate::DeviceType;

/// The device type, id 24.
pub const DEVICE: DeviceType = DeviceType {
    id: 24,
    name: "memory",
    title: "Memory Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
