//! Devices over PCI and their drivers in one process.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringwright_device::Device;
use ringwright_device::transport::Notifier;
use ringwright_device::transport::pci::{self, FunctionError, NotifyPlaces, PciInterrupts};
use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_driver::transport::pci::{Address, ConfigAccess, Message, Messages, Region};
use ringwright_memory::{Area, Mapping, Memory, Region as MemoryRegion, Width};

use crate::{AREA_ADDRESS, LoopbackError};

/// Where messages are sent, a word for each vector: what interrupt controllers have there.
const MESSAGES: u64 = 0xfee0_0000;

/// A bus with functions, which the driver's enumeration finds. Clones are the same bus.
#[derive(Clone)]
pub struct PciBus {
    slots: Arc<Mutex<Vec<PciSlot>>>,
    memory: Arc<Memory>,
    area: Arc<Area>,
}

/// A function of a [`PciBus`], and its interrupts. Clones are the same function.
#[derive(Clone)]
pub struct PciSlot {
    function: Arc<Mutex<pci::Function>>,
    notifier: Notifier,
    places: NotifyPlaces,
    events: Arc<Events>,
}

/// The configuration space of a function, or of none.
#[derive(Clone)]
pub struct PciConfig(Option<PciSlot>);

/// Registers in a BAR.
#[derive(Clone)]
pub struct BarRegisters {
    slot: PciSlot,
    region: Region,
}

/// What has come of a function.
#[derive(Default)]
struct Events {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The pin.
    asserted: bool,
    /// Vectors whose message has come, as it was promised to be.
    vectors: Vec<u16>,
    /// Messages of some other content.
    strays: usize,
}

impl PciBus {
    /// A bus without functions, with `length` bytes of memory for rings and buffers.
    pub fn new(length: usize) -> Result<Self, LoopbackError> {
        let region = MemoryRegion::new(AREA_ADDRESS, Arc::new(Mapping::memfd("pci", length)?));
        let area = Area::from_region(region.clone()).ok_or(LoopbackError::NoArea(length))?;
        Ok(Self {
            slots: Arc::default(),
            memory: Arc::new(Memory::new(vec![region])?),
            area,
        })
    }

    /// Puts `device` into the next free slot; the first one is device 0.
    pub fn attach(&self, device: Box<dyn Device>, options: pci::Options) -> Result<PciSlot, FunctionError> {
        let events = Arc::new(Events::default());
        let mut function = pci::Function::new(device, options, events.clone())?;
        function.set_memory(self.memory.clone());
        let slot = PciSlot {
            notifier: function.notifier(),
            places: function.notify_places(),
            function: Arc::new(Mutex::new(function)),
            events,
        };
        self.lock().push(slot.clone());
        Ok(slot)
    }

    /// The memory that the devices reach.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// The same memory, as the devices see it.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The function at an address of the bus, if there is one.
    pub fn slot(&self, address: Address) -> Option<PciSlot> {
        match (address.bus(), address.function()) {
            (0, 0) => self.lock().get(usize::from(address.device())).cloned(),
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PciSlot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConfigAccess for PciBus {
    type Function = PciConfig;

    fn function(&self, address: Address) -> Option<PciConfig> {
        Some(PciConfig(self.slot(address)))
    }
}

impl PciSlot {
    /// The registers of a region of a BAR.
    pub fn map(&self, region: &Region) -> Option<BarRegisters> {
        let (slot, region) = (self.clone(), *region);
        Some(BarRegisters { slot, region })
    }

    /// The platform's part in MSI-X.
    pub fn messages(&self) -> Box<dyn Messages + Send> {
        Box::new(self.clone())
    }

    /// Lets `see` look at the device's side.
    pub fn with_function<R>(&self, see: impl FnOnce(&mut pci::Function) -> R) -> R {
        see(&mut self.lock())
    }

    /// Waits until the function asserts its pin, or has sent a message that nobody has taken. `false` if it does not within
    /// `timeout`.
    pub fn wait(&self, timeout: Duration) -> bool {
        let quiet = |state: &mut State| !state.asserted && state.vectors.is_empty();
        let wait = self
            .events
            .changed
            .wait_timeout_while(self.events.lock(), timeout, quiet);
        !quiet(&mut wait.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// How many messages came that nobody had asked for in this form.
    pub fn strays(&self) -> usize {
        self.events.lock().strays
    }

    fn lock(&self) -> MutexGuard<'_, pci::Function> {
        self.function.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Messages for PciSlot {
    fn message(&mut self, vector: u16) -> Option<Message> {
        Some(message(vector))
    }

    fn take(&mut self, vector: u16) -> bool {
        let mut state = self.events.lock();
        let before = state.vectors.len();
        state.vectors.retain(|arrived| *arrived != vector);
        state.vectors.len() != before
    }
}

/// The message of a vector.
fn message(vector: u16) -> Message {
    Message {
        address: MESSAGES + 4 * u64::from(vector),
        data: 0x4000 + u32::from(vector),
    }
}

impl PciConfig {
    /// The function, if there is one.
    pub fn slot(&self) -> Option<&PciSlot> {
        self.0.as_ref()
    }
}

impl Registers for PciConfig {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let mut data = [0xff; 4];
        if let Some(slot) = &self.0 {
            data = [0; 4];
            slot.lock().config_read(offset, &mut data[..width.bytes()]);
        }
        Ok(u32::from_le_bytes(data))
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        if let Some(slot) = &self.0 {
            slot.lock()
                .config_write(offset, &value.to_le_bytes()[..width.bytes()]);
        }
        Ok(())
    }
}

impl BarRegisters {
    /// Whether the function answers where these registers are, as the bus routes accesses.
    fn answers(&self, function: &pci::Function) -> bool {
        let start = self
            .region
            .address
            .and_then(|address| address.checked_sub(self.region.offset));
        let bars = function.bars();
        let bar = bars.iter().find(|bar| bar.index == self.region.bar);
        bar.is_some_and(|bar| bar.address.is_some() && bar.address == start)
    }
}

impl Registers for BarRegisters {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let mut function = self.slot.lock();
        let mut data = [0; 4];
        match self.answers(&function) {
            true => function.bar_read(
                self.region.bar,
                self.region.offset + offset,
                &mut data[..width.bytes()],
            ),
            false => data[..width.bytes()].fill(0xff),
        }
        Ok(u32::from_le_bytes(data))
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        let (offset, bytes) = (self.region.offset + offset, value.to_le_bytes());
        let data = &bytes[..width.bytes()];
        // As a monitor does it: past the model.
        let queue = self.slot.places.queue(self.region.bar, offset, data);
        if queue.is_some_and(|queue| self.slot.notifier.notify(queue)) {
            return Ok(());
        }
        let mut function = self.slot.lock();
        if self.answers(&function) {
            function.bar_write(self.region.bar, offset, data);
        }
        Ok(())
    }
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PciInterrupts for Events {
    fn message(&self, vector: u16, address: u64, data: u32) {
        let mut state = self.lock();
        if message(vector) != (Message { address, data }) {
            state.strays += 1;
        } else if !state.vectors.contains(&vector) {
            state.vectors.push(vector);
        }
        self.changed.notify_all();
    }

    fn intx(&self, asserted: bool) {
        self.lock().asserted = asserted;
        self.changed.notify_all();
    }
}
