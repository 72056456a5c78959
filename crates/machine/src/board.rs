//! Everything on the bus: which device takes an access.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwright_device::transport::Notifier;
use ringwright_device::transport::mmio::{InterruptLine, Mmio};
use ringwright_spec::mmio;

use crate::interrupts::{Aplic, Imsic};
use crate::pci::{PciHost, Space};
use crate::rtc::Rtc;
use crate::{AccessFault, Bus, map};

/// The devices of a machine.
pub(crate) struct Board {
    pub imsic: Arc<Imsic>,
    pub aplic: Arc<Aplic>,
    pub rtc: Rtc,
    /// By slot.
    pub mmio: Vec<MmioSlot>,
    /// In the slots from the last one down.
    pub foreign: Vec<Arc<dyn SlotRegisters>>,
    pub pci: PciHost,
}

/// Registers in a virtio-mmio slot that are not those of [`Mmio`]. Called from the threads of all harts.
pub trait SlotRegisters: Send + Sync {
    /// Reads `data.len()` bytes, 1, 2, 4 or 8, at `offset`.
    fn read(&self, offset: u64, data: &mut [u8]);

    /// Writes them.
    fn write(&self, offset: u64, data: &[u8]);
}

/// A device on virtio-mmio.
pub(crate) struct MmioSlot {
    model: Mutex<Mmio>,
    notifier: Notifier,
}

/// A wire to the APLIC.
pub(crate) struct Wire {
    pub aplic: Arc<Aplic>,
    pub source: u32,
}

impl MmioSlot {
    pub fn new(model: Mmio) -> Self {
        Self {
            notifier: model.notifier(),
            model: Mutex::new(model),
        }
    }

    /// The register model.
    pub fn model(&self) -> MutexGuard<'_, Mmio> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, offset: u64, data: &[u8]) {
        // The only register that is written for every batch of buffers; its queue is in the lower half.
        if offset == mmio::QUEUE_NOTIFY
            && let [low, high, _, _] = *data
            && self.notifier.notify(u16::from_le_bytes([low, high]))
        {
            return;
        }
        self.model().write(offset, data);
    }
}

/// Who takes an access, and how far into its place it is.
enum Target<'a> {
    Mmio(&'a MmioSlot, u64),
    Foreign(&'a dyn SlotRegisters, u64),
    PciMemory(u64),
    PciIo(u64),
    PciConfig(u64),
    Aplic(u64),
    Imsic(u64),
    Rtc(u64),
}

impl Board {
    /// Puts all devices to rest.
    pub fn pause(&self) {
        self.mmio.iter().for_each(|slot| slot.model().pause());
        self.pci.pause();
    }

    /// Lets all devices go on.
    pub fn resume(&self) {
        self.mmio.iter().for_each(|slot| slot.model().resume());
        self.pci.resume();
    }

    fn target(&self, address: u64) -> Result<Target<'_>, AccessFault> {
        let target = if let Some(offset) = map::MMIO.offset(address) {
            let (slot, offset) = ((offset / map::MMIO_STRIDE) as usize, offset % map::MMIO_STRIDE);
            let foreign = (map::MMIO_SLOTS - 1).checked_sub(slot);
            match foreign.and_then(|place| self.foreign.get(place)) {
                Some(registers) => Target::Foreign(&**registers, offset),
                None => Target::Mmio(self.mmio.get(slot).ok_or(AccessFault)?, offset),
            }
        } else if map::PCI_MEMORY_32.offset(address).is_some() || map::PCI_MEMORY_64.offset(address).is_some()
        {
            Target::PciMemory(address)
        } else if let Some(offset) = map::PCI_IO.offset(address) {
            Target::PciIo(offset)
        } else if let Some(offset) = map::PCI_CONFIG.offset(address) {
            Target::PciConfig(offset)
        } else if let Some(offset) = map::APLIC.offset(address) {
            Target::Aplic(offset)
        } else if let Some(offset) = map::IMSIC.offset(address) {
            Target::Imsic(offset)
        } else if let Some(offset) = map::RTC.offset(address) {
            Target::Rtc(offset)
        } else {
            return Err(AccessFault);
        };
        Ok(target)
    }
}

impl Bus for Board {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), AccessFault> {
        match self.target(address)? {
            Target::Mmio(slot, offset) => slot.model().read(offset, data),
            Target::Foreign(registers, offset) => registers.read(offset, data),
            Target::PciMemory(address) => self.pci.read(Space::Memory, address, data),
            Target::PciIo(address) => self.pci.read(Space::Io, address, data),
            Target::PciConfig(offset) => self.pci.read_config(offset, data),
            Target::Aplic(offset) => self.aplic.read(offset, data)?,
            Target::Imsic(offset) => self.imsic.read(offset, data)?,
            Target::Rtc(offset) => self.rtc.read(offset, data)?,
        }
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), AccessFault> {
        match self.target(address)? {
            Target::Mmio(slot, offset) => slot.write(offset, data),
            Target::Foreign(registers, offset) => registers.write(offset, data),
            Target::PciMemory(address) => self.pci.write(Space::Memory, address, data),
            Target::PciIo(address) => self.pci.write(Space::Io, address, data),
            Target::PciConfig(offset) => self.pci.write_config(offset, data),
            Target::Aplic(offset) => self.aplic.write(offset, data)?,
            Target::Imsic(offset) => self.imsic.write(offset, data)?,
            Target::Rtc(offset) => self.rtc.write(offset, data)?,
        }
        Ok(())
    }
}

impl InterruptLine for Wire {
    fn set_level(&self, asserted: bool) {
        self.aplic.set_wire(self.source, asserted);
    }
}
