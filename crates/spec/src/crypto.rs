//! Crypto Device.

use crate::DeviceType;

/// The device type, id 20.
pub const DEVICE: DeviceType = DeviceType {
    id: 20,
    name: "crypto",
    title: "Crypto Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
