//! VIRTIO 1.4 drivers for kernels, boot loaders, unikernels and user space: `no_std`, non-blocking, many requests
//! outstanding.
//!
//! A driver knows neither its transport nor its ring format. It is given something that implements [`Transport`] and
//! an [`Area`](ringwright_memory::Area) of memory that the device reaches, brings the device up as section 3.1 orders
//! ([`init`], [`session`]), and then works by two calls: one that adds a request, one that polls for what the device has finished.
//! Buffers move into the driver with a request and come back with its completion, so that no buffer is freed or
//! reused while a device may still write to it.
//!
//! Nothing a device says is believed: ring entries are checked by `ringwright-ring`, lengths and statuses here.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod field;
pub mod init;
pub mod session;
pub mod transport;

pub mod block;
pub mod console;
pub mod entropy;
pub mod network;

mod error;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod legacy_tests;
#[cfg(test)]
mod testing;

pub use error::DriverError;
pub use init::Options;
pub use transport::{Interrupt, Legacy, Transport, TransportError};
