//! Sound Device.

use crate::DeviceType;

/// The device type, id 25.
pub const DEVICE: DeviceType = DeviceType {
    id: 25,
    name: "sound",
    title: "Sound Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
