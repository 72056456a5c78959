//! The PCI host bridge: one bus, whose configuration space is memory-mapped (ECAM), with a memory space and an I/O space.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ringwright_device::transport::pci::{BarKind, Function, NotifyPlaces, PciInterrupts};
use ringwright_device::transport::{Notifier, SnapshotError};

use crate::interrupts::{Aplic, Imsic};
use crate::map;

/// Bytes of configuration space that each of the eight functions of a device has.
const FUNCTION: u64 = 0x1000;

/// The bus and what is on it: function 0 of each device, from device 0 on.
#[derive(Default)]
pub(crate) struct PciHost {
    slots: Vec<Slot>,
    /// Where the BARs are now.
    routes: RwLock<Vec<Route>>,
}

struct Slot {
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
        self.slots.push(Slot {
            notifier: function.notifier(),
            notify_places: function.notify_places(),
            function: Mutex::new(function),
        });
    }

    /// Reads the configuration space. Where there is no function, it reads as ones.
    pub fn read_config(&self, offset: u64, data: &mut [u8]) {
        match self.slot(offset) {
            Some(slot) => self.slots[slot].function().config_read(offset % FUNCTION, data),
            None => data.fill(0xff),
        }
    }

    /// Writes the configuration space.
    pub fn write_config(&self, offset: u64, data: &[u8]) {
        if let Some(slot) = self.slot(offset) {
            let moved = self.slots[slot].function().config_write(offset % FUNCTION, data);
            if moved {
                self.find_bars();
            }
        }
    }

    /// Reads from an address of the bus. Where nothing answers, it reads as ones.
    pub fn read(&self, space: Space, address: u64, data: &mut [u8]) {
        match self.route(space, address) {
            Some(Route { base, slot, bar, .. }) => {
                self.slots[slot].function().bar_read(bar, address - base, data);
            }
            None => data.fill(0xff),
        }
    }

    /// Writes to an address of the bus.
    pub fn write(&self, space: Space, address: u64, data: &[u8]) {
        let Some(Route { base, slot, bar, .. }) = self.route(space, address) else {
            return;
        };
        let slot = &self.slots[slot];
        match slot.notify_places.queue(bar, address - base, data) {
            Some(queue) if slot.notifier.notify(queue) => {}
            _ => slot.function().bar_write(bar, address - base, data),
        }
    }

    /// Puts every function to rest.
    pub fn pause(&self) {
        self.slots.iter().for_each(|slot| slot.function().pause());
    }

    /// Lets every function go on.
    pub fn resume(&self) {
        self.slots.iter().for_each(|slot| slot.function().resume());
    }

    /// The state of every function; they must rest.
    pub fn save(&self) -> Result<Vec<Vec<u8>>, SnapshotError> {
        self.slots.iter().map(|slot| slot.function().save()).collect()
    }

    /// Takes up what [`PciHost::save`] returned; the functions rest then.
    pub fn restore(&self, states: &[Vec<u8>]) -> Result<(), SnapshotError> {
        for (slot, state) in self.slots.iter().zip(states) {
            slot.function().restore(state)?;
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
            for bar in slot.function().bars() {
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

impl Slot {
    fn function(&self) -> MutexGuard<'_, Function> {
        self.function.lock().unwrap_or_else(PoisonError::into_inner)
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
