//! Console Device.

use crate::DeviceType;

/// The device type, id 3.
pub const DEVICE: DeviceType = DeviceType {
    id: 3,
    name: "console",
    title: "Console Device",
    transitional_pci_id: Some(0x1003),
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
