//! The PCI host bridge: one bus, whose configuration space is memory-mapped (ECAM), with a memory space and an I/O space.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ringwright_device::transport::pci::{Bar, BarKind, Function, NotifyPlaces, PciInterrupts};
use ringwright_device::transport::{Notifier, SnapshotError};

use crate::interrupts::{Aplic, Imsic};
use crate::map;

/// Bytes of configuration space that each of the eight functions of a device has.
const FUNCTION: u64 = 0x1000;

/// The bus and what is on it: function 0 of each device, from device 0 on.
#[derive(Default)]
pub(crate) struct PciHost {
    slots: Vec<Arc<dyn FunctionRegisters>>,
    /// Those of them that are ours.
    own: Vec<Arc<OwnFunction>>,
    /// Where the BARs are now.
    routes: RwLock<Vec<Route>>,
}

/// Function 0 of a device on the PCI bus, where it is not a [`Function`]. Called from the threads of all harts.
pub trait FunctionRegisters: Send + Sync {
    /// Reads `data.len()` bytes, 1, 2, 4 or 8, of the configuration space.
    fn config_read(&self, offset: u64, data: &mut [u8]);

    /// Writes them. Whether a BAR may be somewhere else now.
    fn config_write(&self, offset: u64, data: &[u8]) -> bool;

    /// The BARs that are implemented, and where they are.
    fn bars(&self) -> Vec<Bar>;

    /// Reads from a BAR.
    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]);

    /// Writes to a BAR.
    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]);
}

/// A function of ours.
struct OwnFunction {
    function: Mutex<Function>,
    notifier: Notifier,
    notify_places: NotifyPlaces,
}

/// An address space of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Io,
    Memory,
}

/// A BAR that answers.
#[derive(Clone, Copy)]
struct Route {
    space: Space,
    base: u64,
    size: u64,
    slot: usize,
    bar: u8,
}

/// The interrupts of the function in one slot.
pub(crate) struct SlotInterrupts {
    pub imsic: Arc<Imsic>,
    pub intx: Arc<Intx>,
    pub slot: usize,
}

/// The four wires to the APLIC, each shared by the devices that assert INTA on it.
pub(crate) struct Intx {
    aplic: Arc<Aplic>,
    /// The devices that assert it, a bit for each.
    asserted: [Mutex<u32>; 4],
}

impl PciHost {
    /// How many functions there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Puts a function into the next slot.
    pub fn attach(&mut self, function: Function) {
        let own = Arc::new(OwnFunction {
            notifier: function.notifier(),
            notify_places: function.notify_places(),
            function: Mutex::new(function),
        });
        self.own.push(own.clone());
        self.slots.push(own);
    }

    /// Puts a function of another make into the next slot.
    pub fn attach_registers(&mut self, function: Arc<dyn FunctionRegisters>) {
        self.slots.push(function);
        self.find_bars();
    }

    /// Reads the configuration space. Where there is no function, it reads as ones.
    pub fn read_config(&self, offset: u64, data: &mut [u8]) {
        match self.slot(offset) {
            Some(slot) => self.slots[slot].config_read(offset % FUNCTION, data),
            None => data.fill(0xff),
        }
    }

    /// Writes the configuration space.
    pub fn write_config(&self, offset: u64, data: &[u8]) {
        if let Some(slot) = self.slot(offset) {
            let moved = self.slots[slot].config_write(offset % FUNCTION, data);
            if moved {
                self.find_bars();
            }
        }
    }

    /// Reads from an address of the bus. Where nothing answers, it reads as ones.
    pub fn read(&self, space: Space, address: u64, data: &mut [u8]) {
        match self.route(space, address) {
            Some(Route { base, slot, bar, .. }) => {
                self.slots[slot].bar_read(bar, address - base, data);
            }
            None => data.fill(0xff),
        }
    }

