//! Virtio over MMIO (section 4.2), the device's side.

mod registers;
mod snapshot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use ringwright_memory::Memory;
use ringwright_spec::mmio::Interrupt;
use ringwright_spec::{Features, feature};

use super::core::{self, Core, Interface, Level, Notifier, Sink};
use crate::{Device, HostError, QueueCounters};

use registers::Selectors;

/// The device-independent features that this transport brings along.
const FEATURES: Features = feature::RING_RESET
    .union(feature::NOTIFICATION_DATA)
    .union(feature::SUSPEND)
    .union(feature::ANY_LAYOUT);

/// Bytes that the registers and the configuration space take, for whoever places them.
pub const SIZE: u64 = 0x200;

/// How a device presents itself over MMIO.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What does not depend on the transport.
    pub common: core::Options,
    /// Register layout.
    pub version: Version,
    /// Register VendorID.
    pub vendor_id: u32,
    /// Where the shared memory regions of the device are, by their id. The monitor maps them.
    pub shared_memory: Vec<(u8, u64)>,
}

/// Register layout of a device, register Version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Version 1, of legacy devices (section 4.2.4).
    Legacy,
    /// Version 2, of this document.
    #[default]
    Modern,
}

/// The interrupt line of a device. Called from any of the device's threads, and while the model is in use: it returns at
/// once and does not reach for the model.
pub trait InterruptLine: Send + Sync {
    /// The line is asserted, or not any more. Called when that changes.
    fn set_level(&self, asserted: bool);
}

/// A device behind the registers of Virtio over MMIO.
pub struct Mmio {
    core: Core,
    interrupt: Arc<Level>,
    options: Options,
    selectors: Selectors,
}

impl Mmio {
    /// A device that no driver has met yet.
    pub fn new(
        device: Box<dyn Device>,
        options: Options,
        line: Arc<dyn InterruptLine>,
    ) -> Result<Self, HostError> {
        let interrupt = Arc::new(Level::new(move |asserted| line.set_level(asserted)));
        let interface = match options.version {
            Version::Legacy => Interface::Legacy,
            Version::Modern => Interface::Modern,
        };
        let sink = Arc::new(Events(interrupt.clone()));
        let core = Core::new(device, &options.common, FEATURES, interface, sink)?;
        let selectors = Selectors::new(core.queue_count());
        Ok(Self {
            core,
            interrupt,
            options,
            selectors,
        })
    }

    /// The guest's memory, from now on, also while the driver uses the device.
    pub fn set_memory(&mut self, memory: Arc<Memory>) {
        self.core.set_memory(memory);
    }

    /// Sends the available buffer notifications of register QueueNotify without the model: `notify` with the low 16 bits of
    /// what the driver writes; if that returns `false`, the write is for [`Mmio::write`].
    pub fn notifier(&self) -> Notifier {
        self.core.notifier()
    }

    /// A reset of the machine: nothing is left of what any driver has done.
    pub fn reset(&mut self) {
        self.reset_device();
        self.selectors = Selectors::new(self.core.queue_count());
    }

    /// What has gone through each queue, by index.
    pub fn counters(&self) -> Vec<QueueCounters> {
        self.core.counters()
    }

    /// The driver resets the device (`dev:mmio:mmio-device-register-layout:05`).
    fn reset_device(&mut self) {
        self.core.reset();
        self.interrupt.clear(u32::MAX);
    }
}

/// Notifications become bits of InterruptStatus, which asserts the line (`dev:mmio:mmio-device-register-layout:03`).
struct Events(Arc<Level>);

impl Sink for Events {
    fn used_buffer(&self, _queue: u16) {
        self.0.raise(Interrupt::USED_BUFFER.0);
    }

    fn config_changed(&self) {
        self.0.raise(Interrupt::CONFIG_CHANGE.0);
    }
}

impl fmt::Debug for Mmio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mmio")
            .field("options", &self.options)
            .field("core", &self.core)
            .finish_non_exhaustive()
    }
}
