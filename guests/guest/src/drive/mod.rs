//! The four devices: what this program does with each of them.

mod block;
mod console;
mod entropy;
mod network;
mod wait;

use alloc::string::String;
use alloc::sync::Arc;

use ringwright_driver::{DriverError, Options, Transport};
use ringwright_memory::Area;
use ringwright_spec::{DeviceType, Features, feature};
use thiserror::Error;

/// One time that a device is driven.
pub struct Drive<'a> {
    /// What leads to the device.
    pub transport: &'a mut dyn Transport,
    /// Memory that it reaches.
    pub area: &'a Arc<Area>,
    /// The format of the virtqueues: some of [`RING_FORMATS`].
    pub ring: Features,
    /// Whether the processor hears of the device's interrupts, and may wait for them.
    pub interrupts: bool,
    /// Which time it is that this device is driven, counted from 1.
    pub time: u32,
}

/// The features that choose a format of virtqueues.
pub const RING_FORMATS: Features = feature::RING_PACKED.union(feature::IN_ORDER);

impl Drive<'_> {
    fn options(&self) -> Options {
        Options {
            accept: (Features(u128::MAX) - RING_FORMATS) | self.ring,
            ..Options::default()
        }
    }
}

/// Drives a device and says what it did, or what went wrong.
type Driver = fn(Drive<'_>) -> Result<String, Error>;

/// Why a device has not passed.
#[derive(Debug, Error)]
pub enum Error {
    /// The driver has given up.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The device has not done what it was asked.
    #[error("{0}")]
    Wrong(&'static str),
    /// The device has done nothing for too long.
    #[error("waited in vain for {0}")]
    Late(&'static str),
}

/// The name of the device type `id`, and what to do with it.
pub fn driver(id: u32) -> Option<(&'static str, Driver)> {
    const DRIVERS: [(DeviceType, Driver); 4] = [
        (ringwright_spec::block::DEVICE, block::drive),
        (ringwright_spec::entropy::DEVICE, entropy::drive),
        (ringwright_spec::console::DEVICE, console::drive),
        (ringwright_spec::network::DEVICE, network::drive),
    ];
    let found = DRIVERS.into_iter().find(|(device, _)| device.id == id)?;
    Some((found.0.name, found.1))
}
