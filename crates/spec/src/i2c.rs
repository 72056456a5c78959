//! I2C Adapter Device.

use crate::DeviceType;

/// The device type, id 34.
pub const DEVICE: DeviceType = DeviceType {
    id: 34,
    name: "i2c",
    title: "I2C Adapter Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
