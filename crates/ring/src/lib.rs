//! Virtqueues of VIRTIO 1.4 (sections 2.6 to 2.9): split and packed, driver end and device end of each, with one
//! interface for both formats.
//!
//! A device sees a [`DeviceQueue`], a driver a [`DriverQueue`]; neither knows the format. Both ends distrust each other:
//! whatever the other end writes into the virtqueue leads to a [`RingError`] at worst, never to a panic, an endless loop
//! or an access outside the memory meant for it.
//!
//! Nothing is allocated after a queue is set up. Each end keeps its own indices, reads each word of the other end once
//! per visit, and spends one full fence for each batch that it publishes.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod device;
mod driver;
mod error;
#[cfg(test)]
mod fetch_tests;
mod layout;
mod local;
#[cfg(loom)]
pub mod model;
mod packed;
mod shape;
mod split;
mod state;
mod words;

pub use device::{Chain, DeviceQueue, InflightRegion, Token};
pub use driver::{AddError, AddRefusal, DriverOptions, DriverQueue, Outstanding, Used};
pub use error::{Format, RingError, SetupError, Violation};
pub use layout::{ByteOrder, Layout};
pub use state::State;
