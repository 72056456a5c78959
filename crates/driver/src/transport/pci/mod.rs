//! Virtio over PCI (section 4.1): modern devices, transitional ones by either interface, legacy ones.
//!
//! Functions are found by [`scan`] where some firmware has given them addresses, or by [`configure`], which does so itself.
//! [`Pci::probe`] makes a transport of a function that is a virtio device.
//!
//! ```
//! use ringwright_driver::transport::Registers;
//! use ringwright_driver::transport::pci::{self, ConfigAccess, Ecam, Options, Pci, Region, Windows};
//!
//! fn find(
//!     ecam: Ecam<impl Registers + Clone>,
//!     mut windows: Windows,
//!     mut map: impl FnMut(&Region) -> Option<Box<dyn Registers>>,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     for function in pci::configure(&ecam, 0, &mut windows)? {
//!         if let Some(transport) = Pci::probe(function.config, &mut map, Options::default())? {
//!             // A driver for transport.device_id() takes it.
//!         }
//!     }
//!     Ok(())
//! }
//! ```

mod access;
mod bars;
mod capabilities;
mod interrupts;
mod legacy;
mod modern;
mod place;
mod scan;
mod transport;
mod windows;

use ringwright_ring::ByteOrder;
use ringwright_spec::pci::header::{self, command};
use ringwright_spec::{Features, pci};

use self::capabilities::Capabilities;
use self::interrupts::Vectors;
use self::legacy::Legacy;
use self::modern::Modern;
use self::place::Access;
use super::{Registers, TransportError};

pub use self::access::{Address, Cam, CamFunction, ConfigAccess, Ecam};
pub use self::bars::{Bar, Space};
pub use self::capabilities::Region;
pub use self::interrupts::{Delivery, Interrupts, Message, Messages};
pub use self::scan::{Function, configure, scan};
pub use self::windows::{Window, Windows};

/// A virtio device that is a PCI function: `C` is its configuration space, `R` the registers in its BARs.
pub struct Pci<C, R> {
    device_id: u32,
    access: Access<C>,
    interface: Interface<R>,
    /// MSI-X, while it is enabled.
    vectors: Option<Vectors<R>>,
    /// What there is without it.
    without_vectors: Delivery,
    features: Features,
}

/// By which interface a device is used.
enum Interface<R> {
    Modern(Modern<R>),
    Legacy(Legacy<R>),
}

/// What the user of a transport may choose.
pub struct Options {
    /// How interrupts are delivered.
    pub interrupts: Interrupts,
    /// Uses the legacy interface of a transitional device, which has both.
    pub prefer_legacy: bool,
    /// The guest's byte order, which matters to legacy interfaces.
    pub guest: ByteOrder,
}

impl Default for Options {
    /// The INTx# pin, and the modern interface of a transitional device.
    fn default() -> Self {
        Self {
            interrupts: Interrupts::Pin,
            prefer_legacy: false,
            guest: ByteOrder::NATIVE,
        }
    }
}

impl<C: Registers, R: Registers> Pci<C, R> {
    /// The device whose configuration space is `config`; `None` if the function is no virtio device.
    ///
    /// `map` leads to the registers of a region, whose first one is at offset 0 of what it returns; it returns `None` where
    /// there is no way, for example to I/O space. What is in BARs without an address, and what `map` does not lead to, is
    /// reached through the window in configuration space if the device has one (section 4.1.4.9).
    pub fn probe(
        mut config: C,
        mut map: impl FnMut(&Region) -> Option<R>,
        options: Options,
    ) -> Result<Option<Self>, TransportError> {
        let Some(device_id) = virtio_id(&mut config)? else {
            return Ok(None);
        };
        let bars = Bar::read_all(&mut config)?;
        enable(&mut config, &bars, &options.interrupts)?;
        let capabilities = Capabilities::read(&mut config, &bars)?;
        // Section 4.1.5.1.1.1: without Virtio Structure PCI Capabilities it is a legacy device.
        let interface = match capabilities.is_modern && !options.prefer_legacy {
            true => Interface::Modern(Modern::find(&capabilities, &mut map)?),
            false => Interface::Legacy(Legacy::find(&bars, options.guest, &mut map)?),
        };
        let mut access = Access {
            config,
            window: capabilities.window,
        };
        let without_vectors = match options.interrupts {
            Interrupts::Polling => Delivery::Polling,
            Interrupts::Pin | Interrupts::Messages(_) => Delivery::Pin,
        };
        let vectors = match (options.interrupts, capabilities.msix) {
            (_, None) => None,
            (Interrupts::Messages(messages), Some(capability)) => {
                Vectors::enable(messages, &mut access, capability, &bars, &mut map)?
            }
            (_, Some(capability)) => {
                // Whoever had the device before may have left it enabled.
                interrupts::disable_msix(&mut access.config, capability)?;
                None
            }
        };
        Ok(Some(Self {
            device_id,
            access,
            interface,
            vectors,
            without_vectors,
            features: Features::NONE,
        }))
    }

    /// How interrupts are delivered. It can change from [`Delivery::Messages`] to [`Delivery::Pin`] until the device is
    /// live.
    pub fn delivery(&self) -> Delivery {
        match self.vectors {
            Some(_) => Delivery::Messages,
            None => self.without_vectors,
        }
    }

    /// The configuration space.
    pub fn config(&mut self) -> &mut C {
        &mut self.access.config
    }
}

/// The virtio device id of a function, whatever its revision and subsystem are (`drv:pci:pci-device-discovery:01` to
/// `:03`); `None` if it is no virtio device.
fn virtio_id(config: &mut impl Registers) -> Result<Option<u32>, TransportError> {
    if config.read16(header::VENDOR_ID as u64)? != pci::VENDOR_ID {
        return Ok(None);
    }
    Ok(pci::virtio_id(config.read16(header::DEVICE_ID as u64)?))
}

/// Has a function answer where its BARs have addresses, and access memory.
fn enable(config: &mut impl Registers, bars: &[Bar], interrupts: &Interrupts) -> Result<(), TransportError> {
    let before = config.read16(header::COMMAND as u64)?;
    let decode = bars
        .iter()
        .filter(|bar| bar.address != 0)
        .map(|bar| match bar.space {
            Space::Io => command::IO,
            Space::Memory => command::MEMORY,
        });
    let answers = decode.fold(command::BUS_MASTER, |bits, bit| bits | bit);
    let command = before & !command::INTX_DISABLE | answers | interrupts::command(interrupts);
    config.write16(header::COMMAND as u64, command)
}

#[cfg(test)]
mod tests;
