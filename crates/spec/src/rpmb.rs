//! RPMB Device.

use crate::DeviceType;

/// The device type, id 28.
pub const DEVICE: DeviceType = DeviceType {
    id: 28,
    name: "rpmb",
    title: "RPMB Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
