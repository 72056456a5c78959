//! The function as a transport for the drivers of [`ringwright_driver`].

use std::sync::Arc;

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_driver::transport::pci::{Bar, Interrupts, Message, Messages, Options, Pci, Region, Space};
use ringwright_spec::pci::header;

pub use ringwright_driver::transport::pci::Delivery;

use super::{Client, ClientError, Irqs, RegionRegisters};
use crate::message::IrqInfo;

/// Where the first BARs in memory and I/O space are given addresses.
const FIRST_ADDRESS: u64 = 0x1000_0000;
const FIRST_PORT: u64 = 0x1000;

/// A VIRTIO device that another process serves as a PCI function, as a driver's transport.
pub type Virtio = Pci<RegionRegisters, RegionRegisters>;

impl Client {
    /// The function as a transport, and its interrupts to wait for, if any are wanted. Fails if it is no VIRTIO device.
    pub fn virtio(&self, delivery: Delivery) -> Result<(Virtio, Option<Arc<Irqs>>), ClientError> {
        let irqs = match delivery {
            Delivery::Polling => None,
            Delivery::Pin => Some(Arc::new(self.take_irqs(IrqInfo::INTX, 1)?)),
            Delivery::Messages => {
                let count = self.irq_count(IrqInfo::MSIX)?;
                Some(Arc::new(self.take_irqs(IrqInfo::MSIX, count)?))
            }
        };
        let interrupts = match (delivery, &irqs) {
            (Delivery::Polling, _) | (_, None) => Interrupts::Polling,
            (Delivery::Pin, _) => Interrupts::Pin,
            (Delivery::Messages, Some(irqs)) => Interrupts::Messages(Box::new(Vectors(irqs.clone()))),
        };
        let options = Options {
            interrupts,
            ..Options::default()
        };
        let mut config = self.config();
        give_addresses(&mut config).map_err(ClientError::Probe)?;
        let mut failure = None;
        let map = |region: &Region| match self.bar(region.bar) {
            Ok(registers) => Some(registers.from(region.offset)),
            Err(error) => {
                failure = Some(error);
                None
            }
        };
        let probed = Pci::probe(config, map, options);
        if let Some(error) = failure {
            return Err(error);
        }
        let transport = probed
            .map_err(ClientError::Probe)?
            .ok_or(ClientError::NotVirtio)?;
        Ok((transport, irqs))
    }
}

/// Gives each BAR an address: drivers take one without for one that nothing leads to. Which it is does not matter, as this
/// is the only function on its bus.
fn give_addresses(config: &mut RegionRegisters) -> Result<(), TransportError> {
    let (mut memory, mut io) = (FIRST_ADDRESS, FIRST_PORT);
    for bar in Bar::read_all(config)? {
        let next = match bar.space {
            Space::Memory => &mut memory,
            Space::Io => &mut io,
        };
        let address = next.next_multiple_of(bar.length.max(1));
        *next = address.saturating_add(bar.length);
        let register = (header::BAR0 + 4 * usize::from(bar.index)) as u64;
        config.write32(register, address as u32)?;
        if bar.is_64_bit {
            config.write32(register + 4, (address >> 32) as u32)?;
        }
    }
    Ok(())
}

/// The vectors as a driver sees them. Who takes them by eventfds does not need their messages to be anything.
struct Vectors(Arc<Irqs>);

impl Messages for Vectors {
    fn message(&mut self, vector: u16) -> Option<Message> {
        self.0.event(vector)?;
        Some(Message {
            address: 0,
            data: vector.into(),
        })
    }

    fn take(&mut self, vector: u16) -> bool {
        self.0.take(vector)
    }
}
