//! Input Device.

use crate::DeviceType;

/// The device type, id 18.
pub const DEVICE: DeviceType = DeviceType {
    id: 18,
    name: "input",
    title: "Input Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
