//! vhost-user: hand a VIRTIO device to another process, or take one from it.
//!
//! The protocol is that of QEMU's document "Vhost-user Protocol" (`docs/interop/vhost-user.rst`): the *front-end* owns
//! guest memory and the driver's side, the *back-end* is the device. [`backend`] serves any [`ringwright_device::Device`],
//! [`frontend`] is a [`ringwright_driver`] transport to a device in another process. Both distrust the other end.
#![forbid(unsafe_code)]

pub mod backend;
pub mod frontend;
pub mod message;
pub mod socket;
