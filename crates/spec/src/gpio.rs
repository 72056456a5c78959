//! GPIO device (section 5.18): general purpose input and output lines, and their interrupts.

use crate::DeviceType;
use crate::data::{Le16, Le32};

/// The GPIO device, id 41.
pub const DEVICE: DeviceType = DeviceType {
    id: 41,
    name: "gpio",
    title: "GPIO Device",
    transitional_pci_id: None,
    queues: &["requestq", "eventq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// Lines can interrupt.
    IRQ = 0;
}

/// Index of the request queue.
pub const REQUESTQ: u16 = 0;
/// Index of the queue on which the driver unmasks, and the device raises, interrupts; exists with [`features::IRQ`].
pub const EVENTQ: u16 = 1;

wire! {
    /// Device configuration (section 5.18.4).
    pub struct Config {
        /// Number of lines.
        pub ngpio: Le16,
        /// Zero.
        pub padding: [u8; 2],
        /// Size in bytes of the names of all lines, each terminated by a zero byte and in order of the lines; 0 if
        /// lines have no names.
        pub gpio_names_size: Le32,
    }

    /// A request (section 5.18.6).
    pub struct Request {
        /// [`MessageType`].
        pub r#type: Le16,
        /// Number of the line, less than [`Config::ngpio`]; 0 for [`MessageType::GET_LINE_NAMES`].
        pub gpio: Le16,
        /// [`Direction`], level or [`IrqType`] for the messages that set one, otherwise 0.
        pub value: Le32,
    }

    /// Its response (section 5.18.6), for every message but [`MessageType::GET_LINE_NAMES`].
    pub struct Response {
        /// [`MessageStatus`].
        pub status: u8,
        /// [`Direction`] or level (0 low, 1 high) for the messages that get one, otherwise 0.
        pub value: u8,
    }

    /// Start of the response to [`MessageType::GET_LINE_NAMES`] (section 5.18.6.1); the
    /// [`Config::gpio_names_size`] bytes of the names follow.
    pub struct ResponseN {
        /// [`MessageStatus`].
        pub status: u8,
    }

    /// Unmasks the interrupt of a line (section 5.18.7), device-readable.
    pub struct IrqRequest {
        /// Number of the line.
        pub gpio: Le16,
    }

    /// Returned when the line interrupts, or its interrupt is disabled (section 5.18.7), device-writable.
    pub struct IrqResponse {
        /// [`IrqStatus`].
        pub status: u8,
    }
}
layout!(Config, 8, ngpio @ 0, padding @ 2, gpio_names_size @ 4);
layout!(Request, 8, r#type @ 0, gpio @ 2, value @ 4);
layout!(Response, 2, status @ 0, value @ 1);
layout!(ResponseN, 1, status @ 0);
layout!(IrqRequest, 2, gpio @ 0);
layout!(IrqResponse, 1, status @ 0);

constants! {
    /// Messages (`VIRTIO_GPIO_MSG_XXX`).
    pub MessageType: u16 {
        /// Gets the names of all lines.
        GET_LINE_NAMES = 0x0001,
        /// Gets the direction of a line.
        GET_DIRECTION = 0x0002,
        /// Sets the direction of a line.
        SET_DIRECTION = 0x0003,
        /// Gets the level of a line.
        GET_VALUE = 0x0004,
        /// Sets the level of a line.
        SET_VALUE = 0x0005,
        /// Enables or disables the interrupt of a line; exists with [`features::IRQ`].
        SET_IRQ_TYPE = 0x0006,
    }

    /// How a message ended (`VIRTIO_GPIO_STATUS_XXX`).
    pub MessageStatus: u8 {
        /// Success.
        OK = 0x0,
        /// Failure.
        ERR = 0x1,
    }

    /// Directions of a line (`VIRTIO_GPIO_DIRECTION_XXX`).
    pub Direction: u8 {
        /// Inactive.
        NONE = 0x00,
        /// Output.
        OUT = 0x01,
        /// Input.
        IN = 0x02,
    }

    /// What makes a line interrupt (`VIRTIO_GPIO_IRQ_TYPE_XXX`).
    pub IrqType: u32 {
        /// Nothing: disabled.
        NONE = 0x00,
        /// Going high.
        EDGE_RISING = 0x01,
        /// Going low.
        EDGE_FALLING = 0x02,
        /// Any change.
        EDGE_BOTH = 0x03,
        /// Being high.
        LEVEL_HIGH = 0x04,
        /// Being low.
        LEVEL_LOW = 0x08,
    }

    /// Why an [`IrqResponse`] came back (`VIRTIO_GPIO_IRQ_STATUS_XXX`).
    pub IrqStatus: u8 {
        /// The interrupt is disabled.
        INVALID = 0x0,
        /// The line interrupted.
        VALID = 0x1,
    }
}
