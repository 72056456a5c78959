//! Network Device.

use crate::DeviceType;

/// The device type, id 1.
pub const DEVICE: DeviceType = DeviceType {
    id: 1,
    name: "network",
    title: "Network Device",
    transitional_pci_id: Some(0x1000),
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
