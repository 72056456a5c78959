//! Virtio over PCI (section 4.1), the device's side: a whole function.
//!
//! The monitor routes accesses to the configuration space and to the BARs, and asks after each write to the former where
//! the BARs are now. Which bus and slot a function has is the monitor's affair.

mod bars;
mod capabilities;
mod common;
mod config;
mod interrupts;
mod legacy;
mod msix;
mod notify;
mod options;
mod snapshot;
mod space;
mod structures;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::sync::Arc;

use ringwright_memory::Memory;
use ringwright_spec::Features;

use self::capabilities::{Offsets, Parts};
use self::interrupts::Interrupts;
use self::msix::Msix;
use self::space::ConfigSpace;
use super::core::{Core, Interface, Notifier, set_high, set_low};
use crate::{Device, Meter, QueueCounters};

pub use self::bars::{Bar, BarKind, SharedMemoryPlace};
pub use self::notify::NotifyPlaces;
pub use self::options::{FunctionError, Kind, MsixTable, Multiplier, Options, SrIov, VendorData};

/// The interrupts of a function. Called from any of the device's threads, and while the model is in use: it returns at
/// once and does not reach for the model.
pub trait PciInterrupts: Send + Sync {
    /// The message of an MSI-X vector is sent: `data` written to `address`. With [`MsixTable::Client`] both are 0.
    fn message(&self, vector: u16, address: u64, data: u32);

    /// The INTx# pin is asserted, or not any more. Called when that changes.
    fn intx(&self, asserted: bool);
}

/// A device as a PCI function.
pub struct Function {
    core: Core,
    interrupts: Arc<Interrupts>,
    options: Options,
    places: bars::Places,
    offsets: Offsets,
    space: ConfigSpace,
    selectors: common::Selectors,
    /// A legacy driver has touched a device that is not for it: no BAR is to be found any more.
    hidden: bool,
}

impl Function {
    /// A function after reset, whose device no driver has met yet.
    pub fn new(
        device: Box<dyn Device>,
        options: Options,
        interrupts: Arc<dyn PciInterrupts>,
    ) -> Result<Self, FunctionError> {
        let description = device.description();
        let vectors = options.vectors(&description)?;
        let msix = Msix::new(
            vectors,
            options.msix_table == MsixTable::Client,
            interrupts.clone(),
        );
        let interrupts = Arc::new(Interrupts::new(description.queues.len(), msix, interrupts));
        let interface = match options.kind {
            Kind::Legacy => Interface::Legacy,
            Kind::NonTransitional | Kind::Transitional => Interface::Modern,
        };
        let sink = interrupts.clone();
        let core = Core::new(device, &options.common, options.features(), interface, sink)?;
        let places = bars::Places::new(&description, core.config_size(), vectors, &options);
        let parts = Parts {
            device_type: description.device_type,
            options: &options,
            places: &places,
            vectors,
        };
        let (space, offsets) = parts.build()?;
        let mut function = Self {
            core,
            interrupts,
            options,
            places,
            offsets,
            space,
            selectors: common::Selectors::default(),
            hidden: false,
        };
        function.apply_control();
        Ok(function)
    }

    /// The guest's memory, from now on, also while the driver uses the device.
    pub fn set_memory(&mut self, memory: Arc<Memory>) {
        self.core.set_memory(memory);
    }

    /// A reset of the bus or of the function: nothing is left of what any driver has done.
    pub fn reset(&mut self) {
        self.reset_device();
        self.interrupts.msix.reset();
        self.space.reset();
        self.selectors = common::Selectors::default();
        self.hidden = false;
        self.apply_control();
    }

    /// What has gone through each queue, by index.
    pub fn counters(&self) -> Vec<QueueCounters> {
        self.core.counters()
    }

    /// The same from any thread, and later.
    pub fn meter(&self) -> Meter {
        self.core.meter()
    }

    /// Everything that a driver may negotiate on the interface that it uses.
    pub fn offered_features(&self) -> Features {
        self.core.offered_features()
    }

    /// Number of MSI-X vectors; 0 without MSI-X.
    pub fn vectors(&self) -> u16 {
        self.interrupts.msix.size()
    }

    /// Sends available buffer notifications without the model; see [`Function::notify_places`].
    pub fn notifier(&self) -> Notifier {
        self.core.notifier()
    }

    /// The driver resets the device, which is not a reset of the function.
    fn reset_device(&mut self) {
        self.core.reset();
        self.interrupts.reset_device();
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("options", &self.options)
            .field("core", &self.core)
            .finish_non_exhaustive()
    }
}
