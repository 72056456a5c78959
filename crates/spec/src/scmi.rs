//! SCMI Device.

use crate::DeviceType;

/// The device type, id 32.
pub const DEVICE: DeviceType = DeviceType {
    id: 32,
    name: "scmi",
    title: "SCMI Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
