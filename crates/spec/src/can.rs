//! CAN Device.

use crate::DeviceType;

/// The device type, id 36.
pub const DEVICE: DeviceType = DeviceType {
    id: 36,
    name: "can",
    title: "CAN Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
