//! A device over MMIO and its driver in one process.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringwright_device::transport::mmio::{InterruptLine, Mmio, Options};
use ringwright_device::{Device, transport::Notifier};
use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_memory::{Area, Mapping, Memory, Region, Width};
use ringwright_spec::mmio;

use crate::{AREA_ADDRESS, LoopbackError};

/// The registers of a device, which the driver's transport over MMIO stands on. Clones are the same registers.
#[derive(Clone)]
pub struct MmioRegisters {
    model: Arc<Mutex<Mmio>>,
    notifier: Notifier,
    line: Arc<Line>,
    memory: Arc<Memory>,
    area: Arc<Area>,
}

/// The interrupt line.
#[derive(Default)]
struct Line {
    asserted: Mutex<bool>,
    changed: Condvar,
}

impl MmioRegisters {
    /// Puts `device` behind registers, with `length` bytes of memory for rings and buffers.
    pub fn new(device: Box<dyn Device>, options: Options, length: usize) -> Result<Self, LoopbackError> {
        let region = Region::new(AREA_ADDRESS, Arc::new(Mapping::memfd("mmio", length)?));
        let area = Area::from_region(region.clone()).ok_or(LoopbackError::NoArea(length))?;
        let line = Arc::new(Line::default());
        let mut model = Mmio::new(device, options, line.clone())?;
        let memory = Arc::new(Memory::new(vec![region])?);
        model.set_memory(memory.clone());
        Ok(Self {
            notifier: model.notifier(),
            model: Arc::new(Mutex::new(model)),
            line,
            memory,
            area,
        })
    }

    /// The memory that the device reaches.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// The same memory, as the device sees it.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Lets `see` look at the device's side.
    pub fn with_model<R>(&self, see: impl FnOnce(&mut Mmio) -> R) -> R {
        see(&mut self.lock())
    }

    /// Waits until the device asserts its interrupt. `false` if it does not within `timeout`.
    pub fn wait(&self, timeout: Duration) -> bool {
        let asserted = self.line.asserted.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self
            .line
            .changed
            .wait_timeout_while(asserted, timeout, |asserted| !*asserted);
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Mmio> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registers for MmioRegisters {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let mut data = [0; 4];
        self.lock().read(offset, &mut data[..width.bytes()]);
        Ok(u32::from_le_bytes(data))
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        // As a monitor does it: past the model.
        if offset == mmio::QUEUE_NOTIFY && self.notifier.notify(value as u16) {
            return Ok(());
        }
        self.lock().write(offset, &value.to_le_bytes()[..width.bytes()]);
        Ok(())
    }
}

impl InterruptLine for Line {
    fn set_level(&self, asserted: bool) {
        *self.asserted.lock().unwrap_or_else(PoisonError::into_inner) = asserted;
        self.changed.notify_all();
    }
}
