//! Socket Device.

use crate::DeviceType;

/// The device type, id 19.
pub const DEVICE: DeviceType = DeviceType {
    id: 19,
    name: "socket",
    title: "Socket Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
