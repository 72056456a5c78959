//! How a function's interrupts are delivered, and what they say (sections 4.1.5.1.2, 4.1.5.3 to 4.1.5.5).

use alloc::boxed::Box;
use alloc::vec::Vec;

use ringwright_spec::pci::header::{command, msix};
use ringwright_spec::pci::{MSI_NO_VECTOR, MSI_VECTORS};

use super::place::{Access, Place};
use super::{Bar, Region};
use crate::transport::{Interrupt, Registers, TransportError};

/// The interrupts that a transport is to use.
pub enum Interrupts {
    /// None: the driver looks by itself.
    Polling,
    /// The function's INTx# pin.
    Pin,
    /// MSI-X. A function without it, or one that cannot map its events to vectors, uses its pin.
    Messages(Box<dyn Messages + Send>),
}

/// How a transport's interrupts are delivered in fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// They are not.
    Polling,
    /// By the INTx# pin.
    Pin,
    /// By MSI-X.
    Messages,
}

/// What a function writes to memory as an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub address: u64,
    /// What.
    pub data: u32,
}

/// The platform's part in MSI-X: it has the messages, and it is it that they reach.
pub trait Messages {
    /// The message for `vector`; `None` if there is none left, then another vector's serves. Not asked again for a vector
    /// that has one.
    fn message(&mut self, vector: u16) -> Option<Message>;

    /// Whether the message of `vector` has come since the last call.
    fn take(&mut self, vector: u16) -> bool;
}

/// The MSI-X table of a function, and what its vectors are for.
pub(super) struct Vectors<R> {
    messages: Box<dyn Messages + Send>,
    capability: u64,
    table: Place<R>,
    /// Number of vectors.
    size: u16,
    used: Vec<Vector>,
}

/// A vector that has its message.
struct Vector {
    number: u16,
    /// What it tells.
    meaning: Interrupt,
}

/// What a vector is asked to tell.
#[derive(Clone, Copy)]
pub(super) enum Event {
    Config,
    Queue(u16),
}

/// What INTx# is to do, as bits of the command register.
pub(super) fn command(interrupts: &Interrupts) -> u16 {
    match interrupts {
        Interrupts::Polling => command::INTX_DISABLE,
        Interrupts::Pin | Interrupts::Messages(_) => 0,
    }
}

/// Disables MSI-X, whose capability is at `capability`.
pub(super) fn disable_msix(config: &mut impl Registers, capability: u64) -> Result<(), TransportError> {
    let register = capability + msix::CONTROL as u64;
    let control = config.read16(register)?;
    config.write16(register, control & !msix::ENABLE)
}

impl<R: Registers> Vectors<R> {
    /// Enables MSI-X, all of whose vectors are masked. `None` if the table cannot be reached.
    pub fn enable(
        messages: Box<dyn Messages + Send>,
        access: &mut Access<impl Registers>,
        capability: u64,
        bars: &[Bar],
        map: &mut impl FnMut(&Region) -> Option<R>,
    ) -> Result<Option<Self>, TransportError> {
        let control = access.config.read16(capability + msix::CONTROL as u64)?;
        // drv:pci:msi-x-vector-configuration:01: any size.
        let size = (control & msix::TABLE_SIZE) + 1;
        let table = access.config.read32(capability + msix::TABLE as u64)?;
        let length = u64::from(size) * msix::VECTOR_SIZE;
        let region = Region::new(bars, (table & 7) as u8, (table & !7).into(), length);
        // The window does not lead there: drv:pci:pci-configuration-access-capability:02.
        let place = region
            .filter(|region| region.length == length)
            .and_then(|region| Place::find(&[(region, ())], map, None));
        let Some((table, ())) = place else {
            disable_msix(&mut access.config, capability)?;
            return Ok(None);
        };
        let mut vectors = Self {
            messages,
            capability,
            table,
            size,
            used: Vec::new(),
        };
        for number in 0..size {
            vectors.write(access, number, 12, msix::MASK)?;
        }
        let control = control & !msix::FUNCTION_MASK | msix::ENABLE;
        access
            .config
            .write16(capability + msix::CONTROL as u64, control)?;
        Ok(Some(vectors))
    }

    /// Disables MSI-X.
    pub fn disable(&self, access: &mut Access<impl Registers>) -> Result<(), TransportError> {
        disable_msix(&mut access.config, self.capability)
    }

    /// Maps `event` to a vector by `map`, which tells the device and returns what that says to it; the vector that it has.
    /// `None` if the device takes none (`drv:pci:msi-x-vector-configuration:05`).
    pub fn map<C: Registers>(
        &mut self,
        access: &mut Access<C>,
        event: Event,
        mut map: impl FnMut(&mut Access<C>, u16) -> Result<u16, TransportError>,
    ) -> Result<Option<u16>, TransportError> {
        // One for each virtqueue after that for the configuration, else one for all virtqueues, else one for everything.
        let wanted = match event {
            Event::Config => [0, 0, 0],
            Event::Queue(index) => [index.saturating_add(1), 1, 0],
        };
        let mut tried = MSI_NO_VECTOR;
        for number in wanted {
            if number == tried {
                continue;
            }
            tried = number;
            if self.prepare(access, number)? && map(access, number)? == number {
                let vector = self.used.iter_mut().find(|vector| vector.number == number);
                if let Some(Vector { meaning, .. }) = vector {
                    meaning.config |= matches!(event, Event::Config);
                    meaning.queue |= matches!(event, Event::Queue(_));
                }
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// What has come since the last call.
    pub fn take(&mut self) -> Interrupt {
        let mut taken = Interrupt::default();
        for vector in &self.used {
            // drv:pci:notification-of-device-configuration-changes:01: one vector may stand for both.
            if self.messages.take(vector.number) {
                taken.queue |= vector.meaning.queue;
                taken.config |= vector.meaning.config;
            }
        }
        taken
    }

    /// The events are unmapped, as a reset does it.
    pub fn forget(&mut self) {
        for vector in &mut self.used {
            vector.meaning = Interrupt::default();
        }
    }

    /// Gives a vector its message, if it has none yet. `false` if that cannot be, or if there is no such vector
    /// (`drv:pci:msi-x-vector-configuration:04`).
    fn prepare(&mut self, access: &mut Access<impl Registers>, number: u16) -> Result<bool, TransportError> {
        if number >= self.size || !MSI_VECTORS.contains(&number) {
            return Ok(false);
        }
        if self.used.iter().any(|vector| vector.number == number) {
            return Ok(true);
        }
        let Some(message) = self.messages.message(number) else {
            return Ok(false);
        };
        self.write(access, number, 0, message.address as u32)?;
        self.write(access, number, 4, (message.address >> 32) as u32)?;
        self.write(access, number, 8, message.data)?;
        self.write(access, number, 12, 0)?;
        self.used.push(Vector {
            number,
            meaning: Interrupt::default(),
        });
        Ok(true)
    }

    /// Writes one word of a vector.
    fn write(
        &mut self,
        access: &mut Access<impl Registers>,
        number: u16,
        at: u64,
        value: u32,
    ) -> Result<(), TransportError> {
        let offset = u64::from(number) * msix::VECTOR_SIZE + at;
        self.table
            .write(access, offset, ringwright_memory::Width::Four, value)
    }
}
