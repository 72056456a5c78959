//! GPIO Device.

use crate::DeviceType;

/// The device type, id 41.
pub const DEVICE: DeviceType = DeviceType {
    id: 41,
    name: "gpio",
    title: "GPIO Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
