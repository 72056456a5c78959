//! PCI on a PC: configuration spaces behind two ports, addresses given by the firmware.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_driver::transport::pci::{Cam, CamFunction, Function, Region, Space, scan};
use ringwright_memory::PortRegisters;

use crate::memory::registers;

/// The ports of configuration access mechanism 1.
const CONFIGURATION: u16 = 0xcf8;

/// Addresses from here on are not mapped.
const MAPPED: u64 = 1 << 32;

/// The host bridge of a PC.
pub struct PciHost {
    cam: Cam<PortRegisters>,
}

impl PciHost {
    pub(super) fn new() -> Option<Self> {
        // SAFETY: nobody else configures PCI functions, and only drivers are given those of virtio devices.
        let ports = unsafe { PortRegisters::new(CONFIGURATION, 8) }?;
        let cam = Cam::new(ports);
        Some(Self { cam })
    }

    /// The functions that there are.
    pub fn functions(&self) -> Result<Vec<Function<CamFunction<PortRegisters>>>, TransportError> {
        scan(&self.cam, 0)
    }

    /// The registers of a part of a virtio device's BAR.
    pub fn registers(&self, region: &Region) -> Option<Box<dyn Registers>> {
        let address = region.address?;
        match region.space {
            Space::Io => {
                let (port, length) = (u16::try_from(address).ok()?, u16::try_from(region.length).ok()?);
                // SAFETY: the firmware has given the device these ports, and only a driver is given them.
                Some(Box::new(unsafe { PortRegisters::new(port, length) }?))
            }
            Space::Memory if address.checked_add(region.length)? > MAPPED => None,
            // SAFETY: the firmware has given the device this address.
            Space::Memory => Some(Box::new(unsafe { registers(address, region.length) }?)),
        }
    }
}