    /// Writes to an address of the bus.
    pub fn write(&self, space: Space, address: u64, data: &[u8]) {
        if let Some(Route { base, slot, bar, .. }) = self.route(space, address) {
            self.slots[slot].bar_write(bar, address - base, data);
        }
    }

    /// Puts every function to rest.
    pub fn pause(&self) {
        self.own.iter().for_each(|own| own.function().pause());
    }

    /// Lets every function go on.
    pub fn resume(&self) {
        self.own.iter().for_each(|own| own.function().resume());
    }

    /// The state of every function; they must rest.
    pub fn save(&self) -> Result<Vec<Vec<u8>>, SnapshotError> {
        self.own.iter().map(|own| own.function().save()).collect()
    }

    /// Takes up what [`PciHost::save`] returned; the functions rest then.
    pub fn restore(&self, states: &[Vec<u8>]) -> Result<(), SnapshotError> {
        for (own, state) in self.own.iter().zip(states) {
            own.function().restore(state)?;
        }
        self.find_bars();
        Ok(())
    }

    /// The slot whose function 0 has the configuration space at `offset`.
    fn slot(&self, offset: u64) -> Option<usize> {
        let number = usize::try_from(offset / FUNCTION).ok()?;
        let slot = number / 8;
        (number.is_multiple_of(8) && slot < self.slots.len()).then_some(slot)
    }

    fn route(&self, space: Space, address: u64) -> Option<Route> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let hit = |route: &&Route| route.space == space && address.wrapping_sub(route.base) < route.size;
        routes.iter().find(hit).copied()
    }

    /// Asks all functions where their BARs are.
    fn find_bars(&self) {
        // Locked first, so that of two harts that move BARs at once the last one sees both.
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.clear();
        for (number, slot) in self.slots.iter().enumerate() {
            for bar in slot.bars() {
                let space = match bar.kind {
                    BarKind::Io => Space::Io,
                    BarKind::Memory32 | BarKind::Memory64 => Space::Memory,
                };
                routes.extend(bar.address.map(|base| Route {
                    space,
                    base,
                    size: bar.size,
                    slot: number,
                    bar: bar.index,
                }));
            }
        }
    }
}

impl OwnFunction {
    fn function(&self) -> MutexGuard<'_, Function> {
        self.function.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FunctionRegisters for OwnFunction {
    fn config_read(&self, offset: u64, data: &mut [u8]) {
        self.function().config_read(offset, data);
    }

    fn config_write(&self, offset: u64, data: &[u8]) -> bool {
        self.function().config_write(offset, data)
    }

    fn bars(&self) -> Vec<Bar> {
        self.function().bars().to_vec()
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        self.function().bar_read(bar, offset, data);
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        match self.notify_places.queue(bar, offset, data) {
            Some(queue) if self.notifier.notify(queue) => {}
            _ => self.function().bar_write(bar, offset, data),
        }
    }
}

impl Intx {
    /// No device asserts any.
    pub fn new(aplic: Arc<Aplic>) -> Self {
        Self {
            aplic,
            asserted: Default::default(),
        }
    }

    /// A device asserts INTA, or not any more.
    fn set(&self, slot: usize, asserted: bool) {
        let mut devices = self.asserted[slot % 4]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match asserted {
            true => *devices |= 1 << slot,
            false => *devices &= !(1 << slot),
        }
        // The lock is held, so that the wire's last level is the right one.
        self.aplic.set_wire(map::intx_source(slot, 0), *devices != 0);
    }
}

impl PciInterrupts for SlotInterrupts {
    fn message(&self, _vector: u16, address: u64, data: u32) {
        let sent = map::IMSIC
            .offset(address)
            .map(|offset| self.imsic.write(offset, &data.to_le_bytes()));
        if sent.is_none() {
            tracing::debug!(slot = self.slot, address, "a message to nobody");
        }
    }

    fn intx(&self, asserted: bool) {
        self.intx.set(self.slot, asserted);
    }
}

#[cfg(test)]
#[path = "pci_tests.rs"]
mod tests;
