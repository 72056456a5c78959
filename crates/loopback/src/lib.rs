//! Any device and any driver in one process: a transport without a bus, and every bus.
//!
//! [`Loopback`] hosts a device with its threads and is the transport of its driver. Rings and buffers lie in memory of this
//! process that both ends reach by the same guest addresses. Nothing lies between the two ends but the rings, so this is
//! what tests and benches of a pair stand on.
//!
//! [`MmioRegisters`], [`PciBus`] and [`Channels`] put the register models of the device's side below the transports of the
//! driver's side.
//!
//! ```no_run
//! use ringwright_driver::{Options, entropy::Entropy};
//! use ringwright_loopback::{Loopback, LoopbackOptions};
//! # fn device() -> Box<dyn ringwright_device::Device> { unimplemented!() }
//!
//! let loopback = Loopback::new(device(), LoopbackOptions::default())?;
//! let area = loopback.area().clone();
//! let mut entropy = Entropy::new(loopback, &area, Options::default())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod channels;
mod mmio;
mod pci;
mod signal;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use ringwright_device::{Device, Host, HostError, HostOptions};
use ringwright_memory::{Area, MapError, Mapping, MappingError, Memory, Region};
use ringwright_ring::Layout;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

pub use channels::Channels;
pub use mmio::MmioRegisters;
pub use pci::{BarRegisters, PciBus, PciConfig, PciSlot};
use signal::Signal;

/// Guest address of the shared memory; not 0, and nothing that a host pointer could be.
const AREA_ADDRESS: u64 = 0x4000_0000;

/// The device-independent features that this transport adds to the offer of the device and the rings.
const TRANSPORT_FEATURES: Features = feature::RING_RESET
    .union(feature::NOTIFICATION_DATA)
    .union(feature::ORDER_PLATFORM);

/// How the two ends are joined.
#[derive(Clone, Debug)]
pub struct LoopbackOptions {
    /// Bytes of memory for rings and buffers.
    pub memory: usize,
    /// How the device's threads run.
    pub host: HostOptions,
    /// Features that are not offered even if the device has them.
    pub masked_features: Features,
}

impl Default for LoopbackOptions {
    fn default() -> Self {
        Self {
            memory: 16 << 20,
            host: HostOptions::default(),
            masked_features: Features::NONE,
        }
    }
}

/// A device and the transport to it.
#[derive(Debug)]
pub struct Loopback {
    host: Host,
    signal: Arc<Signal>,
    memory: Arc<Memory>,
    area: Arc<Area>,
    masked: Features,
    /// What the driver has accepted, before FEATURES_OK.
    features: Features,
    status: Status,
    /// Virtqueues that start with DRIVER_OK, by index.
    waiting: Vec<Option<Layout>>,
}

/// Why a device and a driver could not be joined.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// No shared memory could be made.
    #[error(transparent)]
    Memory(#[from] MappingError),
    /// The shared memory is no region.
    #[error(transparent)]
    Region(#[from] MapError),
    /// The shared memory is no area.
    #[error("{0} bytes are no area for rings and buffers")]
    NoArea(usize),
    /// The device cannot be hosted.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The system gave no event descriptor.
    #[error("an event descriptor: {0}")]
    Event(#[source] std::io::Error),
}

impl Loopback {
    /// Hosts `device`, which starts to work when a driver sets DRIVER_OK.
    pub fn new(device: Box<dyn Device>, options: LoopbackOptions) -> Result<Self, LoopbackError> {
        let LoopbackOptions {
            memory: length,
            host: mut host_options,
            masked_features,
        } = options;
        host_options.transport_features = host_options.transport_features | TRANSPORT_FEATURES;
        let region = Region::new(AREA_ADDRESS, Arc::new(Mapping::memfd("loopback", length)?));
        let area = Area::from_region(region.clone()).ok_or(LoopbackError::NoArea(length))?;
        let signal = Arc::new(Signal::new().map_err(LoopbackError::Event)?);
        let mut host = Host::new(device, host_options, signal.clone())?;
        let memory = Arc::new(Memory::new(vec![region])?);
        host.set_memory(memory.clone())?;
        let waiting = vec![None; host.description().queues.len()];
        Ok(Self {
            host,
            signal,
            memory,
            area,
            masked: masked_features,
            features: Features::NONE,
            status: Status::NONE,
            waiting,
        })
    }

    /// The memory that the device reaches: rings and buffers go there.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// The same memory, as the device sees it.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The device's side.
    pub fn host(&mut self) -> &mut Host {
        &mut self.host
    }

    /// Waits until the device has notified something that
    /// [`take_interrupt`](ringwright_driver::Transport::take_interrupt) has not taken yet. `false` if nothing came within
    /// `timeout`.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.signal.wait(timeout)
    }
}
