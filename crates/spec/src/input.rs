//! Input device (section 5.8): keyboards, mice and tablets, as the Linux evdev layer sees them.
//!
//! What an event type, a code or a property means is not part of the document: the numbers are those of
//! `linux/input-event-codes.h`.

use crate::DeviceType;
use crate::data::{Le16, Le32};

/// The input device, id 18.
pub const DEVICE: DeviceType = DeviceType {
    id: 18,
    name: "input",
    title: "Input Device",
    transitional_pci_id: None,
    queues: &["eventq", "statusq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {}

/// Index of the queue on which the device sends [`Event`]s.
pub const EVENTQ: u16 = 0;
/// Index of the queue on which the driver sends status [`Event`]s, such as keyboard LEDs.
pub const STATUSQ: u16 = 1;

wire! {
    /// Device configuration (section 5.8.4): a window onto the piece of information that the driver selects.
    pub struct Config {
        /// [`ConfigSelect`], written by the driver.
        pub select: u8,
        /// Which one of a kind: the event type, the absolute axis, otherwise 0. Written by the driver.
        pub subsel: u8,
        /// How many bytes of `u` are valid; 0 if there is nothing of this kind.
        pub size: u8,
        /// Unused.
        pub reserved: [u8; 5],
        /// A string without terminating NUL, a bitmap (bit 0 of byte 0 first), [`AbsInfo`] or [`DevIds`].
        pub u: [u8; 128],
    }

    /// Range and precision of an absolute axis. Evdev's own fields are signed, so these are in two's complement.
    pub struct AbsInfo {
        /// Smallest value.
        pub min: Le32,
        /// Largest value.
        pub max: Le32,
        /// Changes up to this are noise.
        pub fuzz: Le32,
        /// Values within this distance of the centre count as the centre.
        pub flat: Le32,
        /// Resolution.
        pub res: Le32,
    }

    /// Identity of the input device.
    pub struct DevIds {
        /// Bus type.
        pub bustype: Le16,
        /// Vendor.
        pub vendor: Le16,
        /// Product.
        pub product: Le16,
        /// Version.
        pub version: Le16,
    }

    /// An event on either queue (section 5.8.6): evdev's, in little-endian byte order.
    pub struct Event {
        /// Event type (`EV_*`).
        pub r#type: Le16,
        /// Code within the type.
        pub code: Le16,
        /// Value, signed in evdev.
        pub value: Le32,
    }
}
layout!(Config, 136, select @ 0, subsel @ 1, size @ 2, reserved @ 3, u @ 8);
layout!(AbsInfo, 20, min @ 0, max @ 4, fuzz @ 8, flat @ 12, res @ 16);
layout!(DevIds, 8, bustype @ 0, vendor @ 2, product @ 4, version @ 6);
layout!(Event, 8, r#type @ 0, code @ 2, value @ 4);

constants! {
    /// What [`Config`] shows (`VIRTIO_INPUT_CFG_XXX`).
    pub ConfigSelect: u8 {
        /// Nothing.
        UNSET = 0x00,
        /// Name of the device, a string.
        ID_NAME = 0x01,
        /// Serial number of the device, a string.
        ID_SERIAL = 0x02,
        /// [`DevIds`].
        ID_DEVIDS = 0x03,
        /// Bitmap of input properties (`INPUT_PROP_*`).
        PROP_BITS = 0x10,
        /// Bitmap of the codes supported for event type `subsel`; empty if that type is not supported.
        EV_BITS = 0x11,
        /// [`AbsInfo`] of axis `subsel` (`ABS_*`).
        ABS_INFO = 0x12,
    }
}
