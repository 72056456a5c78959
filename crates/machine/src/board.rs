//! Everything on the bus: which device takes an access.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwright_device::transport::Notifier;
use ringwright_device::transport::mmio::{InterruptLine, Mmio};
use ringwright_spec::mmio;

use crate::interrupts::{Aplic, Imsic};
use crate::rtc::Rtc;
use crate::{AccessFault, Bus, map};

/// The devices of a machine.
pub(crate) struct Board {
    pub imsic: Arc<Imsic>,
    pub aplic: Arc<Aplic>,
    pub rtc: Rtc,
    /// By slot.
    pub mmio: Vec<MmioSlot>,
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

impl Bus for Board {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), AccessFault> {
        if let Some(offset) = map::MMIO.offset(address) {
            let slot = self
                .mmio
                .get((offset / map::MMIO_STRIDE) as usize)
                .ok_or(AccessFault)?;
            slot.model().read(offset % map::MMIO_STRIDE, data);
            Ok(())
        } else if let Some(offset) = map::APLIC.offset(address) {
            self.aplic.read(offset, data)
        } else if let Some(offset) = map::IMSIC.offset(address) {
            self.imsic.read(offset, data)
        } else if let Some(offset) = map::RTC.offset(address) {
            self.rtc.read(offset, data)
        } else {
            Err(AccessFault)
        }
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), AccessFault> {
        if let Some(offset) = map::MMIO.offset(address) {
            let slot = self
                .mmio
                .get((offset / map::MMIO_STRIDE) as usize)
                .ok_or(AccessFault)?;
            slot.write(offset % map::MMIO_STRIDE, data);
            Ok(())
        } else if let Some(offset) = map::APLIC.offset(address) {
            self.aplic.write(offset, data)
        } else if let Some(offset) = map::IMSIC.offset(address) {
            self.imsic.write(offset, data)
        } else if let Some(offset) = map::RTC.offset(address) {
            self.rtc.write(offset, data)
        } else {
            Err(AccessFault)
        }
    }
}

impl InterruptLine for Wire {
    fn set_level(&self, asserted: bool) {
        self.aplic.set_wire(self.source, asserted);
    }
}
