//! SPI Controller Device.

use crate::DeviceType;

/// The device type, id 45.
pub const DEVICE: DeviceType = DeviceType {
    id: 45,
    name: "spi",
    title: "SPI Controller Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
