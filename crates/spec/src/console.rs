//! Console device (section 5.3): ports that carry bytes, and control messages about them.
//!
//! On a legacy interface every field is in the guest's byte order, which these little-endian types match only for
//! little-endian guests.

use crate::data::{Le16, Le32};
use crate::{DeviceType, Features};

/// The console device, id 3.
pub const DEVICE: DeviceType = DeviceType {
    id: 3,
    name: "console",
    title: "Console Device",
    transitional_pci_id: Some(0x1003),
    queues: &[
        "receiveq(port0)",
        "transmitq(port0)",
        "control receiveq",
        "control transmitq",
    ],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// The size of the console is in `cols` and `rows`.
    SIZE = 0;
    /// The device has several ports and the control virtqueues.
    MULTIPORT = 1;
    /// The driver can write single characters through `emerg_wr`, even before it initializes the device.
    EMERG_WRITE = 2;
}

/// Index of the control virtqueue from the device to the driver; only with [`features::MULTIPORT`].
pub const CONTROL_RECEIVEQ: u16 = 2;

/// Index of the control virtqueue from the driver to the device; only with [`features::MULTIPORT`].
pub const CONTROL_TRANSMITQ: u16 = 3;

/// Index of the virtqueue from the device to the driver of this port: 0 for port 0, and 4, 6, ... for the others,
/// after the control virtqueues (section 5.3.2). `None` if the index exceeds 16 bits.
pub const fn receiveq(port: u32) -> Option<u16> {
    match port {
        0 => Some(0),
        1..=0x7ffe => Some(port as u16 * 2 + 2),
        _ => None,
    }
}

/// Index of the virtqueue from the driver to the device of this port: 1, then 5, 7, ...; `None` if it exceeds 16 bits.
pub const fn transmitq(port: u32) -> Option<u16> {
    match receiveq(port) {
        Some(index) => Some(index + 1),
        None => None,
    }
}

/// Number of virtqueues: two, and with [`features::MULTIPORT`] two more for control and for each port after the first.
/// `None` if that exceeds the 65536 a device can have. A `max_nr_ports` of 0 counts as 1, as port 0 always exists.
pub const fn queue_count(features: Features, max_nr_ports: u32) -> Option<u32> {
    if !features.contains(features::MULTIPORT) {
        return Some(2);
    }
    match max_nr_ports {
        0 => Some(4),
        1..=0x7fff => Some(2 * max_nr_ports + 2),
        _ => None,
    }
}

/// What a virtqueue of a console is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Input of this port.
    Receive(u32),
    /// Output of this port.
    Transmit(u32),
    /// Control messages to the driver.
    ControlReceive,
    /// Control messages to the device.
    ControlTransmit,
}

/// What the virtqueue of this index is for: [`receiveq`] and [`transmitq`] the other way round.
pub const fn role(queue: u16) -> Role {
    let port = match queue {
        CONTROL_RECEIVEQ => return Role::ControlReceive,
        CONTROL_TRANSMITQ => return Role::ControlTransmit,
        0 | 1 => 0,
        _ => queue as u32 / 2 - 1,
    };
    match queue % 2 {
        0 => Role::Receive(port),
        _ => Role::Transmit(port),
    }
}

wire! {
    /// Configuration space, `struct virtio_console_config` (section 5.3.4).
    pub struct Config {
        /// With `SIZE`: width of port 0 in characters.
        pub cols: Le16,
        /// With `SIZE`: height of port 0 in characters.
        pub rows: Le16,
        /// With `MULTIPORT`: most ports of the device.
        pub max_nr_ports: Le32,
        /// With `EMERG_WRITE`: the driver writes a character into the lowest byte.
        pub emerg_wr: Le32,
    }

    /// Control message, `struct virtio_console_control` (section 5.3.6.2). A [`Resize`] follows the event `RESIZE`,
    /// the name of the port in UTF-8 without NUL the event `PORT_NAME`.
    pub struct Control {
        /// Port number; unused by `DEVICE_READY`.
        pub id: Le32,
        /// An [`Event`].
        pub event: Le16,
        /// Extra information, as said at the event.
        pub value: Le16,
    }

    /// New size of a console, `struct virtio_console_resize`.
    pub struct Resize {
        /// Width in characters.
        pub cols: Le16,
        /// Height in characters.
        pub rows: Le16,
    }
}

layout!(Config, 12, cols @ 0, rows @ 2, max_nr_ports @ 4, emerg_wr @ 8);
layout!(Control, 8, id @ 0, event @ 4, value @ 6);
layout!(Resize, 4, cols @ 0, rows @ 2);

// Sections 5.3.5 and 5.3.6 also speak of a VIRTIO_CONSOLE_PORT_ADD; the list of events has only DEVICE_ADD, which is
// meant: it creates a port.
constants! {
    /// Event of a control message (section 5.3.6.2).
    pub Event: u16 {
        /// Driver: ready for control messages (value 1), or failed (0).
        DEVICE_READY = 0,
        /// Device: create a port.
        DEVICE_ADD = 1,
        /// Device: remove a port.
        DEVICE_REMOVE = 2,
        /// Driver: the port that was added is ready (value 1), or failed (0).
        PORT_READY = 3,
        /// Device: this port is a console.
        CONSOLE_PORT = 4,
        /// Device: the size of the console changed; a [`Resize`] follows.
        RESIZE = 5,
        /// Both: the port is open (value 1) or closed (0).
        PORT_OPEN = 6,
        /// Device: the name of the port follows.
        PORT_NAME = 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_virtqueues_come_between_port_0_and_port_1() {
        assert_eq!([0, 1, 2].map(receiveq), [Some(0), Some(4), Some(6)]);
        assert_eq!([0, 1, 2].map(transmitq), [Some(1), Some(5), Some(7)]);
        assert_eq!(
            (receiveq(0x7ffe), transmitq(0x7ffe)),
            (Some(0xfffe), Some(0xffff))
        );
        assert_eq!((receiveq(0x7fff), transmitq(u32::MAX)), (None, None));
    }

    #[test]
    fn every_virtqueue_has_a_role() {
        for port in [0, 1, 2, 126, 0x7ffe] {
            assert_eq!(receiveq(port).map(role), Some(Role::Receive(port)));
            assert_eq!(transmitq(port).map(role), Some(Role::Transmit(port)));
        }
        let control = [CONTROL_RECEIVEQ, CONTROL_TRANSMITQ].map(role);
        assert_eq!(control, [Role::ControlReceive, Role::ControlTransmit]);
    }

    #[test]
    fn virtqueues_are_counted_up_to_the_last_port() {
        assert_eq!(queue_count(Features::NONE, 9), Some(2));
        for ports in [1, 2, 0x7fff] {
            let last = transmitq(ports - 1).unwrap().max(CONTROL_TRANSMITQ);
            assert_eq!(queue_count(features::MULTIPORT, ports), Some(u32::from(last) + 1));
        }
        assert_eq!(queue_count(features::MULTIPORT, 0x8000), None);
    }
}
