//! Traditional Memory Balloon Device.

use crate::DeviceType;

/// The device type, id 5.
pub const DEVICE: DeviceType = DeviceType {
    id: 5,
    name: "balloon",
    title: "Traditional Memory Balloon Device",
    transitional_pci_id: Some(0x1002),
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
