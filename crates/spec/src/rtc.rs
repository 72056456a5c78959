//! RTC Device.

use crate::DeviceType;

/// The device type, id 17.
pub const DEVICE: DeviceType = DeviceType {
    id: 17,
    name: "rtc",
    title: "RTC Device",
    transitional_pci_id: None,
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
