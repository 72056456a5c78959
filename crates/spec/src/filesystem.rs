//! File system device (section 5.11): a FUSE session carried over virtqueues.
//!
//! The requests themselves are FUSE's, in the byte order that the driver's `FUSE_INIT` shows: a device-readable part
//! that starts with `fuse_in_header`, and a device-writable part that starts with `fuse_out_header`. Buffers of the
//! notification queue are device-writable, at least `notify_buf_size` bytes, and start with `fuse_out_header`.

use crate::data::Le32;
use crate::{DeviceType, Features};

/// The file system device, id 26.
pub const DEVICE: DeviceType = DeviceType {
    id: 26,
    name: "filesystem",
    title: "File System Device",
    transitional_pci_id: None,
    queues: &["hiprio", "notification queue", "request queue"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// The device sends FUSE notify messages, on virtqueue 1.
    NOTIFICATION = 0;
}

/// Index of the queue of `FUSE_INTERRUPT`, `FUSE_FORGET` and `FUSE_BATCH_FORGET`.
pub const HIPRIO: u16 = 0;
/// Index of the notification queue, which exists only with [`features::NOTIFICATION`].
pub const NOTIFICATION_QUEUE: u16 = 1;

/// Index of the first request queue.
///
/// The document says 2 and also that queue 1 only exists with [`features::NOTIFICATION`]; whether the request queues
/// move down without it is left open. They do: Linux, QEMU and virtiofsd put them at 1 then.
pub const fn first_request_queue(negotiated: Features) -> u16 {
    if negotiated.contains(features::NOTIFICATION) {
        2
    } else {
        1
    }
}

/// Shared memory region: the DAX window, into which the device maps file contents (`dev:fs:dax-window:02`).
pub const SHM_ID_DAX_WINDOW: u8 = 0;

wire! {
    /// Device configuration (section 5.11.4).
    pub struct Config {
        /// Name of the file system: UTF-8, padded with NUL, not terminated if it fills the field.
        pub tag: [u8; 36],
        /// Number of request queues, at least 1.
        pub num_request_queues: Le32,
        /// Smallest size in bytes of a buffer in the notification queue; exists with [`features::NOTIFICATION`].
        pub notify_buf_size: Le32,
    }
}
layout!(Config, 44, tag @ 0, num_request_queues @ 36, notify_buf_size @ 40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_queues_follow_the_queues_that_exist() {
        assert_eq!(first_request_queue(Features::NONE), HIPRIO + 1);
        assert_eq!(
            first_request_queue(features::NOTIFICATION),
            NOTIFICATION_QUEUE + 1
        );
    }
}
