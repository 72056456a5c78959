//! PMEM Device.

use crate::DeviceType;

/// The device type, id 27.
pub const DEVICE: DeviceType = DeviceType {
    id: 27,
    name: "pmem",
    title: "PMEM Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
