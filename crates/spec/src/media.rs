//! Media Device.

use crate::DeviceType;

/// The device type, id 48.
pub const DEVICE: DeviceType = DeviceType {
    id: 48,
    name: "media",
    title: "Media Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
