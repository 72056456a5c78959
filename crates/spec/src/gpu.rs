//! GPU Device.

use crate::DeviceType;

/// The device type, id 16.
pub const DEVICE: DeviceType = DeviceType {
    id: 16,
    name: "gpu",
    title: "GPU Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
