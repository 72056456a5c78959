//! A legal request that each device type answers at once, by which a check sees that a device is alive.

use ringwright_spec::{block, console, entropy, filesystem, network};

/// A request of a device type.
#[derive(Clone, Copy, Debug)]
pub struct Exercise {
    /// The device type's id.
    pub device: u32,
    /// How many virtqueues have to be enabled for it, from the first on.
    pub queues: u16,
    /// The virtqueue that it goes to.
    pub queue: u16,
    /// Its device-readable part.
    pub readable: &'static [u8],
    /// Length of its device-writable part in bytes.
    pub writable: usize,
    /// What the device answers.
    pub answer: Answer,
}

/// What a device answers to an [`Exercise`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It writes all of the device-writable part, of which the last byte is this.
    Ends(u8),
    /// It writes these, from this byte of the device-writable part on.
    Has(usize, &'static [u8]),
    /// It writes at least one byte.
    Some,
    /// Nothing.
    Nothing,
}

/// The request of the device type `id`; `None` if there is no request that each such device answers at once.
pub fn exercise(id: u32) -> Option<&'static Exercise> {
    EXERCISES.iter().find(|exercise| exercise.device == id)
}

const EXERCISES: &[Exercise] = &[
    // The first sector is read.
    Exercise {
        device: block::DEVICE.id,
        queues: 1,
        queue: 0,
        readable: &[0; size_of::<block::ReqHead>()],
        writable: 512 + 1,
        answer: Answer::Ends(0),
    },
    // An Ethernet frame to nobody, of a type for experiments, behind a header without offloads.
    Exercise {
        device: network::DEVICE.id,
        queues: 2,
        queue: 1,
        readable: &FRAME,
        writable: 0,
        answer: Answer::Nothing,
    },
    // A line to the port.
    Exercise {
        device: console::DEVICE.id,
        queues: 2,
        queue: 1,
        readable: b"ringwright\n",
        writable: 0,
        answer: Answer::Nothing,
    },
    Exercise {
        device: entropy::DEVICE.id,
        queues: 1,
        queue: 0,
        readable: &[],
        writable: 16,
        answer: Answer::Some,
    },
    // A session is begun, in place of the one before. Without notifications the first request queue is virtqueue 1.
    Exercise {
        device: filesystem::DEVICE.id,
        queues: 2,
        queue: 1,
        readable: &FUSE_INIT,
        writable: FUSE_OUT_HEADER + 64,
        // No error, and the number of the request.
        answer: Answer::Has(4, &[0, 0, 0, 0, 0x52, 0, 0, 0, 0, 0, 0, 0]),
    },
];

/// Length of `fuse_out_header` in bytes.
const FUSE_OUT_HEADER: usize = 16;

/// `fuse_in_header` of 40 bytes, and the 16 bytes of `fuse_init_in` that FUSE 7.31 has, little-endian.
const FUSE_INIT: [u8; 40 + 16] = {
    let mut request = [0; 40 + 16];
    // Its length, the operation, its number; then FUSE's version. The rest is 0, the flags as well.
    request[0] = 40 + 16;
    request[4] = 26;
    request[8] = 0x52;
    request[40] = 7;
    request[44] = 31;
    request
};

/// Header of 12 bytes, destination, source, EtherType 0x88b5, padding.
const FRAME: [u8; 12 + 60] = {
    let mut frame = [0; 12 + 60];
    let addresses = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    let mut byte = 0;
    while byte < addresses.len() {
        frame[12 + byte] = addresses[byte];
        byte += 1;
    }
    frame
};
