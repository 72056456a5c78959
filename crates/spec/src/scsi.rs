//! SCSI Host Device.

use crate::DeviceType;

/// The device type, id 8.
pub const DEVICE: DeviceType = DeviceType {
    id: 8,
    name: "scsi",
    title: "SCSI Host Device",
    transitional_pci_id: Some(0x1004),
    queues: &[],
    features: features::ALL,
    config_size: 0,
};

features! {}
