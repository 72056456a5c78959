//! SCMI device (section 5.17): carries messages of Arm's System Control and Management Interface.
//!
//! Each message is one buffer: [`Request`] and its parameters, then, device-writable, [`Response`] and its return
//! values on the command queue; [`EventMsg`] and its payload on the event queue. Sizes of the tails follow from SCMI.

use crate::DeviceType;
use crate::data::Le32;

/// The SCMI device, id 32.
pub const DEVICE: DeviceType = DeviceType {
    id: 32,
    name: "scmi",
    title: "SCMI Device",
    transitional_pci_id: None,
    queues: &["cmdq", "eventq"],
    features: features::ALL,
    config_size: 0,
};

features! {
    /// The device sends notifications or delayed responses.
    P2A_CHANNELS = 0;
    /// The device has a shared memory region of statistics.
    SHARED_MEMORY = 1;
}

/// Index of the queue of commands and their responses.
pub const CMDQ: u16 = 0;
/// Index of the queue of notifications and delayed responses; exists with [`features::P2A_CHANNELS`].
pub const EVENTQ: u16 = 1;

/// Shared memory region: power state statistics (section 5.17.6.4, `dev:scmi:shared-memory-operation:02`).
pub const SHM_ID_POWER_STATE: u8 = 1;
/// Shared memory region: performance domain statistics.
pub const SHM_ID_PERFORMANCE_DOMAIN: u8 = 2;
/// Shared memory region: sensor values.
pub const SHM_ID_SENSOR_VALUES: u8 = 3;
/// Shared memory regions: first of those that vendors define.
pub const SHM_ID_VENDOR_FIRST: u8 = 0x80;
/// Shared memory regions: last of those that vendors define.
pub const SHM_ID_VENDOR_LAST: u8 = 0xff;

wire! {
    /// Start of a command, device-readable (section 5.17.6.1); its parameters follow.
    pub struct Request {
        /// SCMI message header.
        pub hdr: Le32,
    }

    /// Start of a response, device-writable (section 5.17.6.1); its return values follow.
    pub struct Response {
        /// SCMI message header.
        pub hdr: Le32,
    }

    /// Start of a notification or delayed response, device-writable (section 5.17.6.3); its payload follows.
    pub struct EventMsg {
        /// SCMI message header.
        pub hdr: Le32,
    }
}
layout!(Request, 4, hdr @ 0);
layout!(Response, 4, hdr @ 0);
layout!(EventMsg, 4, hdr @ 0);
