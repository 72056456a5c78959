//! Entropy device (section 5.4): fills the driver's buffers with random bytes.

use crate::DeviceType;

/// The entropy device, id 4.
pub const DEVICE: DeviceType = DeviceType {
    id: 4,
    name: "entropy",
    title: "Entropy Device",
    transitional_pci_id: Some(0x1005),
    queues: &["requestq"],
    features: features::ALL,
    config_size: 0,
};

features! {}

/// Index of the only virtqueue: device-writable buffers to be filled.
pub const REQUESTQ: u16 = 0;
